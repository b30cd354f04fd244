package counter_test

import (
	"sync"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

func open(t testing.TB, o counter.Options) *counter.Counters {
	t.Helper()
	c, err := counter.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// admission is a Take that was met, between two times.
type admission struct{ after, before time.Duration }

// TestReplicasShareARate: eight replicas under heavy demand let through what the limit says, in any window.
func TestReplicasShareARate(t *testing.T) {
	for _, near := range []time.Duration{300 * time.Microsecond, 3 * time.Millisecond, 15 * time.Millisecond} {
		t.Run(near.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *wire) {
				w.delay.Store(int64(near))
				shareARate(t, w)
			})
		})
	}
}

func shareARate(t *testing.T, w *wire) {
	const replicas, limit, windows, window = 8, 600, 3, 2500 * time.Millisecond
	spec := counter.Spec{Name: "k", Algorithm: counter.Sliding, Limit: limit, Window: window}
	var mu sync.Mutex
	var all []admission
	var wg sync.WaitGroup
	began := time.Now()
	for range replicas {
		c := w.open(t, counter.Options{OnError: "closed"})
		k := c.Get(spec)
		for range 3 {
			wg.Go(func() {
				for time.Since(began) < windows*window+window/2 {
					after := time.Since(began)
					if _, ok := c.Take(one(k, 1)); ok {
						mu.Lock()
						all = append(all, admission{after, time.Since(began)})
						mu.Unlock()
					}
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
	most := 0
	for _, first := range all {
		n := 0
		for _, a := range all {
			if a.after >= first.after && a.before < first.after+window {
				n++
			}
		}
		most = max(most, n)
	}
	t.Logf("%d admitted, at most %d in a window", len(all), most)
	if most > limit {
		t.Errorf("%d in one window, limit %d", most, limit)
	}
	if want := (windows + 1) * limit; len(all) > want || len(all) < want*99/100 { // all that fits into a window comes when it begins
		t.Errorf("%d in %d windows and a half, want %d", len(all), windows, want)
	}
}
