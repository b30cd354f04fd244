package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// patientWith is a config whose patience with clients is short only in what these settings say.
func patientWith(settings string) string {
	return `server:
  listen: 127.0.0.1:0
  admin: 127.0.0.1:0
  max_body: 100KiB
  timeout: {` + settings + `}
` + defaultConfig
}

// withUpstream starts a gateway with one scripted provider.
func withUpstream(t testing.TB, config string) (*running, *upstream) {
	t.Helper()
	u := newUpstream(t)
	return start(t, strings.NewReplacer("${UPSTREAM}", u.addr(), "${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey).Replace(config)), u
}

const (
	emptyAnswer  = `{"choices":[]}`
	contentEvent = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n"
	endEvent     = "data: [DONE]\n\n"
)

func errorCode(a answer) string { return gjson.Get(a.body, "error.code").String() }

// A client that is still sending reads the 413, whether it looks at once or only when all is sent.
func TestTooLargeIsReadable(t *testing.T) {
	g, _ := withUpstream(t, patientWith("header: 60s, body: 60s"))
	for name, framing := range map[string]string{"known": "Content-Length: 8000000", "chunked": "Transfer-Encoding: chunked"} {
		for _, atOnce := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/atOnce=%t", name, atOnce), func(t *testing.T) {
				c := g.dial(t)
				head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tenantKey + "\r\n" + framing + "\r\n\r\n"
				piece := strings.Repeat("x", 100_000)
				if name == "chunked" {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					if _, err := io.WriteString(c, head); err != nil {
						t.Error(err)
					}
					for range 80 {
						if _, err := io.WriteString(c, piece); err != nil {
							return // the gateway has closed, after its answer
						}
					}
				}()
				if !atOnce {
					<-sent
				}
				a := c.receive("POST")
				if a.status != 413 || errorCode(a) != "request_too_large" || !a.closed || a.header.Get("Content-Type") != "application/json" {
					t.Errorf("%v", a)
				}
				c.Close()
				<-sent
			})
		}
	}
}

// Clients that are slow on purpose are told so, and cut.
func TestSlowClientsAreCut(t *testing.T) {
	g, _ := withUpstream(t, patientWith("header: 150ms, body: 150ms"))
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tenantKey + "\r\n"
	for name, text := range map[string]string{
		"headers":    head,
		"first line": "POST /v1/",
		"body":       head + "Content-Length: 100\r\n\r\n{",
		"large body": head + "Content-Length: 70000\r\n\r\n{",
		"chunk":      head + "Transfer-Encoding: chunked\r\n\r\n500\r\n{",
	} {
		for _, drip := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/drip=%t", name, drip), func(t *testing.T) {
				t.Parallel()
				c := g.dial(t)
				begun, stop := time.Now(), make(chan struct{})
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
				if drip {
					go func() {
						for tick := time.NewTicker(20 * time.Millisecond); ; {
							select {
							case <-stop:
								return
							case <-tick.C:
								_, _ = c.Write([]byte{'a'}) // until it is cut
							}
						}
					}()
				}
				a := c.receive("POST")
				close(stop)
				if a.status != 408 || errorCode(a) != "request_timeout" || !a.closed {
					t.Errorf("%v", a)
				}
				if took := time.Since(begun); took < 100*time.Millisecond || took > patience/2 {
					t.Errorf("cut after %v", took)
				}
			})
		}
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		g, _ := withUpstream(t, patientWith("header: 60s, idle: 150ms"))
		c := g.dial(t)
		if a := c.do("GET /healthz"); a.status != 200 {
			t.Fatalf("%v", a)
		}
		if n, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("an idle connection ends with %q, %v", n, err)
		}
	})
	t.Run("silent", func(t *testing.T) { // opened ahead of use: an answer would be taken for that of its first request
		t.Parallel()
		c := g.dial(t)
		if n, err := c.br.ReadByte(); err != io.EOF {
			t.Errorf("a connection that was never used ends with %q, %v", n, err)
		}
	})
}

// A client that does not read cannot hold an answer for ever.
func TestSlowReaderIsCut(t *testing.T) {
	g, u := withUpstream(t, patientWith("header: 60s, write: 300ms"))
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("x", 1<<16) + "\"}}]}\n\n"
	u.script(strings.Repeat(event, 150) + "@hang\n")
	c := g.dial(t)
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	c.send("stream\nX-Request-Id: slow-reader")
	if line := g.access("slow-reader"); line.Get("outcome").Str != "client_gone" {
		t.Errorf("%s", line.Raw)
	}
	g.idle()
}

// What could be read in two ways is refused, and the connection ends.
func TestSmuggling(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	body := `{"model":"chat"}`
	chunked := "10\r\n" + body + "\r\n0\r\n\r\n"
	for name, text := range map[string]string{
		"length and chunks":        "Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"chunks and length":        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + chunked,
		"two lengths":              "Content-Length: 16\r\nContent-Length: 4\r\n\r\n" + body,
		"two equal lengths":        "Content-Length: 16\r\nContent-Length: 16\r\n\r\n" + body,
		"a list of lengths":        "Content-Length: 16, 16\r\n\r\n" + body,
		"a signed length":          "Content-Length: +16\r\n\r\n" + body,
		"a negative length":        "Content-Length: -16\r\n\r\n" + body,
		"a length in hex":          "Content-Length: 0x10\r\n\r\n" + body,
		"chunks in capitals twice": "Transfer-Encoding: CHUNKED\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"an encoding beside":       "Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked,
		"an unknown encoding":      "Transfer-Encoding: xchunked\r\n\r\n" + chunked,
		"a space before the colon": "Transfer-Encoding : chunked\r\n\r\n" + chunked,
		"a size with a sign":       "Transfer-Encoding: chunked\r\n\r\n+10\r\n" + body + "\r\n0\r\n\r\n",
		"a size with a prefix":     "Transfer-Encoding: chunked\r\n\r\n0x10\r\n" + body + "\r\n0\r\n\r\n",
		"a chunk too long":         "Transfer-Encoding: chunked\r\n\r\n8\r\n" + body + "\r\n0\r\n\r\n",
		"a null in a name":         "X\x00: a\r\nContent-Length: 16\r\n\r\n" + body,
		"two hosts":                "Host: y\r\nContent-Length: 16\r\n\r\n" + body,
	} {
		t.Run(name, func(t *testing.T) {
			u.script(emptyAnswer, emptyAnswer)
			c := g.dial(t)
			c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tenantKey + "\r\n" + text +
				"GET /v1/models/smuggled HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tenantKey + "\r\n\r\n")
			a := c.receive("POST")
			switch {
			case a.status >= 400 && a.status < 500 && a.closed:
			case a.status == 200 && a.closed && strings.Contains(name, "length") && strings.Contains(name, "chunks"): // RFC 9112, 6.3
			default:
				t.Errorf("%v", a)
			}
			if b, err := c.tryReceive("GET"); err == nil {
				t.Errorf("a second answer: %v", b)
			}
			if saw := u.sightings(); len(saw) > 1 || len(saw) == 1 && saw[0].body != `{"model":"gpt-real"}` {
				t.Errorf("the upstream saw %v", saw)
			}
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	g, _ := withUpstream(t, defaultConfig)
	for name, c := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"large headers":  {"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 100_000) + "\r\n\r\n", 431, "headers_too_large"},
		"many headers":   {"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: aaaaaaa\r\n", 10_000) + "\r\n", 431, "headers_too_large"},
		"a long path":    {"GET /v1/" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"},
		"not HTTP":       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 HTTP/1.1\r\n\r\n", 400, ""},
		"HTTP/2":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""},
		"no method":      {" /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 400, ""},
		"a control byte": {"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: a\x01b\r\n\r\n", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn := g.dial(t)
			go func() { _, _ = io.WriteString(conn, c.text) }() // the gateway may close before the end
			a := conn.receive("GET")
			if a.status != c.status || errorCode(a) != c.code || !a.closed || a.header.Get("X-Request-Id") == "" {
				t.Errorf("%v", a)
			}
		})
	}
	if g.metrics()[`jarvis_refusals_total{reason="headers_too_large"}`] < 3 {
		t.Error("refusals are not counted")
	}
}

func TestPipelined(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	u.script(`{"n":1}`, contentEvent+endEvent, `{"n":3}`)
	c := g.dial(t)
	c.send(rawRequest("chat") + rawRequest("stream") + rawRequest("chat") + rawRequest("GET /healthz"))
	for _, want := range []string{`{"n":1}`, contentEvent + endEvent, `{"n":3}`, `{"status":"ok"}`} {
		if a := c.receive("POST"); a.body != want {
			t.Errorf("%v, want %s", a, want)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	g, u := withUpstream(t, patientWith("header: 60s, body: 60s"))
	u.script(emptyAnswer)
	c := g.dial(t)
	head, body, _ := strings.Cut(rawRequest("chat\nExpect: 100-continue"), "\r\n\r\n")
	c.send(head + "\r\n\r\n")
	line, err := c.br.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := c.br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, body); err != nil {
		t.Fatal(err)
	}
	if a := c.receive("POST"); a.body != emptyAnswer {
		t.Errorf("%v", a)
	}
	c = g.dial(t)
	c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tenantKey + "\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n")
	if a := c.receive("POST"); a.status != 413 || !a.closed {
		t.Errorf("%v", a)
	}
	c = g.dial(t) // a stranger's body is not asked for
	c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nExpect: 100-continue\r\nContent-Length: 500\r\n\r\n")
	if a := c.receive("POST"); a.status != 401 || !a.closed || errorCode(a) != "invalid_api_key" || len(a.interim) != 0 {
		t.Errorf("%v", a)
	}
	c = g.dial(t) // nor held
	c.send("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
	if a := c.receive("POST"); a.status != 401 || !a.closed || errorCode(a) != "invalid_api_key" {
		t.Errorf("%v", a)
	}
}

// HTTP/1.0 has no chunks: an answer ends with the connection.
func TestOldClients(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	for request, reply := range map[string]string{"chat": emptyAnswer, "stream": contentEvent + endEvent} {
		u.script(reply)
		c := g.dial(t)
		c.send(strings.Replace(rawRequest(request), "HTTP/1.1", "HTTP/1.0", 1))
		if a := c.receive("POST"); a.body != reply || a.header.Get("Transfer-Encoding") != "" {
			t.Errorf("%s: %v", request, a)
		}
		c.Close()
	}
}

// Connections to providers are used again, and only while that is safe.
func TestUpstreamConnections(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	late := "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n"
	for name, c := range map[string]struct {
		request, reply string
		conns          int // used by two such requests
	}{
		"whole":                     {"chat", emptyAnswer, 1},
		"stream":                    {"stream", contentEvent + endEvent, 1},
		"events after the end mark": {"stream", contentEvent + endEvent + late, 1},
		"an error":                  {"chat", "500\n\n{}", 1},
		"no content":                {"chat", "204\n\n", 1},
		"an empty answer":           {"chat", "200\nContent-Length: 0\n\n", 1},
		"chunks":                    {"chat", "200\nTransfer-Encoding: chunked\nContent-Type: application/json\n\n{}", 1},
		"close":                     {"chat", "200\nConnection: close\n\n{}", 2},
		"close without saying so":   {"chat", "{}@close\n", 2},
		"until the end":             {"chat", "200\nContent-Type: application/json\n\n{}\n@eof\n", 2},
		"bytes too many":            {"chat", "200\nContent-Length: 2\n\n{}HTTP/1.1 200 OK\r\n\r\n", 2},
		"an error in a stream":      {"stream", "data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n", 2},
		"an unread stream":          {"stream", contentEvent + endEvent + "@hang\n", 2},
		"gzip":                      {"chat", "200\nContent-Encoding: gzip\n\nxx", 2},
	} {
		t.Run(name, func(t *testing.T) {
			twice := func() int {
				u.script(c.reply, c.reply)
				client := g.dial(t)
				conns := map[int]bool{}
				for range 2 {
					a := client.do(c.request)
					if a.cut || a.closed || a.status == 502 && !strings.Contains(name, "error") && name != "gzip" {
						t.Errorf("%v", a)
					}
					g.idle() // the connection is given back after the answer's last byte
				}
				for _, s := range u.sightings() {
					conns[s.conn] = true
				}
				if len(u.sightings()) != 2 {
					t.Errorf("%d requests", len(u.sightings()))
				}
				return len(conns)
			}
			n := twice()
			for try := 1; try < quietRounds && n > c.conns; try++ { // the end of an answer may be late, and its connection is given up
				n = twice()
			}
			if n != c.conns {
				t.Errorf("over %d connections, want %d", n, c.conns)
			}
		})
	}
}

func TestAdminPort(t *testing.T) {
	g, _ := withUpstream(t, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, admin_key: admin-0123456789abcdef}\n"+defaultConfig)
	get := func(path, authorization string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+g.private+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	for key, want := range map[string]int{
		"": 401, "Bearer ": 401, "Bearer nobody": 401, "Basic admin-0123456789abcdef": 401,
		"Bearer " + tenantKey: 403, // it works, but may not
	} {
		if status, body := get("/metrics", key); status != want || strings.Contains(body, "jarvis_") {
			t.Errorf("%q: %d %s", key, status, body)
		}
	}
	if status, body := get("/metrics", "Bearer admin-0123456789abcdef"); status != 200 || !strings.Contains(body, "jarvis_build_info{") {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, body := get(path, ""); status != 200 || body != "{\"status\":\"ok\"}\n" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get("/v1/models", "Bearer "+tenantKey); status != 404 {
		t.Errorf("the admin port serves /v1/models: %d", status)
	}
	if a := g.ask(t, "GET /metrics"); a.status != 404 {
		t.Errorf("the data plane serves /metrics: %v", a)
	}
	if a := g.ask(t, "GET /debug/pprof/"); a.status != 404 {
		t.Errorf("the data plane serves profiles: %v", a)
	}
}
