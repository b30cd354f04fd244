package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const limitedConfig = `
providers:
  up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}
  next: {kind: openai, base_url: "http://${UPSTREAM}/v1"}
models:
  chat: {targets: [{provider: up}, {provider: next}]}
  first: {timeout: {first_token: 80ms, total: 80ms}, targets: [{provider: up}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}], limits: {concurrency: 1}}
  other: {keys: [{name: main, key: jv-other-0123456789abcdef}]}
limits: {concurrency: 2, on_exceed: reject}
`

// promptly is how soon a provider must know that its client has left.
const promptly = 50 * time.Millisecond

// leave is how a client goes: with a FIN, with a RST, or by closing only its sending side.
var leave = map[string]func(*net.TCPConn) error{
	"closes": (*net.TCPConn).Close,
	"resets": func(c *net.TCPConn) error {
		if err := c.SetLinger(0); err != nil {
			return err
		}
		return c.Close()
	},
	"closes its sending side": (*net.TCPConn).CloseWrite,
}

// A client that leaves takes its request with it, whatever that waits for: the provider's connection is closed, the place
// among the requests in flight is free, the line says so.
func TestClientsThatLeave(t *testing.T) {
	g, u := withUpstream(t, limitedConfig)
	endless := strings.Repeat(contentEvent, 1000)
	for _, c := range []struct {
		name, request, reply string
		begins               bool // the client waits for the answer to begin
	}{
		{"before headers, whole", "chat", "@hang\n", false},
		{"before headers, streamed", "stream", "@hang\n", false},
		{"before the first content", "stream", "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n@hang\n", false},
		{"in half a whole answer", "chat", "200\nContent-Length: 100\n\n{@hang\n", false},
		{"while the stream is silent", "stream", contentEvent + "@wait\n@hang\n", true},
		{"in mid-stream", "stream", endless + "@wait\n" + endless + "@hang\n", true},
		{"in a binary answer", "POST /v1/audio/speech\n\n{\"model\":\"chat\"}", "200\nContent-Type: audio/mpeg\nContent-Length: 100\n\nx@hang\n", true},
	} {
		for how, goes := range leave {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				before := g.metrics()
				var times []time.Duration
				var ids []string
				for n := 0; n < 3 || n < 10 && slices.Min(times) > promptly; n++ { // a busy machine may be late, but not each time
					ids = append(ids, fmt.Sprintf("%s-%d", fitName(t.Name()), n))
					times = append(times, g.abandon(t, u, c.request, c.reply, c.begins, goes, ids[n]))
				}
				t.Log(times)
				if slices.Min(times) > promptly {
					t.Errorf("the provider knew of it after %v", times)
				}
				for _, id := range ids {
					line := g.access(id)
					if line.Get("outcome").Str != "client_gone" || line.Get("status").Int() != 499 || line.Get("error").Str != "client_gone" {
						t.Errorf("%s", line.Raw)
					}
				}
				g.idle()
				series := series
				if strings.Contains(c.request, "/audio/speech") {
					series = strings.Replace(series, `"chat"`, `"audio.speech"`, 1)
				}
				if n := g.metrics()[series] - before[series]; n != float64(len(ids)) {
					t.Errorf("%s grew by %v", series, n)
				}
			})
		}
	}
}

const series = `jarvis_requests_total{endpoint="chat",model="chat",outcome="client_gone",provider="up",tenant="acme"}`

func fitName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '/' || r == ',' {
			return '_'
		}
		return r
	}, s)
}

// abandon sends a request, leaves, and measures until the provider's connection is closed.
func (g *running) abandon(t *testing.T, u *upstream, request, reply string, begins bool, goes func(*net.TCPConn) error, id string) time.Duration {
	t.Helper()
	u.script(reply)
	c := g.dial(t)
	c.begun = u.clientBegun
	request = strings.Replace(request, "\n\n", "\nX-Request-Id: "+id+"\n\n", 1)
	if !strings.Contains(request, id) {
		request += "\nX-Request-Id: " + id
	}
	c.send(request)
	eventually(t, "the request upstream", func() bool { return len(u.sightings()) == 1 })
	if begins {
		if _, err := c.br.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	if err := goes(c.Conn.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	var took time.Duration
	select {
	case at := <-u.closed:
		took = at.Sub(begun)
	case <-time.After(patience):
		t.Fatal("the provider never knew")
	}
	c.Close()
	u.script(emptyAnswer)
	eventually(t, "the place free again", func() bool { // the tenant has only one
		return g.ask(t, "chat").status == 200
	})
	return took
}

// A client that leaves while the connection to the provider is being made does not wait for that either, and nothing is
// sent for it.
func TestClientLeavesWhileConnecting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections, says nothing: a TLS handshake hangs
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	g, _ := withUpstream(t, `
providers:
  up: {kind: openai, base_url: "https://`+silent.Addr().String()+`/v1", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {timeout: {connect: 5m}, targets: [{provider: up}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}], limits: {concurrency: 1}}
`)
	best := time.Hour
	for n := 0; n < 5 || n < 10 && best > promptly; n++ {
		c := g.dial(t)
		id := fmt.Sprintf("connecting-%d", n)
		c.send("stream\nX-Request-Id: " + id)
		conn := <-accepted
		begun := time.Now()
		c.Close()
		if err := conn.SetReadDeadline(begun.Add(patience)); err != nil {
			t.Fatal(err)
		}
		for err = nil; err == nil; {
			_, err = conn.Read(make([]byte, 4096)) // the handshake's first bytes, then the end
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the provider's connection is not closed")
		}
		best = min(best, time.Since(begun))
		conn.Close()
		if line := g.access(id); line.Get("outcome").Str != "client_gone" {
			t.Errorf("%s", line.Raw)
		}
	}
	if best > promptly {
		t.Errorf("the provider's connection was closed after %v", best)
	}
	g.idle()
}

// Every end of a request frees its place, and no more than its place.
func TestConcurrencyLimits(t *testing.T) {
	g, u := withUpstream(t, limitedConfig)
	refused := func(want string, request string) {
		t.Helper()
		a := g.ask(t, request)
		if a.status != 429 || errorCode(a) != "rate_limit_exceeded" || !strings.Contains(a.body, want) || a.header.Get("Retry-After") != "1" {
			t.Errorf("%v", a)
		}
	}
	other := "chat\nAuthorization: Bearer jv-other-0123456789abcdef\n"
	const held = "200\nContent-Type: application/json\nContent-Length: 14\n\n@hold\n" + emptyAnswer
	for _, c := range []struct {
		name, request, reply string
		status               int
	}{
		{"whole", "chat", held, 200},
		{"streamed", "stream", contentEvent + "@hold\n" + endEvent, 200},
		{"cut", "stream", contentEvent + "@hold\n@cut\n", 200},
		{"refused", "chat", strings.Replace(held, "200", "400", 1), 400},
		{"a binary answer", "POST /v1/audio/speech\n\n{\"model\":\"chat\"}", "200\nContent-Type: audio/mpeg\n\nx@hold\ny", 200},
		{"too slow", "POST /v1/chat/completions\n\n{\"model\":\"first\"}", "@hang\n", 504},
	} {
		t.Run(c.name, func(t *testing.T) {
			u.script(c.reply)
			slow := g.dial(t)
			slow.send(c.request)
			eventually(t, "the request upstream", func() bool { return len(u.sightings()) == 1 })
			if c.status != 504 {
				refused("tenant acme may have 1 at once", "chat")
				refused("tenant acme may have 1 at once", "stream")
			}
			u.release()
			if a := slow.receive("POST"); a.status != c.status {
				t.Errorf("%v", a)
			}
			g.idle()
			u.script(emptyAnswer)
			if a := slow.do("chat"); a.status != 200 {
				t.Errorf("the place is not free again: %v", a)
			}
			g.idle()
		})
	}
	// The whole gateway's two places: one held by each tenant, none left.
	u.script(held, held)
	first, second := g.dial(t), g.dial(t)
	first.send("chat")
	second.send(other)
	eventually(t, "two requests upstream", func() bool { return len(u.sightings()) == 2 })
	before := g.metrics()
	refused("the gateway may have 2 at once", other)
	if n := g.metrics()[`jarvis_refusals_total{reason="rate_limit_exceeded"}`] - before[`jarvis_refusals_total{reason="rate_limit_exceeded"}`]; n != 1 {
		t.Errorf("refusals grew by %v", n)
	}
	if a := g.ask(t, "GET /v1/models"); a.status != 200 {
		t.Errorf("models need no place: %v", a)
	}
	u.release()
	for _, c := range []*dialled{first, second} {
		if a := c.receive("POST"); a.status != 200 {
			t.Errorf("%v", a)
		}
	}
	u.script(emptyAnswer)
	g.idle()
	if a := g.ask(t, other); a.status != 200 {
		t.Errorf("%v", a)
	}
}

// A full gateway is nobody's fault: unless the config says otherwise, requests wait for a place, each for a while.
func TestFullGatewayQueues(t *testing.T) {
	g, u := withUpstream(t, defaultConfig+"limits: {concurrency: 1, queue: {max: 1, wait: 10m}}\n")
	const held = "200\nContent-Type: application/json\nContent-Length: 14\n\n@hold\n" + emptyAnswer
	u.script(held, emptyAnswer)
	first := g.dial(t)
	first.send("chat")
	eventually(t, "the first request upstream", func() bool { return len(u.sightings()) == 1 })
	answers := make(chan answer, 2)
	for range 2 { // one has the place in the line, whichever comes first
		c := g.dial(t)
		c.send("chat")
		go func() { a, _ := c.tryReceive("POST"); answers <- a }()
	}
	if a := <-answers; a.status != 429 || !strings.Contains(a.body, "1 requests wait for it already") {
		t.Errorf("%v", a)
	}
	if n := len(u.sightings()); n != 1 {
		t.Fatalf("%d requests upstream, want the first alone", n)
	}
	u.release()
	if a := first.receive("POST"); a.status != 200 {
		t.Errorf("%v", a)
	}
	if a := <-answers; a.status != 200 {
		t.Errorf("%v", a)
	}
}
