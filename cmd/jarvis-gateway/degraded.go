package main

import (
	"encoding/json"
	"log/slog"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// degraded tells people, in the log and in the audit log, that a model is spared, or serves again.
func degraded(log *slog.Logger, store *state.Store) func(router.Degraded) {
	return func(d router.Degraded) {
		entry := state.Entry{Kind: state.Operation, Actor: "gateway", Action: "model.recovered", Target: d.Model}
		if d.Cause == "" {
			log.Info("a model serves again", "model", d.Model, "instead", d.To)
			store.Record(entry)
			return
		}
		log.Warn("a model is degraded", "model", d.Model, "to", d.To, "cause", d.Cause)
		entry.Action = "model.degraded"
		entry.After, _ = json.Marshal(map[string]string{"to": d.To, "cause": d.Cause}) // strings cannot fail
		store.Record(entry)
	}
}
