package load

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const plainBody = `{"id":"c1","choices":[{"message":{"role":"assistant","content":"Ropes \"and\" lamps."},"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}`

// streamEvents returns a right stream: a role, the words, a finish, [DONE].
func streamEvents(words ...string) []string {
	out := []string{`{"choices":[{"delta":{"role":"assistant","content":""}}]}`}
	for _, w := range words {
		out = append(out, fmt.Sprintf(`{"choices":[{"delta":{"content":%q}}]}`, w))
	}
	return append(out, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`, "[DONE]")
}

func sse(events ...string) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString("data: " + e + "\n\n")
	}
	return b.String()
}

func plainReply(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func chunkedReply(parts ...string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
	}
	return b.String() + "0\r\n\r\n"
}

// hangUp at the end of a reply closes the connection after it.
const hangUp = "\x00"

// upstream answers every request with what answer returns for it; the number counts from 0 over all connections.
func upstream(t *testing.T, answer func(n int) string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	turns := make(chan int, 1)
	turns <- 0
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveConn(c, func() string {
				n := <-turns
				turns <- n + 1
				return answer(n)
			})
		}
	}()
	return l.Addr().String()
}

func serveConn(c net.Conn, answer func() string) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err = io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		b, last := strings.CutSuffix(answer(), hangUp)
		if _, err = io.WriteString(c, b); err != nil || last {
			return
		}
	}
}

func always(reply string) func(int) string { return func(int) string { return reply } }

// plan is a short plan for addr that expects the right replies of this file.
func plan(addr string, stream bool) Plan {
	p := Plan{Addr: addr, Request: Request(addr, "sk", Chat("m", stream, 300)), Conns: 1, Patience: time.Minute}
	if stream {
		p.Expect = (&Sample{stream: true, body: []byte(sse(streamEvents("a", "b\n", `"c"`)...))}).expectStream()
	} else {
		p.Expect.Body = []byte(plainBody)
	}
	return p
}

// runFor runs p once and checks that no request is unaccounted for.
func runFor(t *testing.T, p Plan, d time.Duration) *Result {
	t.Helper()
	l, err := Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := l.Run(t.Context(), d)
	if r.Sent != r.OK+r.Wrong+r.Lost {
		t.Errorf("sent %d, but ok %d + wrong %d + lost %d", r.Sent, r.OK, r.Wrong, r.Lost)
	}
	return r
}
