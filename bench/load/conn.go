package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// conn is one connection, reused until the server or a broken reply ends it.
type conn struct {
	addr   string
	in     reader
	answer answer
	alarm  *alarm

	mu       sync.Mutex // of the fields below: a run is stopped from outside
	net      net.Conn   // nil when broken
	deadline time.Time
}

const bufferSize = 16 << 10

var dialer = net.Dialer{Timeout: 5 * time.Second}

func dial(ctx context.Context, addr string) (*conn, error) {
	c := &conn{addr: addr, in: reader{buf: make([]byte, bufferSize)}}
	var err error
	if c.alarm, err = newAlarm(); err != nil {
		return nil, err
	}
	if _, err = c.connect(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// connect returns the open connection, or dials anew after a break.
func (c *conn) connect(ctx context.Context) (net.Conn, error) {
	if c.net != nil {
		return c.net, nil
	}
	n, err := dialer.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.net = n
	c.in.src, c.in.pos, c.in.end = n, 0, 0
	return n, n.SetDeadline(c.deadline)
}

func (c *conn) limit(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if c.net != nil {
		_ = c.net.SetDeadline(t) // fails only on a closed connection, where the next Read says so
	}
}

func (c *conn) hangUp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.net
	c.net = nil
	if n == nil {
		return nil
	}
	return n.Close()
}

func (c *conn) close() error { return errors.Join(c.alarm.close(), c.hangUp()) }

// exchange sends the plan's request and judges the reply. first is when the reply's head, or a stream's first token, had come.
func (c *conn) exchange(ctx context.Context, p *Plan) (first time.Time, err error) {
	n, err := c.connect(ctx)
	if err != nil {
		pause(ctx) // a server that is gone would otherwise be dialled in a tight loop
		return first, err
	}
	c.answer.reset(p.Expect.Stream)
	if _, err = n.Write(p.Request); err != nil {
		return first, errors.Join(fmt.Errorf("request not taken: %w", err), c.hangUp())
	}
	h, first, err := c.receive()
	if err != nil {
		return first, errors.Join(fmt.Errorf("reply cut: %w", err), c.hangUp())
	}
	if h.close {
		err = c.hangUp()
	}
	return first, errors.Join(c.answer.check(&p.Expect, h), err)
}

func (c *conn) receive() (h head, first time.Time, err error) {
	if h, err = c.in.head(); err != nil {
		return h, first, err
	}
	first = time.Now()
	if h.status != 200 {
		c.answer.stream = false // an error is no event stream: keep its text for the report
	}
	if err = c.in.body(h, &c.answer); err != nil {
		return h, first, err
	}
	if c.answer.stream && !c.answer.events.first.IsZero() {
		first = c.answer.events.first
	}
	return h, first, nil
}

func pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}
