package spool_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// inFiles is what the segments of a folder hold.
func inFiles(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// What was delivered is gone from the disk soon, though its segment has to stay: it is not full, or has a request that has not ended, or
// a record that waits. Nothing else goes, and the next process finds what it would have found.
func TestDeliveredIsOverwritten(t *testing.T) {
	for name, fill := range map[string]int{"one segment": 0, "more segments": 200} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testOverwritten(t, fill) })
		})
	}
}

func testOverwritten(t *testing.T, fill int) {
	o := spool.Options{Dir: t.TempDir(), Segment: 4096, Cut: cutIntent}
	l := open(t, o)
	s := newSink(t)
	l.Ship(s.deliver)
	m := begin(t, l, "an intent that ends")
	begin(t, l, "an intent that is cut")
	add(t, l, "a delivered secret", "")
	for _, r := range numbered(0, fill) {
		add(t, l, r+" a delivered secret")
	}
	end(t, l, m, "the delivered secret of a request")
	time.Sleep(2 * time.Second)
	s.set(func(string, []string, bool) error { return errDown })
	add(t, l, "a record that waits")
	if st := l.Stats(); int(st.Delivered) != 3+fill {
		t.Fatalf("%+v", st)
	}
	if !strings.Contains(inFiles(t, o.Dir), "delivered secret") {
		t.Error("it was overwritten early: the test shows nothing")
	}
	time.Sleep(time.Minute)
	left := inFiles(t, o.Dir)
	if strings.Contains(left, "delivered secret") || !strings.Contains(left, "a record that waits") || !strings.Contains(left, "an intent that is cut") {
		t.Errorf("%d times; %q", strings.Count(left, "delivered secret"), strings.ReplaceAll(left, "\x00", ""))
	}
	killed := o
	killed.Dir = t.TempDir()
	copyFolder(t, o.Dir, killed.Dir)
	abandon(l)
	l = open(t, killed)
	if st := l.Stats(); st.Cut != 1 || st.Torn != 0 || st.Spooled != 2 {
		t.Errorf("%+v", st)
	}
	s = newSink(t)
	l.Ship(s.deliver)
	closed(t, l)
	if want := []string{"a record that waits", "cut an intent that is cut"}; !slices.Equal(s.got(), want) {
		t.Errorf("%q, want %q", s.got(), want)
	}
}

// A log whose place was lost delivers what it has once more, but not what is there no longer.
func TestOverwrittenIsNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spool.Options{Dir: t.TempDir(), Sync: -1}
		l := open(t, o)
		s := newSink(t)
		l.Ship(s.deliver)
		add(t, l, "long ago")
		time.Sleep(time.Minute)
		add(t, l, "just now")
		time.Sleep(2 * time.Second)
		killed := o
		killed.Dir = t.TempDir()
		copyFolder(t, o.Dir, killed.Dir)
		abandon(l)
		if err := os.Remove(filepath.Join(killed.Dir, "place")); err != nil {
			t.Fatal(err)
		}
		l = open(t, killed)
		s = newSink(t)
		l.Ship(s.deliver)
		if st := closed(t, l); st.Emitted != 1 || st.Delivered != 1 || !slices.Equal(s.got(), []string{"just now"}) {
			t.Errorf("%+v: %q", st, s.got())
		}
	})
}

// Segments that are done with are used again while others are needed soon, with nothing in them; then they go.
func TestSegmentsAreUsedAgain(t *testing.T) {
	for _, flush := range []time.Duration{-1, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			made := 0
			o := spool.Options{Dir: t.TempDir(), Sync: flush, Segment: 4096, Max: 1 << 20, BatchWait: 10 * time.Millisecond}.OnDisk(func() error { made++; return nil })
			l := open(t, o)
			s := newSink(t)
			l.Ship(s.deliver)
			for i := range 300 {
				end(t, l, begin(t, l, "intent"), fmt.Sprintf("record %d %s", i, strings.Repeat(" ", 1000)))
				time.Sleep(20 * time.Millisecond)
				balanced(t, l.Stats())
			}
			const filled = 300 / 3
			if made > filled/10 {
				t.Errorf("%d files were made for %d segments", made, filled)
			}
			time.Sleep(time.Second)
			if left := strings.Count(inFiles(t, o.Dir), "record"); left > 3 {
				t.Errorf("%d records that were delivered are left in others than the last segment", left)
			}
			if st := l.Stats(); st.Bytes != onDisk(t, o.Dir) || st.Bytes != 3*o.Segment {
				t.Errorf("%d bytes, %d on disk", st.Bytes, onDisk(t, o.Dir))
			}
			time.Sleep(time.Minute)
			if st := l.Stats(); st.Bytes != onDisk(t, o.Dir) || st.Bytes != 2*o.Segment {
				t.Errorf("later: %d bytes, %d on disk", st.Bytes, onDisk(t, o.Dir))
			}
			if st := closed(t, l); st.Delivered != 300 || len(s.got()) != 300 || st.Bytes != 0 {
				t.Errorf("%d: %+v", len(s.got()), st)
			}
		})
	}
}

// A process that ends leaves nothing of what was delivered either, however soon it ends.
func TestOverwrittenAtTheEnd(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchRecords: 1}
	l := open(t, o)
	s := newSink(t)
	s.set(func(_ string, records []string, _ bool) error {
		if records[0] != "a delivered secret" {
			return errDown
		}
		return nil
	})
	l.Ship(s.deliver)
	add(t, l, "a delivered secret", "a record that waits")
	until(t, "delivered", func() bool { return l.Stats().Delivered == 1 })
	abandon(l)
	if left := inFiles(t, o.Dir); strings.Contains(left, "secret") || !strings.Contains(left, "a record that waits") {
		t.Errorf("%q", left)
	}
}

// Records that were refused are there for people to look at, for their time and not for ever.
func TestRefusedExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchRecords: 1, BatchWait: time.Minute, Keep: 10 * time.Hour}
		l := open(t, o)
		defer abandon(l)
		s := newSink(t)
		s.set(func(string, []string, bool) error { return spool.Refused{Err: errDown} })
		l.Ship(s.deliver)
		for hour := range 30 {
			add(t, l, fmt.Sprint("of hour ", hour))
			time.Sleep(time.Hour)
			var kept []string
			for _, name := range []string{"refused.old", "refused"} {
				b, err := os.ReadFile(filepath.Join(o.Dir, name))
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(b)) {
					var one struct{ Record []byte }
					if err := json.Unmarshal([]byte(line), &one); err != nil {
						t.Fatal(err)
					}
					kept = append(kept, string(one.Record))
				}
			}
			if n := len(kept); n == 0 || n > 10 || n < min(hour+1, 5) || kept[n-1] != fmt.Sprint("of hour ", hour) {
				t.Errorf("after %d hours: %q", hour+1, kept)
			}
		}
	})
}

// Segments fill while others are made ready to be used again: those come in their order, and nothing is lost.
func TestUsedAgainInOrder(t *testing.T) {
	l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Max: 64 << 20, BatchWait: 20 * time.Microsecond})
	s := newSink(t)
	l.Ship(s.deliver)
	const writers, each = 4, 10_000
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() { add(t, l, numbered(0, each)...) })
	}
	wg.Wait()
	if st := closed(t, l); st.Delivered != writers*each || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
}
