package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

const paidPrices = `
gpt-4o: {input: $1/k, output: $1/k, cached: $0.1/k}
gpt-dear: {input: $10/k, output: $10/k}
gpt-tiers: {input: $1/k, output: $1/k, flex: {input: $0.5/k, output: $0.5/k}, priority: {input: $2/k, output: $2/k}, batch: {input: $0.25/k, output: $0.25/k}}
gpt-each: {input: $0/M, output: $1/k, request: $0.01}
whisper: {input: $0/M, second: $0.01}
dall-e: {input: $0/M, image: $0.04}
`

const paidConfig = `
prices: {file: "${PRICES}"}
providers:
  up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}
  claude: {kind: anthropic, base_url: "http://${UPSTREAM}", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {targets: [{provider: up, model: gpt-4o}]}
  claude: {targets: [{provider: claude, model: gpt-4o}]}
  tiers: {targets: [{provider: up, model: gpt-tiers}]}
  claude-tiers: {targets: [{provider: claude, model: gpt-tiers}]}
  each: {targets: [{provider: up, model: gpt-each}]}
  whisper: {targets: [{provider: up, model: whisper}]}
  dall-e: {targets: [{provider: up, model: dall-e}]}
  late: {timeout: {first_token: 500ms, total: 500ms}, targets: [{provider: up, model: gpt-dear}]}
  later: {timeout: {first_token: 500ms, total: 500ms}, targets: [{provider: up, model: gpt-dear}, {provider: up, model: gpt-4o}]}
  twice: {targets: [{provider: up, model: gpt-4o}, {provider: up, model: gpt-4o}]}
tenants:
  acme:
    timezone: ${ZONE}
    keys: [{name: main, key: "${KEY}", limits: {spend: $1000/d, tokens: 10M/d}}]
    guards: [{kind: deny, patterns: ["forbidden"], on: [answer], action: refuse}]
`

// paying is a gateway with prices, and what its one key has used.
func paying(t *testing.T) (g *running, u *upstream, used func() (dollars, tokens float64)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prices.yml")
	if err := os.WriteFile(file, []byte(paidPrices), 0o600); err != nil {
		t.Fatal(err)
	}
	g, u = withUpstream(t, strings.NewReplacer("${PRICES}", file, "${ZONE}", noon()).Replace(paidConfig))
	return g, u, func() (float64, float64) {
		at := g.used("acme")
		for _, id := range []string{"key/main/spend/d", "key/main/tokens/d"} {
			if held := at[id][1]; held != 0 {
				t.Errorf("%s still holds %v", id, held)
			}
		}
		return at["key/main/spend/d"][0], at["key/main/tokens/d"][0]
	}
}

const (
	asking    = `"messages":[{"role":"user","content":"Tell me of all that is, was and shall be."}]`
	roleEvent = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
	claudeIn  = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":40,\"cache_read_input_tokens\":1000,\"output_tokens\":1}}}\n\n"
)

// Who leaves before there is an answer pays for the prompt that the provider has read: as it was reported, or as estimated.
func TestLeavingIsPaid(t *testing.T) {
	g, u, used := paying(t)
	for _, row := range []struct {
		name, path, body, reply string
		least, most             float64 // dollars
	}{
		{"before headers", "chat/completions", `{"model":"chat","stream":true,` + asking + `}`, "@hang\n", 0.01, 0.04},
		{"before the answer", "chat/completions", `{"model":"chat",` + asking + `}`, "@hang\n", 0.01, 0.04},
		{"before content", "chat/completions", `{"model":"chat","stream":true,` + asking + `}`, roleEvent + "@hang\n", 0.01, 0.04},
		{"in half an answer", "chat/completions", `{"model":"chat",` + asking + `}`, "200\nContent-Length: 10000\n\n{" + strings.Repeat(" ", 400) + "@hang\n", 0.1, 0.15},
		{"before content, after a report", "messages", `{"model":"claude","stream":true,"max_tokens":50,` + asking + `}`, claudeIn + "@hang\n", 0.141, 0.141},
		{"before content, translated", "chat/completions", `{"model":"claude","stream":true,` + asking + `}`, claudeIn + "@hang\n", 0.141, 0.141},
		{"half of it, translated", "chat/completions", `{"model":"claude",` + asking + `}`, "200\nContent-Length: 10000\n\n{" + strings.Repeat(" ", 400) + "@hang\n", 0.1, 0.15},
		{"before pictures", "images/generations", `{"model":"dall-e","prompt":"a cat","n":3}`, "@hang\n", 0.12, 0.12},
		{"in the second attempt", "chat/completions", `{"model":"twice",` + asking + `}`, "500\n\n{}@hang\n", 0, 0},
		{"after a count", "messages/count_tokens", `{"model":"claude",` + asking + `}`, "@hang\n", 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			dollars, tokens := used()
			replies := []string{row.reply}
			if first, second, two := strings.Cut(row.reply, "{}@"); two {
				replies, row.least, row.most = []string{first + "{}", "@" + second}, 0.01, 0.04
			}
			u.script(replies...)
			c := g.dial(t)
			id := "gone-" + fitName(row.name)
			c.send("POST /v1/" + row.path + "\nX-Request-Id: " + id + "\n\n" + row.body)
			eventually(t, "the request upstream", func() bool { return len(u.sightings()) == len(replies) })
			if strings.Contains(row.reply, "{") {
				eventually(t, "what there is of an answer read", u.isRead)
				time.Sleep(50 * time.Millisecond) // for what is done with it
			}
			if err := c.Conn.(*net.TCPConn).Close(); err != nil {
				t.Fatal(err)
			}
			line := g.access(id)
			cost := line.Get("cost_usd").Float()
			if line.Get("outcome").Str != "client_gone" || cost < row.least || cost > row.most || row.least > 0 && !line.Get("estimated").Bool() {
				t.Errorf("not $%v to $%v: %s", row.least, row.most, line.Raw)
			}
			nowDollars, nowTokens := used()
			near(t, "dollars", nowDollars-dollars, cost)
			near(t, "tokens", nowTokens-tokens, line.Get("prompt_tokens").Float()+line.Get("completion_tokens").Float())
		})
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if d := got - want; d > 1e-6 || d < -1e-6 {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// What answers and failures cost: the header, the line and the budget say the same.
func TestWhatIsPaid(t *testing.T) {
	g, u, used := paying(t)
	words := strings.Repeat("word ", 300)
	for _, row := range []struct {
		name, path, body string
		replies          []string
		least, most      float64 // dollars
		estimated        bool
	}{
		{"an attempt that is late costs its prompt", "chat/completions", `{"model":"late",` + asking + `}`, []string{"@hang\n"}, 0.1, 0.4, true},
		{"each attempt at its own price", "chat/completions", `{"model":"later",` + asking + `}`, []string{"@hang\n", `{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}`}, 0.109, 0.409, true},
		{"a stream that is late", "chat/completions", `{"model":"later","stream":true,` + asking + `}`, []string{roleEvent + "@hang\n",
			contentEvent + `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}` + "\n\n" + endEvent}, 0.109, 0.409, true},
		{"failures cost nothing", "chat/completions", `{"model":"twice",` + asking + `}`, []string{"500\n\n{}", "@cut\n"}, 0, 0, false},
		{"not even the price of a request", "chat/completions", `{"model":"each",` + asking + `}`, []string{"500\n\n{}"}, 0, 0, false},
		{"which an answer costs", "chat/completions", `{"model":"each",` + asking + `}`, []string{`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}`}, 0.012, 0.012, false},
		{"a stream that is refused at once", "chat/completions", `{"model":"chat","stream":true,` + asking + `}`,
			[]string{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"forbidden\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":100}}\n\n" + endEvent}, 0.2, 0.2, false},
		{"a stream that is refused without a report", "chat/completions", `{"model":"chat","stream":true,` + asking + `}`,
			[]string{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + words + "forbidden\"},\"finish_reason\":\"stop\"}]}\n\n" + endEvent}, 0.3, 0.45, true},
		{"an answer that is refused", "chat/completions", `{"model":"chat",` + asking + `}`,
			[]string{`{"choices":[{"message":{"role":"assistant","content":"forbidden ` + words + `"}}]}`}, 0.3, 0.45, true},
		{"an answer without a report", "chat/completions", `{"model":"chat",` + asking + `}`,
			[]string{`{"choices":[{"message":{"role":"assistant","content":"` + words + `"}}]}`}, 0.3, 0.45, true},
		{"a response without a report", "responses", `{"model":"chat","input":"Tell me."}`,
			[]string{`{"id":"resp_0","object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"` + words + `"}]}]}`}, 0.3, 0.45, true},
		{"all of a stream in one event", "chat/completions", `{"model":"chat","stream":true,` + asking + `}`,
			[]string{"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + words + "\"},\"finish_reason\":\"stop\"}]}\n\n" + endEvent}, 0.3, 0.45, true},
		{"many words in each event", "completions", `{"model":"chat","stream":true,"prompt":"Tell me.","max_tokens":1000}`,
			[]string{"data: {\"choices\":[{\"index\":0,\"text\":\"" + words + "\"}]}\n\n" + endEvent}, 0.3, 0.45, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			ask := func() (a answer, line gjson.Result) {
				dollars, _ := used()
				u.script(row.replies...)
				id := "paid-" + appendName(t)
				a = g.ask(t, "POST /v1/"+row.path+"\nX-Request-Id: "+id+"\n\n"+row.body)
				line = g.access(id)
				now, _ := used()
				near(t, "dollars", now-dollars, line.Get("cost_usd").Float())
				return a, line
			}
			a, line := ask()
			for try := 1; try < quietRounds && strings.Contains(row.body, "later") && a.status == 504; try++ { // the second one was late, too
				a, line = ask()
			}
			cost := line.Get("cost_usd").Float()
			if cost < row.least || cost > row.most || line.Get("estimated").Bool() != row.estimated {
				t.Errorf("not $%v to $%v: %s", row.least, row.most, line.Raw)
			}
			if told := a.header.Get("X-Jarvis-Cost-Usd"); a.status == 200 && !strings.Contains(row.body, "stream") && told != line.Get("cost_usd").Raw {
				t.Errorf("the header says %q: %s", told, line.Raw)
			}
			if strings.Contains(row.name, "refused") != (a.status == 400) || strings.Contains(row.body, "later") && a.status != 200 {
				t.Errorf("%v", a)
			}
		})
	}
}

// The price is that of the service tier that the answer says. A discount must be proved.
func TestServedTier(t *testing.T) {
	g, u, _ := paying(t)
	const tokens = `"usage":{"prompt_tokens":100,"completion_tokens":100}`
	whole := func(tier string) string { return `{"choices":[],"service_tier":` + tier + `,` + tokens + `}` }
	stream := func(tier string) string {
		return contentEvent + `data: {"service_tier":` + tier + `,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: {\"choices\":[]," + tokens + "}\n\n" + endEvent
	}
	response := func(tier string) string {
		return `{"id":"r","object":"response","status":"completed","output":[],"service_tier":` + tier + `,"metadata":{"service_tier":"flex"},"usage":{"input_tokens":100,"output_tokens":100}}`
	}
	message := func(tier string) string {
		return `{"type":"message","content":[],"stop_reason":"end_turn","usage":{"input_tokens":100,"output_tokens":100,"service_tier":` + tier + `}}`
	}
	for _, row := range []struct {
		path, model, asked, reply string
		want                      float64
	}{
		{"chat/completions", "tiers", `,"service_tier":"flex"`, whole(`"flex"`), 0.1},
		{"chat/completions", "tiers", `,"service_tier":"flex"`, whole(`"default"`), 0.2},
		{"chat/completions", "tiers", `,"service_tier":"flex"`, whole(`null`), 0.2},
		{"chat/completions", "tiers", `,"service_tier":"batch"`, whole(`"batch"`), 0.05},
		{"chat/completions", "tiers", `,"service_tier":"batch"`, whole(`"default"`), 0.2},
		{"chat/completions", "tiers", `,"service_tier":"batch"`, whole(`null`), 0.2},
		{"chat/completions", "tiers", `,"stream":true`, stream(`"batch"`), 0.05},
		{"messages", "claude-tiers", ``, message(`"batch"`), 0.05},
		{"chat/completions", "tiers", `,"service_tier":"auto"`, whole(`"priority"`), 0.4},
		{"chat/completions", "tiers", `,"service_tier":"priority"`, whole(`"default"`), 0.2},
		{"chat/completions", "tiers", `,"service_tier":"priority"`, whole(`null`), 0.4},
		{"chat/completions", "tiers", ``, `{"choices":[{"message":{"content":"\"service_tier\":\"flex\""}}],` + tokens + `}`, 0.2},
		{"chat/completions", "tiers", `,"stream":true,"service_tier":"flex"`, stream(`"flex"`), 0.1},
		{"chat/completions", "tiers", `,"stream":true,"service_tier":"flex"`, stream(`"default"`), 0.2},
		{"chat/completions", "tiers", `,"stream":true`, stream(`"priority"`), 0.4},
		{"responses", "tiers", `,"service_tier":"flex","metadata":{"service_tier":"flex"}`, response(`"default"`), 0.2},
		{"responses", "tiers", `,"service_tier":"flex"`, response(`"flex"`), 0.1},
		{"responses", "tiers", `,"stream":true`, "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\ndata: {\"type\":\"response.completed\",\"response\":" + response(`"priority"`) + "}\n\n", 0.4},
		{"messages", "claude-tiers", ``, message(`"priority"`), 0.4},
		{"messages", "claude-tiers", ``, message(`"standard"`), 0.2},
		{"chat/completions", "claude-tiers", ``, message(`"priority"`), 0.4},
		{"messages", "tiers", `,"service_tier":"auto"`, strings.Replace(whole(`"priority"`), `[]`, `[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]`, 1), 0.4},
		{"messages", "tiers", `,"stream":true`, stream(`"priority"`), 0.4},
	} {
		u.script(row.reply)
		id := "tier-" + appendName(t)
		body := `{"model":"` + row.model + `","max_tokens":200,` + asking + row.asked + `}`
		if row.path == "responses" {
			body = `{"model":"` + row.model + `","input":"Tell me."` + row.asked + `}`
		}
		a := g.ask(t, "POST /v1/"+row.path+"\nX-Request-Id: "+id+"\n\n"+body)
		if line := g.access(id); a.status != 200 || line.Get("cost_usd").Float() != row.want {
			t.Errorf("%s: %d, not $%v: %s", body, a.status, row.want, line.Raw)
		}
	}
}

var named int

// appendName makes an id of its own.
func appendName(t *testing.T) string {
	named++
	return fitName(t.Name()) + "-" + strings.Repeat("i", named)
}

// What is stored can be read, listed, cancelled and deleted under any limit, and is not counted once more.
func TestStoredIsPaidOnce(t *testing.T) {
	g, u, used := paying(t)
	const counted = `"usage":{"input_tokens":100,"output_tokens":100}`
	u.script(`{"id":"resp_1","object":"response","status":"completed","output":[],` + counted + `}`)
	if a := g.ask(t, "POST /v1/responses\n\n"+`{"model":"chat","input":"x"}`); a.status != 200 || a.header.Get("X-Jarvis-Cost-Usd") != "0.2" {
		t.Fatal(a)
	}
	dollars, tokens := used()
	before := g.metrics()
	for i, request := range []string{"GET /v1/responses/resp_1", "GET /v1/responses/resp_1?stream=true", "GET /v1/responses/resp_1/input_items", "POST /v1/responses/resp_1/cancel\n\n{}", "DELETE /v1/responses/resp_1"} {
		u.script(`{"id":"resp_1","object":"response","status":"completed","output":[],` + counted + `}`)
		id := "stored-" + strings.Repeat("i", i+1)
		head, body, _ := strings.Cut(request, "\n\n")
		if body != "" {
			body = "\n\n" + body
		}
		a := g.ask(t, head+"\nX-Request-Id: "+id+body)
		line := g.access(id)
		if a.status != 200 || line.Get("prompt_tokens").Int()+line.Get("completion_tokens").Int() != 0 || line.Get("cost_usd").Float() != 0 {
			t.Errorf("%s: %v; %s", request, a, line.Raw)
		}
	}
	nowDollars, nowTokens := used()
	near(t, "dollars", nowDollars, dollars)
	near(t, "tokens", nowTokens, tokens)
	for name, n := range g.metrics() {
		if strings.HasPrefix(name, "jarvis_tokens_total") && n != before[name] {
			t.Errorf("%s: %v, was %v", name, n, before[name])
		}
	}
}
