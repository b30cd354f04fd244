package provider

import "jarvis-gateway/proxy/wire"

// Config is one entry of `providers`: where a provider is and how to speak to it.
type Config struct {
	Kind       string            `yaml:"kind" json:"kind" jsonschema:"required,enum=openai,enum=azure,enum=vllm,enum=simulated" jsonschema_description:"the dialect the provider speaks"`
	BaseURL    string            `yaml:"base_url,omitempty" jsonschema_description:"where its API lives, e.g. https://api.openai.com/v1"`
	APIKey     wire.Secret       `yaml:"api_key,omitempty" jsonschema_description:"the provider's credential; clients never see it"`
	APIVersion string            `yaml:"api_version,omitempty" jsonschema_description:"azure: the api-version of every call; leave it out for the v1 API"`
	Replicas   []string          `yaml:"replicas,omitempty" jsonschema_description:"vllm: the base URLs of equal servers, in place of base_url"`
	Headers    map[string]string `yaml:"headers,omitempty" jsonschema_description:"headers added to every call, e.g. OpenAI-Organization"`
	CA         string            `yaml:"ca,omitempty" jsonschema_description:"PEM file with the certificate authorities to trust in place of the system's"`
	Proxy      string            `yaml:"proxy,omitempty" jsonschema_description:"HTTP proxy for this provider; default: HTTP_PROXY, HTTPS_PROXY and NO_PROXY; 'none' connects directly"`
	MaxConns   int               `yaml:"max_conns,omitempty" jsonschema:"minimum=1" jsonschema_description:"connections at once to one base URL, default 16384"`
}
