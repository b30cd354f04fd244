package main

import (
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// environment makes a configuration of the variables that people have set already.
type environment struct {
	lookup    func(name string) (string, bool)
	listen    string // the gateway's own address
	places    map[string]place
	providers map[string]provider.Config
	notes     []string
}

// offer makes a provider of each key that it finds, and has every model name served by the first of them.
func (e *environment) offer() (map[string]provider.Config, map[string]router.Model) {
	e.providers = map[string]provider.Config{}
	e.openai()
	e.azure()
	e.vllm()
	e.anthropic()
	e.bedrock()
	first := "simulated"
	for _, name := range []string{"bedrock", "anthropic", "vllm", "azure", "openai"} {
		if _, found := e.providers[name]; found {
			first = name
		}
	}
	if first == "simulated" {
		e.providers[first] = provider.Config{Kind: first}
		e.note("no provider in the environment (OPENAI_API_KEY, ANTHROPIC_API_KEY, AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID, AZURE_OPENAI_API_KEY, VLLM_BASE_URL): answers are simulated")
	}
	return e.providers, e.models(first)
}

// models has each provider serve the names that can only be its own, and the first one all others.
func (e *environment) models(first string) map[string]router.Model {
	models := map[string]router.Model{"*": {Targets: []router.TargetConfig{{Provider: first}}}}
	for name, patterns := range map[string]string{
		"anthropic": "claude-*",
		"bedrock":   "anthropic.* amazon.* us.* eu.* apac.* global.* arn:*",
	} {
		if _, found := e.providers[name]; !found || name == first {
			continue
		}
		for _, pattern := range words(patterns) {
			models[pattern] = router.Model{Targets: []router.TargetConfig{{Provider: name}}}
		}
	}
	return models
}

// get is the first of the named variables that has a value. It becomes the value of path, so that what is wrong with it is
// told of the variable.
func (e *environment) get(path string, names ...string) string {
	for _, name := range names {
		if value, _ := e.lookup(name); strings.TrimSpace(value) != "" {
			e.places[path] = place{shown: "the environment variable " + name, fromEnv: true}
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (e *environment) note(parts ...string) { e.notes = append(e.notes, strings.Join(parts, "")) }

func (e *environment) openai() {
	key, base := e.get("providers.openai.api_key", "OPENAI_API_KEY"), e.get("providers.openai.base_url", "OPENAI_BASE_URL")
	if e.own(base) {
		e.note("OPENAI_BASE_URL is this gateway's own address, meant for its clients: ignored")
		base = ""
	}
	switch {
	case key == "" && base != "":
		e.note("OPENAI_BASE_URL is set without OPENAI_API_KEY: ignored")
		return
	case key == "":
		return
	case base == "" && strings.HasPrefix(key, admin.KeyPrefix):
		// The shell of a client: its key is ours, and no one else should see it.
		e.note("OPENAI_API_KEY is a key of this gateway (" + admin.KeyPrefix + "...), not of OpenAI: ignored")
		return
	}
	headers := map[string]string{}
	if org := e.get("providers.openai.headers.OpenAI-Organization", "OPENAI_ORG_ID", "OPENAI_ORGANIZATION"); org != "" {
		headers["OpenAI-Organization"] = org
	}
	if project := e.get("providers.openai.headers.OpenAI-Project", "OPENAI_PROJECT_ID"); project != "" {
		headers["OpenAI-Project"] = project
	}
	e.providers["openai"] = provider.Config{Kind: "openai", BaseURL: base, APIKey: wire.Secret(key), Headers: headers}
}

func (e *environment) azure() {
	key, base := e.get("providers.azure.api_key", "AZURE_OPENAI_API_KEY"), e.get("providers.azure.base_url", "AZURE_OPENAI_ENDPOINT")
	switch {
	case key == "" && base == "":
	case key == "":
		e.note("AZURE_OPENAI_ENDPOINT is set without AZURE_OPENAI_API_KEY: ignored")
	case base == "":
		e.note("AZURE_OPENAI_API_KEY is set without AZURE_OPENAI_ENDPOINT: ignored")
	default:
		version := e.get("providers.azure.api_version", "OPENAI_API_VERSION")
		e.providers["azure"] = provider.Config{Kind: "azure", BaseURL: base, APIKey: wire.Secret(key), APIVersion: version}
	}
}

func (e *environment) vllm() {
	base := e.get("providers.vllm.base_url", "VLLM_BASE_URL", "HOSTED_VLLM_API_BASE")
	switch {
	case base == "":
	case e.own(base):
		e.note("VLLM_BASE_URL is this gateway's own address: ignored")
	default:
		key := e.get("providers.vllm.api_key", "VLLM_API_KEY", "HOSTED_VLLM_API_KEY")
		e.providers["vllm"] = provider.Config{Kind: "vllm", BaseURL: base, APIKey: wire.Secret(key)}
	}
}

func (e *environment) anthropic() {
	key, base := e.get("providers.anthropic.api_key", "ANTHROPIC_API_KEY"), e.get("providers.anthropic.base_url", "ANTHROPIC_BASE_URL")
	if e.own(base) {
		e.note("ANTHROPIC_BASE_URL is this gateway's own address, meant for its clients: ignored")
		base = ""
	}
	switch {
	case key == "" && base != "":
		e.note("ANTHROPIC_BASE_URL is set without ANTHROPIC_API_KEY: ignored")
	case key == "":
	case base == "" && strings.HasPrefix(key, admin.KeyPrefix):
		e.note("ANTHROPIC_API_KEY is a key of this gateway (" + admin.KeyPrefix + "...), not of Anthropic: ignored")
	default:
		e.providers["anthropic"] = provider.Config{Kind: "anthropic", BaseURL: base, APIKey: wire.Secret(key)}
	}
}

// bedrock is offered where AWS credentials are given on purpose, not wherever an instance happens to have a role.
func (e *environment) bedrock() {
	key := e.get("providers.bedrock.api_key", "AWS_BEARER_TOKEN_BEDROCK")
	region := e.get("providers.bedrock.region", "AWS_REGION", "AWS_DEFAULT_REGION")
	given := e.get("", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != ""
	switch {
	case key == "" && !given:
	case region == "" && e.get("", "AWS_PROFILE") == "":
		e.note("AWS credentials are set without AWS_REGION: Bedrock is not offered")
	default:
		e.providers["bedrock"] = provider.Config{Kind: "bedrock", Region: region, APIKey: wire.Secret(key)}
	}
}

// own says whether base is where this gateway itself listens, so that calling it would be calling ourselves.
func (e *environment) own(base string) bool {
	u, err := url.Parse(base)
	host, port, listenErr := net.SplitHostPort(e.listen)
	if err != nil || listenErr != nil || base == "" {
		return false
	}
	asked := u.Port()
	if asked == "" {
		asked = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if asked != port {
		return false
	}
	name := u.Hostname()
	everywhere := host == "" || net.ParseIP(host).IsUnspecified()
	return strings.EqualFold(name, host) || isLoopback(name) && (everywhere || isLoopback(host)) || everywhere && isHere(name)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip.IsLoopback() || ip.IsUnspecified()
}

// isHere says whether host names this machine.
func isHere(host string) bool {
	if name, err := os.Hostname(); err == nil && strings.EqualFold(name, host) {
		return true
	}
	addresses, err := net.InterfaceAddrs()
	ip := net.ParseIP(host)
	return err == nil && ip != nil && slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.Equal(ip)
	})
}

// everyone is the tenant of a gateway that nobody has set up yet: one key, every model.
func everyone(key wire.Secret, providers map[string]provider.Config) policy.Tenant {
	models := []string{"*"}
	for _, name := range slices.Sorted(maps.Keys(providers)) {
		models = append(models, name+"/*")
	}
	return policy.Tenant{Models: models, Keys: []policy.Key{{Name: "default", Key: key}}}
}
