package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestChatIsExactlyAsLongAndValid(t *testing.T) {
	for _, size := range []int{300, 301, 1 << 10, 10 << 10, 10<<10 + 7, 100 << 10} {
		body := Chat("fake?tokens=5&event_delay=5ms", true, size)
		if len(body) != size {
			t.Errorf("%d bytes, want %d", len(body), size)
		}
		var req struct {
			Model    string
			Stream   bool
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal(body, &req); err != nil {
			t.Fatalf("%d: %v in %s", size, err, body)
		}
		if last := req.Messages[len(req.Messages)-1]; last.Role != "user" || last.Content == "" || !req.Stream {
			t.Errorf("%d: ends with %+v", size, last)
		}
	}
	if small := Chat("m", false, 1); !json.Valid(small) {
		t.Errorf("shorter than possible: %s", small)
	}
}

func TestRequestIsHTTP(t *testing.T) {
	body := Chat("m", false, 500)
	raw := Request("127.0.0.1:1", "sk-1", body)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if req.ContentLength != 500 || req.Header.Get("Authorization") != "Bearer sk-1" || !bytes.HasSuffix(raw, body) {
		t.Errorf("%+v", req)
	}
}

func TestProbe(t *testing.T) {
	request := Request("x", "sk", Chat("m", false, 300))
	plain, err := Probe(t.Context(), upstream(t, always(plainReply(plainBody))), request, false)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Text != `Ropes "and" lamps.` || plain.Finish != "stop" || plain.Prompt != 9 || plain.Completion != 5 {
		t.Errorf("%+v", plain)
	}
	stream, err := Probe(t.Context(), upstream(t, always(chunkedReply(sse(streamEvents("a", "b\n")...)))), request, true)
	if err != nil {
		t.Fatal(err)
	}
	if stream.Text != "ab\n" || stream.Events != 4 || stream.Finish != "stop" {
		t.Errorf("%+v", stream)
	}
	if err := stream.Differs(plain); err == nil {
		t.Error("a stream of other text does not differ")
	}
	if e := stream.Expect(stream); !e.Stream || e.Events != 4 {
		t.Errorf("%+v", e)
	}
}

func TestProbeRefuses(t *testing.T) {
	request := Request("x", "sk", Chat("m", true, 300))
	for why, reply := range map[string]string{
		"status 429":     "HTTP/1.1 429 No\r\nContent-Length: 4\r\n\r\nslow",
		"no [DONE]":      chunkedReply(sse(streamEvents("a")[:2]...)),
		"after [DONE]":   chunkedReply(sse("[DONE]", "{}")),
		"invalid char":   chunkedReply(sse("{x}", "[DONE]")),
		"unexpected EOF": "HTTP/1.1 200 OK\r\n" + hangUp,
	} {
		_, err := Probe(t.Context(), upstream(t, always(reply)), request, true)
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("error %v, want %q", err, why)
		}
	}
}

// Replies whose ids change are checked by content and usage.
func TestExpectParts(t *testing.T) {
	read := func(body string) *Sample {
		s := &Sample{body: []byte(body)}
		if err := s.read(s.body); err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := read(plainBody), read(strings.Replace(plainBody, "c1", "c2", 1))
	if e := one.Expect(one); e.Body == nil {
		t.Error("equal replies must be expected byte for byte")
	}
	e := one.Expect(two)
	if e.Body != nil || len(e.Parts) != 2 {
		t.Fatalf("%+v", e)
	}
	if err := checkParts([]byte(strings.Replace(plainBody, "c1", "c17", 1)), e.Parts); err != nil {
		t.Error(err)
	}
	for _, lie := range []string{"Ropes", "lamps", `:9`, `:14`, "content"} {
		if err := checkParts([]byte(strings.Replace(plainBody, lie, "?", 1)), e.Parts); err == nil {
			t.Errorf("%q replaced goes unnoticed", lie)
		}
	}
	if err := checkParts([]byte(plainBody[:len(plainBody)-1]), e.Parts); err == nil {
		t.Error("a cut object goes unnoticed")
	}
}

func TestHeld(t *testing.T) {
	addr := slowStreams(t, 30*time.Millisecond, 100_000)
	h := NewHeld(addr, Request(addr, "sk", Chat("m", true, 300)))
	defer h.Close()
	if err := h.Grow(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if err := h.Grow(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if len(h.streams) != 100 {
		t.Errorf("%d streams, want 100", len(h.streams))
	}
	if n := h.Stuck(t.Context(), 30*time.Second); n != 0 {
		t.Errorf("%d streams are stuck", n)
	}
}

func TestHeldNoticesStreamsThatStop(t *testing.T) {
	addr := slowStreams(t, 10*time.Millisecond, 3)
	h := NewHeld(addr, Request(addr, "sk", Chat("m", true, 300)))
	defer h.Close()
	if err := h.Grow(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Minute)
	for h.Stuck(t.Context(), 50*time.Millisecond) != 10 {
		if time.Now().After(end) {
			t.Fatal("no end of the streams is noticed")
		}
	}
}

func TestHeldReportsRefusal(t *testing.T) {
	addr := upstream(t, always("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))
	h := NewHeld(addr, Request(addr, "sk", Chat("m", true, 300)))
	defer h.Close()
	if err := h.Grow(t.Context(), 3); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("error %v, want status 503", err)
	}
}

// slowStreams serves streams of n events.
func slowStreams(t *testing.T, gap time.Duration, n int) (addr string) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range n {
			if _, err := w.Write([]byte(sse(`{"content":"x"}`))); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(gap)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}
