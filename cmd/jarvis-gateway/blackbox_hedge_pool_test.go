package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

const hedgedPool = `
providers: {gpu: {kind: vllm, replicas: %s, probe: {every: off}, scrape: off}}
models: {chat: {hedge: {after: 50ms, max_extra: 100%%}, targets: [{provider: gpu, model: fake}]}}
tenants: {acme: {timezone: %s, keys: [{name: main, key: %s, limits: {tokens: 10M/d}}]}}
`

// replicaDuel is a gateway whose only target is a pool of two.
type replicaDuel struct {
	*duel
	servers []*fakellm.Server
	order   chan *fakellm.Server // those that were asked
}

func newReplicaDuel(t *testing.T) *replicaDuel {
	t.Helper()
	d := &replicaDuel{servers: replicas(t, 2, fakellm.Options{})}
	d.duel = &duel{planned: map[*fakellm.Server]time.Time{}, running: start(t, fmt.Sprintf(hedgedPool, urls(d.servers), noon(), tenantKey))}
	return d
}

// plan has whoever is asked first answer so, and the next one so.
func (d *replicaDuel) plan(plans ...fakellm.Plan) {
	var calls atomic.Int32
	d.order = make(chan *fakellm.Server, 8)
	for _, s := range d.servers {
		s.Reset()
		s.SetPlan(func(seen *fakellm.Seen) fakellm.Plan {
			d.order <- s
			return d.now(s, plans[min(int(calls.Add(1)), len(plans))-1])
		})
	}
}

// A pool that is all that a model has is hedged within: the second attempt is at another replica. Both are counted, and the one that
// loses ends within 50 ms, in the median.
func TestHedgeWithinAPool(t *testing.T) {
	d := newReplicaDuel(t)
	for _, row := range []struct {
		name          string
		first, second fakellm.Plan
		won           bool
	}{
		{"the second wins", fakellm.Plan{Delay: ages}, fakellm.Plan{Tokens: 4}, true},
		{"the second wins while the first has headers", fakellm.Plan{FirstTokenDelay: ages}, fakellm.Plan{Tokens: 4}, true},
		{"the first wins", fakellm.Plan{Delay: 150 * time.Millisecond, Tokens: 4}, fakellm.Plan{Delay: ages}, false},
	} {
		for i := range 6 {
			t.Run(fmt.Sprintf("%s/%d", row.name, i), func(t *testing.T) {
				d.plan(row.first, row.second)
				_, tokens := d.spent(t)
				id := fmt.Sprintf("pool-hedge-%s-%d", strings.ReplaceAll(row.name, " ", "-"), i)
				a := d.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\n\n"+fmt.Sprintf(hedgeBodies["chat/completions"], "chat", i%2 == 0 || row.first.FirstTokenDelay > 0))
				if a.status != 200 || a.cut || a.header.Get("X-Jarvis-Attempts") != "2" || (a.header.Get("X-Jarvis-Route") == "hedge") != row.won {
					t.Fatalf("%v, %v", a, a.header)
				}
				winner, loser := <-d.order, <-d.order
				if winner == loser {
					t.Fatal("the same replica was asked twice")
				}
				delay := row.first.Delay
				if row.won {
					winner, loser, delay = loser, winner, 0
				}
				seen := loser.WaitDone(1, patience)
				if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() || seen[0].Finished {
					t.Fatalf("the loser saw %+v", seen)
				}
				d.late = append(d.late, seen[0].ClosedByPeer.Sub(d.asked(winner).Add(delay)))
				if answered := winner.WaitDone(1, patience); len(answered) != 1 || !answered[0].Finished {
					t.Errorf("the winner saw %+v", answered)
				}
				_, now := d.spent(t)
				line := d.access(id)
				near(t, "tokens", now-tokens, line.Get("prompt_tokens").Float()+line.Get("completion_tokens").Float())
				// The loser has read the prompt too, of which the gateway estimates how long it is.
				if billed := winner.Seen()[0].Billed; now-tokens < float64(billed.Total)+5 || !line.Get("estimated").Bool() {
					t.Errorf("not both were counted: %g tokens, and the winner billed %+v", now-tokens, billed)
				}
			})
		}
	}
	slices.Sort(d.late)
	t.Logf("%d losers were called off %s after the other one had content, in the median; %s at most", len(d.late), d.late[len(d.late)/2], d.late[len(d.late)-1])
	if d.late[len(d.late)/2] > 50*time.Millisecond {
		t.Error("that is too late")
	}
}

// When both replicas fail, neither is asked again.
func TestHedgeWithinAPoolFails(t *testing.T) {
	d := newReplicaDuel(t)
	d.plan(fakellm.Plan{Delay: 120 * time.Millisecond, Status: 500}, fakellm.Plan{Status: 503})
	if a := d.ask(t, chatRequest("chat", false)); a.status != 502 || a.header.Get("X-Jarvis-Attempts") != "2" {
		t.Errorf("%v", a)
	}
	for i, s := range d.servers {
		if n := served(s); n != 1 {
			t.Errorf("%d was asked %d times", i+1, n)
		}
	}
	d.spent(t)
}

// A replica that is alone, as the other one is drained, is asked once, and it is not counted as its failure.
func TestNoHedgeWithinAPool(t *testing.T) {
	d := newReplicaDuel(t)
	d.plan(fakellm.Plan{Delay: 120 * time.Millisecond})
	res, err := http.Post("http://"+d.private+"/admin/v1/pools/drain", "application/json", strings.NewReader(fmt.Sprintf(`{"provider":"gpu","replica":%q}`, d.servers[0].URL())))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	a := d.ask(t, chatRequest("chat", false))
	if a.status != 200 || a.header.Get("X-Jarvis-Attempts") != "1" || served(d.servers[0]) != 0 || served(d.servers[1]) != 1 {
		t.Errorf("%v", a)
	}
	if n := d.metrics()[`jarvis_hedges_total{model="chat",result="none"}`]; n != 1 {
		t.Errorf("%v hedges were not made", n)
	}
}
