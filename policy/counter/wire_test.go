package counter_test

import (
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
)

// wire is a way to Redis for tests in bubbles: the server is a real one, but the time its answers take is the bubble's, as is
// its clock. While a reply is read the bubble's time stands still, so that nothing depends on how busy the machine is.
type wire struct {
	addr  string
	delay atomic.Int64 // of an answer
	cut   atomic.Bool
	dead  atomic.Bool // answers do not come
}

// bubble runs a test in one, with a Redis of its own.
func bubble(t *testing.T, test func(t *testing.T, w *wire)) {
	t.Helper()
	addr := startRedis(t)
	synctest.Test(t, func(t *testing.T) { test(t, &wire{addr: addr}) })
}

func (w *wire) open(t *testing.T, o counter.Options) *counter.Counters {
	t.Helper()
	o.URL = "redis://" + w.addr + "/0"
	c, err := counter.OpenWith(o, counter.Tuning{RedisNow: time.Now, Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	time.Sleep(time.Duration(w.delay.Load()))
	return &wireConn{Conn: c, wire: w}, err
}

// wireConn is used by one goroutine, as the driver does.
type wireConn struct {
	net.Conn
	wire   *wire
	due    time.Time // of the answer to what was last written
	latest time.Time // when a read gives up
}

func (c *wireConn) SetDeadline(t time.Time) error     { c.latest = t; return nil }
func (c *wireConn) SetReadDeadline(t time.Time) error { c.latest = t; return nil }
func (c *wireConn) SetWriteDeadline(time.Time) error  { return nil }

func (c *wireConn) Write(b []byte) (int, error) {
	if c.wire.cut.Load() {
		return 0, io.EOF
	}
	c.due = time.Now().Add(time.Duration(c.wire.delay.Load()))
	return c.Conn.Write(b)
}

func (c *wireConn) Read(b []byte) (int, error) {
	if c.wire.dead.Load() {
		c.due = c.latest
	}
	if !c.latest.IsZero() && !c.due.Before(c.latest) {
		time.Sleep(time.Until(c.latest))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(time.Until(c.due))
	if c.wire.cut.Load() {
		return 0, io.EOF
	}
	return c.Conn.Read(b)
}
