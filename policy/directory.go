package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/policy/guard"
)

// Stored is what the state store has beside the configuration.
type Stored struct {
	Tenants map[string]StoredTenant
	Keys    []StoredKey
}

// Conflict is what stands both in the configuration and in the state store, where it may stand only once.
type Conflict string

func (c Conflict) Error() string { return string(c) }

// directory is everyone the gateway knows. It never changes: Learn makes a new one.
type directory struct {
	tenants map[string]*tenant
	keys    map[uint64]*Caller // by the first bytes of the digest or, where these are taken, the next free number
	whole   *scope             // the gateway's limits, nil for none
	stored  Stored
	version *version
}

// version stands for a directory where the directory itself should not be kept.
type version struct{ _ byte }

// find looks a key up. What may differ in time is where a digest stands, of which an attacker learns nothing.
func (d *directory) find(digest *[sha256.Size]byte) *Caller {
	for at := binary.LittleEndian.Uint64(digest[:]); ; at++ {
		c := d.keys[at]
		if c == nil || subtle.ConstantTimeCompare(c.digest[:], digest[:]) == 1 {
			return c
		}
	}
}

// add puts a key where find looks for it.
func (d *directory) add(c *Caller) {
	at := binary.LittleEndian.Uint64(c.digest[:])
	for d.keys[at] != nil {
		at++
	}
	d.keys[at] = c
}

// builder is a directory in the making. What is wrong goes into errs, worded as paths.
type builder struct {
	roles    Roles
	names    Names
	told     Names  // those that whoever reads the errors may know of
	stored   bool   // what is read is in the state store
	zone     string // the gateway's
	counters *counter.Counters
	alerts   *alerts    // nil: nobody is told
	trusted  bool       // what is read was written by the gateway's operator
	before   *directory // of what was learnt of tenants; nil: nothing was
	dir      *directory
	made     []*scope // so far
	errs     []error
}

func (b *builder) bad(at, path, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s: %w", join(at, path), fmt.Errorf(format, args...)))
}

// join makes a path; at is empty where the reader has only the entry before him.
func join(at, path string) string {
	if at == "" {
		return path
	}
	return at + "." + path
}

// scope makes the limits at a place, nil for none. Only limits that are right reach the counters, for which a change of a
// limit is in force at once. Those counters are kept until the scope is let go.
func (b *builder) scope(s scoping, cfg Limits) *scope {
	s.names, s.told, s.stored = b.names, b.told, b.stored
	made, errs := newScope(s, cfg)
	b.errs = append(b.errs, errs...)
	if len(errs) > 0 || len(made.limits) == 0 {
		return nil
	}
	if b.counters != nil && !s.template {
		whose := ""
		if s.tenant != nil {
			whose = s.tenant.name
		}
		for _, l := range made.limits {
			l.counter = b.counters.Get(l.spec)
			l.watch = b.alerts.watch(s.notice, whose, l)
		}
	}
	b.made = append(b.made, made)
	return made
}

// letGo gives up the counters of scopes that nobody new will use.
func letGo(counters *counter.Counters, scopes []*scope) {
	for _, s := range scopes {
		for _, l := range s.limits {
			if l.counter != nil {
				counters.Release(l.counter)
			}
		}
	}
}

// mark is how far a builder had come.
type mark struct{ errs, made int }

func (b *builder) mark() mark { return mark{len(b.errs), len(b.made)} }

// since is the scopes made since a mark, and whether all went well. If not, they are let go.
func (b *builder) since(m mark) ([]*scope, bool) {
	made := slices.Clone(b.made[m.made:])
	if len(b.errs) == m.errs {
		return made, true
	}
	letGo(b.counters, made)
	b.made = b.made[:m.made]
	return nil, false
}

// under puts a narrower scope, where there is one, before those around it.
func under(s *scope, around []*scope) []*scope {
	if s == nil {
		return around
	}
	return append([]*scope{s}, around...)
}

// configure reads all that the configuration says of tenants.
func (b *builder) configure(limits Limits, told Alerts, tenants map[string]Tenant) {
	b.zone = limits.Timezone
	b.dir.whole = b.scope(scoping{at: "limits", name: "the gateway", id: wholeID, notice: b.notice("alerts", told)}, limits)
	for _, name := range slices.Sorted(maps.Keys(tenants)) {
		if err := checkName(name); err != nil {
			b.bad("tenants", shown(name), "%w", err)
			continue
		}
		at, cfg := "tenants."+name, tenants[name]
		from := b.mark()
		t := b.tenant(at, name, "tenant/"+name, cfg)
		t.pinned, _ = b.since(from)
		b.dir.tenants[name] = t
		if len(cfg.Keys) > maxKeysHeld {
			b.bad(at, "keys", "at most %d, not %d", maxKeysHeld, len(cfg.Keys))
			continue
		}
		for i, k := range cfg.Keys {
			b.configuredKey(fmt.Sprintf("%s.keys[%d]", at, i), t, k)
		}
	}
}

// notice reads who is told of budgets.
func (b *builder) notice(at string, cfg Alerts) *notice {
	n, errs := newNotice(at, cfg, b.trusted)
	b.errs = append(b.errs, errs...)
	return n
}

// guards makes what requests and answers are checked by.
func (b *builder) guards(at string, cfgs []guard.Config) *guard.Chain {
	if len(cfgs) > maxGuards {
		b.bad(at, "guards", "at most %d, not %d", maxGuards, len(cfgs))
		return nil
	}
	chain, err := guard.New(cfgs)
	if err == nil {
		return chain
	}
	for line := range strings.SplitSeq(err.Error(), "\n") { // New joins all it has
		b.errs = append(b.errs, errors.New(join(at, line)))
	}
	return nil
}

// tenant reads a tenant, without its keys. id begins the names of its counters.
func (b *builder) tenant(at, name, id string, cfg Tenant) *tenant {
	t := &tenant{name: name, id: id, cfg: cfg, priority: cfg.Priority, keyNames: map[string]bool{}, habits: b.before.habits(name, id)}
	if t.priority == 0 {
		t.priority = 5
	}
	if t.priority < 1 || t.priority > 10 {
		b.bad(at, "priority", "must be from 1 to 10")
	}
	if _, err := time.LoadLocation(cfg.Timezone); err != nil {
		b.bad(at, "timezone", "%q is no time zone (expected one like UTC or Asia/Shanghai)", cfg.Timezone)
		cfg.Timezone = ""
	}
	t.zone = b.zone
	if cfg.Timezone != "" {
		t.zone = cfg.Timezone
	}
	t.models = b.models(at, cfg.Models)
	t.notice = b.notice(join(at, "alerts"), cfg.Alerts)
	t.guards = b.guards(at, cfg.Guards)
	own := b.scope(scoping{at: join(at, "limits"), name: "tenant " + name, id: id, zone: t.zone, notice: t.notice, tenant: t}, cfg.Limits)
	t.scopes = under(own, under(b.dir.whole, nil))
	t.users = b.scope(scoping{at: join(at, "user_limits"), name: "end user", id: id + "/user", zone: t.zone, template: true, tenant: t}, cfg.UserLimits)
	t.teams = make(map[string]*team, min(len(cfg.Teams), maxTeams))
	if len(cfg.Teams) > maxTeams {
		b.bad(at, "teams", "at most %d, not %d", maxTeams, len(cfg.Teams))
		return t
	}
	for _, part := range slices.Sorted(maps.Keys(cfg.Teams)) {
		if err := checkName(part); err != nil {
			b.bad(at, "teams."+shown(part), "%w", err)
			continue
		}
		t.teams[part] = b.team(join(at, "teams."+part), t, part, cfg.Teams[part])
	}
	return t
}

func (b *builder) team(at string, t *tenant, name string, cfg Team) *team {
	part := &team{models: b.models(at, cfg.Models)}
	own := b.scope(scoping{at: join(at, "limits"), name: "team " + name, id: t.id + "/team/" + name, zone: t.zone, notice: t.notice, tenant: t, team: part}, cfg.Limits)
	part.scopes = under(own, t.scopes)
	return part
}

func (b *builder) models(at string, list []string) models {
	if len(list) > maxTenantModels {
		b.bad(at, "models", "at most %d, not %d", maxTenantModels, len(list))
		return models{listed: true}
	}
	for i, m := range list {
		if !b.names.may(m) {
			b.bad(at, fmt.Sprintf("models[%d]", i), "unknown model %q (have: %s; or provider/model with: %s)", m,
				strings.Join(slices.Concat(b.names.Models, b.names.Flows), ", "), strings.Join(b.names.Providers, ", "))
		}
	}
	return newModels(list)
}

// configuredKey reads a key of the configuration.
func (b *builder) configuredKey(at string, t *tenant, cfg Key) {
	row, err := cfg.stored(t.name)
	if err != nil {
		b.errs = append(b.errs, fmt.Errorf("%s.%w", at, err))
		return
	}
	if other := b.dir.find(&row.Digest); other != nil {
		b.errs = append(b.errs, fmt.Errorf("%s: the same key as %q of tenant %q", at, other.Key, other.Tenant))
		return
	}
	if t.keyNames[row.Name] {
		b.bad(at, "name", "%q stands twice", row.Name)
	}
	t.keyNames[row.Name] = true
	if c := b.caller(at, t, &row); c != nil {
		b.dir.add(c)
	}
}

// caller makes of a key the one who uses it, nil if something is wrong with it.
func (b *builder) caller(at string, t *tenant, row *StoredKey) *Caller {
	from := b.mark()
	c := b.member(at, t, row.Team, row.Role)
	c.Key, c.id, c.digest, c.until = row.Name, row.ID, row.Digest, row.until()
	if !reflect.ValueOf(&row.Limits).Elem().IsZero() {
		own := b.scope(scoping{at: join(at, "limits"), name: "key " + row.Name, id: t.id + "/key/" + row.Name, zone: t.zone, notice: t.notice, tenant: t, team: c.team}, row.Limits)
		c.scopes = under(own, c.scopes)
		limits := row.Limits // a copy, so that a Caller that stays does not keep all that the store had
		c.limits = &limits
	}
	var well bool
	if c.pinned, well = b.since(from); !well {
		return nil
	}
	return c
}

// member makes a Caller of a tenant's team and a role.
func (b *builder) member(at string, t *tenant, part, role string) *Caller {
	if role == "" {
		role = Developer
	}
	c := &Caller{Tenant: t.name, Team: part, Role: role, tenant: t, scopes: t.scopes}
	var known bool
	if c.perms, known = b.roles[role]; !known {
		b.bad(at, "role", "unknown role %q (have: %s)", role, b.roles.names())
	}
	if part == "" {
		return c
	}
	if c.team = t.teams[part]; c.team == nil {
		b.bad(at, "team", "unknown team %q (have: %s)", part, strings.Join(slices.Sorted(maps.Keys(t.teams)), ", "))
		return c
	}
	c.scopes = c.team.scopes
	return c
}

// extend makes a directory of the configuration's and what the state store has. What is wrong is told in errs and left out.
// prev, which may be nil, is the directory before, whose unchanged entries are kept.
func (b *builder) extend(fixed *directory, s Stored, prev *directory) {
	b.dir = &directory{tenants: maps.Clone(fixed.tenants), keys: make(map[uint64]*Caller, len(fixed.keys)+len(s.Keys)), whole: fixed.whole, stored: s, version: &version{}}
	maps.Copy(b.dir.keys, fixed.keys)
	for _, name := range slices.Sorted(maps.Keys(s.Tenants)) {
		b.storedTenant(name, s.Tenants[name], prev)
	}
	for i := range s.Keys {
		b.storedKey(s, &s.Keys[i], prev)
	}
}

func (b *builder) storedTenant(name string, row StoredTenant, prev *directory) {
	if b.dir.tenants[name] != nil {
		b.errs = append(b.errs, Conflict(fmt.Sprintf("tenants.%s: stands in the configuration and in the state store (made %s); delete one: jarvis-gateway tenant delete %s",
			name, row.Created.Format(time.DateOnly), name)))
		return
	}
	if prev != nil {
		if t := prev.tenants[name]; t != nil && t.stored && t.created.Equal(row.Created) && reflect.DeepEqual(t.cfg, row.Tenant) {
			b.dir.tenants[name] = t
			return
		}
	}
	from := b.mark()
	t := b.tenant("tenants."+name, name, row.counters(name), row.Tenant)
	t.created = row.Created
	if t.pinned, t.stored = b.since(from); t.stored {
		b.dir.tenants[name] = t
	}
}

func (b *builder) storedKey(s Stored, row *StoredKey, prev *directory) {
	t := b.dir.tenants[row.Tenant]
	if t == nil {
		b.errs = append(b.errs, fmt.Errorf("tenants.%s: unknown, but the state store has its key %q", row.Tenant, row.Name))
		return
	}
	if _, both := s.Tenants[t.name]; both && !t.stored {
		return // whose key it is cannot be told; the conflict has been
	}
	if t.keyNames[row.Name] && row.Revoked.IsZero() {
		b.errs = append(b.errs, Conflict(fmt.Sprintf("tenants.%s.keys: %q stands in the configuration and in the state store (made %s); revoke one: jarvis-gateway key revoke %s %s",
			t.name, row.Name, row.Created.Format(time.DateOnly), t.name, row.Name)))
		return
	}
	if other := b.dir.find(&row.Digest); other != nil {
		b.errs = append(b.errs, Conflict(fmt.Sprintf("tenants.%s.keys: %q of the state store is the same key as %q of tenant %q", t.name, row.Name, other.Key, other.Tenant)))
		return
	}
	if prev != nil {
		if c := prev.find(&row.Digest); c != nil && c.tenant == t && c.is(row) {
			b.dir.add(c)
			return
		}
	}
	if c := b.caller(fmt.Sprintf("tenants.%s.keys.%s", t.name, row.Name), t, row); c != nil {
		b.dir.add(c)
	}
}

// is tells whether a Caller of the same tenant is still what the store says.
func (c *Caller) is(row *StoredKey) bool {
	role := row.Role
	if role == "" {
		role = Developer
	}
	if c.id != row.ID || c.Key != row.Name || c.Team != row.Team || c.Role != role || !c.until.Equal(row.until()) {
		return false
	}
	if c.limits == nil {
		return reflect.ValueOf(&row.Limits).Elem().IsZero()
	}
	return reflect.DeepEqual(*c.limits, row.Limits)
}

// left lets go what this directory has and the next one has not; nil has nothing.
func (d *directory) left(next *directory, counters *counter.Counters) {
	if counters == nil {
		return
	}
	for name, t := range d.tenants {
		if next == nil || next.tenants[name] != t {
			letGo(counters, t.pinned)
		}
	}
	for _, c := range d.keys {
		if len(c.pinned) > 0 && (next == nil || next.find(&c.digest) != c) {
			letGo(counters, c.pinned)
		}
	}
	if next == nil && d.whole != nil {
		letGo(counters, []*scope{d.whole})
	}
}

// conflicts are those of the errors that are a Conflict.
func conflicts(errs []error) []error {
	return slices.DeleteFunc(slices.Clone(errs), func(err error) bool {
		var c Conflict
		return !errors.As(err, &c)
	})
}
