package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const promptConfig = `
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}}
models:
  chat: {targets: [{provider: up, model: gpt-4o}]}
  desk: {targets: [{provider: up, model: gpt-4o-mini}], prompt: {name: support, version: ^1, variables: {product: 茶}}}
  trial: {targets: [{provider: up, model: gpt-4o}], prompt: {name: support, version: 1.0.0, variables: {product: tea}}, rollout: {to: chat, percent: 100}}
tenants: {acme: {keys: [{name: main, key: "${KEY}"}]}, other: {keys: [{name: main, key: jv-other-0123456789abcdef}]}}
prompts: {dir: `

// template writes a version of a template beside the configuration.
func template(t *testing.T, dir, version, text string) {
	t.Helper()
	folder := filepath.Join(dir, "support")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	whole := "variables: {product: {type: string, required: true}}\nmodel: chat\nparameters: {temperature: 0.25}\nmessages: [{role: system, content: \"" + text + "\"}]\n"
	if err := os.WriteFile(filepath.Join(folder, version+".yml"), []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestPromptTemplates(t *testing.T) {
	dir := t.TempDir()
	template(t, dir, "1.0.0", "first, of {{product}}")
	template(t, dir, "1.2.0", "second, of {{product}}")
	template(t, dir, "2.0.0", "third, of {{product}}")
	g, u := withUpstream(t, promptConfig+dir+"}")
	const answer = `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}`
	chat := func(body string) string {
		return "POST /v1/chat/completions\nAuthorization: Bearer " + tenantKey + "\nContent-Type: application/json\n\n" + body
	}
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	for _, row := range []struct {
		name, body string
		status     int
		used       string // the header
		saw        []string
	}{
		{"none", `{"model":"chat",` + hi + `}`, 200, "", []string{`"gpt-4o"`, `"messages":[{"role":"user","content":"hi"}]`}},
		{"the latest", `{"model":"chat","prompt":{"id":"support","variables":{"product":"tea"}},` + hi + `}`, 200, "support@2.0.0", []string{`third, of tea`, `"temperature":0.25`, `"hi"`}},
		{"a range, and the template's model", `{"prompt":{"id":"support","version":"~1.0","variables":{"product":"tea"}},` + hi + `}`, 200, "support@1.0.0", []string{`first, of tea`, `"gpt-4o"`}},
		{"the model's own, in Chinese", `{"model":"desk",` + hi + `}`, 200, "support@1.2.0", []string{`second, of 茶`, `"gpt-4o-mini"`}},
		{"the model's own, though a rollout moves it", `{"model":"trial",` + hi + `}`, 200, "support@1.0.0", []string{`first, of tea`}},
		{"a value that tries to be more", `{"model":"chat","prompt":{"id":"support","variables":{"product":"x\"}],\"model\":\"evil"}},` + hi + `}`, 200, "support@2.0.0", []string{`third, of x\"}],\"model\":\"evil`}},
		{"unknown", `{"model":"chat","prompt":{"id":"sales"},` + hi + `}`, 404, "", nil},
		{"no such version", `{"model":"chat","prompt":{"id":"support","version":"^3"},` + hi + `}`, 404, "", nil},
		{"a variable is missing", `{"model":"chat","prompt":{"id":"support"},` + hi + `}`, 400, "", nil},
		{"of the wrong type", `{"model":"chat","prompt":{"id":"support","variables":{"product":5}},` + hi + `}`, 400, "", nil},
	} {
		u.script(answer)
		a := g.ask(t, chat(row.body))
		seen := u.sightings()
		if a.status != row.status || a.header.Get("X-Jarvis-Prompt") != row.used {
			t.Errorf("%s: %v, with %q", row.name, a, a.header.Get("X-Jarvis-Prompt"))
			continue
		}
		if row.status != 200 {
			if len(seen) > 0 {
				t.Errorf("%s: it went on", row.name)
			}
			continue
		}
		if len(seen) != 1 || strings.Contains(seen[0].body, `"prompt"`) {
			t.Errorf("%s: the upstream saw %v", row.name, seen)
			continue
		}
		for _, text := range row.saw {
			if !strings.Contains(seen[0].body, text) {
				t.Errorf("%s: the upstream saw no %s in %s", row.name, text, seen[0].body)
			}
		}
	}
}

// A new version of a template is taken over as any change of the configuration is, and a broken one changes nothing.
func TestPromptTemplatesReload(t *testing.T) {
	dir := t.TempDir()
	template(t, dir, "1.0.0", "first, of {{product}}")
	g, u := withUpstream(t, promptConfig+dir+"}")
	const answer = `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}`
	used := func() string {
		u.script(answer)
		a := g.ask(t, "POST /v1/chat/completions\nAuthorization: Bearer "+tenantKey+"\nContent-Type: application/json\n\n"+`{"model":"desk","messages":[{"role":"user","content":"hi"}]}`)
		u.sightings()
		return a.header.Get("X-Jarvis-Prompt")
	}
	if got := used(); got != "support@1.0.0" {
		t.Fatalf("served with %q", got)
	}
	template(t, dir, "1.1.0", "better, of {{product}}")
	eventually(t, "the reload", g.logged(reloaded, ""))
	if got := used(); got != "support@1.1.0" {
		t.Errorf("after the change served with %q", got)
	}
	template(t, dir, "1.2.0", "broken, of {{nothing}}")
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", "nothing"))
	if got := used(); got != "support@1.1.0" {
		t.Errorf("after a broken change served with %q", got)
	}
}
