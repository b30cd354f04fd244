package router_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/router"
)

// poolPlay plays a pool's life from bytes and checks what must hold after each step.
type poolPlay struct {
	t     *testing.T
	pool  *router.Pool
	now   time.Time
	turns []*router.Turn
	ended map[router.Ending]int
}

const playEntries = 64

func newPoolPlay(t *testing.T) *poolPlay {
	pool := router.NewPool(router.PoolConfig{Seed: 1, PrefixEntries: playEntries, SlowStart: 3 * time.Second}, epoch)
	pool.Set(epoch, addresses(4))
	return &poolPlay{t: t, pool: pool, now: epoch, ended: map[router.Ending]int{}}
}

// play takes three bytes a step: what, who, how much.
func (p *poolPlay) play(script []byte) {
	for ; len(script) >= 3; script = script[3:] {
		p.step(script[0]%8, int(script[1]), int(script[2]))
		p.check()
	}
	for _, u := range p.turns {
		u.End(p.now, router.EndedNeutral)
	}
	p.turns = nil
	p.check()
	if l := p.pool.Load(p.now); l.Unanswered != 0 || l.Replicas != len(p.pool.Replicas()) {
		p.t.Fatalf("at the end: %+v of %d", l, len(p.pool.Replicas()))
	}
}

func (p *poolPlay) step(what byte, who, much int) {
	list := p.pool.Replicas()
	switch what {
	case 0:
		p.now = p.now.Add(time.Duration(much) * 50 * time.Millisecond)
	case 1:
		p.pool.Set(p.now, addresses(8)[who%8:min(who%8+much%6, 8)])
	case 2, 3:
		p.choose(who, much)
	case 4:
		if len(p.turns) > 0 {
			i := who % len(p.turns)
			if much%3 == 0 {
				p.turns[i].Answered(p.now)
				return
			}
			p.turns[i].End(p.now, router.Ending(much%4))
			p.turns[i].End(p.now, router.EndedOK) // is ignored
			p.turns = slices.Delete(p.turns, i, i+1)
		}
	default:
		if len(list) > 0 {
			p.tell(list[who%len(list)], what, much)
		}
	}
}

func (p *poolPlay) tell(r *router.Replica, what byte, much int) {
	switch what {
	case 5:
		r.Report(p.now, router.Scrape{Running: much, KV: float64(much) / 255, Models: [][]string{nil, {"a"}, {"a", "b"}, {}}[much%4], CacheBlocks: much, Started: epoch.Add(time.Duration(much/64) * time.Second)})
	case 6:
		r.Drain(p.now, much%2 == 0)
	case 7:
		r.Probe(p.now, much%2 == 0)
	}
}

func (p *poolPlay) choose(who, much int) {
	list := p.pool.Replicas()
	q := &router.PoolQuery{Model: []string{"", "a", "b"}[much%3], ByPrefix: who%2 == 0, Prefix: prompt(much, who%30)}
	if len(list) > 0 && who%5 == 0 {
		q.Tried = list[:who%len(list)]
	}
	r, why := p.pool.Choose(p.now, q)
	if r == nil {
		for _, o := range list {
			if o.State(p.now) == router.WhyFit && q.Model == "" && !slices.Contains(q.Tried, o) {
				p.t.Fatalf("none was chosen (%v) while %s is fit", why, o.Address)
			}
		}
		return
	}
	state := r.State(p.now)
	if slices.Contains(q.Tried, r) || state != router.WhyFit && state != router.WhyEjected {
		p.t.Fatalf("%s was chosen, which is %v", r.Address, state)
	}
	for _, o := range list {
		if state == router.WhyEjected && o.State(p.now) == router.WhyFit && q.Model == "" && !slices.Contains(q.Tried, o) {
			p.t.Fatalf("%s was chosen, which is ejected, while %s is fit", r.Address, o.Address)
		}
	}
	turn := r.Begin(p.now, q)
	p.turns = append(p.turns, &turn)
}

func (p *poolPlay) check() {
	load := p.pool.Load(p.now)
	if load.InFlight != len(p.turns) || load.Unanswered < 0 || load.Unanswered > load.InFlight || load.KV < 0 || load.KV > 1 {
		p.t.Fatalf("%d in flight, and the load is %+v", len(p.turns), load)
	}
	out, ejected := 0, 0
	for _, r := range p.pool.Replicas() {
		v := r.View(p.now)
		if v.InFlight < 0 || v.Unanswered < 0 || v.Slowness < 1 || v.Warmth <= 0 || v.Warmth > 1 {
			p.t.Fatalf("%+v", v)
		}
		if v.State == router.WhyEjected {
			ejected++
		}
		if v.State != router.WhyFit {
			out++
		}
	}
	if gone := len(p.pool.Replicas()) - load.Replicas; ejected > 0 && 2*(out-gone) > load.Replicas {
		p.t.Fatalf("%d of %d are out, %d of them ejected", out-gone, load.Replicas, ejected)
	}
	if n := p.pool.PrefixEntries(); n > playEntries {
		p.t.Fatalf("%d entries in an index of %d", n, playEntries)
	}
}

func FuzzPool(f *testing.F) {
	f.Add([]byte{2, 0, 1, 2, 0, 1, 4, 0, 1, 4, 0, 1})
	f.Add([]byte{2, 4, 9, 1, 3, 2, 4, 0, 1, 5, 1, 66, 5, 1, 200, 6, 0, 0, 2, 6, 9, 7, 2, 1, 7, 2, 1, 7, 2, 1, 0, 9, 200})
	f.Fuzz(func(t *testing.T, script []byte) { newPoolPlay(t).play(script) })
}

func TestPoolKeepsItsWord(t *testing.T) {
	for seed := range uint64(200) {
		script := make([]byte, 900)
		for i := range script {
			script[i] = byte(scramble(seed<<32+uint64(i)) >> 24)
		}
		newPoolPlay(t).play(script)
	}
}

// Everything at once, for the race detector. Afterwards nothing is left over.
func TestPoolFromManySides(t *testing.T) {
	pool, _ := newPool(t, 6, router.PoolConfig{PrefixEntries: 1 << 10})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				now := after(time.Duration(i) * time.Millisecond)
				q := &router.PoolQuery{ByPrefix: i%2 == 0, Prefix: prompt(i%50, 8)}
				r, _ := pool.Choose(now, q)
				if r == nil {
					continue
				}
				turn := r.Begin(now, q)
				turn.Answered(now)
				turn.End(now, router.Ending((i+g)%11%4))
				pool.Load(now)
			}
		})
	}
	wg.Go(func() {
		for i := range 500 {
			now := after(time.Duration(4*i) * time.Millisecond)
			pool.Set(now, addresses(6)[i%3:])
			for j, r := range pool.Replicas() {
				r.Probe(now, (i+j)%7 > 2)
				r.Report(now, router.Scrape{Running: j, Started: epoch.Add(time.Duration(i/50) * time.Second)})
				r.Drain(now, (i+j)%13 == 0)
				r.View(now)
			}
		}
	})
	wg.Wait()
	if l := pool.Load(after(time.Hour)); l.InFlight != 0 || l.Unanswered != 0 {
		t.Errorf("left over: %+v", l)
	}
}
