package router_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"jarvis-gateway/router"
)

func TestAppendPrefix(t *testing.T) {
	raw := bytes.Repeat([]byte("abcdefgh"), 100)
	whole := router.AppendPrefix(nil, 1, raw, 64)
	if len(whole) != len(raw)/64 {
		t.Fatalf("%d hashes of %d bytes", len(whole), len(raw))
	}
	for at := range raw {
		changed := slices.Clone(raw)
		changed[at] ^= 1
		got := router.AppendPrefix(nil, 1, changed, 64)
		for i := range whole {
			if same := got[i] == whole[i]; same != (i < at/64) {
				t.Fatalf("byte %d changed, hash %d is the same: %v", at, i, same)
			}
		}
	}
	if router.AppendPrefix(nil, 2, raw, 64)[0] == whole[0] {
		t.Error("the seed makes no difference")
	}
	chained := router.AppendPrefix(nil, 1, raw[:128], 64)
	chained = router.AppendPrefix(chained, chained[1], raw[128:], 64)
	if !slices.Equal(chained, whole) {
		t.Error("in two pieces the hashes differ")
	}
	if got := router.AppendPrefix(nil, 1, raw, 0); len(got) != 0 {
		t.Error("blocks of nothing")
	}
	if n := testing.AllocsPerRun(100, func() { whole = router.AppendPrefix(whole[:0], 1, raw, 64) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func prompt(seed, blocks int) []uint64 {
	p := make([]uint64, blocks)
	for i := range p {
		p[i] = scramble(uint64(seed)<<20 + uint64(i))
	}
	return p
}

// serve lets a request run through.
func serve(pool *router.Pool, at time.Time, prefix []uint64) (*router.Replica, router.Why) {
	q := &router.PoolQuery{ByPrefix: true, Prefix: prefix}
	r, why := pool.Choose(at, q)
	turn := r.Begin(at, q)
	turn.Answered(at)
	turn.End(at, router.EndedOK)
	return r, why
}

func TestPrefixFollowsTheCache(t *testing.T) {
	pool, _ := newPool(t, 4, router.PoolConfig{CacheBlocks: 1000})
	home, why := serve(pool, epoch, prompt(1, 20))
	if why != router.WhyLoad {
		t.Errorf("a new prompt was chosen for by %v", why)
	}
	longer := append(prompt(1, 20), prompt(2, 5)...)
	if r, why := serve(pool, epoch, longer); r != home || why != router.WhyPrefix {
		t.Errorf("the conversation went on elsewhere (%v)", why)
	}
	expectForgotten := func(what string) {
		t.Helper()
		if _, why := pool.Choose(epoch, &router.PoolQuery{ByPrefix: true, Prefix: longer}); why != router.WhyLoad {
			t.Errorf("%s, and yet the choice is by %v", what, why)
		}
	}
	home.Report(epoch, router.Scrape{Started: epoch})
	if r, why := serve(pool, epoch, longer); r != home || why != router.WhyPrefix {
		t.Errorf("forgotten when the start became known: %v", why)
	}
	home.Report(epoch, router.Scrape{Started: epoch.Add(time.Minute)})
	expectForgotten("the replica was restarted")
	home, _ = serve(pool, epoch, longer)
	end(home, epoch, router.EndedRefused, 1)
	expectForgotten("the connection was refused")
	home, _ = serve(pool, epoch, longer)
	for range 3 {
		home.Probe(epoch, false)
	}
	expectForgotten("the replica was down")

	home, _ = serve(pool, epoch, longer)
	q := &router.PoolQuery{ByPrefix: true}
	for i := range 60 {
		q.Prefix = prompt(100+i, 20)
		turn := home.Begin(epoch, q)
		turn.End(epoch, router.EndedOK)
	}
	expectForgotten("1,200 blocks went through a cache of 1,000")
}

func TestPrefixYieldsToLoad(t *testing.T) {
	pool, _ := newPool(t, 4, router.PoolConfig{})
	const requests = 1000
	got := map[*router.Replica]int{}
	for range requests { // all with the same prompt, all at once
		q := &router.PoolQuery{ByPrefix: true, Prefix: prompt(1, 10)}
		r, _ := pool.Choose(epoch, q)
		turn := r.Begin(epoch, q)
		turn.Answered(epoch)
		got[r]++
	}
	for r, n := range got {
		if n > requests/4*5/4+8 {
			t.Errorf("%s has %d of %d", r.Address, n, requests)
		}
	}
}

// However long a prompt that all send, whoever holds it does not get more of them than the bound says.
func TestPrefixYieldsToLoadWhateverItsLength(t *testing.T) {
	const n, requests = 4, 400
	for _, blocks := range []int{100, 300, 2000, 60_000} {
		start := time.Unix(1e9, 0)
		pool := router.NewPool(router.PoolConfig{Seed: 1}, start)
		if err := pool.Set(start, addresses(n)); err != nil {
			t.Fatal(err)
		}
		q := &router.PoolQuery{ByPrefix: true, Prefix: prompt(1, blocks)}
		for i := range requests {
			at := start.Add(time.Duration(i) * 10 * time.Millisecond)
			r, _ := pool.Choose(at, q)
			turn := r.Begin(at, q)
			turn.Answered(at.Add(5 * time.Millisecond)) // and writes on, to the end
			if most := r.View(at).InFlight; float64(most) > 1.25*float64(i+1)/n+8+1 {
				t.Fatalf("%d blocks: one replica has %d of %d requests", blocks, most, i+1)
			}
		}
	}
}

// Each life of a replica has a number of its own; there are 4,095 of them.
func TestPrefixOutlivesManyRestarts(t *testing.T) {
	pool, r := newPool(t, 2, router.PoolConfig{PrefixEntries: 1 << 10})
	for i := range 10000 {
		serve(pool, epoch, prompt(i, 3))
		r[i%2].Report(epoch, router.Scrape{Started: epoch.Add(time.Duration(i) * time.Second)})
		if i%1000 == 999 {
			home, _ := serve(pool, epoch, prompt(-i, 10))
			if again, why := serve(pool, epoch, prompt(-i, 10)); again != home || why != router.WhyPrefix {
				t.Fatalf("after %d restarts: %v", i, why)
			}
		}
	}
}

// fill puts prefixes into an index of that many entries, then a quarter more, and tells what it takes and how many it knows.
func fill(t testing.TB, entries int) (bytes, known, bytesThen, knownThen int) {
	before := heapInUse()
	pool, r := newPool(t, 4, router.PoolConfig{PrefixEntries: entries, CacheBlocks: entries})
	put := func(from, to int) (bytes, known int) {
		q := &router.PoolQuery{ByPrefix: true}
		for i := from; i < to; i++ {
			q.Prefix = prompt(i, 100)
			turn := r[i%4].Begin(epoch, q)
			turn.End(epoch, router.EndedNeutral)
		}
		return heapInUse() - before, pool.PrefixEntries()
	}
	bytes, known = put(0, entries/100)
	bytesThen, knownThen = put(entries/100, entries/100*5/4)
	return bytes, known, bytesThen, knownThen
}

// The index is one table of fixed size, whatever goes through it.
func TestPrefixMemory(t *testing.T) {
	const entries = 1 << 20
	bytes, known, bytesThen, knownThen := fill(t, entries)
	t.Logf("%d prefixes: %.1f MB, %d known; a quarter more: %.1f MB, %d known", entries, float64(bytes)/1e6, known, float64(bytesThen)/1e6, knownThen)
	if limit := entries*8 + 1<<20; bytes > limit || bytesThen > limit {
		t.Errorf("%d and %d bytes for %d entries", bytes, bytesThen, entries)
	}
	if known < entries*4/5 || knownThen < known || knownThen > entries {
		t.Errorf("%d of %d known, then %d", known, entries, knownThen)
	}
}

func BenchmarkPrefixMemory(b *testing.B) {
	for b.Loop() {
		bytes, known, _, _ := fill(b, 10_000_000)
		b.ReportMetric(float64(bytes)/1e6, "MB")
		b.ReportMetric(float64(known), "known")
	}
}

func heapInUse() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestChoosingAllocatesNothing(t *testing.T) {
	pool, _ := newPool(t, 8, router.PoolConfig{})
	p := prompt(1, 32)
	for _, byPrefix := range []bool{false, true} {
		var q router.PoolQuery
		n := testing.AllocsPerRun(1000, func() {
			q = router.PoolQuery{ByPrefix: byPrefix, Prefix: p}
			r, _ := pool.Choose(epoch, &q)
			turn := r.Begin(epoch, &q)
			turn.Answered(epoch)
			turn.End(epoch, router.EndedOK)
		})
		if n != 0 {
			t.Errorf("by prefix %v: %v allocations", byPrefix, n)
		}
	}
}

func BenchmarkPoolChoose(b *testing.B) {
	for _, bc := range []struct {
		replicas, blocks, prompts int
	}{{8, 0, 1}, {8, 32, 1}, {8, 32, 20000}, {8, 256, 2000}, {64, 32, 20000}, {1000, 0, 1}, {1000, 32, 20000}} {
		b.Run(fmt.Sprintf("replicas=%d/blocks=%d/prompts=%d", bc.replicas, bc.blocks, bc.prompts), func(b *testing.B) {
			pool, _ := newPool(b, bc.replicas, router.PoolConfig{})
			prompts := make([][]uint64, bc.prompts)
			for i := range prompts {
				prompts[i] = prompt(i, bc.blocks)
				serve(pool, epoch, prompts[i])
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				pool.Choose(epoch, &router.PoolQuery{ByPrefix: bc.blocks > 0, Prefix: prompts[i%len(prompts)]})
			}
		})
	}
}

func BenchmarkPoolTurn(b *testing.B) {
	for _, blocks := range []int{0, 32} {
		b.Run(fmt.Sprintf("blocks=%d", blocks), func(b *testing.B) {
			pool, r := newPool(b, 8, router.PoolConfig{})
			prompts := make([][]uint64, 20000)
			for i := range prompts {
				prompts[i] = prompt(i, blocks)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				turn := r[i%8].Begin(epoch, &router.PoolQuery{ByPrefix: blocks > 0, Prefix: prompts[i%len(prompts)]})
				turn.Answered(epoch)
				turn.End(epoch, router.EndedOK)
			}
			runtime.KeepAlive(pool)
		})
	}
}

func BenchmarkAppendPrefix(b *testing.B) {
	raw := bytes.Repeat([]byte("abcdefgh"), 8192) // 64 KiB
	var dst []uint64
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		dst = router.AppendPrefix(dst[:0], 1, raw, 2048)
	}
}
