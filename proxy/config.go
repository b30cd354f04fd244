package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Config is the `server` section.
type Config struct {
	Listen   string        `yaml:"listen,omitempty" jsonschema_description:"the data plane: /v1/*, /healthz, /readyz; default 127.0.0.1:8080"`
	Admin    string        `yaml:"admin,omitempty" jsonschema_description:"the private port: /metrics; default 127.0.0.1:8081; not loopback only with admin_key"`
	AdminKey wire.Secret   `yaml:"admin_key,omitempty" jsonschema_description:"the bearer token of the private port"`
	MaxBody  Size          `yaml:"max_body,omitempty" jsonschema_description:"the largest request body; default 32MiB"`
	Drain    time.Duration `yaml:"drain,omitempty" jsonschema_description:"how long requests may take to finish after SIGTERM; default 30s"`
	Timeout  ClientTimeout `yaml:"timeout,omitempty"`
}

// ClientTimeout bounds how slow a client may be.
type ClientTimeout struct {
	Header time.Duration `yaml:"header,omitempty" jsonschema_description:"for sending a request's headers; default 10s"`
	Body   time.Duration `yaml:"body,omitempty" jsonschema_description:"for sending a request's body, plus a second per 64 KiB; default 30s"`
	Idle   time.Duration `yaml:"idle,omitempty" jsonschema_description:"between two requests of a connection; default 2m"`
	Write  time.Duration `yaml:"write,omitempty" jsonschema_description:"for taking what was sent to it; default 30s"`
}

// Size is a number of bytes, written as 512KiB, 32MiB, 1GiB, 10MB or plain bytes.
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n <= 0 || n > (1<<40)/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size (valid: 512KiB, 32MiB, 1GiB or bytes)", text)
}

// MarshalText writes the size in the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range []int{2, 1, 0} {
		if b := sizeUnits[u].bytes; int64(s)%b == 0 && s > 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/b, sizeUnits[u].suffix), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// Defaults is what the section leaves open.
var Defaults = Config{
	Listen:  "127.0.0.1:8080",
	Admin:   "127.0.0.1:8081",
	MaxBody: 32 << 20,
	Drain:   30 * time.Second,
	Timeout: ClientTimeout{Header: 10 * time.Second, Body: 30 * time.Second, Idle: 2 * time.Minute, Write: 30 * time.Second},
}

func (c Config) withDefaults() Config {
	c.Listen = cmp.Or(c.Listen, Defaults.Listen)
	c.Admin = cmp.Or(c.Admin, Defaults.Admin)
	c.MaxBody = cmp.Or(c.MaxBody, Defaults.MaxBody)
	c.Drain = cmp.Or(c.Drain, Defaults.Drain)
	c.Timeout.Header = cmp.Or(c.Timeout.Header, Defaults.Timeout.Header)
	c.Timeout.Body = cmp.Or(c.Timeout.Body, Defaults.Timeout.Body)
	c.Timeout.Idle = cmp.Or(c.Timeout.Idle, Defaults.Timeout.Idle)
	c.Timeout.Write = cmp.Or(c.Timeout.Write, Defaults.Timeout.Write)
	return c
}

// Check tells what is wrong with the section, each worded as a path.
func (c Config) Check() error {
	c = c.withDefaults()
	var errs []error
	for _, a := range []struct{ name, addr string }{{"listen", c.Listen}, {"admin", c.Admin}} {
		if _, port, err := net.SplitHostPort(a.addr); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("server.%s: expected host:port, such as 127.0.0.1:8080 or :8080", a.name))
		}
	}
	if host, _, err := net.SplitHostPort(c.Admin); err == nil && c.AdminKey == "" && !loopback(host) {
		errs = append(errs, errors.New("server.admin: an address that others can reach needs server.admin_key (or use 127.0.0.1)"))
	}
	if c.MaxBody > 1<<30 {
		errs = append(errs, errors.New("server.max_body: at most 1GiB, as bodies are held in memory"))
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"drain", c.Drain}, {"timeout.header", c.Timeout.Header}, {"timeout.body", c.Timeout.Body}, {"timeout.idle", c.Timeout.Idle}, {"timeout.write", c.Timeout.Write}} {
		if t.d < time.Millisecond {
			errs = append(errs, fmt.Errorf("server.%s: must be at least 1ms", t.name))
		}
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
