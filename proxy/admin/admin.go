// Package admin is the private port: metrics, probes and profiles. It answers on loopback, or asks for the admin key.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"jarvis-gateway/proxy/wire"
)

// Server answers on the private port.
type Server struct{ http http.Server }

// New makes the server. key may be empty, which is for loopback addresses only; ready tells why the data plane cannot
// serve, nil when it can.
func New(key wire.Secret, metrics prometheus.Gatherer, ready func() error) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	probe := http.NewServeMux()
	probe.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	probe.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready()) })
	probe.Handle("/", guarded(key, mux))
	return &Server{http.Server{Handler: probe, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}}
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	status := "ok"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		status = err.Error()
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"status": status}) // the probe has gone; nobody to tell
}

// guarded asks for the key. Digests are compared, so that the time tells neither the key's length nor its bytes.
func guarded(key wire.Secret, next http.Handler) http.Handler {
	if key == "" {
		return next
	}
	want := sha256.Sum256([]byte(key))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			e := &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Message: "Send the admin key as Authorization: Bearer KEY."}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(e.Status)
			_, _ = w.Write(e.AppendJSON(nil)) // as above
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Serve answers until Shutdown.
func (s *Server) Serve(ln net.Listener) error { return s.http.Serve(ln) }

// Shutdown ends the server.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }
