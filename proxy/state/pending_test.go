package state

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestPending(t *testing.T) { both(t, testPending) }

// Each record is claimed by one of all who want it, however often they say so, and by nobody of another tenant.
func testPending(t *testing.T, url string) {
	stores := []*Store{opened(t, url), opened(t, url)}
	const many = 20
	due := time.Now().Add(time.Hour)
	id := func(i int) string { return fmt.Sprint("resp_", i) }
	for i := range many {
		if err := stores[i%2].PutPending(t.Context(), &Response{ID: id(i), Tenant: "acme", Provider: "p"}, []byte(id(i)), due); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := stores[1].Get(t.Context(), "acme", id(0)); err != nil || r.Provider != "p" {
		t.Error(r, err)
	}
	for _, tenant := range []string{"globex", "", "\x00"} {
		if got, err := stores[0].Pending(t.Context(), tenant, id(0)); got != nil || err != nil {
			t.Errorf("%q: %q, %v", tenant, got, err)
		}
		if held, err := stores[0].Claim(t.Context(), NewClaim(tenant, id(0))); held || err != nil {
			t.Errorf("%q: %v, %v", tenant, held, err)
		}
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for _, s := range stores {
		for range 3 {
			wg.Go(func() {
				for i := range many {
					got, err := s.Pending(t.Context(), "acme", id(i))
					if got != nil && string(got) != id(i) || err != nil {
						t.Errorf("%q, %v", got, err)
					}
					c, held := NewClaim("acme", id(i)), false
					for range 3 {
						if err := insist(s, func() (err error) {
							held, err = s.Claim(t.Context(), c)
							return err
						}); err != nil {
							t.Error(err)
						}
					}
					if held {
						mu.Lock()
						taken[id(i)]++
						mu.Unlock()
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range many {
		if taken[id(i)] != 1 {
			t.Errorf("%s was claimed %d times", id(i), taken[id(i)])
		}
		if got, err := stores[0].Pending(t.Context(), "acme", id(i)); got != nil || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := stores[0].PutPending(t.Context(), &Response{ID: id(0), Tenant: "globex"}, []byte("x"), due); err == nil {
		t.Error("another tenant's response")
	}
}

func TestPendingOverdue(t *testing.T) { both(t, testPendingOverdue) }

// What nobody took in time is handed over, once, to one of the stores that have somebody to take it.
func testPendingOverdue(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Millisecond)
	idle := opened(t, url) // has nobody
	got := make(chan string, 2*purged+10)
	put := func(id string, due time.Time) {
		t.Helper()
		if err := insist(idle, func() error {
			return idle.PutPending(t.Context(), &Response{ID: id, Tenant: "acme"}, []byte(id), due)
		}); err != nil {
			t.Error(err)
		}
	}
	var want []string
	var wg sync.WaitGroup
	for i := range purged + 5 {
		want = append(want, fmt.Sprint("late_", i))
		id := want[i]
		wg.Go(func() { put(id, clock.now()) })
	}
	wg.Wait()
	put("early", clock.now().Add(time.Hour))
	refused := false
	s.Overdue(func(c Claim, record []byte) (settle func(bool)) {
		if !refused { // it is offered again
			refused = true
			return nil
		}
		if c.ID != string(record) || c.Tenant != "acme" {
			t.Errorf("%+v of %q", c, record)
		}
		return func(held bool) {
			if held {
				got <- string(record)
			}
		}
	})
	var all []string
	for range want {
		all = append(all, <-got)
	}
	slices.Sort(all)
	if slices.Sort(want); !slices.Equal(all, want) {
		t.Errorf("%v", all)
	}
	if record, err := s.Pending(t.Context(), "acme", "late_0"); record != nil || err != nil {
		t.Errorf("%q, %v", record, err)
	}
	clock.add(time.Hour) // the next tick sees it
	if next := <-got; next != "early" {
		t.Error(next)
	}
	s.Overdue(nil)
	put("never", clock.now())
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if record, err := s.Pending(t.Context(), "acme", "never"); string(record) != "never" || err != nil {
		t.Errorf("%q, %v", record, err)
	}
	clock.add(2 * claimKept)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for claimed := 1; claimed > 0; { // what was claimed goes, what was not stays
		if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM pending WHERE claim <> ''`).Scan(&claimed); err != nil {
			t.Fatal(err)
		}
	}
	if record, err := s.Pending(t.Context(), "acme", "never"); string(record) != "never" || err != nil {
		t.Errorf("%q, %v", record, err)
	}
	if len(got) > 0 {
		t.Errorf("%d too many", len(got))
	}
}

func TestPendingSettled(t *testing.T) { both(t, testPendingSettled) }

// A claim of which an error has left open whether it holds is settled when the database answers, before anything is offered. One of
// what was never put, as the error was there, holds: nobody else is to record it.
func testPendingSettled(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	put := func(id string) {
		if err := s.PutPending(t.Context(), &Response{ID: id, Tenant: "acme"}, []byte(id), clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"held", "lost", "offered"} {
		put(id)
	}
	mine, another := NewClaim("acme", "held"), NewClaim("acme", "lost")
	for _, c := range []Claim{mine, NewClaim("acme", "lost")} {
		if held, err := s.Claim(t.Context(), c); !held || err != nil {
			t.Fatal(held, err)
		}
	}
	got := make(chan string, 10)
	say := func(name string) func(bool) { return func(held bool) { got <- fmt.Sprint(name, " ", held) } }
	s.Settle(mine, say("held"))
	s.Settle(another, say("lost"))
	s.Settle(NewClaim("acme", "never put"), say("never put"))
	s.Overdue(func(c Claim, _ []byte) func(bool) { return say(c.ID) })
	for _, want := range []string{"held true", "lost false", "never put true", "offered true"} {
		if have := <-got; have != want {
			t.Errorf("%s, want %s", have, want)
		}
	}
	put("never put") // late
	if record, err := s.Pending(t.Context(), "acme", "never put"); record != nil || err != nil {
		t.Errorf("%q, %v", record, err)
	}
	s.Overdue(nil)
}
