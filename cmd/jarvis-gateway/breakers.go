package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// breakers tells people what becomes of targets: in the log, in the audit log and, of credentials that are refused, by the
// webhook. The router must not wait for any of these, so one goroutine does it.
type breakers struct {
	log   *slog.Logger
	store *state.Store
	alarm func(policy.Alarm)

	events  chan opening
	quit    chan struct{}
	ended   chan struct{}
	refused map[string]time.Time // providers that were told of, when they last refused us; until one of their targets is back
}

// opening is an event of the router's, and when it was.
type opening struct {
	router.Event
	at time.Time
}

// untold is how many events may wait. More are not told; the metrics count them all the same.
const untold = 256

func newBreakers(log *slog.Logger, store *state.Store, alarm func(policy.Alarm)) *breakers {
	b := &breakers{log: log, store: store, alarm: alarm, events: make(chan opening, untold), quit: make(chan struct{}), ended: make(chan struct{}),
		refused: map[string]time.Time{}}
	go b.run()
	return b
}

// Close tells what there is left. Events that come later are dropped.
func (b *breakers) Close() {
	close(b.quit)
	<-b.ended
}

// changed is told of every change by the router, which waits for it.
func (b *breakers) changed(e router.Event) {
	if e.State == "open" {
		proxy.BreakerOpens.WithLabelValues(e.Track.Route, e.Track.Provider, e.Track.Label(), e.Cause).Inc()
	}
	select {
	case b.events <- opening{e, time.Now()}:
	default:
	}
}

func (b *breakers) run() {
	defer close(b.ended)
	for {
		select {
		case e := <-b.events:
			b.tell(e)
		case <-b.quit:
			for len(b.events) > 0 {
				b.tell(<-b.events)
			}
			return
		}
	}
}

func (b *breakers) tell(e opening) {
	level := slog.LevelInfo
	if e.State == "open" {
		level = slog.LevelWarn
	}
	t := e.Track
	b.log.Log(context.Background(), level, "a target's breaker has changed", "model", t.Route, "provider", t.Provider, "served", t.Model, "state", e.State, "cause", e.Cause)
	switch {
	case e.Cause == "forced": // who did it is in the audit log
	case e.State == "open" && e.Cause == "auth" && !b.known(e):
		b.record(e, state.Security, "provider.auth_refused")
		b.alarm(policy.Alarm{Type: "provider.auth_refused", Provider: t.Provider, Model: t.Route, Served: t.Model, At: e.at})
	case e.State == "open" && e.From == "closed":
		b.record(e, state.Operation, "breaker.open")
	case e.State == "closed":
		delete(b.refused, t.Provider)
		b.record(e, state.Operation, "breaker.close")
	}
}

// known tells whether people know already that a provider refuses the gateway's key. A target that was never asked again, or is no
// more, must not keep the next time from being told.
func (b *breakers) known(e opening) bool {
	last, known := b.refused[e.Track.Provider]
	b.refused[e.Track.Provider] = e.at
	return known && e.at.Sub(last) < sameRefusal
}

// sameRefusal is how long a refusal stays known: a target that is refused is tried again more often, where there are requests.
const sameRefusal = 30 * time.Minute

// heed has targets stand as somebody has decided by hand, here or at another gateway of the state store, also before a restart.
// While the store does not answer they stay as they are.
func (s *live) heed(ctx context.Context, r *router.Router) {
	rows, err := s.state.Forced(ctx)
	if err != nil {
		return // the directory, which asks the same store, tells of it
	}
	decisions := make([]router.Decision, len(rows))
	for i, row := range rows {
		decisions[i] = router.Decision{Route: row.Model, Provider: row.Provider, Model: row.Served, Force: router.ForceOf(row.State), Turn: row.Turn}
	}
	for _, change := range r.Heed(decisions) {
		now := change[1]
		s.log.Info("a target stands as was decided by hand", "model", now.Route, "provider", now.Provider, "served", now.Model, "state", now.State, "forced", now.Forced.String())
	}
}

// record puts it into the audit log. What a probe finds is no news there: the target was given up before.
func (b *breakers) record(e opening, kind state.Kind, action string) {
	side := func(state, cause string) json.RawMessage {
		said := map[string]string{"state": state}
		if cause != "" {
			said["cause"] = cause
		}
		raw, _ := json.Marshal(said) // strings cannot fail
		return raw
	}
	t := e.Track
	b.store.Record(state.Entry{At: e.at, Kind: kind, Actor: "gateway", Action: action, Target: t.Route + " at " + t.Provider + "/" + t.Model,
		Before: side(e.From, ""), After: side(e.State, e.Cause)})
}
