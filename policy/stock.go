package policy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Stock keeps count of what is stored, for all replicas: it outlives the process, as that does.
type Stock interface {
	// AddStock counts all of a list or, where one would pass its limit, nothing: full is then its index, and have what is there
	// already; else full is -1. A negative N takes away, to no less than 0.
	AddStock(ctx context.Context, list []Stocked) (full int, have int64, err error)
	// CountStock is what is in some scopes, in no order.
	CountStock(ctx context.Context, scopes []string) ([]Stocked, error)
}

// Stocked is how many of a unit are in a scope, or are to be added to it, of Limit at most (0: any number). It is an alias, so
// that a Stock need not know this package.
type Stocked = struct {
	Scope, Unit string
	N, Limit    int64
}

// Owner tells whose something stored is. It is for whoever stores it to keep beside it, and to hand to Remove: who removes it
// may be another than who stored it.
type Owner string

// part is one of the scopes that what someone stores counts in.
type part struct {
	id    string
	scope *scope // its limits, nil for none
}

// parts are those scopes, narrow to wide. Those without a limit count as well: one that gets a limit later must know what is
// there. Of tokens there is no such scope as a key's.
func (g *Gate) parts(c *Caller, user string) []part {
	t := c.tenant
	list := []part{{t.id + "/user/" + endUser(cmp.Or(c.User, user)), t.users}}
	if !strings.HasPrefix(c.Key, tokenPrefix) {
		list = append(list, part{t.id + "/key/" + c.Key, c.own()})
	}
	if c.team != nil {
		list = append(list, part{t.id + "/team/" + c.Team, c.team.own(t)})
	}
	return append(list, part{t.id, t.own()}, part{wholeID, g.directory.Load().whole})
}

// endUser stands for an end user: names of people do not belong into counts. Unlike that of a counter it must stay the same
// for as long as something is stored.
func endUser(name string) string {
	if name == "" {
		return "-"
	}
	digest := sha256.Sum256([]byte(name))
	return hex.EncodeToString(digest[:12])
}

// level is a scope's limit on how many there may be of a unit, nil for none.
func (s *scope) level(unit Unit) *limit {
	if s == nil {
		return nil
	}
	for _, l := range s.limits {
		if l.unit == unit {
			return l
		}
	}
	return nil
}

// Store counts documents and vectors that a caller is about to store, for an end user ("": not told), in all scopes at once,
// or refuses them. Whoever stores them calls it before: what goes wrong in between leaves too much counted, and never too
// little. If they come to nothing it calls Remove.
func (g *Gate) Store(ctx context.Context, c *Caller, user string, documents, vectors int64) (Owner, error) {
	if documents < 0 || vectors < 0 {
		panic(fmt.Sprintf("BUG: %d documents and %d vectors to store", documents, vectors))
	}
	parts := g.parts(c, user)
	ids := make([]string, len(parts))
	var list []Stocked
	var limits []*limit // of the list, by the same index
	for i, p := range parts {
		ids[i] = p.id
		for _, n := range [...]struct {
			unit Unit
			n    int64
		}{{Documents, documents}, {Vectors, vectors}} {
			one, l := Stocked{Scope: p.id, Unit: n.unit.String(), N: n.n}, p.scope.level(n.unit)
			if l != nil {
				one.Limit = l.rate.Amount
			}
			list, limits = append(list, one), append(limits, l)
		}
	}
	full, have, err := g.stock(ctx, list)
	if err != nil {
		return "", err
	}
	if full >= 0 {
		return "", limits[full].full(have, list[full].N)
	}
	return Owner(strings.Join(ids, "\n")), nil
}

// Remove counts documents and vectors no more, once they are gone. It is never refused.
func (g *Gate) Remove(ctx context.Context, of Owner, documents, vectors int64) error {
	if documents < 0 || vectors < 0 {
		panic(fmt.Sprintf("BUG: %d documents and %d vectors to remove", documents, vectors))
	}
	var list []Stocked
	for id := range strings.SplitSeq(string(of), "\n") {
		list = append(list, Stocked{Scope: id, Unit: Documents.String(), N: -documents}, Stocked{Scope: id, Unit: Vectors.String(), N: -vectors})
	}
	_, _, err := g.stock(ctx, list)
	return err
}

// stock has a list counted. How that ended must be known, so it goes on when the client leaves meanwhile.
func (g *Gate) stock(ctx context.Context, list []Stocked) (full int, have int64, err error) {
	if full, have, err = g.setup.Stock.AddStock(context.WithoutCancel(ctx), list); err != nil {
		return -1, 0, uncounted(err)
	}
	return full, have, nil
}

func uncounted(err error) error {
	return wire.Server(503, "state_unavailable", "The gateway's count of what is stored does not answer. Please try again.", err)
}

// full is the refusal of what there is no room for. Time makes none: something has to be removed first.
func (l *limit) full(have, want int64) *wire.Error {
	return &wire.Error{Status: 429, Type: wire.TypeQuota, Code: "insufficient_quota", Final: true,
		Message: fmt.Sprintf("Limit reached for %s: %s %d, of which %d are left; this request needs %d. Please remove some first.",
			l.scope.name, l.unit, l.rate.Amount, max(l.rate.Amount-have, 0), want)}
}

// Standings is how the limits of a tenant stand, with those of its teams and keys; of "" it is the gateway's own.
func (g *Gate) Standings(ctx context.Context, tenant string) ([]Held, error) {
	list := g.standings(tenant)
	var scopes []string
	for i := range list {
		if list[i].stocks() {
			scopes = append(scopes, list[i].scope())
		}
	}
	if len(scopes) == 0 || g.setup.Stock == nil {
		return list, nil
	}
	rows, err := g.setup.Stock.CountStock(ctx, scopes)
	if err != nil {
		return nil, uncounted(err)
	}
	there := make(map[string]int64, len(rows))
	for _, row := range rows {
		there[row.Scope+"/"+row.Unit] = row.N
	}
	for i := range list {
		if h := &list[i]; h.stocks() {
			h.State.Used = there[h.ID]
			h.Free = max(h.State.Limit-h.State.Used, 0)
		}
	}
	return list, nil
}

// stocks tells a limit on what is stored, which no counter counts.
func (h *Held) stocks() bool { return h.Unit == Documents || h.Unit == Vectors }

// scope is what the limit's ID begins with.
func (h *Held) scope() string { return strings.TrimSuffix(h.ID, "/"+h.Unit.String()) }
