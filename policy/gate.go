// Package policy decides who may ask for what: keys, tokens, tenants, roles, limits.
package policy

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// Setup is what a Gate is made of.
type Setup struct {
	Tenants  map[string]Tenant
	Roles    map[string]Role // those of the config
	JWT      *JWT            // nil: keys only
	Limits   Limits          // the whole gateway's
	Alerts   Alerts          // who is told of those
	Names    Names
	Rooms    map[string]Room   // of providers that take so many requests at once
	Log      *slog.Logger      // of what goes wrong behind the requests; nil: nowhere
	Once     Once              // so that one alert is sent, whatever the number of replicas; nil: none is sent
	OnAlert  func(Alert)       // told of each; it must not block
	OnWait   OnWait            // told of each request that waited, once it does no more; nil: nobody is
	Stock    Stock             // of documents and vectors; nil: none can be stored
	Counters *counter.Counters // nil: the setup is only checked; nothing is counted and nothing fetched
}

// Names is what tenants may refer to.
type Names struct {
	Models    []string // entries of `models`, patterns included
	Providers []string
	Flows     []string // models that are flows, or patterns of them
}

// match tells whether a tenant's entry can ever allow something.
func (n Names) match(entry string) bool {
	if strings.Count(entry, "*") > 1 {
		return false
	}
	if entry == "*" {
		return true
	}
	for _, m := range n.Models {
		if m == entry || wire.MatchModel(entry, m) || strings.Contains(m, "*") && wire.MatchModel(m, entry) {
			return true
		}
	}
	provider, _, direct := strings.Cut(entry, "/")
	return direct && slices.Contains(n.Providers, provider)
}

// may tells whether a tenant may have an entry: models, and flows.
func (n Names) may(entry string) bool {
	return n.match(entry) || strings.Count(entry, "*") <= 1 && slices.ContainsFunc(n.Flows, func(flow string) bool {
		return wire.MatchModel(entry, flow) || wire.MatchModel(flow, entry)
	})
}

// direct tells a provider/model name without an entry of its own: only tenants that list it, or a pattern of it, may ask for
// it.
func (n Names) direct(model string) bool {
	provider, rest, slash := strings.Cut(model, "/")
	return slash && rest != "" && slices.Contains(n.Providers, provider) && !slices.Contains(n.Models, model)
}

// anything is for what the state store has: a model that has gone from the configuration since is no mistake of the store's,
// and allows nothing.
var anything = Names{Models: []string{"*"}}

// Gate knows everyone who may come in. A new config makes a new Gate; what changes at run time is learnt.
type Gate struct {
	setup  Setup
	roles  Roles
	tokens *verifier  // nil: keys only
	fixed  *directory // the configuration's part, which Learn begins with

	counters  *counter.Counters
	line      *line
	alerts    *alerts
	learning  sync.Mutex // held by the one Learn at a time
	closed    bool
	directory atomic.Pointer[directory]
	bulkheads map[string]*Bulkhead // by provider
}

// New checks the setup. The error joins all that is wrong, each worded as a path. prev, which may be nil, is the Gate before:
// what it has learnt stays known, and what it counted goes on.
func New(s Setup, prev *Gate) (*Gate, error) {
	g := &Gate{setup: s, counters: s.Counters, line: newLine(everyone)}
	g.line.onWait = s.OnWait
	var before *directory
	var stored Stored
	if prev != nil {
		g.line, g.alerts, before = prev.line, prev.alerts, prev.directory.Load()
		stored = before.stored
	}
	if err := g.check(stored); err != nil {
		return nil, err
	}
	if s.Counters != nil && s.Once != nil && g.alerts == nil {
		g.alerts = newAlerts(s.Once, s.OnAlert)
	}
	if s.Counters != nil { // only now: a setup that is refused must change no limit in force
		g.fixed, _ = g.configure(s.Counters, before)
		g.begin(prev)
		g.makeBulkheads(prev)
	}
	d, _ := g.build(stored, s.Counters, before)
	g.directory.Store(d)
	return g, nil
}

// check reads the setup, without a trace elsewhere.
func (g *Gate) check(stored Stored) error {
	var errs, wrong []error
	g.roles, errs = newRoles(g.setup.Roles)
	if g.setup.JWT != nil {
		g.tokens, wrong = newVerifier(*g.setup.JWT)
		errs = append(errs, wrong...)
	}
	g.fixed, wrong = g.configure(nil, nil)
	errs = append(errs, wrong...)
	_, wrong = g.build(stored, nil, nil)
	return errors.Join(append(errs, conflicts(wrong)...)...)
}

// begin starts what works behind the requests, or goes on with that of prev.
func (g *Gate) begin(prev *Gate) {
	if g.tokens == nil {
		return
	}
	log := g.setup.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var before *verifier
	if prev != nil {
		before = prev.tokens
	}
	g.tokens = g.tokens.start(before, log)
}

// Close ends what the Gate works at behind the requests, but for what other, which may be nil, goes on with: the next Gate
// or, where this one is not used after all, the one before. Requests that have it still are served to their end.
func (g *Gate) Close(other *Gate) {
	g.learning.Lock()
	defer g.learning.Unlock()
	if g.closed {
		return
	}
	g.closed = true
	g.directory.Load().left(nil, g.setup.Counters)
	if g.alerts != nil && (other == nil || other.alerts != g.alerts) {
		g.alerts.Close()
	}
	if g.tokens != nil && g.tokens.keys != nil && (other == nil || other.tokens == nil || other.tokens.keys != g.tokens.keys) {
		g.tokens.keys.close()
	}
}

// configure makes the directory of the configuration alone. before, which may be nil, is the one in force.
func (g *Gate) configure(counters *counter.Counters, before *directory) (*directory, []error) {
	b := &builder{roles: g.roles, names: g.setup.Names, told: g.setup.Names, counters: counters, alerts: g.alerts, trusted: true, before: before,
		dir: &directory{tenants: map[string]*tenant{}, keys: map[uint64]*Caller{}}}
	b.configure(g.setup.Limits, g.setup.Alerts, g.setup.Tenants)
	return b.dir, b.errs
}

// build adds what the store has to the configuration's directory.
func (g *Gate) build(s Stored, counters *counter.Counters, before *directory) (*directory, []error) {
	b := &builder{roles: g.roles, names: anything, told: anything, stored: true, zone: g.setup.Limits.Timezone, counters: counters, alerts: g.alerts, before: before}
	b.extend(g.fixed, s, g.directory.Load())
	return b.dir, b.errs
}

// Learn takes in all that the state store has now, and forgets what it had before. The error tells of what was left out,
// because it conflicts with the configuration (a Conflict) or makes no sense beside it, as a key whose role is gone; the
// rest is in force, so that one bad entry does not keep a key from being revoked.
func (g *Gate) Learn(s Stored) error {
	g.learning.Lock()
	defer g.learning.Unlock()
	if g.closed {
		return nil // another Gate has taken over
	}
	before := g.directory.Load()
	d, errs := g.build(s, g.setup.Counters, before)
	g.directory.Store(d)
	before.left(d, g.setup.Counters)
	return errors.Join(errs...)
}

// Configured tells whether a tenant stands in the configuration, so that the store cannot have one of this name.
func (g *Gate) Configured(tenant string) bool { return g.fixed.tenants[tenant] != nil }

// ConfiguredKey tells whether a key of a tenant stands in the configuration.
func (g *Gate) ConfiguredKey(tenant, key string) bool {
	t := g.fixed.tenants[tenant]
	return t != nil && t.keyNames[key]
}

// CheckTenant tells what is wrong with a tenant that is to be stored, worded as paths below it.
func (g *Gate) CheckTenant(name string, t Tenant) error {
	b := g.checker()
	if err := checkName(name); err != nil {
		b.bad("", "name", "%w", err)
	}
	if t.Keys != nil {
		b.bad("", "keys", "are made one by one")
	}
	b.tenant("", name, "", t)
	return errors.Join(b.errs...)
}

// CheckAlerts is CheckTenant for the alerts alone.
func (g *Gate) CheckAlerts(a Alerts) error {
	b := g.checker()
	b.notice("alerts", a)
	return errors.Join(b.errs...)
}

// CheckKey tells what is wrong with a key that is to be stored, worded as paths below it. It tells of no model that the
// key's tenant may not ask for.
func (g *Gate) CheckKey(k StoredKey) error {
	b := g.checker()
	t := g.directory.Load().tenants[k.Tenant]
	if t == nil {
		b.bad("", "tenant", "unknown tenant %q", k.Tenant)
		return errors.Join(b.errs...)
	}
	if err := checkKeyName(k.Name); err != nil {
		b.bad("", "name", "%w", err)
	}
	b.told = Names{Models: t.choices(nil, b.names)}
	b.caller("", t, &k)
	return errors.Join(b.errs...)
}

// checker is a builder of which only the errors are used.
func (g *Gate) checker() *builder {
	return &builder{roles: g.roles, names: g.setup.Names, told: g.setup.Names, zone: g.setup.Limits.Timezone, dir: &directory{}}
}

// Roles is every role that there is.
func (g *Gate) Roles() Roles { return g.roles }

// Keys is the number of keys.
func (g *Gate) Keys() int { return len(g.directory.Load().keys) }

// Open tells whether anyone can be let in.
func (g *Gate) Open() bool { return g.tokens != nil || g.Keys() > 0 }

// Single tells whether there is only one tenant.
func (g *Gate) Single() bool { return len(g.directory.Load().tenants) == 1 }

// Caller is someone known: who asks, for which tenant, and what he may.
type Caller struct {
	Tenant string
	Team   string // "": none
	Key    string // its name; of a token, jwt: and the subject
	Role   string
	User   string // the end user, where a token says so; it counts more than what requests say

	id     string // of a stored key
	digest [sha256.Size]byte
	until  time.Time // zero: for ever
	perms  Permissions
	tenant *tenant
	team   *team    // nil: none
	scopes []*scope // whose limits hold, narrow to wide: key, team, tenant, gateway, those that have limits
	pinned []*scope // the key's own, if it has one
	limits *Limits  // of a stored key, to tell whether they changed; nil for none
}

// Identify finds whose credential this is. One answer fits every one that does not work, so that nothing can be learnt of it.
func (g *Gate) Identify(credential []byte, now time.Time) (*Caller, error) {
	if len(credential) == 0 {
		return nil, &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true,
			Message: "You did not provide an API key. Send it in the header Authorization: Bearer YOUR_KEY."}
	}
	digest := sha256.Sum256(credential)
	d := g.directory.Load()
	c := d.find(&digest)
	if c == nil && g.tokens != nil && isToken(credential) {
		return g.byToken(d, credential, &digest, now)
	}
	if c == nil || !c.until.IsZero() && !now.Before(c.until) {
		return nil, stranger(nil)
	}
	return c, nil
}

// stranger is the answer to every credential that does not work. cause is for the log.
func stranger(cause error) error {
	return &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true, Err: cause,
		Message: "Incorrect API key provided. It is unknown, revoked or expired."}
}

// Guards are what the tenant's requests and answers are checked by, nil for none.
func (c *Caller) Guards() *guard.Chain { return c.tenant.guards }

// LogsPrompts tells whether the tenant's prompts and answers are kept, masked.
func (c *Caller) LogsPrompts() bool { return c.tenant.cfg.LogPrompts }

// May tells whether the caller's role allows something in his own tenant.
func (c *Caller) May(p Permission) bool { return p != 0 && c.perms.Has(p) }

// MayIn tells whether the caller's role allows something in a tenant: his own or, for a super admin, any.
func (c *Caller) MayIn(tenant string, p Permission) bool {
	return c.May(p) && (tenant == c.Tenant || c.Super())
}

// Super tells whether the caller may act in every tenant.
func (c *Caller) Super() bool { return c.perms.Has(everywhere) }

// Allows tells whether the caller's tenant, and his team where he has one, may ask for a model. direct is a provider/model
// name without an entry of its own, which must be allowed by name or pattern.
func (c *Caller) Allows(model string, direct bool) bool {
	return c.tenant.allows(c.team, model, direct)
}
