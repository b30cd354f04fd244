// Package state is the gateway's own database: what has to outlive a request and a restart. It is a file (SQLite) or a server
// that several gateways share (Postgres). All writes of a gateway go through one goroutine, which puts what is waiting into
// one transaction: a burst of writers shares one sync of the disk.
package state

import (
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

	*engine
	queue   chan *write
	quit    chan struct{} // closed: nothing more is taken
	ended   chan struct{} // closed: all that was taken is written
	once    sync.Once
	ctx     context.Context // of the transactions, which must not end with one caller's patience
	dropped atomic.Int64    // responses
	missed  atomic.Int64    // audit entries
	told    atomic.Int64    // when OnDrop was told, in unix milliseconds
	failed  backlog
	flood   flood
	retain  atomic.Int64 // how long audit entries are kept, a time.Duration; 0: for ever
	now     func() time.Time
	every   time.Duration // between two looks for what has expired
	overdue overdue

	mostKeys int // of a tenant
}

// write is one change that waits for its transaction. It may be made more than once: in a transaction that fails, and again
// in the next.
type write struct {
	ctx    context.Context // of who waits; nil: nobody does
	do     func(context.Context, *sql.Tx) error
	done   chan error    // of who waits; has room for the outcome
	inTurn bool          // it changes what other gateways change too
	lost   *atomic.Int64 // counts it if nobody waits and it is lost
}

const (
	queued  = 1024 // writes that may wait
	grouped = 128  // writes in one transaction
)

// ErrClosed is the error of a Store that is closed.
var ErrClosed = errors.New("the state database is closed")

// ErrReadOnly is the error of Open where nothing can be created or written.
var ErrReadOnly = errors.New("set stores.state to sqlite: and a file that the gateway may create and write, or to sqlite::memory: to keep nothing")

var errDamaged = errors.New("the file is damaged. Put a copy of it back that is whole, or get out what it holds by: sqlite3 FILE .recover. " +
	"Without it, moved elsewhere with the files beside it that end in -wal and -shm, the gateway starts with no tenants, keys and audit log of its own")

// Open opens the database that url names and brings its tables up to date. sqlite:PATH is created when there is none; what
// sqlite::memory: holds is lost at exit, and nobody else's. postgres://USER:PASSWORD@HOST:PORT/DATABASE must be there, and its
// user must be allowed to create tables in it.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, time.Now, time.Minute)
}

func open(ctx context.Context, url string, now func() time.Time, every time.Duration) (*Store, error) {
	e, err := openEngine(ctx, url)
	if err != nil {
		return nil, err
	}
	if err = e.migrate(ctx); err != nil {
		_ = e.close()
		switch {
		case readOnly(err):
			err = fmt.Errorf("%w: %w", err, ErrReadOnly)
		case damaged(err):
			err = fmt.Errorf("%w: %w", err, errDamaged)
		}
		return nil, &openError{e.name, err}
	}
	s := &Store{
		engine: e, now: now, every: every, mostKeys: mostKeys, ctx: context.WithoutCancel(ctx),
		queue: make(chan *write, queued), quit: make(chan struct{}), ended: make(chan struct{}),
		overdue: overdue{look: make(chan struct{}, 1)},
	}
	go s.run()
	return s, nil
}

// openError puts what a driver says over several lines into one.
type openError struct {
	name string
	err  error
}

func (e *openError) Error() string {
	return "state database " + e.name + ": " + strings.Join(strings.Fields(e.err.Error()), " ")
}

func (e *openError) Unwrap() error { return e.err }

// Close waits until all that was taken is written, or was tried a last time.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.quit) })
	<-s.ended
	return s.close()
}

// Flush returns once all that was posted before is durable.
func (s *Store) Flush(ctx context.Context) error {
	return s.write(ctx, func(context.Context, *sql.Tx) error { return nil })
}

// write returns once the change is durable. When ctx ends before, the change may or may not be made.
func (s *Store) write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	return s.wait(ctx, &write{do: do})
}

// writeInTurn is write for what other gateways change too.
func (s *Store) writeInTurn(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	return s.wait(ctx, &write{do: do, inTurn: true})
}

func (s *Store) wait(ctx context.Context, w *write) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	w.ctx, w.done = ctx, make(chan error, 1)
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
	late := false   // more is overdue than is handed over at once
	for {
		select {
		case w := <-s.queue:
			s.take(s.gather(w, grouped))
		case <-s.failed.due:
			s.commit(nil)
		case <-tick.C:
			behind, late = true, true
			if group := s.counted(false); len(group) > 0 {
				s.take(group)
			}
		case <-s.overdue.look:
			late = true
		case <-s.quit:
			s.finish()
			return
		}
		for more := late; more; more = late && len(s.queue) == 0 {
			late = s.handOver()
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
