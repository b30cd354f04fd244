package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

const noisyConfig = `
stores: {state: "sqlite:${DIR}/state.db", counters: "${COUNTERS}"}
providers: {up: {kind: vllm, base_url: "${UP}"}}
models: {chat: {targets: [{provider: up, model: fake}]}}
limits: {concurrency: 200}
tenants:
  noisy: {limits: {requests: {limit: 20/s, algorithm: token_bucket}, tokens: 100M/d, concurrency: 20}, keys: [{name: main, key: jv-noisy-0123456789abcdef}]}
  quiet: {limits: {requests: 100k/m, tokens: 100M/d, concurrency: 50}, keys: [{name: main, key: jv-quiet-0123456789abcdef}]}
`

// BenchmarkNoisyNeighbour tells how much slower one tenant's requests get while another asks fifty times as often as it may.
// Both come at fixed times, whatever the answers take.
func BenchmarkNoisyNeighbour(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "jarvis-gateway")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for _, counters := range []string{"memory", "redis"} {
		b.Run(counters, func(b *testing.B) {
			url := counters
			if counters == "redis" {
				url = "redis://" + redisServer(b) + "/0"
			}
			s, err := fakellm.Start(fakellm.Options{Kind: fakellm.VLLM, Quiet: true, Default: fakellm.Plan{Delay: 20 * time.Millisecond}})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(s.Close)
			p := newProcess(b, bin, strings.NewReplacer("${COUNTERS}", url, "${UP}", s.URL()).Replace(noisyConfig))
			paced(b, p, "quiet", 50, time.Second)
			var alone, beside []tally
			refused := 0
			for range b.N {
				alone = append(alone, paced(b, p, "quiet", 50, 5*time.Second)...)
				var noise []tally
				var wg sync.WaitGroup
				wg.Go(func() { noise = paced(b, p, "noisy", 1000, 5*time.Second) })
				beside = append(beside, paced(b, p, "quiet", 50, 5*time.Second)...)
				wg.Wait()
				refused += count([][]tally{noise}, 429)
			}
			for _, r := range slices.Concat(alone, beside) {
				if r.status != 200 {
					b.Fatalf("the quiet tenant got %d", r.status)
				}
			}
			before, after := quantile([][]tally{alone}, 99), quantile([][]tally{beside}, 99)
			b.ReportMetric(float64(before.Microseconds())/1000, "p99-alone-ms")
			b.ReportMetric(float64(after.Microseconds())/1000, "p99-beside-ms")
			b.ReportMetric(100*(float64(after)/float64(before)-1), "rise-%")
			b.ReportMetric(float64(refused)/float64(b.N), "refused/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// paced sends requests at fixed times.
func paced(t testing.TB, p *process, tenant string, perSecond int, during time.Duration) []tally {
	client := clients(t)
	n := perSecond * int(during/time.Second)
	all := make([]tally, n)
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range n {
		time.Sleep(time.Until(begun.Add(during * time.Duration(i) / time.Duration(n))))
		wg.Go(func() {
			q := question{key: "jv-" + tenant + "-0123456789abcdef", model: "chat", text: "Hi", most: 5}
			all[i] = q.ask(client, p.at.Load().api)
		})
	}
	wg.Wait()
	return all
}
