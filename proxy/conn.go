package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// listener hands every accepted connection over as a *conn.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(nc, l.server), nil
}

// conn is a client's connection. HTTP/1.1 serves one request at a time on it, so it owns the exchange of that request
// and lends it its memory again and again.
type conn struct {
	net.Conn
	server  *Server
	x       exchange
	left    atomic.Bool // the client is gone
	closing atomic.Bool // after this answer the connection ends
	heard   bool        // the client has sent something
	linger  bool        // the client may still be sending what nobody will read
	closed  atomic.Bool
	readBy  time.Time // the read deadline that is wanted, and the one that is set
	readSet time.Time
	armed   time.Time // when the write deadline was last moved
	watch   watch
}

func newConn(nc net.Conn, s *Server) *conn {
	c := &conn{Conn: nc, server: s}
	c.x.conn = c
	c.x.call = &c.x.own
	c.x.own.Abort, c.x.own.Keep = &c.x.abort, c.x.keep
	s.gone.add(c)
	return c
}

// gone is called once the client has left, from the watcher's goroutine.
func (c *conn) gone() {
	c.left.Store(true)
	c.x.abort.Fire()
}

// SetReadDeadline takes note of a deadline, which the next Read sets. fasthttp moves it twice for each request, and a
// request that came in one piece is over before either would have counted.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy = t
	return nil
}

// Read sets the deadline unless one is set that ends a little earlier.
func (c *conn) Read(p []byte) (int, error) {
	if early := c.readBy.Sub(c.readSet); early < 0 || early > c.server.slack {
		if err := c.Conn.SetReadDeadline(c.readBy); err != nil {
			return 0, err
		}
		c.readSet = c.readBy
	}
	n, err := c.Conn.Read(p)
	c.heard = c.heard || n > 0
	return n, err
}

// Write bounds how long a client may take to accept what it is sent. The deadline is moved only now and then, as moving
// it costs more than reading the clock.
func (c *conn) Write(p []byte) (int, error) {
	limit := c.server.cfg.Timeout.Write
	if now := time.Now(); now.Sub(c.armed) > limit/8 {
		c.armed = now
		if err := c.SetWriteDeadline(now.Add(limit + limit/8)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// Close ends the connection. While the server drains, fasthttp closes connections that it holds for idle; one whose next
// request has already arrived is not, and is served first.
func (c *conn) Close() error {
	if c.server.draining.Load() && !c.closing.Load() && c.pending() {
		return nil
	}
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if c.linger {
		c.lingeringClose()
	}
	c.server.gone.remove(c)
	return c.Conn.Close()
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// lingeringClose lets a client that is still sending read the answer: closing at once would reset the connection, and
// the answer, a 413 say, would be lost on the way (RFC 9112, 9.6).
func (c *conn) lingeringClose() {
	tc, ok := c.Conn.(*net.TCPConn)
	if !ok || tc.CloseWrite() != nil || tc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, tc, lingerBytes) // ends by itself: by the client's close, by time or by size
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func isSmallBuffer(err error) bool {
	var e *fasthttp.ErrSmallBuffer
	return errors.As(err, &e)
}
