package proxy

import (
	"testing"

	"jarvis-gateway/proxy/cache"
	"jarvis-gateway/proxy/usage"
)

// A record says that a hit has saved something where metrics do: where it was given whole.
func TestSavedOfHits(t *testing.T) {
	l := &look{result: cacheHit, entry: &cache.Entry{Finish: "stop", By: cache.Giver{Model: "gpt-4o"}}, saved: 5}
	for outcome, want := range map[string]int64{outcomeOK: 5, outcomeClient: 0, "client_gone": 0} {
		r := usage.Record{Outcome: outcome}
		if l.tell(&r); r.Cache != "exact" || r.Similarity != 1 || r.Served != "gpt-4o" || r.Finish != "stop" || int64(r.Saved) != want {
			t.Errorf("%s: %+v", outcome, r)
		}
	}
}
