package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// line is an entry of the audit log as the API shows it.
type line struct {
	Object string `json:"object"`
	ID     string `json:"id"`
	state.Entry
}

func lineOf(e state.Entry) line {
	e.At = e.At.UTC()
	return line{"audit.entry", strconv.FormatInt(e.Seq, 10), e}
}

// listAudit shows the audit log, the oldest first: a page of it, or all of it as JSON lines.
func listAudit(c *call) error {
	filter, err := c.auditFilter()
	if err != nil {
		return err
	}
	format := c.r.URL.Query().Get("format")
	if format != "" && format != "jsonl" {
		return wire.Invalid("format", "format: unknown format %q (choices: jsonl).", format)
	}
	if format == "jsonl" || strings.Contains(c.r.Header.Get("Accept"), "application/x-ndjson") {
		return c.exportAudit(filter)
	}
	most := filter.Limit
	filter.Limit++ // to know whether there is more
	entries, err := c.Store.Audit(c.r.Context(), filter)
	if err != nil {
		return storeError(err)
	}
	lines := make([]line, len(entries))
	for i, e := range entries {
		lines[i] = lineOf(e)
	}
	write(c.w, http.StatusOK, listOf(lines, most, func(l line) string { return l.ID }))
	return nil
}

// auditFilter reads what is asked for. All but super admins see their own tenant's audit, or their team's part of it, and nothing
// of an earlier tenant that had its name.
func (c *call) auditFilter() (f state.Filter, err error) {
	q := c.r.URL.Query()
	f = state.Filter{Tenant: q.Get("tenant"), Actor: q.Get("actor"), Action: q.Get("action"), Kind: state.Kind(q.Get("kind"))}
	if !c.who.super() {
		if f.Tenant != "" && f.Tenant != c.who.tenant() {
			c.deny(http.StatusNotFound, "not_found")
			return f, notFound("tenant", f.Tenant)
		}
		f.Tenant = c.who.tenant()
	}
	switch f.Kind {
	case "", state.Operation, state.Denial, state.ConfigChange, state.Security:
	default:
		return f, wire.Invalid("kind", "kind: unknown kind %q (choices: operation, denial, config, security).", f.Kind)
	}
	for _, bound := range []struct {
		name string
		at   *time.Time
	}{{"since", &f.Since}, {"until", &f.Until}} {
		if *bound.at, err = moment(q.Get(bound.name)); err != nil {
			return f, wire.Invalid(bound.name, "%s: %q is neither a date (2027-01-01) nor an RFC 3339 time.", bound.name, q.Get(bound.name))
		}
	}
	if !c.who.super() {
		if err := c.confine(&f); err != nil {
			return f, err
		}
	}
	var after string
	if f.Limit, after, err = paging(c.r); err != nil || after == "" {
		return f, err
	}
	if f.After, err = strconv.ParseInt(after, 10, 64); err != nil || f.After < 0 {
		return f, wire.Invalid("after", "after: expected the id of an entry, a whole number.")
	}
	return f, nil
}

// confine leaves of a tenant's audit what its admin may see: nothing of before it was made, which of one in the configuration
// nobody knows; and of his team, where he has one, what its keys did and what was done to them.
func (c *call) confine(f *state.Filter) error {
	d, err := c.directory()
	if err != nil {
		return err
	}
	stored, _, err := c.tenant(&d, f.Tenant)
	if err != nil {
		return err
	}
	if stored != nil && f.Since.Before(stored.Created) {
		f.Since = stored.Created
	}
	if c.who.team() == "" {
		return nil
	}
	f.Keys = []string{c.who.name}
	for _, k := range c.keys(&d, f.Tenant) { // also of revoked ones, as long as they are listed
		if k.Team == c.who.team() {
			f.Keys = append(f.Keys, f.Tenant+"/"+k.Name)
		}
	}
	return nil
}

// exportAudit writes every entry that is asked for, one a line.
func (c *call) exportAudit(f state.Filter) error {
	f.Limit = largestPage
	for began := false; ; began = true {
		entries, err := c.Store.Audit(c.r.Context(), f)
		switch {
		case err != nil && !began:
			return storeError(err)
		case err != nil:
			c.Log.Error("an export of the audit log was cut off", "request_id", c.w.Header().Get(requestID), "cause", err.Error())
			panic(http.ErrAbortHandler) // so that nobody takes a part for the whole
		case !began:
			c.w.Header().Set("Content-Type", "application/x-ndjson")
			c.w.Header().Set("Cache-Control", "no-store")
		}
		out := json.NewEncoder(c.w)
		out.SetEscapeHTML(false)
		for _, e := range entries {
			f.After = e.Seq
			if err := out.Encode(lineOf(e)); err != nil {
				panic(http.ErrAbortHandler) // the client has gone
			}
		}
		if len(entries) < f.Limit {
			return nil
		}
		if err := http.NewResponseController(c.w).Flush(); err != nil {
			panic(http.ErrAbortHandler) // as above
		}
	}
}
