package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// The black-box tests talk to the real serve command over sockets. It runs inside the test's process, so that the race
// detector sees it; everything the tests know of it is what it prints, answers, sends upstream and counts.

const (
	tenantKey   = "jv-test-0123456789abcdef"
	upstreamKey = "sk-upstream-0123456789abcdef"
	confidence  = "confidential" // in prompts: no log may show it
)

const defaultConfig = `
providers:
  up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}
models:
  chat: {targets: [{provider: up, model: gpt-real}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`

// asProgram is the variable that makes the test's binary the program.
const asProgram = "JARVIS_TEST_AS_PROGRAM"

var (
	gateways sync.WaitGroup
	states   string // holds what gateways keep
)

// TestMain lets gateways finish draining, so that what goes wrong there is seen. A test may run its own binary as the program.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	var err error
	if states, err = os.MkdirTemp("", "jarvis-gateways"); err != nil {
		panic(err)
	}
	code := m.Run()
	gateways.Wait()
	if err := os.RemoveAll(states); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// stateDir is a directory for what a gateway keeps. It outlives its test, as the gateway does, which still writes while it drains.
func stateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(states, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// running is a serve command.
type running struct {
	testing.TB
	api, private string // host:port of the data plane and of the admin port
	path         string // of its config
	welcome      string // what it printed
	log          record
	cancel       context.CancelFunc
	exited       chan struct{}
	code         int
}

// record keeps what a gateway writes.
type record struct {
	mu   sync.Mutex
	text []byte
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, p...)
	return len(p), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

// find returns the first whole line of JSON that matches.
func (r *record) find(match func(gjson.Result) bool) (line gjson.Result, ok bool) {
	for text := range strings.Lines(r.String()) {
		if line = gjson.Parse(text); strings.HasSuffix(text, "\n") && line.IsObject() && match(line) {
			return line, true
		}
	}
	return gjson.Result{}, false
}

var printed = regexp.MustCompile(`(?s)base URL +http://(\S+)/v1.*metrics +http://(\S+)/metrics.*Any OpenAI client.*\n\n`)

// start runs serve with a config and waits for its welcome.
func start(t testing.TB, config string) *running {
	t.Helper()
	if !strings.Contains(config, "listen:") {
		config = "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}\n" + config
	}
	dir := stateDir(t)
	if !strings.Contains(config, "stores:") {
		config = "stores: {state: \"sqlite:" + filepath.Join(dir, "state.db") + "\"}\n" + config
	}
	if !strings.Contains(config, "usage:") {
		config = "usage: {max: 8MiB}\n" + config // there are hundreds of gateways
	}
	path := filepath.Join(dir, "jarvis.yml")
	(&running{TB: t, path: path}).configure(config)
	return startAt(t, path)
}

// startAt runs serve with a config that is there.
func startAt(t testing.TB, path string) *running {
	t.Helper()
	g := &running{TB: t, path: path, exited: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	t.Cleanup(cancel)
	var welcome record
	gateways.Add(1)
	go func() {
		defer gateways.Done()
		g.code = run(ctx, []string{"serve", g.path}, &welcome, &g.log)
		close(g.exited)
	}()
	var at []string
	eventually(t, "the welcome", func() bool {
		at = printed.FindStringSubmatch(welcome.String())
		return at != nil || g.gone()
	})
	if at == nil {
		t.Fatalf("serve ended with %d: %s", g.code, g.log.String())
	}
	g.api, g.private, g.welcome = at[1], at[2], welcome.String()
	return g
}

func (g *running) configure(text string) {
	g.Helper()
	if err := os.WriteFile(g.path, []byte(text), 0o600); err != nil {
		g.Fatal(err)
	}
}

func (g *running) gone() bool {
	select {
	case <-g.exited:
		return true
	default:
		return false
	}
}

// stop is SIGTERM, and waits for the exit code.
func (g *running) stop() int {
	g.cancel()
	<-g.exited
	return g.code
}

// access waits for the access line of a request.
func (g *running) access(id string) (line gjson.Result) {
	g.Helper()
	eventually(g, "the access line of "+id, func() (ok bool) {
		line, ok = g.log.find(func(l gjson.Result) bool { return l.Get("msg").Str == "request" && l.Get("id").Str == id })
		return ok
	})
	return line
}

// metrics reads the admin port: the value of each series, by its name and labels as they are printed.
func (g *running) metrics() map[string]float64 {
	g.Helper()
	res, err := http.Get("http://" + g.private + "/metrics")
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	series := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && lines.Text()[0] != '#' {
			series[lines.Text()[:at]], _ = strconv.ParseFloat(lines.Text()[at+1:], 64)
		}
	}
	return series
}

// idle waits until no request is in flight any more.
func (g *running) idle() {
	g.Helper()
	eventually(g, "nothing in flight", func() bool { return g.metrics()["jarvis_requests_in_flight"] == 0 })
}

// patience is how long a test waits for what must come in the end. Only a test that fails takes that long.
const patience = time.Minute

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

// dialled is one connection to a gateway.
type dialled struct {
	testing.TB
	net.Conn
	br    *bufio.Reader
	begun func() // called when the first bytes of an answer are in
}

func (g *running) dial(t testing.TB) *dialled {
	t.Helper()
	c, err := g.tryDial()
	if err != nil {
		t.Fatal(err)
	}
	c.TB = t
	t.Cleanup(func() { c.Close() })
	return c
}

func (g *running) tryDial() (*dialled, error) {
	conn, err := net.Dial("tcp", g.api)
	if err != nil {
		return nil, err
	}
	c := &dialled{TB: g, Conn: conn}
	c.br = bufio.NewReader(c)
	return c, conn.SetDeadline(time.Now().Add(2 * patience))
}

func (c *dialled) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.begun != nil {
		c.begun()
	}
	return n, err
}

// answer is what a client got.
type answer struct {
	status  int
	header  http.Header
	body    string
	interim []int
	cut     bool // the body ended before its end
	closed  bool // the connection ends with it
}

// send writes a request in the tests' notation, or as it is when that says HTTP/1.
func (c *dialled) send(request string) {
	c.Helper()
	if _, err := c.Write([]byte(rawRequest(request))); err != nil {
		c.Fatal(err)
	}
}

func (c *dialled) receive(method string) answer {
	c.Helper()
	a, err := c.tryReceive(method)
	if err != nil {
		c.Fatalf("no answer: %v", err)
	}
	return a
}

func (c *dialled) tryReceive(method string) (a answer, err error) {
	res, err := http.ReadResponse(c.br, &http.Request{Method: method})
	for err == nil && res.StatusCode < 200 {
		a.interim = append(a.interim, res.StatusCode)
		res, err = http.ReadResponse(c.br, &http.Request{Method: method})
	}
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	a.status, a.header, a.body, a.cut, a.closed = res.StatusCode, res.Header, string(body), err != nil, res.Close
	if a.closed {
		a.header.Set("Connection", "close") // net/http takes it away
	}
	return a, nil
}

func (c *dialled) do(request string) answer {
	c.Helper()
	c.send(request)
	method, _, _ := strings.Cut(rawRequest(request), " ")
	return c.receive(method)
}

// ask sends one request over a connection of its own.
func (g *running) ask(t testing.TB, request string) answer {
	t.Helper()
	c := g.dial(t)
	defer c.Close()
	return c.do(request)
}

// rawRequest completes a request: METHOD PATH, headers, an empty line and the body. It adds the version, the host, the
// tenant's key unless there is another credential or !Authorization, and how the body is framed. The body's last line
// break is not part of it, and line breaks in forms are CRLF. "chat" and "stream" stand for usual requests, to which
// headers may be added.
func rawRequest(text string) string {
	line, rest, _ := strings.Cut(text, "\n")
	switch {
	case strings.Contains(line, "HTTP/1."):
		return text
	case line == "chat" || line == "stream":
		if rest != "" && !strings.HasSuffix(rest, "\n") {
			rest += "\n"
		}
		text = "POST /v1/chat/completions\n" + rest + usualBody[line]
	}
	head, body, hasBody := strings.Cut(text, "\n\n")
	first, fields, _ := strings.Cut(strings.TrimSuffix(head, "\n"), "\n")
	var out strings.Builder
	fmt.Fprintf(&out, "%s HTTP/1.1\r\n", first)
	set := map[string]string{}
	for field := range strings.Lines(fields) {
		name, value, _ := strings.Cut(strings.TrimSpace(field), ":")
		set[strings.ToLower(name)] = strings.TrimSpace(value)
		if name[0] != '!' {
			fmt.Fprintf(&out, "%s\r\n", strings.TrimSpace(field))
		}
	}
	add := func(name, value string, unless ...string) {
		for _, other := range append(unless, name) {
			if _, there := set[strings.ToLower(other)]; there {
				return
			}
		}
		fmt.Fprintf(&out, "%s: %s\r\n", name, value)
	}
	add("Host", "gateway.test")
	add("Authorization", "Bearer "+tenantKey, "x-api-key", "api-key", "!authorization")
	if !hasBody {
		return out.String() + "\r\n"
	}
	body = strings.TrimSuffix(body, "\n")
	if strings.HasPrefix(set["content-type"], "multipart/") {
		body = strings.ReplaceAll(body, "\n", "\r\n")
	}
	add("Content-Type", "application/json")
	if set["transfer-encoding"] == "chunked" {
		half := len(body) / 2
		return fmt.Sprintf("%s\r\n%x\r\n%s\r\n%x;ext=1\r\n%s\r\n0\r\n\r\n", out.String(), half, body[:half], len(body)-half, body[half:])
	}
	add("Content-Length", strconv.Itoa(len(body)))
	return out.String() + "\r\n" + body
}

var usualBody = map[string]string{
	"chat":   "\n" + `{"model":"chat","messages":[{"role":"user","content":"` + confidence + `"}]}`,
	"stream": "\n" + `{"model":"chat","stream":true,"messages":[{"role":"user","content":"` + confidence + `"}]}`,
}

// chatRequest is a request in the tests' notation, for a model.
func chatRequest(model string, stream bool) string {
	return fmt.Sprintf("POST /v1/chat/completions\n\n"+`{"model":%q,"stream":%t,"messages":[{"role":"user","content":"`+confidence+`"}]}`, model, stream)
}

// keepsSecrets fails when text shows what its reader must not know.
func keepsSecrets(t testing.TB, where, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("%s shows %q: ...%s", where, secret, text[max(0, at-100):at+len(secret)])
		}
	}
}

func (a answer) String() string {
	var b bytes.Buffer
	_ = a.header.Write(&b) // to memory
	return fmt.Sprintf("%d\n%s\n%s", a.status, &b, a.body)
}
