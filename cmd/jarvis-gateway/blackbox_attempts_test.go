package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// recorded is the record of a request, once it is stored.
func (g *running) recorded(t *testing.T, id string) (record gjson.Result) {
	t.Helper()
	g.at(t, "")
	eventually(t, "the record of "+id, func() bool {
		out, _ := ran(t, "usage", "requests", "--id", id, "--json")
		record = gjson.Get(out, "data.0")
		return record.Exists()
	})
	return record
}

// tellAttempts are the kinds and results of a record's attempts. What these cost is what the request did.
func tellAttempts(t *testing.T, record gjson.Result) string {
	t.Helper()
	var told []string
	sums := map[string]float64{}
	for _, at := range record.Get("attempts").Array() {
		told = append(told, at.Get("kind").Str+" "+at.Get("result").Str)
		for _, name := range []string{"cost_usd", "prompt_tokens", "completion_tokens"} {
			sums[name] += at.Get(name).Float()
		}
		begun, first, total := at.Get("begun_ms").Float(), at.Get("first_token_ms").Float(), record.Get("total_ms").Float()
		if begun < 0 || first <= 0 || begun+first > total+1 { // a record's times are rounded
			t.Errorf("an attempt from %v ms on, its first content after %v, of a request of %v: %s", begun, first, total, record.Raw)
		}
	}
	for name, sum := range sums {
		if math.Abs(sum-record.Get(name).Float()) > 1e-9 {
			t.Errorf("%s of the attempts is %v: %s", name, sum, record.Raw)
		}
	}
	return strings.Join(told, ", ")
}

// Each of two attempts beside each other has what it cost itself, whichever answers.
func TestHedgesAreRecorded(t *testing.T) {
	d := newDuel(t)
	late := 120 * time.Millisecond
	for i, row := range []struct {
		slow, quick fakellm.Plan
		want        string
	}{
		{fakellm.Plan{Delay: 10 * late}, fakellm.Plan{}, "first lost, hedge ok"},
		{fakellm.Plan{Delay: late}, fakellm.Plan{Delay: 10 * late}, "hedge lost, first ok"},
		{fakellm.Plan{Delay: late}, fakellm.Plan{Status: 500}, "hedge upstream_error, first ok"},
		{fakellm.Plan{Delay: late, Status: 500}, fakellm.Plan{Delay: 2 * late}, "first upstream_error, hedge ok"},
		{fakellm.Plan{Status: 500}, fakellm.Plan{}, "first upstream_error, failover ok"},
	} {
		quietly(t, func(r testing.TB) { // who is first decides, and on a busy machine that may be the other one
			d.plan("chat", row.slow, row.quick)
			id := fmt.Sprintf("hedge-recorded-%d-%d", i, time.Now().UnixNano())
			if a := d.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\n\n"+fmt.Sprintf(hedgeBodies["chat/completions"], "chat", false)); a.status != 200 {
				t.Fatal(a)
			}
			if got := tellAttempts(t, d.recorded(t, id)); got != row.want {
				r.Errorf("%s, not %s", got, row.want)
			}
		})
	}
}

// So has each part of an answer that others went on with.
func TestContinuationsAreRecorded(t *testing.T) {
	r := newRelayed(t)
	r.plan(fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream}, func(said string) fakellm.Plan {
		return fakellm.Plan{Text: strings.TrimPrefix(longText, said)}
	})
	_, d, _ := r.ask(t, "continue-recorded", tenantKey, askOf("openai", ""))
	if d.text != longText {
		t.Fatalf("%q", d.text)
	}
	record := r.recorded(t, "continue-recorded")
	if got := tellAttempts(t, record); got != "first upstream_error, continue ok" {
		t.Error(got)
	}
	for _, at := range record.Get("attempts").Array() {
		if at.Get("completion_tokens").Int() == 0 {
			t.Errorf("a part without tokens: %s", record.Raw)
		}
	}
	if out, _ := ran(t, "usage", "--format", "json"); gjson.Get(out, "total.fallbacks").Int() != 1 {
		t.Errorf("another provider went on: %s", out)
	}
}

// Names that clients make as long as they like keep no request from being served, and none from being recorded.
func TestLongNamesAreRecorded(t *testing.T) {
	g := start(t, usageConfig)
	long := strings.Repeat("灯塔", 1500<<10) // more than a file of the spool has room for
	for id, want := range map[string]struct {
		body   string
		status int
	}{
		"long-user":  {`{"model":"chat","user":"` + long + `","messages":[{"role":"user","content":"hi"}]}`, 200},
		"long-model": {`{"model":"` + long + `","messages":[{"role":"user","content":"hi"}]}`, 400},
	} {
		a := g.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-acme-dev-0123456789abcdef\nX-Request-Id: "+id+"\n\n"+want.body)
		record := g.recorded(t, id)
		if a.status != want.status || record.Get("status").Int() != int64(want.status) {
			t.Errorf("%s: %d, and recorded as %s", id, a.status, record.Raw)
		}
		for _, name := range []string{"user", "asked"} {
			if text := record.Get(name).Str; len(text) > 512 || !strings.HasPrefix(long, text) && text != "chat" {
				t.Errorf("%s: %d bytes of %s", id, len(text), name)
			}
		}
	}
}

// While records do not reach their store the log says why, and not with each try.
func TestAwayStoreIsTold(t *testing.T) {
	g := start(t, strings.Replace(usageConfig, "tenants:", "stores: {state: \"sqlite:"+stateDir(t)+"/state.db\", usage: \"clickhouse+http://u:hunter2@127.0.0.1:1/x\"}\nusage: {dir: \""+t.TempDir()+"\"}\ntenants:", 1))
	if a := g.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-acme-dev-0123456789abcdef\n\n"+`{"model":"chat","messages":[{"role":"user","content":"hi"}]}`); a.status != 200 {
		t.Fatal(a)
	}
	const message = "usage records are not delivered"
	eventually(t, "a line of it", g.logged(message, "connection refused"))
	eventually(t, "a second try", func() bool { return g.metrics()["jarvis_usage_delivery_failures_total"] >= 2 })
	told := 0
	g.log.find(func(l gjson.Result) bool {
		if l.Get("msg").Str == message {
			told++
		}
		if strings.Contains(l.Raw, "hunter") {
			t.Errorf("a password: %s", l.Raw)
		}
		return false
	})
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// Where nothing can be recorded nobody is told what was.
func TestNoUsage(t *testing.T) {
	t.Setenv("TMPDIR", "/dev/null/none")
	g := start(t, "stores: {state: \"sqlite::memory:\"}\n"+usageConfig)
	for path, want := range map[string]int{"/v1/usage": 404, "/v1/models": 200} {
		if a := g.ask(t, "GET "+path+"\nAuthorization: Bearer jv-acme-boss-0123456789abcdef\n\n"); a.status != want {
			t.Errorf("%s: %v", path, a)
		}
	}
}

// Where records cannot be kept requests are served, and the log says why without a line for each.
func TestLostRecordsAreTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	g := start(t, strings.Replace(usageConfig, "tenants:", "stores: {state: \"sqlite:"+stateDir(t)+"/state.db\", usage: \"clickhouse+http://127.0.0.1:1/x\", on_error: {usage: open}}\nusage: {max: 1MiB, dir: \""+dir+"\"}\ntenants:", 1))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	long := strings.Repeat("u", 500)
	for range 1500 {
		if a := g.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-acme-dev-0123456789abcdef\n\n"+`{"model":"chat","user":"`+long+`","messages":[{"role":"user","content":"hi"}]}`); a.status != 200 {
			t.Fatal(a)
		}
	}
	if lost := g.metrics()["jarvis_usage_dropped_total"]; lost < 100 {
		t.Fatalf("%v were lost", lost)
	}
	told := 0
	g.log.find(func(l gjson.Result) bool {
		if l.Get("msg").Str == "a request's usage was not recorded" {
			if told++; !strings.Contains(l.Get("cause").Str, "no such file") {
				t.Errorf("not why: %s", l.Raw)
			}
		}
		return false
	})
	if most := int(time.Since(begun)/time.Second) + 2; told == 0 || told > most {
		t.Errorf("%d lines, of at most %d", told, most)
	}
}

// Each attempt names the entry of `models` that it was made for, not that which answered in the end.
func TestAttemptsNameTheirEntries(t *testing.T) {
	up, err := fakellm.Start(fakellm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	up.SetPlan(func(s *fakellm.Seen) fakellm.Plan {
		if s.Model == "large" {
			return fakellm.Plan{Status: 500}
		}
		return fakellm.Plan{}
	})
	g := start(t, `
providers: {up: {kind: openai, base_url: "`+up.URL()+`/v1"}}
models:
  chat: {targets: [{provider: up, model: large}], fallback: [spare]}
  spare: {targets: [{provider: up, model: small}]}
tenants: {acme: {keys: [{name: main, key: "`+tenantKey+`"}]}}
`)
	for _, model := range []string{"chat", "spare"} {
		if a := g.ask(t, strings.Replace(chatRequest(model, false), "\n", "\nX-Request-Id: of-"+model+"\n", 1)); a.status != 200 {
			t.Fatal(a)
		}
		g.recorded(t, "of-"+model)
	}
	var got []string
	for _, row := range liteRows(t, filepath.Join(filepath.Dir(g.path), "usage.db"), `SELECT json_array(r.id, r.model, a.seq, a.kind, a.model, a.served, a.result) AS line FROM attempts a
		JOIN requests r ON r.uid = a.uid ORDER BY r.time, a.seq`) {
		got = append(got, row.Raw)
	}
	want := []string{`["of-chat","spare",1,"first","chat","large","upstream_error"]`, `["of-chat","spare",2,"fallback","spare","small","ok"]`, `["of-spare","spare",1,"first","spare","small","ok"]`}
	if !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}
