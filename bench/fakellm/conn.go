package fakellm

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// listener hands out connections that faults can act on, and can be shut and reopened while it is being served.
type listener struct {
	addr string

	mu     sync.Mutex
	change *sync.Cond
	ln     net.Listener // nil while refusing
	closed bool
	conns  map[*conn]struct{}
	last   int
}

func listen(addr string) (*listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &listener{addr: ln.Addr().String(), ln: ln, conns: map[*conn]struct{}{}}
	l.change = sync.NewCond(&l.mu)
	return l, nil
}

// Accept waits also while the port is shut.
func (l *listener) Accept() (net.Conn, error) {
	for {
		ln, err := l.current()
		if err != nil {
			return nil, err
		}
		c, err := ln.Accept()
		if err == nil {
			return l.adopt(c.(*net.TCPConn)), nil
		}
		if !errors.Is(err, net.ErrClosed) {
			return nil, err
		}
	}
}

func (l *listener) current() (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.ln == nil && !l.closed {
		l.change.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	return l.ln, nil
}

func (l *listener) adopt(tc *net.TCPConn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	c := &conn{TCPConn: tc, l: l, id: l.last, down: make(chan struct{})}
	l.conns[c] = struct{}{}
	if l.ln == nil {
		c.cut() // accepted in the moment the port was shut
	}
	return c
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.change.Broadcast()
}

// drain waits until every connection is closed and its handler done with it.
func (l *listener) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.conns) > 0 {
		l.change.Wait()
	}
}

// shut closes the port and its connections; Accept then waits for reopen.
func (l *listener) shut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln == nil {
		return nil
	}
	err := l.ln.Close()
	l.ln = nil
	for c := range l.conns {
		c.cut()
	}
	return err
}

func (l *listener) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ln != nil || l.closed {
		return nil
	}
	ln, err := net.Listen("tcp", l.addr)
	if err != nil {
		return err
	}
	l.ln = ln
	l.change.Broadcast()
	return nil
}

func (l *listener) Close() error {
	err := l.shut()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.change.Broadcast()
	return err
}

// Addr is the address that was first listened on.
func (l *listener) Addr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", l.addr)
	if err != nil {
		panic("BUG: fakellm: own address does not resolve: " + err.Error())
	}
	return a
}

// conn is one accepted connection. Its requests come one after the other, so what they need is kept here and used again.
type conn struct {
	*net.TCPConn
	l       *listener
	id      int
	once    sync.Once
	down    chan struct{} // closed when this side cut the connection from outside its handler
	hangUp  atomic.Bool   // the next read finds the end of the connection
	x       exchange
	scratch []byte
	memo    *memo
}

// connOf finds the accepted connection below whatever wraps it.
func connOf(c net.Conn) *conn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*conn)
}

func (c *conn) Read(p []byte) (int, error) {
	if c.hangUp.Load() {
		return 0, io.EOF
	}
	return c.TCPConn.Read(p)
}

func (c *conn) Close() error {
	c.l.forget(c)
	return c.TCPConn.Close()
}

// cut closes the connection under its handler, which still calls Close.
func (c *conn) cut() {
	c.once.Do(func() { close(c.down) })
	_ = c.TCPConn.Close() // closed is closed
}

// reset makes the peer see a connection reset instead of an end.
func (c *conn) reset() {
	_ = c.SetLinger(0) // fails only on a closed connection
	_ = c.Close()
}
