package main

import (
	"strings"
	"testing"
)

// Where nothing may go unrecorded, a request that cannot be recorded is refused before anybody is asked: it is no record that was
// lost, and its line is that of any other refusal.
func TestUnrecorded(t *testing.T) {
	config := strings.Replace(scoredConfig, `usage: "${STORE}"`, `usage: "clickhouse+http://127.0.0.1:1/x", on_error: {usage: closed}`, 1)
	config = strings.Replace(config, "{provider: sim, model: gpt-4o}]", "{provider: sim, model: gpt-4o}, {provider: sim, model: gpt-4o-mini}], retry: {attempts: 3}", 1)
	g := start(t, strings.ReplaceAll(config, "${DIR}", stateDir(t)))
	note := `X-Jarvis-Metadata: {"tags":["` + strings.Repeat(`x","`, 900) + `end"]}`
	c := g.dial(t)
	served, refused := 0, answer{}
	const refusal = `jarvis_refusals_total{reason="usage_unavailable"}`
	before := g.metrics()[refusal]
	for served < 2000 && refused.status == 0 {
		switch a := c.do(strings.Replace(chatRequest("chat", false), "\n", "\n"+note+"\n", 1)); a.status {
		case 200:
			served++
		default:
			refused = a
		}
	}
	if refused.status != 503 || errorCode(refused) != "usage_unavailable" || refused.header.Get("X-Jarvis-Provider") != "" || served == 0 {
		t.Fatalf("%d served, then %v", served, refused)
	}
	line := g.access(refused.header.Get("X-Request-Id"))
	if line.Get("outcome").Str != "unavailable" || line.Get("error").Str != "usage_unavailable" || line.Get("failed").Exists() || line.Get("provider").Exists() || line.Get("attempts").Exists() {
		t.Error(line)
	}
	emitted, spooled, dropped := g.spooled("emitted_total"), g.spooled("spooled"), g.spooled("dropped_total")
	if dropped != 0 || emitted != int64(served) || spooled != int64(served) {
		t.Errorf("%d served: %d emitted, %d spooled, %d dropped", served, emitted, spooled, dropped)
	}
	if got := g.metrics()[refusal] - before; got != 1 {
		t.Errorf("%v refusals", got)
	}
}
