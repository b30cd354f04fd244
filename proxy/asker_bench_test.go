package proxy

import (
	"testing"

	"jarvis-gateway/policy"
	"jarvis-gateway/router"
)

// BenchmarkCosts50 is what it takes to know the price of a request at 50 targets, for pick: cheapest and best.
func BenchmarkCosts50(b *testing.B) {
	x := exchangeOf(b, policy.Limits{})
	m := router.Model{}
	for range 50 {
		m.Targets = append(m.Targets, router.TargetConfig{Provider: "p", Model: "gpt-4o"})
	}
	r, err := router.New(router.Setup{Models: map[string]router.Model{"chat": m}, Providers: []string{"p"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	x.g.tariffs = nil
	for _, t := range r.Targets() {
		x.g.tariffs = append(x.g.tariffs, x.g.tariff(t, t.Model))
	}
	x.query = &router.Query{Tokens: 1000}
	b.ReportAllocs()
	for b.Loop() {
		for _, t := range r.Targets()[:50] {
			if x.costs(t) < 0 {
				b.Fatal("the price is not known")
			}
		}
	}
}
