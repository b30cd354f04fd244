package main

import (
	"maps"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/router"
)

func load(t *testing.T, variables map[string]string) *loaded {
	t.Helper()
	s := newSource("")
	s.lookup, s.validate = lookupIn(variables), knownProviders
	l, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEnvironment(t *testing.T) {
	openai := provider.Config{Kind: "openai", APIKey: "sk-1"}
	azure := provider.Config{Kind: "azure", BaseURL: "https://x.openai.azure.com", APIKey: "az-1"}
	vllm := provider.Config{Kind: "vllm", BaseURL: "http://10.0.0.1:8000"}
	simulated := provider.Config{Kind: "simulated"}
	anthropic := provider.Config{Kind: "anthropic", APIKey: "sk-ant-1"}
	bedrock := provider.Config{Kind: "bedrock", Region: "eu-west-1"}
	type providers = map[string]provider.Config
	with := func(p provider.Config, change func(*provider.Config)) provider.Config {
		change(&p)
		return p
	}
	for _, test := range []struct {
		name      string
		variables string
		want      providers
		first     string // who serves all names, and who serves others
		note      string // part of the only one
	}{
		{"nothing", "", providers{"simulated": simulated}, "simulated", "simulated"},
		{"blank", "OPENAI_API_KEY= VLLM_BASE_URL=", providers{"simulated": simulated}, "simulated", "simulated"},
		{"openai", "OPENAI_API_KEY=sk-1", providers{"openai": openai}, "openai", ""},
		{"openai, all", "OPENAI_API_KEY=sk-1 OPENAI_BASE_URL=http://10.0.0.9/v1 OPENAI_ORG_ID=org OPENAI_PROJECT_ID=proj", providers{
			"openai": with(openai, func(p *provider.Config) {
				p.BaseURL = "http://10.0.0.9/v1"
				p.Headers = map[string]string{"OpenAI-Organization": "org", "OpenAI-Project": "proj"}
			}),
		}, "openai", ""},
		{"a client's shell", "OPENAI_API_KEY=jv-abc OPENAI_BASE_URL=http://localhost:8080/v1", providers{"simulated": simulated}, "simulated", "*"},
		{"a client's base URL only", "OPENAI_API_KEY=sk-1 OPENAI_BASE_URL=http://127.0.0.1:8080/v1", providers{"openai": openai}, "openai", "OPENAI_BASE_URL is this gateway's own"},
		{"another gateway", "OPENAI_API_KEY=jv-abc OPENAI_BASE_URL=http://10.0.0.9:8080/v1", providers{
			"openai": with(openai, func(p *provider.Config) { p.APIKey, p.BaseURL = "jv-abc", "http://10.0.0.9:8080/v1" }),
		}, "openai", ""},
		{"base URL alone", "OPENAI_BASE_URL=http://10.0.0.9/v1", providers{"simulated": simulated}, "simulated", "*"},
		{"azure", "AZURE_OPENAI_API_KEY=az-1 AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com", providers{"azure": azure}, "azure", ""},
		{"azure, all", "AZURE_OPENAI_API_KEY=az-1 AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com OPENAI_API_VERSION=2024-10-21", providers{
			"azure": with(azure, func(p *provider.Config) { p.APIVersion = "2024-10-21" }),
		}, "azure", ""},
		{"azure, half", "AZURE_OPENAI_API_KEY=az-1 OPENAI_API_KEY=sk-1", providers{"openai": openai}, "openai", "AZURE_OPENAI_ENDPOINT"},
		{"vllm", "VLLM_BASE_URL=http://10.0.0.1:8000", providers{"vllm": vllm}, "vllm", ""},
		{"vllm, hosted", "HOSTED_VLLM_API_BASE=http://10.0.0.1:8000 HOSTED_VLLM_API_KEY=k", providers{
			"vllm": with(vllm, func(p *provider.Config) { p.APIKey = "k" }),
		}, "vllm", ""},
		{"vllm, ourselves", "VLLM_BASE_URL=http://[::1]:8080", providers{"simulated": simulated}, "simulated", "*"},
		{"all", "VLLM_BASE_URL=http://10.0.0.1:8000 OPENAI_API_KEY=sk-1 AZURE_OPENAI_API_KEY=az-1 AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com",
			providers{"openai": openai, "azure": azure, "vllm": vllm}, "openai", ""},
		{"azure before vllm", "VLLM_BASE_URL=http://10.0.0.1:8000 AZURE_OPENAI_API_KEY=az-1 AZURE_OPENAI_ENDPOINT=https://x.openai.azure.com",
			providers{"azure": azure, "vllm": vllm}, "azure", ""},
		{"anthropic", "ANTHROPIC_API_KEY=sk-ant-1", providers{"anthropic": anthropic}, "anthropic", ""},
		{"anthropic beside openai", "OPENAI_API_KEY=sk-1 ANTHROPIC_API_KEY=sk-ant-1", providers{"openai": openai, "anthropic": anthropic}, "openai claude-*=anthropic", ""},
		{"anthropic, a client's shell", "ANTHROPIC_API_KEY=jv-abc ANTHROPIC_BASE_URL=http://localhost:8080", providers{"simulated": simulated}, "simulated", "*"},
		{"anthropic, elsewhere", "ANTHROPIC_API_KEY=sk-ant-1 ANTHROPIC_BASE_URL=http://10.0.0.9", providers{
			"anthropic": with(anthropic, func(p *provider.Config) { p.BaseURL = "http://10.0.0.9" }),
		}, "anthropic", ""},
		{"anthropic, base URL alone", "ANTHROPIC_BASE_URL=http://10.0.0.9", providers{"simulated": simulated}, "simulated", "*"},
		{"bedrock, signing", "AWS_ACCESS_KEY_ID=AKID AWS_REGION=eu-west-1", providers{"bedrock": bedrock}, "bedrock", ""},
		{"bedrock, a token", "AWS_BEARER_TOKEN_BEDROCK=t AWS_DEFAULT_REGION=eu-west-1", providers{
			"bedrock": with(bedrock, func(p *provider.Config) { p.APIKey = "t" }),
		}, "bedrock", ""},
		{"bedrock without a region", "OPENAI_API_KEY=sk-1 AWS_ACCESS_KEY_ID=AKID", providers{"openai": openai}, "openai", "without AWS_REGION"},
		{"bedrock beside openai", "OPENAI_API_KEY=sk-1 AWS_ACCESS_KEY_ID=AKID AWS_REGION=eu-west-1", providers{"openai": openai, "bedrock": bedrock},
			"openai amazon.*=bedrock anthropic.*=bedrock apac.*=bedrock arn:*=bedrock eu.*=bedrock global.*=bedrock us.*=bedrock", ""},
		{"a region alone", "OPENAI_API_KEY=sk-1 AWS_REGION=eu-west-1", providers{"openai": openai}, "openai", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			variables := map[string]string{}
			for pair := range strings.FieldsSeq(test.variables) {
				name, value, _ := strings.Cut(pair, "=")
				variables[name] = value
			}
			l := load(t, variables)
			for name, p := range l.Providers {
				if len(p.Headers) == 0 {
					p.Headers = nil
				}
				l.Providers[name] = p
			}
			if !reflect.DeepEqual(l.Providers, test.want) {
				t.Errorf("providers %#v", l.Providers)
			}
			if got := offered(l.Models); got != test.first {
				t.Errorf("models %s, expected %s", got, test.first)
			}
			notes := strings.Join(l.Notes, "\n")
			if test.note != "*" && (test.note == "" != (notes == "") || strings.Contains(notes, "\n") || !strings.Contains(notes, test.note)) {
				t.Errorf("notes: %s", notes)
			}
		})
	}
}

func TestDefaultTenant(t *testing.T) {
	l := load(t, map[string]string{"OPENAI_API_KEY": "sk-1", "VLLM_BASE_URL": "http://10.0.0.1:8000"})
	tenant := l.Tenants["default"]
	if got := strings.Join(tenant.Models, " "); len(l.Tenants) != 1 || got != "* openai/* vllm/*" {
		t.Errorf("models: %s", got)
	}
	if key := tenant.Keys[0].Key.Reveal(); key != l.Key.Reveal() || !regexp.MustCompile(`^jv-[0-9A-Za-z]{38}$`).MatchString(key) {
		t.Errorf("key %q", key)
	}
	l = load(t, map[string]string{"JARVIS_KEY": "jv-mine"})
	if key := l.Tenants["default"].Keys[0].Key.Reveal(); key != "jv-mine" || l.Key.Reveal() != key {
		t.Errorf("key %q", key)
	}
	if a, b := admin.NewKey(), admin.NewKey(); a == b {
		t.Error("the same key twice")
	}
}

// What is wrong with a variable is told of the variable, not of a section that nobody wrote.
func TestEnvironmentProblems(t *testing.T) {
	s := newSource("")
	s.lookup = lookupIn(map[string]string{"OPENAI_API_KEY": canary, "OPENAI_BASE_URL": "ftp://example.com", "JARVIS_KEY": "short"})
	_, err := s.load()
	want := `the environment variable JARVIS_KEY: must have at least 16 characters
the environment variable OPENAI_BASE_URL: expected http://`
	if err == nil || !strings.Contains(sortedLines(err.Error()), want) {
		t.Errorf("got:\n%v", err)
	}
}

func sortedLines(s string) string {
	lines := strings.Split(s, "\n")
	if len(lines) == 2 && lines[0] > lines[1] {
		lines[0], lines[1] = lines[1], lines[0]
	}
	return strings.Join(lines, "\n")
}

func TestOwnAddress(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		listen, base string
		own          bool
	}{
		{"127.0.0.1:8080", "http://127.0.0.1:8080/v1", true},
		{"127.0.0.1:8080", "http://LOCALHOST:8080", true},
		{"127.0.0.1:8080", "http://0.0.0.0:8080/v1/", true},
		{"localhost:8080", "http://[::1]:8080/v1", true},
		{"0.0.0.0:8080", "http://127.1.2.3:8080/v1", true},
		{":8080", "http://" + host + ":8080/v1", true},
		{"10.9.8.7:80", "http://10.9.8.7/v1", true},
		{"127.0.0.1:443", "https://localhost/v1", true},
		{"127.0.0.1:8080", "http://127.0.0.1:8081/v1", false},
		{"127.0.0.1:8080", "http://" + net.IPv4(203, 0, 113, 1).String() + ":8080/v1", false},
		{"0.0.0.0:8080", "http://203.0.113.1:8080/v1", false},
		{"127.0.0.1:8080", "http://" + host + ".example.com:8080/v1", false},
		{"127.0.0.1:80", "https://localhost/v1", false},
		{"127.0.0.1:8080", "", false},
		{"127.0.0.1:8080", "::", false},
		{"nonsense", "http://127.0.0.1:8080", false},
	} {
		e := &environment{listen: test.listen}
		if e.own(test.base) != test.own {
			t.Errorf("listen %s, base URL %s: own is %v", test.listen, test.base, !test.own)
		}
	}
}

// offered is who serves which names: that of all names first, then the patterns in order.
func offered(models map[string]router.Model) string {
	all := models["*"].Targets[0].Provider
	for _, name := range slices.Sorted(maps.Keys(models)) {
		if targets := models[name].Targets; len(targets) != 1 || targets[0].Model != "" {
			return "more than a provider"
		}
		if name != "*" {
			all += " " + name + "=" + models[name].Targets[0].Provider
		}
	}
	return all
}
