package admin

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// Standing is how one limit stands.
type Standing struct {
	ID     string // the same on every replica: tenant/acme/spend/d
	Tenant string // "": the gateway's own
	Team   string // whose limit it is, with Key; both "": the tenant's
	Key    string
	Unit   string // requests, tokens, spend, concurrency, ...
	Text   string // the limit as people write it: $50/d
	// Of spend in nano-dollars. Held is what requests under way may still need.
	Limit, Used, Held, Free int64
	Reset                   time.Time // when all of it is free again, or the window ends; zero: not by time
}

func (s *Standing) view() view {
	v := view{"object": "limit", "id": s.ID, "scope": "gateway", "unit": s.Unit, "text": s.Text, "reset_at": stamp(s.Reset)}
	for _, part := range []struct{ scope, name string }{{"tenant", s.Tenant}, {"team", s.Team}, {"key", s.Key}} {
		if part.name != "" {
			v["scope"], v[part.scope] = part.scope, part.name
		}
	}
	for field, n := range map[string]int64{"limit": s.Limit, "used": s.Used, "held": s.Held, "free": s.Free} {
		if v[field] = n; s.Unit == policy.Spend.String() {
			v[field] = json.Number(wire.Money(n).AppendDecimal(nil)) // dollars, to the last digit
		}
	}
	return v
}

// listLimits shows one tenant's limits. A super admin who names none is shown the gateway's own.
func listLimits(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	tenant := c.r.URL.Query().Get("tenant")
	if tenant == "" && !c.who.super() {
		tenant = c.who.tenant()
	}
	if tenant != "" {
		if err := c.known(tenant); err != nil {
			return err
		}
	}
	standings, err := c.Limits(c.r.Context(), tenant)
	if err != nil {
		return err
	}
	slices.SortFunc(standings, func(a, b Standing) int { return cmp.Compare(a.ID, b.ID) })
	var rows []view
	for i := range standings {
		if standings[i].ID > after {
			rows = append(rows, standings[i].view())
		}
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return v["id"].(string) }))
	return nil
}

// known refuses a tenant that there is not, or that the caller may not know of.
func (c *call) known(tenant string) error {
	if !c.who.mayIn(tenant, policy.AdminQuota) {
		c.deny(http.StatusNotFound, "not_found")
		return notFound("tenant", tenant)
	}
	d, err := c.directory()
	if err != nil {
		return err
	}
	_, _, err = c.tenant(&d, tenant)
	return err
}

func listRoles(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	roles := c.Gate().Roles()
	var rows []view
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		if name > after {
			rows = append(rows, view{"object": "role", "name": name, "permissions": list(roles[name].Names())})
		}
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return v["name"].(string) }))
	return nil
}

// list is never null.
func list(names []string) []string { return append([]string{}, names...) }

func whoami(c *call) error {
	role := c.who.role()
	v := view{"object": "whoami", "actor": c.who.name, "role": role, "permissions": list(c.Gate().Roles()[role].Names())}
	if tenant := c.who.tenant(); tenant != "" {
		v["tenant"] = tenant
	}
	write(c.w, http.StatusOK, v)
	return nil
}

func showConfig(c *call) error {
	text, err := c.Config()
	if err != nil {
		return err
	}
	if strings.Contains(c.r.Header.Get("Accept"), "yaml") {
		c.w.Header().Set("Content-Type", "application/yaml")
		c.w.Header().Set("Cache-Control", "no-store")
		_, _ = c.w.Write(text) // the client has gone; nobody to tell
		return nil
	}
	config := object{}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return err
	}
	write(c.w, http.StatusOK, view{"object": "config", "config": config})
	return nil
}

func reload(c *call) error {
	err := c.Reload(c.who.name)
	c.configChange("config.reload", object{"reloaded": err == nil})
	if err != nil {
		e := invalid(err).(*wire.Error)
		e.Code, e.Message = "config_invalid", "The configuration was not reloaded; the one before stays in force. "+e.Message
		return e
	}
	write(c.w, http.StatusOK, view{"object": "config.reload", "reloaded": true})
	return nil
}
