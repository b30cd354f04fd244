// Package store keeps usage records in tables, once each, and answers questions from them: in a file (SQLite) or in ClickHouse.
package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"time"

	"jarvis-gateway/proxy/usage"
)

// Options are what is kept for how long, and who is told of trouble.
type Options struct {
	Keep Keep
	// OnError is told when what is old cannot be deleted. It may be nil.
	OnError func(error)
	// Late has Open of a file return although that cannot be opened now, or takes long to bring up to date: Ready does it later.
	Late bool

	every time.Duration // between two looks for what is old
	now   func() time.Time
}

// Keep is how long rows are kept. 0: for ever, or as the tables say that are there.
type Keep struct {
	Records  time.Duration // requests, attempts, feedback
	Contents time.Duration // never longer than their records; 0: as long
}

// Store is an open database.
type Store struct {
	engine
	db         *sql.DB       // for questions
	asks       chan struct{} // those who ask just now
	clickhouse bool
	cluster    string // of ClickHouse's servers; "": one alone
	files      fs.FS  // the migrations
	name       string // for errors: never with a password
	onError    func(error)
	every      time.Duration
	quit       context.CancelFunc // ends keep
	ended      sync.WaitGroup
}

// engine is what each database does in its own way.
type engine interface {
	// insert stores all rows, each once, however often it is called with the same batch and token.
	insert(ctx context.Context, token string, b *batch) error
	// version is the last migration that was applied, 0 for none.
	version(ctx context.Context) (int, error)
	apply(ctx context.Context, m migration) error
	// retain sees to it that what is old goes. It is called again at once when there is more to do.
	retain(ctx context.Context) (more bool, err error)
	// remove deletes rows: none if they are not as many as they should be.
	remove(ctx context.Context, pieces []removal) error
	close() error
}

// batch is what is stored together.
type batch struct {
	requests []*usage.Record
	contents []*usage.Record
	feedback []*usage.Feedback
}

// ErrRefused is the error of Write for records that no retry will bring in. All other errors may pass: of a database that
// is away, or full, or has no tables yet.
var ErrRefused = errors.New("the records were refused")

// Open opens the database that url names: sqlite:FILE, which is created and brought up to date (what is in sqlite::memory: is
// lost at exit), or clickhouse://USER:PASSWORD@HOST:9000/DATABASE (the native protocol), clickhouse+http:// or
// clickhouse+https://, which may be away now and gets its tables from Migrate. Options in ClickHouse's URLs are compress=lz4,
// zstd or none, secure=true (TLS of the native protocol), ca, cert and key (files of TLS), cluster=NAME, and the driver's and the
// server's own.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.now == nil {
		o.now = time.Now
	}
	if o.every == 0 {
		o.every = time.Minute
	}
	s := &Store{onError: o.OnError, every: o.every, asks: make(chan struct{}, mostAsks)}
	var err error
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok && path != "" {
		err = s.openSQLite(ctx, path, o)
	} else {
		err = s.openClickHouse(url, o)
	}
	if err != nil {
		return nil, err
	}
	ctx, s.quit = context.WithCancel(context.WithoutCancel(ctx))
	s.ended.Go(func() { s.keep(ctx) })
	return s, nil
}

// Close ends what runs in the background and closes the database.
func (s *Store) Close() error {
	s.quit()
	s.ended.Wait()
	return s.close()
}

// Write stores records and feedback: once each, also when it is called again with the same token and the same records because
// an answer was lost or only half was stored.
func (s *Store) Write(ctx context.Context, token string, records []*usage.Record, feedback []*usage.Feedback) error {
	b := &batch{requests: records, feedback: feedback}
	for _, r := range records {
		if r.Content != (usage.Content{}) {
			b.contents = append(b.contents, r)
		}
	}
	return s.named(s.insert(ctx, token, b))
}

// from is a table as a query reads it.
func (s *Store) from(table string) string { return across(s.cluster, table) }

// named says which database an error is of, in one line.
func (s *Store) named(err error) error {
	if known, ok := errors.AsType[*storeError](err); err == nil || ok && known.name == s.name {
		return err
	}
	if e, ok := s.engine.(*houseEngine); ok {
		err = e.linked(err)
	}
	return &storeError{s.name, err}
}

type storeError struct {
	name string
	err  error
}

func (e *storeError) Error() string {
	text := e.err.Error()
	if of := (*url.Error)(nil); errors.As(e.err, &of) { // its URL has the whole statement in it
		text = strings.Replace(text, of.Error(), of.Err.Error(), 1)
	}
	return "usage database " + e.name + ": " + strings.Join(strings.Fields(text), " ")
}

func (e *storeError) Unwrap() error { return e.err }

// keep is the goroutine that has old rows deleted.
func (s *Store) keep(ctx context.Context) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		more, err := s.retain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && s.onError != nil:
			s.onError(s.named(err))
		}
		if more && err == nil {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
