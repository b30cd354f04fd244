package proxy

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file asks a second target beside one that is slow, or another replica of the same one.

var hedges = newCounter("jarvis_hedges_total", "Requests whose first target was slow, by what became of the second: won, lost, or none where nobody else was to be asked.", "model", "result")

// race is what a connection needs for requests that may be hedged. The first attempt is made on the connection's goroutine as
// ever, the second on that of the timer, which there is only when the first is late.
type race struct {
	x      *exchange
	timer  *time.Timer
	done   chan struct{} // the timer's function has ended
	spare  func() *router.Target
	on     bool                    // the first attempt is under way
	first  *provider.Call          // of it
	winner atomic.Int32            // whose answer counts: that of the first to have content
	header *fasthttp.RequestHeader // the client's, for the choice of the second target
	won    bool                    // the second one's answer is the request's

	mu    sync.Mutex // of the grant, on which both draw,
	rival *rival     // and of this; nil: there was no second attempt
}

const (
	leader     = 1
	challenger = 2
)

// rival is the second attempt.
type rival struct {
	target *router.Target
	call   *provider.Call
	reply  wire.Reply
	cost   *usage.Price
	priced bool
	abort  provider.Abort
	header fasthttp.RequestHeader // the client's: reading one writes to it, so that each attempt needs its own
	err    error
}

// Race asks one target and, if it has no content after a time, another one beside it. The first content wins: a failure is heeded
// only when both have failed. Neither is being asked any more when it returns, but for the one that answers.
func (x *exchange) Race(target *router.Target, after time.Duration, spare func() *router.Target) (f router.Finish) {
	x.call.AnswerAs = x.answerAs(target)
	x.stepped(target)
	if f.FirstErr = x.prepare(target); f.FirstErr != nil {
		f.FirstErr = x.fell(target, f.FirstErr)
		return f
	}
	if x.race == nil {
		x.race = &race{x: x, done: make(chan struct{}, 1)}
	}
	r := x.race
	r.begin(after, spare)
	defer r.end()
	err := x.g.Providers[target.Provider].Do(x.call, &x.reply)
	s := r.finish(err == nil)
	x.timed()
	begun := x.call.Begun
	if s == nil {
		f.FirstErr = x.over(target, err)
	} else {
		f.OtherTook.Begun = s.call.Begun
		x.settleRace(&f, s, target, err)
	}
	f.FirstTook.Begun, f.FirstTook.Whole, f.OtherTook.Whole = begun, x.reply.Stream == nil, x.reply.Stream == nil // of the one that answers
	return f
}

// settleRace counts both attempts, each at its own price, and makes the second the exchange's where that one answers.
func (x *exchange) settleRace(f *router.Finish, s *rival, target *router.Target, err error) {
	x.tries++
	r, result := x.race, "lost"
	f.Second = s.target
	switch r.winner.Load() {
	case leader:
		x.swap(s)
		f.OtherErr = x.beaten(f.Second, s.err)
		x.swap(s)
		f.FirstErr = x.ended(target, nil)
		x.relieve()
	case challenger:
		if f.FirstErr = x.beaten(target, err); !errors.Is(f.FirstErr, router.ErrLost) {
			f.FirstErr = x.fell(target, f.FirstErr)
		}
		x.swap(s)
		f.OtherErr = x.ended(f.Second, nil)
		x.relieve()
		r.won, f.Won, result = true, true, "won"
	default:
		f.FirstErr = x.over(target, err)
		x.swap(s)
		f.OtherErr = x.over(f.Second, s.err)
		x.swap(s)
		x.grant.Lost(x.tally.lostTokens(), x.tally.wasted)
	}
	x.abort.Resume() // by now the one that lost is gone
	hedges.WithLabelValues(target.Route, result).Inc()
}

// swap makes the other attempt the exchange's own, and its own the other.
func (x *exchange) swap(s *rival) {
	x.target, s.target = s.target, x.target
	x.call, s.call = s.call, x.call
	x.reply, s.reply = s.reply, x.reply
	x.cost, s.cost = s.cost, x.cost
	x.priced, s.priced = s.priced, x.priced
}

// over counts an attempt that nobody beat.
func (x *exchange) over(target *router.Target, err error) error {
	if err = x.ended(target, err); err != nil {
		return x.fell(target, err)
	}
	return nil
}

// beaten counts the exchange's own attempt where the other one answers. If it was called off, or came second with its answer, the
// provider bills what it had done by then.
func (x *exchange) beaten(target *router.Target, err error) error {
	if err != nil && !errors.Is(err, provider.ErrAborted) {
		return x.ended(target, err)
	}
	x.metrics(target).attempt("lost")
	x.calling(target, "lost")
	if err != nil {
		x.lose()
	} else if x.billed() {
		x.waste(x.usage())
	}
	x.reply.Close()
	return router.ErrLost
}

// relieve makes what the request holds fit the answer that there is. What is held covers it: it was to pay for both.
func (x *exchange) relieve() {
	if !x.billed() {
		return
	}
	x.grant.Lost(x.tally.lostTokens(), x.tally.wasted)
	if found, err := x.price(x.target); err == nil {
		_ = x.grant.Aim(found.dearest(x.body.Tier()), x.served(), x.cuttable(x.target))
	}
}

// hedged adds to the steps that led to the answer that the second attempt gave it.
func (x *exchange) hedged(steps string) string {
	switch {
	case x.race == nil || !x.race.won:
		return steps
	case steps == "":
		return "hedge"
	}
	return steps + ", hedge"
}

// leads tells that the first attempt's answer counts, or is the only one. From then on it does.
func (x *exchange) leads() bool { return x.race == nil || !x.race.on || x.race.claim(leader) }

// retire ends what a second attempt lent the exchange.
func (x *exchange) retire() {
	x.call = &x.own
	if x.race != nil {
		x.race.won = false
	}
}

// begin starts the clock of the first attempt.
func (r *race) begin(after time.Duration, spare func() *router.Target) {
	if r.x.call.Meter != nil {
		r.x.call.Meter = r
	}
	r.first = r.x.call
	if r.x.g.Providers[r.x.target.Provider].Pool() != nil {
		r.first.Visible()
	}
	_ = r.x.ctx.Request.Header.Cookie("") // what the header puts off until then would be done by both
	r.spare, r.on, r.rival = spare, true, nil
	r.winner.Store(0)
	if r.timer == nil {
		r.timer = time.AfterFunc(after, r.challenge)
	} else {
		r.timer.Reset(after)
	}
}

// finish is called when the first attempt has ended. It returns the second one, nil for none, when that has ended too, or has
// won; the one that is beaten is called off at once.
func (r *race) finish(answered bool) *rival {
	if r.timer.Stop() {
		r.on = false
		return nil
	}
	if answered && r.claim(leader) {
		r.stop()
	}
	<-r.done
	r.on = false
	if r.winner.Load() != challenger {
		r.x.abort.Beside(nil)
	}
	return r.rival
}

// stop calls the second attempt off.
func (r *race) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rival != nil {
		r.rival.abort.Stop()
	}
}

// end leaves nothing behind of a race that a bug broke off.
func (r *race) end() {
	if r.on {
		r.winner.CompareAndSwap(0, leader)
		r.stop()
		if s := r.finish(false); s != nil {
			s.reply.Close()
		}
		r.x.abort.Resume()
	}
	r.first.Rejoin()
	r.spare, r.header, r.rival, r.first = nil, nil, nil, nil
}

// claim makes an attempt the one that answers, unless the other one is.
func (r *race) claim(who int32) bool {
	return r.winner.CompareAndSwap(0, who) || r.winner.Load() == who
}

// More lets both attempts draw on the grant.
func (r *race) More(given int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.x.grant.More(given)
}

// Prompt is the grant's.
func (r *race) Prompt() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.x.grant.Prompt()
}

// challenge makes the second attempt. It is the timer's function.
func (r *race) challenge() {
	defer func() {
		if p := recover(); p != nil {
			err := r.x.bug(p)
			if r.rival != nil {
				r.rival.err = err
			}
		}
		r.done <- struct{}{}
	}()
	s := r.enter()
	if s == nil {
		return
	}
	if s.err = r.x.enter(s.call, s.target); s.err == nil {
		s.call.Begun = time.Now()
		s.err = r.x.g.Providers[s.target.Provider].Do(s.call, &s.reply)
	}
	if s.err == nil && r.claim(challenger) {
		r.x.abort.Stop()
	}
}

// enter prepares the second attempt, unless the first has ended meanwhile or there is to be none.
func (r *race) enter() *rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.x
	if r.winner.Load() != 0 {
		return nil
	}
	s := &rival{}
	x.ctx.Request.Header.CopyTo(&s.header)
	r.header = &s.header
	if !x.repeatable() || !r.engage(s) {
		hedges.WithLabelValues(x.target.Route, "none").Inc()
		return nil
	}
	x.abort.Beside(&s.abort)
	r.rival = s
	return s
}

// engage finds the second target, and holds what it may cost beside what the first may.
func (r *race) engage(s *rival) bool {
	x := r.x
	if s.target = r.spare(); s.target == nil || x.g.Gate.Bulkhead(s.target.Provider).Full() || x.leaves(x.target) || x.leaves(s.target) {
		return false
	}
	call := x.call.Beside()
	call.Header, call.Abort, call.Meter, call.MaxTokens, call.Prompt = &s.header, &s.abort, nil, 0, 0
	call.Keep = func(w dialect.Writer) {
		if r.claim(challenger) {
			x.store(call, w)
		}
	}
	call.Model = x.modelOf(s.target)
	if s.target == x.target && !x.g.Providers[s.target.Provider].Elsewhere(call, x.call) {
		return false
	}
	if s.call = call; x.billed() && !r.afford(s) {
		return false
	}
	call.AnswerAs = x.answerAs(s.target)
	x.address(call, s.target)
	return true
}

// afford is false where the caller's budgets do not cover both attempts.
func (r *race) afford(s *rival) bool {
	x := r.x
	found, err := x.price(s.target)
	if err != nil || !x.grant.Beside(found.dearest(x.body.Tier()), x.modelOf(s.target), x.cuttable(s.target)) {
		return false
	}
	s.cost, s.priced = found.price, found.known
	s.call.MaxTokens, s.call.Prompt = x.grant.Cap()
	if x.grant.Meter() {
		s.call.Meter = r
	}
	return true
}

// repeatable tells a request that can be made twice with nothing to show for it but its price: nothing is kept of it, and its tools
// are the client's own.
func (x *exchange) repeatable() bool {
	if x.call.Body == nil || x.ep.count || x.ep.kind == wire.Plain && x.ep.name != "embeddings" {
		return false
	}
	for _, name := range [...]string{"background", "conversation", "previous_response_id", "web_search_options", "mcp_servers", "container"} {
		if v := x.body.Get(name); v.Exists() && v.Type != gjson.Null && v.Type != gjson.False {
			return false
		}
	}
	own := true
	x.body.Get("tools").ForEach(func(_, tool gjson.Result) bool {
		switch tool.Get("type").String() {
		case "", "function", "custom":
		default:
			own = false
		}
		return own
	})
	return own && (x.ep.kind != wire.Chat || !x.body.Get("store").Bool())
}

// leaves tells that the target's provider would keep the response: the one that nobody gets would stay there.
func (x *exchange) leaves(t *router.Target) bool {
	return x.ep.kind == wire.Response && x.body.Get("store").Type != gjson.False && x.g.Providers[t.Provider].Native(wire.Response)
}

var _ provider.Meter = (*race)(nil)
