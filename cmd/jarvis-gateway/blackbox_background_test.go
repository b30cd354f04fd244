package main

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const (
	teamKey          = "jv-team-0123456789abcdef"
	backgroundConfig = `
stores: {state: "${STATE}", usage: "sqlite:${DIR}/usage.db"}
usage: {dir: "${DIR}/spool"}
providers: {openai: {kind: openai, base_url: "${UPSTREAM}/v1", api_key: "` + upstreamKey + `"}}
models: {chat: {targets: [{provider: openai, model: gpt-4o}]}}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}, {name: web, key: "` + teamKey + `", team: web}], teams: {web: {}}}
  globex: {keys: [{name: main, key: "` + otherKey + `"}]}
`
	inBackground = `{"model":"chat","input":"Tell me.","background":true,"user":"ann","stream":%t}`
)

// background is a provider and the gateways before it.
type background struct {
	t      *testing.T
	up     *fakellm.Server
	dir    string
	config string
	a, b   *running
}

func newBackground(t *testing.T, state string) *background {
	t.Helper()
	up, err := fakellm.Start(fakellm.Options{APIKey: upstreamKey, Default: fakellm.Plan{Tokens: 40}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	s := &background{t: t, up: up, dir: stateDir(t)}
	if state == "" {
		state = "sqlite:" + filepath.Join(s.dir, "state.db")
	}
	s.config = strings.NewReplacer("${STATE}", state, "${DIR}", s.dir, "${UPSTREAM}", up.URL()).Replace(backgroundConfig)
	s.a = start(t, s.config)
	s.b = startAt(t, s.a.path)
	return s
}

// make has a response made in the background and returns its id.
func (s *background) make(g *running, key string) string {
	s.t.Helper()
	a := g.ask(s.t, "POST /v1/responses\nAuthorization: Bearer "+key+"\n\n"+fmt.Sprintf(inBackground, false))
	id := gjson.Get(a.body, "id").Str
	if a.status != 200 || id == "" || gjson.Get(a.body, "status").Str != "queued" || a.header.Get("X-Jarvis-Cost-Usd") != "" {
		s.t.Fatal(a, a.header)
	}
	return id
}

func (s *background) get(g *running, key, path string) answer {
	s.t.Helper()
	method, want := "GET", 200
	if strings.HasSuffix(path, "/cancel") {
		method = "POST"
	}
	a := g.ask(s.t, method+" /v1/responses/"+path+"\nAuthorization: Bearer "+key+"\n\n")
	if a.status != want {
		s.t.Fatal(a)
	}
	return a
}

// records are those of a response in the background, and all other records that say that something was used.
func (s *background) records(id string) (own, others []gjson.Result) {
	s.t.Helper()
	rows := func(where string) []gjson.Result {
		return liteRows(s.t, filepath.Join(s.dir, "usage.db"), `SELECT json_object('tenant', r.tenant, 'team', r.team, 'key', r.key, 'user', r.user, 'model', r.model,
			'served', r.served, 'provider', r.provider, 'prompt', r.prompt_tokens, 'completion', r.completion_tokens, 'cost', r.cost_nano, 'estimated', r.estimated,
			'outcome', r.outcome, 'finish', r.finish, 'status', r.status, 'endpoint', r.endpoint, 'kind', t.kind, 'entry', t.model, 'paid', t.cost_nano) AS line
			FROM requests r LEFT JOIN attempts t ON t.uid = r.uid WHERE `+where)
	}
	return rows("r.id = '" + id + "' AND r.endpoint = 'responses.background'"), rows("r.endpoint <> 'responses.background' AND r.prompt_tokens + r.completion_tokens > 0")
}

// settled waits for the record of a response.
func (s *background) settled(id string) gjson.Result {
	s.t.Helper()
	var own []gjson.Result
	eventually(s.t, "the record of "+id, func() bool {
		own, _ = s.records(id)
		return len(own) > 0
	})
	return own[0]
}

func (s *background) restart() {
	s.t.Helper()
	for _, g := range []*running{s.a, s.b} {
		if code := g.stop(); code != 0 {
			s.t.Fatalf("exit code %d", code)
		}
	}
	s.a, s.b = start(s.t, s.config), nil
	s.b = startAt(s.t, s.a.path)
}

// What a response in the background has used is recorded once, for whoever asked for it, when anybody of his tenant first sees its
// end, at whatever gateway.
func TestBackground(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { testBackground(t, "") })
	t.Run("postgres", func(t *testing.T) {
		url := startPostgres(t)
		t.Chdir(t.TempDir()) // counters keep a file where the gateway runs
		testBackground(t, url)
	})
}

func testBackground(t *testing.T, state string) {
	s := newBackground(t, state)
	id := s.make(s.a, teamKey)
	if a := s.get(s.b, tenantKey, id); gjson.Get(a.body, "status").Str != "in_progress" {
		t.Fatal(a)
	}
	if own, others := s.records(id); len(own)+len(others) > 0 {
		t.Errorf("before its end: %v %v", own, others)
	}
	s.restart()
	done := s.get(s.b, tenantKey, id)
	if gjson.Get(done.body, "status").Str != "completed" {
		t.Fatal(done)
	}
	first := s.settled(id)
	for _, g := range []*running{s.a, s.b} {
		s.get(g, teamKey, id)
		s.get(g, tenantKey, id+"?stream=true&starting_after=3")
	}
	if a := s.a.ask(t, "GET /v1/responses/"+id+"\nAuthorization: Bearer "+otherKey+"\n\n"); a.status != 404 {
		t.Error(a)
	}
	s.restart()
	s.get(s.a, tenantKey, id)
	const told = `jarvis_tokens_total{kind="completion",model="chat",provider="openai",tenant="acme"}`
	before := s.a.metrics()[told]
	last := s.make(s.a, tenantKey)
	s.get(s.a, tenantKey, last)
	s.get(s.a, tenantKey, last)
	s.settled(last) // what came before it is stored too
	own, others := s.records(id)
	if len(own) != 1 || len(others) > 0 {
		t.Errorf("records of one response: %v, others that used something: %v", own, others)
	}
	in, out := gjson.Get(done.body, "usage.input_tokens").Int(), gjson.Get(done.body, "usage.output_tokens").Int()
	want := fmt.Sprintf(`{"tenant":"acme","team":"web","key":"web","user":"ann","model":"chat","served":"gpt-4o","provider":"openai","prompt":%d,"completion":%d,"cost":%d,"estimated":0,`+
		`"outcome":"ok","finish":"stop","status":200,"endpoint":"responses.background","kind":"background","entry":"chat","paid":%[3]d}`, in, out, in*2500+out*10000)
	if first.Raw != want || in == 0 || out == 0 {
		t.Errorf("%s\n%s", first.Raw, want)
	}
	if got, want := s.a.metrics()[told]-before, float64(out); got != want {
		t.Errorf("jarvis_tokens_total grew by %v, not by %v", got, want)
	}
}

// What ends otherwise: as a stream that is read to its end, one that is left and gone on with, by cancelling, or never.
func TestBackgroundEnds(t *testing.T) {
	s := newBackground(t, "")
	stream := func() (id string, a answer) {
		a = s.a.ask(t, "POST /v1/responses\n\n"+fmt.Sprintf(inBackground, true))
		_, rest, _ := strings.Cut(a.body, `"id":"`)
		id, _, _ = strings.Cut(rest, `"`)
		return id, a
	}
	read, a := stream()
	if !strings.Contains(a.body, "response.completed") {
		t.Fatal(a)
	}
	s.get(s.b, tenantKey, read)
	s.get(s.b, tenantKey, read)

	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Tokens: 40, Fault: fakellm.CutMidStream} })
	left, a := stream()
	s.up.SetPlan(nil)
	if strings.Contains(a.body, "response.completed") || left == "" {
		t.Fatal(a)
	}
	if a := s.get(s.b, tenantKey, left+"?stream=true&starting_after=5"); !strings.Contains(a.body, "response.completed") {
		t.Fatal(a)
	}
	s.get(s.a, tenantKey, left)
	if r := s.settled(left); r.Get("completion").Int() != 40 || r.Get("estimated").Bool() || r.Get("finish").Str != "stop" {
		t.Error(r)
	}

	cancelled := s.make(s.a, tenantKey)
	s.get(s.b, tenantKey, cancelled+"/cancel")
	s.get(s.a, tenantKey, cancelled)
	if r := s.settled(cancelled); r.Get("completion").Int() != 0 || r.Get("prompt").Int() == 0 || r.Get("estimated").Int() != 1 || r.Get("finish").Str != "cancelled" {
		t.Error(r)
	}

	never := s.make(s.a, tenantKey)
	gone := s.make(s.a, tenantKey)
	if a := s.a.ask(t, "DELETE /v1/responses/"+gone+"\n\n"); a.status != 200 {
		t.Fatal(a)
	}
	s.a.stop()
	s.b.stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = db.Exec(`UPDATE pending SET due = 1`); err != nil { // a day later
		t.Fatal(err)
	}
	if err = db.Close(); err != nil {
		t.Fatal(err)
	}
	s.a = start(t, s.config)
	for _, id := range []string{never, gone} {
		if r := s.settled(id); r.Get("completion").Int() != 400 || r.Get("prompt").Int() == 0 || r.Get("cost").Int() == 0 || r.Get("estimated").Int() != 1 || r.Get("key").Str != "main" {
			t.Error(r)
		}
	}
	s.get(s.a, tenantKey, never)
	s.get(s.a, tenantKey, never)
	s.settled(func() string {
		id := s.make(s.a, tenantKey)
		s.get(s.a, tenantKey, id)
		s.get(s.a, tenantKey, id)
		return id
	}())
	for _, id := range []string{left, cancelled, never, gone} {
		if own, _ := s.records(id); len(own) != 1 {
			t.Errorf("records of %s: %v", id, own)
		}
	}
	own, others := s.records(read)
	if len(own) > 0 || len(others) != 1 || others[0].Get("completion").Int() != 40 || others[0].Get("endpoint").Str != "responses" {
		t.Errorf("of what was streamed to its end: %v %v", own, others)
	}
}
