package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
)

// What is written to a file that was deleted or replaced is not there: it is not acknowledged, and comes again.
func TestMoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open stays where it is")
	}
	for name, move := range map[string]func(path string) error{
		"deleted": os.Remove,
		"renamed": func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usage.db")
			s := opened(t, "sqlite:"+path, Options{})
			list := []*usage.Record{usualRecord(0)}
			write(t, s, "a", list)
			if err := move(path); err != nil {
				t.Fatal(err)
			}
			next := usualRecord(1)
			next.UID = uidOf(1)
			if err := s.Write(t.Context(), "b", []*usage.Record{next}, nil); !errors.Is(err, errMoved) || errors.Is(err, ErrRefused) {
				t.Error(err)
			}
			again := opened(t, "sqlite:"+path, Options{})
			write(t, again, "b", []*usage.Record{next})
			if n := again.number(t, `SELECT count(*) FROM requests`); n != 1 {
				t.Errorf("%d records", n)
			}
		})
	}
	memory := opened(t, "sqlite::memory:", Options{})
	write(t, memory, "a", []*usage.Record{usualRecord(0)})
}

// A gateway starts while somebody else writes for long: what it has to say waits in the spool.
func TestOpenLocked(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "usage.db")
	holder := opened(t, url, Options{}).engine.(*sqliteEngine)
	tx, err := holder.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), url, Options{Keep: Keep{Records: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tx.Rollback(), s.Close()); err != nil {
		t.Error(err)
	}
}
