package admin

import (
	"net/http"
	"time"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// targetView is how a target stands, as the API shows it.
func targetView(s router.Standing) view {
	v := view{"object": "target", "model": s.Route, "provider": s.Provider, "served": s.Model, "state": s.State, "in_flight": s.InFlight,
		"calls": s.Calls, "failed": s.Failed, "error_rate": 0.0}
	if s.Calls > 0 {
		v["error_rate"] = float64(s.Failed) / float64(s.Calls)
	}
	if s.Unheeded {
		v["unheeded"] = true
	}
	for name, text := range map[string]string{"cause": s.Cause, "forced": s.Forced.String()} {
		if text != "" {
			v[name] = text
		}
	}
	for name, at := range map[string]time.Time{"since": s.Since, "until": s.Until, "resting_until": s.Resting} {
		if !at.IsZero() {
			v[name] = stamp(at)
		}
	}
	for name, d := range map[string]time.Duration{"first_token_p50_ms": s.P50, "first_token_p95_ms": s.P95} {
		if d > 0 {
			v[name] = float64(d.Microseconds()) / 1000
		}
	}
	return v
}

func targetID(v view) string {
	return v["model"].(string) + " " + v["provider"].(string) + " " + v["served"].(string)
}

// listTargets shows how every target stands in this process, in the order of the configuration.
func listTargets(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	rows := []view{}
	passed := after == ""
	for _, s := range c.Router().Standings(c.Now()) {
		v := targetView(s)
		if passed {
			rows = append(rows, v)
		}
		passed = passed || targetID(v) == after
	}
	write(c.w, http.StatusOK, listOf(rows, most, targetID))
	return nil
}

// forced notes in the audit log what was decided about a target.
func (c *call) forced(served string, said map[string]string, before, after object) {
	c.Store.Record(c.entry("target.force", "", said["model"]+" at "+said["provider"]+"/"+served, before, after))
}

var forces = map[string]router.Force{"open": router.ForceOpen, "closed": router.ForceClosed, "auto": router.Automatic}

// readForce reads which target is meant, and what is decided about it.
func readForce(body object) (said map[string]string, f router.Force, err error) {
	said = map[string]string{}
	for field, value := range body {
		text, ok := value.(string)
		switch {
		case field != "model" && field != "provider" && field != "served" && field != "state":
			return nil, 0, wire.Invalid(field, "%s: unknown field (choices: model, provider, served, state).", field)
		case !ok:
			return nil, 0, wire.Invalid(field, "%s: expected a string.", field)
		}
		said[field] = text
	}
	f, known := forces[said["state"]]
	switch {
	case said["model"] == "" || said["provider"] == "":
		return nil, 0, wire.Invalid("model", "model, provider: both are needed, as GET %s/targets has them.", prefix)
	case !known:
		return nil, 0, wire.Invalid("state", "state: expected open, closed or auto.")
	}
	return said, f, nil
}

// keep has a decision hold on every gateway that has the state store. From then on earlier ones do not count here either.
func (c *call) keep(d router.Decision) error {
	kept, err := c.Store.Force(c.r.Context(), state.Forced{Model: d.Route, Provider: d.Provider, Served: d.Model, State: d.Force.String()})
	if err == nil {
		d.Turn = kept.Turn
		c.Router().Force(d)
	}
	return err
}

// forceTarget decides about a target by hand, on every gateway that has the state store.
func forceTarget(c *call) error {
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	said, force, err := readForce(body)
	if err != nil {
		return err
	}
	decision := router.Decision{Route: said["model"], Provider: said["provider"], Model: said["served"], Force: force}
	c.changing.Lock()
	defer c.changing.Unlock()
	changes, found := c.Router().Force(decision) // before the store has it: who takes a target out must not wait for that
	if !found {
		return notFound("target", said["model"]+" "+said["provider"]+" "+said["served"])
	}
	failed := c.keep(decision)
	rows := []any{}
	for _, s := range changes {
		c.forced(s[1].Model, said, object{"state": s[0].State, "forced": s[0].Forced.String()}, object{"state": s[1].State, "forced": s[1].Forced.String()})
		rows = append(rows, targetView(s[1]))
	}
	if len(changes) == 0 { // nobody has asked for any model yet
		c.forced("*", said, nil, object{"forced": force.String()})
	}
	if failed != nil {
		return storeError(failed)
	}
	if err := c.Store.Flush(c.r.Context()); err != nil {
		return storeError(err)
	}
	write(c.w, http.StatusOK, page{Object: "list", Data: rows})
	return nil
}
