// Package policy decides who may ask for what: keys, tenants, limits.
package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Gate knows every key. It never changes but for its counters: a new config makes a new one.
type Gate struct {
	keys    map[uint64][]*Caller // by the first bytes of the digest; the rest is compared in constant time
	tenants map[string]*tenant
	whole   *quota
}

// Caller is a known key and its tenant.
type Caller struct {
	Tenant string
	Key    string // its name
	digest [sha256.Size]byte
	until  time.Time // zero: for ever
	tenant *tenant
}

type tenant struct {
	exact    map[string]bool
	patterns []string
	listed   bool // models are listed; otherwise every entry of `models` is allowed
	quota    *quota
}

// quota counts the requests in flight. It outlives the Gate: the next config's Gate goes on with it.
type quota struct {
	open  atomic.Int64
	limit atomic.Int64 // 0: none
}

// Names is what tenants may refer to.
type Names struct {
	Models    []string // entries of `models`, patterns included
	Providers []string
}

// New checks the tenants. The error joins all that is wrong, each worded as a path. prev, which may be nil, is the Gate
// whose counters go on.
func New(tenants map[string]Tenant, limits Limits, names Names, prev *Gate) (*Gate, error) {
	g := &Gate{keys: map[uint64][]*Caller{}, tenants: map[string]*tenant{}, whole: &quota{}}
	if prev != nil {
		g.whole = prev.whole
	}
	errs := limits.check("limits")
	for _, name := range slices.Sorted(maps.Keys(tenants)) {
		errs = append(errs, g.add(name, tenants[name], names)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	g.whole.limit.Store(int64(limits.Concurrency))
	for name, t := range g.tenants {
		t.quota = &quota{}
		if prev != nil && prev.tenants[name] != nil {
			t.quota = prev.tenants[name].quota
		}
		t.quota.limit.Store(int64(tenants[name].Limits.Concurrency))
	}
	return g, nil
}

func (l Limits) check(at string) []error {
	if l.Concurrency < 0 {
		return []error{fmt.Errorf("%s.concurrency: must be at least 1", at)}
	}
	return nil
}

func (g *Gate) add(name string, cfg Tenant, names Names) []error {
	at := "tenants." + name
	t := &tenant{exact: map[string]bool{}, listed: cfg.Models != nil}
	errs := cfg.Limits.check(at + ".limits")
	for i, m := range cfg.Models {
		if !names.match(m) {
			errs = append(errs, fmt.Errorf("%s.models[%d]: unknown model %q (have: %s; or provider/model with: %s)", at, i, m,
				strings.Join(names.Models, ", "), strings.Join(names.Providers, ", ")))
		}
		if strings.Contains(m, "*") {
			t.patterns = append(t.patterns, m)
		} else {
			t.exact[m] = true
		}
	}
	g.tenants[name] = t
	for i, k := range cfg.Keys {
		caller, err := k.caller()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.keys[%d].%w", at, i, err))
			continue
		}
		if other := g.find(caller.digest); other != nil {
			errs = append(errs, fmt.Errorf("%s.keys[%d]: the same key as %q of tenant %q", at, i, other.Key, other.Tenant))
			continue
		}
		if slices.ContainsFunc(cfg.Keys[:i], func(o Key) bool { return o.Name == k.Name }) {
			errs = append(errs, fmt.Errorf("%s.keys[%d].name: %q stands twice", at, i, k.Name))
		}
		caller.Tenant, caller.tenant = name, t
		at := binary.LittleEndian.Uint64(caller.digest[:])
		g.keys[at] = append(g.keys[at], caller)
	}
	return errs
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

const minKey = 16 // shorter keys can be guessed

func (k Key) caller() (*Caller, error) {
	c := &Caller{Key: k.Name}
	switch {
	case k.Name == "":
		return nil, errors.New("name: must be set")
	case (k.Key == "") == (k.Hash == ""):
		return nil, errors.New("key: exactly one of key and hash must be set")
	case k.Key != "" && len(k.Key) < minKey:
		return nil, fmt.Errorf("key: must have at least %d characters", minKey)
	case k.Key != "" && strings.ContainsFunc(k.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("key: may hold visible ASCII characters only, as it travels in a header")
	case k.Key != "":
		c.digest = sha256.Sum256([]byte(k.Key))
	default:
		digest, ok := strings.CutPrefix(k.Hash, "sha256:")
		b, err := hex.DecodeString(digest)
		if !ok || err != nil || len(b) != sha256.Size {
			return nil, errors.New("hash: expected sha256: and 64 hex digits")
		}
		c.digest = [sha256.Size]byte(b)
	}
	if k.Role != "" && k.Role != "developer" {
		return nil, fmt.Errorf("role: %q is not supported yet (have: developer)", k.Role)
	}
	until, err := expiry(k.Expires)
	c.until = until
	return c, err
}

func expiry(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("expires: %q is neither a date (2027-01-01) nor an RFC 3339 time", s)
}

func (g *Gate) find(digest [sha256.Size]byte) *Caller {
	for _, c := range g.keys[binary.LittleEndian.Uint64(digest[:])] {
		if subtle.ConstantTimeCompare(c.digest[:], digest[:]) == 1 {
			return c
		}
	}
	return nil
}

// Keys is the number of keys.
func (g *Gate) Keys() int {
	n := 0
	for _, k := range g.keys {
		n += len(k)
	}
	return n
}

// Identify finds whose key this is. One answer fits every key that does not work, so that nothing can be learnt of it.
func (g *Gate) Identify(key []byte, now time.Time) (*Caller, error) {
	if len(key) == 0 {
		return nil, &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true,
			Message: "You did not provide an API key. Send it in the header Authorization: Bearer YOUR_KEY."}
	}
	c := g.find(sha256.Sum256(key))
	if c == nil || !c.until.IsZero() && !now.Before(c.until) {
		return nil, &wire.Error{Status: 401, Type: wire.TypeInvalid, Code: "invalid_api_key", Final: true,
			Message: "Incorrect API key provided. It is unknown, revoked or expired."}
	}
	return c, nil
}

// Allows tells whether the caller's tenant may ask for a model. direct is a provider/model name without an entry of its
// own, which must be allowed by name or pattern.
func (c *Caller) Allows(model string, direct bool) bool {
	t := c.tenant
	if !t.listed {
		return !direct
	}
	if t.exact[model] {
		return true
	}
	for _, p := range t.patterns {
		if wire.MatchModel(p, model) {
			return true
		}
	}
	return false
}

// Single tells whether this is the only tenant there is.
func (g *Gate) Single() bool { return len(g.tenants) == 1 }

// Grant is an admitted request. Settle ends it.
type Grant struct{ whole, tenant *quota }

// Admit takes one place among the requests in flight, of the gateway and of the tenant, or refuses.
func (g *Gate) Admit(c *Caller) (Grant, error) {
	// The tenant's first: one at its limit must not take, even for a moment, what others could have.
	if !c.tenant.quota.take() {
		return Grant{}, overLimit("Too many requests of yours are in flight.")
	}
	if !g.whole.take() {
		c.tenant.quota.open.Add(-1)
		return Grant{}, overLimit("The gateway is serving as many requests as it may.")
	}
	return Grant{g.whole, c.tenant.quota}, nil
}

func overLimit(message string) error {
	return &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: "rate_limit_exceeded", Retry: time.Second, Message: message + " Please try again."}
}

// Settle gives the places back. It does so once; the zero Grant has none.
func (g *Grant) Settle() {
	if g.whole != nil {
		g.whole.open.Add(-1)
		g.tenant.open.Add(-1)
	}
	*g = Grant{}
}

// take counts a request in unless the limit is reached: never one more than the limit, and never a refusal while there
// is a free place.
func (q *quota) take() bool {
	limit := q.limit.Load()
	if limit == 0 {
		q.open.Add(1)
		return true
	}
	for {
		n := q.open.Load()
		if n >= limit {
			return false
		}
		if q.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}
