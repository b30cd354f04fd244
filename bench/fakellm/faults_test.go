package fakellm

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func planServer(t *testing.T, p Plan) *Server {
	return start(t, Options{Default: p})
}

func streaming(model string) string { return chatBody(model, `,"stream":true`) }

func TestFaultsBeforeHeaders(t *testing.T) {
	for fault, check := range map[Fault]func(error) bool{
		ResetBeforeHeaders: func(err error) bool { return errors.Is(err, syscall.ECONNRESET) },
		CloseBeforeHeaders: func(err error) bool { return errors.Is(err, io.EOF) },
		Garbage:            func(err error) bool { return strings.Contains(err.Error(), "malformed HTTP") },
	} {
		s := planServer(t, Plan{Fault: fault})
		got := post(t, s, "/v1/chat/completions", chatBody("fake", ""))
		if got.err == nil || !check(got.err) {
			t.Errorf("%s: %v", fault, got.err)
		}
		seen := s.WaitDone(1, patience)[0]
		want(t, "finished", seen.Finished, false)
		want(t, "status", seen.Status, 0)
		want(t, "billed", seen.Billed, Usage{})
	}
}

func TestFaultsMidStream(t *testing.T) {
	for fault, cause := range map[Fault]error{CutMidStream: io.ErrUnexpectedEOF, ResetMidStream: syscall.ECONNRESET} {
		s := planServer(t, Plan{Fault: fault, Tokens: 20})
		got := post(t, s, "/v1/chat/completions", streaming("fake"))
		if !errors.Is(got.err, cause) {
			t.Errorf("%s: %v", fault, got.err)
		}
		if fault == CutMidStream { // a reset may overtake what was sent
			want(t, "events", len(got.events()), 11)
		}
		seen := s.WaitDone(1, patience)[0]
		want(t, "status", seen.Status, 200)
		want(t, "events in the log", seen.Events, 11)
		want(t, "billed", seen.Billed.Completion, 10)
		want(t, "finished", seen.Finished, false)
	}
}

func TestFaultsMidBody(t *testing.T) {
	for fault, cause := range map[Fault]error{
		TruncatedBody: io.ErrUnexpectedEOF, CutMidStream: io.ErrUnexpectedEOF, ResetMidStream: syscall.ECONNRESET} {
		s := planServer(t, Plan{Fault: fault})
		got := post(t, s, "/v1/chat/completions", chatBody("fake", ""))
		if !errors.Is(got.err, cause) {
			t.Errorf("%s: %v", fault, got.err)
		}
	}
}

func TestFaultsInEvents(t *testing.T) {
	for fault, c := range map[Fault]struct {
		first, last string
		events      int
	}{
		GarbageEvents:      {"<html>", "[DONE]", 3},
		InStreamErrorFirst: {`{"error":`, `{"error":`, 1},
		InStreamErrorMid:   {`{"id":"chatcmpl-`, `{"error":`, 10},
		NoDone:             {`{"id":"chatcmpl-`, `"finish_reason":"stop"`, 18},
	} {
		s := planServer(t, Plan{Fault: fault})
		got := post(t, s, "/v1/chat/completions", streaming("fake"))
		want(t, string(fault)+" status", got.status, 200)
		want(t, string(fault)+" error", got.err, nil)
		all := got.events()
		if len(all) != c.events || !strings.Contains(all[0], c.first) || !strings.Contains(all[len(all)-1], c.last) {
			t.Errorf("%s: %d events:\n%s", fault, len(all), got.body)
		}
	}
	s := planServer(t, Plan{Fault: InStreamErrorFirst})
	want(t, "no stream", post(t, s, "/v1/chat/completions", chatBody("fake", "")).status, 500)
}

func TestStatusFaults(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/chat/completions", chatBody("fake?fault=429&retry_after=1500ms", ""))
	want(t, "status", got.status, 429)
	want(t, "retry-after", got.header.Get("retry-after"), "2")
	want(t, "retry-after-ms", got.header.Get("retry-after-ms"), "1500")
	want(t, "code", got.get("error.code").Str, "rate_limit_exceeded")
	got = post(t, s, "/v1/chat/completions", `not JSON, but the plan does not care`)
	want(t, "not JSON", got.status, 400)
	for _, status := range []int{401, 403, 404, 413, 500, 502, 503} {
		got := post(t, s, "/v1/chat/completions", chatBody("fake?status="+string(appendInt(nil, status)), ""))
		want(t, "status", got.status, status)
		want(t, "has a message", got.get("error.message").Str != "", true)
	}
}

func TestKeepAliveClose(t *testing.T) {
	s := planServer(t, Plan{Fault: KeepAliveClose})
	for _, body := range []string{chatBody("fake", ""), streaming("fake")} {
		c := dial(t, s, rawPost("/v1/chat/completions", body))
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err != nil {
			t.Fatal(err)
		}
		want(t, "announced", res.Close, false)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the connection did not end: %v", err)
		}
	}
}

func TestByteAtATime(t *testing.T) {
	s := planServer(t, Plan{ByteAtATime: true, Tokens: 2})
	c := dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	want(t, "chunks", string(head), "1\r\nd\r\n1\r\na\r\n")
	plain := planServer(t, Plan{Tokens: 2})
	body := streaming("fake")
	want(t, "stream", post(t, s, "/v1/chat/completions", body).body, post(t, plain, "/v1/chat/completions", body).body)
	body = chatBody("fake", "")
	want(t, "whole", post(t, s, "/v1/chat/completions", body).body, post(t, plain, "/v1/chat/completions", body).body)
}

func TestChunksAreHTTPChunks(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 20_000)
	s := planServer(t, Plan{Chunks: [][]byte{[]byte("da"), []byte("ta: 1\n\n"), big}})
	c := dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
	raw := make([]byte, 0, 30_000)
	buf := make([]byte, 4096)
	for !bytes.HasSuffix(raw, []byte("0\r\n\r\n")) {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, buf[:n]...)
	}
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	want(t, "body", string(body), "2\r\nda\r\n7\r\nta: 1\n\n\r\n4e20\r\n"+string(big)+"\r\n0\r\n\r\n")
}

// hangUps are ways for a peer to leave.
func hangUps() map[string]func(net.Conn) {
	return map[string]func(net.Conn){
		"close": func(c net.Conn) { c.Close() },
		"reset": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
		"half":  func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
	}
}

func TestPeerLeaving(t *testing.T) {
	for name, c := range map[string]struct {
		plan   Plan
		stream bool
		head   bool // the headers arrive
		events int
	}{
		"before headers":     {Plan{Fault: StallBeforeHeaders}, true, false, 0},
		"in a delay":         {Plan{Delay: time.Hour}, false, false, 0},
		"before first token": {Plan{Fault: StallBeforeFirstToken}, true, true, 0},
		"first token delay":  {Plan{FirstTokenDelay: time.Hour}, true, true, 0},
		"mid stream":         {Plan{Fault: StallMidStream, StallAfter: 3}, true, true, 4},
		"after":              {Plan{StallAfter: 5, Tokens: 6}, true, true, 6},
		"before content":     {Plan{StallAfter: -1}, true, true, 1},
		"slow drip":          {Plan{EventDelay: time.Hour}, true, true, 1},
		"mid body":           {Plan{Fault: StallMidStream}, false, true, 0},
	} {
		for how, leave := range hangUps() {
			t.Run(name+" "+how, func(t *testing.T) {
				s := planServer(t, c.plan)
				conn := dial(t, s, rawPost("/v1/chat/completions", chatBody("fake", `,"stream":`+map[bool]string{true: "true", false: "false"}[c.stream])))
				if c.head {
					readUntil(t, conn, c.events)
				}
				s.Wait(1, patience)
				left := time.Now()
				leave(conn)
				select {
				case seen := <-s.Closed():
					if lag := seen.ClosedByPeer.Sub(left); lag < 0 {
						t.Errorf("noticed after %v", lag)
					}
					want(t, "events", seen.Events, c.events)
					want(t, "finished", seen.Finished, false)
				case <-time.After(patience):
					t.Fatal("not noticed")
				}
				want(t, "counted", s.Stats().ClosedByPeer, 1)
			})
		}
	}
}

func TestPeerLeavingIsNoticedAtOnce(t *testing.T) {
	s := planServer(t, Plan{Fault: StallMidStream})
	lags := make([]time.Duration, 51)
	for try := 0; try == 0 || try < 5 && lags[25] > 5*time.Millisecond; try++ {
		for i := range lags {
			conn := dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
			readUntil(t, conn, 9)
			left := time.Now()
			conn.Close()
			lags[i] = (<-s.Closed()).ClosedByPeer.Sub(left)
		}
		slices.Sort(lags)
	}
	if lags[25] > 5*time.Millisecond { // others may be late on a busy machine
		t.Errorf("noticed after %v (median), %v (longest)", lags[25], lags[50])
	}
}

func TestRefuseEndsStalls(t *testing.T) {
	s := planServer(t, Plan{Fault: StallBeforeHeaders})
	dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
	s.Wait(1, patience)
	if err := s.Refuse(true); err != nil {
		t.Fatal(err)
	}
	seen := s.WaitDone(1, patience)[0]
	want(t, "ended", seen.Ended.IsZero(), false)
	want(t, "closed by peer", seen.ClosedByPeer.IsZero(), true)
}

// readUntil reads the head and n events.
func readUntil(t *testing.T, c net.Conn, n int) {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte("\r\n\r\n")) || bytes.Count(got, []byte("data: ")) < n {
		k, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:k]...)
	}
}

func TestPeerLeavingFastStream(t *testing.T) {
	s := planServer(t, Plan{Tokens: 1_000_000})
	conn := dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
	readUntil(t, conn, 3)
	conn.Close()
	select {
	case seen := <-s.Closed():
		if seen.ClosedByPeer.IsZero() || seen.Events < 3 {
			t.Errorf("seen %+v", seen)
		}
	case <-time.After(patience):
		t.Fatal("not noticed")
	}
}

func TestStallForEnds(t *testing.T) {
	for _, fault := range []Fault{StallBeforeHeaders, StallBeforeFirstToken, StallMidStream} {
		s := planServer(t, Plan{Fault: fault, StallFor: 20 * time.Millisecond})
		begin := time.Now()
		got := post(t, s, "/v1/chat/completions", streaming("fake"))
		want(t, "error", got.err, nil)
		want(t, "last event", got.events()[18], "[DONE]")
		if d := time.Since(begin); d < 20*time.Millisecond {
			t.Errorf("%s: only %v", fault, d)
		}
	}
}

func TestCloseEndsStalls(t *testing.T) {
	s, err := Start(Options{Default: Plan{Fault: StallBeforeHeaders}})
	if err != nil {
		t.Fatal(err)
	}
	dial(t, s, rawPost("/v1/chat/completions", streaming("fake")))
	s.Wait(1, patience)
	s.Close() // returns only when the handler has ended
	want(t, "closed by peer", s.Stats().ClosedByPeer, 0)
}

func TestPace(t *testing.T) {
	s := planServer(t, Plan{Tokens: 10, EventDelay: 2 * time.Millisecond, FirstTokenDelay: 10 * time.Millisecond, Delay: 10 * time.Millisecond})
	begin := time.Now()
	got := post(t, s, "/v1/chat/completions", streaming("fake"))
	want(t, "error", got.err, nil)
	if d := time.Since(begin); d < 44*time.Millisecond { // 13 events, 12 gaps
		t.Errorf("took only %v", d)
	}
}
