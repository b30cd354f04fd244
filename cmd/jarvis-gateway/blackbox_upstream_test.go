package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// upstream is a provider that answers from a script, byte by byte as it is told, and remembers what it was sent.
type upstream struct {
	testing.TB
	ln net.Listener

	mu      sync.Mutex
	manner  manner
	replies []string
	saw     []sighting
	conns   int
	begun   chan struct{} // closed when the client has seen the first of its answer
	freed   chan struct{} // closed by release
	closed  chan time.Time
	silent  atomic.Bool // all is sent up to a @hang
}

// player sends the answers on one connection.
type player struct {
	*upstream
	manner manner
	conn   net.Conn
	br     *bufio.Reader
	waits  map[string]chan struct{}
}

// manner is how an upstream sends its answers.
type manner struct {
	name     string
	bytewise bool // one byte at a time, each one a chunk
	crlf     bool // CRLF in event streams
}

// sighting is a request as it arrived.
type sighting struct {
	conn   int
	line   string
	header textproto.MIMEHeader
	body   string
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{TB: t, ln: ln, closed: make(chan time.Time, 100)}
	u.script()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.conns++
			number := u.conns
			u.mu.Unlock()
			go u.serve(conn, number)
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return u
}

func (u *upstream) addr() string { return u.ln.Addr().String() }

// script sets what is answered next. In an answer, status and headers may be left out; lines that begin with @ are
// directions: @wait until the client has seen something of the answer, @cut and @reset the connection, @close it after an answer, @pause a little, @hold
// until release, @hang until the gateway hangs up, @eof ends an answer by the connection's end. With a header X-Framing the body goes out as it is,
// and all of an answer that begins with HTTP/1.1.
func (u *upstream) script(replies ...string) { u.scriptIn(manner{}, replies...) }

func (u *upstream) scriptIn(m manner, replies ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.manner, u.replies, u.saw = m, replies, nil
	u.silent.Store(false)
	u.begun, u.freed = make(chan struct{}), make(chan struct{})
	for len(u.closed) > 0 {
		<-u.closed
	}
}

func (u *upstream) clientBegun() {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-u.begun:
	default:
		close(u.begun)
	}
}

// push adds answers to the script.
func (u *upstream) push(replies ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.replies = append(u.replies, replies...)
}

// release lets answers go on that are held.
func (u *upstream) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	close(u.freed)
}

// isRead tells whether the gateway has read all that there is of an answer that hangs. Where the system does not say, it is believed.
func (u *upstream) isRead() bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return u.silent.Load()
	}
	port := fmt.Sprintf(":%04X", u.ln.Addr().(*net.TCPAddr).Port)
	for line := range strings.Lines(string(table)) { // number, local and remote address, state, bytes to send:to read
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasSuffix(fields[1], port) && !strings.HasSuffix(fields[2], port) {
			continue
		}
		if fields[3] == "01" && fields[4] != "00000000:00000000" {
			return false
		}
	}
	return u.silent.Load()
}

func (u *upstream) sightings() []sighting {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.saw
}

func (u *upstream) serve(conn net.Conn, number int) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	for {
		s, err := readSighting(br)
		if err != nil {
			return
		}
		s.conn = number
		u.mu.Lock()
		u.saw = append(u.saw, s)
		reply := "500\n\n{\"error\":{\"message\":\"the script has no answer\"}}"
		waits := map[string]chan struct{}{"@wait": u.begun, "@hold": u.freed}
		if len(u.replies) > 0 {
			reply, u.replies = u.replies[0], u.replies[1:]
		}
		p := &player{upstream: u, manner: u.manner, conn: conn, br: br, waits: waits}
		u.mu.Unlock()
		if !p.play(reply) {
			return
		}
	}
}

func readSighting(br *bufio.Reader) (s sighting, err error) {
	head := textproto.NewReader(br)
	if s.line, err = head.ReadLine(); err != nil {
		return s, err
	}
	if s.header, err = head.ReadMIMEHeader(); err != nil {
		return s, err
	}
	body := io.LimitReader(br, 0)
	if n, err := strconv.ParseInt(s.header.Get("Content-Length"), 10, 64); err == nil {
		body = io.LimitReader(br, n)
	} else if s.header.Get("Transfer-Encoding") != "" {
		body = httputil.NewChunkedReader(br)
	}
	b, err := io.ReadAll(body)
	s.body = string(b)
	return s, err
}

var (
	statusLine = regexp.MustCompile(`^\d{3}\b`)
	direction  = regexp.MustCompile(`@(wait|pause|hold|hang|reset|cut|eof|close)\b\n?`)
)

// splitMessage takes an answer in the tests' notation apart. Without a status line it is all body.
func splitMessage(text string) (status int, fields []string, body string, hasBody bool) {
	if !statusLine.MatchString(text) {
		return 200, nil, endBody(text), true
	}
	head, body, hasBody := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSuffix(head, "\n"), "\n")
	status, _ = strconv.Atoi(lines[0][:3])
	return status, lines[1:], endBody(body), hasBody
}

// endBody drops the last line break, which belongs to the notation, save in an event stream.
func endBody(body string) string {
	if isEvents(body) {
		return body
	}
	return strings.TrimSuffix(body, "\n")
}

var eventLine = regexp.MustCompile(`^(data|event|id|retry)?:|^@|^\n`)

func isEvents(body string) bool { return eventLine.MatchString(body) }

// play sends one answer. It is false when the connection is at its end.
func (p *player) play(reply string) bool {
	if strings.HasPrefix(reply, "HTTP/1.1 ") {
		p.write(reply, false)
		return true
	}
	status, fields, body, _ := splitMessage(reply)
	if body != "" && body[0] == '@' && len(fields) == 0 && status == 200 {
		return p.direct(strings.TrimSpace(body))
	}
	if p.manner.crlf && isEvents(body) {
		body = strings.ReplaceAll(body, "\n", "\r\n")
		body = regexp.MustCompile(`(@[a-z]+)\r\n`).ReplaceAllString(body, "$1\n")
	}
	head := fmt.Sprintf("HTTP/1.1 %d Whatever\r\n%s", status, strings.Join(append(fields, ""), "\r\n"))
	has := func(name string) bool { return strings.Contains(strings.ToLower("\n"+head), "\n"+name+":") }
	if !has("content-type") && body != "" {
		head += map[bool]string{true: "Content-Type: text/event-stream\r\n", false: "Content-Type: application/json\r\n"}[isEvents(body)]
	}
	raw := has("x-framing") // the script has done it all
	chunked := has("transfer-encoding") && !raw
	switch {
	case raw, chunked, has("content-length"), strings.Contains(body, "@eof"):
	case isEvents(body):
		chunked, head = true, head+"Transfer-Encoding: chunked\r\n"
	default:
		head += "Content-Length: " + strconv.Itoa(len(direction.ReplaceAllString(body, ""))) + "\r\n"
	}
	p.write(head+"\r\n", false)
	for {
		at := direction.FindStringIndex(body)
		if at == nil {
			p.write(body, chunked)
			break
		}
		p.write(body[:at[0]], chunked)
		if !p.direct(strings.TrimSpace(body[at[0]:at[1]])) {
			return false
		}
		body = body[at[1]:]
	}
	if chunked {
		p.write("0\r\n\r\n", false)
	}
	return !strings.Contains(strings.ToLower(head), "connection: close")
}

// write ignores errors: the gateway may hang up, which the tests see elsewhere.
func (p *player) write(text string, chunked bool) {
	size := len(text)
	if p.manner.bytewise {
		size = 1
	}
	for len(text) > 0 {
		piece := text[:size]
		text = text[size:]
		if chunked {
			piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := io.WriteString(p.conn, piece); err != nil {
			return
		}
	}
}

func (p *player) direct(what string) bool {
	switch what {
	case "@wait", "@hold":
		select {
		case <-p.waits[what]:
		case <-time.After(patience):
			p.Errorf("%s has not ended in %s", what, patience)
		}
		return true
	case "@pause": // longer than the short times of timeouts.txtar
		<-time.After(600 * time.Millisecond)
		return true
	case "@hang":
		p.silent.Store(true)
		_, _ = p.br.ReadByte() // whatever ends it
		p.closed <- time.Now()
	case "@reset":
		_ = p.conn.(*net.TCPConn).SetLinger(0) // fails only when the connection is gone
	case "@cut", "@eof", "@close":
	default:
		p.Errorf("unknown direction %q", what)
	}
	return false
}
