package guard

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Finding is what one guard would do with a request. It holds nothing of what the request says.
type Finding struct {
	At    string `json:"at"` // its place in the config: guards[0]
	Guard string `json:"guard"`
	Kind  string `json:"kind"`
	Does  string `json:"does"`           // nothing, masks, notes, refuses, or asks, which is not done now
	What  string `json:"what,omitempty"` // EMAIL 2: how many different ones of what
}

// What a Finding says.
const (
	DoesNothing = "nothing"
	DoesMask    = "masks"
	DoesNote    = "notes"
	DoesRefuse  = "refuses"
	DoesAsk     = "asks" // a server, with the request in hand
)

// Explain tells what Request would find, guard by guard, up to the one that refuses. No server is asked.
func (c *Chain) Explain(raw []byte, kind wire.Kind) []Finding {
	list := []Finding{}
	if c == nil {
		return list
	}
	q := &asked{raw: raw, kind: kind, vault: &Vault{}, names: c.names}
	q.vault.asked = q
	for _, r := range c.rules {
		if !r.asks {
			continue
		}
		f := Finding{At: r.at, Guard: r.name, Kind: r.kind, Does: DoesNothing}
		if r.remote != nil {
			f.Does = DoesAsk
		} else if q.walk.raw != nil || q.read() {
			r.find(q, &f)
		}
		if list = append(list, f); f.Does == DoesRefuse {
			break
		}
	}
	return list
}

// find has a guard look at a request, and tells what came of it.
func (r *rule) find(q *asked, f *Finding) {
	before, flags := q.vault.tally(), len(q.vault.flags)
	var err error
	if q.walk.numbered && r.roles&user != 0 {
		err = r.numbered(q)
	}
	if err == nil {
		err = r.request(q)
	}
	var found []string
	after := q.vault.tally()
	for _, label := range slices.Sorted(maps.Keys(after)) {
		if n := after[label] - before[label]; n > 0 {
			found = append(found, fmt.Sprintf("%s %d", label, n))
		}
	}
	switch {
	case err != nil:
		f.Does, f.What = DoesRefuse, reason(err)
	case len(found) > 0:
		f.Does, f.What = DoesMask, strings.Join(found, ", ")
	case len(q.vault.flags) > flags:
		f.Does, f.What = DoesNote, strings.Join(q.vault.flags[flags:], ", ")
	}
}

// tally counts what was taken out, by label.
func (v *Vault) tally() map[string]int {
	n := map[string]int{}
	for name := range v.names {
		n[name[:strings.LastIndexByte(name, '_')]]++
	}
	return n
}

// reason is why a guard refuses: what the log would say, or else what the client is told.
func reason(err error) string {
	e, ok := err.(*wire.Error)
	switch {
	case !ok:
		return "it cannot be looked at"
	case e.Err != nil:
		_, what, _ := strings.Cut(e.Err.Error(), ": ")
		return what
	}
	return e.Message
}

// Asks tells whether any guard looks at requests.
func (c *Chain) Asks() bool {
	return c != nil && slices.ContainsFunc(c.rules, func(r *rule) bool { return r.asks })
}
