package admin

import (
	"maps"
	"net/http"
	"slices"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// replicaView is how a replica of a provider is, as the API shows it.
func replicaView(provider string, r *router.ReplicaView) view {
	v := view{"object": "replica", "provider": provider, "replica": r.Address, "state": r.State.String(), "share": r.Warmth, "slowness": r.Slowness,
		"in_flight": r.InFlight, "unanswered": r.Unanswered, "answered": r.Answered, "failed": r.Failed, "prefix_blocks": r.Prefixes}
	if !r.EjectedUntil.IsZero() {
		v["ejected_until"] = stamp(r.EjectedUntil)
	}
	if r.Left {
		v["left"] = true
	}
	if s := r.Scraped; s != nil {
		v["running"], v["waiting"], v["kv"] = s.Running, s.Waiting, s.KV
	}
	if r.Models != nil {
		v["models"] = r.Models
	}
	return v
}

func replicaID(v view) string { return v["provider"].(string) + " " + v["replica"].(string) }

// listReplicas shows the replicas of every provider that has any, as this process sees them.
func listReplicas(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	rows := []view{}
	pools, passed := c.Pools(), after == ""
	for _, provider := range slices.Sorted(maps.Keys(pools)) {
		for _, r := range pools[provider].Replicas() {
			at := r.View(c.Now())
			v := replicaView(provider, &at)
			if passed {
				rows = append(rows, v)
			}
			passed = passed || replicaID(v) == after
		}
	}
	write(c.w, http.StatusOK, listOf(rows, most, replicaID))
	return nil
}

func drainReplica(c *call) error   { return c.drain(true) }
func undrainReplica(c *call) error { return c.drain(false) }

// drain takes a replica out of service by hand, or back in. What it has begun goes on.
func (c *call) drain(on bool) error {
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	said := map[string]string{}
	for field, value := range body {
		text, ok := value.(string)
		switch {
		case field != "provider" && field != "replica":
			return wire.Invalid(field, "%s: unknown field (choices: provider, replica).", field)
		case !ok:
			return wire.Invalid(field, "%s: expected a string.", field)
		}
		said[field] = text
	}
	if said["provider"] == "" || said["replica"] == "" {
		return wire.Invalid("replica", "provider, replica: both are needed, as GET %s/pools has them.", prefix)
	}
	pool := c.Pools()[said["provider"]]
	if pool == nil {
		return notFound("provider with replicas", said["provider"])
	}
	at := slices.IndexFunc(pool.Replicas(), func(r *router.Replica) bool { return r.Address == said["replica"] })
	if at < 0 {
		return notFound("replica", said["replica"])
	}
	r := pool.Replicas()[at]
	before := r.View(c.Now())
	r.Drain(c.Now(), on)
	after := r.View(c.Now())
	action := map[bool]string{true: "replica.drain", false: "replica.undrain"}[on]
	c.Store.Record(c.entry(action, "", replicaID(replicaView(said["provider"], &after)), object{"state": before.State.String()}, object{"state": after.State.String()}))
	if err := c.Store.Flush(c.r.Context()); err != nil {
		return storeError(err)
	}
	write(c.w, http.StatusOK, replicaView(said["provider"], &after))
	return nil
}
