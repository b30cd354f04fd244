package main

import (
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

// Where a pool is all that a model has, a request that one replica fails is answered by the next one, and a stream is gone on with.
func TestAnotherReplica(t *testing.T) {
	for name, row := range map[string]struct {
		plan   fakellm.Plan
		stream bool
		more   string
		route  string
	}{
		"an error":                 {fakellm.Plan{Status: 500}, false, "", "retry:upstream_error"},
		"an error before a stream": {fakellm.Plan{Status: 503}, true, "", "retry:upstream_error"},
		"with retries":             {fakellm.Plan{Status: 500}, false, ", retry: {attempts: 3, backoff: 1ms..2ms}", "retry:upstream_error"},
		"cut":                      {fakellm.Plan{Tokens: 8, Fault: fakellm.CutMidStream}, true, ", continue: true", ""},
	} {
		t.Run(name, func(t *testing.T) {
			servers := replicas(t, 2, fakellm.Options{})
			config := strings.Replace(poolConfig(servers, "probe: {every: off}, scrape: off"), "model: fake}]", "model: fake}]"+row.more, 1)
			g := start(t, config)
			servers[0].SetPlan(func(*fakellm.Seen) fakellm.Plan { return row.plan })
			met := 0
			for i := 0; i < 6 || met == 0 && i < 60; i++ { // few, as the budget of repetitions and the finding out of bad replicas go
				before := served(servers[0])
				a := g.ask(t, chatRequest("chat", row.stream))
				if a.status != 200 || strings.Contains(a.body, `"error"`) || row.stream && !strings.Contains(a.body, "data: [DONE]") {
					t.Fatalf("%v", a)
				}
				if served(servers[0]) == before {
					continue
				}
				met++
				if row.route != "" && (a.header.Get("X-Jarvis-Route") != row.route || a.header.Get("X-Jarvis-Attempts") != "2") {
					t.Errorf("%v", a)
				}
			}
			if met == 0 {
				t.Error("the bad replica was never asked")
			}
		})
	}

	// One that is alone is not asked twice, and of two that fail each is asked once.
	for _, n := range []int{1, 2} {
		servers := replicas(t, n, fakellm.Options{})
		for _, s := range servers {
			s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Status: 500} })
		}
		g := start(t, poolConfig(servers, "probe: {every: off}, scrape: off"))
		if a := g.ask(t, chatRequest("chat", false)); a.status != 502 {
			t.Errorf("%v", a)
		}
		for i, s := range servers {
			s.WaitDone(1, time.Second)
			if got := served(s); got != 1 {
				t.Errorf("%d of %d was asked %d times", i+1, n, got)
			}
		}
	}
}
