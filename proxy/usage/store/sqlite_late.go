package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"modernc.org/sqlite" // the driver, in Go
	sqlite3 "modernc.org/sqlite/lib"
)

// A file that is damaged, of a newer gateway, or where nobody may write must not keep a gateway from serving, nor must one that takes
// long to bring up to date: records wait in the spool until it is mended. Until then all that is asked of it is an error.

// Ready opens the database and brings it up to date, where Open has left that for later or the file was lost since. Its error says
// what is wrong and what to do. ClickHouse is ready whenever it answers.
func (s *Store) Ready(ctx context.Context) error { return s.ready(ctx, true) }

// errUpgrading is why nothing is asked of tables that are being brought up to date.
var errUpgrading = errors.New("its tables are being brought up to date")

// ready leaves large tables as they are unless all is to be done.
func (s *Store) ready(ctx context.Context, all bool) error {
	e, ok := s.engine.(*sqliteEngine)
	if !ok {
		return nil
	}
	e.opening.Lock()
	defer e.opening.Unlock()
	switch {
	case e.closed:
		return s.named(sql.ErrConnDone)
	case e.up.Load():
		return nil
	}
	empty, err := e.open()
	if err == nil {
		if !all && !empty {
			err = s.upToDate(ctx)
		}
		if err == nil {
			e.say(errUpgrading)
			err = s.upgrade(context.WithValue(ctx, upgrading{}, true)) // what is old may go later: the disk may be full, or somebody else write for long
		}
	}
	if err != nil {
		err = advised(err)
		e.lose(err)
		return s.named(err)
	}
	e.writer.keepLog(false)
	e.up.Store(true)
	return nil
}

func (s *Store) upToDate(ctx context.Context) error {
	list, err := s.pending(context.WithValue(ctx, upgrading{}, true))
	if err == nil && len(list) > 0 {
		err = errUpgrading
	}
	return err
}

// upgrading marks who may ask before all others.
type upgrading struct{}

// gate makes connections once the file is ready.
type gate struct {
	driver.Connector
	e *sqliteEngine
}

func (g gate) Connect(ctx context.Context) (driver.Conn, error) {
	if ctx.Value(upgrading{}) == nil {
		if err := g.e.usable(); err != nil {
			return nil, err
		}
	}
	return g.Connector.Connect(ctx)
}

// gated is for questions. It makes no connection yet.
func (e *sqliteEngine) gated(uri string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(uri)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(gate{c, e})
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db, nil
}

// usable is why the file is not ready, nil where it is.
func (e *sqliteEngine) usable() error {
	if e.up.Load() {
		return nil
	}
	e.saying.Lock()
	defer e.saying.Unlock()
	return e.trouble
}

func (e *sqliteEngine) say(err error) {
	e.saying.Lock()
	defer e.saying.Unlock()
	e.trouble = err
}

// lose gives up the file until it is ready again. A log that is there beside it stays as it is.
func (e *sqliteEngine) lose(why error) {
	e.say(why)
	e.up.Store(false)
	e.turn.Lock()
	defer e.turn.Unlock()
	e.db.SetMaxIdleConns(0) // closes those of the file that was there
	e.db.SetMaxIdleConns(8)
	if e.writer != nil {
		e.writer.keepLog(true)
		e.writer.close()
		e.writer = nil
	}
}

// keepLog says whether the last one to close the file leaves it as it is, and the log of what was written beside it.
func (l *link) keepLog(keep bool) { l.configure(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep) }

// advised tells what to do about an error.
func advised(err error) error {
	switch {
	case hasCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
		return fmt.Errorf("%w: the file is damaged, and nothing is written to it. Move it elsewhere, with the files beside it that end in -wal and -shm: "+
			"the gateway goes on with a new one. What it holds may be got out by: sqlite3 FILE .recover", err)
	case hasCode(err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: let the gateway create and write the file, or set stores.usage to another place", err)
	}
	return err
}

// isLost tells that a file is of no use any more, or another one, or has to be opened anew: after an error of the disk what the
// connection knows of the log may not be so.
func isLost(err error) bool {
	return errors.Is(err, errMoved) || hasCode(err, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)
}

func hasCode(err error, codes ...int) bool {
	var own *liteError
	if errors.As(err, &own) {
		return slices.Contains(codes, int(own.code&0xff))
	}
	var e *sqlite.Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code()&0xff)
}
