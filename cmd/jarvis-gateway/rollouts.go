package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// What becomes of a rollout is kept in the state store, so that it holds on every gateway that has the store, also after a
// restart. Each gateway goes by what it sees itself; the first to call a rollout off does so for all.

// rolled tells people, in the log and in the audit log, what a rollout has done by itself, and other gateways by way of the store.
func rolled(log *slog.Logger, store *state.Store) func(router.Rolled) {
	return func(r router.Rolled) {
		store.KeepRollout(state.Rollout(r.State))
		said := func(percent float64, halted string) json.RawMessage {
			side := map[string]any{"to": r.To, "percent": percent}
			if halted != "" {
				side["halted"] = halted
			}
			raw, _ := json.Marshal(side) // strings and numbers cannot fail
			return raw
		}
		entry := state.Entry{Kind: state.Operation, Actor: "gateway", Action: "rollout.step", Target: r.Model, Before: said(r.Before, ""), After: said(r.Percent, r.Halted)}
		if r.Halted == "" {
			log.Info("a rollout goes on", "model", r.Model, "to", r.To, "percent", r.Percent)
		} else {
			entry.Action = "rollout.rolled_back"
			log.Warn("a rollout is called off", "model", r.Model, "to", r.To, "why", r.Halted)
		}
		store.Record(entry)
	}
}

// recall has rollouts go on from where they stand in the state store. While that does not answer they go on by themselves.
func (s *live) recall(ctx context.Context, r *router.Router) {
	if len(r.Rollouts(time.Now())) == 0 {
		return
	}
	rows, err := s.state.Rollouts(ctx)
	if err != nil {
		return // the directory, which asks the same store, tells of it
	}
	for _, row := range rows {
		if r.Follow(router.RolloutState(row)) {
			s.log.Info("a rollout goes on from where it stood, or as was decided elsewhere", "model", row.Model, "percent", row.Percent, "called_off", row.Halted)
		}
	}
}
