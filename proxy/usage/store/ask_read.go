package store

import (
	"cmp"
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/proxy/wire"
)

// ReadQuestion reads a question from the parameters of a URL: by, since, until, where.NAME, order, desc, limit and timezone, and
// narrows it to what whoever asks may see. It refuses all other parameters but those of also, so that a slip of the pen is not an
// answer to something else.
func ReadQuestion(query url.Values, scope Scope, now time.Time, also ...string) (q Question, err error) {
	q.Where = map[string][]string{}
	for name, values := range query {
		if column, ok := strings.CutPrefix(name, "where."); ok {
			q.Where[column] = values
			continue
		}
		if err := checkParameter(name, values, also); err != nil {
			return q, err
		}
	}
	if by := query.Get("by"); by != "" {
		for name := range strings.SplitSeq(by, ",") {
			q.By = append(q.By, strings.TrimSpace(name))
		}
	}
	if q.Zone, err = readZone(cmp.Or(query.Get("timezone"), scope.Zone)); err != nil {
		return q, err
	}
	if q.Since, err = ReadTime("since", query.Get("since"), now.In(q.Zone)); err != nil {
		return q, err
	}
	if q.Until, err = ReadTime("until", query.Get("until"), now.In(q.Zone)); err != nil {
		return q, err
	}
	if q.Until.IsZero() {
		q.Until = now
	}
	if query.Has("limit") {
		if q.Limit, err = strconv.Atoi(query.Get("limit")); err != nil || q.Limit < 1 || q.Limit > largestRows {
			return q, wire.Invalid("limit", "limit: expected a whole number from 1 to %d.", largestRows)
		}
	}
	q.Order = query.Get("order")
	_, q.Desc = measureOf(q.Order) // the most first, names in their order
	switch desc := query.Get("desc"); desc {
	case "":
	case "true", "false":
		q.Desc = desc == "true"
	default:
		return q, wire.Invalid("desc", "desc: expected true or false.")
	}
	return q, q.confine(scope)
}

func checkParameter(name string, values, also []string) error {
	known := append([]string{"by", "since", "until", "order", "desc", "limit", "timezone"}, also...)
	for _, k := range known {
		if k != name {
			continue
		}
		if len(values) > 1 {
			return wire.Invalid(name, "%s: it stands there twice.", name)
		}
		return nil
	}
	return wire.Invalid(shorten(name), "%s: unknown parameter (choices: %s, where.NAME).", shorten(name), strings.Join(known, ", "))
}

func readZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, wire.Invalid("timezone", "timezone: unknown time zone %q (expected one like Asia/Shanghai).", shorten(name))
	}
	return zone, nil
}

// ReadTime reads 7d, 24h, today, month, a date or an RFC 3339 time. now is in the zone of days.
func ReadTime(param, text string, now time.Time) (time.Time, error) {
	y, m, d := now.Date()
	switch text {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	case "today":
		return time.Date(y, m, d, 0, 0, 0, 0, now.Location()), nil
	case "month":
		return time.Date(y, m, 1, 0, 0, 0, 0, now.Location()), nil
	}
	if days, err := strconv.Atoi(strings.TrimSuffix(text, "d")); err == nil && strings.HasSuffix(text, "d") && days >= 0 && days < 100_000 {
		return now.AddDate(0, 0, -days), nil
	}
	if length, err := time.ParseDuration(text); err == nil && length >= 0 {
		return now.Add(-length), nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return at, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, wire.Invalid(param, "%s: %q is no time (expected one like 7d, 24h, today, month, 2026-01-31 or 2026-01-31T08:00:00Z).", param, shorten(text))
}

// Scope is whose usage somebody may see. The zero value of a field: everyone's.
type Scope struct {
	Tenant, Team, Key string
	Since             time.Time // the tenant was made then; what is older was another's of its name
	Zone              string    // where its days begin
}

// inward are groups that tell how the gateway is built, not what a tenant did.
var inward = []string{"replica"}

// confine narrows a question to a scope. What lies beyond it is refused like what does not exist.
func (q *Question) confine(s Scope) error {
	if s == (Scope{}) {
		return nil
	}
	for _, part := range []struct{ name, own string }{{"tenant", s.Tenant}, {"team", s.Team}, {"key", s.Key}} {
		if part.own == "" {
			continue
		}
		for _, value := range q.Where[part.name] {
			if value != part.own {
				return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found", Message: "There is no " + part.name + " " + strconv.Quote(shorten(value)) + "."}
			}
		}
		q.Where[part.name] = []string{part.own}
	}
	for _, name := range inward {
		for _, by := range q.By {
			if by == name {
				return hidden("by", name)
			}
		}
		if len(q.Where[name]) > 0 {
			return hidden("where."+name, name)
		}
	}
	q.oldest = s.Since
	return nil
}

func hidden(param, name string) error {
	return &wire.Error{Status: 403, Type: wire.TypePermission, Code: "permission_denied", Param: param, Message: param + ": only a super admin may ask for a " + name + "."}
}

// Show answers the question of a URL, and says what the answer's media type is. Whoever asks may see scope.
func (s *Store) Show(ctx context.Context, query url.Values, scope Scope, now time.Time) (body []byte, kind string, err error) {
	q, err := ReadQuestion(query, scope, now, "format")
	if err != nil {
		return nil, "", err
	}
	format := query.Get("format")
	if format != "" && format != "json" && format != "csv" {
		return nil, "", wire.Invalid("format", "format: unknown format %q (choices: json, csv).", shorten(format))
	}
	answer, err := s.Ask(ctx, q)
	switch {
	case err != nil:
		return nil, "", err
	case format == "csv":
		return answer.CSV(), "text/csv", nil
	}
	return answer.AppendJSON(nil), "application/json", nil
}
