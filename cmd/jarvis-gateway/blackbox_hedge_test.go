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
	"sync"
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

	mu      sync.Mutex
	planned map[*fakellm.Server]time.Time // when the last request's plan was made
}

func newDuel(t *testing.T) *duel {
	t.Helper()
	d := &duel{up: map[string]*fakellm.Server{}, planned: map[*fakellm.Server]time.Time{}}
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
		s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return d.now(s, p) })
	}
	return first, second
}

// planBoth is plan where the first target begins with its answer only when the second has been asked, too.
func (d *duel) planBoth(model string, slow, quick fakellm.Plan) (first, second *fakellm.Server) {
	first, second = d.plan(model, slow, quick)
	first.SetPlan(func(*fakellm.Seen) fakellm.Plan {
		second.Wait(1, patience)
		return d.now(first, slow)
	})
	return first, second
}

func (d *duel) now(s *fakellm.Server, p fakellm.Plan) fakellm.Plan {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.planned[s] = time.Now()
	return p
}

// asked is when a target began with its answer.
func (d *duel) asked(s *fakellm.Server) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.planned[s]
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

const ages = 3 * time.Minute // longer than a test has patience

var hedgeBodies = map[string]string{
	"chat/completions": `{"model":%q,"messages":[{"role":"user","content":"Write to ann@example.com, please."}],"max_tokens":50,"stream":%t}`,
	"completions":      `{"model":%q,"prompt":"Write to ann@example.com, please.","max_tokens":50,"stream":%t}`,
	"messages":         `{"model":%q,"max_tokens":50,"messages":[{"role":"user","content":"Write to ann@example.com, please."}],"stream":%t}`,
	"responses":        `{"model":%q,"input":"Write to ann@example.com, please.","max_output_tokens":50,"stream":%t,"store":false}`,
	"embeddings":       `{"model":%q,"input":"Write to ann@example.com, please.","dimensions":8}`,
}

// Whatever the dialects, the first content wins, the other attempt's connection ends within 50 ms, in the median, both are paid
// for, and the headers name who answers.
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
						plan := d.planBoth
						if row.won {
							plan = d.plan // the first does not answer
						}
						first, second := plan(model, row.slow, row.quick)
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
	if d.late[len(d.late)/2] > 50*time.Millisecond {
		t.Error("that is too late")
	}
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
	answered := winner.WaitDone(1, patience)
	if len(answered) != 1 || !answered[0].Finished {
		t.Fatalf("the winner saw %+v", answered)
	}
	seen := loser.WaitDone(1, patience)
	if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() || seen[0].Finished {
		t.Fatalf("the loser saw %+v", seen)
	}
	d.late = append(d.late, seen[0].ClosedByPeer.Sub(d.asked(winner).Add(delay))) // since the winner's content
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
				quietly(t, func(r testing.TB) { // who is first decides, and on a busy machine that may be the other one
					plan := d.planBoth
					if row.slow.Delay+row.slow.FirstTokenDelay == 0 {
						plan = d.plan // which fails before the second is asked
					}
					first, second := plan("chat", row.slow, row.quick)
					dollars, _ := d.spent(t)
					id := fmt.Sprintf("hedge-%d", time.Now().UnixNano())
					a := d.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\n\n"+fmt.Sprintf(hedgeBodies["chat/completions"], "chat", stream))
					if a.status != row.status || a.header.Get("X-Jarvis-Provider") != row.provider || a.header.Get("X-Jarvis-Attempts") != "2" ||
						row.status == 200 && a.header.Get("X-Jarvis-Route") != row.route {
						r.Errorf("not %d by %s, %q: %s", row.status, row.provider, row.route, a)
					}
					if strings.Contains(a.body, `"error"`) != (a.status != 200) {
						t.Errorf("an error beside an answer: %s", a.body)
					}
					line := d.access(id)
					nowDollars, _ := d.spent(t)
					near(t, "dollars", nowDollars-dollars, line.Get("cost_usd").Float())
					if n := len(first.Wait(1, patience)) + len(second.Wait(1, patience)); n != 2 {
						t.Errorf("%d calls", n)
					}
				})
			})
		}
	}
}

// leavers is how often a client leaves, so that one of the times is a quiet moment of the machine.
const leavers = 5

// When the client leaves, both attempts end.
func TestHedgeClientLeaves(t *testing.T) {
	d := newDuel(t)
	var lags []time.Duration
	for n := range leavers {
		first, second := d.plan("chat", fakellm.Plan{Delay: ages}, fakellm.Plan{Delay: ages})
		dollars, _ := d.spent(t)
		c := d.dial(t)
		id := fmt.Sprintf("hedge-gone-%d", n)
		c.send("POST /v1/chat/completions\nX-Request-Id: " + id + "\n\n" + fmt.Sprintf(hedgeBodies["chat/completions"], "chat", n%2 == 0))
		if len(first.Wait(1, patience)) != 1 || len(second.Wait(1, patience)) != 1 {
			t.Fatal("not both were asked")
		}
		lags = append(lags, d.leave(t, c, first, second))
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
	if slices.Min(lags) > promptly {
		t.Errorf("the attempts went on for %v", lags)
	}
}

// leave ends a client's connection, and tells how much later the last of the servers knew.
func (d *duel) leave(t *testing.T, c *dialled, servers ...*fakellm.Server) (lag time.Duration) {
	t.Helper()
	left := time.Now()
	if err := c.Conn.(*net.TCPConn).Close(); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		seen := s.WaitDone(1, patience)
		if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() {
			t.Fatalf("it went on: %+v", seen)
		}
		lag = max(lag, seen[0].ClosedByPeer.Sub(left))
	}
	return lag
}

// A client that leaves while the second target's answer streams ends that.
func TestHedgeClientLeavesLater(t *testing.T) {
	d := newDuel(t)
	var lags []time.Duration
	for range leavers {
		_, second := d.plan("chat", fakellm.Plan{Delay: ages}, fakellm.Plan{Fault: fakellm.StallMidStream})
		c := d.dial(t)
		c.send("POST /v1/chat/completions\n\n" + fmt.Sprintf(hedgeBodies["chat/completions"], "chat", true))
		if _, err := c.br.Peek(1); err != nil {
			t.Fatal(err)
		}
		lags = append(lags, d.leave(t, c, second))
		d.spent(t)
	}
	if slices.Min(lags) > promptly {
		t.Errorf("the second went on for %v", lags)
	}
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
		_, second := d.plan("chat", fakellm.Plan{Delay: ages}, fakellm.Plan{})
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
		slow, quick := fakellm.Plan{Delay: 3 * time.Second, Tokens: 400}, fakellm.Plan{Tokens: 400}
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
				plan := d.planBoth
				if won {
					plan = d.plan
				}
				plan("claude", slow, quick)
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
