package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// engine is a database and what it does in its own way. All other SQL of this package is what both engines understand.
type engine struct {
	db   *sql.DB
	pin  *sql.Conn // keeps a database in memory, which goes with the last connection to it; else nil
	name string    // for errors: never with a password

	// patience bounds what one call waits. 0: the engine bounds its waits itself.
	patience time.Duration
	// words is a migration as the engine takes it.
	words func(migration) string
	// alone is run first in a transaction that migrates: gateways that start at the same time take turns.
	alone string
	// inTurn is run first in a transaction that changes what other gateways change too: they take turns, so that they neither
	// lock each other up nor number audit entries in another order than they appear in. Empty: all transactions take turns.
	inTurn string
	// passing tells that the database is to blame for an error, not what was asked of it: asked again, it may do it.
	passing func(error) bool
}

// openEngine opens the database that a URL names, not yet knowing whether it is there.
func openEngine(ctx context.Context, url string) (*engine, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	switch {
	case ok && path != "":
		return openSQLite(ctx, path)
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		return openPostgres(url)
	}
	scheme, _, ok := strings.Cut(url, "://") // what follows may hold a password
	if !ok {
		scheme = "without a scheme"
	}
	return nil, fmt.Errorf("state database %s: it must be sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE", scheme)
}

func (e *engine) close() error {
	if e.pin == nil {
		return e.db.Close()
	}
	return errors.Join(e.pin.Close(), e.db.Close())
}

// within bounds what is asked of an engine that does not do so itself.
func (e *engine) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.patience == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, e.patience)
}

func (e *engine) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := e.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // what is not committed does not last
		return err
	}
	return tx.Commit()
}

// outOfTime says so when a query ended with its context: a driver's own words for it vary.
func outOfTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
