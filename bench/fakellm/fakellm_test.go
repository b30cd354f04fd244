package fakellm

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

const patience = 30 * time.Second // for what must happen; nothing waits that long when all is well

func start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// reply is an answer as a client got it; err is why it is not whole.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r reply) get(path string) gjson.Result { return gjson.Get(r.body, path) }

// events are the data of an event stream.
func (r reply) events() []string {
	var all []string
	for ev := range strings.SplitSeq(r.body, "\n\n") {
		for line := range strings.SplitSeq(ev, "\n") {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				all = append(all, data)
			}
		}
	}
	return all
}

// do sends a request with header lines like "name: value".
func do(t testing.TB, s *Server, method, path, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trusting(s)}}
	res, err := client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(all), err}
}

func trusting(s *Server) *tls.Config {
	if s.CA() == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA())
	return &tls.Config{RootCAs: pool}
}

func post(t testing.TB, s *Server, path, body string, header ...string) reply {
	t.Helper()
	return do(t, s, "POST", path, body, header...)
}

func chatBody(model string, more string) string {
	return `{"model":"` + model + `","messages":[{"role":"user","content":"hello there"}]` + more + `}`
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// dial sends raw bytes and returns the connection.
func dial(t testing.TB, s *Server, request string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return c
}

func rawPost(path, body string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: fake\r\ncontent-type: application/json\r\nContent-Length: " +
		string(appendInt(nil, len(body))) + "\r\n\r\n" + body
}

func TestSeenIsWhatWasOnTheWire(t *testing.T) {
	s := start(t, Options{LogBodies: true})
	body := chatBody("gpt-5-nano", "")
	c := dial(t, s, "POST /v1/chat%2Fcompletions/../x?a=1&A=%2f HTTP/1.1\r\nhOST: fake\r\nX-b: 2\r\nX-A: 1\r\nx-B: 3\r\nContent-Type: application/json\r\nContent-Length: "+
		string(appendInt(nil, len(body)))+"\r\n\r\n"+body)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "status", res.StatusCode, 404)
	seen := s.WaitDone(1, patience)[0]
	want(t, "path", seen.Path, "/v1/chat%2Fcompletions/../x?a=1&A=%2f")
	want(t, "body", string(seen.Body), body)
	var names []string
	for _, f := range seen.Header {
		names = append(names, f.Name+"="+f.Value)
	}
	want(t, "header", strings.Join(names[:4], " "), "hOST=fake X-b=2 X-A=1 x-B=3")
	want(t, "Get", seen.Get("X-B"), "2")
	want(t, "status in the log", seen.Status, 404)
}

func TestKeepAliveShowsInConnID(t *testing.T) {
	s := start(t, Options{})
	client := http.Client{Transport: &http.Transport{}}
	for range 3 {
		res, err := client.Post(s.URL()+"/v1/chat/completions", "application/json", strings.NewReader(chatBody("fake", "")))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	client.CloseIdleConnections()
	post(t, s, "/v1/chat/completions", chatBody("fake", ""))
	var ids []int
	for _, seen := range s.WaitDone(4, patience) {
		ids = append(ids, seen.ConnID)
	}
	if len(ids) != 4 || ids[0] != ids[2] || ids[3] == ids[0] {
		t.Errorf("connection ids %v", ids)
	}
}

func TestViolations(t *testing.T) {
	s := start(t, Options{})
	for _, c := range []struct{ header, body, want string }{
		{"x-jarvis-tenant: a", chatBody("fake", ""), "internal header X-Jarvis-Tenant: a"},
		{"authorization: Bearer jv-secret", chatBody("fake", ""), "client key in header Authorization"},
		{"x-other: jv-secret", chatBody("fake", ""), "client key in header X-Other"},
		{"te: trailers", chatBody("fake", ""), "hop-by-hop header Te: trailers"},
		{"proxy-authorization: x", chatBody("fake", ""), "hop-by-hop header Proxy-Authorization: x"},
		{"cookie: a=b", chatBody("fake", ""), "cookie of a client: a=b"},
		{"accept: */*", chatBody("fake", `,"MODEL":"dear"`), `repeated key "MODEL" in the JSON`},
		{"accept: */*", `{"model":"fake","messages":[{"role":"user","role":"user","content":"x"}]}`, `repeated key "role" in messages[0]`},
		{"accept: */*", chatBody("fake", ""), ""},
	} {
		s.Reset()
		post(t, s, "/v1/chat/completions", c.body, c.header)
		got := strings.Join(s.WaitDone(1, patience)[0].Violations, "; ")
		want(t, c.header+" "+c.body, got, c.want)
	}
	want(t, "counted", s.Stats().Violations, 0)
}

func TestAPIKey(t *testing.T) {
	for kind, c := range map[Kind]struct{ path, good, code string }{
		OpenAI: {"/v1/chat/completions", "authorization: Bearer sk-1234567890abcdef", "error.code invalid_api_key"},
		VLLM:   {"/v1/chat/completions", "authorization: Bearer sk-1234567890abcdef", "error Unauthorized"},
		Azure:  {"/openai/deployments/d/chat/completions?api-version=2024-10-21", "api-key: sk-1234567890abcdef", "error.code 401"},
	} {
		s := start(t, Options{Kind: kind, APIKey: "sk-1234567890abcdef"})
		want(t, "good key", post(t, s, c.path, chatBody("fake", ""), c.good).status, 200)
		bad := post(t, s, c.path, chatBody("fake", ""), "authorization: Bearer sk-abcdefghijklmnopq")
		want(t, "bad key", bad.status, 401)
		path, value, _ := strings.Cut(c.code, " ")
		want(t, string(kind), bad.get(path).String(), value)
	}
}

func TestTLS(t *testing.T) {
	s := start(t, Options{TLS: true})
	got := post(t, s, "/v1/chat/completions", chatBody("fake", ""))
	want(t, "status", got.status, 200)
	s.SetPlan(func(*Seen) Plan { return Plan{Fault: CutMidStream} })
	if got := post(t, s, "/v1/chat/completions", chatBody("fake", `,"stream":true`)); got.err == nil {
		t.Error("a cut stream came whole over TLS")
	}
}

func TestRefuse(t *testing.T) {
	s := start(t, Options{})
	want(t, "before", post(t, s, "/v1/chat/completions", chatBody("fake", "")).status, 200)
	if err := s.Refuse(true); err != nil {
		t.Fatal(err)
	}
	if got := post(t, s, "/v1/chat/completions", chatBody("fake", "")); got.err == nil || !strings.Contains(got.err.Error(), "refused") {
		t.Errorf("while refusing: %v", got.err)
	}
	if err := s.Refuse(false); err != nil {
		t.Fatal(err)
	}
	want(t, "after", post(t, s, "/v1/chat/completions", chatBody("fake", "")).status, 200)
}

func TestOwnPages(t *testing.T) {
	s := start(t, Options{LogBodies: true})
	post(t, s, "/v1/chat/completions", chatBody("fake?tokens=5", `,"stream":true`))
	s.WaitDone(1, patience)
	stats := do(t, s, "GET", "/_fake/stats", "")
	want(t, "stats", strings.Join(strings.Fields(stats.body), ""),
		`{"requests":1,"streams":1,"events":8,"prompt_tokens":6,"completion_tokens":5,"closed_by_peer":0,"violations":0}`)
	want(t, "log", do(t, s, "GET", "/_fake/log", "").get("0.body").String(), chatBody("fake?tokens=5", `,"stream":true`))
	want(t, "reset", do(t, s, "POST", "/_fake/reset", "").get("requests").Int(), 0)
	want(t, "log after reset", len(s.Seen()), 0)
}

func TestQuietKeepsNoLog(t *testing.T) {
	s := start(t, Options{Quiet: true})
	post(t, s, "/v1/chat/completions", chatBody("fake", ""))
	want(t, "log", len(s.Seen()), 0)
	want(t, "requests", s.Stats().Requests, 1)
}

func TestSameRequestSameBytes(t *testing.T) {
	for _, more := range []string{"", `,"stream":true`, `,"n":3,"logprobs":true,"top_logprobs":2`} {
		a, b := start(t, Options{}), start(t, Options{})
		first := post(t, a, "/v1/chat/completions", chatBody("fake", more))
		again := post(t, b, "/v1/chat/completions", chatBody("fake", more))
		want(t, more, first.body, again.body)
		if other := post(t, a, "/v1/chat/completions", chatBody("fake2", more)); other.get("id").Exists() && other.get("id").Str == first.get("id").Str {
			t.Errorf("another request, the same id")
		}
	}
}

func TestPlanFunc(t *testing.T) {
	s := start(t, Options{LogBodies: false, Plan: func(seen *Seen) Plan {
		if seen.Seq == 1 && bytes.Contains(seen.Body, []byte("hello")) && seen.Model == "gpt" && seen.Stream {
			return Plan{Status: 503, Header: map[string]string{"x-cause": "first"}}
		}
		return Plan{Text: "fine"}
	}})
	first := post(t, s, "/v1/chat/completions", chatBody("gpt", `,"stream":true`))
	want(t, "first", first.status, 503)
	want(t, "header", first.header.Get("x-cause"), "first")
	want(t, "second", post(t, s, "/v1/chat/completions", chatBody("gpt", "")).get("choices.0.message.content").Str, "fine")
}
