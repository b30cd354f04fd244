package provider

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

const (
	// maxAnswer bounds an answer that is held whole, maxEvent one event of a stream.
	maxAnswer = 256 << 20
	maxEvent  = 32 << 20
	// maxPreamble bounds what is held back of a stream before its first content.
	maxPreamble = 4 << 20
	// bigBody is a request body that may not fit the socket's buffer, so that writing it can block.
	bigBody = 64 << 10
	// idleConns is how long an unused connection is kept.
	idleConns       = 90 * time.Second
	defaultMaxConns = 16384
)

// host is one base URL and its connection pool.
type host struct {
	base   *url.URL
	prefix string // the base URL's path, without a slash at its end
	dialer *dialer
	pool   fasthttp.HostClient

	retired atomic.Bool // its client is closed: no connection is kept
}

func newHost(base *url.URL, cfg Config) (*host, error) {
	d, err := newDialer(base, cfg)
	if err != nil {
		return nil, err
	}
	h := &host{base: base, prefix: trimSlash(base.Path), dialer: d}
	h.pool = fasthttp.HostClient{
		Addr:                     addrOf(base),
		DialTimeout:              func(string, time.Duration) (net.Conn, error) { return &upstreamConn{}, nil },
		MaxConns:                 cfg.MaxConns,
		MaxIdleConnDuration:      idleConns,
		NoDefaultUserAgentHeader: true,
	}
	if h.pool.MaxConns == 0 {
		h.pool.MaxConns = defaultMaxConns
	}
	return h, nil
}

// retire closes the connections that are idle, and those that calls under way give back: many reloads in a row would leave so many
// of them behind, and providers count what is open.
func (h *host) retire() {
	h.retired.Store(true)
	h.pool.CloseIdleConnections()
}

func trimSlash(path string) string {
	for len(path) > 0 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	return path
}

func addrOf(base *url.URL) string {
	if base.Port() != "" {
		return base.Host
	}
	if base.Scheme == "https" {
		return net.JoinHostPort(base.Hostname(), "443")
	}
	return net.JoinHostPort(base.Hostname(), "80")
}

// response is an upstream answer whose headers are in. Its body is still on the connection, which close gives back to
// the pool when the body was read to its end and everything was in order, or closes.
type response struct {
	head  fasthttp.ResponseHeader
	body  bodyReader
	conn  net.Conn
	abort *Abort
	close func(reuse bool)

	begun    time.Time     // the attempt
	deadline time.Time     // of the whole attempt
	idle     time.Duration // between two reads of a stream
	armed    time.Time     // when the read deadline was last moved
	call     *Call         // whose answer it is
	sent     bool          // all of the request went out
	fault    router.Ending // whose fault it is that the answer is none; EndedOK: it may be one
}

// errNoReply is an end of file where the first byte of an answer should be.
var errNoReply = errors.New("the server closed the connection before its answer")

// send writes req and reads the answer's headers. A connection that was waiting in the pool and turns out to be dead
// before a single byte of answer is replaced once by a fresh one, as every proxy must: the server closed it while idle.
func (h *host) send(req *fasthttp.Request, res *response, call *Call, first time.Duration) error {
	t := &call.Timeout
	res.abort, res.begun, res.idle, res.armed, res.sent = call.Abort, call.Begun, t.Idle, time.Time{}, false
	res.call, res.fault = call, router.EndedOK
	res.deadline = call.Begun.Add(t.Total)
	for {
		fresh, err := h.attempt(req, res, min(t.Connect, t.Total), call.Begun.Add(min(first, t.Total)))
		call.Trace.reached(h, res, err)
		if err == nil || fresh || !errors.Is(err, errNoReply) || call.Abort.Fired() {
			return err
		}
	}
}

// attempt sends req on one connection. The answer's headers, or all of an answer that does not stream, must be there at
// until.
func (h *host) attempt(req *fasthttp.Request, res *response, connect time.Duration, until time.Time) (fresh bool, err error) {
	cc, err := h.pool.AcquireConn(connect, false)
	if err != nil {
		return true, &dialError{err}
	}
	conn := cc.Conn().(*upstreamConn)
	fresh = !conn.used
	if conn.Conn == nil {
		if err := h.dialer.dial(conn, h.pool.Addr, connect, res.abort); err != nil {
			res.abort.LetGo()
			h.pool.CloseConn(cc)
			return true, err
		}
	}
	if !res.abort.Hold(conn.socket) {
		h.pool.CloseConn(cc)
		return true, ErrAborted
	}
	if !fresh && conn.stale() {
		res.abort.LetGo()
		h.pool.CloseConn(cc)
		return false, errNoReply
	}
	br, err := h.exchange(conn, req, res, until)
	if err != nil {
		res.abort.LetGo()
		h.pool.CloseConn(cc)
		return fresh, err
	}
	res.conn = conn
	res.close = func(reuse bool) {
		res.over(reuse)
		// A connection with bytes left over would give them to the next request: response splitting.
		reuse = res.abort.LetGo() && reuse && br.Buffered() == 0 && !res.head.ConnectionClose()
		h.pool.ReleaseReader(br)
		if reuse {
			conn.used = true
			h.pool.ReleaseConn(cc)
			if h.retired.Load() {
				h.pool.CloseIdleConnections()
			}
		} else {
			h.pool.CloseConn(cc)
		}
	}
	return fresh, nil
}

// over tells how the answer ended, before its connection is given back: well, if it is in order.
func (r *response) over(inOrder bool) {
	if r.call == nil || r.call.visit == nil {
		return
	}
	if r.fault == router.EndedOK && !inOrder { // the client left, or had enough
		r.fault = router.EndedNeutral
	}
	r.call.visit.ended(r.fault, r.call)
}

// fail takes note that the provider failed, if that is its fault.
func (r *response) fail(err error) {
	var known *wire.Error
	switch {
	case r.call == nil:
	case r.abort.Fired(), r.call.Hasty && isTimeout(err), errors.As(err, &known) && known.Status < 500:
		r.fault = router.EndedNeutral
	default:
		r.fault = router.EndedFailed
	}
}

// refused takes note of an answer of a status that is none of a success: of the provider's own fault, or the caller's.
func (r *response) refused(status int) {
	if r.fault = router.EndedNeutral; status >= 500 {
		r.fault = router.EndedFailed
	}
}

// exchange writes the request and reads the headers of the answer, all before until.
func (h *host) exchange(conn *upstreamConn, req *fasthttp.Request, res *response, until time.Time) (*bufio.Reader, error) {
	// A server may answer before it has read the whole body, a 413 for one, and close: so an answer is looked for also
	// after a failed write.
	unsent := h.write(conn, req, res.begun, until)
	if isTimeout(unsent) {
		return nil, unsent
	}
	res.sent = unsent == nil
	br := h.pool.AcquireReader(conn)
	if err := readHead(br, &res.head); err != nil {
		h.pool.ReleaseReader(br)
		return nil, err
	}
	if unsent != nil {
		res.head.SetConnectionClose()
	}
	res.body.reset(br, &res.head)
	return br, nil
}

func isTimeout(err error) bool {
	if err == nil {
		return false
	}
	var e interface{ Timeout() bool } // less than net.Error, which fasthttp's own timeouts are not
	return errors.As(err, &e) && e.Timeout()
}

func (h *host) write(conn *upstreamConn, req *fasthttp.Request, begun, until time.Time) error {
	if err := conn.readsUntil(until, until.Sub(begun)); err != nil {
		return err
	}
	big := len(req.Body()) > bigBody
	if big {
		if err := conn.SetWriteDeadline(until); err != nil {
			return err
		}
	}
	bw := h.pool.AcquireWriter(conn)
	defer h.pool.ReleaseWriter(bw)
	err := req.Write(bw)
	if err == nil {
		err = bw.Flush()
	}
	if err == nil && big {
		err = conn.SetWriteDeadline(time.Time{})
	}
	return err
}

var errHead = errors.New("the answer's headers are cut or malformed")

// readHead reads the headers of the final answer, passing over interim ones (RFC 9110, 15.2).
func readHead(br *bufio.Reader, head *fasthttp.ResponseHeader) error {
	if _, err := br.Peek(1); err != nil {
		if isTimeout(err) {
			return err
		}
		return errNoReply
	}
	for range 8 {
		if err := head.Read(br); isTimeout(err) {
			return err
		} else if err != nil {
			return errHead // the parser's own error repeats what it met, which may be what was asked
		}
		switch status := head.StatusCode(); {
		case status >= 200:
			return nil
		case status == 101:
			return errors.New("the server switched protocols unasked")
		}
		head.Reset()
	}
	return errors.New("too many interim answers")
}

// readAll appends the rest of the body to dst.
func (r *response) readAll(dst []byte) ([]byte, error) {
	// The length is the provider's word: believed up to a megabyte.
	dst = slices.Grow(dst, int(min(max(r.body.left, 0), 1<<20))+1)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, err
		case len(dst) > maxAnswer:
			return dst, errors.New("the answer is too large")
		}
	}
}

// arm moves the read deadline of a stream. Setting one costs more than reading the clock, so it is moved only when an
// eighth of the idle time has gone, and set that much later: a silent provider is cut after idle to idle*9/8.
func (r *response) arm() error {
	now := time.Now()
	slack := r.idle / 8
	if now.Sub(r.armed) < slack {
		return nil
	}
	r.armed = now
	until := now.Add(r.idle + slack)
	if until.After(r.deadline) {
		until = r.deadline
	}
	return r.conn.SetReadDeadline(until)
}
