package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// view is something as the API shows it.
type view = object

// Where a tenant or a key stands.
const (
	inFile  = "config"
	inStore = "store"
)

func configuredTenant(name string, t policy.Tenant) view {
	t.Keys = nil
	v := show(t)
	v["object"], v["name"], v["source"] = "tenant", name, inFile
	return v
}

// storedTenant shows a tenant of the store. One that an other version of the gateway wrote may make no sense to this one.
func (s *Server) storedTenant(t *state.Tenant) view {
	v, err := s.plain(t)
	if err != nil {
		v = view{"problem": err.Error()}
	}
	v["object"], v["name"], v["source"] = "tenant", t.Name, inStore
	v["revision"] = revision(t)
	v["created_at"], v["updated_at"] = stamp(t.Created), stamp(t.Updated)
	return v
}

// plain is what was said of a tenant, secrets masked.
func (s *Server) plain(t *state.Tenant) (view, error) {
	var cfg policy.Tenant
	if err := s.Decode(t.Config, &cfg); err != nil {
		return nil, err
	}
	return show(cfg), nil
}

// revision changes with what is said of a tenant.
func revision(t *state.Tenant) string {
	sum := sha256.Sum256(t.Config)
	return hex.EncodeToString(sum[:8])
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// directory reads the store.
func (c *call) directory() (state.Directory, error) {
	d, err := c.Store.Directory(c.r.Context())
	return d, storeError(err)
}

// tenant is a tenant of the store or of the configuration, nil where it is not in the one; both nil: there is none.
func (c *call) tenant(d *state.Directory, name string) (stored *state.Tenant, configured *policy.Tenant, err error) {
	if t, ok := c.Tenants()[name]; ok {
		return nil, &t, nil
	}
	at, found := slices.BinarySearchFunc(d.Tenants, name, func(t state.Tenant, name string) int { return cmp.Compare(t.Name, name) })
	if !found {
		return nil, nil, notFound("tenant", name)
	}
	return &d.Tenants[at], nil, nil
}

func listTenants(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	d, err := c.directory()
	if err != nil {
		return err
	}
	views := map[string]view{}
	for name, t := range c.Tenants() {
		views[name] = configuredTenant(name, t)
	}
	for i := range d.Tenants {
		if t := &d.Tenants[i]; views[t.Name] == nil && t.Name > after && c.who.mayIn(t.Name, policy.AdminUser) {
			views[t.Name] = c.storedTenant(t)
		}
	}
	maps.DeleteFunc(views, func(name string, _ view) bool { return name <= after || !c.who.mayIn(name, policy.AdminUser) })
	var rows []view
	for _, name := range slices.Sorted(maps.Keys(views)) {
		rows = append(rows, c.mayShow(views[name]))
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return v["name"].(string) }))
	return nil
}

func showTenant(c *call) error {
	name, err := c.reach(policy.AdminUser)
	if err != nil {
		return err
	}
	d, err := c.directory()
	if err != nil {
		return err
	}
	stored, configured, err := c.tenant(&d, name)
	switch {
	case err != nil:
		return err
	case configured != nil:
		write(c.w, http.StatusOK, c.mayShow(configuredTenant(name, *configured)))
	default:
		c.answerTenant(http.StatusOK, stored)
	}
	return nil
}

func (c *call) answerTenant(status int, t *state.Tenant) {
	c.w.Header().Set("ETag", `"`+revision(t)+`"`)
	write(c.w, status, c.mayShow(c.storedTenant(t)))
}

// mayShow leaves of a tenant what the caller may see.
func (c *call) mayShow(v view) view {
	if !c.who.super() {
		v.hideURLs()
	}
	return v
}

// maxTenant bounds a tenant as it is stored: every gateway has all of them in memory.
const maxTenant = 256 << 10

// read decodes what is said of a tenant and checks it. A tenant's own admin can have changed the alerts alone, and what else is
// wrong by now is not for him: it would tell him what there is in the configuration.
func (c *call) read(name string, o object) (*policy.Tenant, error) {
	if at, found := masked("", map[string]any(o)); found {
		return nil, wire.Invalid(at, "%s: %s is how a secret is shown; send the secret itself.", at, wire.Masked)
	}
	text := o.encode()
	if len(text) > maxTenant {
		return nil, wire.Invalid("", "A tenant has at most %d bytes of JSON, not %d.", maxTenant, len(text))
	}
	var cfg policy.Tenant
	err := c.Decode(text, &cfg)
	switch {
	case err != nil:
	case c.who.super():
		err = c.Gate().CheckTenant(name, cfg)
	default:
		err = c.Gate().CheckAlerts(cfg.Alerts)
	}
	if err != nil {
		return nil, invalid(err)
	}
	return &cfg, nil
}

func createTenant(c *call) error {
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	name, err := body.take("name")
	if err != nil {
		return err
	}
	if _, err := c.read(name, body); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if _, ok := c.Tenants()[name]; ok {
		return conflict("already_exists", "name", "The tenant "+name+" stands in the configuration file. Choose another name, or change it there.")
	}
	t := state.Tenant{Name: name, Config: body.encode()}
	shown, err := c.plain(&t)
	if err != nil {
		return invalid(err)
	}
	err = c.Store.AddTenant(c.r.Context(), t, c.entry("tenant.create", name, name, nil, shown))
	if errors.Is(err, state.ErrExists) {
		return conflict("already_exists", "name", "There is a tenant "+name+" already, or keys of an earlier one that still work.")
	}
	if err != nil {
		return storeError(err)
	}
	return c.answerChanged(http.StatusCreated, name)
}

// answerChanged takes a change in and shows the tenant as it is now.
func (c *call) answerChanged(status int, name string) error {
	if err := c.takeIn(); err != nil {
		return err
	}
	d, err := c.directory()
	if err != nil {
		return err
	}
	t, _, err := c.tenant(&d, name)
	if err != nil || t == nil {
		return cmp.Or(err, notFound("tenant", name)) // someone else has deleted it meanwhile
	}
	c.answerTenant(status, t)
	return nil
}

// ownField is what a tenant's own admin may change: whom to tell. Limits, also those of teams and end users, are the super
// admins' word; what is to be tighter than they say, he gives to keys.
const ownField = "alerts"

func changeTenant(c *call) error {
	name, err := c.reach(policy.AdminUser)
	if err != nil {
		return err
	}
	patch, err := readObject(c.r)
	if err != nil {
		return err
	}
	expected, err := expectedRevision(c.r, patch)
	if err != nil {
		return err
	}
	if err := c.own(patch); err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	t, keys, err := c.changeableTenant(name, expected)
	if err != nil {
		return err
	}
	if err := c.revise(t, patch, keys); err != nil {
		return err
	}
	return c.answerChanged(http.StatusOK, name)
}

// own refuses a change that is for super admins, and one by those who have a team: alerts are the whole tenant's.
func (c *call) own(patch object) error {
	for _, field := range slices.Sorted(maps.Keys(patch)) {
		switch {
		case c.who.super():
		case c.who.team() != "":
			return denied(field, field+": your own key belongs to the team "+c.who.team()+", so you may change that team's keys alone.")
		case field != ownField:
			return denied(field, field+": only a super admin may change it; you may change "+ownField+", and your keys.")
		}
	}
	return nil
}

// expectedRevision is what a change builds on, as its header or its body says; "" for whatever there is.
func expectedRevision(r *http.Request, patch object) (string, error) {
	expected, err := patch.take("revision")
	if header := r.Header.Get("If-Match"); header != "*" {
		expected = cmp.Or(strings.Trim(header, `"`), expected)
	}
	return expected, err
}

// changeableTenant is a tenant that can be changed here, if it is what the change builds on, and the keys that there are.
func (c *call) changeableTenant(name, expected string) (*state.Tenant, []state.Key, error) {
	d, err := c.directory()
	if err != nil {
		return nil, nil, err
	}
	t, configured, err := c.tenant(&d, name)
	switch {
	case err != nil:
		return nil, nil, err
	case configured != nil:
		return nil, nil, conflict("configured", "", "The tenant "+name+" stands in the configuration file. Change it there; the gateway takes it in by itself.")
	case expected != "" && expected != revision(t):
		return nil, nil, changedMeanwhile()
	}
	return t, d.Keys, nil
}

// revise makes a change of what is said of a tenant.
func (c *call) revise(t *state.Tenant, patch object, keys []state.Key) error {
	was, err := parseObject(t.Config)
	if err != nil {
		return err
	}
	next := state.Tenant{Name: t.Name, Config: was.merge(patch).encode()}
	if bytes.Equal(next.Config, t.Config) {
		return nil
	}
	merged, err := parseObject(next.Config)
	if err != nil {
		return err
	}
	cfg, err := c.read(t.Name, merged)
	if err != nil {
		return err
	}
	for i := range keys {
		k := &keys[i]
		if _, there := cfg.Teams[k.Team]; k.Tenant == t.Name && k.Team != "" && !there && k.Works(c.Now()) {
			return conflict("in_use", "teams."+k.Team, "The key "+k.Name+" belongs to the team "+k.Team+". Revoke it first.")
		}
	}
	before, err := c.plain(t)
	if err != nil { // an other version wrote it, and this change makes it good
		before = view{}
	}
	return storeError(c.Store.ReviseTenant(c.r.Context(), t.Name, t.Config, next.Config, c.entry("tenant.update", t.Name, t.Name, before, show(*cfg))))
}

func deleteTenant(c *call) error {
	name := c.r.PathValue("tenant")
	expected, err := expectedRevision(c.r, object{})
	if err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	t, _, err := c.changeableTenant(name, expected)
	if err != nil {
		return err
	}
	before, err := c.plain(t)
	if err != nil { // what makes no sense can be deleted all the same
		before = view{}
	}
	if err := c.Store.DeleteTenant(c.r.Context(), name, c.entry("tenant.delete", name, name, before, nil)); err != nil {
		return storeError(err)
	}
	if err := c.takeIn(); err != nil {
		return err
	}
	write(c.w, http.StatusOK, view{"object": "tenant", "name": name, "deleted": true})
	return nil
}

// takeIn puts in force here what was stored. Where that fails nobody may be told that it is in force: a key that was revoked
// works on.
func (c *call) takeIn() error {
	err := c.Changed()
	if err == nil {
		return nil
	}
	return wire.Server(503, "state_unavailable",
		"The change is stored, but not in force yet: the gateway cannot read its state store. It takes the change in by itself as soon as it can.", err)
}

// storeError words what the store refuses, and what it cannot do now.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, state.ErrNoTenant):
		return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found", Message: "There is no such tenant any more."}
	case errors.Is(err, state.ErrNoKey):
		return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found", Message: "There is no such key any more."}
	case errors.Is(err, state.ErrChanged):
		return changedMeanwhile()
	case errors.Is(err, state.ErrFull):
		return conflict("too_many", "", "The tenant has as many keys that work as it may have. Revoke some first.")
	case errors.Is(err, state.ErrEnded):
		return conflict("key_ended", "", "The key works no more, or was replaced and can only end earlier.")
	case errors.Is(err, state.ErrExists):
		return conflict("already_exists", "name", "There is one of this name already.")
	}
	return wire.Server(503, "state_unavailable", "The gateway's state store does not answer. Please try again.", err)
}
