package main

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

const hedgePrices = `
gpt-slow: {input: $1/k, output: $1/k}
gpt-quick: {input: $2/k, output: $2/k}
claude-slow: {input: $1/k, output: $1/k}
claude-quick: {input: $2/k, output: $2/k}
`

const hedgeConfig = `
prices: {file: "${PRICES}"}
providers:
  slow: {kind: openai, base_url: "${slow}/v1", api_key: "${UPSTREAM_KEY}"}
  quick: {kind: openai, base_url: "${quick}/v1", api_key: "${UPSTREAM_KEY}"}
  claude-slow: {kind: anthropic, base_url: "${claude-slow}", api_key: "${UPSTREAM_KEY}"}
  claude-quick: {kind: anthropic, base_url: "${claude-quick}", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {hedge: {after: 50ms, max_extra: 100%}, breaker: {off: true}, targets: [{provider: slow, model: gpt-slow}, {provider: quick, model: gpt-quick}]}
  claude: {hedge: {after: 50ms, max_extra: 100%}, breaker: {off: true}, targets: [{provider: claude-slow}, {provider: claude-quick}]}
  alone: {hedge: {after: 50ms, max_extra: 100%}, targets: [{provider: slow, model: gpt-slow}]}
tenants:
  acme:
    timezone: ${ZONE}
    keys: [{name: main, key: "${KEY}", limits: {spend: $1000/d, tokens: 10M/d}}]
    guards: [{kind: pii, on: [request, answer], action: mask}]
  poor:
    timezone: ${ZONE}
    keys:
      - {name: one, key: jv-poor-0123456789abcdef-one, limits: {tokens: 150/d}}
      - {name: two, key: jv-poor-0123456789abcdef-two, limits: {tokens: 1000/d}}
      - {name: three, key: jv-poor-0123456789abcdef-three, limits: {tokens: 1500/d}}
`

// duel is a gateway whose first target is asked with a second one beside it after 50 ms.
type duel struct {
	*running
	up   map[string]*fakellm.Server
	late []time.Duration // how long losers went on once the other one had content
}

func newDuel(t *testing.T) *duel {
	t.Helper()
	d := &duel{up: map[string]*fakellm.Server{}}
	file := filepath.Join(t.TempDir(), "prices.yml")
	config := strings.ReplaceAll(hedgeConfig, "{provider: claude-slow}, {provider: claude-quick}", "{provider: claude-slow, model: claude-slow}, {provider: claude-quick, model: claude-quick}")
	values := []string{"${PRICES}", file, "${ZONE}", noon(), "${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey}
	if err := os.WriteFile(file, []byte(hedgePrices), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]fakellm.Kind{"slow": fakellm.OpenAI, "quick": fakellm.OpenAI, "claude-slow": fakellm.Anthropic, "claude-quick": fakellm.Anthropic} {
		s, err := fakellm.Start(fakellm.Options{Kind: kind, APIKey: upstreamKey, LogBodies: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		d.up[name] = s
		values = append(values, "${"+name+"}", s.URL())
	}
	d.running = start(t, strings.NewReplacer(values...).Replace(config))
	return d
}

// plan sets how the targets of a model answer.
func (d *duel) plan(model string, slow, quick fakellm.Plan) (first, second *fakellm.Server) {
	prefix := ""
	if model == "claude" {
		prefix = "claude-"
	}
	first, second = d.up[prefix+"slow"], d.up[prefix+"quick"]
	for s, p := range map[*fakellm.Server]fakellm.Plan{first: slow, second: quick} {
		s.Reset()
		s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return p })
	}
	return first, second
}

// spent is what the key has used of its budgets, of which it may hold nothing any more.
func (d *duel) spent(t *testing.T) (dollars, tokens float64) {
	t.Helper()
	d.idle()
	at := d.used("acme")
	for id, of := range at {
		if of[1] != 0 {
			t.Errorf("%s still holds %v", id, of[1])
		}
	}
	return at["key/main/spend/d"][0], at["key/main/tokens/d"][0]
}

const ages = 20 * time.Second

var hedgeBodies = map[string]string{
	"chat/completions": `{"model":%q,"messages":[{"role":"user","content":"Write to ann@example.com, please."}],"max_tokens":50,"stream":%t}`,
	"completions":      `{"model":%q,"prompt":"Write to ann@example.com, please.","max_tokens":50,"stream":%t}`,
	"messages":         `{"model":%q,"max_tokens":50,"messages":[{"role":"user","content":"Write to ann@example.com, please."}],"stream":%t}`,
	"responses":        `{"model":%q,"input":"Write to ann@example.com, please.","max_output_tokens":50,"stream":%t,"store":false}`,
	"embeddings":       `{"model":%q,"input":"Write to ann@example.com, please.","dimensions":8}`,
}

// Whatever the dialects, the first content wins, the other attempt's connection ends within 50 ms, both are paid for, and the
// headers name who answers.
func TestHedge(t *testing.T) {
	d := newDuel(t)
	for _, row := range []struct {
		name        string
		slow, quick fakellm.Plan
		won         bool
	}{
		{"the second wins", fakellm.Plan{Delay: ages, Text: "slow"}, fakellm.Plan{Text: "quick <EMAIL_1>"}, true},
		{"the second wins while the first has headers", fakellm.Plan{FirstTokenDelay: ages, Text: "slow"}, fakellm.Plan{Text: "quick <EMAIL_1>"}, true},
		{"the first wins", fakellm.Plan{Delay: 120 * time.Millisecond, Text: "slow <EMAIL_1>"}, fakellm.Plan{Delay: ages, Text: "quick"}, false},
		{"headers are no content", fakellm.Plan{Delay: 120 * time.Millisecond, Text: "slow <EMAIL_1>"}, fakellm.Plan{FirstTokenDelay: ages, Text: "quick"}, false},
	} {
		for _, model := range []string{"chat", "claude"} {
			for path, form := range hedgeBodies {
				for _, stream := range []bool{false, true} {
					if model == "claude" && (path == "completions" || path == "embeddings") || stream && path == "embeddings" ||
						!stream && (row.slow.FirstTokenDelay > 0 || row.quick.FirstTokenDelay > 0) {
						continue
					}
					body := fmt.Sprintf(strings.ReplaceAll(form, `,"dimensions":8`, ""), model, stream)
					if path == "embeddings" {
						body = fmt.Sprintf(form, model)
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%t", row.name, model, path, stream), func(t *testing.T) {
						first, second := d.plan(model, row.slow, row.quick)
						result := fmt.Sprintf(`jarvis_hedges_total{model=%q,result=%q}`, model, map[bool]string{false: "lost", true: "won"}[row.won])
						before := d.metrics()[result]
						delay := row.slow.Delay
						if row.won {
							delay = row.quick.Delay
						}
						d.race(t, path, body, row.won, delay, first, second)
						if n := d.metrics()[result] - before; n != 1 {
							t.Errorf("%s has grown by %v", result, n)
						}
					})
				}
			}
		}
	}
	slices.Sort(d.late)
	t.Logf("%d losers were called off %s after the other one had content, in the median; %s at most", len(d.late), d.late[len(d.late)/2], d.late[len(d.late)-1])
}

// race asks once. delay is how long the winner takes to its content.
func (d *duel) race(t *testing.T, path, body string, won bool, delay time.Duration, first, second *fakellm.Server) {
	t.Helper()
	dollars, tokens := d.spent(t)
	id := fmt.Sprintf("hedge-%d", time.Now().UnixNano())
	a := d.ask(t, "POST /v1/"+path+"\nX-Request-Id: "+id+"\n\n"+body)
	winner, loser, word := first, second, "slow"
	if won {
		winner, loser, word = second, first, "quick"
	}
	if a.status != 200 || a.cut || path != "embeddings" && (!strings.Contains(a.body, word) || !strings.Contains(a.body, "ann@example.com")) {
		t.Fatalf("not the answer of %s: %s", word, a)
	}
	provider := a.header.Get("X-Jarvis-Provider")
	if !strings.HasSuffix(provider, word) || !strings.HasSuffix(a.header.Get("X-Jarvis-Model"), word) || a.header.Get("X-Jarvis-Attempts") != "2" || (a.header.Get("X-Jarvis-Route") == "hedge") != won {
		t.Errorf("headers: %v", a.header)
	}
	answered := winner.WaitDone(1, time.Second)
	if len(answered) != 1 || !answered[0].Finished {
		t.Fatalf("the winner saw %+v", answered)
	}
	seen := loser.WaitDone(1, time.Second)
	if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() || seen[0].Finished {
		t.Fatalf("the loser saw %+v", seen)
	}
	late := seen[0].ClosedByPeer.Sub(answered[0].Time.Add(delay)) // since the winner's content
	if d.late = append(d.late, late); late > 50*time.Millisecond {
		t.Errorf("the loser was called off only %s after the other one had content", late)
	}
	line := d.access(id)
	if line.Get("attempts").Int() != 2 || line.Get("provider").Str != provider || line.Get("outcome").Str != "ok" {
		t.Errorf("line: %s", line.Raw)
	}
	nowDollars, nowTokens := d.spent(t)
	near(t, "dollars", nowDollars-dollars, line.Get("cost_usd").Float())
	near(t, "tokens", nowTokens-tokens, line.Get("prompt_tokens").Float()+line.Get("completion_tokens").Float())
	// The loser has read the prompt, of which only the gateway knows how long it is; the winner bills what it says.
	billed, rate := winner.Seen()[0].Billed, 1.0
	if won {
		rate = 2
	}
	extra := nowDollars - dollars - rate*float64(billed.Prompt+billed.Completion)/1000
	if wasted := extra * 1000 / (3 - rate); path != "embeddings" && (wasted < 5 || wasted > 60 || !line.Get("estimated").Bool()) {
		t.Errorf("the loser was billed %.1f tokens: %s", wasted, line.Raw)
	}
}

// A failure never wins while the other attempt is under way, and when both fail the client is told as if they had been asked in
// turn.
func TestHedgeFailures(t *testing.T) {
	d := newDuel(t)
	late := 120 * time.Millisecond
	for _, row := range []struct {
		name        string
		slow, quick fakellm.Plan
		status      int
		provider    string
		route       string
	}{
		{"the second fails at once", fakellm.Plan{Delay: late}, fakellm.Plan{Status: 500}, 200, "slow", ""},
		{"with an event in its stream", fakellm.Plan{FirstTokenDelay: late}, fakellm.Plan{Fault: fakellm.InStreamErrorFirst}, 200, "slow", ""},
		{"with the caller's mistake", fakellm.Plan{Delay: late}, fakellm.Plan{Status: 400}, 200, "slow", ""},
		{"the first fails, the second answers", fakellm.Plan{Delay: late, Status: 500}, fakellm.Plan{Delay: 2 * late}, 200, "quick", "failover:upstream_error, hedge"},
		{"the first says garbage, the second answers", fakellm.Plan{Delay: late, Fault: fakellm.Garbage}, fakellm.Plan{Delay: 2 * late}, 200, "quick", "failover:upstream_error, hedge"},
		{"both fail", fakellm.Plan{Delay: late, Status: 503}, fakellm.Plan{Fault: fakellm.Garbage}, 502, "slow", ""},
		{"both fail, the second with the caller's mistake", fakellm.Plan{Delay: late, Status: 500}, fakellm.Plan{Status: 400}, 400, "quick", ""},
		{"both fail, the first with the caller's mistake", fakellm.Plan{Delay: late, Status: 400}, fakellm.Plan{Status: 500}, 400, "slow", ""},
		{"before the second is due", fakellm.Plan{Status: 500}, fakellm.Plan{}, 200, "quick", "failover:upstream_error"},
	} {
		for _, stream := range []bool{false, true} {
			if !stream && row.slow.FirstTokenDelay > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%t", row.name, stream), func(t *testing.T) {
				first, second := d.plan("chat", row.slow, row.quick)
				dollars, _ := d.spent(t)
				id := fmt.Sprintf("hedge-%d", time.Now().UnixNano())
				a := d.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\n\n"+fmt.Sprintf(hedgeBodies["chat/completions"], "chat", stream))
				if a.status != row.status || a.header.Get("X-Jarvis-Provider") != row.provider || a.header.Get("X-Jarvis-Attempts") != "2" ||
					row.status == 200 && a.header.Get("X-Jarvis-Route") != row.route {
					t.Errorf("not %d by %s, %q: %s", row.status, row.provider, row.route, a)
				}
				if strings.Contains(a.body, `"error"`) != (row.status != 200) {
					t.Errorf("an error beside an answer: %s", a.body)
				}
				if n := len(first.Seen()) + len(second.Seen()); n != 2 {
					t.Errorf("%d calls", n)
				}
				line := d.access(id)
				nowDollars, _ := d.spent(t)
				near(t, "dollars", nowDollars-dollars, line.Get("cost_usd").Float())
			})
		}
	}
}

// When the client leaves, both attempts end.
func TestHedgeClientLeaves(t *testing.T) {
	d := newDuel(t)
	for _, stream := range []bool{false, true} {
		first, second := d.plan("chat", fakellm.Plan{Delay: ages}, fakellm.Plan{Delay: ages})
		dollars, _ := d.spent(t)
		c := d.dial(t)
		id := fmt.Sprintf("hedge-gone-%t", stream)
		c.send("POST /v1/chat/completions\nX-Request-Id: " + id + "\n\n" + fmt.Sprintf(hedgeBodies["chat/completions"], "chat", stream))
		if len(first.Wait(1, time.Second)) != 1 || len(second.Wait(1, time.Second)) != 1 {
			t.Fatal("not both were asked")
		}
		left := time.Now()
		if err := c.Conn.(*net.TCPConn).Close(); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*fakellm.Server{"first": first, "second": second} {
			seen := s.WaitDone(1, time.Second)
			if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() || seen[0].ClosedByPeer.Sub(left) > 50*time.Millisecond {
				t.Errorf("the %s went on: %+v", name, seen)
			}
		}
		line := d.access(id)
		if line.Get("outcome").Str != "client_gone" || line.Get("attempts").Int() != 2 || !line.Get("estimated").Bool() {
			t.Errorf("line: %s", line.Raw)
		}
		nowDollars, _ := d.spent(t)
		near(t, "dollars", nowDollars-dollars, line.Get("cost_usd").Float())
		if wasted := line.Get("prompt_tokens").Float() / 2 * 3 / 1000; math.Abs(wasted-line.Get("cost_usd").Float()) > 1e-6 {
			t.Errorf("not both prompts were paid for, each at its price: %s", line.Raw)
		}
	}
}

// A client that leaves while the second target's answer streams ends that.
func TestHedgeClientLeavesLater(t *testing.T) {
	d := newDuel(t)
	_, second := d.plan("chat", fakellm.Plan{Delay: ages}, fakellm.Plan{Fault: fakellm.StallMidStream})
	c := d.dial(t)
	c.send("POST /v1/chat/completions\n\n" + fmt.Sprintf(hedgeBodies["chat/completions"], "chat", true))
	if _, err := c.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	left := time.Now()
	if err := c.Conn.(*net.TCPConn).Close(); err != nil {
		t.Fatal(err)
	}
	seen := second.WaitDone(1, time.Second)
	if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() || seen[0].ClosedByPeer.Sub(left) > 50*time.Millisecond {
		t.Errorf("the second went on: %+v", seen)
	}
	d.spent(t)
}

// Nobody is asked beside the first where that could do harm, where the budget does not pay for two, or where there is nobody.
func TestNoHedge(t *testing.T) {
	d := newDuel(t)
	hello := `"messages":[{"role":"user","content":"Hello"}],"max_tokens":50`
	for name, row := range map[string]struct{ key, path, body string }{
		"stored":               {"", "chat/completions", `{"model":"chat","store":true,` + hello + `}`},
		"searches":             {"", "chat/completions", `{"model":"chat","web_search_options":{},` + hello + `}`},
		"kept by the provider": {"", "responses", `{"model":"chat","input":"Hello"}`},
		"background":           {"", "responses", `{"model":"claude","input":"Hello","background":true,"store":false}`},
		"tools of its own":     {"", "responses", `{"model":"chat","input":"Hello","store":false,"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]}`},
		"pictures":             {"", "images/generations", `{"model":"chat","prompt":"a cat"}`},
		"speech":               {"", "audio/speech", `{"model":"chat","input":"Hello","voice":"alloy"}`},
		"nobody else":          {"", "chat/completions", `{"model":"alone",` + hello + `}`},
		"the budget is small":  {"jv-poor-0123456789abcdef-one", "chat/completions", `{"model":"chat",` + hello + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := d.plan("chat", fakellm.Plan{Delay: 120 * time.Millisecond}, fakellm.Plan{})
			before := d.metrics()[`jarvis_hedges_total{model="chat",result="won"}`]
			if row.key == "" {
				row.key = tenantKey
			}
			a := d.ask(t, "POST /v1/"+row.path+"\nAuthorization: Bearer "+row.key+"\n\n"+row.body)
			if len(second.Seen()) != 0 || a.header.Get("X-Jarvis-Route") != "" {
				t.Errorf("the second was asked: %s", a)
			}
			if d.metrics()[`jarvis_hedges_total{model="chat",result="won"}`] != before {
				t.Error("a hedge was counted")
			}
			if strings.Contains(row.path, "chat") && (a.status != 200 || len(first.Seen()) != 1) {
				t.Errorf("not answered by the first: %s", a)
			}
			d.idle()
			for id, of := range d.used("poor") {
				if of[1] != 0 {
					t.Errorf("%s still holds %v", id, of[1])
				}
			}
		})
	}
	t.Run("the budget pays for both", func(t *testing.T) {
		_, second := d.plan("chat", fakellm.Plan{Delay: 120 * time.Millisecond}, fakellm.Plan{})
		a := d.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-poor-0123456789abcdef-two\n\n"+`{"model":"chat",`+hello+`}`)
		if len(second.Seen()) != 1 || a.header.Get("X-Jarvis-Route") != "hedge" {
			t.Errorf("the second was not asked: %s", a)
		}
	})
}

// Streams that are cut where a budget ends stay within it, also when two are paid for.
func TestHedgeStaysInTheBudget(t *testing.T) {
	d := newDuel(t)
	hedged, refused := 0, 0
	for i := range 12 {
		slow, quick := fakellm.Plan{Delay: time.Second, Tokens: 400}, fakellm.Plan{Tokens: 400}
		if i%2 == 1 {
			slow, quick = fakellm.Plan{Delay: 120 * time.Millisecond, Tokens: 400}, fakellm.Plan{Delay: ages}
		}
		if refused > 0 {
			slow, quick = fakellm.Plan{Tokens: 400}, fakellm.Plan{} // what is left pays for one at most
		}
		_, second := d.plan("chat", slow, quick)
		a := d.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer jv-poor-0123456789abcdef-three\n\n"+
			`{"model":"chat","stream":true,"messages":[{"role":"user","content":"Hello"}],"max_tokens":450}`)
		hedged += len(second.Seen())
		if d.idle(); a.status == http.StatusTooManyRequests {
			refused++
		} else if a.status != http.StatusOK {
			t.Fatalf("%s", a)
		}
		at := d.used("poor")["key/three/tokens/d"]
		if at[0] > 1501 || at[1] != 0 {
			t.Errorf("%v are used and %v held, of 1500", at[0], at[1])
		}
		if d.up["slow"].Stats().Requests > 0 && len(second.Seen()) == 0 {
			refused++ // the budget does not pay for two any more
		}
	}
	if at := d.used("poor")["key/three/tokens/d"]; hedged == 0 || refused == 0 || at[0] < 1300 {
		t.Errorf("%d hedged, %d refused, %v used", hedged, refused, at[0])
	}
}

// A response that the gateway keeps is that of the attempt that answers, and there is one.
func TestHedgeStored(t *testing.T) {
	d := newDuel(t)
	for _, stream := range []bool{false, true} {
		for _, won := range []bool{false, true} {
			t.Run(fmt.Sprintf("stream %t, second %t", stream, won), func(t *testing.T) {
				slow, quick, text := fakellm.Plan{Delay: 120 * time.Millisecond, Text: "of the first"}, fakellm.Plan{Delay: ages}, "of the first"
				if won {
					slow, quick, text = fakellm.Plan{Delay: ages}, fakellm.Plan{Text: "of the second"}, "of the second"
				}
				d.plan("claude", slow, quick)
				a := d.ask(t, "POST /v1/responses\n\n"+fmt.Sprintf(`{"model":"claude","input":"Hello","stream":%t}`, stream))
				id := gjson.Get(a.body, "id").Str
				if stream {
					for line := range strings.Lines(a.body) {
						if found := gjson.Get(strings.TrimPrefix(line, "data: "), "response.id").Str; found != "" {
							id = found
						}
					}
				}
				kept := d.ask(t, "GET /v1/responses/"+id+"\n\n")
				if a.status != 200 || kept.status != 200 || !strings.Contains(kept.body, text) || a.header.Get("X-Jarvis-Attempts") != "2" {
					t.Errorf("%s\n%s", a, kept)
				}
			})
		}
	}
}

// Both attempts that come to content at about the same time: one answers, the other is paid for, and nothing is held.
func TestHedgeTies(t *testing.T) {
	d := newDuel(t)
	winners := map[string]int{}
	for i := range 60 {
		stream := i%2 == 0
		d.plan("chat", fakellm.Plan{Delay: 50*time.Millisecond + time.Duration(i)*50*time.Microsecond, Text: "slow"}, fakellm.Plan{Delay: time.Millisecond, Text: "quick"})
		a := d.ask(t, "POST /v1/chat/completions\n\n"+fmt.Sprintf(hedgeBodies["chat/completions"], "chat", stream))
		winner := a.header.Get("X-Jarvis-Provider")
		winners[winner]++
		if a.status != http.StatusOK || a.cut || !strings.Contains(a.body, winner) || strings.Contains(a.body, "error") {
			t.Fatalf("%s", a)
		}
	}
	d.spent(t)
	t.Logf("winners: %v", winners)
}
