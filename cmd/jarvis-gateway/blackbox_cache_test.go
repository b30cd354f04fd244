package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const cacheConfig = `
stores: {state: "sqlite:${DIR}/state.db", counters: "${COUNTERS}"}
cache: {entry: 8KiB}
providers:
  up: {kind: openai, base_url: "${UP}/v1", api_key: "${UPSTREAM_KEY}"}
  claude: {kind: anthropic, base_url: "${UP}", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {targets: [{provider: up, model: gpt-4o}], cache: {exact: 10m}}
  translated: {targets: [{provider: claude, model: claude-sonnet-4}], cache: {exact: 10m}}
  plain: {targets: [{provider: up, model: gpt-4o}]}
  guided: {targets: [{provider: up, model: gpt-4o}], cache: {exact: 10m}}
  safe: {targets: [{provider: up, model: down}], fallback: [plain], cache: {exact: 10m}}
  scenic: {targets: [{provider: up, model: gpt-4o, when: {scene: batch}}, {provider: up, model: gpt-4o-mini}], cache: {exact: 10m}}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
  other: {keys: [{name: main, key: ` + otherKey + `}]}
  counted: {keys: [{name: main, key: jv-counted-0123456789abcdef}], limits: {requests: 3/d, spend: $5/d}}
  masked:
    keys: [{name: main, key: jv-masked-0123456789abcdef}]
    guards: [{kind: pii, types: [email]}, {kind: deny, on: [answer], patterns: ["机密"]}]
`

// cacheStage is a gateway with caches before one provider.
type cacheStage struct {
	*running
	t  *testing.T
	up *fakellm.Server
}

func newCacheStage(t *testing.T, options fakellm.Options) *cacheStage {
	t.Helper()
	options.APIKey = upstreamKey
	up, err := fakellm.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	return &cacheStage{cacheGateway(t, up, "memory"), t, up}
}

func cacheGateway(t *testing.T, up *fakellm.Server, counters string) *running {
	t.Helper()
	t.Setenv("UPSTREAM_KEY", upstreamKey)
	t.Setenv("KEY", tenantKey)
	return start(t, strings.NewReplacer("${DIR}", stateDir(t), "${COUNTERS}", counters, "${UP}", up.URL()).Replace(cacheConfig))
}

// post sends a request and wants X-Cache to begin so, and so many requests at the provider.
func (s *cacheStage) post(path, headers, body, cached string, asked int64) answer {
	s.t.Helper()
	before := s.up.Stats().Requests
	a := s.ask(s.t, "POST /v1/"+path+"\n"+headers+"\n"+body)
	if got := a.header.Get("X-Cache"); a.status != 200 || got != cached || (a.header.Get("X-Cache-Similarity") == "1") != (cached == isHit) || s.up.Stats().Requests-before != asked {
		s.t.Errorf("%s %s: X-Cache is %q, want %q; the provider was asked %d times, not %d: %v", path, body, got, cached, s.up.Stats().Requests-before, asked, a)
	}
	return a
}

const (
	isHit    = "HIT (exact)"
	isMiss   = "MISS"
	isBypass = "BYPASS"
)

// What is given again is the same to the byte, in every dialect, as a whole and as a stream, and of a provider of another dialect.
func TestCacheGivesTheSame(t *testing.T) {
	for _, up := range []struct {
		kind  fakellm.Kind
		model string
	}{{fakellm.OpenAI, "chat"}, {fakellm.Anthropic, "translated"}} {
		s := newCacheStage(t, fakellm.Options{Kind: up.kind})
		for _, row := range []struct{ path, body string }{
			{"chat/completions", `{"model":"M","messages":[{"role":"user","content":"你好，介绍一下北京"}]}`},
			{"chat/completions", `{"model":"M","stream":true,"messages":[{"role":"user","content":"讲个笑话"}]}`},
			{"chat/completions", `{"model":"M","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"讲个笑话"}]}`},
			{"messages", `{"model":"M","max_tokens":50,"messages":[{"role":"user","content":"你好"}]}`},
			{"messages", `{"model":"M","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"你好"}]}`},
			{"responses", `{"model":"M","store":false,"input":"你好"}`},
			{"responses", `{"model":"M","store":false,"stream":true,"input":"你好"}`},
			{"completions", `{"model":"M","prompt":"从前有座山"}`},
			{"completions", `{"model":"M","stream":true,"prompt":"从前有座山"}`},
			{"embeddings", `{"model":"M","input":["你好","世界"]}`},
			{"embeddings", `{"model":"M","input":"你好","encoding_format":"base64"}`},
		} {
			if up.kind == fakellm.Anthropic && (row.path == "completions" || row.path == "embeddings") {
				continue // which it has not
			}
			body := strings.Replace(row.body, `"M"`, `"`+up.model+`"`, 1)
			first := s.post(row.path, "", body, isMiss, 1)
			second := s.post(row.path, "", body, isHit, 0)
			if second.body != first.body || second.header.Get("Content-Type") != first.header.Get("Content-Type") || first.body == "" {
				t.Errorf("%s: %v\nand then %v", body, first, second)
			}
			for name, want := range map[string]string{"Age": "0", "X-Jarvis-Cost-Usd": "0", "X-Jarvis-Attempts": "0"} {
				if got := second.header.Get(name); got != want && name != "Age" {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		}
	}
}

// Who may have what is told apart by all that decides an answer, and by nothing else.
func TestCacheTellsApart(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{Lenient: true})
	const same = `{"model":"chat","messages":[{"role":"user","content":"同样的问题"}]}`
	with := func(more string) string { return strings.TrimSuffix(same, "}") + more + "}" }
	s.post("chat/completions", "", same, isMiss, 1)
	for _, row := range []struct{ headers, body, cached string }{
		{"", same, isHit},
		{"Authorization: Bearer " + otherKey + "\n", same, isMiss}, // another tenant's is never his
		{"Authorization: Bearer " + otherKey + "\n", same, isHit},
		{"", with(`,"user":"李雷"`), isHit},
		{"", with(`,"safety_identifier":"x","prompt_cache_key":"y","metadata":{"a":"b"}`), isHit},
		{"User-Agent: another/1\nX-Stainless-Os: none\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", same, isHit},
		{"", with(`,"temperature":0`), isMiss},
		{"", with(`,"stream":true`), isMiss},
		{"", strings.Replace(same, "同样", "不同", 1), isMiss},
		{"", strings.Replace(same, `"chat"`, `"guided"`, 1), isMiss}, // another entry of models
		{"X-Provider-Beta: on\n", same, isMiss},                      // it goes on to the provider
		{"Cache-Control: no-store\n", same, isBypass},
		{"Cache-Control: max-age=0, No-Cache\n", same, isBypass},
		{"", same, isHit},
		{"", with(`,"store":true`), isBypass},
		{"", with(`,"web_search_options":{}`), isBypass},
		{"", strings.Replace(same, `"chat"`, `"plain"`, 1), ""},
		{"", strings.Replace(same, `"chat"`, `"scenic"`, 1), isMiss},
		{"X-Jarvis-Metadata: {\"scene\":\"batch\"}\n", strings.Replace(same, `"chat"`, `"scenic"`, 1), isMiss}, // of other targets
	} {
		asked := int64(1)
		if row.cached == isHit {
			asked = 0
		}
		s.post("chat/completions", row.headers, row.body, row.cached, asked)
	}
	s.post("responses", "", `{"model":"chat","input":"hi"}`, isBypass, 1)
	s.post("responses", "", `{"model":"chat","store":false,"background":false,"input":"hi"}`, isMiss, 1)

	// What was asked anew takes the place of what was kept; what was not to be stored is not there.
	const fresh = `{"model":"chat","messages":[{"role":"user","content":"今天的新闻"}]}`
	s.post("chat/completions", "Cache-Control: no-store\n", fresh, isBypass, 1)
	s.post("chat/completions", "Cache-Control: no-cache\n", fresh, isBypass, 1)
	s.post("chat/completions", "", fresh, isHit, 0)
}

// Guards of now look at what is given again, and what they took out of this request is put back into it.
func TestCacheAndGuards(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{})
	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Text: "请写信给 <EMAIL_1>，谢谢。"} })
	for _, stream := range []string{"false", "true"} {
		body := `{"model":"chat","stream":` + stream + `,"messages":[{"role":"user","content":"我的邮箱是 WHO"}]}`
		for i, who := range []string{"ann@example.com", "li.lei@example.com"} {
			a := s.post("chat/completions", "Authorization: Bearer jv-masked-0123456789abcdef\n", strings.Replace(body, "WHO", who, 1), []string{isMiss, isHit}[i], int64(1-i))
			if text := saidIn(a.body); !strings.Contains(text, who) || strings.Contains(text, "EMAIL_1") {
				t.Errorf("%s got %q: %s", who, text, a.body)
			}
		}
	}
	// A refused answer is not kept, and costs again.
	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Text: "这是机密。"} })
	for range 2 {
		before := s.up.Stats().Requests
		a := s.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-masked-0123456789abcdef\n\n"+`{"model":"chat","messages":[{"role":"user","content":"说吧"}]}`)
		if a.status != 400 || errorCode(a) != "content_policy_violation" || s.up.Stats().Requests != before+1 {
			t.Errorf("%v", a)
		}
	}
}

// saidIn is what an answer says, whole or as a stream.
func saidIn(body string) (text string) {
	if content := gjson.Get(body, "choices.0.message.content"); content.Exists() {
		return content.Str
	}
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(line, "data: {"); ok {
			text += gjson.Get("{"+data, "choices.0.delta.content").Str
		}
	}
	return text
}

// A hit counts as a request for limits, and as nothing else; its record says what it has saved.
func TestCacheIsCounted(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{Default: fakellm.Plan{Tokens: 100}})
	const key = "Authorization: Bearer jv-counted-0123456789abcdef\n"
	const body = `{"model":"chat","messages":[{"role":"user","content":"数一数"}]}`
	before := s.metrics()
	first := s.post("chat/completions", key+"X-Request-Id: first\n", body, isMiss, 1)
	s.post("chat/completions", key+"X-Request-Id: second\n", body, isHit, 0)
	s.post("chat/completions", key+"X-Request-Id: third\n", strings.Replace(body, "{", `{ `, 1), isHit, 0) // blanks between members are nothing
	if a := s.ask(t, "POST /v1/chat/completions\n"+key+"\n"+body); a.status != 429 {
		t.Errorf("a fourth request of three: %v", a)
	}
	s.idle()
	cost := first.header.Get("X-Jarvis-Cost-Usd")
	paid, second := s.recorded(t, "first"), s.recorded(t, "second")
	for field, want := range map[string]string{"cache": "exact", "cost_usd": "0", "prompt_tokens": "0", "completion_tokens": "0", "outcome": "ok", "finish": "stop",
		"model": "chat", "served": "gpt-4o", "provider": "", "attempts.#": "0", "status": "200", "saved_usd": cost} {
		if got := second.Get(field).String(); got != want {
			t.Errorf("%s is %q, want %q: %s", field, got, want, second.Raw)
		}
	}
	if paid.Get("cache").Str != "miss" || paid.Get("cost_usd").Float() == 0 || paid.Get("saved_usd").Float() != 0 {
		t.Error(paid.Raw)
	}
	after := s.metrics()
	for series, want := range map[string]float64{
		`jarvis_cache_requests_total{model="chat",result="hit"}`:                                          2,
		`jarvis_cache_requests_total{model="chat",result="miss"}`:                                         1,
		`jarvis_requests_total{endpoint="chat",model="chat",outcome="ok",provider="",tenant="counted"}`:   2,
		`jarvis_requests_total{endpoint="chat",model="chat",outcome="ok",provider="up",tenant="counted"}`: 1,
		`jarvis_request_duration_seconds_count{endpoint="chat",model="chat",provider=""}`:                 2,
		`jarvis_cache_saved_usd_total{model="chat",tenant="counted"}`:                                     2 * paid.Get("cost_usd").Float(),
		`jarvis_cost_usd_total{model="chat",provider="up",tenant="counted"}`:                              paid.Get("cost_usd").Float(),
		`jarvis_upstream_attempts_total{model="chat",provider="up",result="ok"}`:                          1,
		`jarvis_cache_lookup_seconds_count{result="hit"}`:                                                 2,
	} {
		if got := after[series] - before[series]; got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%s grew by %v, want %v", series, got, want)
		}
	}
	if after["jarvis_cache_entries"] != 1 || after["jarvis_cache_bytes"] < 500 {
		t.Error(after["jarvis_cache_entries"], after["jarvis_cache_bytes"])
	}
	if line := s.access("second"); line.Get("cache").Str != "hit" || line.Get("provider").Exists() {
		t.Error(line.Raw)
	}
	if out, _ := ran(t, "usage", "--by", "cache"); !strings.Contains(out, "exact") || !strings.Contains(out, "miss") {
		t.Error(out)
	}
	if a := s.feedback(t, "jv-counted-0123456789abcdef", `{"request_id":"second","score":1}`); a.status != 200 {
		t.Errorf("feedback on a hit: %v", a)
	}
}

// What is not whole, went wrong, is too large, or is no answer of the model itself is not kept.
func TestCacheKeepsWholeAnswersOnly(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{})
	for _, row := range []struct {
		name   string
		plan   fakellm.Plan
		stream bool
		model  string
	}{
		{"a stream that is cut", fakellm.Plan{Fault: fakellm.CutMidStream}, true, "chat"},
		{"a stream that is reset", fakellm.Plan{Fault: fakellm.ResetMidStream}, true, "chat"},
		{"an error in the stream", fakellm.Plan{Fault: fakellm.InStreamErrorMid}, true, "chat"},
		{"half a body", fakellm.Plan{Fault: fakellm.TruncatedBody}, false, "chat"},
		{"an error", fakellm.Plan{Status: 500}, false, "chat"},
		{"a refusal", fakellm.Plan{Status: 400}, false, "chat"},
		{"too large", fakellm.Plan{Size: 9 << 10, Tokens: 100}, false, "chat"},
		{"a stream that is too large", fakellm.Plan{Size: 9 << 10, Tokens: 100}, true, "chat"},
		{"no reason why it ended", fakellm.Plan{Body: []byte(`{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"嗯"}}]}`)}, false, "chat"},
		{"of a fallback", fakellm.Plan{}, false, "safe"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.up.SetPlan(func(seen *fakellm.Seen) fakellm.Plan {
				if seen.Model == "down" {
					return fakellm.Plan{Status: 500}
				}
				return row.plan
			})
			request := fmt.Sprintf("POST /v1/chat/completions\n\n"+`{"model":%q,"stream":%t,"messages":[{"role":"user","content":%q}]}`, row.model, row.stream, "再说一遍："+row.name)
			for range 2 {
				before := s.up.Stats().Requests
				if a := s.ask(t, request); a.header.Get("X-Cache") != isMiss || s.up.Stats().Requests == before {
					t.Errorf("%v", a)
				}
			}
		})
	}
	s.up.SetPlan(nil)

	// Nor what its client did not wait for.
	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Tokens: 50, EventDelay: 20 * time.Millisecond} })
	const left = `{"model":"chat","stream":true,"messages":[{"role":"user","content":"等不及了"}]}`
	c := s.dial(t)
	c.send("POST /v1/chat/completions\n\n" + left)
	if _, err := c.br.ReadString('}'); err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.idle()
	s.up.SetPlan(nil)
	s.post("chat/completions", "", left, isMiss, 1)
	s.post("chat/completions", "", left, isHit, 0)
}

// Of the same request many times at once, one asks; if its client leaves or it fails, another one does, and no more than one at a time.
func TestCacheFlight(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{})
	const crowd = 50
	request := func(text string) string {
		return rawRequest(`POST /v1/chat/completions` + "\n\n" + `{"model":"chat","messages":[{"role":"user","content":"` + text + `"}]}`)
	}
	together := func(text string) (statuses map[int]int, results map[string]int) {
		t.Helper()
		statuses, results = map[int]int{}, map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range crowd {
			c := s.dial(t)
			wg.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, request(text))
				a, err := c.tryReceive(http.MethodPost)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				statuses[a.status]++
				results[a.header.Get("X-Cache")]++
			})
		}
		wg.Wait()
		return statuses, results
	}

	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Delay: 300 * time.Millisecond} })
	before := s.up.Stats().Requests
	if statuses, results := together("五十个人同时问"); statuses[200] != crowd || results[isMiss] != 1 || results[isHit] != crowd-1 || s.up.Stats().Requests != before+1 {
		t.Errorf("%v %v, and the provider was asked %d times", statuses, results, s.up.Stats().Requests-before)
	}

	// The first two fail, and one after the other leads.
	var n, under, most atomic.Int64
	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		if n.Add(1) <= 2 {
			return fakellm.Plan{Status: 500}
		}
		return fakellm.Plan{Delay: 100 * time.Millisecond}
	})
	before = s.up.Stats().Requests
	if statuses, _ := together("先失败两次"); statuses[200] != crowd-2 || statuses[502] != 2 || s.up.Stats().Requests != before+3 || most.Load() != 1 {
		t.Errorf("%v, and the provider was asked %d times, %d at once", statuses, s.up.Stats().Requests-before, most.Load())
	}

	// The leader's client leaves.
	n.Store(0)
	s.up.SetPlan(func(*fakellm.Seen) fakellm.Plan {
		n.Add(1)
		return fakellm.Plan{Delay: 300 * time.Millisecond}
	})
	leader, follower := s.dial(t), s.dial(t)
	_, _ = io.WriteString(leader, request("带头的走了"))
	eventually(t, "the leader asks", func() bool { return n.Load() == 1 })
	_, _ = io.WriteString(follower, request("带头的走了"))
	eventually(t, "the follower is there", func() bool { return s.metrics()["jarvis_requests_in_flight"] == 2 })
	leader.Close()
	if a := follower.receive(http.MethodPost); a.status != 200 || n.Load() != 2 {
		t.Errorf("%v, %d asked", a, n.Load())
	}

	// Who waits does so no longer than he said.
	hurried, patient := s.dial(t), s.dial(t)
	_, _ = io.WriteString(patient, request("有人等不了"))
	eventually(t, "the patient one asks", func() bool { return n.Load() == 3 })
	_, _ = io.WriteString(hurried, strings.Replace(request("有人等不了"), "\r\n", "\r\nX-Jarvis-Timeout: 50ms\r\n", 1))
	if a := hurried.receive(http.MethodPost); a.status != 504 {
		t.Errorf("%v", a)
	}
	if a := patient.receive(http.MethodPost); a.status != 200 || n.Load() != 3 {
		t.Errorf("%v, %d asked", a, n.Load())
	}
}

// Gateways with the same Redis have the same cache, and a purge reaches all of them.
func TestCacheIsShared(t *testing.T) {
	redis := "redis://" + redisServer(t)
	up, err := fakellm.Start(fakellm.Options{APIKey: upstreamKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	a, b := &cacheStage{cacheGateway(t, up, redis), t, up}, &cacheStage{cacheGateway(t, up, redis), t, up}
	for _, stream := range []string{"false", "true"} {
		body := `{"model":"chat","stream":` + stream + `,"messages":[{"role":"user","content":"大家都问"}]}`
		cached := func(s *cacheStage, id string) string {
			return s.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\n\n"+body).header.Get("X-Cache")
		}
		var first, second answer
		eventually(t, "the other gateway has the answer", func() bool {
			a.ask(t, "POST /v1/chat/completions\n\n"+body) // until Redis is known here, nothing is shared
			first = a.ask(t, "POST /v1/chat/completions\nCache-Control: no-cache\n\n"+body)
			time.Sleep(20 * time.Millisecond)
			before := up.Stats().Requests
			second = b.ask(t, "POST /v1/chat/completions\n\n"+body)
			return second.header.Get("X-Cache") == isHit && up.Stats().Requests == before && first.body == second.body
		})
		if got := cached(a, "again"); got != isHit {
			t.Error(got)
		}
		a.at(t, "")
		if out, _ := ran(t, "cache", "purge", "--model", "chat", "--tenant", "acme"); !strings.HasPrefix(out, "1 answers") && !strings.HasPrefix(out, "2 answers") {
			t.Error(out)
		}
		if got := cached(a, "purged"); got != isMiss {
			t.Errorf("after a purge: %s", got)
		}
	}
	// The other one must not give again what it had in memory.
	old := `{"model":"guided","messages":[{"role":"user","content":"旧的"}]}`
	b.post("chat/completions", "", old, isMiss, 1)
	b.post("chat/completions", "", old, isHit, 0)
	a.at(t, "")
	ran(t, "cache", "purge")
	eventually(t, "the purge is known", func() bool {
		return b.metrics()["jarvis_cache_entries"] == 0 || b.ask(t, "POST /v1/chat/completions\n\n"+old).header.Get("X-Cache") == isMiss
	})
}

// A reload keeps what is kept; another target of the model is another answer. A purge of nothing known is none.
func TestCacheAndReload(t *testing.T) {
	s := newCacheStage(t, fakellm.Options{})
	const body = `{"model":"chat","messages":[{"role":"user","content":"重新加载"}]}`
	s.post("chat/completions", "", body, isMiss, 1)
	text := readFile(t, s.path)
	s.configure(text + "# changed\n")
	eventually(t, "the reload", s.logged("config reloaded", ""))
	s.post("chat/completions", "", body, isHit, 0)
	s.configure(strings.Replace(text, "chat: {targets: [{provider: up, model: gpt-4o}]", "chat: {targets: [{provider: up, model: gpt-4o-mini}]", 1))
	eventually(t, "the model is another", func() bool {
		return s.ask(t, "POST /v1/chat/completions\nCache-Control: no-store\n\n"+body).header.Get("X-Jarvis-Model") == "gpt-4o-mini"
	})
	s.post("chat/completions", "", body, isMiss, 1)
	s.configure(strings.ReplaceAll(text, "//127.0.0.1:", "//localhost:")) // another place under the same name
	eventually(t, "the provider is elsewhere", func() bool {
		return s.ask(t, "POST /v1/chat/completions\n\n"+body).header.Get("X-Cache") == isMiss
	})

	s.at(t, "")
	for _, row := range []struct{ flags, said string }{{"--model nobody", "0 answers"}, {"--tenant other", "0 answers"}, {"--tenant acme", "3 answers"}, {"", "0 answers"}} {
		if out, _ := ran(t, append([]string{"cache", "purge"}, strings.Fields(row.flags)...)...); !strings.HasPrefix(out, row.said) {
			t.Errorf("%s: %s, want %s", row.flags, out, row.said)
		}
	}
	if out, _ := ran(t, "audit", "--json"); !strings.Contains(out, "cache.purge") {
		t.Error(out)
	}
	s.post("chat/completions", "", body, isMiss, 1)
}

// BenchmarkCacheHit is a hit as its client sees it, over one connection.
func BenchmarkCacheHit(b *testing.B) {
	g := start(b, "providers: {sim: {kind: simulated}}\nmodels: {chat: {targets: [{provider: sim}], cache: {exact: 1h}}}\ntenants: {acme: {keys: [{name: main, key: "+tenantKey+"}]}}\n")
	c, request := g.dial(b), rawRequest("chat")
	ask := func() answer {
		if _, err := io.WriteString(c, request); err != nil {
			b.Fatal(err)
		}
		return c.receive(http.MethodPost)
	}
	ask()
	for b.Loop() {
		if a := ask(); a.header.Get("X-Cache") != isHit {
			b.Fatalf("%v", a)
		}
	}
}
