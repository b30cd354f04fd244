package fakellm

import (
	"hash/crc32"
	"sync"
)

// engine is the state of an inference engine: what runs, what waits, what it has done. Without a bound on what runs it only counts.
type engine struct {
	slots chan struct{} // nil: no bound

	mu        sync.Mutex
	running   int
	waiting   int
	used      int // prompt tokens in the KV cache
	shown     *Load
	prompt    int // tokens in all, also below
	hits      int
	generated int
	whole     int // answers that were finished
	aborted   int

	blocks     int
	young, old map[uint32]bool // prefix cache
}

// Load is what an engine tells of itself in its metrics.
type Load struct {
	Running, Waiting int
	KV               float64 // share of the KV cache in use, 0 to 1
}

// kvTokens is the size of the pretended KV cache.
const kvTokens = 100_000

func (e *engine) init(o Options) {
	if o.MaxRunning > 0 {
		e.slots = make(chan struct{}, o.MaxRunning)
	}
	e.blocks = o.PrefixBlocks
}

// cached is how many tokens of the prompt are in the prefix cache, which holds all of the prompt from now on. What was not used for
// longest, up to half of the cache, makes room when it is full.
func (e *engine) cached(prompt string) int {
	if e.blocks == 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	hits, sum := 0, uint32(0)
	for at := 0; at+prefixBlock <= len(prompt); at += prefixBlock {
		sum = crc32.Update(sum, castagnoli(), []byte(prompt[at:at+prefixBlock]))
		if (e.young[sum] || e.old[sum]) && hits == at/prefixBlock {
			hits++
		}
		if !e.young[sum] {
			e.remember(sum)
		}
	}
	return tokensOf(prompt[:hits*prefixBlock])
}

// The prefix cache has blocks of so many bytes, which count as so many tokens.
const (
	prefixBlock    = 64
	tokensPerBlock = prefixBlock / 4
)

func (e *engine) remember(sum uint32) {
	if e.young == nil || len(e.young) >= e.blocks/2+1 {
		e.old, e.young = e.young, map[uint32]bool{}
	}
	e.young[sum] = true
}

// acquire waits for a turn of generating. False: the peer left meanwhile.
func (e *engine) acquire(x *exchange) bool {
	if !x.generates() {
		return true
	}
	e.mu.Lock()
	e.waiting++
	e.mu.Unlock()
	ok := e.turn(x)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting--
	if ok {
		x.slot = true
		x.kv = x.bill.Prompt
		e.running++
		e.used += x.kv
	}
	return ok
}

func (e *engine) turn(x *exchange) bool {
	if e.slots == nil {
		return true
	}
	select {
	case e.slots <- struct{}{}:
		return true
	case <-x.watch.gone:
		x.left(x.watch.at)
	case <-x.c.down:
	}
	return false
}

func (e *engine) release(x *exchange) {
	if !x.slot {
		return
	}
	x.slot = false
	if e.slots != nil {
		<-e.slots
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running--
	e.used -= x.kv
}

// count adds what a generation cost to the engine's totals.
func (e *engine) count(x *exchange, whole bool) {
	if !x.slot {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prompt += x.bill.Prompt
	e.generated += x.bill.Completion
	e.hits += x.bill.Cached
	if whole {
		e.whole++
	} else {
		e.aborted++
	}
}

func (e *engine) load() Load {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shown != nil {
		return *e.shown
	}
	return Load{Running: e.running, Waiting: e.waiting, KV: min(1, float64(e.used)/kvTokens)}
}

// ShowLoad makes the metrics tell l instead of what is really going on; nil ends that.
func (s *Server) ShowLoad(l *Load) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.engine.shown = l
}

// generates reports whether the exchange occupies the engine.
func (x *exchange) generates() bool {
	switch x.endpoint {
	case "chat/completions", "completions", "messages", "converse", "converse-stream":
		return true
	case "responses":
		return x.ctx.IsPost() && x.params.id == ""
	}
	return false
}
