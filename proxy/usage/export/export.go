// Package export writes usage records of days that are over into object storage, as Parquet or JSON lines: a folder, or a bucket
// of S3 or whatever speaks its API.
//
// There is one object for each table and day, TABLE/dt=2026-11-23/part-00001.parquet, which is what Athena's partition
// projection takes without a list of partitions. Attempts are of the day of their request. It is written as it is read, and appears whole. The same rows make the same
// bytes. Beside it lies _part-00001.json, which readers of tables leave alone: how many rows the object has, and its digest.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"jarvis-gateway/proxy/usage/store"
)

// Options say what is written where.
type Options struct {
	To           string   // a folder, or s3://BUCKET/PREFIX
	Endpoint     string   // of S3, where it is not Amazon's; buckets are parts of the path there
	Format       string   // parquet or jsonl
	Tables       []string // default requests, attempts, feedback and rollups
	Since, Until time.Time
	Resume       bool // leaves days alone that are there already
	Delete       bool // deletes from the store what was written, once it has been read back

	Progress func(Progress) // is told now and then, and at the end of each day; may be nil

	now time.Time
}

// Progress is how far a day of a table is.
type Progress struct {
	Table  string
	Day    time.Time
	Rows   int64
	Bytes  int64 // 0 as long as the object is not whole
	Result string
}

// What can become of a day.
const (
	Writing = ""
	Written = "written"
	There   = "there already" // with Resume
	Kept    = "kept"          // the object has rows that the store has no more
	Deleted = "deleted"       // from the store
)

// Summary is what was done.
type Summary struct{ Objects, Rows, Bytes, Deleted int64 }

// settled is how long a day must be over before its rows are deleted: records may be late.
const settled = 24 * time.Hour

// Run writes the whole days (UTC) of a span of time, oldest first. What could not be done for one day is an error at the end; the
// others are written all the same.
func Run(ctx context.Context, s *store.Store, o Options) (Summary, error) {
	e, err := open(ctx, s, o)
	if err != nil {
		return Summary{}, err
	}
	var errs []error
	from, err := e.oldest(ctx)
	for ; err == nil && from.Before(e.Until); from = from.Add(lasts) {
		if err := e.day(ctx, from); err != nil {
			errs = append(errs, err)
		}
		err = ctx.Err()
	}
	return e.sum, errors.Join(append(errs, err)...)
}

type exporter struct {
	Options
	store *store.Store
	place place
	sum   Summary
	told  time.Time
}

func open(ctx context.Context, s *store.Store, o Options) (e *exporter, err error) {
	e = &exporter{Options: o, store: s}
	if e.now.IsZero() {
		e.now = time.Now()
	}
	if formats[e.Format] == nil {
		return nil, fmt.Errorf("format: %q is neither parquet nor jsonl", o.Format)
	}
	if len(e.Tables) == 0 {
		e.Tables = []string{"requests", "attempts", "feedback", "rollups"}
	}
	for _, table := range e.Tables {
		if !slices.Contains(store.Exports(), table) {
			return nil, fmt.Errorf("tables: unknown table %q (choices: %s)", table, strings.Join(store.Exports(), ", "))
		}
	}
	if wants := func(name string) bool { return slices.Contains(e.Tables, name) }; e.Delete && wants("requests") != wants("attempts") {
		return nil, errors.New("delete: requests and attempts go together, so both have to be among the tables")
	}
	today := e.now.UTC().Truncate(lasts)
	if e.Until.IsZero() || e.Until.After(today) {
		e.Until = today
	}
	if late := e.Since.UTC().Truncate(lasts); !late.Equal(e.Since) {
		e.Since = late.Add(lasts) // the first whole day
	}
	e.Until = e.Until.UTC().Truncate(lasts)
	e.place, err = openPlace(ctx, o.To, o.Endpoint)
	return e, err
}

// lasts is how long a day is.
const lasts = 24 * time.Hour

// oldest is the first day that any table has rows of.
func (e *exporter) oldest(ctx context.Context) (time.Time, error) {
	from := e.Until
	for _, table := range e.Tables {
		at, there, err := e.store.Oldest(ctx, table)
		if err != nil {
			return from, err
		}
		if at = at.Truncate(lasts); there && at.Before(from) {
			from = at
		}
	}
	if from.Before(e.Since) {
		from = e.Since
	}
	return from, nil
}

// note lies beside an object and says what that is.
type note struct {
	Format   string `json:"format"`
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	Last     string `json:"last,omitempty"`     // the uid of its last row
	Deleting bool   `json:"deleting,omitempty"` // its rows are being deleted, or were
}

// piece is an object of a day: the n-th, as rows may come after those before were deleted.
type piece struct {
	table string
	day   time.Time
	n     int
	note
	there  bool
	result string
}

func (p *piece) name(ext string) string {
	return fmt.Sprintf("%s/dt=%s/part-%05d.%s", p.table, p.day.Format(time.DateOnly), p.n, ext)
}

func (p *piece) noteName() string {
	return fmt.Sprintf("%s/dt=%s/_part-%05d.json", p.table, p.day.Format(time.DateOnly), p.n)
}

func (p *piece) end() time.Time { return p.day.Add(lasts) }

// day writes all tables of a day, and deletes their rows then if that is wanted.
func (e *exporter) day(ctx context.Context, day time.Time) error {
	var pieces []*piece
	var errs []error
	for _, table := range e.Tables {
		p, err := e.export(ctx, table, day)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", table, day.Format(time.DateOnly), err))
		}
		pieces = append(pieces, p)
	}
	if !e.Delete || len(errs) > 0 || day.Add(lasts+settled).After(e.now) || slices.ContainsFunc(pieces, (*piece).kept) {
		return errors.Join(errs...)
	}
	if err := e.remove(ctx, day, pieces); err != nil {
		return fmt.Errorf("%s: nothing was deleted: %w", day.Format(time.DateOnly), err)
	}
	return nil
}

func (p *piece) kept() bool { return p.result == Kept }

// export writes a table's rows of a day. What has no rows gets no object.
func (e *exporter) export(ctx context.Context, table string, day time.Time) (*piece, error) {
	p, err := e.find(ctx, table, day)
	if err != nil {
		return p, err
	}
	have, err := e.store.Count(ctx, table, p.day, p.end())
	if err != nil || have == 0 {
		return &piece{table: table, day: day}, err
	}
	switch {
	case p.there && have < p.Rows:
		p.result = Kept
	case p.there && e.Resume && have == p.Rows:
		p.result = There
	default:
		if err := e.write(ctx, p); err != nil {
			return p, err
		}
		p.result = Written
		e.sum.Rows += p.Rows
		e.sum.Bytes += p.Bytes
	}
	e.sum.Objects++
	e.tell(Progress{Table: table, Day: day, Rows: p.Rows, Bytes: p.Bytes, Result: p.result}, true)
	return p, nil
}

// find is the object that the day's rows belong in: the last one there is, or the one after it where that one's rows were deleted.
func (e *exporter) find(ctx context.Context, table string, day time.Time) (*piece, error) {
	last := &piece{table: table, day: day}
	for {
		next := &piece{table: table, day: day, n: last.n + 1}
		there, err := e.read(ctx, next.noteName(), &next.note)
		if err != nil {
			return last, err
		}
		if !there && last.n == 0 {
			return next, nil
		}
		if !there {
			break
		}
		if last = next; last.Format != e.Format {
			return last, fmt.Errorf("it is there already as %s", last.Format)
		}
	}
	last.there = true
	if !last.Deleting {
		return last, nil
	}
	// Rows are deleted all at once, by retention the oldest first: where the last one is, all are.
	holds, err := e.store.Holds(ctx, table, last.Last, last.day, last.end())
	if err == nil && !holds {
		last = &piece{table: table, day: day, n: last.n + 1}
	}
	return last, err
}

func (e *exporter) read(ctx context.Context, name string, into *note) (there bool, err error) {
	o, err := e.place.open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer o.Close()
	return true, json.NewDecoder(io.NewSectionReader(o, 0, o.size)).Decode(into)
}

func (e *exporter) save(ctx context.Context, p *piece) error {
	text, err := json.Marshal(p.note)
	if err != nil {
		return err
	}
	w, err := e.place.create(ctx, p.noteName())
	if err == nil {
		_, err = w.Write(append(text, '\n'))
		err = end(ctx, w, err)
	}
	return err
}

func (e *exporter) tell(p Progress, now bool) {
	if e.Progress == nil || !now && time.Since(e.told) < 5*time.Second {
		return
	}
	e.told = time.Now()
	e.Progress(p)
}
