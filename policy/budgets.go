package policy

import (
	"maps"
	"slices"
	"strings"
)

// Budget is how much of one is used.
type Budget struct {
	Tenant string // "": the gateway's
	Team   string
	Text   string  // as people write it: spend $200/month of gpt-*
	Used   float64 // 1 is all of it
}

// Budgets is how those of the gateway, of tenants and of their teams stand.
func (g *Gate) Budgets() []Budget {
	d := g.directory.Load()
	list := budgets(nil, d.whole, "", "")
	for _, name := range slices.Sorted(maps.Keys(d.tenants)) {
		t := d.tenants[name]
		list = budgets(list, t.own(), name, "")
		for _, team := range slices.Sorted(maps.Keys(t.teams)) {
			list = budgets(list, t.teams[team].own(t), name, team)
		}
	}
	return list
}

func budgets(list []Budget, s *scope, tenant, team string) []Budget {
	if s == nil {
		return list
	}
	for _, l := range s.limits {
		if !l.budget() || l.counter == nil {
			continue
		}
		at, text := l.counter.State(), l.String()
		if len(l.rate.Models) > 0 {
			text += " of " + strings.Join(l.rate.Models, ", ")
		}
		list = append(list, Budget{Tenant: tenant, Team: team, Text: text, Used: float64(at.Used) / float64(max(at.Limit, 1))})
	}
	return list
}

// Short is what the limit counts that was short for the request, "" for none.
func (r *Grant) Short() string {
	if r == nil || r.short == nil {
		return ""
	}
	return r.short.unit.String()
}

// budget is the narrowest one that bounds the request.
func (r *Grant) budget() *limit {
	for i := range r.holds {
		if l := r.holds[i].limit; l.budget() {
			return l
		}
	}
	return nil
}
