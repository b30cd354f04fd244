package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/wire"
)

func get(t *testing.T, key wire.Secret, ready error, path, token string) (int, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "jarvis_test"}))
	s := New(key, metrics, func() error { return ready })
	go func() { _ = s.Serve(ln) }()
	defer s.Shutdown(t.Context())
	req, err := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestAdmin(t *testing.T) {
	const key = "admin-secret"
	for _, test := range []struct {
		key         wire.Secret
		ready       error
		path, token string
		status      int
		body        string
	}{
		{"", nil, "/metrics", "", 200, "jarvis_test 0"},
		{"", nil, "/debug/pprof/heap", "", 200, ""},
		{"", nil, "/nothing", "", 404, ""},
		{key, nil, "/metrics", "", 401, `"code":"invalid_api_key"`},
		{key, nil, "/metrics", "Bearer wrong", 401, `"code":"invalid_api_key"`},
		{key, nil, "/debug/pprof/", "", 401, ""},
		{key, nil, "/metrics", "Bearer " + key, 200, "jarvis_test 0"},
		{key, nil, "/healthz", "", 200, `"ok"`},
		{key, nil, "/readyz", "", 200, `"ok"`},
		{key, errors.New("draining"), "/readyz", "", 503, "draining"},
		{key, errors.New("draining"), "/healthz", "", 200, `"ok"`},
	} {
		status, body := get(t, test.key, test.ready, test.path, test.token)
		if status != test.status || !strings.Contains(body, test.body) || strings.Contains(body, key) {
			t.Errorf("%s with %q: %d %s", test.path, test.token, status, body)
		}
	}
}
