package state

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnce(t *testing.T) { both(t, testOnce) }

func testOnce(t *testing.T, url string) {
	stores := []*Store{opened(t, url), opened(t, url), opened(t, url)}
	const keys = 20
	var first [keys]atomic.Int64
	var wg sync.WaitGroup
	for i, s := range stores {
		for range 3 {
			wg.Go(func() {
				for n := range keys {
					k := []int{n, keys - 1 - n, (n + keys/2) % keys}[i] // each in another order
					var got bool
					err := insist(s, func() (err error) {
						got, err = s.Once(t.Context(), fmt.Sprint("budget ", k), time.Now().Add(time.Hour))
						return err
					})
					if err != nil {
						t.Error(err)
					}
					if got {
						first[k].Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	for k := range first {
		if n := first[k].Load(); n != 1 {
			t.Errorf("budget %d: %d were first", k, n)
		}
	}
}

func TestOnceIsAgain(t *testing.T) { both(t, testOnceIsAgain) }

func testOnceIsAgain(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Millisecond)
	until := clock.now().Add(time.Hour)
	for i, step := range []struct {
		wait time.Duration
		want bool
	}{{0, true}, {0, false}, {time.Hour - time.Millisecond, false}, {time.Millisecond, true}, {0, false}} {
		clock.add(step.wait)
		if i == 3 {
			until = until.Add(time.Hour)
		}
		if got, err := s.Once(t.Context(), "a", until); got != step.want || err != nil {
			t.Errorf("step %d: %t, %v", i, got, err)
		}
	}
	rows := func() (n int) {
		if err := s.db.QueryRow(`SELECT COUNT(*) FROM once`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if rows() != 1 {
		t.Errorf("%d rows", rows())
	}
	clock.add(time.Hour + onceKept)
	eventually(t, func() bool { return rows() == 0 })
}

// Who asks until a time that has been takes nothing from whoever asks next, and learns whether the key is anyone's.
func TestOnceAsks(t *testing.T) { both(t, testOnceAsks) }

func testOnceAsks(t *testing.T, url string) {
	s, past := opened(t, url), time.Unix(0, 0)
	for i, step := range []struct {
		until time.Time
		want  bool
	}{{past, true}, {past, true}, {time.Now().Add(time.Hour), true}, {past, false}, {time.Now().Add(time.Hour), false}} {
		if got, err := s.Once(t.Context(), "a", step.until); got != step.want || err != nil {
			t.Errorf("step %d: %t, %v", i, got, err)
		}
	}
}
