package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// Config is one entry of `providers`: where a provider is and how to speak to it.
type Config struct {
	Kind       string            `yaml:"kind" json:"kind" jsonschema:"required,enum=openai,enum=azure,enum=vllm,enum=anthropic,enum=bedrock,enum=simulated" jsonschema_description:"the dialect the provider speaks"`
	BaseURL    string            `yaml:"base_url,omitempty" jsonschema_description:"where its API lives, e.g. https://api.openai.com/v1"`
	APIKey     wire.Secret       `yaml:"api_key,omitempty" jsonschema_description:"the provider's credential; clients never see it"`
	APIVersion string            `yaml:"api_version,omitempty" jsonschema_description:"azure: the api-version of every call; leave it out for the v1 API"`
	Region     string            `yaml:"region,omitempty" jsonschema_description:"bedrock: the AWS region; default: AWS_REGION, AWS_DEFAULT_REGION or the profile's. openai, azure: where requests are processed, such as eu, which prices may depend on; default of openai: what base_url says"`
	Profile    string            `yaml:"profile,omitempty" jsonschema_description:"bedrock: the profile of the AWS configuration files; default: AWS_PROFILE"`
	Replicas   Replicas          `yaml:"replicas,omitempty" jsonschema_description:"vllm: the base URLs of equal servers, in place of base_url: a list, a file or a name in the DNS"`
	Headers    map[string]string `yaml:"headers,omitempty" jsonschema_description:"headers added to every call, e.g. OpenAI-Organization"`
	CA         string            `yaml:"ca,omitempty" jsonschema_description:"PEM file with the certificate authorities to trust in place of the system's"`
	Proxy      string            `yaml:"proxy,omitempty" jsonschema_description:"HTTP proxy for this provider; default: HTTP_PROXY, HTTPS_PROXY and NO_PROXY; 'none' connects directly"`
	// What to do with what a request holds and the provider's dialect cannot carry.
	Unsupported string `yaml:"unsupported,omitempty" jsonschema:"enum=refuse,enum=drop" jsonschema_description:"what becomes of what the provider's dialect cannot carry: refuse the request (default), or drop the field and name it in the header X-Jarvis-Warning"`
	Responses   string `yaml:"responses,omitempty" jsonschema:"enum=auto,enum=native,enum=chat" jsonschema_description:"openai, azure, vllm: whether the Responses API is the provider's own (native) or made of chat completions (chat); auto (default) tries the provider's and notices when there is none"`
	FetchURLs   bool   `yaml:"fetch_urls,omitempty" jsonschema_description:"bedrock: fetch images and documents that requests name by a public http(s) URL; else such requests are refused"`
	// How a pool of equal servers is looked after.
	Probe       Probe `yaml:"probe,omitempty" jsonschema_description:"vllm: how replicas are asked whether they are well; with replicas on by default"`
	Scrape      Every `yaml:"scrape,omitempty" jsonschema_description:"vllm: how often replicas' /metrics are read; default 1s with replicas, else off"`
	SlowStart   Every `yaml:"slow_start,omitempty" jsonschema_description:"vllm: how long a new or returning replica takes to get its full share; default 30s"`
	MaxInFlight int   `yaml:"max_in_flight,omitempty" jsonschema:"minimum=1" jsonschema_description:"vllm: requests at all replicas at once, of one gateway process; the others wait in line; default: no bound"`
	Queue       Queue `yaml:"queue,omitempty" jsonschema_description:"vllm: the line in front of max_in_flight"`
	MaxConns    int   `yaml:"max_conns,omitempty" jsonschema:"minimum=1" jsonschema_description:"connections at once to one base URL, default 16384"`
}

// bases checks where the provider is.
func (cfg Config) bases(k kind) ([]*url.URL, error) {
	list, field := []string{cmp.Or(cfg.BaseURL, k.base)}, "base_url"
	errs := cfg.checkPool()
	switch r := cfg.Replicas; {
	case r.DNS != "":
		list, field = []string{r.DNS}, "replicas.dns"
	case r.File != "":
		list = nil
	case len(r.List) > 0:
		list, field = r.List, "replicas"
	}
	if cfg.APIVersion != "" && cfg.Kind != "azure" {
		errs = append(errs, errors.New("api_version: only for kind azure"))
	}
	if cfg.Kind != "bedrock" && (cfg.Profile != "" || cfg.FetchURLs) {
		errs = append(errs, errors.New("profile: profile and fetch_urls are only for kind bedrock"))
	}
	switch {
	case cfg.Region == "" || cfg.Kind == "bedrock":
	case cfg.Kind != "openai" && cfg.Kind != "azure":
		errs = append(errs, errors.New("region: only for kinds bedrock, openai and azure"))
	case !regional(cfg.Region):
		errs = append(errs, fmt.Errorf("region: %q is not a region, such as eu", cfg.Region))
	}
	if !slices.Contains([]string{"", "refuse", "drop"}, cfg.Unsupported) {
		errs = append(errs, fmt.Errorf("unsupported: unknown choice %q (choices: refuse, drop)", cfg.Unsupported))
	}
	if !slices.Contains([]string{"", "auto", "native", "chat"}, cfg.Responses) {
		errs = append(errs, fmt.Errorf("responses: unknown choice %q (choices: auto, native, chat)", cfg.Responses))
	}
	if cfg.Responses != "" && !k.speaks(wire.Response) {
		errs = append(errs, errors.New("responses: only for kinds openai, azure and vllm"))
	}
	if cfg.MaxConns < 0 {
		errs = append(errs, errors.New("max_conns: must be at least 1"))
	}
	for name, value := range cfg.Headers {
		if !headerToken(name) || strings.ContainsAny(value, "\r\n\x00") || keepsToItself([]byte(canonical(name))) && !strings.HasPrefix(canonical(name), "Openai-") {
			errs = append(errs, fmt.Errorf("headers.%s: not a header that may be set here", name))
		}
	}
	var bases []*url.URL
	for i, s := range list {
		where := field
		if field == "replicas" {
			where = fmt.Sprintf("replicas[%d]", i)
		}
		u, err := baseURL(s)
		switch {
		case s == "":
			err = fmt.Errorf("%s: must be set for kind %s", where, cfg.Kind)
		case err != nil:
			err = fmt.Errorf("%s: %w", where, err)
		}
		errs = append(errs, err)
		bases = append(bases, u)
	}
	return bases, errors.Join(errs...)
}

// regional tells whether a text can be the name of a region.
func regional(text string) bool {
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// region is where a provider other than Bedrock processes requests, as far as that is said: OpenAI has hosts of its regions,
// such as eu.api.openai.com.
func (cfg Config) region() string {
	if cfg.Region != "" || cfg.Kind != "openai" {
		return cfg.Region
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return ""
	}
	name, ours := strings.CutSuffix(u.Hostname(), ".api.openai.com")
	if !ours || !regional(name) {
		return ""
	}
	return name
}

func canonical(name string) string {
	var h fasthttp.RequestHeader
	h.Set(name, "x")
	for k := range h.All() {
		return string(k)
	}
	return name
}

func headerToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
