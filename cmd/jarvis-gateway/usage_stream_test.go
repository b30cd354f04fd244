package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/tidwall/gjson"
)

// Who listens is told of each request once it is stored, also of those that were answered while nobody listened.
func TestUsageStream(t *testing.T) {
	var mu sync.Mutex
	told, away := map[string]int{}, true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if away || !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		for _, e := range gjson.GetBytes(body, "events").Array() {
			if e.Get("tenant").String() == "acme" && e.Get("attempts.#").Int() == 1 {
				told[e.Get("id").String()]++
			}
		}
	}))
	defer hook.Close()
	dir := stateDir(t)
	g := start(t, strings.NewReplacer("${HOOK}", hook.URL, "${DIR}", dir, "${KEY}", tenantKey).Replace(`
stores: {state: "sqlite:${DIR}/state.db"}
usage: {max: 1MiB, dir: "${DIR}/spool", stream: "${HOOK}/usage", stream_secret: a-secret-of-some-length}
providers: {sim: {kind: simulated}}
models: {chat: {targets: [{provider: sim, model: gpt-4o}]}}
tenants: {acme: {keys: [{name: main, key: "${KEY}"}]}}
`))
	for _, id := range []string{"told-1", "told-2"} {
		if a := g.ask(t, "chat\nX-Request-Id: "+id); a.status != http.StatusOK {
			t.Fatal(a)
		}
	}
	eventually(t, "both wait", func() bool {
		return g.spooled("stream_delivery_failures_total") > 0 && g.spooled("stream_spooled") == 2 && g.spooled("spooled") == 0
	})
	mu.Lock()
	away = false
	mu.Unlock()
	g.stop()
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 || told["told-1"] != 1 || told["told-2"] != 1 {
		t.Errorf("told of %v", told)
	}
}
