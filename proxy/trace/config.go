package trace

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"jarvis-gateway/proxy/wire"
)

// Config is the section `telemetry`.
type Config struct {
	OTLP      string                 `yaml:"otlp,omitempty" jsonschema_description:"the collector's address for OTLP over HTTP, such as http://127.0.0.1:4318; /v1/traces is added. Default OTEL_EXPORTER_OTLP_ENDPOINT; with neither nothing is traced"`
	Sample    Share                  `yaml:"sample,omitempty" jsonschema_description:"of the traces that begin here, the share that is kept whatever becomes of them; default 1%"`
	Slow      time.Duration          `yaml:"slow,omitempty" jsonschema_description:"requests are kept whose first content, or whole answer, takes longer; default 10s. Those that fail are kept too"`
	Propagate string                 `yaml:"propagate,omitempty" jsonschema:"enum=own,enum=all,enum=none" jsonschema_description:"which providers are told of the trace: own servers (kind vllm, and kind openai with another base_url than OpenAI's), all or none; default own"`
	Headers   map[string]wire.Secret `yaml:"headers,omitempty" jsonschema_description:"headers for the collector, as Authorization"`
	Service   string                 `yaml:"service,omitempty" jsonschema_description:"service.name; default jarvis-gateway"`
	Resource  map[string]string      `yaml:"resource,omitempty" jsonschema_description:"more attributes of this gateway, such as deployment.environment.name"`
	Tenants   int                    `yaml:"tenants,omitempty" jsonschema:"minimum=1,maximum=100000" jsonschema_description:"how many tenants have series of their own in the metrics; the others share one; default 100"`
}

// The choices of Propagate.
const (
	Own  = "own"
	All  = "all"
	None = "none"
)

// Defaults is what the section leaves open.
var Defaults = Config{Sample: 0.01, Slow: 10 * time.Second, Propagate: Own, Service: "jarvis-gateway", Tenants: 100}

func (c Config) filled() Config {
	c.Sample, c.Slow = cmp.Or(c.Sample, Defaults.Sample), cmp.Or(c.Slow, Defaults.Slow)
	c.Propagate, c.Service = cmp.Or(c.Propagate, Defaults.Propagate), cmp.Or(c.Service, Defaults.Service)
	return c
}

// Share is a part of all traces. Zero is what nobody has said.
type Share float64

// Nothing is a share of 0%.
const Nothing Share = -1

// UnmarshalText reads 1%.
func (s *Share) UnmarshalText(text []byte) error {
	number, found := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !found || err != nil || !(f >= 0 && f <= 100) {
		return errors.New("expected a share like 1%, 0% at least and 100% at most")
	}
	if *s = Share(f / 100); f == 0 {
		*s = Nothing
	}
	return nil
}

// MarshalText writes it as it is read.
func (s Share) MarshalText() ([]byte, error) {
	return append(strconv.AppendFloat(nil, max(float64(s), 0)*100, 'g', 12, 64), '%'), nil
}

// below is the number that ids of traces that are kept are below, of 63 bits.
func (s Share) below() uint64 { return uint64(max(float64(s), 0) * (1 << 63)) }

// Check finds what is wrong with the section.
func (c Config) Check() error {
	var errs []error
	bad := func(path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("telemetry."+path+": "+format, args...))
	}
	if c.OTLP != "" {
		if why := unfit(c.OTLP); why != "" {
			bad("otlp", "%s", why)
		}
	}
	if choices := []string{"", Own, All, None}; !slices.Contains(choices, c.Propagate) {
		bad("propagate", "unknown choice %q (choices: %s)", c.Propagate, strings.Join(choices[1:], ", "))
	}
	for name, value := range c.Headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			bad("headers."+name, "not the name of a header")
		case !httpguts.ValidHeaderFieldValue(value.Reveal()):
			bad("headers."+name, "not the value of a header")
		}
	}
	if _, ok := c.Resource["service.name"]; ok {
		bad("resource.service.name", "belongs into telemetry.service")
	}
	return errors.Join(errs...)
}

// unfit is why an address cannot be a collector's. It does not repeat it: it may hold a password.
func unfit(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "expected an address like http://127.0.0.1:4318"
	case u.User != nil:
		return "a user or password in the address is not used: give it in telemetry.headers"
	case u.RawQuery != "" || u.Fragment != "":
		return "an address has neither ? nor #"
	}
	return ""
}
