package proxy

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	counting "jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// faulty is a stream with a bug where it is asked what it has cost.
type faulty struct {
	io.Reader
	closed int
}

func (f *faulty) Usage() wire.Usage { panic("the sum is lost") }
func (f *faulty) Close() error      { f.closed++; return nil }

// willing has any target answer.
type willing struct{ router.Asker }

func (willing) Send(*router.Target) (took router.Took, err error) { return took, err }

// A bug while a request is settled costs its line; what it held is free again, and nothing else is hurt.
func TestPanicAtTheEnd(t *testing.T) {
	counters, err := counting.Open(counting.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = counters.Close() }() // it keeps nothing
	gate, err := policy.New(policy.Setup{Counters: counters, Tenants: map[string]policy.Tenant{
		"acme": {Keys: []policy.Key{{Name: "main", Key: keyOf("main")}}, Limits: policy.Limits{Concurrency: 1}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	access := NewAccessLog(io.Discard)
	defer access.Close()
	routes, err := router.New(router.Setup{Models: map[string]router.Model{"chat": {Targets: []router.TargetConfig{{Provider: "one"}}}}, Providers: []string{"one"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, _ := routes.Find("chat")
	var log syncText
	server := &Server{access: access, log: slog.New(slog.NewJSONHandler(&log, nil))}
	before := counted(t, panics.WithLabelValues())
	for range 3 { // the one place is free each time
		stream := &faulty{}
		x := &exchange{recording: &recording{}, call: &provider.Call{}, conn: &conn{server: server}, ctx: &fasthttp.RequestCtx{}, ep: posts["/v1/chat/completions"], open: true, tally: tally{came: true}}
		if x.caller, err = gate.Identify([]byte(keyOf("main")), x.start); err != nil {
			t.Fatal(err)
		}
		x.call.Body, x.reply.Stream = &x.body, stream
		x.grant = &policy.Grant{}
		if err := gate.Admit(x.caller, &policy.Ask{Model: "chat"}, x.grant); err != nil {
			t.Fatal(err)
		}
		if _, x.attempt, err = route.Do(willing{}); err != nil {
			t.Fatal(err)
		}
		inFlight.Add(1)
		if err := x.CloseWithError(nil); err != nil || x.open || stream.closed == 0 || x.ctx != nil {
			t.Errorf("%v, open %t, closed %d times", err, x.open, stream.closed)
		}
	}
	if at := routes.Standings(time.Now())[0]; at.InFlight != 0 {
		t.Errorf("%d attempts are under way", at.InFlight)
	}
	if n := counted(t, panics.WithLabelValues()) - before; n != 3 || strings.Count(log.String(), "the sum is lost") != 3 {
		t.Errorf("%v panics counted: %s", n, log.String())
	}
}
