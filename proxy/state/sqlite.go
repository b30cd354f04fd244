package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
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
// sync it costs is shared by all who wait.
const pragmas = "?_txlock=immediate&_pragma=busy_timeout(2000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"

// openSQLite opens a file that only its owner may read: it holds what people said.
func openSQLite(ctx context.Context, path string) (db *sql.DB, pin *sql.Conn, err error) {
	if path == ":memory:" {
		return openMemory(ctx)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		err = file.Close()
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err != nil {
		return nil, nil, err
	}
	db, err = sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+pragmas)
	if err == nil {
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
	}
	return db, nil, err
}

// openMemory makes a database that all connections share. One is the pin; the others take turns, as a second would only
// find the database locked.
func openMemory(ctx context.Context) (db *sql.DB, pin *sql.Conn, err error) {
	if db, err = sql.Open("sqlite", "file:/"+rand.Text()+pragmas+"&vfs=memdb"); err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(2)
	if pin, err = db.Conn(ctx); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, pin, nil
}

// readOnly tells that nothing can be created or written where the database is to be.
func readOnly(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return slices.Contains([]int{sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}, e.Code()&0xff)
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
