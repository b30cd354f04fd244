package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"
	"unicode/utf8"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// rolloutView is how a rollout stands, as the API shows it.
func rolloutView(r router.RolloutView) view {
	v := view{"object": "rollout", "model": r.Model, "to": r.To, "percent": r.Percent, "shadow": r.Shadow, "by_hand": r.ByHand, "since": stamp(r.Since),
		"arms": []view{armView(r.Arms[0]), armView(r.Arms[1])}}
	if r.Halted != "" {
		v["halted"] = r.Halted
	}
	if len(r.Steps) > 0 {
		v["steps"] = r.Steps
	}
	if !r.Next.IsZero() {
		v["next_step_at"] = stamp(r.Next)
	}
	return v
}

func armView(a router.ArmView) view {
	v := view{"model": a.Model, "calls": a.Calls, "failed": a.Failed, "error_rate": 0.0, "tokens": a.Tokens, "cost_usd": dollars(a.Cost), "scores": a.Scores}
	if a.Scores > 0 {
		v["score"] = a.Score / float64(a.Scores)
	}
	if a.Calls > 0 {
		v["error_rate"] = float64(a.Failed) / float64(a.Calls)
		v["cost_per_call_usd"] = dollars(a.Cost / a.Calls)
	}
	for name, d := range map[string]time.Duration{"first_token_p50_ms": a.P50, "first_token_p95_ms": a.P95} {
		if d > 0 {
			v[name] = float64(d.Microseconds()) / 1000
		}
	}
	return v
}

func dollars(nano int64) json.Number { return json.Number(wire.Money(nano).AppendDecimal(nil)) }

// listRollouts shows the rollouts of this process, in the order of the configuration.
func listRollouts(c *call) error {
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	rows := []view{}
	passed := after == ""
	for _, r := range c.Router().Rollouts(c.Now()) {
		if passed {
			rows = append(rows, rolloutView(r))
		}
		passed = passed || r.Model == after
	}
	write(c.w, http.StatusOK, listOf(rows, most, func(v view) string { return v["model"].(string) }))
	return nil
}

// wish is what somebody wants of a rollout.
type wish struct {
	model   string
	percent float64 // NaN: call it off
	reason  string
}

const longestReason = 200

func readWish(body object) (w wish, err error) {
	w.percent = -1
	for field, value := range body {
		text, isText := value.(string)
		switch {
		case field == "model" && isText:
			w.model = text
		case field == "reason" && isText && utf8.RuneCountInString(text) <= longestReason:
			w.reason = text
		case field == "percent":
			number, _ := value.(json.Number)
			if w.percent, err = number.Float64(); err != nil || !(w.percent >= 0 && w.percent <= 100) {
				return w, wire.Invalid("percent", "percent: expected a number from 0 to 100.")
			}
		case field == "halt" && value == true:
		case field == "model", field == "reason":
			return w, wire.Invalid(field, "%s: expected a string of at most %d characters.", field, longestReason)
		case field == "halt":
			return w, wire.Invalid("halt", "halt: expected true.")
		default:
			return w, wire.Invalid(field, "%s: unknown field (choices: model, percent, halt, reason).", field)
		}
	}
	_, halt := body["halt"]
	_, share := body["percent"]
	switch {
	case w.model == "":
		return w, wire.Invalid("model", "model: needed, as GET %s/rollouts has it.", prefix)
	case halt == share:
		return w, wire.Invalid("percent", "percent, halt: one of the two is needed.")
	case share && w.reason != "":
		return w, wire.Invalid("reason", "reason: only goes with halt.")
	case halt:
		w.percent = math.NaN()
	}
	return w, nil
}

// setRollout sets the share that the other model gets, or calls the rollout off, on every gateway that has the state store.
func setRollout(c *call) error {
	body, err := readObject(c.r)
	if err != nil {
		return err
	}
	wanted, err := readWish(body)
	if err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	before := c.rollout(wanted.model)
	next, err := c.Router().Decided(wanted.model, wanted.percent, cmp.Or(wanted.reason, "by "+c.who.name))
	if errors.Is(err, router.ErrNoRollout) {
		return notFound("rollout of a model", wanted.model)
	}
	kept, failed := c.Store.SetRollout(c.r.Context(), state.Rollout(next))
	if failed == nil {
		next = router.RolloutState(kept)
	}
	c.Router().Follow(next) // also without the store: who calls a rollout off must not wait for it
	after := c.rollout(wanted.model)
	action := "rollout.set"
	if after.Halted != "" {
		action = "rollout.halt"
	}
	c.Store.Record(c.entry(action, "", wanted.model, rolloutSaid(before), rolloutSaid(after)))
	if failed != nil {
		return storeError(failed)
	}
	if err := c.Store.Flush(c.r.Context()); err != nil {
		return storeError(err)
	}
	write(c.w, http.StatusOK, rolloutView(after))
	return nil
}

// rollout is how a model's stands.
func (c *call) rollout(model string) (found router.RolloutView) {
	for _, r := range c.Router().Rollouts(c.Now()) {
		if r.Model == model {
			return r
		}
	}
	return found
}

// rolloutSaid is what the audit log says of a rollout.
func rolloutSaid(r router.RolloutView) object {
	said := object{"to": r.To, "percent": r.Percent}
	if r.Halted != "" {
		said["halted"] = r.Halted
	}
	return said
}
