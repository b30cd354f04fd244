package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// reader cuts HTTP/1.1 replies out of a byte stream. It exists because net/http's client costs several times
// what the measured proxy does, and on a shared machine that is CPU taken from the proxy.
type reader struct {
	src      io.Reader
	buf      []byte
	pos, end int // buf[pos:end] has arrived and is not used yet
}

// sink takes a reply's body part by part, without the chunk framing. A part is valid until part returns.
type sink interface{ part(p []byte) }

// head is what the framing needs to know of a reply.
type head struct {
	status int
	length int // of the body; chunked if negative
	close  bool
}

const chunked = -1

var (
	errLine  = errors.New("line longer than the buffer")
	errChunk = errors.New("malformed chunk")
	errHead  = errors.New("malformed head")
)

// fill reads once. A peer that closes in the middle of a reply is always an unexpected end.
func (r *reader) fill() error {
	if r.pos == r.end {
		r.pos, r.end = 0, 0
	} else if r.end == len(r.buf) {
		if r.pos == 0 {
			return errLine
		}
		r.end = copy(r.buf, r.buf[r.pos:r.end])
		r.pos = 0
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// line returns the next line without its end. It is valid until the next call of any method.
func (r *reader) line() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.pos+seen:r.end], '\n'); i >= 0 {
			l := r.buf[r.pos : r.pos+seen+i]
			r.pos += seen + i + 1
			return bytes.TrimSuffix(l, []byte("\r")), nil
		}
		seen = r.end - r.pos
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *reader) head() (head, error) {
	l, err := r.line()
	if err != nil {
		return head{}, err
	}
	h, framed := head{}, false
	if h.status, err = status(l); err != nil {
		return h, err
	}
	for {
		if l, err = r.line(); err != nil {
			return h, err
		}
		if len(l) == 0 {
			break
		}
		if framed, err = h.field(l, framed); err != nil {
			return h, err
		}
	}
	if !framed {
		return h, fmt.Errorf("%w: neither Content-Length nor chunked", errHead)
	}
	return h, nil
}

func status(l []byte) (int, error) {
	if len(l) < 12 || !bytes.HasPrefix(l, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("%w: %.60q", errHead, l)
	}
	n, ok := decimal(l[9:12])
	if !ok {
		return 0, fmt.Errorf("%w: %.60q", errHead, l)
	}
	return n, nil
}

// field looks at one header line and reports whether the body's framing is known by now.
func (h *head) field(l []byte, framed bool) (bool, error) {
	i := bytes.IndexByte(l, ':')
	if i < 0 {
		return framed, fmt.Errorf("%w: %.60q", errHead, l)
	}
	name, value := l[:i], bytes.TrimSpace(l[i+1:])
	switch {
	case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
		n, ok := decimal(value)
		if !ok || framed {
			return framed, fmt.Errorf("%w: %.60q", errHead, l)
		}
		h.length, framed = n, true
	case len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if !bytes.EqualFold(value, []byte("chunked")) || framed {
			return framed, fmt.Errorf("%w: %.60q", errHead, l)
		}
		h.length, framed = chunked, true
	case len(name) == 10 && bytes.EqualFold(name, []byte("Connection")):
		h.close = bytes.EqualFold(value, []byte("close"))
	}
	return framed, nil
}

// body hands the whole body to s.
func (r *reader) body(h head, s sink) error {
	if h.length != chunked {
		return r.take(h.length, s)
	}
	for {
		l, err := r.line()
		if err != nil {
			return err
		}
		n, ok := chunkSize(l)
		if !ok {
			return fmt.Errorf("%w: size %.40q", errChunk, l)
		}
		if n == 0 {
			return r.trailer()
		}
		if err = r.take(n, s); err != nil {
			return err
		}
		if l, err = r.line(); err != nil {
			return err
		}
		if len(l) != 0 {
			return fmt.Errorf("%w: %.40q after its end", errChunk, l)
		}
	}
}

// take hands the next n bytes to s as they arrive: a stream's first token is timed here, not when its chunk is complete.
func (r *reader) take(n int, s sink) error {
	for n > 0 {
		if r.pos == r.end {
			if err := r.fill(); err != nil {
				return err
			}
		}
		p := r.buf[r.pos:min(r.end, r.pos+n)]
		r.pos += len(p)
		n -= len(p)
		s.part(p)
	}
	return nil
}

func (r *reader) trailer() error {
	for {
		l, err := r.line()
		if err != nil || len(l) == 0 {
			return err
		}
	}
}

func decimal(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 12 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// chunkSize reads a chunk's first line: hexadecimal digits, then perhaps an extension, which nobody uses.
func chunkSize(l []byte) (int, bool) {
	if i := bytes.IndexByte(l, ';'); i >= 0 {
		l = l[:i]
	}
	l = bytes.TrimRight(l, " \t")
	if len(l) == 0 || len(l) > 7 {
		return 0, false
	}
	n := 0
	for _, c := range l {
		d := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
		if d < 0 {
			return 0, false
		}
		n = n<<4 | d
	}
	return n, true
}
