package router

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A percentile is at most 8 % off that of the times themselves, whatever they are.
func TestPercentile(t *testing.T) {
	seeded := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() time.Duration{
		"all alike":   func() time.Duration { return 250 * time.Millisecond },
		"even":        func() time.Duration { return time.Duration(seeded.Int64N(int64(2 * time.Second))) },
		"heavy tail":  func() time.Duration { return time.Duration(float64(50*time.Millisecond) / (1 - seeded.Float64())) },
		"two heaps":   func() time.Duration { return time.Duration(1+9*seeded.IntN(2)) * 100 * time.Millisecond },
		"very short":  func() time.Duration { return time.Duration(seeded.Int64N(int64(time.Microsecond))) },
		"for minutes": func() time.Duration { return time.Minute + time.Duration(seeded.Int64N(int64(5*time.Minute))) },
	}
	for name, next := range shapes {
		for _, n := range []int{fewest, 100, 5000} {
			synctest.Test(t, func(t *testing.T) {
				var of times
				var all []time.Duration
				for range n {
					d := next()
					all = append(all, d)
					of.add(time.Now(), d)
					time.Sleep(30 * time.Second / time.Duration(n))
				}
				slices.Sort(all)
				for _, share := range []float64{0.5, 0.9, 0.95, 0.99} {
					rank := int(share*float64(n)+0.999999) - 1
					exact := max(all[rank], shortest)
					got := of.percentile(time.Now(), share)
					if off := float64(got)/float64(exact) - 1; exact < 10*time.Minute && (off > 0.08 || off < -0.08) {
						t.Errorf("%s, %d: p%v is %s, not %s", name, n, 100*share, got, exact)
					}
				}
			})
		}
	}
}

func TestPercentileForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var of times
		for range fewest - 1 {
			of.add(time.Now(), time.Second)
		}
		if d := of.percentile(time.Now(), 0.95); d != 0 {
			t.Errorf("%s of too few", d)
		}
		of.add(time.Now(), time.Second)
		if time.Sleep(200 * time.Millisecond); of.percentile(time.Now(), 0.95) == 0 {
			t.Error("nothing, though there are enough")
		}
		for range 130 { // a little more than the minute that counts
			time.Sleep(500 * time.Millisecond)
			of.add(time.Now(), 100*time.Millisecond)
		}
		if d := of.percentile(time.Now(), 0.99); d > 110*time.Millisecond {
			t.Errorf("%s a minute later", d)
		}
		if time.Sleep(2 * time.Minute); of.percentile(time.Now(), 0.95) != 0 {
			t.Error("what was two minutes ago counts")
		}
	})
}

// The peak rises at once and falls slowly, never above the longest nor below the shortest while calls come.
func TestPeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seeded := rand.New(rand.NewPCG(3, 4))
		var of times
		if of.expected(time.Now()) != 0 {
			t.Error("something is expected of nothing")
		}
		low, high := time.Hour, time.Duration(0)
		for range 5000 {
			d := 10*time.Millisecond + time.Duration(seeded.Int64N(int64(time.Second)))
			low, high = min(low, d), max(high, d)
			of.add(time.Now(), d)
			if got := of.expected(time.Now()); got < d-1 || got < low-1 || got > high {
				t.Fatalf("%s after %s, of %s to %s", got, d, low, high)
			}
			time.Sleep(time.Millisecond)
		}
		of.add(time.Now(), 5*time.Second)
		if got := of.expected(time.Now()); got != 5*time.Second {
			t.Errorf("%s after 5 s", got)
		}
		for range 300 { // half a minute, of calls that take 100 ms
			time.Sleep(100 * time.Millisecond)
			of.add(time.Now(), 100*time.Millisecond)
		}
		if got := of.expected(time.Now()); got < 100*time.Millisecond || got > 500*time.Millisecond {
			t.Errorf("%s half a minute after the peak", got)
		}
		time.Sleep(10 * time.Minute)
		if got := of.expected(time.Now()); got > time.Millisecond {
			t.Errorf("%s long after", got)
		}
	})
}

// Many write and read at once.
func TestTimesAtOnce(t *testing.T) {
	var of times
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 2000 {
				now := time.Now().Add(time.Duration(n) * 40 * time.Millisecond)
				of.add(now, time.Duration(1+i)*10*time.Millisecond)
				share := []float64{0.5, 0.95}[i%2]
				if d := of.percentile(now, share); d > 100*time.Millisecond {
					t.Errorf("%s of at most 80 ms", d)
				}
				of.expected(now)
			}
		})
	}
	all.Wait()
}
