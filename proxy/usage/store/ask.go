package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Bounds of a question: what lies beyond them would hold the store up for everyone.
const (
	askTime      = 30 * time.Second
	askSpan      = 10 * 366 * 24 * time.Hour
	defaultSpan  = 24 * time.Hour
	defaultRows  = 100
	largestRows  = 10_000
	largestBy    = 4
	largestWhere = 1000 // values in all
	mostAsks     = 4    // at a time
)

// Question asks what was used. The zero value of a field says: all of it, in the usual way.
type Question struct {
	By           []string            // names of Groups; none: one row for everything
	Since, Until time.Time           // from, and before; zero: the last 24 hours
	Where        map[string][]string // name of a group that is no time -> any of these values
	Order        string              // a measure, or one of By; "": by time, else the dearest first
	Desc         bool                // the largest first, where Order says by what
	Limit        int                 // rows; 0: 100
	Zone         *time.Location      // where days begin; nil: UTC

	oldest time.Time // what is older is not for who asks
	id     string    // only requests of this id are listed; "": all

	records []string // numbers of those that may have it; nil: not known
}

// askColumns are the columns that a question may name. Names come from here alone, never from whoever asks.
var askColumns = map[string]string{
	"tenant": "r.tenant", "team": "r.team", "key": "r.key", "user": "r.user", "scene": "r.scene", "tag": "", "model": "r.model", "asked": "r.asked",
	"provider": "r.provider", "served": "r.served", "replica": "r.replica", "region": "r.region", "endpoint": "r.endpoint", "outcome": "r.outcome",
	"code": "r.code", "cache": "r.cache", "prompt": "r.prompt", "corpus": "r.corpus", "flow": "r.flow", "rollout": "r.rollout", "arm": "r.arm",
}

// tagGroup is the one group that a request may be in more than once.
const tagGroup = "tag"

// Groups lists what a question may be grouped by: columns, then times.
func Groups() []string { return append(slices.Sorted(maps.Keys(askColumns)), askUnits...) }

// Answer is what was used.
type Answer struct {
	By           []string
	Since, Until time.Time
	Rows         []Row
	Total        Sums // of all that was asked for, also of rows beyond the limit
	More         bool // there are more rows than the limit
}

// Row is one group. The group of a tag counts every request that has it.
type Row struct {
	Group []string  // values of By; days as 2026-01-31, months as 2026-01, hours and minutes as RFC 3339
	Start time.Time // of the minute, hour, day, week or month; zero: not by time
	Sums
}

// Ask answers a question. An error that a client may know is a *wire.Error.
func (s *Store) Ask(ctx context.Context, q Question) (*Answer, error) {
	return s.asker().ask(ctx, q)
}

func (a *asker) ask(ctx context.Context, q Question) (*Answer, error) {
	if err := q.check(time.Now()); err != nil {
		return nil, err
	}
	ctx, done, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	answer := &Answer{By: q.By, Since: q.Since, Until: q.Until}
	total, rows, err := a.answer(ctx, &q)
	if err != nil {
		return nil, err
	}
	answer.Total, answer.Rows = total, rows
	if answer.More = len(answer.Rows) > q.Limit; answer.More {
		answer.Rows = answer.Rows[:q.Limit]
	}
	return answer, nil
}

// answer is what everything comes to, and the rows.
func (a *asker) answer(ctx context.Context, q *Question) (total Sums, rows []Row, err error) {
	if a.lite != nil {
		t, err := a.lite.tally(ctx, q, measures)
		if err != nil {
			return total, nil, askFailure(err)
		}
		rows = t.rows()
		return t.total.row(&Question{}).Sums, rows, nil
	}
	all := *q
	all.By = nil
	one, err := a.rows(ctx, &all, measures)
	if err != nil {
		return total, nil, err
	}
	if len(q.By) == 0 {
		return one[0].Sums, one, nil
	}
	rows, err = a.rows(ctx, q, measures)
	return one[0].Sums, rows, err
}

// begin waits for a turn: few ask at a time, so that there is always a connection for what is to be stored.
func (a *asker) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	select {
	case a.turns <- struct{}{}:
		return ctx, func() { <-a.turns; cancel() }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, askFailure(ctx.Err())
	}
}

// rows asks for all rows, and one more than the limit.
func (a *asker) rows(ctx context.Context, q *Question, show []measure) ([]Row, error) {
	if a.lite != nil {
		t, err := a.lite.tally(ctx, q, show)
		if err != nil {
			return nil, askFailure(err)
		}
		return t.rows(), nil
	}
	statement, args := a.statement(q, show)
	found, err := a.query(ctx, statement, args)
	if err != nil {
		return nil, askFailure(err)
	}
	defer found.Close()
	list := []Row{}
	for found.Next() {
		row, err := q.scan(found, show)
		if err != nil {
			return nil, askFailure(err)
		}
		list = append(list, row)
	}
	return list, askFailure(found.Err())
}

// scan reads a row as statement has its columns.
func (q *Question) scan(found askRows, show []measure) (row Row, err error) {
	row.Group = make([]string, len(q.By))
	var tick int64
	var into []any
	timed := -1
	for i, name := range q.By {
		if slices.Contains(askUnits, name) {
			timed = i
			into = append(into, &tick)
		} else {
			into = append(into, &row.Group[i])
		}
	}
	for _, m := range show {
		if m.field != nil {
			into = append(into, m.field(&row.Sums))
		}
	}
	if err := found.Scan(into...); err != nil {
		return row, err
	}
	if timed >= 0 {
		row.Group[timed], row.Start = nameTick(q.By[timed], tick, q.Zone)
	}
	return row, nil
}

// askFailure says no more than that the store does not answer; the log has the cause.
func askFailure(err error) error {
	var told *wire.Error
	if err == nil || errors.As(err, &told) {
		return err
	}
	return wire.Server(503, "usage_unavailable", "The usage store does not answer. Please try again, or ask for less.", err)
}

// check completes the question, or says what is wrong with it.
func (q *Question) check(now time.Time) error {
	if err := q.checkSpan(now); err != nil {
		return err
	}
	if err := q.checkBy(); err != nil {
		return err
	}
	if err := q.checkWhere(); err != nil {
		return err
	}
	if q.Limit == 0 {
		q.Limit = defaultRows
	}
	if q.Limit < 1 || q.Limit > largestRows {
		return wire.Invalid("limit", "limit: expected a whole number from 1 to %d.", largestRows)
	}
	_, known := measureOf(q.Order)
	if q.Order != "" && !known && !slices.Contains(q.By, q.Order) {
		return wire.Invalid("order", "order: %q is neither in by nor one of %s.", shorten(q.Order), strings.Join(measureNames(), ", "))
	}
	return nil
}

func (q *Question) checkSpan(now time.Time) error {
	if q.Zone == nil {
		q.Zone = time.UTC
	}
	if q.Until.IsZero() {
		q.Until = now
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-defaultSpan)
	}
	q.Since = later(q.Since, q.oldest)
	q.Until = later(q.Until, q.oldest)
	q.Since, q.Until = q.Since.UTC().Truncate(time.Microsecond), q.Until.UTC().Truncate(time.Microsecond)
	switch {
	case q.Since.Year() < 1971 || q.Until.Year() > 2100:
		return wire.Invalid("since", "since, until: expected times between 1971 and 2100.")
	case q.Since.After(q.Until):
		return wire.Invalid("until", "until: it is before since.")
	case q.Until.Sub(q.Since) > askSpan:
		return wire.Invalid("since", "since: at most ten years can be asked for at once.")
	}
	return nil
}

func (q *Question) checkBy() error {
	times := 0
	for i, name := range q.By {
		_, column := askColumns[name]
		unit := slices.Contains(askUnits, name)
		switch {
		case !column && !unit:
			return wire.Invalid("by", "by: unknown group %q (choices: %s).", shorten(name), strings.Join(Groups(), ", "))
		case slices.Contains(q.By[:i], name):
			return wire.Invalid("by", "by: %s stands there twice.", name)
		case unit:
			times++
		}
	}
	if times > 1 || len(q.By) > largestBy {
		return wire.Invalid("by", "by: expected at most %d groups, of which one is a time.", largestBy)
	}
	return nil
}

func (q *Question) checkWhere() error {
	values := 0
	for name, list := range q.Where {
		if _, known := askColumns[name]; !known {
			return wire.Invalid("where."+shorten(name), "where.%s: unknown name (choices: %s).", shorten(name), strings.Join(slices.Sorted(maps.Keys(askColumns)), ", "))
		}
		if values += len(list); values > largestWhere {
			return wire.Invalid("where", "where: at most %d values.", largestWhere)
		}
	}
	return nil
}

// shorten keeps what somebody sent from filling a message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
