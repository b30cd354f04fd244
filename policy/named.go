package policy

import (
	"fmt"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Named is who holds a key, found by names, for questions about what would become of his requests. Without a key it is a developer
// of the tenant's, of no team; without a tenant the only one that there is.
func (g *Gate) Named(tenant, key string, now time.Time) (*Caller, error) {
	d := g.directory.Load()
	if tenant == "" {
		if len(d.tenants) != 1 {
			return nil, wire.Invalid("tenant", "tenant: needed, as there are %d.", len(d.tenants))
		}
		for name := range d.tenants {
			tenant = name
		}
	}
	in := d.tenants[tenant]
	if in == nil {
		return nil, unnamed("tenant", tenant)
	}
	if key == "" {
		b := &builder{roles: g.roles}
		return b.member("", in, "", Developer), nil
	}
	var found *Caller
	for _, c := range d.keys {
		if c.Tenant == tenant && c.Key == key && (found == nil || c.outlives(found)) {
			found = c
		}
	}
	if found == nil || !found.until.IsZero() && !now.Before(found.until) {
		return nil, unnamed("key", key)
	}
	return found, nil
}

// outlives tells which of two keys of one name goes on: one that was replaced works for a while beside the new one.
func (c *Caller) outlives(other *Caller) bool {
	return !other.until.IsZero() && (c.until.IsZero() || c.until.After(other.until))
}

func unnamed(what, name string) error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found", Param: what, Message: fmt.Sprintf("There is no %s %q.", what, name)}
}
