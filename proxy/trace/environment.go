package trace

import (
	"net/url"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Complete adds what the environment says in OpenTelemetry's own variables where the section says nothing, and returns what its
// owner should know. https://opentelemetry.io/docs/specs/otel/protocol/exporter/
func (c *Config) Complete(lookup func(string) (string, bool)) (notes []string) {
	get := func(names ...string) string {
		for _, name := range names {
			if v, _ := lookup(name); v != "" {
				return v
			}
		}
		return ""
	}
	if c.OTLP == "" {
		if c.OTLP = endpoint(get); c.OTLP == "" {
			return nil
		}
		protocol := get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
		if protocol != "" && !strings.HasPrefix(protocol, "http/") {
			c.OTLP = ""
			return []string{"OTEL_EXPORTER_OTLP_PROTOCOL is " + protocol + ": spans are sent by http/protobuf only, and so none are"}
		}
		if unfit(c.OTLP) != "" {
			c.OTLP = ""
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT is not an address like http://127.0.0.1:4318: nothing is traced"}
		}
	}
	if c.Headers == nil {
		for name, value := range pairs(get("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")) {
			if c.Headers == nil {
				c.Headers = map[string]wire.Secret{}
			}
			c.Headers[name] = wire.Secret(value)
		}
	}
	c.describe(get)
	return nil
}

// endpoint is the collector's address, unless the environment says that nothing is to be sent there. The one for traces names the
// place itself.
func endpoint(get func(...string) string) string {
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return ""
	}
	if exporters := get("OTEL_TRACES_EXPORTER"); exporters != "" && !strings.Contains(exporters, "otlp") {
		return ""
	}
	if exact := get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); strings.HasSuffix(exact, tracesPath) {
		return exact
	}
	return get("OTEL_EXPORTER_OTLP_ENDPOINT")
}

// describe adds who this is.
func (c *Config) describe(get func(...string) string) {
	more := pairs(get("OTEL_RESOURCE_ATTRIBUTES"))
	if c.Service == "" {
		if c.Service = get("OTEL_SERVICE_NAME"); c.Service == "" {
			c.Service = more["service.name"]
		}
	}
	delete(more, "service.name")
	for name, value := range more {
		if _, said := c.Resource[name]; said {
			continue
		}
		if c.Resource == nil {
			c.Resource = map[string]string{}
		}
		c.Resource[name] = value
	}
}

// pairs reads a=1,b=2, values percent-encoded. What is no pair is left out, as the specification has it.
func pairs(list string) map[string]string {
	found := map[string]string{}
	for pair := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if ok && err == nil && name != "" {
			found[name] = value
		}
	}
	return found
}
