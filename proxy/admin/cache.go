package admin

import (
	"net/http"

	"jarvis-gateway/proxy/wire"
)

// purgeCache has cached answers be forgotten: all, or those of a model and of a tenant.
func purgeCache(c *call) error {
	query := c.r.URL.Query()
	for name, values := range query {
		if name != "model" && name != "tenant" || len(values) > 1 {
			return wire.Invalid(name, "%s: expected model and tenant, each once at most.", name)
		}
		if values[0] == "" {
			return wire.Invalid(name, "%s: expected a name; leave it out to mean all.", name)
		}
	}
	tenant, model := query.Get("tenant"), query.Get("model")
	n, everywhere := c.Purge(tenant, model)
	c.Store.Record(c.entry("cache.purge", tenant, model, nil, object{"purged": n, "everywhere": everywhere}))
	if err := c.Store.Flush(c.r.Context()); err != nil {
		return storeError(err)
	}
	write(c.w, http.StatusOK, view{"object": "cache.purge", "purged": n, "everywhere": everywhere})
	return nil
}
