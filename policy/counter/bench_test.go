package counter_test

import (
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// fiveLimits are those of a request: of a key, a tenant and the gateway.
func fiveLimits(c *counter.Counters) []counter.Need {
	get := func(name string, a counter.Algorithm, n int64, spend bool) counter.Need {
		k := c.Get(counter.Spec{Name: name, Algorithm: a, Limit: 1 << 50, Window: time.Minute})
		return counter.Need{Counter: k, N: n, Spend: spend}
	}
	return []counter.Need{
		get("key/requests", counter.Sliding, 1, true),
		get("tenant/tokens", counter.Token, 900, false),
		get("tenant/spend", counter.Calendar, 1_000_000, false),
		get("tenant/concurrency", counter.Level, 1, false),
		get("gateway/concurrency", counter.Level, 1, false),
	}
}

func endsOf(needs []counter.Need) []counter.End {
	return []counter.End{
		{Counter: needs[0].Counter, Look: true},
		{Counter: needs[1].Counter, Held: 900, Used: 700, Look: true},
		{Counter: needs[2].Counter, Held: 1_000_000, Used: 700_000, Look: true},
		{Counter: needs[3].Counter, Held: 1},
		{Counter: needs[4].Counter, Held: 1},
	}
}

func benchmarkFive(b *testing.B, c *counter.Counters) {
	b.ReportAllocs()
	needs := fiveLimits(c)
	ends := endsOf(needs)
	for b.Loop() {
		if s, ok := c.Take(needs); !ok {
			b.Fatal(s)
		}
		c.Settle(ends)
	}
}

func BenchmarkMemoryFive(b *testing.B) {
	c, err := counter.Open(counter.Options{Ledger: b.TempDir() + "/ledger"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	benchmarkFive(b, c)
}

func BenchmarkMemoryFiveParallel(b *testing.B) {
	c, err := counter.Open(counter.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	fiveLimits(c)
	b.RunParallel(func(p *testing.PB) {
		needs := fiveLimits(c)
		ends := endsOf(needs)
		for p.Next() {
			if s, ok := c.Take(needs); !ok {
				b.Error(s)
			}
			c.Settle(ends)
		}
	})
}

func BenchmarkLeaseFive(b *testing.B) {
	c, err := counter.Open(counter.Options{URL: "redis://" + startRedis(b), Ledger: b.TempDir() + "/ledger"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	benchmarkFive(b, c)
	s := c.Stats()
	b.ReportMetric(100*float64(s.Direct)/float64(s.Direct+s.Waited), "%direct")
}
