package policy

import (
	"cmp"
	"maps"
	"slices"

	"jarvis-gateway/policy/counter"
)

// Held is one limit and how it stands.
type Held struct {
	ID    string // the same on every replica
	Team  string // whose it is, with Key; both "": the tenant's or the gateway's
	Key   string
	Unit  Unit
	Text  string // as people write it
	State counter.State
	Free  int64
}

// standings is Standings without what is stored.
func (g *Gate) standings(tenant string) (list []Held) {
	d := g.directory.Load()
	if tenant == "" {
		return stand(nil, d.whole, "", "")
	}
	t := d.tenants[tenant]
	if t == nil {
		return nil
	}
	list = stand(list, t.own(), "", "")
	for _, name := range slices.Sorted(maps.Keys(t.teams)) {
		list = stand(list, t.teams[name].own(t), name, "")
	}
	keys := make([]*Caller, 0, len(d.keys))
	for _, c := range d.keys {
		if c.tenant == t && c.own() != nil {
			keys = append(keys, c)
		}
	}
	slices.SortFunc(keys, func(a, b *Caller) int { return cmp.Compare(a.Key, b.Key) })
	for _, c := range keys {
		list = stand(list, c.own(), c.Team, c.Key)
	}
	return list
}

func stand(list []Held, s *scope, team, key string) []Held {
	if s == nil {
		return list
	}
	for _, l := range s.limits {
		if l.counter == nil {
			continue
		}
		text := l.rate.amount(l.rate.Amount)
		if l.rate.Per != "" {
			text = l.rate.String()
		}
		list = append(list, Held{ID: l.spec.Name, Team: team, Key: key, Unit: l.unit, Text: text, State: l.counter.State(), Free: l.counter.Free()})
	}
	return list
}

// own is the scope that is a tenant's, and no wider one's; nil for none.
func (t *tenant) own() *scope { return narrowest(t.scopes, "tenant "+t.name) }

func (m *team) own(t *tenant) *scope {
	if len(m.scopes) > len(t.scopes) {
		return m.scopes[0]
	}
	return nil
}

func (c *Caller) own() *scope { return narrowest(c.scopes, "key "+c.Key) }

func narrowest(scopes []*scope, name string) *scope {
	if len(scopes) > 0 && scopes[0].name == name {
		return scopes[0]
	}
	return nil
}
