package proxy

import (
	"testing"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// BenchmarkAccount is what counting one answered request costs: of a tenant with a name in metrics, of one without, and where the
// request's trace is kept.
func BenchmarkAccount(b *testing.B) {
	b.Run("named", func(b *testing.B) { accounted(b, nil) })
	b.Run("other", func(b *testing.B) {
		accounted(b, func(x *exchange) {
			for i := range 2 * manyTenants {
				tenants.label(string(rune('a'+i%26)) + time.Duration(i).String())
			}
			caller := *x.caller
			caller.Tenant = "one of many"
			x.caller = &caller
		})
	})
	b.Run("traced", func(b *testing.B) { accounted(b, func(x *exchange) { x.trail = &trail{kept: true} }) })
}

func accounted(b *testing.B, change func(*exchange)) {
	x := exchangeOf(b, policy.Limits{})
	x.g.metrics = []*lazyTarget{{target: x.target}}
	x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 70, Completion: 40, CachedPrompt: 64}, paid: 12345}
	x.start = time.Now()
	x.first = 120 * time.Millisecond
	if change != nil {
		change(x)
	}
	end := x.start.Add(time.Second)
	b.ReportAllocs()
	for b.Loop() {
		x.account(end)
	}
}
