package provider

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/valyala/fasthttp"
)

// bodyReader decodes the body of an answer from the connection's buffered reader. Unlike fasthttp's own it gives all
// that one read from the socket brought, over chunk borders, so that a burst of events costs one write to the client.
type bodyReader struct {
	br      *bufio.Reader
	left    int64 // bytes left of the body, or of the current chunk; -1: until the connection ends
	chunked bool
	first   bool // no chunk was read yet, so that no line break stands before the next size
	trailer bool // the last chunk was read
	eof     bool // the body was read to its end
}

var errChunk = errors.New("malformed chunked encoding")

func (b *bodyReader) reset(br *bufio.Reader, head *fasthttp.ResponseHeader) {
	*b = bodyReader{br: br, left: int64(head.ContentLength()), first: true}
	switch {
	case head.StatusCode() == fasthttp.StatusNoContent || head.StatusCode() == fasthttp.StatusNotModified:
		b.left, b.eof = 0, true
	case b.left == -1:
		b.chunked, b.left = true, 0
	case b.left == -2:
		b.left = -1
	case b.left == 0:
		b.eof = true
	}
}

// Read blocks until there is something to give, and then gives what it can without blocking again.
func (b *bodyReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && !b.eof {
		if b.chunked && b.left == 0 {
			next := b.nextChunk
			if b.trailer {
				next = b.nextTrailer
			}
			if n > 0 && !b.lineBuffered() {
				return n, nil
			}
			if err := next(); err != nil {
				return n, err
			}
			continue
		}
		if n > 0 && b.br.Buffered() == 0 {
			return n, nil
		}
		m, err := b.take(p[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	if n == 0 && b.eof {
		return 0, io.EOF
	}
	return n, nil
}

func (b *bodyReader) take(p []byte) (int, error) {
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if buffered := b.br.Buffered(); buffered > 0 && len(p) > buffered {
		p = p[:buffered]
	}
	n, err := b.br.Read(p)
	if b.left >= 0 {
		b.left -= int64(n)
		b.eof = b.left == 0 && !b.chunked
		if err == io.EOF && !b.eof {
			err = io.ErrUnexpectedEOF
		}
	} else if err == io.EOF {
		b.eof, err = true, nil
	}
	return n, err
}

// lineBuffered tells whether the next chunk's size, or the next line of the trailer, can be read without blocking.
func (b *bodyReader) lineBuffered() bool {
	buffered, _ := b.br.Peek(b.br.Buffered())
	if !b.first && !b.trailer { // the line break that ends the last chunk
		n := bytes.IndexByte(buffered, '\n')
		if n < 0 {
			return false
		}
		buffered = buffered[n+1:]
	}
	return bytes.IndexByte(buffered, '\n') >= 0
}

// nextChunk reads a chunk's size (RFC 9112, 7.1).
func (b *bodyReader) nextChunk() error {
	if !b.first {
		if line, err := b.line(); err != nil || len(line) != 0 {
			return errors.Join(errChunk, err)
		}
	}
	b.first = false
	line, err := b.line()
	if err != nil {
		return err
	}
	size, ok := parseChunkSize(line)
	if !ok {
		return errChunk
	}
	b.left, b.trailer = size, size == 0
	return nil
}

// nextTrailer reads one line behind the last chunk; the empty one ends the body.
func (b *bodyReader) nextTrailer() error {
	line, err := b.line()
	b.eof = err == nil && len(line) == 0
	return err
}

func (b *bodyReader) line() ([]byte, error) {
	line, err := b.br.ReadSlice('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], crByte), nil
}

var crByte = []byte{'\r'}

func parseChunkSize(line []byte) (int64, bool) {
	if ext := bytes.IndexByte(line, ';'); ext >= 0 {
		line = line[:ext]
	}
	line = bytes.TrimRight(line, " \t")
	if len(line) == 0 || len(line) > 15 {
		return 0, false
	}
	var size int64
	for _, c := range line {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		size = size<<4 | int64(c)
	}
	return size, true
}
