package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"
	"unsafe"

	"jarvis-gateway/proxy/usage"
)

// This file writes batches into SQLite. A saturated gateway does that on the processors that its requests need, so it is made
// to cost little: what requests share is written once (callers, ways), an attempt that says nothing new is not written, and
// nothing is made for one record alone.

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
		"total_us", "bytes_in", "bytes_out", "fell", "retried", "attempt_begun_us", "attempt_heard_us"}
)

func (c caller) put(s *statement) {
	s.text(c.tenant)
	s.text(c.team)
	s.text(c.key)
}

func (w way) put(s *statement) {
	for _, name := range w.names {
		s.text(name)
	}
	for _, n := range w.numbers {
		s.int(n)
	}
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
	same := a.Kind == "first" && (a.Entry == "" || a.Entry == r.Model) && a.Provider == r.Provider && a.Model == r.Served && a.Replica == r.Replica && a.Region == r.Region && a.Cost == r.Cost && a.Usage == r.Usage
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
	find  *statement
	put   func(K, *statement)
	seen  int64
	known map[K]int64
}

// share prepares for a batch whose latest request is of seen.
func share[K comparable](l *link, one string, columns []string, put func(K, *statement), seen int64) (*shared[K], error) {
	find, err := l.keep(`INSERT INTO ` + one + `s ("` + strings.Join(columns, `", "`) + `", seen) VALUES (` + strings.Repeat("?, ", len(columns)) + `?)
		ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING ` + one)
	return &shared[K]{find, put, seen, map[K]int64{}}, err
}

func (s *shared[K]) number(k K) (n int64, err error) {
	if n, ok := s.known[k]; ok {
		return n, nil
	}
	s.put(k, s.find)
	s.find.int(s.seen)
	n, err = s.find.one()
	s.known[k] = n
	return n, err
}

// filed is a request with what it shares.
type filed struct {
	*usage.Record
	only        *usage.Attempt
	at          int64
	caller, way int64
}

// file finds what the requests share, and sorts them by time: rows that come in order are put in quickly.
func file(l *link, requests []*usage.Record) (list []filed, err error) {
	if len(requests) == 0 {
		return nil, nil
	}
	list = make([]filed, len(requests))
	for i, r := range requests {
		list[i] = filed{Record: r, only: onlyAttempt(r), at: kept(r.Time)}
	}
	slices.SortStableFunc(list, func(a, b filed) int { return cmp.Compare(a.at, b.at) })
	seen := list[len(list)-1].at
	callers, err := share(l, "caller", callerColumns, caller.put, seen)
	if err != nil {
		return nil, err
	}
	ways, err := share(l, "way", wayColumns, way.put, seen)
	if err != nil {
		return nil, err
	}
	for i := range list {
		f := &list[i]
		if f.caller, err = callers.number(caller{f.Tenant, f.Team, f.Key}); err != nil {
			return nil, err
		}
		if f.way, err = ways.number(wayOf(f.Record, f.only)); err != nil {
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

// rareOf is "" where there is nothing of it.
func rareOf(r *usage.Record) string {
	u := &r.Usage
	have := rare{finite(r.Similarity), u.CacheWrite1h, u.Audio, u.AudioOut, u.ImageIn, u.Images, u.Millis, u.Characters}
	if have == (rare{}) {
		return ""
	}
	text, _ := json.Marshal(have) // numbers always can be
	return string(text)
}

// spotSpan is the length in bits, 18 minutes, of the pieces of time that ids are looked up in one by one. An index of ids alone
// would be written to all over with every batch, as ids are random.
const spotSpan = 30

// spotOf is where the id of a request of a time is looked up.
func spotOf(us int64, id string) int64 { return us>>spotSpan<<32 | int64(sumOf(id)) }

func shortSum(id string) uint16 { return uint16(sumOf(id)) }

func sumOf(id string) uint32 { return crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(id), len(id))) }

// put puts a record. spotted says that its id is looked up by its spot.
func (f *filed) put(s *statement, spotted bool) {
	u := &f.Usage
	s.int(f.at)
	s.blob(f.UID[:])
	if spotted {
		s.int(spotOf(f.at, f.ID))
	} else {
		s.null()
	}
	s.int(f.caller)
	s.int(f.way)
	s.text(f.ID)
	s.some(f.User)
	s.some(f.Scene)
	if len(f.Tags) > 0 {
		s.value(liteValue(f.Tags))
	} else {
		s.null()
	}
	if f.Asked != f.Model {
		s.text(f.Asked)
	} else {
		s.null()
	}
	s.ints(u.Prompt, u.Completion, u.CachedPrompt, u.CacheWrite, u.Reasoning)
	s.some(rareOf(f.Record))
	s.ints(int64(f.Cost), int64(f.Saved), f.Queued.Microseconds(), f.First.Microseconds(), f.Upstream.Microseconds(), f.Overhead.Microseconds(),
		f.Total.Microseconds(), f.In, f.Out)
	s.ints(f.failures())
	if f.only == nil {
		s.null()
		s.null()
	} else {
		s.ints(f.only.Begun.Microseconds(), f.only.First.Microseconds())
	}
}

// failures are whether the request was sent to another provider, or to a fallback, after a failure, and how often it was sent again.
// Of the kinds of attempts, a hedge is no failure, and a shadow nothing of the client's.
func (f *filed) failures() (fell, retried int64) {
	provider, again := "", false
	for i := range f.Attempts {
		a := &f.Attempts[i]
		switch a.Kind {
		case "retry":
			retried++
			again = true
		case "failover", "continue":
			again = true
		case "fallback":
			fell, again = 1, true
		case "first":
		default:
			continue
		}
		if provider != "" && a.Provider != provider {
			fell = 1
		}
		provider = a.Provider
	}
	if !again {
		return 0, 0
	}
	return fell, retried
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

// sheetRows is how many rows one statement inserts. More gain little.
const sheetRows = 16

// insert puts n rows into a table.
func (l *link) insert(ctx context.Context, table string, columns []string, conflict string, n int, put func(i int, s *statement)) error {
	row := `(` + strings.Repeat(", ?", len(columns))[2:] + `)`
	begin := `INSERT INTO ` + table + ` ("` + strings.Join(columns, `", "`) + `") VALUES ` + row
	for i := 0; i < n; {
		rows, text := 1, begin+conflict
		if n-i >= sheetRows {
			rows, text = (n-i)/sheetRows*sheetRows, begin+strings.Repeat(", "+row, sheetRows-1)+conflict
		}
		s, err := l.keep(text)
		for end := i + rows; i < end && err == nil; {
			put(i, s)
			if i++; s.next == len(s.slots) {
				err = cmp.Or(ctx.Err(), s.run())
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
	}
	return nil
}

func insertRows[R any](ctx context.Context, l *link, t table[R], rows []R, conflict string) (err error) {
	return l.insert(ctx, t.name, names(t.columns), conflict, len(rows), func(i int, s *statement) {
		for _, c := range t.columns {
			s.value(c.one(rows[i]))
		}
	})
}

// ignore leaves out what is there already, so that a batch may come twice.
const ignore = ` ON CONFLICT DO NOTHING`

// insert writes all or nothing.
func (e *sqliteEngine) insert(ctx context.Context, _ string, b *batch) error {
	err := e.write(ctx, b)
	if isLost(err) {
		err = advised(err)
		e.lose(err)
	}
	return refusedLite(err)
}

func (e *sqliteEngine) write(ctx context.Context, b *batch) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	if err := e.usable(); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		err = e.writer.batch(ctx, b)
	}
	if e.writer.moved() { // also where that failed: who moves a file away may do so as it cannot be written
		return errMoved
	}
	return err
}

func (l *link) batch(ctx context.Context, b *batch) error {
	err := l.run("BEGIN IMMEDIATE")
	if err != nil {
		return err
	}
	err = writeRows(ctx, l, b)
	if err == nil {
		err = l.run("COMMIT")
	}
	if err != nil {
		_ = l.run("ROLLBACK") // what is not committed does not last
	}
	return err
}

// errMoved keeps in the spool what was just written to a file that nobody finds any more.
var errMoved = errors.New("the file was deleted or replaced while it was in use: the gateway goes on with the one that is there, or a new one. " +
	"Records of the last minutes may be in the file beside it that ends in -wal, which belongs to the old one")

func writeRows(ctx context.Context, l *link, b *batch) error {
	list, err := file(l, b.requests)
	if err == nil {
		err = insertRecords(ctx, l, list)
	}
	if err == nil {
		err = insertRows(ctx, l, further(), furtherOf(list), ignore)
	}
	if err == nil {
		err = insertRows(ctx, l, contentsTable(), b.contents, ignore)
	}
	if err == nil {
		err = insertRows(ctx, l, feedbackTable(), b.feedback, latest())
	}
	return err
}

// manyIds is from how many records on the ids of a batch are written down together.
const manyIds = 500

// insertRecords has SQLite number the records, which then follow each other. To say the numbers would have it keep a copy of every page,
// as they might be none.
func insertRecords(ctx context.Context, l *link, list []filed) error {
	next, err := l.keep(`SELECT coalesce(max(record), 0) + 1 FROM records`)
	if err != nil || len(list) == 0 {
		return err
	}
	first, err := next.one()
	if err != nil {
		return err
	}
	few := len(list) < manyIds
	err = l.insert(ctx, "records", recordColumns, ignore, len(list), func(i int, s *statement) { list[i].put(s, few) })
	if err != nil || few {
		return err
	}
	end, err := next.one()
	if err != nil || end == first {
		return err
	}
	return insertIds(l, first, end, list)
}

// insertIds writes down the ids of the records from first to end. Of the list, some may have been there already.
func insertIds(l *link, first, end int64, list []filed) error {
	var sums []byte
	if int(end-first) == len(list) {
		for i := range list {
			sums = binary.LittleEndian.AppendUint16(sums, shortSum(list[i].ID))
		}
	} else {
		s, err := l.keep(`SELECT id FROM records WHERE record >= ? ORDER BY record`)
		if err != nil {
			return err
		}
		s.int(first)
		if err := s.each(context.Background(), func() error {
			sums = binary.LittleEndian.AppendUint16(sums, shortSum(string(s.bytes(0))))
			return nil
		}); err != nil {
			return err
		}
	}
	s, err := l.keep(`INSERT OR REPLACE INTO ids (first, since, until, sums) VALUES (?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	s.ints(first, list[0].at, list[len(list)-1].at)
	s.blob(sums)
	return s.run()
}

// latest has feedback replace what was said of the same request before.
func latest() string {
	var set []string
	for _, name := range names(feedbackTable().columns) {
		set = append(set, quoted(name)+` = excluded.`+quoted(name))
	}
	return ` ON CONFLICT (tenant, request, of) DO UPDATE SET ` + strings.Join(set, ", ") + ` WHERE excluded.time >= feedback.time`
}
