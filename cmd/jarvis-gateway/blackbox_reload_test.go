package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// logged tells whether a message was logged that holds the text.
func (g *running) logged(message, text string) func() bool {
	return func() bool {
		_, ok := g.log.find(func(l gjson.Result) bool { return l.Get("msg").Str == message && strings.Contains(l.Raw, text) })
		return ok
	}
}

const reloaded = "config reloaded"

func TestReload(t *testing.T) {
	config := strings.NewReplacer("${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey).Replace("server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n" + limitedConfig)
	u := newUpstream(t)
	config = strings.ReplaceAll(config, "${UPSTREAM}", u.addr())
	g := start(t, config)
	before := g.metrics()

	// A stream under way stays with the config that it began with, and is counted on in the next.
	u.script(contentEvent + "@hold\n" + contentEvent + endEvent)
	streaming := g.dial(t)
	streaming.send("stream")
	eventually(t, "the stream upstream", func() bool { return len(u.sightings()) == 1 })

	g.configure(strings.NewReplacer("chat:", "talk:", "  next:", "  renamed:", "provider: next", "provider: renamed", "provider: up}", "provider: renamed}").Replace(config))
	eventually(t, "the reload", g.logged(reloaded, ""))
	u.push(emptyAnswer)
	other := func(request string) string {
		return strings.Replace(request, "\n\n", "\nAuthorization: Bearer jv-other-0123456789abcdef\n\n", 1)
	}
	if a := g.ask(t, other(chatRequest("talk", false))); a.status != 200 || a.header.Get("X-Jarvis-Provider") != "renamed" {
		t.Errorf("a model of the new config: %v", a)
	}
	if a := g.ask(t, other(chatRequest("chat", false))); a.status != 404 {
		t.Errorf("a model of the old config: %v", a)
	}
	if a := g.ask(t, chatRequest("talk", false)); a.status != 429 {
		t.Errorf("the tenant's only place is taken by a request from before: %v", a)
	}
	u.release()
	if a := streaming.receive("POST"); a.body != contentEvent+contentEvent+endEvent {
		t.Errorf("%v", a)
	}
	// The same connection is served by the new config.
	u.script(emptyAnswer)
	g.idle()
	if a := streaming.do(chatRequest("talk", false)); a.status != 200 {
		t.Errorf("%v", a)
	}

	// A config that is wrong changes nothing.
	g.configure(strings.Replace(config, "provider: up", "provider: down", 1))
	eventually(t, "the refusal", g.logged("the config was not reloaded; the one before stays in force", "models.chat.targets[0].provider: unknown provider"))
	m := g.metrics()
	if m["jarvis_config_last_reload_successful"] != 0 || m[`jarvis_config_reloads_total{result="failed"}`]-before[`jarvis_config_reloads_total{result="failed"}`] != 1 {
		t.Error("a failed reload is not counted")
	}
	u.script(emptyAnswer)
	if a := g.ask(t, chatRequest("talk", false)); a.status != 200 {
		t.Errorf("%v", a)
	}

	// A config that is right again, with other keys.
	g.configure(strings.ReplaceAll(config, tenantKey, "jv-rotated-0123456789abcdef"))
	eventually(t, "the second reload", func() bool { return g.metrics()["jarvis_config_last_reload_successful"] == 1 })
	if a := g.ask(t, "chat"); a.status != 401 {
		t.Errorf("a key that is gone: %v", a)
	}
	u.script(emptyAnswer)
	if a := g.ask(t, "chat\nAuthorization: Bearer jv-rotated-0123456789abcdef"); a.status != 200 {
		t.Errorf("a key that is new: %v", a)
	}
	if n := g.metrics()[`jarvis_config_reloads_total{result="ok"}`] - before[`jarvis_config_reloads_total{result="ok"}`]; n != 2 {
		t.Errorf("%v reloads", n)
	}

	g.configure(strings.Replace(config, "127.0.0.1:0,", "127.0.0.1:1,", 1))
	eventually(t, "the hint", g.logged("changes of the section server take effect after a restart", ""))
}

const drainedConfig = `server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, drain: ${DRAIN}}
` + defaultConfig

// What was accepted before SIGTERM is served to its end.
func TestDrain(t *testing.T) {
	quietly(t, drain) // listening goes on for a second only
}

func drain(t testing.TB) {
	g, u := withUpstream(t, strings.Replace(drainedConfig, "${DRAIN}", "5m", 1))
	u.script(contentEvent + "@hold\n" + contentEvent + endEvent)
	streaming := g.dial(t)
	streaming.begun = u.clientBegun
	streaming.send("stream")
	if _, err := streaming.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	kept := []*dialled{g.dial(t), g.dial(t), g.dial(t)} // keep-alive connections
	for _, c := range kept {
		if a := c.do("GET /healthz"); a.status != 200 {
			t.Fatalf("%v", a)
		}
	}
	g.cancel()
	eventually(t, "not ready", func() bool {
		a, err := tryAsk(g, "GET /readyz")
		return err == nil && a.status == 503
	})
	// A kept connection still serves one request, and is told to close.
	u.push(emptyAnswer, emptyAnswer)
	if a := kept[0].do("chat"); a.status != 200 || !a.closed {
		t.Errorf("%v", a)
	}
	if _, err := kept[0].br.ReadByte(); err != io.EOF {
		t.Errorf("the connection goes on: %v", err)
	}
	// So does one that comes in time.
	if a, err := tryAsk(g, "chat"); err == nil && (a.status != 200 || !a.closed) {
		t.Errorf("%v", a)
	}
	// Idle ones are closed without a word, and nothing new is accepted.
	for _, c := range kept[1:] {
		if b, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("an idle connection ends with %q, %v", b, err)
		}
	}
	eventually(t, "the port closed", func() bool {
		_, err := tryAsk(g, "GET /healthz")
		return err != nil
	})
	if g.gone() {
		t.Error("the gateway did not wait for its stream")
	}
	u.release()
	if a := streaming.receive("POST"); a.cut || a.body != contentEvent+contentEvent+endEvent {
		t.Errorf("%v", a)
	}
	if code := g.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, g.log.String())
	}
	if !g.logged("stopped", "")() || strings.Count(g.log.String(), `"msg":"request"`) < 2 {
		t.Errorf("%s", g.log.String())
	}
}

// tryAsk is ask where the gateway may be gone.
func tryAsk(g *running, request string) (a answer, err error) {
	c, err := g.tryDial()
	if err != nil {
		return a, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, rawRequest(request)); err != nil {
		return a, err
	}
	return c.tryReceive("POST")
}

// At the deadline what is still open is ended, and told so.
func TestDrainDeadline(t *testing.T) {
	g, u := withUpstream(t, strings.Replace(drainedConfig, "${DRAIN}", "1500ms", 1))
	u.script(contentEvent+"@wait\n@hang\n", "@hang\n")
	streaming, waiting := g.dial(t), g.dial(t)
	streaming.begun = u.clientBegun
	streaming.send("stream\nX-Request-Id: streaming")
	if _, err := streaming.br.Peek(1); err != nil {
		t.Fatal(err)
	}
	waiting.send("chat\nX-Request-Id: waiting")
	eventually(t, "both upstream", func() bool { return len(u.sightings()) == 2 })
	begun := time.Now()
	g.cancel()
	a := streaming.receive("POST")
	if !strings.HasPrefix(a.body, contentEvent) || !strings.HasSuffix(a.body, "\n\n") || gjson.Get(strings.TrimPrefix(a.body, contentEvent+"data: "), "error.code").Str != "shutting_down" {
		t.Errorf("%v", a)
	}
	if a := waiting.receive("POST"); a.status != 503 || errorCode(a) != "shutting_down" || !a.closed {
		t.Errorf("%v", a)
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("ended after %v", took)
	}
	g.stop()
	for _, id := range []string{"streaming", "waiting"} {
		if line := g.access(id); line.Get("error").Str != "shutting_down" || line.Get("outcome").Str == "client_gone" {
			t.Errorf("%s", line.Raw)
		}
	}
}
