package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hold keeps the writer busy until the function it returns is called: what comes meanwhile is one group.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	until, held := make(chan struct{}), make(chan struct{})
	s.post(&write{do: func(context.Context, *sql.Tx) error {
		close(held)
		<-until
		return nil
	}})
	<-held
	return func() { close(until) }
}

func waiting(s *Store, n int) {
	for len(s.queue) < n {
		time.Sleep(time.Millisecond)
	}
}

func TestGroupHasOneTransaction(t *testing.T) { both(t, testGroupHasOneTransaction) }

func testGroupHasOneTransaction(t *testing.T, url string) {
	s := opened(t, url)
	release := hold(t, s)
	var group atomic.Pointer[sql.Tx]
	var different atomic.Bool
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := s.write(t.Context(), func(_ context.Context, tx *sql.Tx) error {
				if !group.CompareAndSwap(nil, tx) && group.Load() != tx {
					different.Store(true)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	waiting(s, 20)
	release()
	wg.Wait()
	if different.Load() {
		t.Error("what waits together is not written together")
	}
}

// One that fails leaves nothing behind, whether by an error of the database or its own, and takes nothing from the others.
func TestGroupWithFailures(t *testing.T) { both(t, testGroupWithFailures) }

func testGroupWithFailures(t *testing.T, url string) {
	s := opened(t, url)
	release := hold(t, s)
	var wg sync.WaitGroup
	broken := map[int]string{3: `INSERT INTO tenants (name) VALUES (NULL)`, 7: ``, 11: `SELECT broken`}
	for i := range 20 {
		wg.Go(func() {
			err := s.write(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
				if err := put(ctx, tx, &Response{ID: fmt.Sprint("resp_", i), Tenant: "a"}); err != nil {
					return err
				}
				if statement, ok := broken[i]; ok {
					_, err := tx.ExecContext(ctx, statement)
					return errors.Join(err, errors.New("one fails"))
				}
				return nil
			})
			if _, fails := broken[i]; (err != nil) != fails || fails && !strings.Contains(err.Error(), "one fails") {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	waiting(s, 20)
	release()
	wg.Wait()
	for i := range 20 {
		if _, fails := broken[i]; known(t, s, fmt.Sprint("resp_", i)) == fails {
			t.Errorf("write %d: there is %t", i, !fails)
		}
	}
}

// What the database cannot hold is nobody's: it neither fails nor matches.
func TestUnsayable(t *testing.T) { both(t, testUnsayable) }

func testUnsayable(t *testing.T, url string) {
	s := opened(t, url)
	for _, id := range []string{"a\x00", "\xff"} {
		if _, err := s.Get(t.Context(), "a", id); !errors.Is(err, ErrUnknown) {
			t.Errorf("Get %q: %v", id, err)
		}
		if _, err := s.Thread(t.Context(), "a", id, 1); !errors.Is(err, ErrUnknown) {
			t.Errorf("Thread %q: %v", id, err)
		}
		if _, _, ok, err := s.Owner(t.Context(), id); ok || err != nil {
			t.Errorf("Owner %q: %t, %v", id, ok, err)
		}
		if ok, err := s.Delete(t.Context(), "a", id); ok || err != nil {
			t.Errorf("Delete %q: %t, %v", id, ok, err)
		}
		if _, err := s.Once(t.Context(), id, time.Now()); err == nil {
			t.Errorf("Once %q", id)
		}
		if err := s.Put(t.Context(), &Response{ID: id}); err == nil {
			t.Errorf("Put %q", id)
		}
		if err := s.AddTenant(t.Context(), Tenant{Name: id, Config: []byte("{}")}, Entry{}); err == nil {
			t.Errorf("AddTenant %q", id)
		}
		if err := s.AddKey(t.Context(), Key{ID: id, Tenant: "a", Name: "a", Digest: [32]byte{1}}, true, Entry{}); err == nil {
			t.Errorf("AddKey %q", id)
		}
	}
}
