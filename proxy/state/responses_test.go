package state

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestResponses(t *testing.T) { both(t, testResponses) }

func testResponses(t *testing.T, url string) {
	s := opened(t, url)
	want := &Response{
		ID: "resp_1", Tenant: "a", Provider: "anthropic", Previous: "resp_0", Body: []byte(`{"id":"resp_1"}`), Input: []byte(`[1]`), Output: []byte(`[2]`),
		Created: time.UnixMilli(1_700_000_000_123), Expires: time.Now().Add(time.Hour).Truncate(time.Millisecond),
	}
	if err := s.Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "a", "resp_1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	want.Body = []byte(`{}`)
	if err := s.Put(t.Context(), want); err != nil { // once more
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), "a", "resp_1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	s.Remember(&Response{ID: "resp_2", Tenant: "a", Provider: "openai"})
	if found, err := s.Delete(t.Context(), "a", "resp_1"); !found || err != nil {
		t.Errorf("not deleted: %v", err)
	}
	if found, err := s.Delete(t.Context(), "a", "resp_1"); found || err != nil {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := s.Get(t.Context(), "a", "resp_1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("deleted: %v", err)
	}
	if got, err := s.Get(t.Context(), "a", "resp_2"); err != nil || got.Body != nil || got.Provider != "openai" || !got.Expires.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTenants(t *testing.T) { both(t, testTenants) }

func testTenants(t *testing.T, url string) {
	s := opened(t, url)
	for _, r := range []*Response{
		{ID: "resp_a", Tenant: "a", Body: []byte("{}")},
		{ID: "resp_b", Tenant: "b", Body: []byte("{}"), Previous: "resp_a"},
	} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	_, theirs := s.Get(t.Context(), "b", "resp_a")
	_, none := s.Get(t.Context(), "b", "resp_x")
	if !errors.Is(theirs, ErrUnknown) || theirs.Error() != none.Error() {
		t.Errorf("%v and %v", theirs, none)
	}
	if found, err := s.Delete(t.Context(), "b", "resp_a"); found || err != nil {
		t.Errorf("deleted another's: %v", err)
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_a", Tenant: "b", Body: []byte("x")}); err == nil {
		t.Error("took another's place")
	}
	if _, err := s.Thread(t.Context(), "b", "resp_b", 1000); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "resp_a") {
		t.Errorf("a thread into another's: %v", err)
	}
	if tenant, _, ok, err := s.Owner(t.Context(), "resp_a"); tenant != "a" || !ok || err != nil {
		t.Errorf("%s %t %v", tenant, ok, err)
	}
	if _, _, ok, err := s.Owner(t.Context(), "resp_x"); ok || err != nil {
		t.Errorf("%t %v", ok, err)
	}
}

func TestThread(t *testing.T) { both(t, testThread) }

func testThread(t *testing.T, url string) {
	s := opened(t, url)
	var wg sync.WaitGroup
	for i := range mostTurns + 2 {
		wg.Go(func() {
			r := &Response{ID: fmt.Sprint("resp_", i), Tenant: "a", Body: []byte("{}"), Input: fmt.Appendf(nil, `["%d"]`, i), Output: []byte("[]")}
			if i > 0 {
				r.Previous = fmt.Sprint("resp_", i-1)
			}
			if err := s.Put(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	thread, err := s.Thread(t.Context(), "a", "resp_3", 1000)
	if err != nil || len(thread) != 4 {
		t.Fatalf("%+v, %v", thread, err)
	}
	for i, r := range thread {
		if string(r.Input) != fmt.Sprintf(`["%d"]`, i) {
			t.Errorf("turn %d: %s", i, r.Input)
		}
	}
	if thread, err := s.Thread(t.Context(), "a", fmt.Sprint("resp_", mostTurns-1), 1<<20); err != nil || len(thread) != mostTurns {
		t.Errorf("%d turns, %v", len(thread), err)
	}
	if _, err := s.Thread(t.Context(), "a", fmt.Sprint("resp_", mostTurns+1), 1<<20); !errors.Is(err, ErrTooLong) {
		t.Errorf("too many turns: %v", err)
	}
	for _, r := range []*Response{
		{ID: "resp_gap", Tenant: "a", Body: []byte("{}"), Previous: "resp_none"},
		{ID: "resp_loop", Tenant: "a", Body: []byte("{}"), Previous: "resp_loop"},
		{ID: "resp_far", Tenant: "a", Provider: "openai"},
		{ID: "resp_onward", Tenant: "a", Body: []byte("{}"), Previous: "resp_far"},
		{ID: "resp_big", Tenant: "a", Body: []byte("{}"), Input: make([]byte, 501)},
		{ID: "resp_bigger", Tenant: "a", Body: []byte("{}"), Input: make([]byte, 500), Previous: "resp_big"},
	} {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]error{"resp_gap": ErrUnknown, "resp_loop": ErrTooLong, "resp_onward": ErrElsewhere, "resp_bigger": ErrTooLong} {
		if _, err := s.Thread(t.Context(), "a", id, 1000); !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// A thread reads neither the responses themselves nor what is too long for it.
func TestThreadReadsItemsOnly(t *testing.T) { both(t, testThreadReadsItemsOnly) }

func testThreadReadsItemsOnly(t *testing.T, url string) {
	s := opened(t, url)
	const large = 4 << 20
	for i := range 4 {
		r := &Response{ID: fmt.Sprint("resp_", i), Tenant: "a", Body: make([]byte, large), Input: []byte("[1]"), Output: []byte("[2]")}
		if i > 0 {
			r.Previous = fmt.Sprint("resp_", i-1)
		}
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_long", Tenant: "a", Body: []byte("{}"), Input: make([]byte, large), Output: make([]byte, large)}); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	thread, err := s.Thread(t.Context(), "a", "resp_3", 24)
	_, tooLong := s.Thread(t.Context(), "a", "resp_long", 1000)
	_, tooMany := s.Thread(t.Context(), "a", "resp_3", 23)
	runtime.ReadMemStats(&after)
	if err != nil || len(thread) != 4 || thread[0].ID != "resp_0" || thread[0].Body != nil || string(thread[3].Output) != "[2]" {
		t.Errorf("%+v, %v", thread, err)
	}
	if !errors.Is(tooLong, ErrTooLong) || !errors.Is(tooMany, ErrTooLong) {
		t.Errorf("%v, %v", tooLong, tooMany)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > large/2 {
		t.Errorf("%d bytes were read", n)
	}
}

func TestExpiry(t *testing.T) { both(t, testExpiry) }

func testExpiry(t *testing.T, url string) {
	var mu sync.Mutex
	clock := time.Unix(1_700_000_000, 0)
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return clock
	}
	s, err := open(t.Context(), url, now, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const many = 3*purged + 5
	for i := range many {
		s.Remember(&Response{ID: fmt.Sprint("resp_", i), Tenant: "a", Provider: "openai", Expires: clock.Add(time.Hour)})
		if i == queued/2 { // let the writer come after
			if err := s.Put(t.Context(), &Response{ID: "resp_kept", Tenant: "a", Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Put(t.Context(), &Response{ID: "resp_later", Tenant: "a", Body: []byte("{}"), Expires: clock.Add(2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s); n != many+2 {
		t.Fatalf("%d rows", n)
	}
	mu.Lock()
	clock = clock.Add(time.Hour)
	mu.Unlock()
	if _, err := s.Get(t.Context(), "a", "resp_1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("expired: %v", err)
	}
	if _, _, ok, err := s.Owner(t.Context(), "resp_1"); ok || err != nil {
		t.Errorf("expired: %t %v", ok, err)
	}
	for deadline := time.Now().Add(time.Minute); count(t, s) > 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := count(t, s); n != 2 {
		t.Errorf("%d rows are left", n)
	}
	for _, id := range []string{"resp_kept", "resp_later"} {
		if _, err := s.Get(t.Context(), "a", id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func count(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.db.QueryRow(`SELECT COUNT(*) FROM responses`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConcurrentUse(t *testing.T) { both(t, testConcurrentUse) }

func testConcurrentUse(t *testing.T, url string) {
	s := opened(t, url)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			tenant := fmt.Sprint("t", worker%3)
			for i := range 30 {
				id := fmt.Sprintf("resp_%d_%d", worker, i)
				if err := s.Put(t.Context(), &Response{ID: id, Tenant: tenant, Body: []byte(id)}); err != nil {
					t.Error(err)
				}
				if r, err := s.Get(t.Context(), tenant, id); err != nil || string(r.Body) != id {
					t.Errorf("%s: %v", id, err)
				}
				if i%5 == 0 {
					if found, err := s.Delete(t.Context(), tenant, id); !found || err != nil {
						t.Errorf("%s: %v", id, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkSQLite(b *testing.B) {
	s, err := Open(b.Context(), "sqlite:"+b.TempDir()+"/state.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.Run("Put", func(b *testing.B) { benchmarkPut(b, s) })
	b.Run("Revision", func(b *testing.B) { benchmarkRevision(b, s) })
	b.Run("Denials", func(b *testing.B) {
		for b.Loop() {
			s.Record(Entry{Kind: Denial, Action: "auth", From: "192.0.2.1"})
		}
	})
}

func benchmarkPut(b *testing.B, s *Store) {
	body := make([]byte, 4000)
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if err := s.Put(b.Context(), &Response{ID: fmt.Sprintf("resp_%p_%d", pb, i), Tenant: "a", Body: body}); err != nil {
				b.Error(err)
			}
		}
	})
}

func benchmarkRevision(b *testing.B, s *Store) {
	for b.Loop() {
		if _, err := s.Revision(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
