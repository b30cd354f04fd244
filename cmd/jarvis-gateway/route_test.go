package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const routeConfig = "testdata/route/jarvis.yml"

// explain runs the command with a request on its standard input's place, a file.
func explain(t *testing.T, request string, args ...string) (code int, out string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(path, []byte(request), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, append([]string{"route", "--explain", path}, args...)...)
	return code, stdout + stderr
}

// What the command says of an example configuration, whose targets nobody has asked yet.
func TestRouteExplains(t *testing.T) {
	const hello = `{"model":"chat","user":"ann","messages":[{"role":"user","content":"hello"}]}`
	long := `{"model":"chat","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"` + strings.Repeat("whose is the budget ", 60) + `"}]}`
	huge := strings.Replace(long, "whose", strings.Repeat("whose is the budget ", 40_000), 1)
	for name, row := range map[string]struct {
		request string
		args    []string
	}{
		"cheapest": {hello, []string{"--key", "acme/main"}},
		"tenant":   {hello, []string{"--tenant", "golden"}},
		"rule":     {long, []string{"--key", "acme/main", "--header", `X-Jarvis-Metadata: {"tags":["night"]}`}},
		"large":    {huge, []string{"--tenant", "golden", "--key", "main"}},
		"rollout":  {hello, []string{"--key", "acme/main", "--user", "hugo", "--header", `X-Jarvis-Metadata:{"scene":"beta"}`}},
		"prefix":   {long, []string{"--key", "acme/main", "--model", "llama"}},
		"in-turn":  {hello, []string{"--key", "acme/main", "--model", "shared"}},
		"limits":   {strings.Replace(hello, "hello", "mail ann@example.com", 1), []string{"--key", "bounded/main", "--model", "shared"}},
		"refused":  {strings.Replace(long, "whose", strings.Repeat("phoenix ", 1000), 1), []string{"--key", "bounded/main", "--model", "shared"}},
		"lesser":   {long, []string{"--key", "bounded/lesser", "--model", "shared"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := explain(t, row.request, append(row.args, "-c", routeConfig)...)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			file := "testdata/route/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, file); out != want {
				t.Errorf("got\n%s\nwant\n%s", out, want)
			}
		})
	}
}

func TestRouteMistakes(t *testing.T) {
	const hello = `{"model":"chat","messages":[]}`
	for want, row := range map[string]struct {
		request string
		args    []string
	}{
		"one of --explain and --replay":          {hello, []string{"--replay", "x", "-c", routeConfig}},
		"not a JSON object":                      {`[]`, []string{"-c", routeConfig}},
		"tenant: needed, as there are 3":         {hello, []string{"-c", routeConfig}},
		`There is no key "other"`:                {hello, []string{"-c", routeConfig, "--key", "acme/other"}},
		`There is no tenant "none"`:              {hello, []string{"-c", routeConfig, "--tenant", "none"}},
		"--key is one of acme":                   {hello, []string{"-c", routeConfig, "--tenant", "golden", "--key", "acme/main"}},
		"is no header":                           {hello, []string{"-c", routeConfig, "--tenant", "acme", "--header", "X-Env"}},
		"unknown endpoint":                       {hello, []string{"-c", routeConfig, "--tenant", "acme", "--endpoint", "chats"}},
		"role":                                   {hello, []string{"-c", routeConfig, "--key", "acme/watcher"}},
		"The model `shared` does not exist":      {hello, []string{"-c", routeConfig, "--tenant", "golden", "--model", "shared"}},
		"models.chat.targets: at least one":      {hello, []string{"-c", brokenConfig(t)}},
		"no gateway answers at http://127.0.0.1": {hello, []string{"--admin", "http://127.0.0.1:1"}},
	} {
		if code, out := explain(t, row.request, row.args...); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d: %s", want, code, out)
		}
	}
}

func brokenConfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "jarvis.yml")
	if err := os.WriteFile(path, []byte("models: {chat: {targets: []}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A trace of every form, small enough to be followed by hand.
func TestReplayOfSmallTraces(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "trace")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	replay := func(trace string, args ...string) gjson.Result {
		t.Helper()
		out, _ := ran(t, append([]string{"route", "--replay", write(trace), "-c", routeConfig, "--json", "--tenant", "acme"}, args...)...)
		return gjson.Parse(out)
	}
	own := replay(`{"at":0,"model":"shared","prompt_tokens":1000,"completion_tokens":11}
{"at":0.1,"model":"shared","prompt_tokens":1000,"completion_tokens":11}

{"at":2,"tenant":"golden","body":{"model":"chat","messages":[{"role":"user","content":"hello"}]},"completion_tokens":1}
`, "--ttft", "100ms", "--tpot", "10ms")
	for path, want := range map[string]string{
		"requests": "3", "unanswered": "0", "extra_calls": "0", "seconds": "2.1", "targets.#": "3", `ways.#(asked=="shared").requests`: "2",
		`targets.#(model=="shared").calls`: "1", `targets.#(model=="shared").completion_tokens`: "11", `targets.#(model=="shared").cost_usd`: "0.00261",
		`targets.#(model=="shared").first_token_p95_ms`: "100", `targets.#(model=="shared").in_flight_most`: "1", `targets.#(model=="chat").completion_tokens`: "1",
	} {
		if got := own.Get(path).String(); got != want {
			t.Errorf("%s is %s, want %s in %s", path, got, want, own.Raw)
		}
	}
	azure := "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
	if got := replay(azure, "--model", "chat"); got.Get("requests").Int() != 2 || got.Get("targets.0.prompt_tokens").Int() != 770 || got.Get("targets.0.served").Str != "gpt-4.1-mini" {
		t.Error(got.Raw)
	}
	same := `{"timestamp":0,"input_length":1024,"output_length":5,"hash_ids":[1,2]}` + "\n" + `{"timestamp":9000,"input_length":1536,"output_length":5,"hash_ids":[1,2,3]}` + "\n"
	if got := replay(same, "--model", "llama"); got.Get("replicas.#").Int() != 1 || got.Get("replicas.0.hit_share").Num != 0.4 || got.Get("targets.0.cached_tokens").Int() != 1024 {
		t.Error(got.Raw)
	}
	var many strings.Builder
	for i := range 400 {
		fmt.Fprintf(&many, `{"at":%g,"model":"shared","prompt_tokens":10,"completion_tokens":5}`+"\n", float64(i)/10)
	}
	failing := replay(many.String(), "--error-rate", "openai=100%")
	at := func(provider, field string) int64 {
		return failing.Get(`targets.#(provider=="` + provider + `").` + field).Int()
	}
	// Once its breaker is open it is asked a few times in ten seconds.
	if n := at("openai", "calls"); at("azure", "calls") != 400 || n != at("openai", "failed") || n < 5 || n > 20 || failing.Get("unanswered").Int() != 0 || failing.Get("extra_calls").Int() != n {
		t.Error(failing.Raw)
	}
	for want, row := range map[string][2]string{
		"it names no model":               {`{"at":0,"prompt_tokens":1}`, ""},
		"line 2: no prompt_tokens":        {`{"at":0,"prompt_tokens":1}` + "\n" + `{"at":1}`, ""},
		"line 1: no at":                   {`{"prompt_tokens":1}`, ""},
		"is no time since":                {`{"at":-1,"prompt_tokens":1}`, ""},
		"line 1: invalid":                 {`{"at":x}`, ""},
		"neither lines of JSON nor":       {"a,b\n1,2\n", ""},
		"line 3: expected a date":         {azure[:76] + "soon,1,2\n", ""},
		"there is no trace in it":         {"", ""},
		"there is no request in it":       {"TIMESTAMP,ContextTokens,GeneratedTokens\n", ""},
		"there is no target nobody":       {`{"at":0,"prompt_tokens":1}`, "--error-rate=nobody=5%"},
		`"openai" is not like TARGET=5%`:  {`{"at":0,"prompt_tokens":1}`, "--error-rate=openai"},
		"request 1 of the trace: The mod": {`{"at":0,"prompt_tokens":1,"model":"none"}`, ""},
	} {
		args := []string{"route", "--replay", write(row[0]), "-c", routeConfig, "--tenant", "acme"}
		if row[1] != "" {
			args = append(args, row[1])
		}
		if code, _, stderr := command(t, args...); code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", want, code, stderr)
		}
	}
}

// The traces of real services go through whole, and what comes of them is the same each time.
func TestReplayOfRealTraces(t *testing.T) {
	dir := filepath.Join(sharedData(t), "traces")
	run := func(file string, args ...string) gjson.Result {
		t.Helper()
		command := append([]string{"route", "--replay", filepath.Join(dir, file), "-c", routeConfig, "--tenant", "acme", "--json"}, args...)
		out, _ := ran(t, command...)
		if again, _ := ran(t, command...); again != out {
			t.Errorf("%s: another time it comes to\n%s, not to\n%s", file, again, out)
		}
		return gjson.Parse(out)
	}
	azure := run("azure_conv_2023.csv", "--model", "fresh", "--error-rate", "azure=5%")
	weighted := azure.Get(`targets.#(model=="fresh")#.share`).Array()
	if azure.Get("requests").Int() != 19366 || azure.Get("seconds").Num < 3000 || len(weighted) != 2 || weighted[1].Num < 0.72 || weighted[1].Num > 0.76 || azure.Get("unanswered").Int() != 0 || azure.Get("extra_calls").Int() < 150 {
		t.Error(azure.Raw)
	}
	mooncake := run("mooncake_synthetic.jsonl", "--model", "llama", "--prefill", "20000", "--cache", "2000000")
	sum, most := 0.0, 0.0
	for _, r := range mooncake.Get("replicas.#.requests").Array() {
		sum, most = sum+r.Num, max(most, r.Num)
	}
	prompt, cached := mooncake.Get("targets.0.prompt_tokens").Num, mooncake.Get("targets.0.cached_tokens").Num
	if mooncake.Get("requests").Int() != 3993 || mooncake.Get("replicas.#").Int() != 4 || most/(sum/4) > 1.4 || cached/prompt < 0.4 {
		t.Error(mooncake.Raw)
	}
	t.Logf("replayed traces: %d and %d requests; of prompts %.0f%% were cached, the busiest replica had %.2f times the mean", azure.Get("requests").Int(), mooncake.Get("requests").Int(), 100*cached/prompt, most/(sum/4))
}

// The gateway that runs explains as things are there, to super admins alone, and nothing of it shows afterwards.
func TestRouteOfARunningGateway(t *testing.T) {
	b := newBreaking(t, 5)
	if _, _, stderr := command(t, "target", "open", "chat", "one", "--admin", "http://"+b.private); stderr != "" {
		t.Fatal(stderr)
	}
	before, targets := b.metrics(), fmt.Sprint(b.targets())
	code, out := explain(t, `{"model":"chat","messages":[{"role":"user","content":"${HOME} <b>"}]}`, "--admin", "http://"+b.private, "--key", "main")
	if code != 0 || !strings.Contains(out, "it was taken out of service by hand") || !strings.Contains(out, "two/m") {
		t.Errorf("%d %s", code, out)
	}
	for series, n := range b.metrics() {
		if strings.HasPrefix(series, "jarvis_") && n != before[series] {
			t.Errorf("%s is %g, was %g", series, n, before[series])
		}
	}
	if now := fmt.Sprint(b.targets()); now != targets {
		t.Errorf("the targets were %s, are %s", targets, now)
	}
	if n := len(b.one.Seen()) + len(b.two.Seen()); n > 0 {
		t.Errorf("providers saw %d requests", n)
	}
	_, out = explain(t, `{"model":"chat"}`, "--admin", "http://"+b.private, "--json")
	var e bytes.Buffer
	if err := json.Compact(&e, []byte(out)); err != nil || gjson.Get(out, "routes.0.targets.1.order").Int() != 1 {
		t.Errorf("%v: %s", err, out)
	}
	if code, out := explain(t, `{"model":"chat"}`, "--admin", "http://"+b.private, "--admin-key", tenantKey); code != 1 || !strings.Contains(out, "super admin") {
		t.Errorf("a developer: %d %s", code, out)
	}
}
