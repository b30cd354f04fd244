package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

type collected struct{ bytes.Buffer }

func (c *collected) part(p []byte) { c.Write(p) }

// readAll reads replies from in until it ends, and returns their bodies.
func readAll(in io.Reader, size int) (bodies []string, err error) {
	r := reader{src: in, buf: make([]byte, size)}
	for {
		h, err := r.head()
		if err != nil {
			return bodies, err
		}
		var c collected
		err = r.body(h, &c)
		bodies = append(bodies, c.String())
		if err != nil {
			return bodies, err
		}
	}
}

func TestReader(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	const chunks = ok + "Transfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct {
		name, in string
		bodies   string // joined by |
		err      error  // ErrUnexpectedEOF after the last whole reply is the regular end
	}{
		{"length", ok + "Content-Length: 5\r\n\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"lower case, bare LF", "HTTP/1.1 200 OK\ncontent-length:5\n\nhello", "hello", io.ErrUnexpectedEOF},
		{"two replies", ok + "Content-Length: 2\r\n\r\nhi" + ok + "Content-Length: 0\r\n\r\n", "hi|", io.ErrUnexpectedEOF},
		{"chunks", chunks + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", io.ErrUnexpectedEOF},
		{"hex, both cases", chunks + "A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a", io.ErrUnexpectedEOF},
		{"extension", chunks + "2;name=x\r\nhi\r\n0;last\r\n\r\n", "hi", io.ErrUnexpectedEOF},
		{"trailer", chunks + "2\r\nhi\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", "hi|x", io.ErrUnexpectedEOF},
		{"empty stream", chunks + "0\r\n\r\n", "", io.ErrUnexpectedEOF},
		{"looks like a chunk", chunks + "9\r\n0\r\n\r\n3\r\nx\r\n0\r\n\r\n", "0\r\n\r\n3\r\nx", io.ErrUnexpectedEOF},
		{"cut in a chunk", chunks + "5\r\nhel", "hel", io.ErrUnexpectedEOF},
		{"no size", chunks + "\r\nhello", "", errChunk},
		{"size not hex", chunks + "5g\r\nhello", "", errChunk},
		{"size negative", chunks + "-5\r\nhello", "", errChunk},
		{"size too large", chunks + "ffffffff\r\nhello", "", errChunk},
		{"chunk longer than said", chunks + "2\r\nhello\r\n", "he", errChunk},
		{"length twice", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "", errHead},
		{"length and chunks", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "", errHead},
		{"length not a number", ok + "Content-Length: +5\r\n\r\nhello", "", errHead},
		{"status not a number", "HTTP/1.1 2x0 OK\r\n\r\n", "", errHead},
		{"short status line", "HTTP/1.1 20\r\n\r\n", "", errHead},
		{"header without a colon", ok + "nonsense\r\n\r\n", "", errHead},
		{"endless line", ok + strings.Repeat("a", 100), "", errLine},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				bodies, err := readAll(in, 48)
				if got := strings.Join(bodies, "|"); got != c.bodies || !errors.Is(err, c.err) {
					t.Errorf("bodies %q, error %v; want %q, %v", got, err, c.bodies, c.err)
				}
			}
		})
	}
}

func TestReaderStatusAndClose(t *testing.T) {
	r := reader{src: strings.NewReader("HTTP/1.1 429 Too Many\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"), buf: make([]byte, 64)}
	h, err := r.head()
	if h != (head{status: 429, close: true}) || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
}

// Whatever bytes come, the reader neither panics nor hangs, how they are split makes no difference,
// and what it accepts it reads as net/http does.
func FuzzReader(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte(chunkedReply("a", "bc", sse(streamEvents("x")...))))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: 1\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, err := readAll(bytes.NewReader(in), 4096)
		split, err2 := readAll(iotest.OneByteReader(bytes.NewReader(in)), 4096)
		if strings.Join(whole, "|") != strings.Join(split, "|") || (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %q, %v; byte by byte: %q, %v", whole, err, split, err2)
		}
		r := reader{src: bytes.NewReader(in), buf: make([]byte, 4096)}
		var c collected
		h, err := r.head()
		if err != nil || h.status < 200 || h.status == 204 || h.status == 304 || r.body(h, &c) != nil {
			return
		}
		if body, ok := standard(in); ok && body != c.String() {
			t.Fatalf("read %q, net/http reads %q", c.String(), body)
		}
	})
}

// standard reads the first reply with net/http, which refuses more than the reader does.
func standard(in []byte) (string, bool) {
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
	if err != nil {
		return "", false
	}
	b, err := io.ReadAll(res.Body)
	return string(b), err == nil
}

// However a stream is split, it has the same events.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(sse(streamEvents("a", `"`, "\n")...)), 7)
	f.Add([]byte("data:{\"content\": \"x\\\"\"}\r\n\r\ndata: [DONE]\n\n"), 3)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		var whole, split events
		whole.reset()
		split.reset()
		whole.part(in)
		for p := in; len(p) > 0; {
			n := min(len(p), max(1, size%64))
			split.part(p[:n])
			p = p[n:]
		}
		if whole.n != split.n || whole.text != split.text || whole.done != split.done || whole.fault != split.fault {
			t.Fatalf("whole %+v, split %+v", whole, split)
		}
	})
}
