package provider_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// ask does one chat call and returns the answer's text.
func ask(t *testing.T, cfg provider.Config, timeout router.Timeout) (string, error) {
	t.Helper()
	clients, err := provider.New(map[string]provider.Config{"p": cfg}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(clients["p"].Close)
	return askWith(t, clients["p"], timeout)
}

func askWith(t *testing.T, c *provider.Client, timeout router.Timeout) (string, error) {
	t.Helper()
	body, err := wire.Parse([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	call := provider.Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{},
		Body: &body, Model: "m", Timeout: timeout, Begun: time.Now(), Abort: &provider.Abort{}}
	var reply wire.Reply
	if err := c.Do(&call, &reply); err != nil {
		return "", err
	}
	defer reply.Close()
	return string(reply.Body), nil
}

var patient = router.Timeout{Connect: time.Minute, FirstToken: time.Minute, Idle: time.Minute, Total: 2 * time.Minute}

func start(t *testing.T, o fakellm.Options) *fakellm.Server {
	t.Helper()
	s, err := fakellm.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestTLSWithCustomCA(t *testing.T) {
	up := start(t, fakellm.Options{TLS: true, APIKey: "sk-up"})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, up.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := provider.Config{Kind: "openai", BaseURL: up.URL() + "/v1", APIKey: "sk-up", CA: ca}
	if text, err := ask(t, cfg, patient); err != nil || !strings.Contains(text, "chat.completion") {
		t.Fatalf("with the CA: %q, %v", text, err)
	}

	cfg.CA = ""
	_, err := ask(t, cfg, patient)
	var failure *wire.Error
	if !errors.As(err, &failure) || failure.Status != 502 || failure.Code != "upstream_error" || !failure.Failover {
		t.Fatalf("without the CA: %v", err)
	}
	if shown := string(failure.AppendJSON(nil)); strings.Contains(shown, "127.0.0.1") || strings.Contains(shown, "certificate") {
		t.Errorf("the client is told too much: %s", shown)
	}
	if !strings.Contains(failure.Error(), "certificate") {
		t.Errorf("the log is told too little: %v", failure)
	}
}

func TestUnreadableCA(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{empty, empty + ".missing"} {
		_, err := provider.New(map[string]provider.Config{"p": {Kind: "openai", BaseURL: "https://example.com", CA: ca}}, nil)
		if err == nil || !strings.Contains(err.Error(), "providers.p.ca: ") {
			t.Errorf("%s: %v", ca, err)
		}
	}
}

// connectProxy is an HTTP proxy that knows CONNECT only.
type connectProxy struct {
	addr  string
	auth  atomic.Value // of the last request
	asked atomic.Int32
	deaf  bool
}

func startProxy(t *testing.T, deaf bool) *connectProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	p := &connectProxy{addr: ln.Addr().String(), deaf: deaf}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *connectProxy) serve(c net.Conn) {
	defer c.Close()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	p.asked.Add(1)
	p.auth.Store(req.Header.Get("Proxy-Authorization"))
	if p.deaf {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	up, err := net.Dial("tcp", req.Host)
	if err != nil {
		return
	}
	defer up.Close()
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(up, c) }()
	_, _ = io.Copy(c, up)
}

func TestProxies(t *testing.T) {
	up := start(t, fakellm.Options{})
	p := startProxy(t, false)
	base := provider.Config{Kind: "openai", BaseURL: up.URL() + "/v1"}

	own := base
	own.Proxy = "http://user:pa%20ss@" + p.addr
	if _, err := ask(t, own, patient); err != nil || p.asked.Load() != 1 || p.auth.Load() != "Basic dXNlcjpwYSBzcw==" {
		t.Fatalf("own proxy: %v, asked %d times, authorization %v", err, p.asked.Load(), p.auth.Load())
	}

	// Loopback addresses never go through the environment's proxy: another name for it does.
	t.Setenv("HTTP_PROXY", "http://"+p.addr)
	env := base
	env.BaseURL = "http://0.0.0.0" + up.URL()[strings.LastIndex(up.URL(), ":"):] + "/v1"
	if _, err := ask(t, env, patient); err != nil || p.asked.Load() != 2 {
		t.Fatalf("environment: %v, asked %d times", err, p.asked.Load())
	}
	env.Proxy = "none"
	if _, err := ask(t, env, patient); err != nil || p.asked.Load() != 2 {
		t.Fatalf("none: %v, asked %d times", err, p.asked.Load())
	}
	t.Setenv("NO_PROXY", "0.0.0.0")
	env.Proxy = ""
	if _, err := ask(t, env, patient); err != nil || p.asked.Load() != 2 {
		t.Fatalf("NO_PROXY: %v, asked %d times", err, p.asked.Load())
	}
}

// A proxy that takes the connection and says no more is cut by the connect time.
func TestConnectDeadlineCoversTheProxy(t *testing.T) {
	p := startProxy(t, true)
	quick := patient
	quick.Connect = 50 * time.Millisecond
	_, err := ask(t, provider.Config{Kind: "openai", BaseURL: "http://example.com/v1", Proxy: "http://" + p.addr}, quick)
	var failure *wire.Error
	if !errors.As(err, &failure) || failure.Status != 504 || !failure.Failover {
		t.Fatalf("want a timeout, got %v", err)
	}
}

func TestTLSHandshakeDeadline(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts into its backlog and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	quick := patient
	quick.Connect = 50 * time.Millisecond
	_, err = ask(t, provider.Config{Kind: "openai", BaseURL: "https://" + ln.Addr().String(), Proxy: "none"}, quick)
	var failure *wire.Error
	if !errors.As(err, &failure) || failure.Status != 504 {
		t.Fatalf("want a timeout, got %v", err)
	}
}

// A replica that refuses connections is passed over.
func TestReplicas(t *testing.T) {
	a, b := start(t, fakellm.Options{Kind: fakellm.VLLM}), start(t, fakellm.Options{Kind: fakellm.VLLM})
	clients, err := provider.New(map[string]provider.Config{"gpu": {Kind: "vllm", Replicas: provider.Replicas{List: []string{a.URL(), b.URL()}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer clients["gpu"].Close()
	for range 40 {
		if _, err := askWith(t, clients["gpu"], patient); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.Seen()) < 5 || len(b.Seen()) < 5 {
		t.Errorf("40 requests were shared %d to %d", len(a.Seen()), len(b.Seen()))
	}
	before := len(b.Seen())
	a.Close()
	for range 10 {
		if _, err := askWith(t, clients["gpu"], patient); err != nil {
			t.Fatalf("with one replica down: %v", err)
		}
	}
	if n := len(b.Seen()); n != before+10 {
		t.Errorf("the replica that is left served %d", n)
	}
}
