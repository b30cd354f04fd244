package provider

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// A client that is closed while a call is under way keeps no connection once that has its answer, be it a pool or one server.
func TestCloseKeepsNoConnection(t *testing.T) {
	for name, config := range map[string]func(url string) Config{
		"one server": func(url string) Config { return Config{Kind: "openai", BaseURL: url, APIKey: "k"} },
		"pool": func(url string) Config {
			return Config{Kind: "vllm", Replicas: Replicas{List: []string{url}}, Probe: Probe{Every: Off}, Scrape: Off}
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked, answer, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked <- struct{}{}
				<-answer
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`))
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					close(closed)
				}
			}
			s.Start()
			defer s.Close()
			clients, err := New(map[string]Config{"p": config(s.URL)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- askOnce(clients["p"]) }()
			<-asked
			clients["p"].Close()
			close(answer)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			select {
			case <-closed:
			case <-time.After(5 * time.Second):
				t.Error("the connection is still open")
			}
		})
	}
}

func askOnce(c *Client) error {
	body, err := wire.Parse([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		return err
	}
	call := Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{}, Model: "m", Abort: &Abort{}, Body: &body, Begun: time.Now(),
		Timeout: router.Timeout{Connect: time.Second, FirstToken: 5 * time.Second, Idle: 5 * time.Second, Total: 10 * time.Second}}
	var reply wire.Reply
	if err = c.Do(&call, &reply); err == nil {
		reply.Close()
	}
	return err
}
