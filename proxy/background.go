package proxy

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// A response in the background goes on after the request for it has its answer, and what it uses is known only when it is asked
// for again. The request's own record says that nothing was used, and the state store keeps a second one, with an estimate.
// Whoever first sees how the response ended, on whatever gateway that is, claims it, puts in what was used, and records it. What
// nobody asks for in time is recorded as it is.
//
// Who claims may die at any moment. So the spool has what he will record before he claims, as an intent that says whose claim it
// hangs on (owed). Whoever finds it there asks the state store how that went.

// pendingFor is how long a response in the background may be asked for until its estimate is taken for what it used.
const pendingFor = 24 * time.Hour

// ofBackground is the call of the API in such records: not the one that asked for the response, which has its own.
const ofBackground = "responses.background"

// underWay tells a response that goes on.
func underWay(response []byte) bool {
	status := gjson.GetBytes(response, "status").Str
	return status == "queued" || status == "in_progress"
}

// ended tells a response that goes on no more.
func ended(response []byte) bool {
	switch gjson.GetBytes(response, "status").Str {
	case "completed", "incomplete", "failed", "cancelled":
		return true
	}
	return false
}

// postpone keeps what is to be recorded of a response that has only begun, and tells whether it is kept: else the request's own
// record has to have it.
func (x *exchange) postpone(r *state.Response) bool {
	if !x.body.Get("background").Bool() || x.reply.Stream == nil && !underWay(x.reply.Body) {
		return false
	}
	used := x.guessed()
	o := &owed{Claim: state.NewClaim(r.Tenant, r.ID), used: used, cost: x.cost.Cost(used)}
	others := x.owe(o)
	ctx, cancel := x.lookup()
	defer cancel()
	err := x.conn.server.state.PutPending(ctx, r, x.pending(r.ID), x.start.Add(pendingFor))
	if err != nil {
		x.owed = o // it may be there all the same
		x.conn.server.log.Error("what a response in the background uses will be estimated", "id", string(x.id), "cause", err.Error())
		return false
	}
	if x.begun { // the process may end long before the stream does
		x.mark = x.conn.server.spool.Replace(x.mark, others)
	}
	return true
}

// owed is what is to be recorded if a claim holds, and what else, if anything.
type owed struct {
	state.Claim
	Ours, Others []byte

	used wire.Usage // what makes the difference
	cost wire.Money
}

// append is an intent. It begins with what no record begins with.
func (o *owed) append(dst []byte) []byte {
	b, _ := json.Marshal(o) // texts always can be
	return append(dst, b...)
}

// record is what is to be recorded.
func (o *owed) record(held bool) []byte {
	if held {
		return o.Ours
	}
	return o.Others
}

// owe has the request's intent say that what its response uses hangs on a claim: its record has that, or nothing. It returns the
// intent of the latter.
func (x *exchange) owe(o *owed) (others []byte) {
	if !x.begun {
		return nil
	}
	r := x.outline()
	r.Model, r.Provider, r.Served = x.target.Route, x.target.Provider, x.served()
	others = r.AppendTo(nil)
	o.Others = interrupted(r).AppendTo(nil)
	r.Usage, r.Cost = o.used, o.cost
	o.Ours = interrupted(r).AppendTo(nil)
	x.mark = x.conn.server.spool.Replace(x.mark, o.append(nil))
	return others
}

func interrupted(r usage.Record) *usage.Record {
	r.Interrupted, r.Outcome, r.Code = true, outcomeInterrupted, "interrupted"
	return &r
}

// settleLater writes down how the request ended when the state store has said whether its claim holds. If the process ends before, its
// intent says the same.
func (x *exchange) settleLater(r usage.Record) {
	o, mark, s := x.owed, x.mark, x.conn.server
	if !x.tally.later {
		o.used, o.cost = x.tally.answer, x.tally.paid-x.tally.wasted
	}
	r.Attempts = slices.Clone(r.Attempts)
	last := &r.Attempts[len(r.Attempts)-1]
	spell := func(u wire.Usage, cost wire.Money) []byte {
		t := tally{answer: u, lost: x.tally.lost}
		last.Usage, last.Cost = u, cost
		r.Usage, r.Cost = t.all(), x.tally.wasted.Plus(cost)
		return r.AppendTo(nil)
	}
	o.Ours, o.Others = spell(o.used, o.cost), spell(wire.Usage{}, 0)
	id := string(x.id)
	s.state.Settle(o.Claim, func(held bool) {
		if err := s.spool.End(mark, o.record(held)); err != nil {
			s.unrecorded(id, err, time.Now())
		}
	})
}

// pending is the record of a response in the background, with an estimate of what it uses.
func (x *exchange) pending(id string) []byte {
	u := x.guessed()
	r := x.outline()
	r.UID, r.ID, r.Endpoint, r.Stream, r.In, r.Queued = usage.NewUID(x.start), id, ofBackground, false, 0, 0
	r.Model, r.Provider, r.Served = x.target.Route, x.target.Provider, x.served()
	r.Replica, r.Region, r.Route = x.call.Replica(), x.g.Providers[r.Provider].Region(), x.why()
	if x.query != nil {
		r.Rollout, r.Arm = x.query.Trial.Arm()
	}
	r.Usage, r.Cost, r.Status, r.Outcome = u, x.cost.Cost(u), 200, outcomeOK
	r.Attempts = []usage.Attempt{{Kind: "background", Entry: r.Model, Provider: r.Provider, Model: r.Served, Replica: r.Replica, Region: r.Region,
		Result: outcomeOK, Usage: u, Cost: r.Cost}}
	return r.AppendTo(nil)
}

// guessed is what an answer uses of which nothing is known.
func (x *exchange) guessed() wire.Usage {
	return x.completed(wire.Usage{Completion: min(likelyAnswer, x.longest()), Estimated: true})
}

// caught tells that a stream of a response in the background came to its end, and that nobody else records what it used.
func (x *exchange) caught() bool {
	return x.reply.Stream != nil && x.call.Stopped() != "" && x.claims()
}

// claims has the request's own record tell what its response used, unless somebody else records that.
func (x *exchange) claims() bool {
	s := x.conn.server
	r := s.pendingOf(x.caller.Tenant, x.reply.ID)
	if r == nil {
		return false
	}
	used := x.usage()
	o := &owed{Claim: state.NewClaim(r.Tenant, r.ID), used: used, cost: x.cost.Cost(used)}
	x.owe(o)
	held, err := s.claim(o.Claim)
	if err != nil {
		x.owed = o
	}
	return held
}

// catchUp records what a response in the background has used, if this request for it is the first to see its end.
func (x *exchange) catchUp() {
	if x.ep != getResponse && x.ep != cancelResponse {
		return
	}
	u, why := x.reply.Usage, ""
	switch {
	case x.reply.Stream != nil:
		u, why = x.reply.Stream.Usage(), x.call.Stopped()
	case ended(x.reply.Body):
		why = wire.StopReason(wire.Response, x.reply.Body)
	}
	if why == "" {
		return
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(x.call.Path, "/responses/"), "/")
	s := x.conn.server
	r := s.pendingOf(x.caller.Tenant, id)
	if r == nil {
		return
	}
	x.fillIn(r, u, why)
	c := state.NewClaim(r.Tenant, r.ID)
	settle := s.begin(c, r)
	if settle == nil {
		return // there is no room: whoever asks next may have some
	}
	if held, err := s.claim(c); err == nil {
		settle(held)
	} else {
		s.state.Settle(c, settle)
	}
}

// fillIn makes the record of a response in the background tell what it has used. A provider that does not say so, as of one that
// was cancelled, leaves the prompt's estimate, and what is there of the answer.
func (x *exchange) fillIn(r *usage.Record, u wire.Usage, why string) {
	if u.Estimated {
		u.Prompt = r.Usage.Prompt
		if u.Completion == 0 {
			u.Completion = said(wire.Response, x.reply.Body, r.Served)
		}
	}
	if u.Tier == wire.TierUnsaid {
		u.Tier = r.Usage.Tier
	}
	r.Usage, r.Cost, r.Price = u, x.g.tariff(x.target, r.Served).price.Cost(u), x.g.Prices.Version()
	r.Finish, r.Total = why, time.Since(r.Time)
	times := gjson.GetManyBytes(x.reply.Body, "created_at", "completed_at")
	if took := times[1].Int() - times[0].Int(); times[1].Exists() && took >= 0 {
		r.Total = time.Duration(took) * time.Second
	}
	a := &r.Attempts[0]
	a.Usage, a.Cost = r.Usage, r.Cost
	if why == "failed" {
		r.Outcome, r.Code, a.Result = outcomeProvider, "upstream_error", "upstream_error"
	}
}

// pendingOf is what waits to be recorded of a tenant's response, nil where nothing does.
func (s *Server) pendingOf(tenant, id string) *usage.Record {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	record, err := s.state.Pending(ctx, tenant, id)
	if err != nil {
		s.unknown(id, err)
	}
	return waitingRecord(record)
}

// waitingRecord is that of a response in the background, nil where it is none.
func waitingRecord(record []byte) *usage.Record {
	r, _, err := usage.Decode(record)
	if err != nil || r == nil || len(r.Attempts) == 0 {
		return nil
	}
	return r
}

func (s *Server) claim(c state.Claim) (held bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	if held, err = s.state.Claim(ctx, c); err != nil {
		s.unknown(c.ID, err)
	}
	return held, err
}

func (s *Server) unknown(id string, err error) {
	s.log.Error("what a response in the background has used is not recorded yet", "response", id, "cause", err.Error())
}

// begin writes down what is to be recorded of a response in the background if the claim holds; settle then records and counts it. It
// is nil where that cannot be written down.
func (s *Server) begin(c state.Claim, r *usage.Record) (settle func(held bool)) {
	o := owed{Claim: c, Ours: r.AppendTo(nil)}
	if s.spool == nil {
		return func(held bool) {
			if held {
				countPending(r)
			}
		}
	}
	mark, err := s.spool.Begin(o.append(nil))
	if err != nil && mark == (spool.Mark{}) {
		return nil
	}
	return func(held bool) {
		if !held {
			s.spool.Forget(mark)
			return
		}
		countPending(r)
		if err := s.spool.End(mark, o.Ours); err != nil {
			s.unrecorded(r.ID, err, time.Now())
		}
	}
}

// countPending counts what a response in the background has used.
func countPending(r *usage.Record) {
	m := newTargetMetrics(&router.Target{Route: r.Model, Provider: r.Provider}, tenants.label(r.Tenant), r.Endpoint)
	m.outcome(r.Outcome)
	m.count(r.Usage, r.Cost)
}

// recordOverdue records a response that nobody has asked for in time. What cannot be read is nothing to record.
func (s *Server) recordOverdue(c state.Claim, record []byte) (settle func(held bool)) {
	if r := waitingRecord(record); r != nil {
		return s.begin(c, r)
	}
	return func(bool) {}
}

// Cut makes what is known of a request that the end of the process cut off into its record: what the gateway guessed of it. Of what
// hangs on a claim the store knows whether that holds.
func Cut(store *state.Store) func(dst, intent []byte) ([]byte, error) {
	return func(dst, intent []byte) ([]byte, error) {
		var o owed
		if json.Unmarshal(intent, &o) == nil {
			ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
			defer cancel()
			held, err := store.Claim(ctx, o.Claim)
			return append(dst, o.record(held)...), err
		}
		r, _, err := usage.Decode(intent)
		if err != nil || r == nil {
			return append(dst, intent...), nil // the store refuses it, and it is kept to be looked at
		}
		return interrupted(*r).AppendTo(dst), nil
	}
}
