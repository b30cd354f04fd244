package provider

import (
	"slices"
	"time"

	"jarvis-gateway/router"
)

// Beside is a call for the same request, which may be made at the same time: what is asked is taken over, the working of the
// attempt is its own. The client's header is not safe for two, and the abort and the place in the trace are each attempt's: the caller sets others.
func (call *Call) Beside() *Call {
	return &Call{Method: call.Method, Path: call.Path, Query: call.Query, Kind: call.Kind, Header: call.Header, Credential: call.Credential, ID: call.ID,
		Body: call.Body, Form: call.Form, Model: call.Model, AnswerAs: call.AnswerAs, Stream: call.Stream, Timeout: call.Timeout, Begun: call.Begun,
		Abort: call.Abort, Count: call.Count, Previous: call.Previous, Keep: call.Keep, MaxTokens: call.MaxTokens, Meter: call.Meter, Prompt: call.Prompt,
		Prefix: call.Prefix, Hasty: call.Hasty, Trace: call.Trace}
}

// After is Beside for a call that follows this one, which has ended: of several equal servers it asks those first that this one has
// not been at.
func (call *Call) After() *Call {
	next := call.Beside()
	if v := call.visit; v != nil && v.spent > 0 {
		stay := next.stay()
		stay.tried, stay.spent = v.tried, v.spent
	}
	return next
}

// Visible has a call that is made beside this one, on another goroutine, see at which replica this one is. It comes before this one's Do.
func (call *Call) Visible() { call.stay() }

// Elsewhere has a call be at another replica of the provider than the visible one beside it, which is under way. It is false where no
// other replica is fit: then the call is not to be made.
func (c *Client) Elsewhere(call, other *Call) bool {
	if c.fleet == nil || other.visit == nil {
		return false
	}
	at := other.visit.where.Load()
	if at == nil {
		return false // who knows where it will be
	}
	r, why := c.fleet.pool.Choose(time.Now(), &router.PoolQuery{Model: call.Model, Tried: []*router.Replica{at}})
	if r == nil || why == router.WhyEjected {
		return false
	}
	call.stay().beside.Store(other.visit)
	other.visit.beside.Store(call.visit)
	return true
}

// Rejoin ends what Elsewhere began, once both calls have ended or one of them answers. What the other one was at counts as tried: if
// the request is not answered yet, others are asked first.
func (call *Call) Rejoin() {
	v := call.visit
	if v == nil {
		return
	}
	other := v.beside.Swap(nil)
	if other == nil {
		return
	}
	other.beside.Store(nil)
	if r := other.where.Load(); r != nil && v.spent < len(v.tried) && !slices.Contains(v.tried[:v.spent], r) {
		v.tried[v.spent] = r
		v.spent++
	}
}
