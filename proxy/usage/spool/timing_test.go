package spool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

func TestBatchTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, BatchRecords: 100, BatchBytes: 1000})
		defer abandon(l)
		s := newSink(t)
		l.Ship(s.deliver)
		step := func(what string, wait time.Duration, sizes ...int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if !slices.Equal(s.sizes, sizes) {
				t.Errorf("%s: batches of %v, want %v", what, s.sizes, sizes)
			}
			s.sizes = nil
		}
		add(t, l, "a", "b")
		step("before its time", 900*time.Millisecond)
		add(t, l, "c")
		step("in time", 200*time.Millisecond, 3)
		step("nothing", time.Minute)
		add(t, l, strings.Split(strings.Repeat("x ", 250), " ")[:250]...)
		step("full", 100*time.Millisecond, 100, 100)
		step("the rest", time.Second, 50)
		add(t, l, strings.Repeat("y", 600), strings.Repeat("y", 600), strings.Repeat("y", 3000), "z")
		step("too many bytes", 100*time.Millisecond, 1, 1, 1)
		step("the rest", time.Second, 1)
	})
}

// After each failure the log waits longer, up to half a minute, and not to the second.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1})
		var calls []time.Time
		l.Ship(func(context.Context, string, [][]byte) error {
			calls = append(calls, time.Now())
			return errDown
		})
		add(t, l, "a")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		st := l.Stats()
		abandon(l)
		if int(st.Failures) != len(calls) || len(calls) < 15 || len(calls) > 30 || !errors.Is(st.LastError, errDown) {
			t.Fatalf("%d calls: %+v", len(calls), st)
		}
		most := 100 * time.Millisecond
		for i := range calls[1:] {
			if d := calls[i+1].Sub(calls[i]); d < most/2 || d > most {
				t.Errorf("pause %d: %v, want %v to %v", i, d, most/2, most)
			}
			most = min(2*most, 30*time.Second)
		}
	})
	if d := spool.Backoff(1 << 20); d < 15*time.Second {
		t.Error(d)
	}
}

// Close gives the sink the time that it was given, and no more.
func TestCloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1})
		l.Ship(func(ctx context.Context, _ string, _ [][]byte) error {
			<-ctx.Done()
			return ctx.Err()
		})
		add(t, l, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if err := l.Close(ctx); err != nil || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if st := l.Stats(); st.Spooled != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// The oldest record is the oldest that was not delivered, also while the log catches up.
func TestOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, BatchRecords: 1})
		began := time.Now()
		var up atomic.Bool
		l.Ship(func(context.Context, string, [][]byte) error {
			if !up.Load() {
				return errDown
			}
			time.Sleep(time.Minute)
			return nil
		})
		add(t, l, "a")
		time.Sleep(time.Hour)
		add(t, l, "b")
		if got := l.Stats().Oldest; got.Unix() != began.Unix() {
			t.Errorf("%v, want %v", got, began)
		}
		up.Store(true)
		time.Sleep(100 * time.Second) // half a minute, and the first record's minute
		if got := l.Stats().Oldest; got.Unix() != began.Add(time.Hour).Unix() {
			t.Errorf("%v, want an hour behind %v", got, began)
		}
		if err := l.Close(t.Context()); err != nil || !l.Stats().Oldest.IsZero() {
			t.Errorf("%v %+v", err, l.Stats())
		}
	})
}

// Records are delivered in order: one whose place is taken and not written yet is waited for.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1})
		s := newSink(t)
		l.Ship(s.deliver)
		add(t, l, "a")
		write := l.Slowly([]byte("b"))
		add(t, l, "c")
		time.Sleep(time.Minute)
		if got := s.got(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%q", got)
		}
		write()
		closed(t, l)
		if got := s.got(); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%q", got)
		}
	})
}

// Who comes while the disk is written waits for the next time: this one began too early for him. All that wait share it.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rounds := 0
		wait := spool.GroupCommit(func() error {
			rounds++
			time.Sleep(time.Second)
			return map[int]error{2: errDown}[rounds]
		})
		began := time.Now()
		for after, want := range map[time.Duration]time.Duration{0: 1000, 300: 2000, 600: 2000, 2500: 3500} {
			go func() {
				time.Sleep(after * time.Millisecond)
				err := wait()
				if took := time.Since(began); took != want*time.Millisecond || (err == errDown) != (want == 2000) {
					t.Errorf("from %d on: %v after %v", after, err, took)
				}
			}()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if rounds != 3 {
			t.Errorf("%d rounds", rounds)
		}
	})
}
