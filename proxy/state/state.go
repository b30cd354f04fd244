// Package state is the gateway's own database: what has to outlive a request and a restart. All writes go through one
// goroutine, which puts what is waiting into one transaction: a burst of writers shares one sync of the disk.
package state

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Store is an open database.
type Store struct {
	// OnDrop, if set before the first write, is told why a write that nobody waits for was lost: once a minute at most.
	OnDrop func(error)

	db      *sql.DB
	pin     *sql.Conn // keeps a database in memory, which goes with the last connection to it; else nil
	queue   chan *write
	quit    chan struct{} // closed: nothing more is taken
	ended   chan struct{} // closed: all that was taken is written
	once    sync.Once
	ctx     context.Context // of the transactions, which must not end with one caller's patience
	dropped atomic.Int64
	told    atomic.Int64 // when OnDrop was told, in unix milliseconds
	failed  backlog
	now     func() time.Time
	every   time.Duration // between two looks for what has expired
}

// write is one change that waits for its transaction.
type write struct {
	ctx  context.Context // of who waits; nil: nobody does
	do   func(context.Context, *sql.Tx) error
	done chan error // of who waits; has room for the outcome
}

const (
	queued  = 1024 // writes that may wait
	grouped = 128  // writes in one transaction
)

// ErrClosed is the error of a Store that is closed.
var ErrClosed = errors.New("the state database is closed")

// ErrReadOnly is the error of Open where nothing can be created or written.
var ErrReadOnly = errors.New("set stores.state to sqlite: and a file that the gateway may create and write, or to sqlite::memory: to keep nothing")

// Open opens the database that url names, sqlite:PATH, and creates it when there is none. What sqlite::memory: holds is lost
// at exit, and nobody else's.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, time.Now, time.Minute)
}

func open(ctx context.Context, url string, now func() time.Time, every time.Duration) (*Store, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok || path == "" {
		return nil, fmt.Errorf("state database %q: it must be sqlite:PATH", url)
	}
	db, pin, err := openSQLite(ctx, path)
	if err == nil {
		if err = migrate(ctx, db); err != nil {
			_ = closeAll(pin, db)
		}
	}
	switch {
	case readOnly(err):
		return nil, fmt.Errorf("state database %s: %w: %w", path, err, ErrReadOnly)
	case err != nil:
		return nil, fmt.Errorf("state database %s: %w", path, err)
	}
	s := &Store{
		db: db, pin: pin, now: now, every: every, ctx: context.WithoutCancel(ctx),
		queue: make(chan *write, queued), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s, nil
}

// Close waits until all that was taken is written, or was tried a last time.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.quit) })
	<-s.ended
	return closeAll(s.pin, s.db)
}

func closeAll(pin *sql.Conn, db *sql.DB) error {
	if pin == nil {
		return db.Close()
	}
	return errors.Join(pin.Close(), db.Close())
}

// Flush returns once all that was remembered before is durable.
func (s *Store) Flush(ctx context.Context) error {
	return s.write(ctx, func(context.Context, *sql.Tx) error { return nil })
}

// write returns once the change is durable. When ctx ends before, the change may or may not be made.
func (s *Store) write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	w := &write{ctx: ctx, do: do, done: make(chan error, 1)}
	select {
	case <-s.quit:
		return ErrClosed
	default:
	}
	select {
	case s.queue <- w:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return ErrClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
	}
	select { // the last transaction may have had it
	case err := <-w.done:
		return err
	default:
		return ErrClosed
	}
}

// run is the goroutine that writes.
func (s *Store) run() {
	defer close(s.ended)
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	behind := false // more has expired than one purge takes
	for {
		select {
		case w := <-s.queue:
			s.take(s.gather(w, grouped))
		case <-s.failed.due:
			s.commit(nil)
		case <-tick.C:
			behind = true
		case <-s.quit:
			s.finish()
			return
		}
		for more := behind; more; more = behind && len(s.queue) == 0 {
			behind = s.purge()
		}
	}
}

// gather takes what else is waiting.
func (s *Store) gather(first *write, most int) []*write {
	group := []*write{first}
	for len(group) < most {
		select {
		case w := <-s.queue:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commit makes a group of changes in one transaction, after those that failed before. One that fails, or whose caller has
// left, does not hold up the others.
func (s *Store) commit(group []*write) {
	group = append(s.failed.writes, group...)
	outcome := make([]error, len(group))
	err := transact(s.ctx, s.db, func(tx *sql.Tx) error {
		for i, w := range group {
			if w.ctx != nil && w.ctx.Err() != nil {
				outcome[i] = w.ctx.Err()
			} else {
				outcome[i] = w.do(s.ctx, tx)
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("state database: %w", err)
	}
	s.failed.writes = nil
	for i, w := range group {
		switch {
		case w.ctx != nil:
			w.done <- cmp.Or(err, outcome[i])
		case err != nil:
			s.keep(w)
		case outcome[i] != nil: // for its own sake: it would fail again
			s.drop(outcome[i])
		}
	}
	s.failed.rest(err)
}

func transact(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// migrations make the tables, each from what the one before has left. One that was released is never changed.
var migrations = []string{
	`CREATE TABLE responses (
		id       TEXT PRIMARY KEY,
		tenant   TEXT NOT NULL,
		provider TEXT NOT NULL,
		previous TEXT NOT NULL,
		body     BLOB,
		input    BLOB,
		output   BLOB,
		created  BIGINT NOT NULL,
		expires  BIGINT NOT NULL
	);
	CREATE INDEX responses_expires ON responses (expires) WHERE expires > 0`,
}

// migrate brings the tables up to date. Two gateways that do it at once take turns.
func migrate(ctx context.Context, db *sql.DB) error {
	err := transact(ctx, db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)`)
		return err
	})
	for next := 0; err == nil && next <= len(migrations); next++ {
		err = transact(ctx, db, func(tx *sql.Tx) error { return migrateTo(ctx, tx, next) })
	}
	return err
}

// migrateTo makes one step, if it is the next.
func migrateTo(ctx context.Context, tx *sql.Tx, next int) error {
	version := 0
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version); err != nil {
		return err
	}
	switch {
	case version > len(migrations):
		return fmt.Errorf("a newer gateway wrote it (version %d of its tables, this gateway knows %d)", version, len(migrations))
	case version >= next:
		return nil
	}
	if _, err := tx.ExecContext(ctx, migrations[next-1]); err != nil {
		return fmt.Errorf("migration %d: %w", next, err)
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO schema_version (version) VALUES (%d)`, next))
	return err
}
