package router_test

import (
	"slices"
	"testing"
	"time"

	"jarvis-gateway/router"
)

var epoch = time.Unix(1e9, 0)

// after is a moment of a test's time.
func after(d time.Duration) time.Time { return epoch.Add(d) }

func newPool(t testing.TB, n int, cfg router.PoolConfig) (*router.Pool, []*router.Replica) {
	t.Helper()
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	pool := router.NewPool(cfg, epoch)
	if err := pool.Set(epoch, addresses(n)); err != nil {
		t.Fatal(err)
	}
	return pool, pool.Replicas()
}

// end makes a replica's request end, right after it began.
func end(r *router.Replica, at time.Time, how router.Ending, times int) {
	for range times {
		turn := r.Begin(at, &router.PoolQuery{})
		turn.End(at, how)
	}
}

// drive sends requests at an even pace through the pool, for d from at on. first tells how long a replica takes to its first
// token, after which 200 ms of answer follow. It returns how many each got, per step.
func drive(t *testing.T, pool *router.Pool, at, d, step time.Duration, first func(r *router.Replica, at time.Duration) time.Duration) []map[string]int {
	t.Helper()
	const every = 5 * time.Millisecond
	type due struct {
		first, end time.Duration
		turn       *router.Turn
	}
	var open []due
	var got []map[string]int
	for now := at; now < at+d; now += every {
		open = slices.DeleteFunc(open, func(u due) bool {
			if u.first > 0 && u.first <= now {
				u.turn.Answered(after(now))
			}
			if u.end <= now {
				u.turn.End(after(now), router.EndedOK)
			}
			return u.end <= now
		})
		for range 2 {
			q := &router.PoolQuery{}
			r, why := pool.Choose(after(now), q)
			if r == nil {
				t.Fatalf("at %v: %v", now, why)
			}
			turn := r.Begin(after(now), q)
			took := first(r, now)
			open = append(open, due{first: now + took, end: now + took + 200*time.Millisecond, turn: &turn})
			if i := int((now - at) / step); i >= len(got) {
				got = append(got, map[string]int{})
			}
			got[len(got)-1][r.Address]++
		}
	}
	for _, u := range open {
		u.turn.End(after(at+d), router.EndedNeutral)
	}
	return got
}

func TestSlowReplicaLosesItsTraffic(t *testing.T) {
	for name, slow := range map[string]time.Duration{"ten times slower": time.Second, "silent": time.Hour} {
		t.Run(name, func(t *testing.T) {
			pool, replicas := newPool(t, 4, router.PoolConfig{})
			bad := replicas[1].Address
			got := drive(t, pool, 0, 60*time.Second, time.Second, func(r *router.Replica, at time.Duration) time.Duration {
				if r.Address == bad && at >= 10*time.Second && at < 30*time.Second {
					return slow
				}
				return 100 * time.Millisecond
			})
			share := func(from, to int) float64 {
				sum := 0
				for _, g := range got[from:to] {
					sum += g[bad]
				}
				return float64(sum) / float64(400*(to-from))
			}
			t.Logf("share of the traffic: before %.3f, first second %.3f, second %.3f, then %.4f; back: %.3f %.3f %.3f %.3f", share(0, 10), share(10, 11), share(11, 12), share(12, 30), share(30, 32), share(32, 36), share(36, 44), share(50, 60))
			if s := share(0, 10); s < 0.2 {
				t.Errorf("got %.3f while it was well", s)
			}
			if s := share(12, 30); s > 0.02 {
				t.Errorf("got %.3f from two seconds after it became slow", s)
			}
			if name == "silent" {
				return // those that it never answered still stand against it
			}
			if s := share(30, 31); s > 0.1 {
				t.Errorf("got %.3f at once when it returned", s)
			}
			if s := share(50, 60); s < 0.2 {
				t.Errorf("got only %.3f long after it returned", s)
			}
		})
	}
}

func TestNewReplicaStartsSlowly(t *testing.T) {
	pool, _ := newPool(t, 4, router.PoolConfig{SlowStart: 20 * time.Second})
	well := func(*router.Replica, time.Duration) time.Duration { return 100 * time.Millisecond }
	drive(t, pool, 0, 5*time.Second, time.Second, well)
	pool.Set(after(5*time.Second), addresses(5))
	fresh := pool.Replicas()[4]
	got := drive(t, pool, 5*time.Second, 30*time.Second, 5*time.Second, well)
	var shares []float64
	for _, g := range got {
		shares = append(shares, float64(g[fresh.Address])/2000)
	}
	t.Logf("shares in steps of 5s: %.3f", shares)
	if shares[0] > 0.12 || shares[0] == 0 || shares[5] < 0.15 || shares[5] > 0.25 {
		t.Errorf("shares %.3f, want a slow begin and a fifth in the end", shares)
	}
	if !slices.IsSorted(shares[:3]) {
		t.Errorf("shares %.3f do not grow", shares)
	}
}

func TestOwnRequestsCountOnce(t *testing.T) {
	pool, r := newPool(t, 2, router.PoolConfig{})
	q := &router.PoolQuery{}
	var turns []router.Turn
	for range 10 {
		turns = append(turns, r[0].Begin(epoch, q))
	}
	r[0].Report(epoch, router.Scrape{Running: 8, Waiting: 2}) // all ours
	r[1].Report(epoch, router.Scrape{Running: 5, KV: 0.5})    // all others'
	if got, _ := pool.Choose(after(time.Millisecond), q); got != r[1] {
		t.Error("the one with ten of ours was chosen before the one with five of others")
	}
	for i := range turns {
		turns[i].End(after(2*time.Millisecond), router.EndedOK)
	}
	if got, _ := pool.Choose(after(3*time.Millisecond), q); got != r[0] {
		t.Error("ours are done, and yet the one with others' requests was chosen")
	}
	if l := pool.Load(after(3 * time.Millisecond)); l.Running != 13 || l.Waiting != 2 || l.KV != 0.25 || l.Ready != 2 {
		t.Errorf("load %+v", l)
	}
	chosen := map[*router.Replica]int{}
	for range 100 {
		got, _ := pool.Choose(after(4*time.Second), q)
		chosen[got]++
	}
	if chosen[r[1]] < 20 {
		t.Error("a scrape of long ago still counts")
	}
	if l := pool.Load(after(4 * time.Second)); l.Running != 0 || l.KV != 0 {
		t.Errorf("old load %+v", l)
	}
}

// Several gateways send to the same replicas and know of each other only by the scrapes.
func TestGatewaysShareAPool(t *testing.T) {
	const gateways, n = 4, 4
	var pools [gateways]*router.Pool
	for i := range pools {
		pools[i], _ = newPool(t, n, router.PoolConfig{Seed: uint64(i + 1)})
	}
	var running, most [n]int
	type due struct {
		end   time.Duration
		place int
		turn  router.Turn
	}
	var open []due
	sum, worst, looks := 0, 0, 0
	for i := range 20000 {
		now := time.Duration(i) * 5 * time.Millisecond
		for j := 0; j < len(open); j++ {
			if u := &open[j]; u.end <= now {
				u.turn.End(after(now), router.EndedOK)
				running[u.place]--
				open = slices.Delete(open, j, j+1)
				j--
			}
		}
		for g, p := range pools {
			if i%200 == g*50 {
				for place, r := range p.Replicas() {
					r.Report(after(now), router.Scrape{Running: running[place]})
				}
			}
		}
		p := pools[i%gateways]
		q := &router.PoolQuery{}
		r, _ := p.Choose(after(now), q)
		place := slices.Index(p.Replicas(), r)
		running[place]++
		most[place] = max(most[place], running[place])
		open = append(open, due{now + time.Duration(500+i*7919%1000)*time.Millisecond, place, r.Begin(after(now), q)})
		if i > 1000 {
			worst += slices.Max(running[:])
			sum += running[0] + running[1] + running[2] + running[3]
			looks++
		}
	}
	ratio := float64(worst*n) / float64(sum)
	t.Logf("mean of max/mean requests in flight %.3f, most at once %v", ratio, most)
	if ratio > 1.35 {
		t.Errorf("max/mean %.3f", ratio)
	}
}

func TestEjection(t *testing.T) {
	t.Run("failures in a row", func(t *testing.T) {
		pool, r := newPool(t, 4, router.PoolConfig{})
		end(r[0], epoch, router.EndedFailed, 4)
		end(r[0], epoch, router.EndedNeutral, 10)
		if s := r[0].State(epoch); s != router.WhyFit {
			t.Fatalf("%v after four failures", s)
		}
		end(r[0], epoch, router.EndedFailed, 1)
		if s := r[0].State(epoch); s != router.WhyEjected {
			t.Fatalf("%v after five failures", s)
		}
		if got, why := pool.Choose(epoch, &router.PoolQuery{Tried: r[1:]}); got != r[0] || why != router.WhyEjected {
			t.Errorf("with all others tried: %v, %v", got, why)
		}
		first := r[0].View(epoch).EjectedUntil.Sub(epoch)
		if first < 4*time.Second || first > 6*time.Second {
			t.Errorf("the first ejection lasts %v", first)
		}
		back := epoch.Add(first)
		if v := r[0].View(back); v.State != router.WhyFit || v.Warmth > 0.2 {
			t.Errorf("back as %v with warmth %.2f", v.State, v.Warmth)
		}
		end(r[0], back, router.EndedFailed, 1)
		if second := r[0].View(back).EjectedUntil.Sub(back); second < 8*time.Second || second > 12*time.Second {
			t.Errorf("the failure after the return ejects for %v", second)
		}
	})
	t.Run("a success ends the row", func(t *testing.T) {
		_, r := newPool(t, 4, router.PoolConfig{})
		for range 3 {
			end(r[0], epoch, router.EndedOK, 5)
			end(r[0], epoch, router.EndedFailed, 4)
		}
		if s := r[0].State(epoch); s != router.WhyFit {
			t.Error(s)
		}
	})
	t.Run("refused", func(t *testing.T) {
		_, r := newPool(t, 4, router.PoolConfig{})
		end(r[0], epoch, router.EndedRefused, 1)
		if s := r[0].State(epoch); s != router.WhyEjected {
			t.Error(s)
		}
	})
	t.Run("rate far above the others", func(t *testing.T) {
		for _, others := range []struct {
			failing bool
			want    router.Why
		}{{false, router.WhyEjected}, {true, router.WhyFit}} {
			_, r := newPool(t, 4, router.PoolConfig{Consecutive: 1000})
			for range 20 {
				for _, o := range r[1:] {
					end(o, epoch, router.EndedOK, 1)
					if others.failing {
						end(o, epoch, router.EndedFailed, 1)
					}
				}
				end(r[0], epoch, router.EndedOK, 1)
				end(r[0], epoch, router.EndedFailed, 2)
			}
			if s := r[0].State(epoch); s != others.want {
				t.Errorf("others failing %v: %v, want %v", others.failing, s, others.want)
			}
		}
	})
	t.Run("half of the pool stays", func(t *testing.T) {
		pool, r := newPool(t, 5, router.PoolConfig{})
		for _, r := range r {
			end(r, epoch, router.EndedFailed, 10)
		}
		if l := pool.Load(epoch); l.Ready != 3 {
			t.Errorf("%d of 5 are left", l.Ready)
		}
		for range 3 {
			r[3].Probe(epoch, false)
			r[4].Probe(epoch, false)
		}
		if l := pool.Load(epoch); l.Ready != 3 {
			t.Errorf("%d of 5 are left when two more went down, want the ejected ones back", l.Ready)
		}
	})
	t.Run("half of the pool stays when one comes up that was ejected before", func(t *testing.T) {
		pool, r := newPool(t, 3, router.PoolConfig{})
		end(r[0], epoch, router.EndedRefused, 1)
		for range 3 {
			r[0].Probe(epoch, false)
		}
		r[1].Drain(epoch, true)
		r[0].Probe(epoch, true)
		r[0].Probe(epoch, true)
		if l := pool.Load(epoch); l.Ready != 2 {
			t.Errorf("%d of 3 are ready; the first is %v", l.Ready, r[0].State(epoch))
		}
	})
	t.Run("not all return at once", func(t *testing.T) {
		_, r := newPool(t, 8, router.PoolConfig{})
		seen := map[time.Time]bool{}
		for _, r := range r[:4] {
			end(r, epoch, router.EndedFailed, 5)
			seen[r.View(epoch).EjectedUntil] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d different ends of 4 ejections", len(seen))
		}
	})
}

func TestProbes(t *testing.T) {
	for _, tc := range []struct {
		probes string
		want   router.Why
	}{
		{"", router.WhyFit}, {"--", router.WhyFit}, {"---", router.WhyDown}, {"-+-+-", router.WhyDown}, {"--+++-", router.WhyFit},
		{"---+", router.WhyDown}, {"---+-+", router.WhyDown}, {"---++", router.WhyFit},
		{"---++--", router.WhyFit}, {"---++---", router.WhyDown},
	} {
		_, r := newPool(t, 2, router.PoolConfig{})
		for _, ok := range tc.probes {
			r[0].Probe(epoch, ok == '+')
		}
		if s := r[0].State(epoch); s != tc.want {
			t.Errorf("%q: %v, want %v", tc.probes, s, tc.want)
		}
	}
}

func TestWhyNone(t *testing.T) {
	pool, r := newPool(t, 2, router.PoolConfig{})
	expect := func(q router.PoolQuery, want router.Why) {
		t.Helper()
		if got, why := pool.Choose(epoch, &q); got != nil || why != want {
			t.Errorf("%v, %v; want none, %v", got, why, want)
		}
	}
	expect(router.PoolQuery{Tried: r}, router.WhyTried)
	r[0].Report(epoch, router.Scrape{Models: []string{"base", "lora-a"}})
	if got, _ := pool.Choose(epoch, &router.PoolQuery{Model: "lora-b"}); got != r[1] {
		t.Error("a replica that lists models without this one was chosen")
	}
	r[1].Report(epoch, router.Scrape{Models: []string{}})
	expect(router.PoolQuery{Model: "lora-b"}, router.WhyModel)
	r[0].Drain(epoch, true)
	r[1].Drain(epoch, true)
	expect(router.PoolQuery{}, router.WhyDraining)
	r[0].Drain(epoch, false)
	if got, _ := pool.Choose(epoch, &router.PoolQuery{}); got != r[0] {
		t.Error("no longer drained, not chosen")
	}
	pool.Set(epoch, nil)
	expect(router.PoolQuery{}, router.WhyEmpty)
}

func TestSetKeepsWhatItKnows(t *testing.T) {
	pool, r := newPool(t, 3, router.PoolConfig{})
	turn := r[0].Begin(epoch, &router.PoolQuery{})
	end(r[1], epoch, router.EndedFailed, 5)
	pool.Set(epoch, addresses(3)[1:])
	if list := pool.Replicas(); len(list) != 3 || list[0] != r[1] || r[1].State(epoch) != router.WhyEjected {
		t.Errorf("%d replicas, the first is %v", len(list), list[0].State(epoch))
	}
	if s := r[0].State(epoch); s != router.WhyDraining {
		t.Errorf("the one that left is %v", s)
	}
	turn.End(epoch, router.EndedOK)
	turn.End(epoch, router.EndedOK)
	if n := len(pool.Replicas()); n != 2 {
		t.Errorf("%d replicas when the one that left has answered", n)
	}
	if err := pool.Set(epoch, slices.Repeat(addresses(2), 3)); err != nil || len(pool.Replicas()) != 2 {
		t.Errorf("%d replicas of 2 named three times, %v", len(pool.Replicas()), err)
	}
	if err := pool.Set(epoch, addresses(router.MaxReplicas+5)); err == nil || len(pool.Replicas()) != router.MaxReplicas {
		t.Errorf("%d replicas, %v", len(pool.Replicas()), err)
	}
}
