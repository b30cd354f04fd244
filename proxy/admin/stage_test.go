package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"
	"gopkg.in/yaml.v3"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/router"
)

const adminKey = "admin-secret-0123456789"

// What stands in the configuration of every stage.
const filed = `
filed:
  models: [chat]
  limits: {requests: [600/m], spend: [$50/d, $1000/month]}
  alerts: {webhook: https://ops.test/hook, secret: alert-secret-canary}
  keys:
    - {name: main, key: jv-filed-main-0123456789}
    - {name: boss, key: jv-filed-boss-0123456789, role: super_admin}
    - {name: head, key: jv-filed-head-0123456789, role: tenant_admin}
`

var customRoles = map[string]policy.Role{
	"chief":  {Permissions: []string{"admin:*"}, Inherits: policy.Developer},
	"quotas": {Permissions: []string{"admin:quota"}},
}

// stage is a private port with a real store, and its client. Every answer that it gives must be as openapi.json says.
type stage struct {
	testing.TB
	setup  Setup
	dir    string
	server *httptest.Server
	log    *safeBuffer
	gate   *policy.Gate
	spec   *spec
	mu     sync.Mutex
	seen   map[string]bool // operations that were answered well
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newStage(t testing.TB, change ...func(*Setup)) *stage {
	t.Helper()
	s := &stage{TB: t, dir: t.TempDir(), log: &safeBuffer{}, spec: loadSpec(t), seen: map[string]bool{}}
	store, err := state.Open(t.Context(), "sqlite:"+filepath.Join(s.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	var tenants map[string]policy.Tenant
	if err := yaml.Unmarshal([]byte(filed), &tenants); err != nil {
		t.Fatal(err)
	}
	names := policy.Names{Models: []string{"chat", "embed"}, Providers: []string{"openai"}}
	if s.gate, err = policy.New(policy.Setup{Tenants: tenants, Roles: customRoles, Names: names}, nil); err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "jarvis_test"}))
	s.setup = Setup{
		Key: adminKey, Metrics: metrics, Ready: func() error { return nil }, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Store: store, Gate: func() *policy.Gate { return s.gate }, Tenants: func() map[string]policy.Tenant { return tenants },
		Limits: func(context.Context, string) ([]Standing, error) { return nil, nil }, Decode: decodeStrictly, Changed: s.learn,
		Config: func() ([]byte, error) { return []byte("server: {admin_key: '***'}\n"), nil }, Reload: func(string) error { return nil },
		InForce:  func() (string, state.Pin) { return "sha of two", state.Pin{} },
		Rollback: func(context.Context, int64, string) error { return nil }, Unpin: func(context.Context, string) error { return nil },
	}
	routes, err := router.New(router.Setup{Models: map[string]router.Model{
		"chat": {Targets: []router.TargetConfig{{Provider: "openai", Model: "gpt"}, {Provider: "azure", Model: "gpt"}}, Rollout: router.Rollout{To: "lab", Steps: []float64{10, 50, 100}}},
		"lab":  {Targets: []router.TargetConfig{{Provider: "openai", Model: "gpt-next"}}}},
		Providers: []string{"azure", "openai"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.setup.Router = func() *router.Router { return routes }
	prices, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.setup.Prices = func(models []string) (version string, list []usage.Quote) {
		list = []usage.Quote{}
		for _, model := range models {
			list = append(list, prices.Quote(usage.Place{Kind: "openai"}, model))
		}
		return prices.Version(), list
	}
	s.setup.Purge = func(tenant, _ string) (int, bool) { return 3, tenant != "" }
	s.setup.Explain = func(q Question) (Explained, error) { return explained(routes, q) }
	pool := router.NewPool(router.PoolConfig{}, time.Now())
	if err := pool.Set(time.Now(), []string{"http://10.0.0.1:8000", "http://10.0.0.2:8000"}); err != nil {
		t.Fatal(err)
	}
	s.setup.Pools = func() map[string]*router.Pool { return map[string]*router.Pool{"gpu": pool} }
	for _, c := range change {
		c(&s.setup)
	}
	s.server = httptest.NewServer(New(s.setup).http.Handler)
	t.Cleanup(s.server.Close)
	return s
}

// decodeStrictly stands for the configuration's own reader, which also takes one limit for a list of one.
func decodeStrictly(body []byte, into any) error {
	plain := map[string]any{}
	if err := yaml.Unmarshal(body, &plain); err != nil {
		return err
	}
	for field, v := range plain {
		if v == nil {
			return errors.New(field + ": no value")
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(mustEncode(listed(plain))))
	d.KnownFields(true)
	err := d.Decode(into)
	if err == nil || err == io.EOF {
		return nil
	}
	if found := regexp.MustCompile(`field (\S+) not found`).FindStringSubmatch(err.Error()); found != nil {
		return errors.New(found[1] + ": unknown key")
	}
	return fmt.Errorf("body: %s", strings.ReplaceAll(err.Error(), "\n", " "))
}

func listed(v any) any {
	o, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for key, inner := range o {
		if _, list := inner.([]any); !list && slices.Contains([]string{"requests", "tokens", "spend"}, key) {
			o[key] = []any{inner}
		} else {
			o[key] = listed(inner)
		}
	}
	return o
}

// learn does what the gateway does when the store has changed.
func (s *stage) learn() error {
	d, err := s.setup.Store.Directory(s.Context())
	if err != nil {
		s.Error(err)
	}
	known := policy.Stored{Tenants: map[string]policy.StoredTenant{}}
	for _, t := range d.Tenants {
		var cfg policy.Tenant
		if err := decodeStrictly(t.Config, &cfg); err != nil {
			s.Error(err)
		}
		known.Tenants[t.Name] = policy.StoredTenant{Tenant: cfg, Created: t.Created}
	}
	for _, k := range d.Keys {
		var limits policy.Limits
		if err := decodeStrictly(k.Limits, &limits); err != nil {
			s.Error(err)
		}
		known.Keys = append(known.Keys, policy.StoredKey{ID: k.ID, Tenant: k.Tenant, Name: k.Name, Team: k.Team, Role: k.Role,
			Digest: k.Digest, Created: k.Created, Expires: k.Expires, Revoked: k.Revoked, Limits: limits, Hint: k.Hint})
	}
	if err := s.gate.Learn(known); err != nil {
		s.setup.Log.Error("left out", "cause", err.Error())
	}
	return nil
}

// answer is what the private port said.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) get(path string) string { return gjson.Get(a.body, path).String() }

// as sends a request with a key, "" for none.
func (s *stage) as(key, method, path, body string, headers ...string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	if op := s.spec.check(s, req, body, res, raw); op != "" && res.StatusCode < 300 {
		s.mu.Lock()
		s.seen[op] = true
		s.mu.Unlock()
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

// owner sends a request with the admin key.
func (s *stage) owner(method, path, body string, headers ...string) answer {
	s.Helper()
	return s.as(s.setup.Key.Reveal(), method, prefix+path, body, headers...)
}

// must is owner for what has to go well.
func (s *stage) must(method, path, body string, headers ...string) answer {
	s.Helper()
	a := s.owner(method, path, body, headers...)
	if a.status >= 300 {
		s.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	return a
}

// want fails unless the answer is an error of this status, code and param.
func (s *stage) want(a answer, status int, code, param string) {
	s.Helper()
	if a.status != status || a.get("error.code") != code || a.get("error.param") != param {
		s.Errorf("%d %s, want %d %s %s", a.status, a.body, status, code, param)
	}
}

// newKey makes a key with a role and returns it.
func (s *stage) newKey(tenant, name, role string) string {
	s.Helper()
	return s.must("POST", "/tenants/"+tenant+"/keys", fmt.Sprintf(`{"name":%q,"role":%q}`, name, role)).get("key")
}

// works tells whether a key is let in.
func (s *stage) works(key string) bool {
	_, err := s.gate.Identify([]byte(key), time.Now())
	return err == nil
}

func newRecorder() http.ResponseWriter { return httptest.NewRecorder() }

func newRequest() *http.Request { return httptest.NewRequest(http.MethodGet, prefix+"/audit", nil) }

// inMemory keeps the state off the disk, where a test writes much.
func inMemory(t testing.TB) func(*Setup) {
	store, err := state.Open(t.Context(), "sqlite::memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return func(setup *Setup) { setup.Store = store }
}
