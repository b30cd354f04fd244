package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// remember posts n responses from the first on, and has the store try to write them.
func remember(t *testing.T, s *Store, first, n int) {
	t.Helper()
	for i := range n {
		s.Remember(&Response{ID: fmt.Sprint("resp_", first+i), Tenant: "a", Provider: "openai"})
	}
	if err := s.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Fatalf("the database is not locked: %v", err)
	}
}

func known(t *testing.T, s *Store, id string) bool {
	t.Helper()
	_, _, ok, err := s.Owner(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestRememberOutlivesAStall(t *testing.T) { both(t, testRememberOutlivesAStall) }

func testRememberOutlivesAStall(t *testing.T, url string) {
	s, free := locked(t, url)
	remember(t, s, 0, 1)
	s.Remember(&Response{ID: "resp_1", Tenant: "a", Provider: "openai"})
	free()
	for deadline := time.Now().Add(time.Minute); !(known(t, s, "resp_0") && known(t, s, "resp_1")); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not written when the database was back")
		}
	}
	if s.Dropped() != 0 {
		t.Errorf("%d dropped", s.Dropped())
	}
}

// What comes after a write that failed comes after it still, and all that failed is written with the next that waits.
func TestStallKeepsOrder(t *testing.T) { both(t, testStallKeepsOrder) }

func testStallKeepsOrder(t *testing.T, url string) {
	s, free := locked(t, url)
	const many = 3 * grouped
	remember(t, s, 0, many)
	free()
	if found, err := s.Delete(t.Context(), "a", "resp_0"); !found || err != nil {
		t.Errorf("what was remembered is not there to be deleted: %v", err)
	}
	if n := count(t, s); n != many-1 {
		t.Errorf("%d rows, want %d", n, many-1)
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a", Provider: "azure"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, provider, _, err := s.Owner(t.Context(), "resp_1"); provider != "azure" || err != nil || known(t, s, "resp_0") {
		t.Errorf("%s, %v: an earlier write came later", provider, err)
	}
}

func TestCloseTriesOnceMore(t *testing.T) { both(t, testCloseTriesOnceMore) }

func testCloseTriesOnceMore(t *testing.T, url string) {
	s, free := locked(t, url)
	remember(t, s, 0, 3)
	free()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := opened(t, url)
	if count(t, again) != 3 {
		t.Errorf("%d of 3 are there", count(t, again))
	}
	if _, err := again.db.Exec(`DELETE FROM responses`); err != nil {
		t.Fatal(err)
	}
	s, free = locked(t, url)
	var told []error
	s.OnDrop = func(err error) { told = append(told, err) }
	remember(t, s, 0, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free()
	if count(t, again) != 0 || s.Dropped() != 3 || len(told) != 1 {
		t.Errorf("%d are there, %d dropped, told %v", count(t, again), s.Dropped(), told)
	}
}

func TestStallHoldsSoMuch(t *testing.T) { both(t, testStallHoldsSoMuch) }

func testStallHoldsSoMuch(t *testing.T, url string) {
	s, free := locked(t, url)
	var told []error
	s.OnDrop = func(err error) { told = append(told, err) }
	const part = queued / 2
	for i := range 5 {
		remember(t, s, i*part, part)
	}
	if s.Dropped() != 3*part || len(told) != 1 || told[0] != errFull {
		t.Errorf("%d dropped, told %v", s.Dropped(), told)
	}
	free()
	if err := s.Flush(t.Context()); err != nil || count(t, s) != queued || !known(t, s, "resp_0") {
		t.Errorf("%d rows, %v", count(t, s), err)
	}
}

// What fails for its own sake is not tried again.
func TestRememberAnothers(t *testing.T) { both(t, testRememberAnothers) }

func testRememberAnothers(t *testing.T, url string) {
	s := opened(t, url)
	var told []error
	s.OnDrop = func(err error) { told = append(told, err) }
	if err := s.Put(t.Context(), &Response{ID: "resp_1", Tenant: "a"}); err != nil {
		t.Fatal(err)
	}
	s.Remember(&Response{ID: "resp_1", Tenant: "b"})
	s.Remember(&Response{ID: "resp_2", Tenant: "b"})
	for range 2 {
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Dropped() != 1 || len(told) != 1 || !strings.Contains(told[0].Error(), "resp_1 is another tenant's") || !known(t, s, "resp_2") {
		t.Errorf("%d dropped, told %v", s.Dropped(), told)
	}
}

// What piled up in an outage is more than a slow server can write in one transaction, and is written all the same, in order.
func TestBacklogOfASlowServer(t *testing.T) {
	s := opened(t, "sqlite:"+file(t))
	var down atomic.Bool
	down.Store(true)
	errDown, passing := errors.New("down"), s.passing
	s.passing = func(err error) bool {
		return errors.Is(err, errDown) || errors.Is(err, context.DeadlineExceeded) || passing(err)
	}
	const many, room = queued - 24, 10 // so many writes in a transaction is what the server can do in its time
	var current *sql.Tx
	made, last := 0, -1
	slow := func(ctx context.Context, tx *sql.Tx, n int) error {
		if down.Load() {
			return errDown
		}
		if tx != current {
			current, made = tx, 0
		}
		if made++; made > room {
			return context.DeadlineExceeded
		}
		if n > last+1 {
			t.Errorf("%d is written after %d", n, last)
		}
		last = n
		return put(ctx, tx, &Response{ID: fmt.Sprint("resp_", n), Tenant: "a"})
	}
	for n := range many {
		s.post(&write{lost: &s.dropped, do: func(ctx context.Context, tx *sql.Tx) error { return slow(ctx, tx, n) }})
	}
	if err := s.Flush(t.Context()); !errors.Is(err, errDown) {
		t.Fatalf("the database is not down: %v", err)
	}
	down.Store(false)
	tries := 1
	for ; s.Flush(t.Context()) != nil && tries < 1000; tries++ {
	}
	if n := count(t, s); n != many || s.Dropped() != 0 {
		t.Errorf("%d of %d are written after %d tries, %d dropped", n, many, tries, s.Dropped())
	}
	if last != many-1 {
		t.Errorf("the last one written is %d", last)
	}
}
