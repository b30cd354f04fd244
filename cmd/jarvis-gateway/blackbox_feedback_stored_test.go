package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const scoredConfig = `
stores: {state: "sqlite:${DIR}/state.db", usage: "${STORE}"}
usage: {max: 1MiB, dir: "${DIR}/spool"}
providers: {sim: {kind: simulated}}
models: {chat: {targets: [{provider: sim, model: gpt-4o}]}}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}]}
  globex: {keys: [{name: main, key: "` + otherKey + `"}]}
`

// spoolMetric is one of the spool's.
func (g *running) spooled(name string) int64 {
	g.Helper()
	return int64(g.metrics()["jarvis_usage_"+name])
}

// Feedback is stored beside what it is about, also on answers that the gateway has served before it was started anew, and the latest
// counts.
func TestFeedbackIsStored(t *testing.T) {
	dir := stateDir(t)
	config := strings.NewReplacer("${DIR}", dir, "${STORE}", "sqlite:"+filepath.Join(dir, "usage.db")).Replace(scoredConfig)
	g := start(t, config)
	for _, id := range []string{"first", "second", "third"} {
		if a := g.ask(t, "chat\nX-Request-Id: "+id); a.status != 200 {
			t.Fatal(a)
		}
	}
	if a := g.ask(t, "POST /v1/chat/completions\nX-Request-Id: refused\n\n"+`{"model":"none","messages":[]}`); a.status != 404 {
		t.Fatal(a)
	}
	rate := func(key, id, more string) answer {
		t.Helper()
		return g.feedback(t, key, `{"request_id":"`+id+`"`+more+`}`)
	}
	if a := rate(tenantKey, "first", `,"score":-1`); a.status != 200 {
		t.Fatal(a)
	}
	g.at(t, "")
	seen := func(rated, score string) func() bool {
		return func() bool {
			out, _ := ran(t, "usage", "--by", "model", "--where", "endpoint=chat", "--where", "outcome=ok", "--format", "json")
			row := gjson.Get(out, "data.0")
			return row.Get("feedback").Raw == rated && row.Get("score").Raw == score
		}
	}
	eventually(t, "the score beside the model's cost", seen("1", "-1"))
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	g = start(t, config) // which remembers no answer
	g.at(t, "")
	for _, try := range []struct {
		key, id, more string
		status        int
		replaced      bool
	}{
		{tenantKey, "first", `,"score":0.5,"comment":"很好","metadata":{"from":"web"}`, 200, true},
		{tenantKey, "second", `,"score":1`, 200, false},
		{otherKey, "second", `,"score":1`, 404, false},
		{tenantKey, "refused", `,"score":1`, 404, false},
		{tenantKey, "never", `,"score":1`, 404, false},
	} {
		if a := rate(try.key, try.id, try.more); a.status != try.status || gjson.Get(a.body, "replaced").Bool() != try.replaced {
			t.Errorf("%s: %v", try.id, a)
		}
	}
	eventually(t, "both scores", seen("2", "0.75"))
	rows := liteRows(t, filepath.Join(dir, "usage.db"), `SELECT json_object('request', f.request, 'score', f.score, 'comment', f.comment, 'metadata', f.metadata, 'model', f.model, 'tenant', f.tenant, 'of', r.id) AS line
		FROM feedback f JOIN requests r ON r.uid = f."of" ORDER BY f.request`)
	want := `{"request":"first","score":0.5,"comment":"很好","metadata":"{\"from\":\"web\"}","model":"chat","tenant":"acme","of":"first"}`
	if len(rows) != 2 || rows[0].Raw != want {
		t.Errorf("%v, want %s", rows, want)
	}
	if strings.Contains(g.log.String(), "很好") {
		t.Error("a comment is in the log")
	}
}

// While the store is away, a flood of requests that are refused, and of feedback, leaves the room of the spool to what was served.
func TestRefusalsPushNothingOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := ln.Addr().String()
	ln.Close()
	dir := stateDir(t)
	config := strings.ReplaceAll(scoredConfig, "${DIR}", dir)
	g := start(t, strings.Replace(config, "${STORE}", "clickhouse+http://"+away+"/default", 1))
	serve := func(id string) {
		t.Helper()
		if a := g.ask(t, "chat\nX-Request-Id: "+id); a.status != 200 {
			t.Fatal(a)
		}
	}
	serve("before")
	c := g.dial(t)
	const flood = 600
	note := `X-Jarvis-Metadata: {"scene":"flood","tags":["` + strings.Repeat(`x","`, 500) + `end"]}`
	for range flood {
		if a := c.do("POST /v1/chat/completions\nAuthorization: Bearer " + otherKey + "\n" + note + "\n\n" + `{"model":"` + strings.Repeat("none", 60) + `","messages":[]}`); a.status != 404 {
			t.Fatal(a)
		}
	}
	dropped := g.spooled("dropped_total")
	if room := g.spooled("spool_bytes"); dropped == 0 || room > 1<<20 {
		t.Fatalf("%d records dropped, %d bytes in use", dropped, room)
	}
	for i := range 20 {
		serve(fmt.Sprint("after-", i))
	}
	if a := g.feedback(t, tenantKey, `{"request_id":"before","score":1}`); a.status != 200 {
		t.Fatal(a)
	}
	emitted, waiting, now := g.spooled("emitted_total"), g.spooled("spooled"), g.spooled("dropped_total")
	if emitted != waiting+now || now != dropped+1 || emitted != 1+flood+20+1 {
		t.Errorf("emitted %d, spooled %d, dropped %d then %d", emitted, waiting, dropped, now)
	}
	if code := g.stop(); code != 0 {
		t.Logf("exit code %d", code)
	}

	store := filepath.Join(dir, "usage.db")
	g = start(t, strings.Replace(config, "${STORE}", "sqlite:"+store, 1))
	eventually(t, "what was served", func() bool {
		rows := liteRows(t, store, `SELECT json_object('n', count(*)) AS line FROM requests WHERE tenant = 'acme' AND outcome = 'ok'`)
		return rows[0].Get("n").Int() == 21
	})
	if rows := liteRows(t, store, `SELECT json_object('n', count(*)) AS line FROM requests WHERE tenant = 'globex'`); rows[0].Get("n").Int() != flood-dropped {
		t.Errorf("%v refusals are stored of %d, %d dropped", rows, flood, dropped)
	}
	g.stop()
}

// A key of a team rates what its team asked for, also before a restart; all else is unknown to it. One without rates all of the
// tenant's, and a super admin too.
func TestFeedbackOfTeams(t *testing.T) {
	dir := stateDir(t)
	config := strings.NewReplacer("${DIR}", dir, "${STORE}", "sqlite:"+filepath.Join(dir, "usage.db"), `  acme: {keys: [{name: main, key: "`+tenantKey+`"}]}`,
		`  acme: {teams: {web: {}, app: {}}, keys: [{name: main, key: "`+tenantKey+`"}, {name: web, key: jv-web-0123456789abcdef, team: web}, {name: web-2, key: jv-web-2-0123456789abcdef, team: web},
    {name: app, key: jv-app-0123456789abcdef, team: app}, {name: root, key: jv-root-0123456789abcdef, team: app, role: super_admin}]}`).Replace(scoredConfig)
	g := start(t, config)
	ask := func(key, id string) {
		t.Helper()
		if a := g.ask(t, strings.Replace(chatRequest("chat", false), "\n", "\nX-Request-Id: "+id+"\nAuthorization: Bearer "+key+"\n", 1)); a.status != 200 {
			t.Fatal(a)
		}
	}
	ask("jv-web-0123456789abcdef", "of-web")
	ask(tenantKey, "of-nobody")
	check := func() {
		t.Helper()
		for _, row := range []struct {
			key, id string
			status  int
		}{
			{"jv-app-0123456789abcdef", "of-web", 404}, {"jv-app-0123456789abcdef", "of-nobody", 404}, {"jv-app-0123456789abcdef", "of-none", 404}, {"jv-web-0123456789abcdef", "of-nobody", 404},
			{"jv-web-0123456789abcdef", "of-web", 200}, {"jv-web-2-0123456789abcdef", "of-web", 200}, {tenantKey, "of-web", 200}, {tenantKey, "of-nobody", 200}, {"jv-root-0123456789abcdef", "of-web", 200},
		} {
			a := g.feedback(t, row.key, `{"request_id":"`+row.id+`","score":1}`)
			if a.status != row.status || a.status == 404 && errorCode(a) != "request_not_found" {
				t.Errorf("%s of %s: %v", row.id, row.key, a)
			}
		}
	}
	check()
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	g = start(t, config) // which remembers no answer
	check()
}
