package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMigrations(t *testing.T) { both(t, testMigrations) }

func testMigrations(t *testing.T, url string) {
	var wg sync.WaitGroup
	for range 4 { // gateways that start at the same time
		wg.Go(func() {
			s, err := Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	was := migrations
	defer func() { migrations = was }()
	more := migration{both: `CREATE TABLE more (x BLOB); `, sqlite: `INSERT INTO more (x) VALUES (x'07')`, postgres: `INSERT INTO more (x) VALUES ('\x07')`}
	migrations = append(was[:len(was):len(was)], more, migration{both: `CREATE TABLE half (x BIGINT); broken`})
	if _, err := Open(t.Context(), url); err == nil || !strings.Contains(err.Error(), fmt.Sprint("migration ", len(was)+2)) {
		t.Fatalf("a broken migration: %v", err)
	}
	migrations = migrations[:len(was)+1]
	s := opened(t, url)
	var x []byte
	var steps int
	err := s.db.QueryRow(`SELECT x, (SELECT COUNT(*) FROM schema_version) FROM more`).Scan(&x, &steps)
	if err != nil || !bytes.Equal(x, []byte{7}) || steps != len(was)+1 {
		t.Errorf("x is %d after %d steps: %v", x, steps, err)
	}
	if _, err := s.db.Exec(`SELECT * FROM half`); err == nil {
		t.Error("half of a migration is there")
	}
}

// A database that the first release wrote. On Postgres none did, but the step is the same.
func TestMigrationFromVersion1(t *testing.T) { both(t, testMigrationFromVersion1) }

func testMigrationFromVersion1(t *testing.T, url string) {
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		old, err := os.ReadFile("testdata/version1.db")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		writeVersion1(t, url)
	}
	s := opened(t, url)
	thread, err := s.Thread(t.Context(), "a", "resp_2", 1000)
	if err != nil || len(thread) != 2 || string(thread[0].Input) != `["one"]` || string(thread[1].Output) != `["four"]` {
		t.Errorf("%+v, %v", thread, err)
	}
	r, err := s.Get(t.Context(), "b", "resp_3")
	if err != nil || r.Provider != "openai" || r.Created.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := s.AddTenant(t.Context(), Tenant{Name: "new", Config: []byte("{}")}, Entry{Actor: "root"}); err != nil {
		t.Error(err)
	}
}

func writeVersion1(t *testing.T, url string) {
	was := migrations
	defer func() { migrations = was }()
	migrations = was[:1]
	e, err := openEngine(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if err := e.migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = e.db.Exec(`INSERT INTO responses (id, tenant, provider, previous, body, input, output, created, expires) VALUES
		('resp_1', 'a', '', '', '{}', '["one"]', '["two"]', 1700000000123, 0), ('resp_2', 'a', '', 'resp_1', '{}', '["three"]', '["four"]', 1700000000123, 0),
		('resp_3', 'b', 'openai', '', NULL, NULL, NULL, 1700000000123, 0)`)
	if err != nil {
		t.Fatal(err)
	}
}

// Who migrates is waited for, however long it takes: longer than a gateway waits for anything else.
func TestMigrationIsWaitedFor(t *testing.T) {
	url := empty(t)
	other, err := openEngine(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	tx, err := other.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(migrateAlone); err != nil {
		t.Fatal(err)
	}
	ready := make(chan error)
	go func() {
		s, err := Open(t.Context(), with(url, "lock_timeout=10&statement_timeout=10"))
		if err == nil {
			err = s.Close()
		}
		ready <- err
	}()
	select {
	case err := <-ready:
		t.Errorf("not waited: %v", err)
	case <-time.After(200 * time.Millisecond):
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := <-ready; err != nil {
			t.Error(err)
		}
	}
}
