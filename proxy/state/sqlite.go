package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"modernc.org/sqlite" // the driver, in Go
	sqlite3 "modernc.org/sqlite/lib"
)

// pragmas of every connection. With synchronous FULL an answered write outlives not only the process but the machine: the
// sync it costs is shared by all who wait. Transactions that write take turns from their first moment on (immediate).
const pragmas = "?_txlock=immediate&_pragma=busy_timeout(2000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"

// openSQLite opens a file that only its owner may read: it holds what people said.
func openSQLite(ctx context.Context, path string) (*engine, error) {
	e := &engine{name: path, words: func(m migration) string { return m.both + m.sqlite }, passing: passingSQLite}
	err := e.openFile(ctx, path)
	switch {
	case readOnly(err):
		return nil, fmt.Errorf("state database %s: %w: %w", path, err, ErrReadOnly)
	case err != nil:
		return nil, fmt.Errorf("state database %s: %w", path, err)
	}
	return e, nil
}

func (e *engine) openFile(ctx context.Context, path string) (err error) {
	if path == ":memory:" {
		return e.openMemory(ctx)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		err = file.Close()
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err != nil {
		return err
	}
	if e.db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+pragmas); err != nil {
		return err
	}
	e.db.SetMaxOpenConns(8)
	e.db.SetMaxIdleConns(8)
	return nil
}

// openMemory makes a database that all connections share. One is the pin; the others take turns, as a second would only
// find the database locked.
func (e *engine) openMemory(ctx context.Context) (err error) {
	if e.db, err = sql.Open("sqlite", "file:/"+rand.Text()+pragmas+"&vfs=memdb"); err != nil {
		return err
	}
	e.db.SetMaxOpenConns(2)
	if e.pin, err = e.db.Conn(ctx); err != nil {
		return errors.Join(err, e.db.Close())
	}
	return nil
}

// readOnly tells that nothing can be created or written where the database is to be.
func readOnly(err error) bool {
	return hasCode(err, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) ||
		errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// damaged tells that the file is none of SQLite's, or not whole.
func damaged(err error) bool { return hasCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) }

// isLocked tells that another connection has the file for itself.
func isLocked(err error) bool { return hasCode(err, sqlite3.SQLITE_BUSY) }

func passingSQLite(err error) bool {
	return hasCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL)
}

func hasCode(err error, codes ...int) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code()&0xff)
}
