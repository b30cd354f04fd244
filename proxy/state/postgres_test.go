package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// An error names the host and what is wrong, in one line, and never the password: not even where it was written in the wrong
// place.
func TestPostgresURLs(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := closed.Addr().String()
	closed.Close()
	const unreadable, unknown = "postgres URL: it must be postgres://USER:PASSWORD@HOST:PORT/DATABASE", "it must be sqlite:PATH or postgres://"
	for url, want := range map[string]string{
		"postgres://jarvis:s3cr@3t@host/db":                         unreadable,
		"postgres://jarvis:s3cr3t/@host/db":                         unreadable,
		"postgres://jarvis:12/s3cr3t@host/db":                       unreadable,
		"postgres://jarvis:12?s3cr3t@host/db":                       unreadable,
		"postgres://jarvis:12#s3cr3t@host/db":                       unreadable,
		"postgres://jarvis:s3cr3t@host/db#x":                        unreadable,
		"postgres://jarvis:s3cr3t%zz@host/db":                       unreadable,
		"jarvis:s3cr3t@host/db":                                     unknown,
		"host=x password=s3cr3t":                                    unknown,
		"mysql://jarvis:s3cr3t@host/db":                             unknown,
		"postgres://jarvis:s3cr3t@host:99999/db":                    "port",
		"postgres://jarvis:s3cr3t@host:x/db":                        "port",
		"postgres://jarvis:s3cr3t@host/db?sslmode=some":             "sslmode is invalid",
		"postgres://jarvis:s3cr3t@host/db?connect_timeout=x":        "connect_timeout",
		"postgres://jarvis@host/db?password=x&s3cr3t":               "the password stands before the @",
		"postgres://jarvis:a@b?s3cr3t@host/db":                      unreadable,
		"postgres://jarvis:s3cr3t@host/db?pool_max_conns=0":         "postgres://host:5432/db: pool_max_conns: it must be 1 to 1000",
		"postgres://jarvis:s3cr3t@" + away + "/db":                  "postgres://" + away + "/db: ",
		"postgres://jarvis:s3cr3t@" + away + "/db?sslmode=disable":  "refused",
		"postgres://jarvis:s3cr3t@no-such-host.invalid/db":          "postgres://no-such-host.invalid:5432/db: ",
		"postgresql://jarvis:p%3Cs3cr3t@[::1]:1/db?sslmode=disable": "postgres://[::1]:1/db: ",
	} {
		refused(t, url, want)
	}
}

// Whatever a password looks like, nothing of it is taken for something else.
func FuzzPostgresURL(f *testing.F) {
	for _, seed := range [][2]string{{"", ""}, {"@", ""}, {"a@b/", "?"}, {"1/", ""}, {"1?x=", "&"}, {"%41", "%zz"}, {"1#", ""}, {"?password=", "&"}, {"]", "["}, {":", ",:"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		e, err := openPostgres("postgres://jarvis:" + before + "s3cr3t" + after + "@127.0.0.1:1/db?sslmode=disable")
		if err != nil {
			if strings.Contains(strings.ToLower(err.Error()), "s3cr3t") {
				t.Error(err)
			}
			return
		}
		defer e.close()
		if e.name != "postgres://127.0.0.1:1/db" {
			t.Error(e.name)
		}
	})
}

func TestPostgresRefuses(t *testing.T) {
	url := empty(t)
	refused(t, strings.Replace(url, password, "s3cr3t0", 1), "password authentication failed")
	refused(t, strings.Replace(url, "/base", "/nobase", 1), "does not exist")
	refused(t, with(url, "default_transaction_read_only=on"), "read only")
	refused(t, with(url, "no_such_setting=1"), "no_such_setting")
}

func refused(t *testing.T, url, want string) {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, ErrReadOnly) {
		t.Errorf("%s: %v, want %q", url, err, want)
	} else if strings.Contains(err.Error(), "s3cr") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%s: it says too much: %v", url, err)
	}
}

// What is remembered while the server is away is written when it is back; nobody waits long meanwhile.
func TestPostgresRestarts(t *testing.T) {
	server, url := postgres(t), empty(t)
	s := opened(t, url)
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a"}); err != nil {
		t.Fatal(err)
	}
	server.stop()
	began := time.Now()
	s.Remember(&Response{ID: "resp_2", Tenant: "a", Provider: "openai"})
	s.Record(Entry{Kind: Operation, Action: "while away"})
	if err := s.Put(t.Context(), &Response{ID: "resp_3", Tenant: "a"}); err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("written to no server: %v", err)
	}
	if _, err := s.Get(t.Context(), "a", "resp_1"); err == nil || errors.Is(err, ErrUnknown) || strings.Contains(err.Error(), password) {
		t.Errorf("read from no server: %v", err)
	}
	if waited := time.Since(began); waited > 10*patience {
		t.Errorf("waited %v", waited)
	}
	if err := server.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, _, ok, err := s.Owner(t.Context(), "resp_2")
		return ok && err == nil
	})
	if list := entries(t, s, Filter{}); len(list) != 1 || s.Dropped()+s.Missed() != 0 {
		t.Errorf("%+v, %d dropped, %d missed", list, s.Dropped(), s.Missed())
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_3", Tenant: "a"}); err != nil {
		t.Error(err)
	}
}

// A network that swallows everything holds nobody up for longer than the store's patience, with whatever context.
func TestPostgresIsSilent(t *testing.T) {
	server, url := postgres(t), empty(t)
	relay := newRelay(t, server.port)
	s := opened(t, relay.url(t, url))
	ctx := context.Background()
	if err := s.Put(ctx, &Response{ID: "resp_1", Tenant: "a", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(ctx); err != nil { // the writer is idle
		t.Fatal(err)
	}
	s.patience = 300 * time.Millisecond
	relay.gate.Lock()
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"Get":       func() error { _, err := s.Get(ctx, "a", "resp_1"); return err },
		"Owner":     func() error { _, _, _, err := s.Owner(ctx, "resp_1"); return err },
		"Thread":    func() error { _, err := s.Thread(ctx, "a", "resp_1", 100); return err },
		"Put":       func() error { return s.Put(ctx, &Response{ID: "resp_2", Tenant: "a"}) },
		"Delete":    func() error { _, err := s.Delete(ctx, "a", "resp_1"); return err },
		"Directory": func() error { _, err := s.Directory(ctx); return err },
		"Revision":  func() error { _, err := s.Revision(ctx); return err },
		"Audit":     func() error { _, err := s.Audit(ctx, Filter{}); return err },
		"Once":      func() error { _, err := s.Once(ctx, "x", time.Now()); return err },
		"AddTenant": func() error { return s.AddTenant(ctx, Tenant{Name: "a", Config: []byte("{}")}, Entry{}) },
	} {
		for range 3 {
			wg.Go(func() {
				began := time.Now()
				if err := call(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
				if waited := time.Since(began); waited > time.Minute {
					t.Errorf("%s waited %v", name, waited)
				}
			})
		}
	}
	s.Remember(&Response{ID: "resp_3", Tenant: "a", Provider: "openai"})
	wg.Wait()
	relay.gate.Unlock()
	eventually(t, func() bool {
		_, _, ok, err := s.Owner(ctx, "resp_3")
		return ok && err == nil
	})
}

// A slow server gives up by itself what the gateway no longer waits for.
func TestPostgresIsLocked(t *testing.T) {
	url := empty(t)
	s, free := locked(t, url)
	s.patience = time.Hour // it is the server that gives up
	began := time.Now()
	err := s.Put(context.Background(), &Response{ID: "resp_1", Tenant: "a"})
	if waited := time.Since(began); err == nil || !strings.Contains(err.Error(), "lock timeout") || waited > time.Minute {
		t.Errorf("waited %v: %v", waited, err)
	}
	free()
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a"}); err != nil {
		t.Error(err)
	}
	slow := opened(t, with(url, "statement_timeout=50"))
	if _, err := slow.db.Exec(`SELECT pg_sleep(60)`); err == nil || !strings.Contains(err.Error(), "statement timeout") {
		t.Errorf("the URL's limit: %v", err)
	}
	for name, want := range map[string]string{
		"statement_timeout": "5s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s", "application_name": "jarvis-gateway",
	} {
		var got string
		if err := opened(t, url).db.QueryRow(`SHOW ` + name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s: %v", name, got, err)
		}
	}
}

// A directory that changes while it is read is read as it was.
func TestPostgresDirectoryIsOfOneMoment(t *testing.T) {
	url := empty(t)
	s, other := opened(t, with(url, "lock_timeout=300000&statement_timeout=300000")), opened(t, url)
	s.patience = time.Hour
	if err := errors.Join(s.AddTenant(t.Context(), Tenant{Name: "a", Config: []byte("{}")}, Entry{}), s.AddKey(t.Context(), newKey("k1", "a"), false, Entry{})); err != nil {
		t.Fatal(err)
	}
	tx, err := other.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`LOCK TABLE keys IN ACCESS EXCLUSIVE MODE; DELETE FROM keys; DELETE FROM tenants`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if d, err := s.Directory(t.Context()); err != nil || len(d.Tenants) != 1 || len(d.Keys) != 1 || d.Revision != 2 {
			t.Errorf("%+v, %v", d, err)
		}
	})
	eventually(t, func() (waits bool) {
		if err := other.db.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestPostgresPool(t *testing.T) {
	url := empty(t)
	s := opened(t, with(url, "pool_max_conns=3&application_name=bounded"))
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for range 5 {
				if _, err := s.Revision(t.Context()); err != nil {
					t.Error(err)
				}
				if err := s.Put(t.Context(), &Response{ID: fmt.Sprint("resp_", i), Tenant: "a"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var n int
	err := s.db.QueryRow(`SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'bounded'`).Scan(&n)
	if err != nil || n > 3 || n == 0 {
		t.Errorf("%d connections: %v", n, err)
	}
}

// Transactions of two gateways that lock each other up are made again.
func TestPostgresDeadlock(t *testing.T) {
	url := empty(t)
	a, b := opened(t, url), opened(t, url)
	put := func(s *Store, first, second string, meet func()) {
		var once sync.Once
		release := hold(t, s)
		var wg sync.WaitGroup
		for _, id := range []string{first, second} {
			n := len(s.queue)
			wg.Go(func() {
				if err := s.Put(t.Context(), &Response{ID: id, Tenant: "a"}); err != nil {
					t.Error(err)
				}
			})
			waiting(s, n+1)
			if id == first {
				s.queue <- &write{lost: &s.dropped, do: func(context.Context, *sql.Tx) error { once.Do(meet); return nil }}
			}
		}
		release()
		wg.Wait()
	}
	var both, wg sync.WaitGroup
	both.Add(2)
	meet := func() { both.Done(); both.Wait() }
	wg.Go(func() { put(a, "resp_1", "resp_2", meet) })
	wg.Go(func() { put(b, "resp_2", "resp_1", meet) })
	wg.Wait()
	if !known(t, a, "resp_1") || !known(t, a, "resp_2") {
		t.Error("lost")
	}
}

func BenchmarkPostgres(b *testing.B) {
	server, err := shared()
	if err != nil {
		b.Skip(err)
	}
	isStarted.Store(true)
	if err := server.do(b.Context(), fmt.Sprint(`CREATE DATABASE bench`, server.bases.Add(1))); err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), server.url(fmt.Sprint("bench", server.bases.Load())))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.Run("Put", func(b *testing.B) { benchmarkPut(b, s) })
	b.Run("Revision", func(b *testing.B) { benchmarkRevision(b, s) })
}
