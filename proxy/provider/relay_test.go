package provider

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// deaf is a connection of which only the deadlines are asked for.
type deaf struct{ net.Conn }

func (deaf) SetReadDeadline(time.Time) error { return nil }

// relayOf is a stream whose bytes come from a reader and end with the connection, or in chunks.
func relayOf(from io.Reader, head string, kind wire.Kind) *relay {
	res := &response{conn: deaf{}, abort: &Abort{}, idle: time.Hour, deadline: time.Now().Add(time.Hour), close: func(bool) {}}
	if err := res.head.Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n"))); err != nil {
		panic("BUG: " + err.Error())
	}
	res.body.reset(bufio.NewReaderSize(from, 8192), &res.head)
	return &relay{client: &Client{secrets: [][]byte{[]byte("sk-secret")}}, res: res, kind: kind, preamble: maxPreamble}
}

// passed is what became of a stream.
type passed struct {
	opened bool
	out    string
	code   string // of the error, "" at a clean end
	usage  wire.Usage
	told   bool // the stream told of its failure itself
	reuse  bool
}

func (p passed) String() string {
	return fmt.Sprintf("%+q", []any{p.opened, p.out, p.code, p.usage, p.told})
}

func (r *relay) drain(size int) passed { return drain(r, r.res, size) }

// stream is a relay or a translation.
type stream interface {
	wire.Stream
	open() error
	Failure() error
}

// drain reads a stream to its end, in reads of the given size.
func drain(s stream, res *response, size int) (p passed) {
	res.close = func(reuse bool) { p.reuse = reuse }
	err := s.open()
	p.opened = err == nil
	buf := make([]byte, size)
	var out []byte
	for err == nil {
		var n int
		n, err = s.Read(buf)
		out = append(out, buf[:n]...)
		if n == 0 && err == nil {
			panic("BUG: an empty read")
		}
	}
	p.out = string(out)
	var known *wire.Error
	switch {
	case errors.As(err, &known):
		p.code = known.Reason()
	case err != io.EOF:
		p.code = err.Error()
	}
	p.usage, p.told = s.Usage(), s.Failure() != nil
	_ = s.Close() // never fails
	return p
}

const (
	role    = `data: {"model":"m","choices":[{"delta":{"role":"assistant"}}]}` + "\n\n"
	hello   = `data: {"model":"m","choices":[{"delta":{"content":"hello"}}]}` + "\n\n"
	stopped = `data: {"model":"m","choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	counted = `data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\n"
	failure = `data: {"error":{"message":"oops sk-secret","type":"server_error"}}` + "\n\n"
	done    = "data: [DONE]\n\n"

	created   = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\"}}\n\n"
	delta     = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n"
	completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"usage\":{\"input_tokens\":3,\"output_tokens\":2}}}\n\n"
	broken    = "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"error\":{\"code\":\"server_error\",\"message\":\"oops\"}}}\n\n"
)

var relayed = []struct {
	name   string
	kind   wire.Kind
	stream []string // as it is read, one after the other
	want   passed
}{
	{"usage taken out", wire.Chat, []string{role, hello, stopped, counted, done}, passed{true, role + hello + stopped + done, "", wire.Usage{Prompt: 3, Completion: 2}, false, true}},
	{"at once", wire.Chat, []string{role + hello + stopped + counted + done}, passed{true, role + hello + stopped + done, "", wire.Usage{Prompt: 3, Completion: 2}, false, true}},
	{"usage between", wire.Chat, []string{role, counted + hello + counted + stopped, done}, passed{true, role + hello + stopped + done, "", wire.Usage{Prompt: 3, Completion: 2}, false, true}},
	{"no usage", wire.Chat, []string{hello, hello, stopped, done}, passed{true, hello + hello + stopped + done, "", wire.Usage{Completion: 2, Estimated: true}, false, true}},
	{"an error first", wire.Chat, []string{role, failure, done}, passed{false, "", "upstream_error", wire.Usage{Estimated: true}, false, false}},
	{"an error midway", wire.Chat, []string{role, hello, failure, done}, passed{true, role + hello, "upstream_error", wire.Usage{Completion: 1, Estimated: true}, false, false}},
	{"a cut", wire.Chat, []string{role, hello}, passed{true, role + hello, "upstream_error", wire.Usage{Completion: 1, Estimated: true}, false, false}},
	{"nothing", wire.Chat, nil, passed{false, "", "upstream_error", wire.Usage{Estimated: true}, false, true}},
	{"no blank line at the end", wire.Chat, []string{hello, "data: [DONE]"}, passed{true, hello + done, "", wire.Usage{Completion: 1, Estimated: true}, false, true}},
	{"half an event at the end", wire.Chat, []string{hello, stopped, "data: {\"cho"}, passed{true, hello + stopped, "", wire.Usage{Completion: 1, Estimated: true}, false, true}},
	{"half an event in the middle", wire.Chat, []string{hello, "data: {\"cho"}, passed{true, hello, "upstream_error", wire.Usage{Completion: 1, Estimated: true}, false, false}},
	{"comments", wire.Chat, []string{": a\n\n", hello, ": b\n\n", done, ": c\n\n"}, passed{true, hello + ": b\n\n" + done + ": c\n\n", "", wire.Usage{Completion: 1, Estimated: true}, false, true}},
	{"Responses", wire.Response, []string{created, delta, completed}, passed{true, created + delta + completed, "", wire.Usage{Prompt: 3, Completion: 2}, false, true}},
	{"Responses that fail first", wire.Response, []string{created, broken}, passed{false, "", "upstream_error", wire.Usage{Estimated: true}, false, false}},
	{"Responses that fail midway", wire.Response, []string{created, delta, broken}, passed{true, created + delta + broken, "", wire.Usage{Completion: 1, Estimated: true}, true, true}},
	{"Responses that tell too much", wire.Response, []string{delta, strings.Replace(broken, "oops", "sk-secret", 1)}, passed{true, delta, "upstream_error", wire.Usage{Completion: 1, Estimated: true}, false, false}},
	{"Responses that are cut", wire.Response, []string{created, delta}, passed{true, created + delta, "upstream_error", wire.Usage{Completion: 1, Estimated: true}, false, false}},
}

func TestRelay(t *testing.T) {
	for _, c := range relayed {
		var sizes []int
		for _, piece := range c.stream {
			sizes = append(sizes, len(piece))
		}
		for _, size := range []int{4096, 64, 1} {
			r := relayOf(&inReads{text: []byte(strings.Join(c.stream, "")), sizes: sizes}, "Connection: keep-alive", c.kind)
			r.res.body.left = -1
			r.dropUsage = true
			if got := r.drain(size); got != c.want {
				t.Errorf("%s, in reads of %d:\n%v, want\n%v", c.name, size, got, c.want)
			}
		}
	}
}

// The same bytes give the same answer, however they are split; except that a failure which arrives in one read with the
// first content still is the request's.
func FuzzRelay(f *testing.F) {
	for _, c := range relayed {
		f.Add([]byte(strings.Join(c.stream, "")), []byte{1, 7, 30}, byte(c.kind)|4, byte(13))
		f.Add([]byte(strings.Join(c.stream, "")), []byte{90, 200}, byte(c.kind)|8, byte(255))
	}
	f.Fuzz(func(t *testing.T, stream, splits []byte, flags, size byte) {
		play := func(sizes []int, size int) passed {
			from := &inReads{text: stream, sizes: sizes}
			if flags&16 != 0 {
				from.err = errors.New("cut")
			}
			r := relayOf(from, "Connection: close", wire.Kind(flags&3))
			r.dropUsage = flags&4 != 0
			if flags&8 != 0 {
				r.asked = []byte("another-name")
			}
			p := r.drain(size)
			p.reuse = false
			return p
		}
		var events, pieces []int
		for rest := stream; ; {
			end, _ := wire.EventEnd(rest, 0)
			if end == 0 {
				events = append(events, len(rest))
				break
			}
			events, rest = append(events, end), rest[end:]
		}
		for _, s := range splits {
			pieces = append(pieces, int(s))
		}
		want := play(events, 8192)
		got := play(pieces, int(size)+1)
		if want.opened && !got.opened && got.code == want.code && got.code != "" && got.out == "" {
			return
		}
		if got != want {
			t.Fatalf("%q\nin pieces %v\nevent by event %v", stream, got, want)
		}
	})
}

// An event that does not end is a failure, not a matter of memory.
func TestEndlessEvent(t *testing.T) {
	for _, c := range []struct {
		begin, out string
		opened     bool
	}{{"data: ", "", false}, {hello + "data: ", hello, true}} {
		r := relayOf(io.MultiReader(strings.NewReader(c.begin), &endless{pieces: []string{strings.Repeat("x", 4096)}}), "Connection: close", wire.Chat)
		if p := r.drain(4096); p.opened != c.opened || p.out != c.out || p.code != "upstream_error" {
			t.Errorf("%v", p)
		}
	}
}

// endless gives the same bytes again and again, a piece in each read.
type endless struct {
	pieces []string
	turn   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.pieces[e.turn%len(e.pieces)])
	e.turn++
	return n, nil
}

// An event that passes costs no allocation.
func TestRelayAllocatesNothing(t *testing.T) {
	usage := strings.Replace(hello, `"choices"`, `"usage":null,"obfuscation":"abc","choices"`, 1)
	for name, c := range map[string]struct {
		head   string
		pieces []string
		kind   wire.Kind
	}{
		"an event a read":     {"Connection: close", []string{hello}, wire.Chat},
		"many events a read":  {"Connection: close", []string{hello + usage + hello + ": c\n\n" + hello}, wire.Chat},
		"a chunk a read":      {"Transfer-Encoding: chunked", []string{fmt.Sprintf("%x\r\n%s\r\n", len(hello), hello)}, wire.Chat},
		"Responses":           {"Connection: close", []string{delta}, wire.Response},
		"running usage":       {"Connection: close", []string{strings.Replace(hello, `"choices"`, `"usage":{"prompt_tokens":1,"completion_tokens":2},"choices"`, 1)}, wire.Chat},
		"halves of an event":  {"Connection: close", []string{hello[:20], hello[20:]}, wire.Chat},
		"split between lines": {"Connection: close", []string{hello[:len(hello)-1], "\n" + hello + hello[:9], hello[9:]}, wire.Chat},
	} {
		r := relayOf(&endless{pieces: c.pieces}, c.head, c.kind)
		r.dropUsage, r.id = true, "r"
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 4096)
		n := testing.AllocsPerRun(2000, func() {
			if _, err := r.Read(p); err != nil {
				t.Fatal(err)
			}
		})
		split := len(c.pieces) > 1
		if n > 0 && !split || n > 0.5 { // where reads do not end with events, the race detector makes the pool forgetful
			t.Errorf("%s: %v allocations a read", name, n)
		}
	}
}

// A connection that the server closed while it rested is found before anything is written to it.
func TestStaleConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	closed := make(chan struct{}, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			var req fasthttp.Request
			if err := req.Read(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			}
			conn.Close()
			closed <- struct{}{}
		}
	}()
	clients, err := New(map[string]Config{"p": {Kind: "openai", BaseURL: (&url.URL{Scheme: "http", Host: ln.Addr().String()}).String()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer clients["p"].Close()
	for range 3 {
		body, err := wire.Parse([]byte(`{"model":"m"}`))
		if err != nil {
			t.Fatal(err)
		}
		call := Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{}, Body: &body, Model: "m", Abort: &Abort{},
			Begun: time.Now()}
		call.Timeout.Connect, call.Timeout.FirstToken, call.Timeout.Idle, call.Timeout.Total = time.Minute, time.Minute, time.Minute, time.Minute
		var reply wire.Reply
		if err := clients["p"].Do(&call, &reply); err != nil {
			t.Fatal(err)
		}
		reply.Close()
		<-closed
	}
}
