package proxy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	counting "jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

func TestOutcomes(t *testing.T) {
	for want, list := range map[string][]*wire.Error{
		outcomeOK:       {nil},
		outcomeGone:     {fault(provider.ErrAborted), fault(fmt.Errorf("x: %w", provider.ErrAborted))},
		outcomeClient:   {wire.Invalid("", "x"), {Status: 401}, {Status: 404}, {Status: 413}},
		outcomeLimited:  {{Status: 429, Code: "rate_limit_exceeded"}, {Status: 429, Code: "upstream_rate_limited"}},
		outcomeTimeout:  {{Status: 504, Code: "timeout"}},
		outcomeProvider: {{Status: 502, Code: "upstream_error"}, {Status: 502, Code: "upstream_auth"}, {Status: 503, Code: "upstream_unavailable"}},
		outcomeInternal: {fault(errors.New("secret cause")), fault(io.EOF)},
		outcomeUnavailable: {errDraining, errNotReady, {Status: 503, Code: "auth_unavailable"}, {Status: 503, Code: "guard_unavailable"}, {Status: 503, Code: "limits_unavailable"},
			{Status: 503, Code: "state_unavailable"}, {Status: 503, Code: "overloaded"}},
	} {
		for _, e := range list {
			if got := outcomeOf(e); got != want {
				t.Errorf("%v: %s, want %s", e, got, want)
			}
		}
	}
	e := fault(errors.New("secret cause"))
	if e.Status != 500 || strings.Contains(string(e.AppendJSON(nil)), "secret") || !strings.Contains(e.Error(), "secret cause") {
		t.Errorf("%v", e)
	}
}

func TestErrorResponse(t *testing.T) {
	for _, c := range []struct {
		e       wire.Error
		headers map[string]string
	}{
		{wire.Error{Status: 400}, map[string]string{"Retry-After": "", "Retry-After-Ms": "", "X-Should-Retry": "", "Www-Authenticate": ""}},
		{wire.Error{Status: 401, Final: true}, map[string]string{"X-Should-Retry": "false", "Www-Authenticate": "Bearer"}},
		{wire.Error{Status: 429, Retry: time.Millisecond}, map[string]string{"Retry-After": "1", "Retry-After-Ms": "1"}},
		{wire.Error{Status: 429, Retry: time.Second}, map[string]string{"Retry-After": "1", "Retry-After-Ms": "1000"}},
		{wire.Error{Status: 429, Retry: 1001 * time.Millisecond}, map[string]string{"Retry-After": "2", "Retry-After-Ms": "1001"}},
	} {
		var res fasthttp.Response
		writeError(&res, wire.Chat, &c.e, nil)
		if res.StatusCode() != c.e.Status || string(res.Header.ContentType()) != "application/json" || !json.Valid(res.Body()) {
			t.Errorf("%s", &res)
		}
		sent := map[string]string{}
		for name, value := range res.Header.All() {
			sent[strings.ToLower(string(name))] = string(value)
		}
		for name, want := range c.headers {
			if got := sent[strings.ToLower(name)]; got != want {
				t.Errorf("%+v has %s %q, want %q", c.e, name, got, want)
			}
		}
	}
}

func TestErrorEvents(t *testing.T) {
	e := &wire.Error{Status: 502, Type: wire.TypeServer, Code: "a\"b\x01", Message: "line\nbreak \u2028 é"}
	for kind, prefix := range map[wire.Kind]string{wire.Chat: "data: ", wire.Completion: "data: ", wire.Plain: "data: ", wire.Response: "event: error\ndata: "} {
		ev := string(errorEvent(kind, e, nil))
		data, ok := strings.CutPrefix(ev, prefix)
		if !ok || !strings.HasSuffix(data, "\n\n") || !gjson.Valid(data) || strings.Count(data, "\n") != 2 {
			t.Errorf("%q", ev)
		}
		if kind.Classify([]byte(strings.TrimSpace(data))) != wire.Failure {
			t.Errorf("%q is no failure to a reader", ev)
		}
	}
}

// A bug costs the request that meets it a 500, and nothing else.
func TestPanic(t *testing.T) {
	r, err := router.New(router.Setup{Models: map[string]router.Model{"chat": {Targets: []router.TargetConfig{{Provider: "missing"}}}}, Providers: []string{"missing"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	counters, err := counting.Open(counting.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = counters.Close() }() // it keeps nothing
	gate, err := policy.New(policy.Setup{Counters: counters, Tenants: map[string]policy.Tenant{
		"acme": {Keys: []policy.Key{{Name: "main", Key: "jv-0123456789abcdef"}}, Limits: policy.Limits{Concurrency: 1}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := provider.New(map[string]provider.Config{"missing": {Kind: "simulated"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	prices, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var log syncText
	access := NewAccessLog(&log)
	g := NewGateway(gate, r, clients, prices)
	clients["missing"].Close()
	delete(clients, "missing")
	s, err := NewServer(Config{}, g, nil, nil, slog.New(slog.NewJSONHandler(&log, nil)), access) // without its provider
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(ln) }()
	before := counted(t, panics.WithLabelValues())
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	for range 3 { // the tenant's one place is free each time
		body := `{"model":"chat"}`
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer jv-0123456789abcdef\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusInternalServerError || gjson.GetBytes(text, "error.code").Str != "internal_error" || strings.Contains(string(text), "nil pointer") {
			t.Errorf("%d %s %v", res.StatusCode, text, err)
		}
	}
	conn.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
	access.Close()
	if n := counted(t, panics.WithLabelValues()) - before; n != 3 {
		t.Errorf("%v panics counted", n)
	}
	if text := log.String(); strings.Count(text, "a request met a bug") != 3 || strings.Count(text, `"outcome":"internal_error"`) != 3 || !strings.Contains(text, "nil pointer") {
		t.Errorf("%s", text)
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// syncText is a text that several goroutines write.
type syncText struct {
	mu   sync.Mutex
	text strings.Builder
	hold chan struct{} // when set, a write waits for it
}

func (s *syncText) Write(p []byte) (int, error) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *syncText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// A log that nobody reads costs lines, which are counted, and no memory without bound, and holds no request up.
func TestAccessLogIsBounded(t *testing.T) {
	out := &syncText{hold: make(chan struct{})}
	a := NewAccessLog(out)
	before := counted(t, dropped.WithLabelValues())
	const lines = 10_000
	server, who := &Server{access: a}, &policy.Caller{Tenant: strings.Repeat("t", 4000), Key: "k"}
	for range lines {
		x := &exchange{recording: &recording{}, call: &provider.Call{}, start: time.Now(), conn: &conn{server: server}, id: []byte("an-id"), caller: who, ctx: &fasthttp.RequestCtx{}}
		a.write(x, time.Now())
	}
	close(out.hold)
	a.Close()
	lost := counted(t, dropped.WithLabelValues()) - before
	written := strings.Count(out.String(), "\n")
	if lost == 0 || int(lost)+written != lines || len(out.String()) > 16*(maxUnread+1<<13) {
		t.Errorf("%d lines written, %v lost, %d bytes", written, lost, len(out.String()))
	}
	for line := range strings.Lines(out.String()) {
		if !gjson.Valid(line) {
			t.Fatalf("%q", line)
		}
	}
}
