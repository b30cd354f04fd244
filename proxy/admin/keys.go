package admin

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// key is a key of the store or of the configuration.
type key struct {
	*state.Key
	configured bool
	limits     object
}

// id is what a key is called by, for ever. Those of the configuration have only their name.
func (k *key) id() string {
	if k.configured {
		return "config:" + k.Name
	}
	return k.ID
}

func (k *key) status(now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Works(now):
		return "expired"
	case k.Replaced != "":
		return "replaced" // and works until it expires
	}
	return "active"
}

func (k *key) view(now time.Time) view {
	v := view{
		"object": "key", "id": k.id(), "tenant": k.Tenant, "name": k.Name, "role": cmp.Or(k.Role, policy.Developer),
		"status": k.status(now), "expires_at": stamp(k.Expires), "source": inStore,
	}
	if k.Team != "" {
		v["team"] = k.Team
	}
	if len(k.limits) > 0 {
		v["limits"] = k.limits
	}
	if k.configured {
		v["source"] = inFile
		return v
	}
	v["last4"], v["created_at"], v["revoked_at"] = k.Hint, stamp(k.Created), stamp(k.Revoked)
	if k.By != "" {
		v["created_by"] = k.By
	}
	if k.Replaced != "" {
		v["replaced_by"] = k.Replaced
	}
	return v
}

// keys are a tenant's, by name and age.
func (c *call) keys(d *state.Directory, tenant string) []key {
	var keys []key
	for _, k := range c.Tenants()[tenant].Keys {
		until, _ := moment(k.Expires) // the configuration was checked
		keys = append(keys, key{&state.Key{Tenant: tenant, Name: k.Name, Team: k.Team, Role: k.Role, Expires: until}, true, show(k.Limits)})
	}
	for i := range d.Keys {
		if k := &d.Keys[i]; k.Tenant == tenant {
			keys = append(keys, key{k, false, c.limitsOf(k)})
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(a.Name, b.Name) })
	return keys
}

func (c *call) limitsOf(k *state.Key) object {
	var body keyBody
	if len(k.Limits) == 0 || c.Decode(mustEncode(map[string]any{"limits": json.RawMessage(k.Limits)}), &body) != nil {
		return nil
	}
	return show(body.Limits)
}

// open begins what is about a tenant's keys. Whoever belongs to a team finds that team's alone.
func (c *call) open() (tenant string, keys []key, err error) {
	if tenant, err = c.reach(policy.AdminUser); err != nil {
		return "", nil, err
	}
	d, err := c.directory()
	if err != nil {
		return "", nil, err
	}
	if _, _, err = c.tenant(&d, tenant); err != nil {
		return "", nil, err
	}
	keys = slices.DeleteFunc(c.keys(&d, tenant), func(k key) bool { return c.who.team() != "" && k.Team != c.who.team() })
	return tenant, keys, nil
}

// find is the key of the path, by its id or its name, among its tenant's: of several that had the name, the one that has it
// now, or the last.
func (c *call) find() (found *key, keys []key, err error) {
	if _, keys, err = c.open(); err != nil {
		return nil, nil, err
	}
	asked := c.r.PathValue("key")
	for i := range keys {
		k := &keys[i]
		if k.id() == asked {
			return k, keys, nil
		}
		if k.Name == asked && (found == nil || found.status(c.Now()) != "active") {
			found = k
		}
	}
	if found == nil {
		return nil, nil, notFound("key", asked)
	}
	return found, keys, nil
}

// changeable is find for a key that the caller may change here.
func (c *call) changeable() (k *key, keys []key, err error) {
	switch k, keys, err = c.find(); {
	case err != nil:
		return nil, nil, err
	case k.configured:
		return nil, nil, conflict("configured", "", "The key "+k.Name+" stands in the configuration file. Change it there; the gateway takes it in by itself.")
	}
	return k, keys, c.covers(k.Role)
}

// covers refuses to touch a key that may more than the caller: he would have what he was not given.
func (c *call) covers(role string) error {
	role = cmp.Or(role, policy.Developer)
	if !c.who.super() && !c.Gate().Roles().Covers(c.who.role(), role) {
		return denied("role", "role: "+role+" may more than your own role, "+c.who.role()+".")
	}
	return nil
}

func listKeys(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	_, keys, err := c.open()
	if err != nil {
		return err
	}
	if after != "" {
		at := slices.IndexFunc(keys, func(k key) bool { return k.id() == after })
		if at < 0 {
			return wire.Invalid("after", "after: no key of the tenant has this id.")
		}
		keys = keys[at+1:]
	}
	rows := make([]view, len(keys))
	for i := range keys {
		rows[i] = keys[i].view(c.Now())
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return v["id"].(string) }))
	return nil
}

func showKey(c *call) error {
	k, _, err := c.find()
	if err != nil {
		return err
	}
	write(c.w, http.StatusOK, k.view(c.Now()))
	return nil
}

// keyBody is what may be said of a new key.
type keyBody struct {
	Name    string        `yaml:"name"`
	Role    string        `yaml:"role"`
	Team    string        `yaml:"team"`
	Expires string        `yaml:"expires"`
	Limits  policy.Limits `yaml:"limits"`
}

// moment reads a date or an RFC 3339 time, as the configuration has them; "" is never.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, wire.Invalid("expires", "expires: %q is neither a date (2027-01-01) nor an RFC 3339 time.", text)
}

func createKey(c *call) error {
	tenant, _, err := c.open()
	if err != nil {
		return err
	}
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	body = body.filled()
	next, err := c.newKey(tenant, body)
	if err != nil {
		return err
	}
	if c.Gate().ConfiguredKey(tenant, next.Name) {
		return conflict("already_exists", "name", "The key "+next.Name+" stands in the configuration file. Choose another name.")
	}
	secret := next.arm(c.who.name)
	declared := c.Gate().Configured(tenant)
	if err := c.Store.AddKey(c.r.Context(), *next.Key, declared, c.entry("key.create", tenant, next.Name, nil, next.said(c.Now()))); err != nil {
		return storeError(err)
	}
	return c.hand(next, secret, nil)
}

// expiry is when a body says that a key expires: null and nothing are never. An empty text is a mistake, which must not make a
// key last for ever.
func expiry(o object) (time.Time, error) {
	if o["expires"] == "" {
		return time.Time{}, wire.Invalid("expires", "expires: is empty; send null for never.")
	}
	text, _ := o["expires"].(string) // what it is else, the decoder has refused
	return moment(text)
}

// newKey reads and checks what is said of a new key.
func (c *call) newKey(tenant string, o object) (*key, error) {
	var body keyBody
	if err := c.Decode(o.encode(), &body); err != nil {
		return nil, invalid(err)
	}
	expires, err := expiry(o)
	if err != nil {
		return nil, err
	}
	if !expires.IsZero() && !expires.After(c.Now()) {
		return nil, wire.Invalid("expires", "expires: %s has passed.", body.Expires)
	}
	check := policy.StoredKey{ID: "new", Tenant: tenant, Name: body.Name, Team: body.Team, Role: body.Role, Limits: body.Limits}
	if err := c.Gate().CheckKey(check); err != nil {
		if err := c.Changed(); err != nil { // another replica may have made the tenant or the team a moment ago
			return nil, storeError(err)
		}
		if err := c.Gate().CheckKey(check); err != nil {
			return nil, invalid(err)
		}
	}
	k := &key{Key: &state.Key{Tenant: tenant, Name: body.Name, Team: body.Team, Role: body.Role, Expires: expires}, limits: show(body.Limits)}
	if o["limits"] != nil && len(k.limits) > 0 {
		k.Limits = mustEncode(o["limits"])
	}
	switch own := c.who.team(); {
	case own != "" && body.Team != own:
		return nil, denied("team", "team: your own key belongs to the team "+own+", so you may make keys of that team alone.")
	case len(k.Limits) > maxKeyLimits:
		return nil, wire.Invalid("limits", "limits: at most %d bytes of JSON, not %d.", maxKeyLimits, len(k.Limits))
	}
	return k, c.covers(body.Role)
}

// maxKeyLimits bounds what is stored of a key: every gateway has all keys in memory.
const maxKeyLimits = 16 << 10

// arm gives a key its secret, of which only the digest and the end are kept.
func (k *key) arm(by string) wire.Secret {
	secret := NewKey()
	text := secret.Reveal()
	k.ID, k.By, k.Created = newID(), by, time.Time{}
	k.Digest, k.Hint = sha256.Sum256([]byte(text)), text[len(text)-4:]
	return secret
}

// said is a key as the audit log has it.
func (k *key) said(now time.Time) object {
	v := k.view(now)
	delete(v, "created_at")
	delete(v, "revoked_at")
	return v
}

// hand gives out a new key, this once: also where it is not in force yet, as nobody could show it later.
func (c *call) hand(k *key, secret wire.Secret, previous *key) error {
	pending := c.takeIn()
	k.Created = c.Now()
	v := k.view(c.Now())
	v["key"] = secret.Reveal()
	v["warning"] = "Keep the key now: it is not stored, and nobody can show it again."
	if previous != nil {
		v["previous"] = previous.id()
		v["previous_until"] = stamp(previous.Expires)
	}
	if pending != nil {
		c.Log.Error("a new key is not in force yet", "request_id", c.w.Header().Get(requestID), "cause", pending.Error())
		v["warning"] = "Keep the key now: it is not stored, and nobody can show it again. It does not work yet, and one that it replaces works on: " +
			"the gateway cannot read its state store. It takes the key in by itself as soon as it can."
	}
	write(c.w, http.StatusCreated, v)
	return nil
}

// rotation is what may be said when a key is rotated.
type rotation struct {
	Overlap string `yaml:"overlap"`
	Expires string `yaml:"expires"`
}

const (
	defaultOverlap = 24 * time.Hour
	longestOverlap = 2160 * time.Hour
)

func rotateKey(c *call) error {
	old, _, err := c.changeable()
	if err != nil {
		return err
	}
	next, overlap, err := c.successor(old)
	if err != nil {
		return err
	}
	secret := next.arm(c.who.name)
	until := c.Now().Add(overlap).Truncate(time.Second)
	if !old.Expires.IsZero() && old.Expires.Before(until) {
		until = old.Expires
	}
	before, after := old.said(c.Now()), next.said(c.Now())
	after["previous"], after["previous_until"] = old.id(), stamp(until)
	if err := c.Store.RotateKey(c.r.Context(), old.ID, *next.Key, until, c.entry("key.rotate", old.Tenant, old.Name, before, after)); err != nil {
		return storeError(err)
	}
	old.Expires = until
	return c.hand(next, secret, old)
}

// successor reads how a key is to be rotated. The new one is as the old one, but for its secret.
func (c *call) successor(old *key) (next *key, overlap time.Duration, err error) {
	body, err := readObject(c.r)
	if err != nil {
		return nil, 0, err
	}
	var how rotation
	if err := c.Decode(body.filled().encode(), &how); err != nil {
		return nil, 0, invalid(err)
	}
	if overlap = defaultOverlap; body["overlap"] != nil {
		overlap, err = time.ParseDuration(how.Overlap)
	}
	if err != nil || overlap < 0 || overlap > longestOverlap {
		return nil, 0, wire.Invalid("overlap", "overlap: expected a length of time from 0s to 2160h, such as 24h; got %q.", how.Overlap)
	}
	twin := *old.Key
	twin.Replaced, twin.Revoked = "", time.Time{}
	if body["expires"] != nil {
		if twin.Expires, err = expiry(body); err == nil && !twin.Expires.After(c.Now()) {
			err = wire.Invalid("expires", "expires: %s has passed.", how.Expires)
		}
	}
	return &key{Key: &twin, limits: old.limits}, overlap, err
}

func expireKey(c *call) error {
	k, _, err := c.changeable()
	if err != nil {
		return err
	}
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	at, said := body["expires"]
	if _, isText := at.(string); !said || len(body) > 1 || at != nil && !isText {
		return wire.Invalid("expires", "Of a key only expires can be changed: a date, an RFC 3339 time, or null for never.")
	}
	until, err := expiry(body)
	if err != nil {
		return err
	}
	before := k.said(c.Now())
	k.Expires = until
	if err := c.Store.ExpireKey(c.r.Context(), k.ID, until, c.entry("key.expire", k.Tenant, k.Name, before, k.said(c.Now()))); err != nil {
		return storeError(err)
	}
	if err := c.takeIn(); err != nil {
		return err
	}
	write(c.w, http.StatusOK, k.view(c.Now()))
	return nil
}

// revokeKey ends a key and, when it is called by its name, also those of the name that were rotated and still work.
func revokeKey(c *call) error {
	k, keys, err := c.changeable()
	if err != nil {
		return err
	}
	ending := []*key{k}
	for i := range keys {
		if other := &keys[i]; other.Name == c.r.PathValue("key") && other.ID != k.ID && !other.configured && other.Works(c.Now()) {
			ending = append(ending, other)
		}
	}
	for _, k := range ending {
		if err := c.revoke(k); err != nil {
			return err
		}
	}
	if err := c.takeIn(); err != nil {
		return err
	}
	write(c.w, http.StatusOK, k.view(c.Now()))
	return nil
}

func (c *call) revoke(k *key) error {
	if err := c.covers(k.Role); err != nil {
		return err
	}
	before := k.said(c.Now())
	k.Revoked = cmp.Or(k.Revoked, c.Now())
	return storeError(c.Store.RevokeKey(c.r.Context(), k.ID, c.entry("key.revoke", k.Tenant, k.Name, before, k.said(c.Now()))))
}
