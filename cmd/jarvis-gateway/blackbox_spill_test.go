package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

func spillConfig(pool []*fakellm.Server, cloud *fakellm.Server, spill, limits string) string {
	return fmt.Sprintf(`
providers:
  gpu: {kind: vllm, replicas: %s, scrape: 30ms, slow_start: off}
  cloud: {kind: openai, base_url: "%s/v1"}
models: {chat: {targets: [{provider: gpu, model: fake, spill: %s}, {provider: cloud, model: gpt-4o}]}}
tenants: {acme: {%s keys: [{name: main, key: %s}]}}
`, urls(pool), cloud.URL(), spill, limits, tenantKey)
}

// Requests go on to the next target while the pool has too much to do, by what waits or by how full its caches are, and come
// back.
func TestSpill(t *testing.T) {
	for _, c := range []struct {
		spill            string
		busy, less, idle fakellm.Load
	}{
		{"{waiting: 10}", fakellm.Load{Running: 8, Waiting: 10}, fakellm.Load{Running: 8, Waiting: 9}, fakellm.Load{Running: 8, Waiting: 2}},
		{"{kv: 90%}", fakellm.Load{Running: 8, KV: 0.93}, fakellm.Load{Running: 8, KV: 0.87}, fakellm.Load{Running: 8, KV: 0.5}},
	} {
		t.Run(c.spill, func(t *testing.T) {
			pool, cloud := replicas(t, 2, fakellm.Options{}), replicas(t, 1, fakellm.Options{})[0]
			g := start(t, spillConfig(pool, cloud, c.spill, ""))
			goes := func(to string, load fakellm.Load) {
				t.Helper()
				for _, s := range pool {
					s.ShowLoad(&load)
				}
				eventually(t, fmt.Sprintf("%+v goes to %s", load, to), func() bool { return g.ask(t, "chat").header.Get("X-Jarvis-Provider") == to })
			}
			quietly(t, func(t testing.TB) { // a pause makes metrics too old to be believed
				goes("gpu", c.idle)
				goes("cloud", c.busy)
				for _, s := range pool {
					s.ShowLoad(&c.less)
				}
				time.Sleep(200 * time.Millisecond) // several scrapes
				if to := g.ask(t, "chat").header.Get("X-Jarvis-Provider"); to != "cloud" {
					t.Errorf("a little below the threshold it goes back to %s", to)
				}
			})
			goes("gpu", c.idle)
		})
	}
}

// A tenant whose budget does not pay for the cloud is served by the pool, full as it is.
func TestSpillBeyondTheBudget(t *testing.T) {
	pool, cloud := replicas(t, 2, fakellm.Options{}), replicas(t, 1, fakellm.Options{})[0]
	g := start(t, spillConfig(pool, cloud, "{waiting: 10}", "limits: {spend: $0.0000001/d},"))
	for _, s := range pool {
		s.ShowLoad(&fakellm.Load{Running: 8, Waiting: 50})
	}
	eventually(t, "the metrics are read", func() bool {
		return g.replica(pool[0]).Get("waiting").Int() == 50 && g.replica(pool[1]).Get("waiting").Int() == 50
	})
	eventually(t, "the cloud is thought of", func() bool {
		a := g.ask(t, "chat")
		if a.status != 200 || a.header.Get("X-Jarvis-Provider") != "gpu" {
			t.Fatal(a)
		}
		return a.header.Get("X-Jarvis-Attempts") == "2"
	})
	if n := served(cloud); n != 0 {
		t.Errorf("the cloud was asked %d times", n)
	}
}

func roomConfig(pool []*fakellm.Server, more, targets string) string {
	return fmt.Sprintf(`
providers:
  gpu: {kind: vllm, replicas: %s, max_in_flight: 4, %s}
  cloud: {kind: vllm, base_url: "%s"}
models: {chat: {targets: [{provider: gpu, model: fake}%s]}}
tenants:
  acme: {keys: [{name: main, key: %s}]}
  other: {keys: [{name: main, key: jv-other-0123456789abcdef}]}
`, urls(pool[:1]), more, pool[1].URL(), targets, tenantKey)
}

// No more requests are at a pool than it has room for; those that wait have their turns tenant by tenant.
func TestBulkheadIsFair(t *testing.T) {
	var now, most atomic.Int64
	everyoneIsThere := make(chan struct{})
	pool := replicas(t, 2, fakellm.Options{Plan: func(seen *fakellm.Seen) fakellm.Plan {
		if seen.Endpoint == "chat/completions" {
			<-everyoneIsThere
		}
		return fakellm.Plan{Delay: 10 * time.Millisecond}
	}})
	g := start(t, roomConfig(pool, "queue: {wait: 10m}", ""))
	watching := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-watching:
				return
			case <-time.After(time.Millisecond):
				now.Store(0)
				for _, seen := range pool[0].Seen() {
					if seen.Endpoint == "chat/completions" && seen.Ended.IsZero() {
						now.Add(1)
					}
				}
				most.Store(max(most.Load(), now.Load()))
			}
		}
	})
	var asks sync.WaitGroup
	send := func(tenant, key string, n int) {
		for i := range n {
			asks.Go(func() {
				if a := g.ask(t, fmt.Sprintf("chat\nX-Request-Id: %s-%d\nAuthorization: Bearer %s", tenant, i, key)); a.status != 200 {
					t.Error(a)
				}
			})
		}
	}
	send("acme", tenantKey, 40)
	eventually(t, "the line is long", func() bool { return g.metrics()["jarvis_requests_in_flight"] > 20 })
	send("other", "jv-other-0123456789abcdef", 5)
	eventually(t, "all are in line", func() bool { return g.metrics()["jarvis_requests_in_flight"] == 45 })
	close(everyoneIsThere)
	asks.Wait()
	close(watching)
	wg.Wait()
	if most.Load() > 4 {
		t.Errorf("%d requests were at the pool at once", most.Load())
	}
	last := 0
	var order []string // of arrival at the pool
	for _, seen := range pool[0].Seen() {
		if seen.Endpoint == "chat/completions" {
			order = append(order, seen.Get("X-Request-Id"))
		}
	}
	for i, id := range order {
		if strings.HasPrefix(id, "other") {
			last = i
		}
	}
	if len(order) != 45 || last > 25 {
		t.Errorf("the second tenant's last request came as number %d of %d: %v", last+1, len(order), order)
	}
}

// A pool without room, by its own count: the next target is asked at once; without one a request waits as long as it may.
func TestBulkheadFull(t *testing.T) {
	plan := func(*fakellm.Seen) fakellm.Plan {
		return fakellm.Plan{Tokens: 10_000, EventDelay: 20 * time.Millisecond}
	}
	pool := replicas(t, 2, fakellm.Options{})
	for _, c := range []struct{ name, targets, queue, provider string }{
		{"another target", ", {provider: cloud, model: fake}", "queue: {wait: 10m}", "cloud"},
		{"none, and it waits in vain", "", "queue: {wait: 50ms}", ""},
		{"none, and no place in line", "", "queue: {max: 1, wait: 10m}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool[0].SetPlan(plan)
			g := start(t, roomConfig(pool, c.queue, c.targets))
			var in []*dialled
			for range 4 {
				conn := g.dial(t)
				conn.send("stream")
				in = append(in, conn)
			}
			eventually(t, "the pool is full", func() bool {
				r := g.replica(pool[0])
				return r.Get("in_flight").Int() == 4 && r.Get("unanswered").Int() == 0
			})
			if c.name == "none, and no place in line" {
				g.dial(t).send("stream")
				eventually(t, "one waits", func() bool { return g.metrics()["jarvis_requests_in_flight"] == 5 })
			}
			begun := time.Now()
			a := g.ask(t, "chat")
			if time.Since(begun) > patience/2 {
				t.Errorf("it took %v", time.Since(begun))
			}
			if c.provider != "" && (a.status != 200 || a.header.Get("X-Jarvis-Provider") != c.provider) {
				t.Error(a)
			}
			if c.provider == "" && (a.status != 429 || a.header.Get("Retry-After") == "") {
				t.Error(a)
			}
			pool[0].SetPlan(nil)
			for _, conn := range in { // the clients leave: their places are free
				conn.Close()
			}
			eventually(t, "a place", func() bool {
				a := g.ask(t, "chat")
				return a.status == 200 && a.header.Get("X-Jarvis-Provider") == "gpu"
			})
		})
	}
}

// A replica that dies with many streams on it costs the pool nothing else: the next requests are the others', not the cloud's.
func TestKilledReplicaLeavesThePool(t *testing.T) {
	pool, cloud := replicas(t, 3, fakellm.Options{Default: fakellm.Plan{Tokens: 50_000, EventDelay: 5 * time.Millisecond}}), replicas(t, 1, fakellm.Options{})[0]
	g := start(t, spillConfig(pool, cloud, "{waiting: 100}", ""))
	var in []*dialled
	for range 24 {
		c := g.dial(t)
		c.send("stream")
		in = append(in, c)
	}
	eventually(t, "all are under way", func() bool { return served(pool[0])+served(pool[1])+served(pool[2]) == 24 })
	eventually(t, "and have begun", func() bool {
		r := g.replica(pool[0])
		return r.Get("in_flight").Int() > 4 && r.Get("unanswered").Int() == 0
	})
	if err := pool[0].Refuse(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its streams are over", func() bool {
		return g.metrics()["jarvis_requests_in_flight"] == float64(served(pool[1])+served(pool[2])) && g.replica(pool[0]).Get("failed").Int() > 4
	})
	for _, s := range pool {
		s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{} })
	}
	for range 20 {
		if a := g.ask(t, "chat"); a.status != 200 || a.header.Get("X-Jarvis-Provider") != "gpu" {
			t.Fatal(a)
		}
	}
	for _, c := range in {
		c.Close()
	}
}
