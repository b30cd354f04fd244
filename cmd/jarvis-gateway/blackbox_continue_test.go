package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const continueConfig = `
prices: {file: "${PRICES}"}
providers:
  first: {kind: openai, base_url: "${first}/v1", api_key: "${UPSTREAM_KEY}"}
  openai: {kind: openai, base_url: "${openai}/v1", api_key: "${UPSTREAM_KEY}"}
  vllm: {kind: vllm, base_url: "${vllm}", api_key: "${UPSTREAM_KEY}"}
  anthropic: {kind: anthropic, base_url: "${anthropic}", api_key: "${UPSTREAM_KEY}"}
  bedrock: {kind: bedrock, region: us-east-1, base_url: "${bedrock}", api_key: "${UPSTREAM_KEY}"}
models:
  openai: {continue: true, timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: openai, model: gpt-second}]}
  vllm: {continue: true, timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: vllm, model: gpt-second}]}
  anthropic: {continue: true, timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: anthropic, model: claude-3-5-haiku}]}
  newest: {continue: true, timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: anthropic, model: claude-opus-5-5}]}
  bedrock: {continue: true, timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: bedrock, model: anthropic.claude-3-5-haiku}]}
  silent: {continue: true, timeout: {idle: 1s}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: openai, model: gpt-second}]}
  spare: {targets: [{provider: openai, model: gpt-second}]}
  fallback: {continue: true, targets: [{provider: first, model: gpt-first}], fallback: [spare]}
  thrice: {continue: true, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: first, model: gpt-first}, {provider: openai, model: gpt-second}]}
  alone: {continue: true, targets: [{provider: first, model: gpt-first}]}
  hedged: {continue: true, hedge: {after: 30ms, max_extra: 100%}, breaker: {off: true}, targets: [{provider: vllm, model: gpt-second}, {provider: first, model: gpt-first}]}
  off: {timeout: {idle: 10m}, breaker: {off: true}, targets: [{provider: first, model: gpt-first}, {provider: openai, model: gpt-second}]}
tenants:
  acme:
    timezone: ${ZONE}
    keys: [{name: main, key: "${KEY}", limits: {spend: $1000/d, tokens: 10M/d}}]
  masked:
    keys: [{name: main, key: jv-masked-0123456789abcdef}]
    guards: [{kind: pii, on: [request, answer], action: mask}]
  poor:
    timezone: ${ZONE}
    keys: [{name: main, key: jv-poor-0123456789abcdef, limits: {spend: $0.3/d}}]
`

// relayed is a gateway whose first provider breaks off, and whose others go on with what it said.
type relayed struct {
	*running
	up map[string]*fakellm.Server
}

func newRelayed(t *testing.T) *relayed {
	t.Helper()
	r := &relayed{up: map[string]*fakellm.Server{}}
	file := filepath.Join(t.TempDir(), "prices.yml")
	if err := os.WriteFile(file, []byte("gpt-first: {input: $1/k, output: $2/k}\n\"*\": {input: $3/k, output: $5/k}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	values := []string{"${PRICES}", file, "${ZONE}", noon(), "${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey}
	for name, kind := range map[string]fakellm.Kind{"first": fakellm.OpenAI, "openai": fakellm.OpenAI, "vllm": fakellm.VLLM, "anthropic": fakellm.Anthropic, "bedrock": fakellm.Bedrock} {
		s, err := fakellm.Start(fakellm.Options{Kind: kind, APIKey: upstreamKey, LogBodies: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		r.up[name] = s
		values = append(values, "${"+name+"}", s.URL())
	}
	r.running = start(t, strings.NewReplacer(values...).Replace(continueConfig))
	return r
}

// plan has the first provider break off, and the others go on with the rest of the text as rest tells it.
func (r *relayed) plan(first fakellm.Plan, rest func(said string) fakellm.Plan) {
	for name, s := range r.up {
		s.Reset()
		s.SetPlan(func(seen *fakellm.Seen) fakellm.Plan {
			said, begun := begunIn(seen.Body)
			if name == "first" && !begun {
				return first
			}
			return rest(said)
		})
	}
}

// begunIn is the answer's beginning in a request, of any dialect.
func begunIn(body []byte) (said string, ok bool) {
	gjson.GetBytes(body, "messages").ForEach(func(_, m gjson.Result) bool {
		if m.Get("role").Str != "assistant" {
			return true
		}
		content := m.Get("content")
		for content.IsArray() {
			content = content.Get("0.text")
		}
		said, ok = content.Str, true
		return true
	})
	return said, ok
}

// told is what a client has of a stream.
type told struct {
	text     string
	label    gjson.Result
	labels   int
	dones    int
	failures int
	ids      map[string]bool
	roles    int
	usage    gjson.Result
}

func toldBy(t *testing.T, body string) (d told) {
	t.Helper()
	d.ids = map[string]bool{}
	for event := range strings.SplitSeq(body, "\n\n") {
		data, ok := strings.CutPrefix(event, "data: ")
		switch {
		case !ok:
			continue
		case data == "[DONE]":
			d.dones++
			continue
		case !gjson.Valid(data):
			t.Fatalf("not JSON: %s", data)
		}
		chunk := gjson.Parse(data)
		if chunk.Get("error").Exists() {
			d.failures++
			continue
		}
		d.ids[chunk.Get("id").Raw+chunk.Get("model").Raw+chunk.Get("created").Raw+chunk.Get("object").Raw] = true
		d.text += chunk.Get("choices.0.delta.content").Str
		if chunk.Get("choices.0.delta.role").Exists() {
			d.roles++
		}
		if chunk.Get("usage").IsObject() {
			d.usage = chunk.Get("usage")
		}
		if label := chunk.Get("jarvis.continued"); label.Exists() {
			d.label = label
			d.labels++
		}
	}
	return d
}

const longText = "Twelve lighthouses stand on the coast of the island, and each of them has a keeper who writes down what the sea does, every hour of the night, in a book bound in blue cloth."

// ask streams one request of the text.
func (r *relayed) ask(t *testing.T, id, key, body string) (answer, told, gjson.Result) {
	t.Helper()
	a := r.running.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\nAuthorization: Bearer "+key+"\n\n"+body)
	return a, toldBy(t, a.body), r.access(id)
}

func askOf(model, more string) string {
	return fmt.Sprintf(`{"model":%q,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Tell me of the coast, says ann@example.com."}]%s}`, model, more)
}

// However a stream breaks off and whoever goes on, the client has one answer, without gap and without repetition, that says where
// the rest is from; both parts are paid for.
func TestContinue(t *testing.T) {
	r := newRelayed(t)
	exact := func(said string) fakellm.Plan { return fakellm.Plan{Text: strings.TrimPrefix(longText, said)} }
	chinese := strings.Repeat("海边有十二座灯塔，每座都有守塔人。", 6)
	for _, row := range []struct {
		name, model, provider string
		first                 fakellm.Plan
		rest                  func(said string) fakellm.Plan
		want                  string
	}{
		{"cut", "openai", "openai", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"reset", "openai", "openai", fakellm.Plan{Fault: fakellm.ResetMidStream}, exact, longText},
		{"an event of failure", "openai", "openai", fakellm.Plan{Fault: fakellm.InStreamErrorMid}, exact, longText},
		{"silence", "silent", "openai", fakellm.Plan{Fault: fakellm.StallMidStream}, exact, longText},
		{"bytewise", "openai", "openai", fakellm.Plan{Fault: fakellm.InStreamErrorMid, ByteAtATime: true}, exact, longText},
		{"the end is repeated", "openai", "openai", fakellm.Plan{Fault: fakellm.CutMidStream}, func(said string) fakellm.Plan {
			return fakellm.Plan{Text: longText[max(0, len(said)-40):]}
		}, longText},
		{"all is repeated", "openai", "openai", fakellm.Plan{Fault: fakellm.CutMidStream}, func(string) fakellm.Plan { return fakellm.Plan{Text: longText} }, longText},
		{"little is repeated", "openai", "openai", fakellm.Plan{Fault: fakellm.CutMidStream, Text: "Row, row, row, row, row, row, row,"}, func(string) fakellm.Plan { return fakellm.Plan{Text: " row!"} }, ""},
		{"vLLM", "vllm", "vllm", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"Anthropic", "anthropic", "anthropic", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"Anthropic without beginnings", "newest", "anthropic", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"Bedrock", "bedrock", "bedrock", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"a fallback", "fallback", "openai", fakellm.Plan{Fault: fakellm.CutMidStream}, exact, longText},
		{"Chinese", "vllm", "vllm", fakellm.Plan{Fault: fakellm.CutMidStream, Text: chinese}, func(said string) fakellm.Plan {
			return fakellm.Plan{Text: strings.TrimPrefix(chinese, said)}
		}, chinese},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.first.Text == "" {
				row.first.Text = longText
			}
			row.first.EventDelay = 2 * time.Millisecond
			r.plan(row.first, row.rest)
			result := fmt.Sprintf(`jarvis_continuations_total{from="first",model=%q,outcome="continued",to=%q}`, row.model, row.provider)
			before, dollars := r.metrics()[result], r.used("acme")["key/main/spend/d"][0]
			id := fmt.Sprintf("continue-%d", time.Now().UnixNano())
			a, d, line := r.ask(t, id, tenantKey, askOf(row.model, `,"max_tokens":500`))
			seen := r.up[row.provider].WaitDone(1, patience)
			if len(seen) != 1 {
				t.Fatalf("%d requests went on: %s", len(seen), a)
			}
			said, _ := begunIn(seen[0].Body)
			if row.want == "" {
				row.want = said + row.rest(said).Text
			}
			if a.status != 200 || a.cut || d.text != row.want || said == "" || d.failures != 0 || d.dones != 1 {
				t.Errorf("%q after %q: %s", d.text, said, a)
			}
			if d.labels != 1 || d.label.Get("provider").Str != row.provider || d.label.Get("attempt").Int() != 2 || d.label.Get("model").Str == "" || len(d.ids) != 1 || d.roles != 1 {
				t.Errorf("%d labels %s, ids %v, %d roles: %s", d.labels, d.label, d.ids, d.roles, a.body)
			}
			if exact := gjson.GetBytes(seen[0].Body, "continue_final_message").Bool(); exact != (row.provider == "vllm") || len(seen[0].Violations) > 0 {
				t.Errorf("the provider was asked %s, %v", seen[0].Body, seen[0].Violations)
			}
			most := int64(0)
			for _, name := range []string{"max_tokens", "max_completion_tokens", "inferenceConfig.maxTokens"} {
				most = max(most, gjson.GetBytes(seen[0].Body, name).Int())
			}
			if given := line.Get("completion_tokens").Int() - int64(seen[0].Billed.Completion); given == 0 || most != 500-given {
				t.Errorf("%d tokens were given, and %d asked for", given, most)
			}
			r.idle()
			if n := r.metrics()[result] - before; n != 1 {
				t.Errorf("%s has grown by %v", result, n)
			}
			at := r.used("acme")["key/main/spend/d"]
			near(t, "dollars", at[0]-dollars, line.Get("cost_usd").Float())
			if at[1] != 0 || line.Get("continued").Int() != 1 || line.Get("attempts").Int() != 2 || line.Get("provider").Str != row.provider ||
				line.Get("outcome").Str != "ok" || !strings.HasPrefix(line.Get("failed").Str, "first/gpt-first:") || !strings.HasPrefix(line.Get("route").Str, "continue:") {
				t.Errorf("held %v; line: %s", at[1], line.Raw)
			}
			rest := seen[0].Billed
			if u := d.usage; u.Get("total_tokens").Int() != line.Get("prompt_tokens").Int()+line.Get("completion_tokens").Int() ||
				u.Get("prompt_tokens").Int() <= int64(rest.Prompt) || u.Get("completion_tokens").Int() <= int64(rest.Completion) {
				t.Errorf("the usage %s of both, %v of the rest: %s", u, rest, line.Raw)
			}
			paid := float64(3*rest.Prompt+5*rest.Completion) + float64(line.Get("prompt_tokens").Int()-int64(rest.Prompt)) + 2*float64(line.Get("completion_tokens").Int()-int64(rest.Completion))
			near(t, "both parts", line.Get("cost_usd").Float(), paid/1000)
		})
	}
}

// Who goes on may break off, too.
func TestContinueTwice(t *testing.T) {
	r := newRelayed(t)
	n := 0
	r.plan(fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream, EventDelay: time.Millisecond}, func(said string) fakellm.Plan {
		p := fakellm.Plan{Text: strings.TrimPrefix(longText, said), EventDelay: time.Millisecond}
		if n++; n == 1 {
			p.Fault = fakellm.CutMidStream
		}
		return p
	})
	a, d, line := r.ask(t, "continue-twice", tenantKey, askOf("thrice", ""))
	if d.text != longText || d.dones != 1 || d.labels != 2 || d.label.Get("attempt").Int() != 3 || len(d.ids) != 1 || line.Get("continued").Int() != 2 {
		t.Errorf("%q, line %s: %s", d.text, line.Raw, a)
	}
	r.idle()
	at := r.used("acme")["key/main/spend/d"]
	near(t, "dollars", at[0], line.Get("cost_usd").Float())
	near(t, "held", at[1], 0)
	if u := d.usage.Get("total_tokens").Int(); u != line.Get("prompt_tokens").Int()+line.Get("completion_tokens").Int() {
		t.Errorf("usage %s, line %s", d.usage, line.Raw)
	}
}

// The answer of a second attempt that won is gone on with like any other, here by the target that was beaten.
func TestContinueAfterHedge(t *testing.T) {
	r := newRelayed(t)
	r.plan(fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream, EventDelay: time.Millisecond}, func(said string) fakellm.Plan {
		if said == "" {
			return fakellm.Plan{Delay: ages}
		}
		return fakellm.Plan{Text: strings.TrimPrefix(longText, said)}
	})
	a, d, line := r.ask(t, "continue-hedged", tenantKey, askOf("hedged", ""))
	if d.text != longText || d.dones != 1 || d.label.Get("provider").Str != "vllm" || d.label.Get("attempt").Int() != 3 || line.Get("provider").Str != "vllm" {
		t.Errorf("%q, line %s: %s", d.text, line.Raw, a)
	}
	r.idle()
	at := r.used("acme")["key/main/spend/d"]
	near(t, "dollars", at[0], line.Get("cost_usd").Float())
	near(t, "held", at[1], 0)
}

// What is more than plain text, what nobody may go on with, and what nobody can, ends with an error as ever.
func TestNoContinue(t *testing.T) {
	r := newRelayed(t)
	cut := fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream, EventDelay: time.Millisecond}
	calls := cut
	calls.Tools = []fakellm.Call{{Name: "look", Input: `{"at":"` + longText + `"}`}}
	good := func(string) fakellm.Plan { return fakellm.Plan{Text: "more"} }
	tool := `,"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}]`
	for _, row := range []struct {
		name, key, body, outcome string
		first                    fakellm.Plan
		rest                     func(string) fakellm.Plan
		asked                    int // of others
	}{
		{"off", tenantKey, askOf("off", ""), "", cut, good, 0},
		{"a tool is called", tenantKey, askOf("openai", tool), "unfit", calls, good, 0},
		{"JSON", tenantKey, askOf("openai", `,"response_format":{"type":"json_object"}`), "unfit", cut, good, 0},
		{"a schema", tenantKey, askOf("openai", `,"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}`), "unfit", cut, good, 0},
		{"two answers", tenantKey, askOf("openai", `,"n":2`), "unfit", cut, good, 0},
		{"log probabilities", tenantKey, askOf("openai", `,"logprobs":true`), "unfit", cut, good, 0},
		{"stored", tenantKey, askOf("openai", `,"store":true`), "unfit", cut, good, 0},
		{"the caller's mistake", tenantKey, askOf("openai", ""), "", fakellm.Plan{Text: longText, Fault: fakellm.InStreamErrorMid, FaultAs: 400, EventDelay: time.Millisecond}, good, 0},
		{"nobody else", tenantKey, askOf("alone", ""), "none", cut, good, 0},
		{"the budget is small", "jv-poor-0123456789abcdef", askOf("openai", `,"max_tokens":90`), "failed", cut, good, 0},
		{"others fail", tenantKey, askOf("openai", ""), "failed", cut, func(string) fakellm.Plan { return fakellm.Plan{Status: 500} }, 1},
		{"others fail with the caller's mistake", tenantKey, askOf("openai", ""), "failed", cut, func(string) fakellm.Plan { return fakellm.Plan{Status: 400} }, 1},
		{"others break off", tenantKey, askOf("openai", ""), "continued none", cut, func(string) fakellm.Plan {
			return fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream, EventDelay: time.Millisecond}
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			r.plan(row.first, row.rest)
			before := r.outcomes()
			tenant := map[bool]string{true: "acme", false: "poor"}[row.key == tenantKey]
			dollars := r.used(tenant)["key/main/spend/d"][0]
			id := fmt.Sprintf("continue-%d", time.Now().UnixNano())
			a, d, line := r.ask(t, id, row.key, row.body)
			if a.status != 200 || d.failures != 1 || d.dones != 0 {
				t.Errorf("not an error at the end: %s", a)
			}
			asked := 0
			for name, s := range r.up {
				if name != "first" {
					asked += len(s.Seen())
				}
			}
			if asked != row.asked || len(r.up["first"].Seen()) != 1 {
				t.Errorf("%d others were asked, %d times the first", asked, len(r.up["first"].Seen()))
			}
			r.idle()
			for outcome := range strings.FieldsSeq(row.outcome) {
				before[outcome]++
			}
			if got := r.outcomes(); !maps.Equal(got, before) {
				t.Errorf("outcomes %v, want %v", got, before)
			}
			at := r.used(tenant)["key/main/spend/d"]
			near(t, "dollars", at[0]-dollars, line.Get("cost_usd").Float())
			if at[1] != 0 || line.Get("outcome").Str == "ok" || line.Get("cost_usd").Float() == 0 {
				t.Errorf("held %v; line: %s", at[1], line.Raw)
			}
		})
	}
}

// outcomes sums up what became of answers that broke off.
func (r *relayed) outcomes() map[string]float64 {
	r.Helper()
	sums := map[string]float64{}
	for series, v := range r.metrics() {
		if strings.HasPrefix(series, "jarvis_continuations_total{") {
			_, outcome, _ := strings.Cut(series, `outcome="`)
			outcome, _, _ = strings.Cut(outcome, `"`)
			sums[outcome] += v
		}
	}
	return sums
}

// A client that leaves while the rest is waited for, or comes, ends that.
func TestContinueClientLeaves(t *testing.T) {
	r := newRelayed(t)
	for name, rest := range map[string]fakellm.Plan{"before": {Delay: ages}, "during": {Text: longText, Fault: fakellm.StallMidStream}} {
		r.plan(fakellm.Plan{Text: longText, Fault: fakellm.CutMidStream}, func(string) fakellm.Plan { return rest })
		dollars := r.used("acme")["key/main/spend/d"][0]
		c := r.dial(t)
		id := "continue-gone-" + name
		c.send("POST /v1/chat/completions\nX-Request-Id: " + id + "\n\n" + askOf("openai", ""))
		if len(r.up["openai"].Wait(1, patience)) != 1 {
			t.Fatal("nobody went on")
		}
		if err := c.Conn.(*net.TCPConn).Close(); err != nil {
			t.Fatal(err)
		}
		if seen := r.up["openai"].WaitDone(1, patience); len(seen) != 1 || seen[0].ClosedByPeer.IsZero() {
			t.Errorf("%s: the second went on: %+v", name, seen)
		}
		line := r.access(id)
		r.idle()
		at := r.used("acme")["key/main/spend/d"]
		near(t, "dollars", at[0]-dollars, line.Get("cost_usd").Float())
		if paid := line.Get("cost_usd").Float() * 1000; name == "before" && paid < line.Get("prompt_tokens").Float()*2 {
			t.Errorf("the second prompt, which is longer, costs three times as much as the first: %s", line.Raw)
		}
		if line.Get("outcome").Str != "client_gone" || line.Get("attempts").Int() != 2 || at[1] != 0 {
			t.Errorf("%s: held %v, line %s", name, at[1], line.Raw)
		}
	}
}

// What guards took out of the request comes back also where a placeholder lies across the seam.
func TestContinueUnmasks(t *testing.T) {
	r := newRelayed(t)
	for _, at := range []int{4, 7, 12} {
		text := "Dear <EMAIL_1>, the lighthouses greet you."
		r.plan(fakellm.Plan{EventDelay: 20 * time.Millisecond, Chunks: [][]byte{
			[]byte("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"" + text[:at] + "\"},\"finish_reason\":null}]}\n\n"),
			[]byte("data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":500}}\n\n"),
		}}, func(said string) fakellm.Plan { return fakellm.Plan{Text: strings.TrimPrefix(text, said)} })
		a, d, _ := r.ask(t, fmt.Sprintf("continue-masked-%d", at), "jv-masked-0123456789abcdef", askOf("openai", ""))
		if want := strings.ReplaceAll(text, "<EMAIL_1>", "ann@example.com"); d.text != want || d.labels != 1 || d.dones != 1 {
			t.Errorf("cut at %d: %q: %s", at, d.text, a)
		}
		for _, seen := range r.up["openai"].Seen() {
			if strings.Contains(string(seen.Body), "ann@example.com") {
				t.Errorf("the second saw %s", seen.Body)
			}
		}
	}
}
