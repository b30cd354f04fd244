package provider

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// What a provider that is broken, or worse, must not be able to do.

func TestDeepNestingInALastEvent(t *testing.T) {
	stream := "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: " + strings.Repeat("[", 4<<20)
	got := relayOf(strings.NewReader(stream), "Connection: close", wire.Chat).drain(4096)
	if !got.opened || got.code != "upstream_error" {
		t.Errorf("%.200s", got)
	}
}

func TestPreambleIsBounded(t *testing.T) {
	role := strings.NewReader(strings.Repeat("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n", 200_000))
	got := relayOf(role, "Connection: close", wire.Chat).drain(4096)
	if got.opened || got.code != "upstream_error" || role.Len() == 0 {
		t.Errorf("%d bytes were left unread: %.200s", role.Len(), got)
	}
}

func TestRenamingKeepsWhatComesInManyReads(t *testing.T) {
	long := strings.Repeat("y", 300_000)
	stream := "data: {\"model\":\"real\",\"choices\":[{\"delta\":{\"content\":\"" + long + "\"}}]}\n\ndata: [DONE]\n\n"
	r := relayOf(strings.NewReader(stream), "Connection: close", wire.Chat)
	r.asked = []byte("asked")
	got := r.drain(4096)
	if want := strings.Replace(stream, "real", "asked", 1); got.out != want {
		t.Errorf("%d bytes, want %d", len(got.out), len(want))
	}
}

// chatty answers every request, and right behind it says something that nobody asked for.
func chatty(t *testing.T, behind string, said chan<- struct{}) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				br := bufio.NewReader(conn)
				for {
					req, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					text, _ := io.ReadAll(req.Body)
					answer := `{"choices":[],"echo":` + string(text) + `}`
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(answer))+"\r\n\r\n"+answer)
					time.Sleep(5 * time.Millisecond) // so that it does not arrive together with the answer
					_, _ = io.WriteString(conn, behind)
					said <- struct{}{}
				}
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func itoa(n int) string { return string(fasthttp.AppendUint(nil, n)) }

func TestBytesNobodyAskedForAreNobodysAnswer(t *testing.T) {
	for name, behind := range map[string]string{
		"a second answer":         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"x\":\"no\"}",
		"an error before it goes": "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		"a line break":            "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan struct{}, 10)
			clients, err := New(map[string]Config{"p": {Kind: "openai", BaseURL: chatty(t, behind, said)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer clients["p"].Close()
			for _, mark := range []string{"one", "two", "three"} {
				body, err := wire.Parse([]byte(`{"model":"m","mark":"` + mark + `"}`))
				if err != nil {
					t.Fatal(err)
				}
				limit := router.Timeout{Connect: time.Minute, FirstToken: time.Minute, Idle: time.Minute, Total: time.Minute}
				call := Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{}, Body: &body, Model: "m",
					Abort: &Abort{}, Begun: time.Now(), Timeout: limit}
				var reply wire.Reply
				if err := clients["p"].Do(&call, &reply); err != nil {
					t.Fatalf("%s: %v", mark, err)
				}
				if !strings.Contains(string(reply.Body), `"mark":"`+mark+`"`) {
					t.Errorf("%s was answered with %s", mark, reply.Body)
				}
				reply.Close()
				<-said
			}
		})
	}
}

// A secret that lies across the place where a text is cut is hidden too.
func TestSecretsAcrossTheCut(t *testing.T) {
	c := &Client{secrets: [][]byte{[]byte("sk-upstream-secret-key")}}
	for pad := maxErrorText - 30; pad <= maxErrorText; pad++ {
		var head fasthttp.ResponseHeader
		e := c.refused(422, &head, []byte(`{"detail":"`+strings.Repeat("x", pad)+`sk-upstream-secret-key end"}`))
		if strings.Contains(e.Message, "sk-") || strings.Contains(e.Error(), "sk-u") {
			t.Fatalf("after %d bytes: ...%s", pad, e.Message[max(0, len(e.Message)-40):])
		}
	}
}

func TestRetryAfterIsBounded(t *testing.T) {
	for _, value := range []string{"Fri, 31 Dec 9999 23:59:59 GMT", "999999", "1e5"} {
		var head fasthttp.ResponseHeader
		head.Set("Retry-After", value)
		if d := retryAfter(&head); d <= 0 || d > 12*24*time.Hour {
			t.Errorf("%s: %v", value, d)
		}
	}
}

// The config's headers stand alone, and no spelling of a credential goes on.
func TestHeadersOfTheConfigStandAlone(t *testing.T) {
	got := make(chan http.Header, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		_, _ = io.WriteString(w, "{}")
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	clients, err := New(map[string]Config{"p": {Kind: "openai", BaseURL: "http://" + ln.Addr().String(), APIKey: "sk-own", Headers: map[string]string{"X-Environment": "prod"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer clients["p"].Close()
	var from fasthttp.RequestHeader
	for _, h := range []string{"X-Environment", "X-Environment", "Api_key", "X_api_key", "X_Jarvis_Timeout", "Authorization", "X-Fine"} {
		from.Add(h, "client")
	}
	limit := router.Timeout{Connect: time.Minute, FirstToken: time.Minute, Idle: time.Minute, Total: time.Minute}
	call := Call{Method: "GET", Path: "/models", Header: &from, Abort: &Abort{}, Begun: time.Now(), Timeout: limit}
	var reply wire.Reply
	if err := clients["p"].Do(&call, &reply); err != nil {
		t.Fatal(err)
	}
	reply.Close()
	h := <-got
	if v := h.Values("X-Environment"); len(v) != 1 || v[0] != "prod" {
		t.Errorf("X-Environment: %q", v)
	}
	for name, values := range h {
		if strings.Contains(strings.Join(values, ""), "client") != (name == "X-Fine") {
			t.Errorf("%s: %q", name, values)
		}
	}
}
