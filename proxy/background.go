package proxy

import (
	"context"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// A response in the background goes on after the request for it has its answer, and what it uses is known only when it is asked
// for again. The request's own record says that nothing was used, and the state store keeps a second one, with an estimate.
// Whoever first sees how the response ended, on whatever gateway that is, takes it out, puts in what was used, and records it.
// What nobody asks for in time is recorded as it is.

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
	ctx, cancel := x.lookup()
	defer cancel()
	err := x.conn.server.state.PutPending(ctx, r, x.pending(r.ID), x.start.Add(pendingFor))
	if err != nil {
		x.conn.server.log.Error("what a response in the background uses will be estimated", "id", string(x.id), "cause", err.Error())
		return false
	}
	x.disclaim()
	return true
}

// disclaim has the request's intent say that nothing was used, as the pending record says what was: the process may end long before a
// stream does.
func (x *exchange) disclaim() {
	if !x.begun {
		return
	}
	r := x.outline()
	r.Model, r.Provider, r.Served = x.target.Route, x.target.Provider, x.served()
	x.space = r.AppendTo(x.space[:0])
	x.mark = x.conn.server.spool.Replace(x.mark, x.space)
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

// caught tells that a stream of a response in the background came to its end, and that nobody else has recorded what it used.
func (x *exchange) caught() bool {
	return x.reply.Stream != nil && x.call.Stopped() != "" && x.conn.server.takePending(x.caller.Tenant, x.reply.ID) != nil
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
	if r := x.conn.server.takePending(x.caller.Tenant, id); r != nil {
		x.fillIn(r, u, why)
		x.conn.server.recordPending(r)
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

// takePending is what waits to be recorded of a tenant's response, nil where nothing does. It is recorded by nobody else then.
func (s *Server) takePending(tenant, id string) *usage.Record {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	record, err := s.state.TakePending(ctx, tenant, id)
	if err != nil {
		s.log.Error("what a response in the background has used is not recorded yet", "response", id, "cause", err.Error())
	}
	r, _, err := usage.Decode(record)
	if err != nil || r == nil || len(r.Attempts) == 0 {
		return nil
	}
	return r
}

// recordPending records and counts what a response in the background has used.
func (s *Server) recordPending(r *usage.Record) {
	m := newTargetMetrics(&router.Target{Route: r.Model, Provider: r.Provider}, tenants.label(r.Tenant), r.Endpoint)
	m.outcome(r.Outcome)
	m.count(r.Usage, r.Cost)
	if s.spool == nil {
		return
	}
	if err := s.spool.Add(r.AppendTo(nil)); err != nil {
		s.unrecorded(r.ID, err, time.Now())
	}
}

// recordOverdue records a response that nobody has asked for in time.
func (s *Server) recordOverdue(record []byte) {
	if r, _, err := usage.Decode(record); err == nil && r != nil {
		s.recordPending(r)
	}
}
