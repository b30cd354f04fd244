package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The example of budgets does what its comments say.
func TestBudgetsExample(t *testing.T) {
	setVariables(t)
	text, err := os.ReadFile(configs + "/budgets.yml")
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream(t)
	t.Setenv("OPENAI_BASE_URL", "http://"+u.addr()+"/v1")
	t.Setenv("JARVIS_STATE", "sqlite:"+filepath.Join(t.TempDir(), "state.db"))
	config := strings.Replace(string(text), "$200/d", "$0.0001/d", 1) // a day that is nearly over
	if config == string(text) {
		t.Fatal("the budget of the day is not there")
	}
	g := start(t, config)
	key := func(name string) string { return "\nAuthorization: Bearer " + os.Getenv(name) + "\n\n" }
	const answer = `{"choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}`
	for _, c := range []struct {
		name, key, body string
		status          int
		headers         map[string]string
		asked           string // what the provider saw
	}{
		{"the large model's money is spent", "SUPPORT_KEY", `{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}`, 200,
			map[string]string{"X-Jarvis-Downgraded-From": "gpt-4o", "X-Jarvis-Cost-Usd": "0.00021"}, `"model":"gpt-4o-mini"`},
		{"people's shares", "RESEARCH_KEY", `{"model":"gpt-4o","user":"ann","messages":[{"role":"user","content":"Hi"}]}`, 200,
			map[string]string{"X-Ratelimit-Limit-Requests": "20", "X-Ratelimit-Remaining-Requests": "19", "X-Ratelimit-Limit-Tokens": "400000"}, `"model":"gpt-4o"`},
		{"another one's", "RESEARCH_KEY", `{"model":"gpt-4o","user":"bob","messages":[{"role":"user","content":"Hi"}]}`, 200,
			map[string]string{"X-Ratelimit-Remaining-Requests": "19"}, `"model":"gpt-4o"`},
		{"jobs on the small model", "BATCH_KEY", `{"model":"gpt-4o","messages":[]}`, 404, nil, ""},
	} {
		u.script("200\nContent-Type: application/json\n\n" + answer)
		a := g.ask(t, "POST /v1/chat/completions"+key(c.key)+c.body)
		if a.status != c.status {
			t.Errorf("%s: %v", c.name, a)
			continue
		}
		for name, want := range c.headers {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", c.name, name, got, want)
			}
		}
		if saw := u.sightings(); (c.asked != "") != (len(saw) == 1) || len(saw) == 1 && !strings.Contains(saw[0].body, c.asked) {
			t.Errorf("%s: the provider saw %v", c.name, saw)
		}
	}
	keepsSecrets(t, "the log", g.log.String(), "canary")
}
