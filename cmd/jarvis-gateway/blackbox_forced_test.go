package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

const forcedConfig = `
stores: {state: "%s"}
providers:
  one: {kind: openai, base_url: "%s/v1"}
  two: {kind: openai, base_url: "%s/v1"}
models:
  chat: {targets: [{provider: one, model: m}, {provider: two, model: m}]}
  gpt-*: {targets: [{provider: one}, {provider: two}]}
tenants:
  acme: {keys: [{name: main, key: "` + tenantKey + `"}]}
`

// What somebody decides about a target at one gateway holds at the others of the state store within a second, and after a restart.
func TestForcedEverywhere(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { forcedEverywhere(t, "sqlite:"+t.TempDir()+"/shared.db") })
	t.Run("postgres", func(t *testing.T) {
		url := startPostgres(t)
		t.Chdir(t.TempDir()) // where the gateway keeps what is its own
		forcedEverywhere(t, url)
	})
}

func forcedEverywhere(t *testing.T, url string) {
	var providers [2]*fakellm.Server
	for i := range providers {
		var err error
		if providers[i], err = fakellm.Start(fakellm.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(providers[i].Close)
	}
	a := start(t, fmt.Sprintf(forcedConfig, url, providers[0].URL(), providers[1].URL()))
	b := startAt(t, a.path)
	force := func(g *running, args ...string) {
		t.Helper()
		var out record
		if code := run(t.Context(), append([]string{"target", "--admin", "http://" + g.private}, args...), &out, &out); code != 0 {
			t.Fatalf("%v: %d %s", args, code, out.String())
		}
	}
	by := func(g *running, model string) string {
		return g.ask(t, chatRequest(model, false)).header.Get("X-Jarvis-Provider")
	}
	soon := func(g *running, model, provider string) {
		t.Helper()
		at := time.Now()
		eventually(t, model+" by "+provider, func() bool { return by(g, model) == provider })
		if d := time.Since(at); d > time.Second {
			t.Errorf("%s by %s after %s", model, provider, d)
		}
	}
	force(a, "open", "chat", "one")
	if got := by(a, "chat"); got != "two" {
		t.Errorf("at once: %s", got)
	}
	soon(b, "chat", "two")
	force(b, "open", "gpt-*", "one")
	soon(a, "gpt-5", "two")
	force(a, "auto", "gpt-*", "one", "gpt-6") // a model that nobody has asked for yet
	soon(b, "gpt-6", "one")
	if got := by(b, "gpt-5"); got != "two" {
		t.Errorf("another model: %s", got)
	}

	// The last one that was decided is what holds, wherever.
	force(b, "auto", "chat", "one")
	soon(a, "chat", "one")
	force(a, "open", "chat", "one")
	soon(b, "chat", "two")

	// It holds after a restart, and for a target that was away.
	b.stop()
	b = startAt(t, a.path)
	for model, provider := range map[string]string{"chat": "two", "gpt-5": "two", "gpt-6": "one"} {
		if got := by(b, model); got != provider {
			t.Errorf("after a restart: %s by %s", model, got)
		}
	}
	config := readFile(t, a.path)
	a.deploy(strings.Replace(config, "{provider: one, model: m}, ", "", 1))
	eventually(t, "the reload", a.logged("config reloaded", ""))
	a.deploy(config)
	eventually(t, "the next one", func() bool { return strings.Count(a.log.String(), "config reloaded") == 2 })
	if got := by(a, "chat"); got != "two" {
		t.Errorf("a target that was away: %s", got)
	}
	force(b, "auto", "chat", "one")
	soon(a, "chat", "one")
}
