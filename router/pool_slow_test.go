package router_test

import (
	"slices"
	"testing"
	"time"

	"jarvis-gateway/router"
)

// talk is a conversation of a tenant, whose prompts all begin alike.
type talk struct{ tenant, number, turns int }

func (c *talk) prefix() []uint64 {
	return append(prompt(c.tenant, 100), prompt(1000+c.number, 4+2*c.turns)...)
}

// driveTalks has conversations go on, each for so many turns until another one takes its place. It returns the shares that the first
// replica got, second by second. Its first token takes a time for each block that its cache does not hold; slow says how many times as
// long that takes.
func driveTalks(t *testing.T, pool *router.Pool, d time.Duration, slow func(r *router.Replica, at time.Duration) time.Duration) (shares []float64) {
	t.Helper()
	const every, talks, turns = 10 * time.Millisecond, 40, 20
	type due struct {
		first, end time.Duration
		turn       *router.Turn
	}
	var open []due
	cache := map[*router.Replica]map[uint64]bool{}
	list := make([]talk, talks)
	for i := range list {
		list[i] = talk{tenant: i % 10, number: i, turns: i % turns}
	}
	began := talks
	for now, i := time.Duration(0), 0; now < d; now, i = now+every, i+1 {
		open = slices.DeleteFunc(open, func(u due) bool {
			if u.first <= now {
				u.turn.Answered(after(now))
			}
			if u.end <= now {
				u.turn.End(after(now), router.EndedOK)
			}
			return u.end <= now
		})
		c := &list[i%talks]
		if c.turns++; c.turns > turns {
			*c = talk{tenant: c.tenant, number: began}
			began++
		}
		q := &router.PoolQuery{ByPrefix: true, Prefix: c.prefix()}
		r, why := pool.Choose(after(now), q)
		if r == nil {
			t.Fatalf("at %v: %v", now, why)
		}
		if cache[r] == nil {
			cache[r] = map[uint64]bool{}
		}
		missed := 0
		for _, b := range q.Prefix {
			if !cache[r][b] {
				missed++
			}
			cache[r][b] = true
		}
		turn := r.Begin(after(now), q)
		took := (20*time.Millisecond + time.Duration(missed)*5*time.Millisecond) * slow(r, now)
		open = append(open, due{now + took, now + took + 200*time.Millisecond*slow(r, now), &turn})
		if s := int(now / time.Second); s >= len(shares) {
			shares = append(shares, 0)
		}
		if r == pool.Replicas()[0] {
			shares[len(shares)-1] += float64(every) / float64(time.Second)
		}
	}
	return shares
}

// A slow replica loses its traffic also where nearly all of its prompts are in its cache, so that it computes little.
func TestSlowReplicaLosesItsConversations(t *testing.T) {
	pool, replicas := newPool(t, 4, router.PoolConfig{Seed: 1, CacheBlocks: 100_000})
	shares := driveTalks(t, pool, 90*time.Second, func(r *router.Replica, at time.Duration) time.Duration {
		if r == replicas[0] && at >= 20*time.Second && at < 40*time.Second {
			return 10
		}
		return 1
	})
	mean := func(from, to int) (sum float64) {
		for _, s := range shares[from:to] {
			sum += s / float64(to-from)
		}
		return sum
	}
	t.Logf("share before %.3f; slow: first second %.3f, second %.3f, then %.3f; well again: %.3f %.3f %.3f", mean(5, 20), mean(20, 21), mean(21, 22), mean(22, 40), mean(40, 42), mean(42, 60), mean(60, 90))
	if s := mean(5, 20); s < 0.15 || s > 0.35 {
		t.Errorf("it gets %.3f while it is well", s)
	}
	if s := mean(22, 40); s > 0.03 {
		t.Errorf("it gets %.3f from two seconds after it became slow", s)
	}
	if most := slices.Max(shares[40:]); most > 0.4 {
		t.Errorf("it gets %.3f in a second after it is well: not gradually", most)
	}
	if s := mean(60, 90); s < 0.1 {
		t.Errorf("it gets %.3f long after it is well", s)
	}
}
