// Package admin is the private port: the admin API, metrics, probes and profiles. It answers on loopback, or asks for the
// admin key or for the key of someone whose role allows it.
package admin

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// Setup is what the private port works with.
type Setup struct {
	// Key is server.admin_key. Without it, which is for loopback addresses only, everyone on this machine is the owner.
	Key     wire.Secret
	Metrics prometheus.Gatherer
	Ready   func() error // why the data plane cannot serve, nil when it can
	Log     *slog.Logger

	Store   *state.Store
	Gate    func() *policy.Gate             // the one in force
	Tenants func() map[string]policy.Tenant // those of the configuration
	// Limits is how a tenant's limits stand, with those of its teams and keys; "": the gateway's own.
	Limits func(ctx context.Context, tenant string) ([]Standing, error)

	// Decode reads a body as strictly as the configuration is read. What is wrong is told line by line, "path: what is wrong",
	// without a file's name.
	Decode  func(body []byte, into any) error
	Config  func() ([]byte, error) // what the configuration comes to, as YAML, secrets masked
	Reload  func(by string) error  // reads the configuration again; what is wrong is told line by line
	Changed func() error           // takes in at once what the store has now; an error: nothing was taken in
	Now     func() time.Time       // nil: the clock

	Router func() *router.Router          // the one in force
	Pools  func() map[string]*router.Pool // the replicas of the providers that have any
	// Explain tells what would become of a request, without sending it. An error that a client may know is a *wire.Error.
	Explain func(Question) (Explained, error)

	// InForce is the hash of the version of the configuration that is in force, and the pin that made it so, if one did.
	InForce func() (sha256 string, pin state.Pin)
	// Rollback has a version go in place of the files, and Unpin the files again, for every gateway. The errors are Refused,
	// ErrNotPinned and the store's own.
	Rollback func(ctx context.Context, version int64, by string) error
	Unpin    func(ctx context.Context, by string) error

	// Prices are those of the targets behind the models named, or of all targets, and their version.
	Prices func(models []string) (version string, list []usage.Quote)

	// Purge has the cached answers of a tenant and a model, "" for all, be forgotten. n are those that this process had; everywhere:
	// whoever shares the cache knows.
	Purge func(tenant, model string) (n int, everywhere bool)

	Usage *store.Store // nil: none is kept
}

// Server answers on the private port.
type Server struct {
	Setup
	http     http.Server
	changing sync.Mutex // held from reading what is changed until the change is made
}

// New makes the server.
func New(setup Setup) *Server {
	s := &Server{Setup: setup}
	if s.Now == nil {
		s.Now = time.Now
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { probe(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { probe(w, s.Ready()) })
	s.addAPI(mux)
	s.addInsight(mux)
	mux.HandleFunc("/", s.handle(nowhere))
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn)}
	return s
}

func (s *Server) addAPI(mux *http.ServeMux) {
	methods := map[string][]string{}
	for _, r := range s.routes() {
		mux.HandleFunc(r.method+" "+prefix+r.path, s.handle(r))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, known := range methods { // a pattern without a method takes what those with one leave
		mux.HandleFunc(prefix+path, s.handle(otherMethod(known)))
	}
}

// addInsight adds metrics and profiles, which tell of every tenant.
func (s *Server) addInsight(mux *http.ServeMux) {
	for pattern, h := range map[string]http.Handler{
		"GET /metrics":             promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}),
		"GET /debug/pprof/":        http.HandlerFunc(pprof.Index),
		"GET /debug/pprof/profile": http.HandlerFunc(pprof.Profile),
		"GET /debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
		"GET /debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
	} {
		mux.HandleFunc(pattern, s.handle(route{owner: true, do: func(c *call) error {
			h.ServeHTTP(c.w, c.r)
			return nil
		}}))
	}
}

func probe(w http.ResponseWriter, err error) {
	if err != nil {
		write(w, http.StatusServiceUnavailable, map[string]string{"status": err.Error()})
		return
	}
	write(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Serve answers until Shutdown.
func (s *Server) Serve(ln net.Listener) error { return s.http.Serve(ln) }

// Shutdown ends the server.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }
