package state

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func opened(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "deep", "er", "state ?#%.db") }

func TestFilesAreTheOwners(t *testing.T) {
	path := file(t)
	s := opened(t, "sqlite:"+path)
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, path + "-wal": 0o600, filepath.Dir(path): 0o700 | os.ModeDir, filepath.Dir(filepath.Dir(path)): 0o700 | os.ModeDir} {
		if stat, err := os.Stat(name); err != nil || stat.Mode() != want {
			t.Errorf("%s: %v, %v", name, stat.Mode(), err)
		}
	}
}

func TestBadURLs(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"":                            "it must be sqlite:PATH",
		"sqlite:":                     "it must be sqlite:PATH",
		"mysql://":                    "mysql: it must be sqlite:PATH or postgres://",
		"sqlite:" + garbage:           "file is not a database",
		"sqlite:" + garbage + "/x":    "not a directory",
		"sqlite:" + torn(t):           "malformed",
		"sqlite:" + newer(t):          fmt.Sprintf("a newer gateway wrote it (version 99 of its tables, this gateway knows %d)", len(migrations)),
		"sqlite:" + t.TempDir() + "/": "is a directory",
	} {
		s, err := Open(t.Context(), url)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strings.TrimSuffix(strings.TrimPrefix(url, "sqlite:"), "://")) {
			t.Errorf("%s: %v, expected %q", url, err, want)
		}
	}
}

// torn is a database of which only the first half is there.
func torn(t *testing.T) string {
	path := file(t)
	s, err := Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := s.Put(t.Context(), &Response{ID: fmt.Sprint("resp_", i), Tenant: "a", Body: make([]byte, 5000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, stat.Size()/2/4096*4096); err != nil {
		t.Fatal(err)
	}
	return path
}

func newer(t *testing.T) string {
	path := file(t)
	s := opened(t, "sqlite:"+path)
	if _, err := s.db.Exec(`INSERT INTO schema_version (version) VALUES (99)`); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLocked has another program hold the database: a caller waits no longer than it wants to, and goes on later.
func TestLocked(t *testing.T) {
	path := file(t)
	s := opened(t, "sqlite:"+path)
	other, err := openSQLite(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	tx, err := other.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := s.Put(ctx, &Response{ID: "resp_1", Tenant: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a locked database: %v", err)
	}
	if _, err := s.Delete(ctx, "a", "resp_1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a locked database: %v", err)
	}
	if waited := time.Since(began); waited > 30*time.Second {
		t.Errorf("waited %v", waited)
	}
	if _, err := s.Get(t.Context(), "a", "resp_0"); !errors.Is(err, ErrUnknown) {
		t.Errorf("reading goes on: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_2", Tenant: "a"}); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

// A database in memory lives as long as its store, whatever becomes of its connections, and is no other store's.
func TestMemory(t *testing.T) {
	s, other := opened(t, "sqlite::memory:"), opened(t, "sqlite::memory:")
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a"}); err != nil {
		t.Fatal(err)
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); err != driver.ErrBadConn {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a", "resp_1"); err != nil {
		t.Errorf("lost with a connection: %v", err)
	}
	if _, err := other.Get(t.Context(), "a", "resp_1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("in another store: %v", err)
	}
}

func TestFullQueue(t *testing.T) { both(t, testFullQueue) }

func testFullQueue(t *testing.T, url string) {
	s := opened(t, url)
	hold, held := make(chan struct{}), make(chan struct{})
	s.post(&write{do: func(context.Context, *sql.Tx) error {
		close(held)
		<-hold
		return nil
	}})
	<-held
	for i := range queued + 10 {
		s.Remember(&Response{ID: fmt.Sprint("resp_", i), Tenant: "a", Provider: "openai"})
	}
	if s.Dropped() != 10 {
		t.Errorf("%d dropped", s.Dropped())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, &Response{ID: "resp_x", Tenant: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
	close(hold)
	if err := s.Put(t.Context(), &Response{ID: "resp_y", Tenant: "a"}); err != nil { // behind all others
		t.Error(err)
	}
	if _, provider, ok, err := s.Owner(t.Context(), fmt.Sprint("resp_", queued-1)); provider != "openai" || !ok || err != nil {
		t.Errorf("the last that was taken: %q %t %v", provider, ok, err)
	}
}

func TestClosed(t *testing.T) { both(t, testClosed) }

func testClosed(t *testing.T, url string) {
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var kept atomic.Int64
	for i := range 50 {
		wg.Go(func() {
			switch err := s.Put(context.Background(), &Response{ID: fmt.Sprint("resp_", i), Tenant: "a"}); {
			case err == nil:
				kept.Add(1)
			case !errors.Is(err, ErrClosed):
				t.Error(err)
			}
		})
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := s.Put(t.Context(), &Response{ID: "resp_late", Tenant: "a"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	s.Remember(&Response{ID: "resp_later", Tenant: "a"})
	t.Logf("%d were written before", kept.Load())
}
