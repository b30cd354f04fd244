package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what the values of a column are, and which field of Value holds them.
type Kind int

const (
	Text     Kind = iota // Value.Text
	Name                 // Value.Text: one of few, that repeat
	List                 // Value.Text: names, as a JSON array
	Number               // Value.Number
	Truth                // Value.Number: 0 or 1
	Instant              // Value.Number: microseconds since 1970
	Fraction             // Value.Fraction
)

// Column is a column as Rows reads it.
type Column struct {
	Name string
	Kind Kind
}

// Value is one value of a row. Its column's kind says which field counts.
type Value struct {
	Text     string
	Number   int64
	Fraction float64
}

// Exports are the tables that Rows reads. Rollups are sums of requests by the hour, without the quantiles.
func Exports() []string { return []string{"requests", "attempts", "feedback", "rollups", "contents"} }

// Columns are those of a table, in their order.
func Columns(table string) []Column {
	switch table {
	case "requests":
		return kinds(requestsTable().columns)
	case "attempts":
		return kinds(attemptsTable().columns)
	case "feedback":
		return kinds(feedbackTable().columns)
	case "contents":
		return kinds(contentsTable().columns)
	case "rollups":
		return rollupColumns()
	}
	return nil
}

func kinds[R any](columns []column[R]) []Column {
	list := make([]Column, len(columns))
	for i, c := range columns {
		list[i] = Column{c.name, kindOf[c.house]}
	}
	return list
}

var kindOf = map[string]Kind{
	uid: Text, instant: Instant, text: Text, prose: Text, word: Name, words: List, flag: Truth, small: Number, number: Number, fraction: Fraction,
}

// rollupNames are what rollups are grouped by.
var rollupNames = []string{"tenant", "team", "model", "provider", "served", "scene", "outcome", "cache"}

// rollupSums are what rollups add up, but for how many requests there are.
func rollupSums() (list []string) {
	list = []string{"attempts"}
	for _, c := range tokenColumns[*int](nil) {
		if kindOf[c.house] == Number {
			list = append(list, c.name)
		}
	}
	return append(list, "cost_nano", "saved_nano", "estimated", "gone", "interrupted")
}

func rollupColumns() []Column {
	list := []Column{{"time", Instant}}
	for _, name := range rollupNames {
		list = append(list, Column{name, Name})
	}
	list = append(list, Column{"requests", Number})
	for _, name := range rollupSums() {
		list = append(list, Column{name, Number})
	}
	return list
}

// Oldest is when the first row of a table is of, and whether there is any.
func (s *Store) Oldest(ctx context.Context, table string) (at time.Time, found bool, err error) {
	var us sql.NullInt64
	query := "SELECT min(time) FROM " + oldestOf(table)
	if s.clickhouse { // whose smallest time of no rows is that of 1970
		first := "min(time)"
		if table == "attempts" {
			first = "min(time - toIntervalMicrosecond(begun_us))"
		}
		query = "SELECT if(count() = 0, NULL, " + s.shown(Column{first, Instant}) + ") FROM " + s.source(table)
	}
	err = s.db.QueryRowContext(ctx, query).Scan(&us)
	return time.UnixMicro(us.Int64).UTC(), us.Valid, s.named(err)
}

// Count is how many rows of a table are of a span of time. Attempts are of the time of their request.
func (s *Store) Count(ctx context.Context, table string, from, to time.Time) (n int64, err error) {
	query := "SELECT count(*) FROM " + s.source(table) + " WHERE " + s.span(table, from, to)
	if table == "rollups" {
		query = "SELECT count(*) FROM (" + s.rollups(from, to) + ") AS hours"
	}
	return n, s.named(s.db.QueryRowContext(ctx, query).Scan(&n))
}

// Holds tells whether a table has a row with a uid in a span of time.
func (s *Store) Holds(ctx context.Context, table, uid string, from, to time.Time) (bool, error) {
	var n int64
	query := "SELECT count(*) FROM " + s.source(table) + " WHERE " + s.span(table, from, to) + " AND " + s.shown(Column{"uid", Text}) + " = " + literal(uid)
	return n > 0, s.named(s.db.QueryRowContext(ctx, query).Scan(&n))
}

// Rows calls each with the rows of a table and a span of time, of which it has one at a time. They come in an order that is
// always the same, from either database.
func (s *Store) Rows(ctx context.Context, table string, from, to time.Time, each func(row []Value) error) error {
	columns := Columns(table)
	query := s.rows(table, columns, from, to)
	found, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return s.named(err)
	}
	defer found.Close()
	row, into := make([]Value, len(columns)), make([]any, len(columns))
	for i, c := range columns {
		switch c.Kind {
		case Text, Name, List:
			into[i] = &row[i].Text
		case Fraction:
			into[i] = &row[i].Fraction
		default:
			into[i] = &row[i].Number
		}
	}
	for found.Next() {
		if err := found.Scan(into...); err != nil {
			return s.named(err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return s.named(found.Err())
}

func (s *Store) rows(table string, columns []Column, from, to time.Time) string {
	if table == "rollups" {
		order := "time, " + strings.Join(rollupNames, ", ")
		return "SELECT " + s.list(columns) + " FROM (" + s.rollups(from, to) + ") AS hours ORDER BY " + order
	}
	order := "time, " + s.shown(Column{"uid", Text})
	if table == "attempts" {
		order += ", seq"
	}
	return "SELECT " + s.list(columns) + " FROM " + s.source(table) + " WHERE " + s.span(table, from, to) + " ORDER BY " + order
}

func (s *Store) list(columns []Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = s.shown(Column{quoted(c.Name), c.Kind})
	}
	return strings.Join(list, ", ")
}

// rollups sums hours up: in ClickHouse from the rollup, which outlives the requests.
func (s *Store) rollups(from, to time.Time) string {
	hour, table, count := "time - time % 3600000000", "requests", "count(*)"
	if s.clickhouse {
		hour, table, count = "time", s.from("requests_hour"), "sum(requests)"
	}
	group := strings.Join(rollupNames, ", ")
	var sums strings.Builder
	for _, name := range rollupSums() {
		fmt.Fprintf(&sums, ", sum(r.%s) AS %[1]s", name)
	}
	return "SELECT r." + hour + " AS time, " + group + ", " + count + " AS requests" + sums.String() + " FROM " + table + " AS r WHERE " +
		s.within("r.time", from, to) + " GROUP BY r." + hour + ", " + group
}

// source is a table as it is read.
func (s *Store) source(table string) string {
	if table == "rollups" {
		if !s.clickhouse {
			return "requests"
		}
		table = "requests_hour"
	}
	if s.clickhouse && table == "feedback" {
		return s.from(table) + " FINAL"
	}
	return s.from(table)
}

// shown has ClickHouse say a value as SQLite keeps it.
func (s *Store) shown(c Column) string {
	if !s.clickhouse {
		return c.Name
	}
	switch {
	case strings.Trim(c.Name, `"`) == "uid", strings.Trim(c.Name, `"`) == "of":
		return "toString(" + c.Name + ")"
	case c.Kind == Instant:
		return "toUnixTimestamp64Micro(toDateTime64(" + c.Name + ", 6, 'UTC'))"
	case c.Kind == List:
		return "toJSONString(" + c.Name + ")"
	case c.Kind == Number, c.Kind == Truth:
		return "toInt64(" + c.Name + ")"
	}
	return c.Name
}

// span is the rows of a span of time. An attempt comes askAfter its request at most.
func (s *Store) span(table string, from, to time.Time) string {
	switch {
	case table != "attempts":
		return s.within("time", from, to)
	case s.clickhouse:
		return s.within("time", from, to.Add(askAfter)) + " AND " + s.within("time - toIntervalMicrosecond(begun_us)", from, to)
	}
	return s.within("time", from, to.Add(askAfter)) + " AND " + s.within("arrived", from, to)
}

func (s *Store) within(column string, from, to time.Time) string {
	first, end := fmt.Sprint(from.UnixMicro()), fmt.Sprint(to.UnixMicro())
	if s.clickhouse {
		first, end = "fromUnixTimestamp64Micro("+first+", 'UTC')", "fromUnixTimestamp64Micro("+end+", 'UTC')"
	}
	return column + " >= " + first + " AND " + column + " < " + end
}

// ErrChanged is the error of Delete when the rows are not those that were counted.
var ErrChanged = errors.New("there are other rows now")

// Delete deletes the rows of tables and a span of time: none if any table has another number of them than is expected. Requests
// and attempts go together. SQLite deletes all or nothing; other processes that write wait for it. ClickHouse deletes from one
// table after the other, and a row of that time that comes within the moment after they were counted goes too: ask for what is
// long past.
func (s *Store) Delete(ctx context.Context, from, to time.Time, expected map[string]int64) error {
	_, requests := expected["requests"]
	if _, attempts := expected["attempts"]; attempts != requests {
		return errors.New("requests and attempts can only be deleted together")
	}
	pieces := []removal{}
	for _, t := range (Keep{}).tables() { // requests last: one that can be seen has its attempts
		if n, ok := expected[t.name]; ok {
			pieces = append(pieces, removal{t.name, s.source(t.name), s.span(t.name, from, to), n})
		}
	}
	return s.named(s.remove(ctx, pieces))
}

// removal is what is deleted from a table.
type removal struct {
	table, source, which string
	rows                 int64
}

// check counts the rows.
func (r *removal) check(count *sql.Row) error {
	var n int64
	if err := count.Scan(&n); err != nil {
		return err
	}
	if n != r.rows {
		return fmt.Errorf("%s: %w: %d, not %d", r.table, ErrChanged, n, r.rows)
	}
	return nil
}

func (r *removal) query() string { return "SELECT count(*) FROM " + r.source + " WHERE " + r.which }

func (e *sqliteEngine) remove(ctx context.Context, pieces []removal) error {
	err := e.transact(ctx, func(tx *sql.Tx) error {
		for _, r := range pieces {
			if err := r.check(tx.QueryRowContext(ctx, r.query())); err != nil {
				return err
			}
		}
		for _, r := range pieces {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+stored(r.table)+` WHERE `+r.which); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		_, err = e.db.ExecContext(ctx, `PRAGMA incremental_vacuum`)
	}
	return err
}

// oldestOf is where SQLite finds the oldest row, without reading all.
func oldestOf(table string) string {
	if table == "attempts" || table == "rollups" {
		table = "requests"
	}
	return stored(table)
}

// stored is the table that a view's rows are in; only attempts are in their requests' rows.
func stored(table string) string {
	switch table {
	case "requests":
		return "records"
	case "attempts":
		return "further_attempts"
	}
	return table
}

// remove marks the rows as deleted, which is done at once; merges take them out.
func (e *houseEngine) remove(ctx context.Context, pieces []removal) error {
	for _, r := range pieces {
		if err := r.check(e.questions.QueryRowContext(ctx, r.query())); err != nil {
			return err
		}
	}
	on := ""
	if e.cluster != "" {
		on = " ON CLUSTER " + quoted(e.cluster)
	}
	for _, r := range pieces {
		if err := e.Exec(ctx, `DELETE FROM `+r.table+on+` WHERE `+r.which); err != nil {
			return err
		}
	}
	return nil
}
