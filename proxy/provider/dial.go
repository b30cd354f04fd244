package provider

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpproxy"
	"golang.org/x/net/http/httpproxy"
)

// upstreamConn is a pooled connection that is looked at before it is used again. One that the server has closed
// meanwhile is of no use, and one that holds bytes is dangerous: they would be taken for the next request's answer. The
// pool makes it unconnected: connecting is left to the attempt that needs it, which can be called off.
type upstreamConn struct {
	net.Conn                 // nil: not connected yet
	socket   net.Conn        // below TLS: closing it never blocks
	raw      syscall.RawConn // nil where the socket cannot be looked at
	used     bool
	dead     bool             // what peek found
	look     func(fd uintptr) // peek, bound once
	readBy   time.Time        // the read deadline that is set
}

// SetReadDeadline remembers what is set, for readsUntil.
func (c *upstreamConn) SetReadDeadline(t time.Time) error {
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// readsUntil sets the read deadline, unless one is set that ends at most an eighth of the time later: moving it for each
// request of a busy connection costs more than it gives.
func (c *upstreamConn) readsUntil(t time.Time, length time.Duration) error {
	if late := c.readBy.Sub(t); late >= 0 && late <= length/8 {
		return nil
	}
	return c.SetReadDeadline(t.Add(length / 8))
}

// dialer opens connections to one base URL: plain or TLS, direct or through a proxy.
type dialer struct {
	tls     *tls.Config // nil for http
	proxied func(timeout time.Duration) (fasthttp.DialFunc, error)
}

func newDialer(base *url.URL, cfg Config) (*dialer, error) {
	d := &dialer{}
	if base.Scheme == "https" {
		d.tls = &tls.Config{ServerName: base.Hostname(), MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(64)}
		if cfg.CA != "" {
			pool, err := loadCA(cfg.CA)
			if err != nil {
				return nil, err
			}
			d.tls.RootCAs = pool
		}
	}
	return d, d.useProxy(base, cfg.Proxy)
}

func loadCA(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// useProxy follows HTTP_PROXY, HTTPS_PROXY and NO_PROXY, which never concern loopback addresses, unless the provider
// names its own proxy, for every address, or "none".
func (d *dialer) useProxy(base *url.URL, proxy string) error {
	config := httpproxy.FromEnvironment()
	var via *url.URL
	var err error
	switch proxy {
	case "none":
		return nil
	case "":
		via, err = config.ProxyFunc()(base)
	default:
		config = &httpproxy.Config{HTTPProxy: proxy, HTTPSProxy: proxy}
		via, err = url.Parse(proxy)
	}
	if err != nil {
		return errors.New("proxy: expected http://[user:password@]host:port, socks5://... or none") // err may show the password
	}
	if via == nil {
		return nil
	}
	if via.Scheme != "http" && via.Scheme != "socks5" && via.Scheme != "socks5h" {
		return fmt.Errorf("proxy: scheme %q is not supported (have: http, socks5, socks5h)", via.Scheme)
	}
	d.proxied = func(timeout time.Duration) (fasthttp.DialFunc, error) {
		p := &fasthttpproxy.Dialer{Config: *config, Timeout: timeout, ConnectTimeout: timeout, DialDualStack: true}
		return p.GetDialFuncForTLS(false, base.Scheme == "https")
	}
	return nil
}

// Close closes the connection, if there is one yet.
func (c *upstreamConn) Close() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

// stop is a cancel function as what an Abort can hold.
type stop context.CancelFunc

func (s stop) Close() error {
	s()
	return nil
}

// dial connects within timeout, the TLS handshake included, unless abort is fired.
func (d *dialer) dial(c *upstreamConn, addr string, timeout time.Duration, abort *Abort) error {
	deadline := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if !abort.Hold(stop(cancel)) {
		return ErrAborted
	}
	conn, err := d.connect(ctx, addr, timeout)
	switch {
	case abort.Fired():
		if err == nil {
			_ = conn.Close() // nobody waits for it any more
		}
		return ErrAborted
	case err != nil:
		return &dialError{err}
	}
	c.Conn, c.socket = conn, conn
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	if d.tls == nil {
		return nil
	}
	tc := tls.Client(conn, d.tls)
	if !abort.Hold(conn) {
		return ErrAborted
	}
	if err := handshake(tc, deadline); err != nil {
		if abort.Fired() {
			return ErrAborted
		}
		return &dialError{err}
	}
	c.Conn = tc
	return nil
}

// connect opens the socket. Through a proxy it cannot be called off, only timed out.
func (d *dialer) connect(ctx context.Context, addr string, timeout time.Duration) (net.Conn, error) {
	if d.proxied == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	dial, err := d.proxied(timeout)
	if err != nil {
		return nil, err
	}
	return dial(addr)
}

func handshake(tc *tls.Conn, deadline time.Time) error {
	if err := tc.SetDeadline(deadline); err != nil {
		return err
	}
	if err := tc.Handshake(); err != nil {
		return err
	}
	return tc.SetDeadline(time.Time{})
}

// dialError marks a failure before anything was sent: any other target may be tried without risk.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connect: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func unreached(err error) bool {
	if err == nil {
		return false
	}
	var e *dialError
	return errors.As(err, &e)
}
