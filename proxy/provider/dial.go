package provider

import (
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

// upstreamConn is a pooled connection that remembers when it was last used, so that one which the server has closed in
// the meantime is found before a request is written to it.
type upstreamConn struct {
	net.Conn
	socket   net.Conn        // below TLS: closing it never blocks
	raw      syscall.RawConn // nil where the socket cannot be looked at
	lastUsed time.Time       // when its last attempt began; zero while fresh
}

// staleAfter is how long a connection may rest before it is looked at again. Servers close idle connections after 5 s
// (uvicorn) to several minutes.
const staleAfter = time.Second

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

// dial connects within timeout, the TLS handshake included.
func (d *dialer) dial(addr string, timeout time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(timeout)
	conn, err := d.connect(addr, timeout)
	if err != nil {
		return nil, &dialError{err}
	}
	uc := &upstreamConn{Conn: conn, socket: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			uc.raw = raw
		}
	}
	if d.tls == nil {
		return uc, nil
	}
	tc := tls.Client(conn, d.tls)
	if err := handshake(tc, deadline); err != nil {
		_ = conn.Close() // the handshake's error says more
		return nil, &dialError{err}
	}
	uc.Conn = tc
	return uc, nil
}

func (d *dialer) connect(addr string, timeout time.Duration) (net.Conn, error) {
	if d.proxied == nil {
		return net.DialTimeout("tcp", addr, timeout)
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
