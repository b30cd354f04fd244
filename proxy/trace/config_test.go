package trace

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		Config
		want string // of each line, the beginning
	}{
		{Config{}, ""},
		{Config{OTLP: "http://127.0.0.1:4318"}, ""},
		{Config{OTLP: "https://otel.example.com/x/v1/traces", Propagate: All, Headers: map[string]wire.Secret{"Authorization": "Bearer x"}}, ""},
		{Config{OTLP: "127.0.0.1:4318"}, "telemetry.otlp: expected an address"},
		{Config{OTLP: "grpc://127.0.0.1:4317"}, "telemetry.otlp: expected an address"},
		{Config{OTLP: "http://me:hush@collector"}, "telemetry.otlp: a user or password"},
		{Config{OTLP: "http://collector?key=hush"}, "telemetry.otlp: an address has neither"},
		{Config{Propagate: "some"}, `telemetry.propagate: unknown choice "some" (choices: own, all, none)`},
		{Config{Headers: map[string]wire.Secret{"a b": "x"}}, "telemetry.headers.a b: not the name"},
		{Config{Headers: map[string]wire.Secret{"a": "hush\n"}}, "telemetry.headers.a: not the value"},
		{Config{Resource: map[string]string{"service.name": "x"}}, "telemetry.resource.service.name: belongs into telemetry.service"},
	} {
		got := ""
		if err := c.Check(); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" || strings.Contains(got, "hush") {
			t.Errorf("%+v: %q", c.Config, got)
		}
	}
}

// The environment fills what the section leaves open, and nothing else.
func TestComplete(t *testing.T) {
	all := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://env:4318", "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20e, x-b=2,junk,=z",
		"OTEL_SERVICE_NAME": "of-env", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=prod,zone=a%2Cb",
	}
	with := func(more ...string) map[string]string {
		env := maps.Clone(all)
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	for _, c := range []struct {
		name   string
		config Config
		env    map[string]string
		want   string // url, headers, service, resource
		notes  int
	}{
		{"nothing", Config{}, nil, "", 0},
		{"environment", Config{}, all, "http://env:4318/v1/traces Authorization=Bearer e x-b=2 of-env deployment.environment.name=prod zone=a,b", 0},
		{"section", Config{OTLP: "http://own/", Service: "own", Headers: map[string]wire.Secret{"k": "v"}, Resource: map[string]string{"zone": "z"}}, all,
			"http://own/v1/traces k=v own deployment.environment.name=prod zone=z", 0},
		{"for traces", Config{}, with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/v1/traces", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "t=1"),
			"http://t/v1/traces t=1 of-env deployment.environment.name=prod zone=a,b", 0},
		{"name among attributes", Config{}, with("OTEL_SERVICE_NAME", "", "OTEL_EXPORTER_OTLP_HEADERS", ""), "http://env:4318/v1/traces other deployment.environment.name=prod zone=a,b", 0},
		{"disabled", Config{}, with("OTEL_SDK_DISABLED", "TRUE"), "", 0},
		{"no exporter", Config{}, with("OTEL_TRACES_EXPORTER", "none"), "", 0},
		{"grpc", Config{}, with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), "", 1},
		{"http", Config{OTLP: "http://own"}, with("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_SDK_DISABLED", "true", "OTEL_EXPORTER_OTLP_HEADERS", "", "OTEL_RESOURCE_ATTRIBUTES", ""), "http://own/v1/traces of-env", 0},
		{"no address", Config{}, with("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"), "", 1},
	} {
		notes := c.config.Complete(func(name string) (string, bool) { v, ok := c.env[name]; return v, ok })
		var words []string
		if c.config.OTLP != "" {
			words = append(words, c.config.url())
			for _, name := range slices.Sorted(maps.Keys(c.config.Headers)) {
				words = append(words, name+"="+c.config.Headers[name].Reveal())
			}
			words = append(words, c.config.Service)
			for _, name := range slices.Sorted(maps.Keys(c.config.Resource)) {
				words = append(words, name+"="+c.config.Resource[name])
			}
		}
		if got := strings.Join(words, " "); got != c.want || len(notes) != c.notes {
			t.Errorf("%s: %q, %q", c.name, got, notes)
		}
	}
}
