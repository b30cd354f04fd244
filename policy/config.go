package policy

import "jarvis-gateway/proxy/wire"

// Tenant is one entry of `tenants`: who may use what.
type Tenant struct {
	Models []string `yaml:"models,omitempty" jsonschema_description:"the models it may ask for: names, patterns with *, or provider/model; default: every entry of models"`
	Keys   []Key    `yaml:"keys,omitempty" jsonschema_description:"its API keys"`
	Limits Limits   `yaml:"limits,omitempty"`
}

// Key is one API key of a tenant: `key` in the clear (best from the environment) or `hash`, its digest.
type Key struct {
	Name    string      `yaml:"name" jsonschema:"required" jsonschema_description:"what logs call it"`
	Key     wire.Secret `yaml:"key,omitempty" jsonschema_description:"the key itself, best as ${NAME}"`
	Hash    string      `yaml:"hash,omitempty" jsonschema_description:"sha256: and the hex digest of the key"`
	Expires string      `yaml:"expires,omitempty" jsonschema_description:"the key works until this date (2027-01-01, UTC) or RFC 3339 time"`
	Role    string      `yaml:"role,omitempty" jsonschema:"enum=developer"`
}

// Limits bounds use, for the whole gateway or one tenant.
type Limits struct {
	Concurrency int `yaml:"concurrency,omitempty" jsonschema:"minimum=1" jsonschema_description:"requests in flight at once"`
}
