package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

var curl = regexp.MustCompile(`(?s)curl (http://\S+) .*-H "(Authorization: [^"]+)" .*-H "(Content-Type: [^"]+)" .*-d '([^']+)'`)

// A first run without any account serves: what it prints works when pasted.
func TestFirstRun(t *testing.T) {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasSuffix(name, "_API_KEY") || strings.HasSuffix(name, "_BASE_URL") || strings.HasPrefix(name, "JARVIS_") {
			t.Setenv(name, "")
		}
	}
	g := start(t, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n")
	command := curl.FindStringSubmatch(g.welcome)
	if command == nil {
		t.Fatal(g.welcome)
	}
	url, authorization, contentType, body := command[1], command[2], command[3], command[4]
	post := func(path, body string) answer {
		t.Helper()
		return g.ask(t, "POST /v1/"+path+"\n"+authorization+"\n"+contentType+"\n\n"+body)
	}
	if url != "http://"+g.api+"/v1/chat/completions" {
		t.Error(url)
	}
	if a := post("chat/completions", body); a.status != 200 || !strings.Contains(gjson.Get(a.body, "choices.0.message.content").Str, "Hello!") ||
		gjson.Get(a.body, "usage.completion_tokens").Int() == 0 {
		t.Errorf("%v", a)
	}
	if a := post("chat/completions", strings.Replace(body, "{", `{"stream":true,`, 1)); a.status != 200 || !strings.HasSuffix(a.body, "data: [DONE]\n\n") ||
		strings.Contains(a.body, `"choices":[]`) {
		t.Errorf("%v", a)
	}
	if a := post("responses", `{"model":"simulated","input":"Hello!","stream":true}`); a.status != 200 || !strings.Contains(a.body, "event: response.completed\n") {
		t.Errorf("%v", a)
	}
	if a := post("embeddings", `{"model":"simulated","input":"Hello!","encoding_format":"base64"}`); len(gjson.Get(a.body, "data.0.embedding").Str) != 1368 {
		t.Errorf("%v", a)
	}
	if a := post("images/generations", `{"model":"simulated","prompt":"Hello!"}`); a.status != 404 || errorCode(a) != "unknown_url" {
		t.Errorf("%v", a)
	}
	if a := g.ask(t, "GET /v1/models\n"+authorization); a.status != 200 || gjson.Get(a.body, "data.#").Int() == 0 {
		t.Errorf("%v", a)
	}
}

// A provider may say that it will answer, and may answer before it has read all.
func TestEarlyAnswers(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	u.script("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	if a := g.ask(t, "chat"); a.status != 200 || a.body != "{}" || len(a.interim) > 0 || a.header.Get("Link") != "" {
		t.Errorf("%v", a)
	}
	u.script("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	if a := g.ask(t, "chat"); a.status != 502 {
		t.Errorf("%v", a)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			head := textproto.NewReader(bufio.NewReader(conn))
			if _, err := head.ReadLine(); err == nil {
				_, _ = head.ReadMIMEHeader()
			}
			body := `{"error":{"message":"too large","type":"invalid_request_error","param":null,"code":null}}`
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 89\r\n\r\n"+body)
			conn.Close() // most of the body was not read
		}
	}()
	early := start(t, strings.NewReplacer("${UPSTREAM}", ln.Addr().String(), "${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey).Replace(defaultConfig))
	large := "POST /v1/chat/completions\n\n{\"model\":\"chat\",\"x\":\"" + strings.Repeat("x", 4<<20) + "\"}"
	if a := early.ask(t, large); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, `"too large"`) {
		t.Errorf("%v", a)
	}
}

// Events and bodies of any size go through.
func TestLargeAnswers(t *testing.T) {
	g, u := withUpstream(t, defaultConfig)
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"" + strings.Repeat("x", 1<<20) + "\"}}]}\n\n"
	u.script(contentEvent + event + event[:5000] + "\"}}]}\n\n" + endEvent)
	if a := g.ask(t, "stream"); a.body != contentEvent+event+event[:5000]+"\"}}]}\n\n"+endEvent {
		t.Errorf("%d bytes", len(a.body))
	}
	whole := `{"choices":[],"x":"` + strings.Repeat("x", 2<<20) + `","usage":{"prompt_tokens":7}}`
	u.script(whole)
	a := g.ask(t, "chat")
	if a.body != whole {
		t.Errorf("%d bytes", len(a.body))
	}
	if line := g.access(a.header.Get("X-Request-Id")); line.Get("prompt_tokens").Int() != 7 || line.Get("bytes_out").Int() != int64(len(whole)) {
		t.Errorf("%s", line.Raw)
	}
	large := "POST /v1/chat/completions\n\n{\"x\":\"" + strings.Repeat("x", 1<<20) + "\",\"model\":\"chat\"}"
	u.script(emptyAnswer)
	if a := g.ask(t, large); a.status != 200 || !strings.HasSuffix(u.sightings()[0].body, `x","model":"gpt-real"}`) || len(u.sightings()[0].body) != 1<<20+len(`{"x":"","model":"gpt-real"}`) {
		t.Errorf("%v", a)
	}
}
