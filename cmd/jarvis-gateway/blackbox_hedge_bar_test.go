package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

const hedgeBarConfig = `
providers:
  one: {kind: vllm, base_url: "%s"}
  two: {kind: vllm, base_url: "%s"}
models:
  plain: {targets: [{provider: one, model: plain}, {provider: two, model: plain}]}
  hedged: {hedge: {after: p95, max_extra: 5%%}, targets: [{provider: one, model: hedged}, {provider: two, model: hedged}]}
tenants:
  acme: {keys: [{name: main, key: "%s"}]}
`

// heavy are distributions of the time to the first token, of a random number each for its body and its tail.
var heavy = map[string]func(r *rand.Rand) time.Duration{
	// A server that is now and then busy with something else: one call in forty takes ten to forty times as long.
	"stragglers": func(r *rand.Rand) time.Duration {
		d := 30 * math.Exp(0.25*r.NormFloat64())
		if r.IntN(40) == 0 {
			d *= 10 + 30*r.Float64()
		}
		return time.Duration(min(d, 1500) * float64(time.Millisecond))
	},
	// One whose times have no scale of their own.
	"pareto": func(r *rand.Rand) time.Duration {
		return time.Duration(min(20*math.Pow(1-r.Float64(), -1/1.3), 2000) * float64(time.Millisecond))
	},
}

// Where first tokens have a heavy tail, asking a second target after the p95 cuts the p99 by 30 % at least, with 6 % extra calls at
// most. Each request is sent twice at the same time, to a model with hedging and to one without, and takes as long at either's
// first target: all that differs is the hedge.
func TestHedgeCutsTheTail(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 s")
	}
	for name, draw := range heavy {
		t.Run(name, func(t *testing.T) {
			// What holds the machine up holds up all its requests, and no hedge helps there: then all is tried again, more slowly.
			for scale := time.Duration(1); ; scale *= 2 {
				cut, extra := hedgeBar(t, draw, scale)
				t.Logf("p99 cut by %.0f %%, extra calls %.1f %%", 100*cut, 100*extra)
				if extra > 0.06 {
					t.Error("extra calls are more than 6 %")
				}
				if cut >= 0.3 && extra >= 0.01 {
					return
				}
				if scale == 4 {
					t.Fatal("the p99 is not cut by 30 %, with some extra calls")
				}
			}
		})
	}
}

// hedgeBar measures by which part hedging cuts the p99 of a distribution, stretched by a factor, and the part of extra calls.
func hedgeBar(t *testing.T, draw func(*rand.Rand) time.Duration, scale time.Duration) (cut, extra float64) {
	var hedged atomic.Int64
	var urls [2]string
	for i := range urls {
		s, err := fakellm.Start(fakellm.Options{Kind: fakellm.VLLM, Quiet: true, Plan: func(seen *fakellm.Seen) fakellm.Plan {
			if seen.Model == "hedged" {
				hedged.Add(1)
			}
			var n uint64
			_, _ = fmt.Sscanf(seen.Get("X-Request-Id"), "bar-%d", &n)
			return fakellm.Plan{FirstTokenDelay: scale * draw(rand.New(rand.NewPCG(n, uint64(i)))), Tokens: 4}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		urls[i] = s.URL()
	}
	g := start(t, fmt.Sprintf(hedgeBarConfig, urls[0], urls[1], tenantKey))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 500}}
	defer client.CloseIdleConnections()
	cut = g.cutByHedges(client, scale*6*time.Millisecond)
	g.idle()
	return cut, float64(hedged.Load())/hedgeBarCalls - 1
}

const hedgeBarCalls = 1500

// cutByHedges asks both models the same at fixed times, and returns by which part the p99 of the one that hedges is less.
func (g *running) cutByHedges(client *http.Client, pace time.Duration) float64 {
	const n = hedgeBarCalls
	times := map[string][]time.Duration{"plain": make([]time.Duration, n), "hedged": make([]time.Duration, n)}
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * pace)))
		for model, took := range times {
			wg.Go(func() { took[i] = g.firstToken(client, model, i) })
		}
	}
	wg.Wait()
	for model, took := range times {
		slices.Sort(took)
		g.Logf("%-6s p50 %4d ms, p95 %4d ms, p99 %4d ms, longest %4d ms", model, took[n/2].Milliseconds(), took[n*95/100].Milliseconds(),
			took[n*99/100].Milliseconds(), took[n-1].Milliseconds())
	}
	return 1 - float64(times["hedged"][n*99/100])/float64(times["plain"][n*99/100])
}

// firstToken is how long a stream's first content takes.
func (g *running) firstToken(client *http.Client, model string, i int) time.Duration {
	req, err := http.NewRequest(http.MethodPost, "http://"+g.api+"/v1/chat/completions", strings.NewReader(fmt.Sprintf(`{"model":%q,"stream":true,"messages":[{"role":"user","content":"Hello"}]}`, model)))
	if err != nil {
		g.Error(err)
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+tenantKey)
	req.Header.Set("X-Request-Id", fmt.Sprintf("bar-%d", i))
	begun := time.Now()
	res, err := client.Do(req) // the gateway's headers come with the first content
	if err != nil {
		g.Error(err)
		return 0
	}
	took := time.Since(begun)
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), "[DONE]") {
		g.Errorf("%s %d: %d %v %s", model, i, res.StatusCode, err, body)
	}
	return took
}
