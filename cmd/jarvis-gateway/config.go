package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // for images that hold nothing but the gateway

	"jarvis-gateway/flows"
	"jarvis-gateway/policy"
	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/ragplug"
	"jarvis-gateway/router"
	"jarvis-gateway/router/prompt"
)

// Config is the whole configuration: the sum of the packages' own.
type Config struct {
	Include   globs                      `yaml:"include,omitempty" jsonschema_description:"files, or patterns of files, with more providers, models and tenants; relative to this file"`
	Server    proxy.Config               `yaml:"server,omitempty" jsonschema_description:"where the gateway listens and how it treats its clients' connections"`
	Stores    Stores                     `yaml:"stores,omitempty" jsonschema_description:"where state is kept"`
	Providers map[string]provider.Config `yaml:"providers,omitempty" jsonschema_description:"who answers, by a name of your choice"`
	Models    map[string]router.Model    `yaml:"models,omitempty" jsonschema_description:"the names that clients may ask for; a provider's own are offered as provider/model without an entry"`
	Tenants   map[string]policy.Tenant   `yaml:"tenants,omitempty" jsonschema_description:"who may use what, by name"`
	Roles     map[string]policy.Role     `yaml:"roles,omitempty" jsonschema_description:"roles of your own, beside super_admin, tenant_admin, developer, operator and viewer"`
	Auth      policy.Auth                `yaml:"auth,omitempty" jsonschema_description:"who else may come in, beside those with keys"`
	Limits    policy.Limits              `yaml:"limits,omitempty" jsonschema_description:"the whole gateway's limits"`
	Alerts    policy.Alerts              `yaml:"alerts,omitempty" jsonschema_description:"who is told when a budget of the whole gateway runs out"`
	Audit     Audit                      `yaml:"audit,omitempty" jsonschema_description:"the log of who did what, in the state store"`
	Prices    usage.Config               `yaml:"prices,omitempty" jsonschema_description:"what tokens cost"`
	Usage     Usage                      `yaml:"usage,omitempty" jsonschema_description:"records of what every request used and cost, on their way to stores.usage"`
	Telemetry trace.Config               `yaml:"telemetry,omitempty" jsonschema_description:"what is told to whom watches the gateway: traces by OpenTelemetry, series of metrics"`
	Cache     proxy.CacheConfig          `yaml:"cache,omitempty" jsonschema_description:"how much is kept of the answers of models that have a cache"`
	Prompts   prompt.Config              `yaml:"prompts,omitempty" jsonschema_description:"templates that requests and models refer to"`
	Flows     flows.Config               `yaml:"flows,omitempty" jsonschema_description:"flows of calls that clients ask for as a model, flow/NAME"`
	Corpora   map[string]ragplug.Config  `yaml:"corpora,omitempty" jsonschema_description:"documents that models may get passages of, by name"`
}

// part is what an included file may hold.
type part struct {
	Providers map[string]provider.Config `yaml:"providers,omitempty"`
	Models    map[string]router.Model    `yaml:"models,omitempty"`
	Tenants   map[string]policy.Tenant   `yaml:"tenants,omitempty"`
}

// Stores says where state is kept: embedded by default, a URL moves a part to a server.
type Stores struct {
	State    string     `yaml:"state,omitempty" jsonschema:"pattern=^(sqlite:.+|postgres(ql)?://.+)$" jsonschema_description:"tenants, keys, stored responses, audit: sqlite: and a file, sqlite::memory: to keep nothing, or postgres://; default sqlite:data/jarvis.db"`
	Counters string     `yaml:"counters,omitempty" jsonschema:"pattern=^(memory|rediss?(-cluster)?://.+)$" jsonschema_description:"limits and budgets: memory, redis://, rediss:// (with TLS) or redis-cluster://; default memory"`
	Vectors  string     `yaml:"vectors,omitempty" jsonschema:"enum=embedded" jsonschema_description:"default embedded"`
	Usage    string     `yaml:"usage,omitempty" jsonschema:"pattern=^(sqlite:.+|clickhouse(\\+https?)?://.+)$" jsonschema_description:"records of usage: sqlite: and a file, sqlite::memory: to keep nothing, or ClickHouse: clickhouse:// (its own protocol), clickhouse+http:// or clickhouse+https://; default usage.db beside the state's file, or in data"`
	OnError  StoreFails `yaml:"on_error,omitempty" jsonschema_description:"what happens while a store does not answer"`
}

// StoreFails says what happens while a store does not answer.
type StoreFails struct {
	Counters string `yaml:"counters,omitempty" jsonschema:"enum=open,enum=closed,enum=local_share" jsonschema_description:"open: requests pass, counted later; closed: they are refused; local_share: each replica keeps to its share of the limits; default local_share"`
	Usage    string `yaml:"usage,omitempty" jsonschema:"enum=spool,enum=open,enum=closed" jsonschema_description:"records wait on the disk, up to usage.max. Then: spool, the oldest go; open: new ones are not kept; closed: requests are refused; default spool"`
}

// Audit says how long the audit log is kept.
type Audit struct {
	Retain time.Duration `yaml:"retain,omitempty" jsonschema_description:"entries that are older go; default 8760h, a year"`
}

// globs is a list of file patterns, or one written alone.
type globs []string

// UnmarshalText reads a pattern that stands alone.
func (g *globs) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("expected a file or a pattern of files")
	}
	*g = globs{string(text)}
	return nil
}

// source is where the configuration comes from: a file, or the environment alone when path is empty. It may be loaded again
// and again; a key that it had to make up stays the same.
type source struct {
	path     string
	lookup   func(name string) (string, bool)
	key      func() wire.Secret
	validate func(*Config) error // the packages' own checks
	seen     atomic.Pointer[content]
}

func newSource(path string) *source {
	return &source{path: path, lookup: os.LookupEnv, key: sync.OnceValue(admin.NewKey), validate: validate}
}

// loaded is a valid configuration and how it came about.
type loaded struct {
	Config
	Key   wire.Secret // of the tenant `default`, when the configuration names no tenant
	Notes []string    // what its owner should know

	places   map[string]place
	hidden   []string           // values that no message may show
	kept     []keptFile         // what versions keep of the files
	restored []state.ConfigFile // of a version that was kept: its own
}

// explain words an error of the packages, about this configuration, with the places that it is about.
func (l *loaded) explain(err error) error {
	if err == nil {
		return nil
	}
	return annotate(err, l.places, masker(l.hidden), nil).sorted()
}

// load reads the configuration, adds what it leaves open and checks it all. The error is every problem there is.
func (s *source) load() (*loaded, error) {
	seen := s.digest() // before reading, so that a change in between counts as one
	s.seen.Store(&seen)
	r := &reading{source: s, loaded: &loaded{places: map[string]place{}}}
	if s.path != "" {
		r.main()
	}
	return r.finish()
}

// finish completes what was read and checks it.
func (r *reading) finish() (*loaded, error) {
	if len(r.problems) > 0 && r.hollow() {
		return nil, r.problems.sorted()
	}
	r.complete()
	for _, p := range r.Providers { // some came from the environment, not through a file
		r.hidden = append(r.hidden, p.APIKey.Reveal())
	}
	r.check(r.own())
	r.check(r.validate(&r.Config))
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	r.keep()
	return r.loaded, nil
}

// reading is one load in progress.
type reading struct {
	*source
	*loaded
	problems problems
	fill     func(mark string) (secret string, found bool) // of a kept version: the secrets that it left out
	later    []func() (keptFile, error)
}

// hollow says whether names are missing from what was read, a section's or a file's, so that checking the rest would only
// report what refers to them.
func (r *reading) hollow() bool {
	sections := []string{"include", "providers", "models", "tenants"}
	return slices.ContainsFunc(r.problems, func(p problem) bool {
		section, _, _ := strings.Cut(p.path, "[")
		return section == "" || nearest(section, sections) != ""
	})
}

// check adds the errors of a package to the problems.
func (r *reading) check(err error) {
	r.problems = append(r.problems, annotate(err, r.places, masker(r.hidden), r.problems)...)
}

// own checks the sections that no package has.
func (r *reading) own() error {
	var errs []error
	bad := func(path string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("stores.%s: %w", path, err))
		}
	}
	bad("state", state.Check(r.Stores.State))
	bad("counters", counter.Check(r.Stores.Counters))
	choices := words("open closed local_share")
	if choice := r.Stores.OnError.Counters; !slices.Contains(choices, choice) {
		bad("on_error.counters", fmt.Errorf("unknown choice %q (choices: %s)", choice, strings.Join(choices, ", ")))
	}
	return errors.Join(errors.Join(errs...), r.Usage.check(&r.Stores))
}
