package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed sqlite/*.sql
var sqliteFiles embed.FS

// pragmas are of every connection. What is answered is on the disk: the spool forgets it then. A batch fits in the cache.
var pragmas = []string{"busy_timeout(5000)", "cache_size(-8000)", "journal_mode(WAL)", "journal_size_limit(67108864)", "synchronous(FULL)"}

// found are of a file that is made: pages that retention empties are given back to the file system. Later auto_vacuum would change
// nothing, and yet write, and so wait for whoever writes.
var found = []string{"busy_timeout(5000)", "page_size(8192)", "auto_vacuum(2)"}

// purged is how many rows one transaction deletes: writers wait no longer than that takes.
const purged = 1000

// sqliteEngine is a file. Writers take turns.
type sqliteEngine struct {
	path, uri string
	db        *sql.DB
	turn      sync.Mutex
	writer    *link // for who has the turn. A database in memory goes with the last connection to it
	keep      Keep
	now       func() time.Time

	opening sync.Mutex
	closed  bool        // for ever
	up      atomic.Bool // it is open and up to date
	saying  sync.Mutex
	trouble error // why it is not up
}

func (s *Store) openSQLite(ctx context.Context, path string, o Options) error {
	s.name = path
	e, err := newLite(path, o)
	if err != nil {
		return s.named(err)
	}
	files, err := fs.Sub(sqliteFiles, "sqlite")
	if err != nil {
		return errors.Join(err, e.close())
	}
	s.db, s.engine, s.files = e.db, e, files
	if err := s.ready(ctx, !o.Late); err != nil && !o.Late {
		return errors.Join(err, e.close())
	}
	return nil
}

func newLite(path string, o Options) (e *sqliteEngine, err error) {
	e = &sqliteEngine{path: path, uri: "file:" + (&url.URL{Path: path}).EscapedPath(), keep: o.Keep, now: o.now}
	options := "?"
	if path == memory {
		e.uri, options = "file:/"+rand.Text()+"?vfs=memdb", "&" // nobody else's
	}
	e.db, err = e.gated(e.uri + options + "_txlock=immediate&_pragma=" + strings.Join(pragmas, "&_pragma="))
	return e, err
}

const memory = ":memory:"

// open opens the file for writing, and tells whether nothing is in it. What is damaged is left as it is.
func (e *sqliteEngine) open() (empty bool, err error) {
	first := pragmas
	if empty = e.path == memory; !empty {
		empty, err = create(e.path)
	}
	if err != nil {
		return false, err
	}
	l, err := dial(e.uri, "busy_timeout(5000)")
	if err != nil {
		return false, err
	}
	l.keepLog(true)
	if empty {
		first = slices.Concat(found, pragmas)
	} else {
		err = l.exec("SELECT count(*) FROM sqlite_master")
	}
	for i := 0; i < len(first) && err == nil; i++ {
		err = l.exec("PRAGMA " + first[i])
	}
	if err != nil {
		l.close()
		return false, err
	}
	e.turn.Lock()
	defer e.turn.Unlock()
	e.writer = l
	return empty, nil
}

// create makes a file that only its owner may read, if there is none: it may hold what people said. It tells whether nothing is in it.
func create(path string) (empty bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false, err
	}
	stat, err := file.Stat()
	return err == nil && stat.Size() == 0, errors.Join(err, file.Close())
}

func (e *sqliteEngine) version(ctx context.Context) (version int, err error) {
	err = e.db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = 'migrations'`).Scan(&version)
	if version == 0 || err != nil {
		return 0, err
	}
	err = e.db.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM migrations`).Scan(&version)
	return version, err
}

// apply makes all of a migration or nothing. Another process may have been first.
func (e *sqliteEngine) apply(ctx context.Context, m migration) error {
	const table = `CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied INTEGER NOT NULL)`
	return e.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, table); err != nil {
			return err
		}
		done, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO migrations (version, name, applied) VALUES (?, ?, ?)`, m.version, m.name, e.now().UnixMicro())
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); n == 0 || err != nil {
			return err
		}
		for _, statement := range m.statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e *sqliteEngine) transact(ctx context.Context, do func(*sql.Tx) error) error {
	e.turn.Lock()
	defer e.turn.Unlock()
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

// columnList names columns as both databases read them: some names are words of SQL.
func columnList[R any](columns []column[R]) string {
	quotes := names(columns)
	for i, name := range quotes {
		quotes[i] = quoted(name)
	}
	return strings.Join(quotes, ", ")
}

func quoted(name string) string { return `"` + name + `"` }

// retain deletes a piece of what is old.
func (e *sqliteEngine) retain(ctx context.Context) (more bool, err error) {
	if !e.up.Load() {
		return false, nil // who writes is told
	}
	for _, t := range e.keep.tables() {
		if t.keep <= 0 {
			continue
		}
		n, err := e.purge(ctx, stored(t.name), e.now().Add(-t.keep))
		if err != nil {
			return false, err
		}
		more = more || n == purged
	}
	return more, nil
}

// purge deletes some rows and gives the pages that they leave back to the file system.
func (e *sqliteEngine) purge(ctx context.Context, table string, before time.Time) (n int64, err error) {
	err = e.transact(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE rowid IN (SELECT rowid FROM `+table+` WHERE time < ? ORDER BY time LIMIT ?)`,
			before.UnixMicro(), purged)
		if err != nil {
			return err
		}
		if n, err = done.RowsAffected(); err == nil && n < purged && table == "records" {
			err = purgeShared(ctx, tx, before)
		}
		if n == 0 || err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `PRAGMA incremental_vacuum`)
		return err
	})
	return n, err
}

// purgeShared deletes what no record has any more.
func purgeShared(ctx context.Context, tx *sql.Tx, before time.Time) error {
	for _, table := range []string{"callers", "ways"} {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE seen < ?`, before.UnixMicro()); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM ids WHERE first < (SELECT max(first) FROM ids WHERE first <= (SELECT min(record) FROM records))`)
	return err
}

// refusedLite marks errors that speak of values.
func refusedLite(err error) error {
	var failed *liteError
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.code & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (e *sqliteEngine) close() error {
	e.opening.Lock()
	defer e.opening.Unlock()
	e.closed = true
	e.say(sql.ErrConnDone)
	e.up.Store(false)
	e.turn.Lock()
	defer e.turn.Unlock()
	if e.writer != nil {
		e.writer.close()
		e.writer = nil
	}
	return e.db.Close()
}
