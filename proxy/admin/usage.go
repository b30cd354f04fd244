package admin

import (
	"errors"
	"net/http"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// usageScope is whose usage the caller may see, if any is kept.
func (c *call) usageScope() (store.Scope, error) {
	if c.Usage == nil {
		return store.Scope{}, &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "usage_off", Message: "This gateway keeps no usage."}
	}
	if c.who.super() {
		return store.Scope{}, nil
	}
	return store.Scope(c.who.caller.Sees()), nil
}

// usageQuestion reads what is asked for, as far as the caller may see it.
func (c *call) usageQuestion(also ...string) (store.Question, error) {
	scope, err := c.usageScope()
	if err != nil {
		return store.Question{}, err
	}
	q, err := store.ReadQuestion(c.r.URL.Query(), scope, c.Now(), also...)
	return q, c.beyond(err)
}

// beyond notes in the audit log who asked for what is not his.
func (c *call) beyond(err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Status == http.StatusNotFound {
		c.deny(e.Status, e.Code)
	}
	return err
}

// showUsage answers what was used, by whatever it is grouped by.
func showUsage(c *call) error {
	scope, err := c.usageScope()
	if err != nil {
		return err
	}
	body, kind, err := c.Usage.Show(c.r.Context(), c.r.URL.Query(), scope, c.Now())
	if err != nil {
		return c.beyond(err)
	}
	c.w.Header().Set("Content-Type", kind)
	c.w.Header().Set("Cache-Control", "no-store")
	_, _ = c.w.Write(body) // the client has gone; nobody to tell
	return nil
}

// usageGroup names the group of a row that has one or none.
func usageGroup(by []string, value string) view {
	if len(by) == 0 {
		return view{}
	}
	return view{by[0]: value}
}

// forecastUsage tells what the month will have cost, beside what budgets there are.
func forecastUsage(c *call) error {
	q, err := c.usageQuestion()
	if err != nil {
		return err
	}
	found, err := c.Usage.Forecast(c.r.Context(), q)
	if err != nil {
		return err
	}
	rows := []view{}
	for _, f := range found {
		v := view{"object": "usage.forecast", "group": usageGroup(q.By, f.Group), "month": f.Month, "since": stamp(f.Since), "ends_at": stamp(f.Ends),
			"spent_usd": dollars(int64(f.Spent)), "expected_usd": dollars(int64(f.Expected)), "low_usd": dollars(int64(f.Low)), "high_usd": dollars(int64(f.High)),
			"method": f.Method, "days": f.Days}
		if v["budgets"], err = c.budgets(&q, f.Group); err != nil {
			return err
		}
		rows = append(rows, v)
	}
	write(c.w, http.StatusOK, listOf(rows, len(rows), func(view) string { return "" }))
	return nil
}

// budgets are what limits the spending of a row's tenant, team or key, if the row is about one and the caller may see limits.
func (c *call) budgets(q *store.Question, group string) ([]view, error) {
	name := map[string]string{}
	for part, values := range q.Where {
		if len(values) == 1 {
			name[part] = values[0]
		}
	}
	if len(q.By) > 0 {
		name[q.By[0]] = group
	}
	rows := []view{}
	if tenant := name["tenant"]; tenant == "" || !c.who.mayIn(tenant, policy.AdminQuota) {
		return rows, nil
	}
	standings, err := c.Limits(c.r.Context(), name["tenant"])
	if err != nil {
		return nil, err
	}
	for i := range standings {
		if at := &standings[i]; at.Unit == policy.Spend.String() && at.Team == name["team"] && at.Key == name["key"] {
			rows = append(rows, at.view())
		}
	}
	return rows, nil
}

// findAnomalies tells of days or hours that cost far more, or less, than they used to.
func findAnomalies(c *call) error {
	q, err := c.usageQuestion("unit")
	if err != nil {
		return err
	}
	unit := c.r.URL.Query().Get("unit")
	if unit == "" {
		unit = "day"
	}
	found, err := c.Usage.Anomalies(c.r.Context(), q, unit)
	if err != nil {
		return err
	}
	rows := []view{}
	for _, a := range found {
		rows = append(rows, view{"object": "usage.anomaly", "group": usageGroup(q.By, a.Group), "unit": unit, "begin": a.Begin.Format(time.RFC3339),
			"cost_usd": dollars(int64(a.Cost)), "usual_usd": dollars(int64(a.Usual)), "spread_usd": dollars(int64(a.Spread)), "times": a.Times,
			"requests": a.Calls, "compared_with": a.Past})
	}
	write(c.w, http.StatusOK, listOf(rows, len(rows), func(view) string { return "" }))
	return nil
}

// listRequests lists single requests, the newest first.
func listRequests(c *call) error {
	q, err := c.usageQuestion("id", "uid", "after")
	if err != nil {
		return err
	}
	most, after, err := paging(c.r)
	if err != nil {
		return err
	}
	q.Limit = most
	query := c.r.URL.Query()
	found, more, err := c.Usage.Requests(c.r.Context(), store.Listing{Question: q, ID: query.Get("id"), UID: query.Get("uid"), After: after})
	if err != nil {
		return err
	}
	p := page{Object: "list", Data: []any{}, More: more}
	for i := range found {
		if !c.who.super() {
			conceal(&found[i])
		}
		if p.LastID = found[i].Cursor(); i == 0 {
			p.FirstID = p.LastID
		}
		p.Data = append(p.Data, requestView(&found[i]))
	}
	write(c.w, http.StatusOK, p)
	return nil
}

// conceal takes out how the gateway is built.
func conceal(r *store.Request) {
	r.Replica = ""
	for i := range r.Attempts {
		r.Attempts[i].Replica = ""
	}
}

// requestView is a request without what is empty.
func requestView(r *store.Request) view {
	v := view{"object": "usage.request", "uid": r.UID.String(), "time": r.Time.Format(time.RFC3339Nano), "request_id": r.ID, "stream": r.Stream,
		"prompt_tokens": r.Usage.Prompt, "completion_tokens": r.Usage.Completion, "cached_tokens": r.Usage.CachedPrompt,
		"cache_write_tokens": r.Usage.CacheWrite, "reasoning_tokens": r.Usage.Reasoning, "estimated": r.Usage.Estimated,
		"cost_usd": dollars(int64(r.Cost)), "saved_usd": dollars(int64(r.Saved)), "status": r.Status, "outcome": r.Outcome, "interrupted": r.Interrupted,
		"total_ms": inMillis(r.Total), "tags": list(r.Tags)}
	for name, text := range map[string]string{"tenant": r.Tenant, "team": r.Team, "key": r.Key, "user": r.User, "scene": r.Scene, "endpoint": r.Endpoint,
		"asked": r.Asked, "model": r.Model, "provider": r.Provider, "served": r.Served, "replica": r.Replica, "region": r.Region, "route": r.Route,
		"rollout": r.Rollout, "arm": r.Arm, "cache": r.Cache, "prompt": r.Prompt, "corpus": r.Corpus, "flow": r.Flow, "price": r.Price, "code": r.Code,
		"finish": r.Finish} {
		if text != "" {
			v[name] = text
		}
	}
	for name, d := range map[string]time.Duration{"queued_ms": r.Queued, "first_token_ms": r.First, "upstream_ms": r.Upstream, "overhead_ms": r.Overhead} {
		if d > 0 {
			v[name] = inMillis(d)
		}
	}
	if r.Rated {
		v["score"] = r.Score
	}
	attempts := []view{}
	for _, a := range r.Attempts {
		at := view{"kind": a.Kind, "model": a.Entry, "provider": a.Provider, "served": a.Model, "result": a.Result, "begun_ms": inMillis(a.Begun), "first_token_ms": inMillis(a.First),
			"prompt_tokens": a.Usage.Prompt, "completion_tokens": a.Usage.Completion, "cost_usd": dollars(int64(a.Cost))}
		for name, text := range map[string]string{"replica": a.Replica, "region": a.Region} {
			if text != "" {
				at[name] = text
			}
		}
		attempts = append(attempts, at)
	}
	v["attempts"] = attempts
	return v
}

func inMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
