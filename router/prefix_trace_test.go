package router_test

import (
	"bufio"
	"cmp"
	"container/heap"
	"container/list"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/router"
)

// asked is one request of the trace: its prompt in blocks of 512 tokens, equal ids for equal prefixes.
type asked struct {
	At     int64    `json:"timestamp"` // ms
	Output int      `json:"output_length"`
	Blocks []uint64 `json:"hash_ids"`
}

func readTrace(t testing.TB) []asked {
	t.Helper()
	shared := cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "shared"))
	f, err := os.Open(filepath.Join(shared, "data", "traces", "mooncake_synthetic.jsonl"))
	if err != nil {
		t.Skipf("no trace to replay: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	defer f.Close()
	var trace []asked
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a asked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		for i, id := range a.Blocks {
			a.Blocks[i] = scramble(id)
		}
		trace = append(trace, a)
	}
	if len(trace) != 3993 {
		t.Fatalf("the trace has %d requests, not 3993", len(trace))
	}
	return trace
}

func scramble(x uint64) uint64 {
	x = (x ^ x>>30 + 1) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// lru is the KV cache of a simulated replica: exact, finite, and unknown to who chooses.
type lru struct {
	room  int
	order *list.List
	at    map[uint64]*list.Element
}

func newLRU(room int) *lru {
	return &lru{room: room, order: list.New(), at: map[uint64]*list.Element{}}
}

// use computes a prompt and returns how many of its first blocks were there. A prompt's end goes before its beginning does.
func (l *lru) use(blocks []uint64) (held int) {
	for held < len(blocks) && l.at[blocks[held]] != nil {
		held++
	}
	for _, b := range slices.Backward(blocks) {
		if e := l.at[b]; e != nil {
			l.order.MoveToFront(e)
			continue
		}
		l.at[b] = l.order.PushFront(b)
	}
	for len(l.at) > l.room {
		delete(l.at, l.order.Remove(l.order.Back()).(uint64))
	}
	return held
}

// server simulates a replica: prompts are computed one after another, only what the cache lacks; answers are written side by
// side, at a speed of their own.
type server struct {
	cache    *lru
	free     int64 // when it is done with all prompts so far, in ns
	inFlight int
	requests int
	work     int64 // tokens computed: prompts' missed ones and the answers'
	held     int
}

const (
	simBlock  = 512
	simDecode = 30 * time.Millisecond // a token
)

func (s *server) serve(at int64, a asked, prefill float64) (first, done int64) {
	held := s.cache.use(a.Blocks)
	missed := (len(a.Blocks) - held) * simBlock
	s.free = max(s.free, at) + int64(float64(missed)/prefill*1e9) + int64(20*time.Millisecond)
	s.held += held
	s.requests++
	s.work += int64(missed + a.Output)
	return s.free, s.free + int64(a.Output)*int64(simDecode)
}

// simEvent is something that happens at a time.
type simEvent struct {
	at int64
	do func(at int64)
}

type simEvents []simEvent

func (e simEvents) Len() int           { return len(e) }
func (e simEvents) Less(i, j int) bool { return e[i].at < e[j].at }
func (e simEvents) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *simEvents) Push(x any)        { *e = append(*e, x.(simEvent)) }
func (e *simEvents) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// chooser is a way to choose among the servers. began is told of the one chosen and returns what to call at its first token
// and its end.
type chooser func(at int64, a asked, servers []*server) (place int, first, end func(at int64))

type simResult struct {
	hit        float64 // share of all blocks
	work, reqs float64 // max/mean over the servers
	p50, p95   time.Duration
}

func simulate(trace []asked, n, room int, prefill float64, choose chooser) simResult {
	servers := make([]*server, n)
	for i := range servers {
		servers[i] = &server{cache: newLRU(room)}
	}
	var events simEvents
	blocks := 0
	var waits []time.Duration
	for _, a := range trace {
		at := a.At * 1e6
		for len(events) > 0 && events[0].at <= at {
			e := heap.Pop(&events).(simEvent)
			e.do(e.at)
		}
		blocks += len(a.Blocks)
		place, first, end := choose(at, a, servers)
		s := servers[place]
		s.inFlight++
		firstAt, done := s.serve(at, a, prefill)
		waits = append(waits, time.Duration(firstAt-at))
		heap.Push(&events, simEvent{firstAt, first})
		heap.Push(&events, simEvent{done, func(at int64) { s.inFlight--; end(at) }})
	}
	var r simResult
	var work, most, reqs, mostReqs, held float64
	for _, s := range servers {
		work, most = work+float64(s.work), max(most, float64(s.work))
		reqs, mostReqs = reqs+float64(s.requests), max(mostReqs, float64(s.requests))
		held += float64(s.held)
	}
	slices.Sort(waits)
	r.hit = held / float64(blocks)
	r.work, r.reqs = most*float64(n)/work, mostReqs*float64(n)/reqs
	r.p50, r.p95 = waits[len(waits)/2], waits[len(waits)*95/100]
	return r
}

func nothing(int64) {}

// byRing is consistent hashing on the first block, with 100 points for each server.
func byRing(n int, seed uint64) chooser {
	type point struct {
		hash  uint64
		place int
	}
	var ring []point
	for place := range n {
		for i := range 100 {
			ring = append(ring, point{scramble(seed<<32 + uint64(place*1000+i+1)), place})
		}
	}
	slices.SortFunc(ring, func(a, b point) int { return cmp.Compare(a.hash, b.hash) })
	return func(_ int64, a asked, _ []*server) (int, func(int64), func(int64)) {
		at, _ := slices.BinarySearchFunc(ring, a.Blocks[0], func(p point, h uint64) int { return cmp.Compare(p.hash, h) })
		return ring[at%len(ring)].place, nothing, nothing
	}
}

// byLoad is the server with the fewest requests in flight, one of them at random.
func byLoad(seed uint64) chooser {
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(_ int64, _ asked, servers []*server) (int, func(int64), func(int64)) {
		var least []int
		for i, s := range servers {
			if len(least) == 0 || s.inFlight < servers[least[0]].inFlight {
				least = least[:0]
			}
			if len(least) == 0 || s.inFlight == servers[least[0]].inFlight {
				least = append(least, i)
			}
		}
		return least[rng.IntN(len(least))], nothing, nothing
	}
}

// byPool asks the pool, as the gateway does.
func byPool(t testing.TB, n int, cfg router.PoolConfig, byPrefix bool) chooser {
	start := time.Unix(1e9, 0)
	pool := router.NewPool(cfg, start)
	if err := pool.Set(start, addresses(n)); err != nil {
		t.Fatal(err)
	}
	place := map[*router.Replica]int{}
	for i, r := range pool.Replicas() {
		place[r] = i
	}
	return func(at int64, a asked, _ []*server) (int, func(int64), func(int64)) {
		now := func(at int64) time.Time { return start.Add(time.Duration(at)) }
		q := &router.PoolQuery{ByPrefix: byPrefix, Prefix: a.Blocks}
		r, why := pool.Choose(now(at), q)
		if r == nil {
			t.Fatalf("no replica: %v", why)
		}
		turn := r.Begin(now(at), q)
		return place[r], func(at int64) { turn.Answered(now(at)) }, func(at int64) { turn.End(now(at), router.EndedOK) }
	}
}

func addresses(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("http://10.0.0.%d:8000", i+1)
	}
	return list
}

// without is the trace without a few of its requests, others for each number; 0 is the whole trace. One request more or less changes
// all choices that follow, so that the means over several tell skill from luck.
func without(trace []asked, number int) (rest []asked) {
	rng := rand.New(rand.NewPCG(uint64(number), 7))
	for _, a := range trace {
		if number == 0 || rng.Float64() > 0.03 {
			rest = append(rest, a)
		}
	}
	return rest
}

// The bar: at least 90 % of what one cache as large as all together would hold, work and requests within 1.25 of the mean. With
// 8,000 blocks a replica and more, of what an endless cache would hold, which is harder. And better on both counts, hits and the
// balance of the work, than consistent hashing by the first block, which here hits as often as the ideal, as no two conversations
// of the trace share it and nobody is ever moved, and than least_loaded. With 16,000 blocks consistent hashing hits all that can be
// hit, and is met. Who is not told how large the caches are, as vLLM tells it, may hit half a point less and balances less well.
// At 8,000 tokens a second the replicas are overloaded.
func TestPrefixOnTrace(t *testing.T) {
	trace := readTrace(t)
	const n, traces = 4, 5
	var rests [][]asked
	for i := range traces {
		rests = append(rests, without(trace, i))
	}
	toldWork, leastWork := 0.0, 0.0
	var log strings.Builder
	fmt.Fprintf(&log, "\n%6s %6s  %-24s %7s %7s %6s %6s %9s %9s\n", "room", "tok/s", "choice", "hit", "ideal", "work", "reqs", "p50 s", "p95 s")
	for _, prefill := range []float64{8000, 16000} {
		rooms := []int{1000, 2000, 4000, 8000, 16000}
		if prefill == 8000 {
			rooms = rooms[2:4]
		}
		for _, room := range rooms {
			ideal := idealHit(rests, n*room)
			if room >= 8000 {
				ideal = idealHit(rests, 1<<30)
			}
			row := func(name string, seeds int, choose func(seed uint64) chooser) simResult {
				r := meanOf(rests, n, room, prefill, seeds, choose)
				fmt.Fprintf(&log, "%6d %6.0f  %-24s %6.2f%% %6.2f%% %6.3f %6.3f %9.2f %9.2f\n", room, prefill, name, 100*r.hit, 100*r.hit/ideal, r.work, r.reqs, r.p50.Seconds(), r.p95.Seconds())
				return r
			}
			ring := row("consistent hashing", 24, func(seed uint64) chooser { return byRing(n, seed) })
			least := row("least_loaded", 6, byLoad)
			row("pool, least_loaded", 1, func(seed uint64) chooser { return byPool(t, n, router.PoolConfig{Seed: seed}, false) })
			ours := row("pool, prefix", 1, func(seed uint64) chooser { return byPool(t, n, router.PoolConfig{Seed: seed}, true) })
			told := row("same, cache told", 1, func(seed uint64) chooser {
				return byPool(t, n, router.PoolConfig{Seed: seed, CacheBlocks: room}, true)
			})
			at := fmt.Sprintf("%d blocks, %.0f tok/s: ", room, prefill)
			for _, r := range []simResult{ours, told} {
				if r.hit < 0.9*ideal {
					t.Errorf("%shit share %.3f is below 90 %% of the ideal %.3f", at, r.hit, ideal)
				}
				if r.work > 1.25 || r.reqs > 1.25 {
					t.Errorf("%smax/mean is %.3f of the work, %.3f of the requests", at, r.work, r.reqs)
				}
				if r.work >= ring.work || r.p95 >= ring.p95 || r.p95 >= least.p95 || r.hit < 1.5*least.hit {
					t.Errorf("%s%+v is not better than consistent hashing, %+v, and least_loaded, %+v", at, r, ring, least)
				}
			}
			if told.hit < min(ring.hit, 0.9999*ideal) {
				t.Errorf("%shits %.4f, consistent hashing %.4f", at, told.hit, ring.hit)
			}
			if toldWork, leastWork = toldWork+told.work, leastWork+least.work; told.work > least.work+0.01 {
				t.Errorf("%smax/mean of the work is %.3f, that of least_loaded %.3f", at, told.work, least.work)
			}
			if ours.hit < ring.hit-0.005 {
				t.Errorf("%swithout being told hits %.4f, consistent hashing %.4f", at, ours.hit, ring.hit)
			}
		}
	}
	if toldWork >= leastWork {
		t.Errorf("max/mean of the work is no better than that of least_loaded")
	}
	t.Log(log.String())
}

// idealHit is the share of blocks that one cache of that many would hold.
func idealHit(traces [][]asked, room int) float64 {
	return meanOf(traces, 1, room, 1e9, 1, func(uint64) chooser {
		return func(int64, asked, []*server) (int, func(int64), func(int64)) { return 0, nothing, nothing }
	}).hit
}

// meanOf simulates all traces with all seeds.
func meanOf(traces [][]asked, n, room int, prefill float64, seeds int, choose func(seed uint64) chooser) simResult {
	var sum simResult
	runs := seeds * len(traces)
	for i := range runs {
		r := simulate(traces[i%len(traces)], n, room, prefill, choose(uint64(i/len(traces)+1)))
		sum.hit += r.hit / float64(runs)
		sum.work += r.work / float64(runs)
		sum.reqs += r.reqs / float64(runs)
		sum.p50 += r.p50 / time.Duration(runs)
		sum.p95 += r.p95 / time.Duration(runs)
	}
	return sum
}

// All prompts begin with the same instructions, as most applications' do.
func TestPrefixOnTraceWithSharedBeginning(t *testing.T) {
	trace := readTrace(t)
	const n, room, prefill = 4, 8000, 16000
	same := []uint64{scramble(1 << 40), scramble(2 << 40), scramble(3 << 40), scramble(4 << 40)}
	for i := range trace {
		trace[i].Blocks = append(slices.Clone(same), trace[i].Blocks...)
	}
	one := func(int64, asked, []*server) (int, func(int64), func(int64)) { return 0, nothing, nothing }
	ideal := simulate(trace, 1, n*room, 1e9, one).hit
	ring := simulate(trace, n, room, prefill, byRing(n, 1))
	least := simulate(trace, n, room, prefill, byLoad(1))
	ours := simulate(trace, n, room, prefill, byPool(t, n, router.PoolConfig{Seed: 1}, true))
	t.Logf("ideal hit share %.3f\nconsistent hashing %+v\nleast_loaded       %+v\nprefix             %+v", ideal, ring, least, ours)
	if ours.hit < 0.9*ideal || ours.work > 1.25 || ours.reqs > 1.25 {
		t.Errorf("prefix: %+v of the ideal %.3f", ours, ideal)
	}
	if ours.hit <= ring.hit || ours.work >= ring.work || ours.hit <= least.hit || ours.p95 >= least.p95 {
		t.Errorf("prefix %+v is not better than consistent hashing %+v and least_loaded %+v", ours, ring, least)
	}
}
