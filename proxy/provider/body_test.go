package provider

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// inReads gives a text in reads of given sizes, in turn; then err, or io.EOF.
type inReads struct {
	text  []byte
	sizes []int
	turn  int
	err   error
}

func (p *inReads) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		return 0, io.EOF
	}
	n := len(p.text)
	if len(p.sizes) > 0 {
		n = min(n, max(1, p.sizes[p.turn%len(p.sizes)]))
		p.turn++
	}
	n = copy(b, p.text[:n])
	p.text = p.text[n:]
	return n, nil
}

// bodyOf decodes an answer's body that arrives in reads of the given sizes.
func bodyOf(t testing.TB, head, body string, sizes ...int) (string, *bodyReader, error) {
	t.Helper()
	var h fasthttp.ResponseHeader
	if err := h.Read(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\n" + head + "\r\n"))); err != nil {
		t.Fatal(err)
	}
	var r bodyReader
	r.reset(bufio.NewReaderSize(&inReads{text: []byte(body), sizes: sizes}, 64), &h)
	out, err := io.ReadAll(&r)
	return string(out), &r, err
}

func TestBody(t *testing.T) {
	const chunked, known, until = "Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n", "Connection: close\r\n"
	for name, c := range map[string]struct {
		head, body, want string
		ok               bool
		left             string // unread on the connection
	}{
		"known":                 {known, "hello", "hello", true, ""},
		"known and more":        {known, "helloHTTP/1.1", "hello", true, "HTTP/1.1"},
		"known and cut":         {known, "hel", "hel", false, ""},
		"known and empty":       {"Content-Length: 0\r\n", "x", "", true, "x"},
		"until the end":         {until, "hello", "hello", true, ""},
		"until the end, empty":  {until, "", "", true, ""},
		"chunks":                {chunked, "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", true, ""},
		"chunks and more":       {chunked, "5\r\nhello\r\n0\r\n\r\nHTTP/1.1", "hello", true, "HTTP/1.1"},
		"no chunks":             {chunked, "0\r\n\r\n", "", true, ""},
		"extensions":            {chunked, "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello", true, ""},
		"space after the size":  {chunked, "5 \r\nhello\r\n0\t\r\n\r\n", "hello", true, ""},
		"a trailer":             {chunked, "5\r\nhello\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n", "hello", true, ""},
		"hex":                   {chunked, "A\r\n0123456789\r\nb\r\n0123456789a\r\n00000000000000\r\n\r\n", "01234567890123456789a", true, ""},
		"line feeds only":       {chunked, "5\nhello\n0\n\n", "hello", true, ""},
		"cut in a size":         {chunked, "5\r\nhello\r\n1", "hello", false, ""},
		"cut in a chunk":        {chunked, "5\r\nhel", "hel", false, ""},
		"cut after a chunk":     {chunked, "5\r\nhello\r\n", "hello", false, ""},
		"cut before the end":    {chunked, "5\r\nhello\r\n0\r\n", "hello", false, ""},
		"empty":                 {chunked, "", "", false, ""},
		"no size":               {chunked, "\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a size that is none":   {chunked, "zz\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a signed size":         {chunked, "+5\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a negative size":       {chunked, "-5\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a prefixed size":       {chunked, "0x5\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"space before the size": {chunked, " 5\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a size too long":       {chunked, "0000000000000005\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a size too large":      {chunked, "fffffffffffffff\r\nhello", "hello", false, ""},
		"an endless extension":  {chunked, "5;" + strings.Repeat("x", 100) + "\r\nhello\r\n0\r\n\r\n", "", false, ""},
		"a chunk too short":     {chunked, "6\r\nhello\r\n0\r\n\r\n", "hello\r", true, ""}, // as line feeds will do
		"a chunk too long":      {chunked, "4\r\nhello\r\n0\r\n\r\n", "hell", false, ""},
	} {
		check := func(how string, sizes ...int) {
			got, r, err := bodyOf(t, c.head, c.body, sizes...)
			if got != c.want || (err == nil) != c.ok || r.eof != c.ok {
				t.Errorf("%s, %s: %q, end %t, %v", name, how, got, r.eof, err)
			}
			if err == io.EOF {
				t.Errorf("%s, %s: a cut looks like the end", name, how)
			}
			if rest, _ := io.ReadAll(r.br); c.ok && string(rest) != c.left {
				t.Errorf("%s, %s: left %q, want %q", name, how, rest, c.left)
			}
		}
		check("whole")
		check("bytewise", 1)
		for at := 1; at < len(c.body); at++ {
			check(fmt.Sprintf("split at %d", at), at, len(c.body))
		}
	}
}

// What one read from the socket brought is given at once, over the borders of chunks, without waiting for more.
func TestBodyGivesWhatThereIs(t *testing.T) {
	var h fasthttp.ResponseHeader
	h.SetContentLength(-1)
	first := "2\r\nhe\r\n3\r\nllo\r\n4\r\n wor"
	blocked := errors.New("this read would block")
	var r bodyReader
	r.reset(bufio.NewReader(&inReads{text: []byte(first), err: blocked}), &h)
	p := make([]byte, 100)
	if n, err := r.Read(p); string(p[:n]) != "hello wor" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	if n, err := r.Read(p); n != 0 || !errors.Is(err, blocked) {
		t.Errorf("%d, %v", n, err)
	}
}

func FuzzBody(f *testing.F) {
	f.Add([]byte("2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-A: b\r\n\r\n"), []byte{1, 5})
	f.Add([]byte("a\r\n0123456789\r\n0\r\n\r\nmore"), []byte{3})
	f.Fuzz(func(t *testing.T, body, splits []byte) {
		if len(body) > 1<<16 {
			return
		}
		var sizes []int
		for _, s := range splits {
			sizes = append(sizes, int(s))
		}
		whole, a, err := bodyOf(t, "Transfer-Encoding: chunked\r\n", string(body))
		split, b, splitErr := bodyOf(t, "Transfer-Encoding: chunked\r\n", string(body), sizes...)
		if whole != split || a.eof != b.eof || (err == nil) != (splitErr == nil) {
			t.Fatalf("%q whole is %q, %v; in pieces %q, %v", body, whole, err, split, splitErr)
		}
		theirs, theirErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err == nil && theirErr == nil && string(theirs) != whole {
			t.Fatalf("%q is %q, net/http reads %q", body, whole, theirs)
		}
		if strict := bytes.Count(body, []byte("\n")) == bytes.Count(body, []byte("\r\n")); strict && theirErr == nil && err != nil && whole != string(theirs) {
			t.Fatalf("%q is %q, %v; net/http reads %q", body, whole, err, theirs)
		}
	})
}
