package policy

import (
	"time"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// Tenant is one entry of `tenants`: who may use what.
type Tenant struct {
	Models     []string        `yaml:"models,omitempty" jsonschema_description:"the models it may ask for: names, patterns with *, or provider/model; default: every entry of models"`
	Keys       []Key           `yaml:"keys,omitempty" jsonschema_description:"its API keys; more can be made at run time"`
	Teams      map[string]Team `yaml:"teams,omitempty" jsonschema_description:"parts of the tenant with limits of their own, by name"`
	Limits     Limits          `yaml:"limits,omitempty"`
	UserLimits Limits          `yaml:"user_limits,omitempty" jsonschema_description:"limits that each end user has, told by the request's user, safety_identifier, metadata.user_id or X-Jarvis-Metadata"`
	Priority   int             `yaml:"priority,omitempty" jsonschema:"minimum=1,maximum=10" jsonschema_description:"1 to 10, for the queue when the gateway is full; default 5"`
	Guards     []guard.Config  `yaml:"guards,omitempty" jsonschema_description:"what requests and answers are checked for, in order"`
	Alerts     Alerts          `yaml:"alerts,omitempty"`
	Timezone   string          `yaml:"timezone,omitempty" jsonschema_description:"where its days and months begin, such as Asia/Shanghai; default that of the limits, or UTC"`
	LogPrompts bool            `yaml:"log_prompts,omitempty" jsonschema_description:"keep its prompts and answers beside its usage records, personal data masked, for usage.keep.contents; default false"`
}

// Team is a part of a tenant: all its keys share its limits.
type Team struct {
	Models []string `yaml:"models,omitempty" jsonschema_description:"the models it may ask for, of those that the tenant may"`
	Limits Limits   `yaml:"limits,omitempty"`
}

// Key is one API key of a tenant: `key` in the clear (best from the environment) or `hash`, its digest.
type Key struct {
	Name    string      `yaml:"name" jsonschema:"required" jsonschema_description:"what logs call it"`
	Key     wire.Secret `yaml:"key,omitempty" jsonschema_description:"the key itself, best as ${NAME}"`
	Hash    string      `yaml:"hash,omitempty" jsonschema_description:"sha256: and the hex digest of the key"`
	Expires string      `yaml:"expires,omitempty" jsonschema_description:"the key works until this date (2027-01-01, UTC) or RFC 3339 time"`
	Role    string      `yaml:"role,omitempty" jsonschema_description:"super_admin, tenant_admin, developer (default), operator, viewer, or one of roles"`
	Team    string      `yaml:"team,omitempty" jsonschema_description:"one of the tenant's teams"`
	Limits  Limits      `yaml:"limits,omitempty"`
}

// Role is an entry of `roles`: what those who have it may do.
type Role struct {
	Permissions []string `yaml:"permissions,omitempty" jsonschema_description:"such as chat:create, chat:read, documents:*; * stands for every part but admin, admin:* for admin:user and admin:quota"`
	Inherits    string   `yaml:"inherits,omitempty" jsonschema_description:"a role whose permissions this one has too; any but super_admin"`
}

// Auth is the section `auth`: how callers are known other than by keys.
type Auth struct {
	JWT *JWT `yaml:"jwt,omitempty" jsonschema_description:"tokens of an identity provider, accepted wherever a key is"`
}

// JWT says whose tokens are trusted and what their claims mean.
type JWT struct {
	Issuer      string        `yaml:"issuer" jsonschema:"required" jsonschema_description:"what iss must be, to the letter"`
	JWKS        string        `yaml:"jwks" jsonschema:"required" jsonschema_description:"the https URL of the issuer's public keys; http only on this machine"`
	Audience    string        `yaml:"audience" jsonschema:"required" jsonschema_description:"what aud must be or hold"`
	TenantClaim string        `yaml:"tenant_claim" jsonschema:"required" jsonschema_description:"the claim that names the tenant, such as org; a path with dots leads into objects"`
	RoleClaim   string        `yaml:"role_claim,omitempty" jsonschema_description:"the claim that names the role, or lists roles, of which the first known one counts; default: everyone is a developer"`
	TeamClaim   string        `yaml:"team_claim,omitempty" jsonschema_description:"the claim that names the tenant's team"`
	UserClaim   string        `yaml:"user_claim,omitempty" jsonschema_description:"the claim that names the end user, for user_limits, in place of what requests say"`
	Leeway      time.Duration `yaml:"leeway,omitempty" jsonschema_description:"by how much clocks may differ; default 1m"`
	Algorithms  []string      `yaml:"algorithms,omitempty" jsonschema:"enum=RS256,enum=RS384,enum=RS512,enum=PS256,enum=PS384,enum=PS512,enum=ES256,enum=ES384,enum=ES512,enum=EdDSA" jsonschema_description:"signatures that are accepted; default all of these"`
	CA          string        `yaml:"ca,omitempty" jsonschema_description:"PEM file with the certificate authorities to trust for jwks in place of the system's"`
	SuperAdmin  bool          `yaml:"super_admin,omitempty" jsonschema_description:"whether a token may have the role super_admin; default false"`
}

// Limits bounds the use of a gateway, tenant, team, key or end user. All that apply hold at once.
type Limits struct {
	Requests    Rates    `yaml:"requests,omitempty" jsonschema_description:"requests per s, m, h or d, such as 600/m, or a list of such"`
	Tokens      Rates    `yaml:"tokens,omitempty" jsonschema_description:"tokens of prompts and answers per m, d or month, such as 200k/m"`
	Spend       Spends   `yaml:"spend,omitempty" jsonschema_description:"money per d or month, such as $50/d"`
	Concurrency int64    `yaml:"concurrency,omitempty" jsonschema:"minimum=1" jsonschema_description:"requests in flight at once"`
	Documents   Amount   `yaml:"documents,omitempty" jsonschema_description:"documents kept"`
	Vectors     Amount   `yaml:"vectors,omitempty" jsonschema_description:"vectors kept, such as 1M"`
	FlowRuns    Amount   `yaml:"flow_runs,omitempty" jsonschema_description:"flows running at once"`
	Algorithm   string   `yaml:"algorithm,omitempty" jsonschema:"enum=sliding_window,enum=token_bucket,enum=leaky_bucket" jsonschema_description:"how rates are counted; default sliding_window for s, m and h, and the calendar for d and month"`
	OnExceed    OnExceed `yaml:"on_exceed,omitempty" jsonschema_description:"what happens to a request over a limit: reject, queue, or {downgrade: MODEL}; default reject"`
	Queue       Queue    `yaml:"queue,omitempty" jsonschema_description:"for on_exceed: queue"`
	Timezone    string   `yaml:"timezone,omitempty" jsonschema_description:"where days and months begin; default UTC"`
}

// Queue bounds the requests that wait for a limit.
type Queue struct {
	Max  int           `yaml:"max,omitempty" jsonschema:"minimum=1,maximum=10000" jsonschema_description:"requests that may wait, 10000 at most; default 100"`
	Wait time.Duration `yaml:"wait,omitempty" jsonschema_description:"how long each may, 10m at most; default 10s"`
}
