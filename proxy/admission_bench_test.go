package proxy

import (
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	counting "jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// BenchmarkFiveLimits is what five limits add to a request, from admission to the end, beside what they do to the bytes of
// its answer: the same requests go without limits too.
func BenchmarkFiveLimits(b *testing.B) {
	b.Run("without", func(b *testing.B) { limited(b, policy.Limits{}) })
	const most = 1 << 60
	b.Run("with", func(b *testing.B) {
		limited(b, policy.Limits{Concurrency: 1000,
			Requests: policy.Rates{{Amount: most, Per: "m"}, {Amount: most, Per: "d"}},
			Tokens:   policy.Rates{{Amount: most, Per: "m"}, {Amount: most, Per: "d"}}})
	})
}

func limited(b *testing.B, limits policy.Limits) {
	b.ReportAllocs()
	x := exchangeOf(b, limits)
	body, err := wire.Parse([]byte(`{"model":"chat","messages":[{"role":"user","content":"` + strings.Repeat("How much does it cost? ", 11) + `"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	used := wire.Usage{Prompt: 70, Completion: 40}
	var h fasthttp.ResponseHeader
	for b.Loop() {
		h.Reset()
		x.body, x.asked = body, "chat"
		if err := x.admit(); err != nil {
			b.Fatal(err)
		}
		if err := x.aim(x.target); err != nil {
			b.Fatal(err)
		}
		x.tally = tally{came: true, known: true, answer: used}
		x.standings(&h)
		x.bill(&h)
		x.grant.Settle(x.tally.all(), x.tally.paid, x.tally.told())
	}
}

// exchangeOf is a request of one who has these limits, as it is once its model is found.
func exchangeOf(b testing.TB, limits policy.Limits) *exchange {
	counters, err := counting.Open(counting.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = counters.Close() }) // it keeps nothing
	gate, err := policy.New(policy.Setup{Counters: counters,
		Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "main", Key: keyOf("main")}}, Limits: limits}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { gate.Close(nil) })
	clients, err := provider.New(map[string]provider.Config{"p": {Kind: "simulated"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { clients["p"].Close() })
	prices, err := usage.New(usage.Config{})
	if err != nil {
		b.Fatal(err)
	}
	target := &router.Target{Route: "chat", Provider: "p", Model: "fake"}
	g := &Gateway{Gate: gate, Providers: clients, Prices: prices}
	g.tariffs = []tariff{g.tariff(target, target.Model)}
	x := &exchange{recording: &recording{}, call: &provider.Call{}, g: g, ctx: &fasthttp.RequestCtx{}, ep: posts["/v1/chat/completions"], target: target, route: &router.Route{Name: "chat", Targets: []*router.Target{target}}}
	x.call.Body = &x.body
	if x.caller, err = gate.Identify([]byte(keyOf("main")), x.start); err != nil {
		b.Fatal(err)
	}
	return x
}
