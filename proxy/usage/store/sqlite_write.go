package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/proxy/usage"
)

// This file writes batches into SQLite. A saturated gateway does that on the processors that its requests need, so it is made
// to cost little: what requests share is written once (callers, ways), an attempt that says nothing new is not written, and
// rows are bound by the driver itself.

// caller is who sent a request.
type caller struct{ tenant, team, key string }

// way is how a request was served, in the order of wayColumns.
type way struct {
	names   [19]string
	numbers [6]int64
}

var (
	callerColumns = []string{"tenant", "team", "key"}
	wayColumns    = []string{"endpoint", "model", "provider", "served", "replica", "region", "route", "rollout", "arm", "cache", "prompt", "corpus", "flow",
		"tier", "price", "outcome", "code", "finish", "attempt_result", "stream", "estimated", "status", "gone", "interrupted", "attempts"}
	recordColumns = []string{"time", "uid", "spot", "caller", "way", "id", "user", "scene", "tags", "asked", "prompt_tokens", "completion_tokens",
		"cached_tokens", "cache_write_tokens", "reasoning_tokens", "rare", "cost_nano", "saved_nano", "queued_us", "first_us", "upstream_us", "overhead_us",
		"total_us", "bytes_in", "bytes_out", "attempt_begun_us", "attempt_first_us"}
)

func (c caller) values() []any { return []any{c.tenant, c.team, c.key} }

func (w way) values() (list []any) {
	for _, name := range w.names {
		list = append(list, name)
	}
	for _, n := range w.numbers {
		list = append(list, n)
	}
	return list
}

// wayOf is how a request was served. only is its only attempt, if that has no numbers of its own.
func wayOf(r *usage.Record, only *usage.Attempt) (w way) {
	result := ""
	if only != nil {
		result = only.Result
	}
	w.names = [...]string{r.Endpoint, r.Model, r.Provider, r.Served, r.Replica, r.Region, r.Route, r.Rollout, r.Arm, r.Cache, r.Prompt, r.Corpus, r.Flow,
		tierName(r.Usage.Tier), r.Price, r.Outcome, r.Code, r.Finish, result}
	w.numbers = [...]int64{bit(r.Stream), bit(r.Usage.Estimated), int64(narrow(r.Status)), bit(r.Gone), bit(r.Interrupted), int64(narrow(len(r.Attempts)))}
	return w
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// onlyAttempt is the attempt of a request that had one and did what that did; else nil.
func onlyAttempt(r *usage.Record) *usage.Attempt {
	if len(r.Attempts) != 1 {
		return nil
	}
	a := &r.Attempts[0]
	same := a.Kind == "first" && a.Provider == r.Provider && a.Model == r.Served && a.Replica == r.Replica && a.Region == r.Region && a.Cost == r.Cost && a.Usage == r.Usage
	if !same || a.Begun < 0 || a.Begun >= askAfter || begunAt(r, a) != kept(r.Time)+a.Begun.Microseconds() {
		return nil
	}
	return a
}

// kept is a time as it is kept.
func kept(t time.Time) int64 { return keepable(t).UnixMicro() }

func begunAt(r *usage.Record, a *usage.Attempt) int64 { return kept(r.Time.Add(a.Begun)) }

// shared finds the numbers of what the requests of a batch share.
type shared[K comparable] struct {
	find   *sql.Stmt
	values func(K) []any
	seen   int64
	known  map[K]int64
}

// share prepares for a batch whose latest request is of seen.
func share[K comparable](ctx context.Context, tx *sql.Tx, one string, columns []string, values func(K) []any, seen int64) (*shared[K], error) {
	list := `"` + strings.Join(columns, `", "`) + `"`
	find, err := tx.PrepareContext(ctx, `INSERT INTO `+one+`s (`+list+`, seen) VALUES (`+strings.Repeat("?, ", len(columns))+`?)
		ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING `+one)
	return &shared[K]{find, values, seen, map[K]int64{}}, err
}

func (s *shared[K]) number(ctx context.Context, k K) (n int64, err error) {
	if n, ok := s.known[k]; ok {
		return n, nil
	}
	err = s.find.QueryRowContext(ctx, append(s.values(k), s.seen)...).Scan(&n)
	s.known[k] = n
	return n, err
}

// filed is a request with what it shares.
type filed struct {
	*usage.Record
	only        *usage.Attempt
	caller, way int64
}

// file finds what the requests share, and sorts them by time: rows that come in order are put in quickly.
func file(ctx context.Context, tx *sql.Tx, requests []*usage.Record) (list []filed, err error) {
	if len(requests) == 0 {
		return nil, nil
	}
	list = make([]filed, len(requests))
	for i, r := range requests {
		list[i] = filed{Record: r, only: onlyAttempt(r)}
	}
	slices.SortStableFunc(list, func(a, b filed) int { return a.Time.Compare(b.Time) })
	seen := kept(list[len(list)-1].Time)
	callers, err := share(ctx, tx, "caller", callerColumns, caller.values, seen)
	if err != nil {
		return nil, err
	}
	ways, err := share(ctx, tx, "way", wayColumns, way.values, seen)
	if err != nil {
		return nil, err
	}
	for i := range list {
		f := &list[i]
		if f.caller, err = callers.number(ctx, caller{f.Tenant, f.Team, f.Key}); err != nil {
			return nil, err
		}
		if f.way, err = ways.number(ctx, wayOf(f.Record, f.only)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// rare is JSON of what few requests have.
type rare struct {
	Similarity   float64 `json:"similarity,omitempty"`
	CacheWrite1h int64   `json:"cache_write_1h_tokens,omitempty"`
	Audio        int64   `json:"audio_tokens,omitempty"`
	AudioOut     int64   `json:"audio_out_tokens,omitempty"`
	ImageIn      int64   `json:"image_in_tokens,omitempty"`
	Images       int64   `json:"images,omitempty"`
	Millis       int64   `json:"audio_ms,omitempty"`
	Characters   int64   `json:"characters,omitempty"`
}

func rareOf(r *usage.Record) any {
	u := &r.Usage
	have := rare{finite(r.Similarity), u.CacheWrite1h, u.Audio, u.AudioOut, u.ImageIn, u.Images, u.Millis, u.Characters}
	if have == (rare{}) {
		return nil
	}
	text, _ := json.Marshal(have) // numbers always can be
	return string(text)
}

// spotSpan is the length in bits, 18 minutes, of the pieces of time that ids are looked up in one by one. An index of ids alone
// would be written to all over with every batch, as ids are random.
const spotSpan = 30

// spotOf is where the id of a request of a time is looked up.
func spotOf(us int64, id string) int64 {
	return us>>spotSpan<<32 | int64(crc32.ChecksumIEEE([]byte(id)))
}

// some is NULL for what most requests do not have: it costs less to write.
func some(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (f *filed) put(s *sheet) error {
	us, u := kept(f.Time), &f.Usage
	var tags, asked, begun, first any
	if len(f.Tags) > 0 {
		tags = liteValue(f.Tags)
	}
	if f.Asked != f.Model {
		asked = f.Asked
	}
	if f.only != nil {
		begun, first = f.only.Begun.Microseconds(), f.only.First.Microseconds()
	}
	return s.put(us, f.UID.String(), spotOf(us, f.ID), f.caller, f.way, f.ID, some(f.User), some(f.Scene), tags, asked, u.Prompt, u.Completion,
		u.CachedPrompt, u.CacheWrite, u.Reasoning, rareOf(f.Record), int64(f.Cost), int64(f.Saved), f.Queued.Microseconds(), f.First.Microseconds(),
		f.Upstream.Microseconds(), f.Overhead.Microseconds(), f.Total.Microseconds(), f.In, f.Out, begun, first)
}

// further are the columns of attempts that have rows of their own.
func further() table[attempt] {
	t := attemptsTable()
	t.name = "further_attempts"
	t.columns = append(t.columns, col("arrived", instant, func(a attempt) time.Time { return a.record.Time }))
	return t
}

func furtherOf(list []filed) (attempts []attempt) {
	for _, f := range list {
		if f.only != nil {
			continue
		}
		for i := range f.Attempts {
			attempts = append(attempts, attempt{f.Record, &f.Attempts[i], i + 1})
		}
	}
	return attempts
}

// sheet inserts rows into a table, many with one statement.
type sheet struct {
	ctx        context.Context
	conn       driver.ConnPrepareContext
	begin, end string // of the statement, around the rows
	width      int
	full       driver.Stmt
	values     []driver.NamedValue
}

// sheetRows is how many rows one statement inserts. More gain little, and a statement for as many must be made first.
const sheetRows = 16

func newSheet(ctx context.Context, conn driver.ConnPrepareContext, table string, columns []string, conflict string) *sheet {
	return &sheet{
		ctx: ctx, conn: conn, width: len(columns), values: make([]driver.NamedValue, 0, sheetRows*len(columns)),
		begin: `INSERT INTO ` + table + ` ("` + strings.Join(columns, `", "`) + `") VALUES `, end: conflict,
	}
}

func (s *sheet) put(row ...any) error {
	for _, v := range row {
		s.values = append(s.values, driver.NamedValue{Ordinal: len(s.values) + 1, Value: v})
	}
	if len(s.values) < cap(s.values) {
		return nil
	}
	err := s.ctx.Err()
	if s.full == nil && err == nil {
		s.full, err = s.prepare(sheetRows)
	}
	if err == nil {
		err = s.insert(s.full)
	}
	return err
}

func (s *sheet) prepare(rows int) (driver.Stmt, error) {
	row := `(` + strings.Repeat(", ?", s.width)[2:] + `)`
	statement, err := s.conn.PrepareContext(s.ctx, s.begin+strings.Repeat(", "+row, rows)[2:]+s.end)
	if err != nil {
		return nil, err // the driver returns a statement all the same
	}
	return statement, nil
}

// insert is not given the context: the driver would have somebody wait for its end each time.
func (s *sheet) insert(statement driver.Stmt) error {
	_, err := statement.(driver.StmtExecContext).ExecContext(context.Background(), s.values)
	s.values = s.values[:0]
	return err
}

// close inserts the last rows, if all went well so far.
func (s *sheet) close(err error) error {
	if rest := len(s.values) / s.width; rest > 0 && err == nil {
		var last driver.Stmt
		if last, err = s.prepare(rest); err == nil {
			err = s.insert(last)
			_ = last.Close() // it has nothing more to say
		}
	}
	if s.full != nil {
		_ = s.full.Close()
	}
	return err
}

func insertRows[R any](ctx context.Context, conn driver.ConnPrepareContext, t table[R], rows []R, conflict string) (err error) {
	s, values := newSheet(ctx, conn, t.name, names(t.columns), conflict), make([]any, len(t.columns))
	for _, r := range rows {
		for i := range t.columns {
			values[i] = t.columns[i].one(r)
		}
		if err = s.put(values...); err != nil {
			break
		}
	}
	if err = s.close(err); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}

func insertRecords(ctx context.Context, conn driver.ConnPrepareContext, list []filed) (err error) {
	s := newSheet(ctx, conn, "records", recordColumns, ignore)
	for i := range list {
		if err = list[i].put(s); err != nil {
			break
		}
	}
	if err = s.close(err); err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	return nil
}

// ignore leaves out what is there already, so that a batch may come twice.
const ignore = ` ON CONFLICT DO NOTHING`

// insert writes all or nothing.
func (e *sqliteEngine) insert(ctx context.Context, _ string, b *batch) error {
	return refusedLite(e.write(ctx, b))
}

func (e *sqliteEngine) write(ctx context.Context, b *batch) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	conn, err := e.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	list, err := file(ctx, tx, b.requests)
	if err == nil {
		err = conn.Raw(func(raw any) error { return writeRows(ctx, raw.(driver.ConnPrepareContext), b, list) })
	}
	if err != nil {
		_ = tx.Rollback() // what is not committed does not last
		return err
	}
	return tx.Commit()
}

func writeRows(ctx context.Context, conn driver.ConnPrepareContext, b *batch, list []filed) error {
	err := insertRecords(ctx, conn, list)
	if err == nil {
		err = insertRows(ctx, conn, further(), furtherOf(list), ignore)
	}
	if err == nil {
		err = insertRows(ctx, conn, contentsTable(), b.contents, ignore)
	}
	if err == nil {
		err = insertRows(ctx, conn, feedbackTable(), b.feedback, latest())
	}
	return err
}

// latest has feedback replace what was said of the same request before.
func latest() string {
	var set []string
	for _, name := range names(feedbackTable().columns) {
		set = append(set, quoted(name)+` = excluded.`+quoted(name))
	}
	return ` ON CONFLICT (tenant, request, of) DO UPDATE SET ` + strings.Join(set, ", ") + ` WHERE excluded.time >= feedback.time`
}
