package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file writes down what every request used and cost: that it will be sent to a provider, before that happens, and how it
// ended, before its answer does.

// recording is what an exchange keeps for its record. A connection that waits for its next request has none.
type recording struct {
	uid     usage.UID
	mark    spool.Mark
	begun   bool            // mark is that of an intent
	calls   []usage.Attempt // in order; the last one is that which answered, if one did
	before  *router.Target  // of the last one
	queued  time.Duration   // in line for limits and places
	failed  []step          // attempts that came to nothing
	flags   []string        // what guards noted
	look    *look           // into the cache; nil: there is none
	heard   *hearing        // the answer's stream; nil where nobody wants it kept
	remarks note
	found   *retrieved // nil: its model has no corpus
	run     *flowRun   // nil: no flow runs
	owed    *owed      // what the response used may have to be recorded by somebody else; nil but for such as are made in the background
	space   []byte
}

var recordings = sync.Pool{New: func() any { return &recording{} }}

func newRecording(now time.Time) *recording {
	r := recordings.Get().(*recording)
	r.uid, r.mark, r.begun, r.calls, r.before, r.queued = usage.NewUID(now), spool.Mark{}, false, r.calls[:0], nil, 0
	r.found, r.look, r.run = nil, nil, nil
	r.failed, r.flags, r.heard, r.owed, r.remarks = r.failed[:0], nil, nil, nil, note{tags: r.remarks.tags[:0]}
	return r
}

// end gives the memory back, unless it has become more than most requests need.
func (r *recording) end() {
	if r != nil && cap(r.space) <= keptSpace {
		clear(r.calls) // they name what clients asked for
		clear(r.failed)
		clear(r.remarks.tags)
		r.heard, r.found, r.look, r.run = nil, nil, nil, nil
		recordings.Put(r)
	}
}

// intend writes down that the request is sent to a provider, who is paid whatever becomes of the gateway. It is an error where
// nothing may go unrecorded, and this would.
func (x *exchange) intend(first *router.Target) error {
	log := x.conn.server.spool
	if log == nil || x.begun {
		return nil
	}
	r := x.outline()
	r.Model, r.Provider, r.Served = first.Route, first.Provider, x.modelOf(first)
	if x.billed() {
		r.Usage = wire.Usage{Prompt: x.grant.Prompt(), Estimated: true}
		if r.Usage.Prompt == 0 {
			r.Usage.Prompt = int64(x.size()) / lettersPerToken
		}
		if x.ep.kind != wire.Plain {
			r.Usage.Completion = likelyAnswer
		}
		r.Cost = x.cost.Cost(r.Usage)
	}
	x.space = r.AppendTo(x.space[:0])
	var err error
	if x.mark, err = log.Begin(x.space); err != nil {
		return errUnrecorded
	}
	x.begun = true
	return nil
}

// lettersPerToken is a rough guess, for what nobody counts any more.
const lettersPerToken = 4

var errUnrecorded = &wire.Error{Status: 503, Type: wire.TypeServer, Code: "usage_unavailable", Own: true, Retry: time.Second,
	Message: "What requests use cannot be recorded at the moment. Please try again."}

// writeDown writes down how the request ended. Nothing is known of who sends what no key that works came with. While there is little
// room, what no provider was asked is left out: a flood of requests that are refused must not push out what has cost something.
func (x *exchange) writeDown(now time.Time) {
	log := x.conn.server.spool
	if log == nil || x.caller == nil || !x.ep.asks() && x.tries == 0 || x.failure == errUnrecorded {
		return
	}
	if !x.begun && log.Pressed() {
		log.Drop()
		return
	}
	r := x.outline()
	x.tell(&r, now)
	if x.caller.LogsPrompts() && !log.Pressed() { // contents are large
		r.Content = x.content()
	}
	if x.owed != nil && len(r.Attempts) > 0 {
		x.settleLater(r)
		return
	}
	x.space = r.AppendTo(x.space[:0])
	var err error
	if x.begun {
		err = log.End(x.mark, x.space)
	} else {
		err = log.Add(x.space)
	}
	if err != nil {
		x.conn.server.unrecorded(string(x.id), err, now)
	}
}

// unrecorded tells that a record was lost, and why as far as the disk has said: once a second, as it may be all of them.
func (s *Server) unrecorded(id string, err error, now time.Time) {
	last := s.lost.Load()
	if now.Unix() == last || !s.lost.CompareAndSwap(last, now.Unix()) {
		return
	}
	stats := s.spool.Stats()
	if stats.LastError != nil && !errors.Is(err, stats.LastError) {
		err = fmt.Errorf("%w: %w", err, stats.LastError)
	}
	s.log.Error("a request's usage was not recorded", "id", id, "cause", err.Error(), "dropped", stats.Dropped)
}

// keptSpace is how much memory is kept for the next request's record.
const keptSpace = 8 << 10

// outline is what is known of a request before anybody has been asked.
func (x *exchange) outline() usage.Record {
	c := x.caller
	r := usage.Record{UID: x.uid, Time: x.start, ID: unsafe.String(unsafe.SliceData(x.id), len(x.id)), Tenant: c.Tenant, Team: c.Team, Key: c.Key, User: c.User, Stream: x.call.Stream,
		Asked: clip(x.asked), Price: x.g.Prices.Version(), Queued: x.queued, In: int64(x.size())}
	if x.ep != nil {
		r.Endpoint = x.ep.name
	}
	if x.prompt != nil {
		r.Prompt = x.prompt.Name + "@" + x.prompt.Version
	}
	r.Corpus, r.Flow = x.found.used(), x.flown()
	note := x.note()
	r.Scene, r.User, r.Tags = note.scene, cmp.Or(r.User, note.user), note.tags
	if r.User == "" && x.call.Body != nil {
		r.User = x.body.User(x.ep.kind)
	}
	r.User = clip(r.User)
	return r
}

// longestName is how much is kept of a name that clients may make as long as they like. A record must fit into the spool.
const longestName = 512

func clip(name string) string {
	if len(name) <= longestName {
		return name
	}
	return strings.ToValidUTF8(name[:longestName], "")
}

// tell adds how the request went.
func (x *exchange) tell(r *usage.Record, now time.Time) {
	r.Model, _ = x.ran()
	if x.route != nil {
		r.Model = x.route.Name
	}
	if t := x.target; t != nil {
		r.Model, r.Provider, r.Served = t.Route, t.Provider, x.modelOf(t)
		client := x.g.Providers[t.Provider]
		r.Replica, r.Region = x.call.Replica(), client.Region()
	}
	r.Route = x.why()
	if x.query != nil {
		r.Rollout, r.Arm = x.query.Trial.Arm()
	}
	r.Usage, r.Cost = x.tally.all(), x.tally.paid
	r.First, r.Upstream, r.Total, r.Queued = x.first, x.upstream, now.Sub(x.start), x.queued
	r.Overhead = x.overhead(now)
	r.Status, r.Outcome, r.Out = x.status(), outcomeOf(x.failure), x.sent
	if x.failure != nil {
		r.Code, r.Gone = reason(x.failure), x.failure.Status == statusGone
	}
	if x.tally.came {
		r.Finish = x.stopped()
		last := &x.calls[len(x.calls)-1]
		last.Usage, last.Cost = x.tally.answer, x.tally.paid-x.tally.wasted
		if x.failure != nil {
			last.Result = resultOf(x.failure)
		}
	}
	r.Attempts = x.calls
	x.look.tell(r)
}

// overhead is what the gateway took of the time until the answer began, but for time in line.
func (x *exchange) overhead(now time.Time) time.Duration {
	answered := x.answered
	if x.tries == 0 && x.first == 0 {
		answered = now
	}
	return max(answered.Sub(x.start)-x.upstream-x.queued, 0)
}

// stopped is why the answer ended.
func (x *exchange) stopped() string {
	if why := x.call.Stopped(); why != "" || x.reply.Stream != nil {
		return why
	}
	return wire.StopReason(x.ep.kind, x.reply.Body)
}

// calling takes note of a call to a provider that has come to its first content, or to nothing.
func (x *exchange) calling(t *router.Target, result string) {
	kind, before := "first", x.before
	switch {
	case x.first > 0:
		kind = "continue"
	case x.call != &x.own: // it may be told of before the one that it was made beside
		kind = "hedge"
	case before == nil:
	case before.Serves() != t.Serves():
		kind = "fallback"
	case before != t:
		kind = "failover"
	default:
		kind = "retry"
	}
	if kind != "hedge" {
		x.before = t
	}
	x.calls = append(x.calls, usage.Attempt{Kind: kind, Entry: t.Route, Provider: t.Provider, Model: x.modelOf(t), Replica: x.call.Replica(),
		Region: x.g.Providers[t.Provider].Region(), Result: result, Begun: x.call.Begun.Sub(x.start), First: time.Since(x.call.Begun)})
	x.marked(result)
}

// wasted adds what the last call has cost for nothing.
func (r *recording) wasted(u wire.Usage, cost wire.Money) {
	if n := len(r.calls); n > 0 {
		r.calls[n-1].Usage, r.calls[n-1].Cost = r.calls[n-1].Usage.Plus(u), r.calls[n-1].Cost.Plus(cost)
	}
}

// outline is what is known of a copy of a request before the target is asked. What it costs is the gateway's own: it stands under no
// tenant, as it is in no budget.
func (m *mirror) outline(t *router.Target) usage.Record {
	r := usage.Record{UID: m.uid, Time: m.query.Now, ID: string(m.call.ID), Endpoint: m.endpoint, Stream: m.call.Stream, Model: t.Route,
		Provider: t.Provider, Served: m.call.Model, Replica: m.call.Replica(), Region: m.g.Providers[t.Provider].Region(), Route: "shadow",
		Price: m.g.Prices.Version()}
	r.Rollout, r.Arm = m.trial.Arm()
	return r
}

// intend writes down that the copy is sent, with an estimate. It is false where that would go unrecorded.
func (m *mirror) intend(t *router.Target) bool {
	log := m.server.spool
	if log == nil || m.begun {
		return true
	}
	r := m.outline(t)
	r.Usage = wire.Usage{Prompt: m.query.Tokens, Completion: likelyAnswer, Estimated: true}
	r.Cost = m.g.tariffs[t.Index].price.Cost(r.Usage)
	mark, err := log.Begin(r.AppendTo(nil))
	if err != nil {
		log.Forget(mark)
		return false
	}
	m.mark, m.begun = mark, true
	return true
}

// writeDown writes down how the copy ended.
func (m *mirror) writeDown(t *router.Target, used wire.Usage, cost wire.Money, outcome string) {
	log := m.server.spool
	if log == nil || t == nil {
		return
	}
	now := time.Now()
	r := m.outline(t)
	r.Usage, r.Cost, r.Upstream, r.Total, r.Outcome = used, cost, m.awaited, now.Sub(m.query.Now), outcome
	r.Attempts = []usage.Attempt{{Kind: "shadow", Entry: r.Model, Provider: r.Provider, Model: r.Served, Replica: r.Replica, Region: r.Region, Result: outcome,
		Begun: m.call.Begun.Sub(m.query.Now), First: m.awaited, Usage: used, Cost: cost}}
	if err := log.End(m.mark, r.AppendTo(nil)); err != nil {
		m.server.unrecorded(r.ID, err, now)
	}
}
