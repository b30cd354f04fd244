package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

func begin(t testing.TB, l *spool.Log, intent string) spool.Mark {
	t.Helper()
	m, err := l.Begin([]byte(intent))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func end(t testing.TB, l *spool.Log, m spool.Mark, outcome string) {
	t.Helper()
	if err := l.End(m, []byte(outcome)); err != nil {
		t.Fatal(err)
	}
}

func cutIntent(dst, intent []byte) ([]byte, error) {
	return append(append(dst, "cut "...), intent...), nil
}

func TestLog(t *testing.T) {
	for _, flush := range []time.Duration{-1, 0, time.Millisecond} {
		o := spool.Options{Dir: filepath.Join(t.TempDir(), "new", "folder"), Sync: flush, Cut: cutIntent}
		l := open(t, o)
		first, second, third := begin(t, l, "first"), begin(t, l, "second"), begin(t, l, "third")
		add(t, l, "single", "")
		end(t, l, second, "second ends")
		end(t, l, spool.Mark{}, "one whose intent was not kept")
		if err := l.End(second, []byte("again")); err != spool.ErrEnded {
			t.Errorf("%v", err)
		}
		end(t, l, first, "first ends")
		if st := l.Stats(); st.Emitted != 5 || st.Spooled != 5 || st.Segments != 1 {
			t.Errorf("%+v", st)
		}
		if _, err := spool.Open(o); !errors.Is(err, spool.ErrLocked) || !strings.Contains(err.Error(), o.Dir) {
			t.Errorf("another opens it: %v", err)
		}
		if st := closed(t, l); st.Spooled != 5 {
			t.Errorf("%+v", st)
		}
		_, began := l.Begin([]byte("late"))
		for _, err := range []error{began, l.Add([]byte("late")), l.End(third, []byte("late")), l.Close(t.Context())} {
			if err != spool.ErrClosed {
				t.Errorf("%v", err)
			}
		}
		l = open(t, o)
		if st := l.Stats(); st.Emitted != 6 || st.Spooled != 6 || st.Cut != 1 || st.Torn != 0 {
			t.Errorf("%+v", st)
		}
		s := newSink(t)
		l.Ship(s.deliver)
		if st := closed(t, l); st.Delivered != 6 || st.Bytes != 0 || st.Segments != 0 {
			t.Errorf("%+v", st)
		}
		want := []string{"single", "", "second ends", "one whose intent was not kept", "first ends", "cut third"}
		if !slices.Equal(s.got(), want) {
			t.Errorf("%q, want %q", s.got(), want)
		}
		if left, err := filepath.Glob(filepath.Join(o.Dir, "*.seg")); err != nil || len(left) != 0 {
			t.Errorf("%v %v", left, err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	twice := t.TempDir()
	for _, name := range []string{"00000007-0000000000000001.seg", "00000007-0000000000000002.seg"} {
		if err := os.WriteFile(filepath.Join(twice, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("the disk is on fire")
	for _, c := range []struct {
		o    spool.Options
		want string
	}{
		{spool.Options{Dir: filepath.Join(file, "folder")}, "not a directory"},
		{spool.Options{Dir: twice}, "two segments of this number"},
		{spool.Options{Dir: t.TempDir()}.OnDisk(func() error { return broken }), "on fire"},
	} {
		if _, err := spool.Open(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if l, err := spool.Open(spool.Options{Dir: twice}); err == nil || l != nil {
		t.Error("it can be opened the second time")
	} else if errors.Is(err, spool.ErrLocked) {
		t.Error("a folder that cannot be opened stays locked")
	}
}

func TestTooLarge(t *testing.T) {
	l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096})
	large := make([]byte, 4096)
	if _, err := l.Begin(large); err != spool.ErrTooLarge {
		t.Error(err)
	}
	if err := l.Add(large); err != spool.ErrTooLarge {
		t.Error(err)
	}
	m := begin(t, l, "small")
	if err := l.End(m, large); err != spool.ErrTooLarge {
		t.Error(err)
	}
	add(t, l, string(large[:4096-32]))
	if st := closed(t, l); st.Emitted != 3 || st.Dropped != 2 || st.Spooled != 1 {
		t.Errorf("%+v", st)
	}
}

// Many append at once over many small segments; each record arrives once, and the counts agree at any moment.
func TestParallel(t *testing.T) {
	for _, flush := range []time.Duration{-1, 0} {
		l := open(t, spool.Options{Dir: t.TempDir(), Sync: flush, Segment: 16 << 10, Max: 64 << 20, BatchWait: time.Millisecond, BatchRecords: 50})
		s := newSink(t)
		l.Ship(s.deliver)
		const writers, each = 8, 300
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for _, r := range numbered(w*each, w*each+each) {
					m := begin(t, l, strings.Repeat("intent", w))
					balanced(t, l.Stats())
					end(t, l, m, r)
				}
			})
		}
		wg.Wait()
		st := closed(t, l)
		if st.Delivered != writers*each || st.Bytes != 0 {
			t.Errorf("%+v", st)
		}
		got, want := s.got(), numbered(0, writers*each)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%d records", len(got))
		}
	}
}

// A log that was emptied goes on where it was.
func TestLives(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096}
	s := newSink(t)
	for life := range 5 {
		l := open(t, o)
		l.Ship(s.deliver)
		add(t, l, numbered(10*life, 10*life+10)...)
		if st := closed(t, l); st.Delivered != 10 || st.Bytes != 0 {
			t.Errorf("%+v", st)
		}
	}
	if !slices.Equal(s.got(), numbered(0, 50)) {
		t.Errorf("%d records", len(s.got()))
	}
}

// A frame is one at its own place only: what a payload looks like does not matter.
func TestFrameElsewhere(t *testing.T) {
	for _, by := range []int{0, 8} {
		o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096}
		l := open(t, o)
		add(t, l, "record")
		abandon(l)
		files, err := filepath.Glob(filepath.Join(o.Dir, "*.seg"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		b, err := os.ReadFile(files[0])
		if err == nil {
			err = os.WriteFile(files[0], append(make([]byte, by), b...), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		l = open(t, o)
		if st := l.Stats(); (st.Emitted == 1) != (by == 0) {
			t.Errorf("moved by %d: %+v", by, st)
		}
		abandon(l)
	}
}

// Of an intent that was replaced, the one in its place is cut by a crash, or ends.
func TestReplace(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: time.Millisecond, Cut: cutIntent}
	l := open(t, o)
	first, second := begin(t, l, "first"), begin(t, l, "second")
	if m := l.Replace(spool.Mark{}, []byte("of none")); m != (spool.Mark{}) {
		t.Errorf("%v", m)
	}
	again := l.Replace(first, []byte("first again"))
	next := l.Replace(second, []byte("second again"))
	end(t, l, next, "second ends")
	if err := l.End(first, []byte("first ends")); err != spool.ErrEnded {
		t.Errorf("%v", err)
	}
	closed(t, l)
	if m := l.Replace(again, []byte("late")); m != again {
		t.Errorf("%v", m)
	}
	l = open(t, o)
	s := newSink(t)
	l.Ship(s.deliver)
	if st := closed(t, l); st.Cut != 1 || st.Delivered != 2 || st.Segments != 0 {
		t.Errorf("%+v", st)
	}
	if got := s.got(); !slices.Equal(got, []string{"second ends", "cut first again"}) {
		t.Errorf("%q", got)
	}
}
