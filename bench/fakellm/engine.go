package fakellm

import "sync"

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
}

// Load is what an engine tells of itself in its metrics.
type Load struct {
	Running, Waiting int
	KV               float64 // share of the KV cache in use, 0 to 1
}

// kvTokens is the size of the pretended KV cache.
const kvTokens = 100_000

func (e *engine) init(slots int) {
	if slots > 0 {
		e.slots = make(chan struct{}, slots)
	}
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
	case "chat/completions", "completions":
		return true
	case "responses":
		return x.ctx.IsPost() && x.params.id == ""
	}
	return false
}
