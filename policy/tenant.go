package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// StoredTenant is a tenant of the state store. Its keys are stored by themselves.
type StoredTenant struct {
	Tenant
	Created time.Time
}

// counters begins the names of a tenant's counters. One that is made anew under an old name does not go on with what the one
// before it has used. No tenant of the configuration has such a name: theirs begin with tenant/.
func (t *StoredTenant) counters(name string) string {
	return "tenant@" + strconv.FormatInt(t.Created.UnixMilli(), 36) + "/" + name
}

// What a tenant may hold. All of it is in memory, and read again whenever any tenant or key changes.
const (
	maxTenantModels = 1000
	maxTeams        = 256
	maxGuards       = 64
	maxKeysHeld     = 10_000
)

// tenant is who shares keys, models and limits.
type tenant struct {
	name     string
	id       string // begins the names of its counters
	cfg      Tenant
	stored   bool      // in the state store, not in the configuration
	created  time.Time // of one in the state store
	models   models
	zone     string
	priority int
	scopes   []*scope // those of its limits that hold for everyone: its own, the gateway's
	users    *scope   // the limits that each end user has; nil for none
	teams    map[string]*team
	keyNames map[string]bool // of the configuration
	pinned   []*scope        // its and its teams', whose counters it keeps
	notice   *notice
	guards   *guard.Chain
	habits   *habits
}

// team is a part of a tenant.
type team struct {
	models models
	scopes []*scope // its own, then the tenant's
}

// models is what may be asked for.
type models struct {
	exact    map[string]bool
	patterns []string
	listed   bool // otherwise every entry of `models` is allowed
}

func newModels(list []string) models {
	m := models{listed: list != nil}
	for _, entry := range list {
		if strings.Contains(entry, "*") {
			m.patterns = append(m.patterns, entry)
			continue
		}
		if m.exact == nil {
			m.exact = map[string]bool{}
		}
		m.exact[entry] = true
	}
	return m
}

// allows tells whether a model is among them. direct is a provider/model name without an entry of its own, which must be
// allowed by name or pattern.
func (m *models) allows(model string, direct bool) bool {
	if !m.listed {
		return !direct
	}
	if m.exact[model] {
		return true
	}
	for _, p := range m.patterns {
		if wire.MatchModel(p, model) {
			return true
		}
	}
	return false
}

// allows tells whether those of a team, nil for none, may ask for a model.
func (t *tenant) allows(part *team, model string, direct bool) bool {
	if part != nil && part.models.listed && !part.models.allows(model, direct) {
		return false
	}
	return t.models.allows(model, direct)
}

// choices are the entries of the configuration that those of a team may ask for, and the tenant's own patterns and
// provider/model names.
func (t *tenant) choices(part *team, names Names) []string {
	var list []string
	for _, m := range slices.Concat(names.Models, t.cfg.Models) {
		if names.match(m) && t.allows(part, m, names.direct(m)) {
			list = append(list, m)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
