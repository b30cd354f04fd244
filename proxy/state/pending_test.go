package state

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestPending(t *testing.T) { both(t, testPending) }

// Each record goes to one of all who ask for it, and to nobody of another tenant.
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
		if got, err := stores[0].TakePending(t.Context(), tenant, id(0)); got != nil || err != nil {
			t.Errorf("%q: %q, %v", tenant, got, err)
		}
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for _, s := range stores {
		for range 3 {
			wg.Go(func() {
				for i := range many {
					var got []byte
					err := insist(s, func() (err error) {
						got, err = s.TakePending(t.Context(), "acme", id(i))
						return err
					})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					taken[string(got)]++
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	for i := range many {
		if taken[id(i)] != 1 {
			t.Errorf("%s was taken %d times", id(i), taken[id(i)])
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
	s.Overdue(func(record []byte) { got <- string(record) })
	var all []string
	for range want {
		all = append(all, <-got)
	}
	slices.Sort(all)
	if slices.Sort(want); !slices.Equal(all, want) {
		t.Errorf("%v", all)
	}
	if record, err := s.TakePending(t.Context(), "acme", "late_0"); record != nil || err != nil {
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
	if record, err := s.TakePending(t.Context(), "acme", "never"); string(record) != "never" || err != nil {
		t.Errorf("%q, %v", record, err)
	}
	if len(got) > 0 {
		t.Errorf("%d too many", len(got))
	}
}
