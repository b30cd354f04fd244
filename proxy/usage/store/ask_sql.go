package store

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// asker answers questions. Both databases are asked for single requests with the same statements but for the few words in tongue.
type asker struct {
	tongue
	lite  *sqliteEngine // adds up by itself; nil: the database does
	turns chan struct{} // those who ask just now
	query func(ctx context.Context, statement string, args []any) (askRows, error)
}

// askRows is sql.Rows.
type askRows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
	Close() error
}

// tongue is what a database has its own words for.
type tongue struct {
	from   func(table string) string // a table that is read
	ticks  string                    // microseconds since 1970 of a time %s
	moment string                    // a parameter, microseconds since 1970, as such a column has it
	text   string                    // of a uid %s
	whole  string                    // a number %s as int64
	oneTag string                    // that r has one of the tags %s
	listed string                    // the tags of r as JSON
	last   string                    // ends a statement
}

// sqliteTongue keeps times as integers and lists as JSON.
var sqliteTongue = tongue{
	ticks: "%s", moment: "?", text: "%s", whole: "CAST(coalesce(%s, 0) AS INTEGER)",
	oneTag: "EXISTS (SELECT 1 FROM json_each(r.tags) AS own WHERE own.value IN (%s))",
	listed: "r.tags",
}

var clickhouseTongue = tongue{
	ticks: "toUnixTimestamp64Micro(%s)", moment: "fromUnixTimestamp64Micro(toInt64(?), 'UTC')", text: "toString(%s)", whole: "toInt64(%s)",
	oneTag: "hasAny(r.tags, [%s])",
	listed: "toJSONString(r.tags)",
	last:   fmt.Sprintf(" SETTINGS join_use_nulls = 0, prefer_global_in_and_join = 1, max_execution_time = %d", askTime/time.Second),
}

// asker is how the store answers questions.
func (s *Store) asker() *asker {
	a := &asker{tongue: clickhouseTongue, turns: s.asks}
	if lite, ok := s.engine.(*sqliteEngine); ok {
		a.tongue, a.lite = sqliteTongue, lite
	}
	a.from = s.from
	a.query = func(ctx context.Context, statement string, args []any) (askRows, error) {
		rows, err := s.db.QueryContext(ctx, statement, args...)
		return rowsOf{rows}, s.named(err)
	}
	return a
}

// rowsOf is sql.Rows, which are nil after a failure.
type rowsOf struct{ *sql.Rows }

// phrase is a statement in the making, with its parameters in their order.
type phrase struct {
	strings.Builder
	args []any
}

func (p *phrase) add(format string, values ...any) { fmt.Fprintf(p, format, values...) }

// marks writes a parameter for each value.
func (p *phrase) marks(values []string) string {
	for _, v := range values {
		p.args = append(p.args, v)
	}
	return strings.TrimPrefix(strings.Repeat(", ?", len(values)), ", ")
}

// read is a table under a name.
func (a *asker) read(table, as string) string {
	return a.from(table) + " AS " + as
}

// statement makes the one statement with which ClickHouse answers a question: `picked` has a row for each request (of tags: for each of its tags)
// with its groups as g0, g1, ..., and the rest sums them up.
func (a *asker) statement(q *Question, show []measure) (string, []any) {
	needs := part(0)
	for _, m := range show {
		needs |= m.needs
	}
	ordered, _ := measureOf(q.Order)
	needs |= ordered.needs
	p := &phrase{}
	p.add("WITH picked AS (")
	a.pick(p, q, needs)
	p.add(")")
	p.add(" SELECT ")
	for i := range q.By {
		p.add("g%d, ", i)
	}
	columns := []string{}
	for _, m := range show {
		if m.field != nil {
			columns = append(columns, a.sum(&m))
		}
	}
	p.add("%s FROM picked", strings.Join(columns, ", "))
	if len(q.By) > 0 {
		p.add(" GROUP BY %s", groupNames(len(q.By)))
		a.order(p, q)
		p.add(" LIMIT %d", q.Limit+1)
	}
	p.add("%s", a.last)
	return p.String(), p.args
}

// failures are the outcomes of what the gateway or a provider failed, as rules and dashboards have them; interrupted is known to
// records alone. What clients did wrong, and what limits refuse, is a good answer.
var failures = []string{"provider_error", "timeout", "internal_error", "unavailable", "interrupted"}

// pick writes the requests that are asked about, each with what is summed up.
func (a *asker) pick(p *phrase, q *Question, needs part) {
	p.add("SELECT ")
	a.groups(p, q)
	p.add("CASE WHEN r.outcome IN ('%s') THEN 1 ELSE 0 END AS wrong, CASE WHEN r.outcome = 'client_gone' THEN 1 ELSE 0 END AS gone, "+
		"CASE WHEN r.interrupted THEN 1 ELSE 0 END AS interrupted, CASE WHEN r.estimated THEN 1 ELSE 0 END AS estimated, "+
		"r.prompt_tokens AS prompt_tokens, r.completion_tokens AS completion_tokens, r.cached_tokens AS cached_tokens, "+
		"r.cache_write_tokens AS cache_write_tokens, r.reasoning_tokens AS reasoning_tokens, r.cost_nano AS cost_nano, r.saved_nano AS saved_nano, "+
		"CASE WHEN r.cache IN ('exact', 'semantic') THEN 1 ELSE 0 END AS hit, CASE WHEN r.cache = 'miss' THEN 1 ELSE 0 END AS missed, "+
		"r.total_us AS total_us, r.first_us AS first_us, CASE WHEN r.interrupted THEN 0 ELSE 1 END AS timed, "+
		"CASE WHEN r.stream AND r.first_us > 0 AND NOT r.interrupted THEN 1 ELSE 0 END AS streamed", strings.Join(failures, "', '"))
	if needs&attemptPart != 0 {
		p.add(", coalesce(a.fell, 0) AS fell, coalesce(a.retried, 0) AS retried")
	}
	if needs&feedbackPart != 0 {
		p.add(", coalesce(f.rated, 0) AS rated, coalesce(f.score, 0) AS score")
	}
	p.add(" FROM %s", a.read("requests", "r"))
	if needs&attemptPart != 0 {
		a.joinAttempts(p, q)
	}
	if needs&feedbackPart != 0 {
		a.joinFeedback(p, q)
	}
	a.where(p, q)
}

// groups are the first columns of requests.
func (a *asker) groups(p *phrase, q *Question) {
	for i, name := range q.By {
		p.add("%s AS g%d, ", a.group(name, q), i)
	}
}

// where ends what requests are asked about.
func (a *asker) where(p *phrase, q *Question) {
	if slices.Contains(q.By, tagGroup) {
		p.add(" LEFT ARRAY JOIN arrayDistinct(r.tags) AS tag")
	}
	p.add(" WHERE ")
	a.filter(p, q)
}

// group is the value of a group of a request.
func (a *asker) group(name string, q *Question) string {
	switch {
	case slices.Contains(askUnits, name):
		return fmt.Sprintf(a.whole, a.tick(name, q))
	case name == tagGroup:
		return "tag"
	}
	return askColumns[name]
}

// filter writes which requests are asked about.
func (a *asker) filter(p *phrase, q *Question) {
	a.between(p, "r.time", q.Since.UnixMicro(), q.Until.UnixMicro())
	for _, name := range slices.Sorted(maps.Keys(q.Where)) {
		values := q.Where[name]
		switch {
		case len(values) == 0:
		case name == tagGroup:
			p.add(" AND "+a.oneTag, p.marks(values))
		default:
			p.add(" AND %s IN (%s)", askColumns[name], p.marks(values))
		}
	}
}

func (a *asker) between(p *phrase, column string, since, until int64) {
	p.add("%[1]s >= %[2]s AND %[1]s < %[2]s", column, a.moment)
	p.args = append(p.args, since, until)
}

// grace is how long after a request's time something of it may still have its own.
const grace = int64(askAfter / time.Microsecond)

// joinAttempts finds the few requests that took more than one attempt. Of the kinds of attempts, a hedge is no failure, and a
// shadow nothing of the client's.
func (a *asker) joinAttempts(p *phrase, q *Question) {
	p.add(" LEFT JOIN (SELECT t.uid AS uid, CASE WHEN max(CASE WHEN t.kind = 'fallback' THEN 1 ELSE 0 END) = 1 OR min(t.provider) <> max(t.provider) THEN 1 ELSE 0 END AS fell, "+
		"sum(CASE WHEN t.kind = 'retry' THEN 1 ELSE 0 END) AS retried FROM %s WHERE t.kind IN ('first', 'retry', 'failover', 'fallback', 'continue') AND ", a.read("attempts", "t"))
	a.ofTenant(p, "t", q)
	p.add(" AND t.uid IN (SELECT n.uid FROM %s WHERE n.kind IN ('retry', 'failover', 'fallback', 'continue') AND ", a.read("attempts", "n"))
	a.ofTenant(p, "n", q)
	p.add(") GROUP BY t.uid) AS a ON a.uid = r.uid")
}

// ofTenant narrows what is joined to what can belong to a request that is asked about.
func (a *asker) ofTenant(p *phrase, table string, q *Question) {
	a.between(p, table+".time", q.Since.UnixMicro(), q.Until.UnixMicro()+grace)
	if tenants := q.Where["tenant"]; len(tenants) > 0 {
		p.add(" AND %s.tenant IN (%s)", table, p.marks(tenants))
	}
}

// joinFeedback finds the latest opinion of each request. One that names no record counts for the latest request of its tenant
// that had the id.
func (a *asker) joinFeedback(p *phrase, q *Question) {
	of, own := fmt.Sprintf(a.text, `o."of"`), fmt.Sprintf(a.text, "o.uid")
	named := fmt.Sprintf(a.text, "s.uid")
	p.add(" LEFT JOIN (SELECT uid, 1 AS rated, score FROM (SELECT known.uid AS uid, known.score AS score, "+
		"row_number() OVER (PARTITION BY known.uid ORDER BY known.at DESC, known.own DESC) AS latest FROM ("+
		"SELECT %[1]s AS uid, %[2]s AS own, %[3]s AS at, %[4]s AS score FROM %[5]s WHERE %[1]s <> '%[6]s' AND ",
		of, own, fmt.Sprintf(a.ticks, "o.time"), fmt.Sprintf(a.whole, millionths), a.read("feedback", "o"), noUID)
	a.opinions(p, q)
	p.add(" UNION ALL SELECT b.uid AS uid, %[1]s AS own, %[2]s AS at, %[3]s AS score FROM %[4]s JOIN ("+
		"SELECT uid, tenant, id FROM (SELECT %[5]s AS uid, s.tenant AS tenant, s.id AS id, "+
		"row_number() OVER (PARTITION BY s.tenant, s.id ORDER BY s.time DESC, %[5]s DESC) AS newest FROM %[6]s WHERE ",
		own, fmt.Sprintf(a.ticks, "o.time"), fmt.Sprintf(a.whole, millionths), a.read("feedback", "o"), named, a.requestsOf("s", q))
	a.ofTenant(p, "s", q)
	if a.lite != nil { // mostly there are none, and SQLite need not look for requests then
		p.add(" AND EXISTS (SELECT 1 FROM %s WHERE %s = '%s' AND ", a.read("feedback", "o"), of, noUID)
		a.opinions(p, q)
		p.add(")")
	}
	p.add(" AND s.id IN (SELECT o.request FROM %s WHERE %s = '%s' AND ", a.read("feedback", "o"), of, noUID)
	a.opinions(p, q)
	p.add(")) AS numbered WHERE newest = 1) AS b ON b.tenant = o.tenant AND b.id = o.request WHERE %s = '%s' AND ", of, noUID)
	a.opinions(p, q)
	p.add(") AS known) AS ordered WHERE latest = 1) AS f ON f.uid = %s", fmt.Sprintf(a.text, "r.uid"))
}

// requestsOf are requests under a name, narrowed to those that may have the id that is looked for.
func (a *asker) requestsOf(as string, q *Question) string {
	if q.records == nil {
		return a.read("requests", as)
	}
	return "(SELECT * FROM requests WHERE record IN (" + strings.Join(q.records, ", ") + ") LIMIT -1) AS " + as // the limit has SQLite find these first
}

// Scores are summed as whole millionths, as sums of fractions depend on their order.
const (
	millionths = "o.score * 1000000 + CASE WHEN o.score < 0 THEN -0.5 ELSE 0.5 END"
	noUID      = "00000000-0000-0000-0000-000000000000"
)

// opinions narrows feedback to what may be about requests that are asked about. It may have come at any time since.
func (a *asker) opinions(p *phrase, q *Question) {
	p.add("o.time >= %s", a.moment)
	p.args = append(p.args, q.Since.UnixMicro())
	if tenants := q.Where["tenant"]; len(tenants) > 0 {
		p.add(" AND o.tenant IN (%s)", p.marks(tenants))
	}
}

// sum is a measure of a group.
func (a *asker) sum(m *measure) string {
	if r := m.rank; r != nil { // its own quantiles go by other rules than the nearest rank
		return fmt.Sprintf("toInt64(if(sum(%[3]s) = 0, -1, arrayElement(arraySort(groupArrayIf(%[2]s, %[3]s = 1)), intDiv(toUInt64(sum(%[3]s)) * %[1]d + 99, 100))))",
			r.percent, r.column, r.among)
	}
	return fmt.Sprintf(a.whole, m.sql)
}

// order puts rows in the order that is asked for, and those that are equal by their names.
func (a *asker) order(p *phrase, q *Question) {
	by, way := a.usual(q), " DESC"
	if at := slices.Index(q.By, q.Order); at >= 0 {
		by = "g" + strconv.Itoa(at)
	} else if m, known := measureOf(q.Order); known {
		if by = m.order; by == "" {
			by = a.sum(&m)
		}
	}
	if q.Order != "" && !q.Desc {
		way = " ASC"
	}
	p.add(" ORDER BY %s%s, %s", by, way, groupNames(len(q.By)))
}

// usual is the order of rows when nobody says one: the dearest first, of each time.
func (a *asker) usual(q *Question) string {
	cost, _ := measureOf("cost_usd")
	by := a.sum(&cost)
	for i, name := range q.By {
		if slices.Contains(askUnits, name) {
			by = "g" + strconv.Itoa(i) + " ASC, " + by
		}
	}
	return by
}

func groupNames(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = "g" + strconv.Itoa(i)
	}
	return strings.Join(list, ", ")
}
