package proxy

import (
	"time"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/router"
)

// enter takes a place at the target's provider, where that has only so many. The call gives it back when its answer has ended.
func (x *exchange) enter(call *provider.Call, t *router.Target) error {
	b := x.g.Gate.Bulkhead(t.Provider)
	if b == nil {
		return nil
	}
	begun := time.Now()
	err := b.Enter(x.caller, call.Abort, x.left())
	if call == x.call { // the one that the client waits for
		x.queued += time.Since(begun)
	}
	if err != nil {
		if call.Abort.Fired() {
			return provider.ErrAborted
		}
		return err
	}
	call.Hold(b)
	return nil
}

// prefix is what a replica is chosen by that knows most of the prompt; nil where the route's requests go to any.
func (x *exchange) prefix(t *router.Target) []uint64 {
	if x.query == nil || !t.Serves().ByPrefix() {
		return nil
	}
	return x.query.Prefix
}
