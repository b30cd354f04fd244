package spool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// small is a log of few small segments.
func small(t *testing.T, full spool.Full) spool.Options {
	return spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Max: 8 * 4096, Full: full, Cut: cutIntent, BatchWait: time.Millisecond, BatchRecords: 10}
}

// onDisk is what the files of a folder take.
func onDisk(t *testing.T, dir string) (n int64) {
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		stat, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		n += stat.Size()
	}
	return n
}

func TestDropOldest(t *testing.T) {
	o := small(t, spool.DropOldest)
	l := open(t, o)
	s := newSink(t)
	s.set(func(string, []string, bool) error { return errDown })
	l.Ship(s.deliver)
	early := begin(t, l, "early")
	for i, r := range numbered(0, 2000) {
		add(t, l, r+strings.Repeat(" ", 100))
		if st := l.Stats(); i%10 == 0 && (st.Bytes > o.Max || st.Bytes != onDisk(t, o.Dir)) {
			t.Fatalf("%d bytes, %d on disk", st.Bytes, onDisk(t, o.Dir))
		}
		balanced(t, l.Stats())
	}
	end(t, l, early, "early ends")
	s.set(func(string, []string, bool) error { return nil })
	st := closed(t, l)
	got := s.got()
	if int(st.Delivered) != len(got) || st.Dropped+st.Delivered != 2001 || st.Dropped < 1500 || len(got) < 100 {
		t.Errorf("%d delivered: %+v", len(got), st)
	}
	if got[len(got)-1] != "early ends" || !strings.HasPrefix(got[len(got)-2], "record 1999 ") {
		t.Errorf("the last ones: %q", got[len(got)-2:])
	}
}

// The oldest records go while they are being read and sent.
func TestDropOldestWhileShipping(t *testing.T) {
	o := small(t, spool.DropOldest)
	o.BatchWait, o.BatchRecords = 50*time.Microsecond, 1000
	l := open(t, o)
	s := newSink(t)
	l.Ship(s.deliver)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for _, r := range numbered(w*10_000, w*10_000+10_000) {
				add(t, l, r)
				balanced(t, l.Stats())
			}
		})
	}
	wg.Wait()
	st := closed(t, l)
	got := s.got()
	slices.Sort(got)
	if n := len(slices.Compact(slices.Clone(got))); n != len(got) || n != int(st.Delivered) || st.Emitted != 40_000 || st.Bytes != 0 {
		t.Errorf("%d different records of %d: %+v", n, len(got), st)
	}
	t.Logf("%d delivered, %d dropped", st.Delivered, st.Dropped)
}

// A request that has begun keeps its protection when its intent's segment has to go: cut by a crash, it is still there.
func TestDropOldestCarries(t *testing.T) {
	o := small(t, spool.DropOldest)
	l := open(t, o)
	var marks []spool.Mark
	for i := range 10 {
		marks = append(marks, begin(t, l, fmt.Sprint("early ", i)))
	}
	for range 3 { // carried more than once
		add(t, l, numbered(0, 1000)...)
	}
	for i, m := range marks[:5] {
		end(t, l, m, fmt.Sprint("end ", i))
		if err := l.End(m, nil); err != spool.ErrEnded {
			t.Error(err)
		}
	}
	abandon(l)
	l = open(t, o)
	if st := l.Stats(); st.Cut != 5 {
		t.Errorf("%+v", st)
	}
	s := newSink(t)
	l.Ship(s.deliver)
	closed(t, l)
	var got []string
	for _, r := range s.got() {
		if !strings.HasPrefix(r, "record") {
			got = append(got, r)
		}
	}
	if want := "[end 0 end 1 end 2 end 3 end 4 cut early 5 cut early 6 cut early 7 cut early 8 cut early 9]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// More requests are under way than there is room for copies of their intents: their outcomes come nevertheless.
func TestDropOldestTooManyOpen(t *testing.T) {
	o := small(t, spool.DropOldest)
	l := open(t, o)
	var marks []spool.Mark
	for i := range 1000 {
		marks = append(marks, begin(t, l, fmt.Sprintf("intent %d", i)))
	}
	s := newSink(t)
	l.Ship(s.deliver)
	for i, m := range marks {
		end(t, l, m, fmt.Sprintf("record %d", i))
		if i%20 == 0 {
			until(t, "delivered", func() bool { return l.Stats().Spooled == 0 })
		}
	}
	st := closed(t, l)
	if st.Delivered != 1000 || len(s.got()) != 1000 {
		t.Errorf("%d: %+v", len(s.got()), st)
	}
}

func TestRefuse(t *testing.T) {
	o := small(t, spool.Refuse)
	l := open(t, o)
	var marks []spool.Mark
	n := 0
	for ; ; n++ {
		m, err := l.Begin([]byte("intent"))
		if err != nil {
			if err != spool.ErrFull {
				t.Fatal(err)
			}
			break
		}
		if n%2 == 0 {
			end(t, l, m, fmt.Sprint("record ", n))
		} else if len(marks) < 10 {
			marks = append(marks, m)
		} else {
			end(t, l, m, fmt.Sprint("record ", n))
		}
	}
	for _, m := range marks { // what has begun may end
		end(t, l, m, "late")
	}
	if err := l.Add([]byte("single")); err != spool.ErrFull {
		t.Error(err)
	}
	st := l.Stats()
	if st.Dropped != 1 || st.Emitted != int64(n)+1 || st.Bytes > o.Max || st.LastError != spool.ErrFull {
		t.Errorf("%d: %+v", n, st)
	}
	s := newSink(t)
	l.Ship(s.deliver)
	until(t, "room", func() bool { m, err := l.Begin([]byte("intent")); return err == nil && l.End(m, []byte("x")) == nil })
	if st := closed(t, l); st.Dropped != 1 || st.LastError != nil {
		t.Errorf("%+v", st)
	}
}

func TestDropNew(t *testing.T) {
	o := small(t, spool.DropNew)
	l := open(t, o)
	early := begin(t, l, "early")
	kept := 0
	for _, r := range numbered(0, 2000) {
		m := begin(t, l, "intent")
		switch err := l.End(m, []byte(r)); err {
		case nil:
			kept++
		case spool.ErrFull:
		default:
			t.Fatal(err)
		}
		balanced(t, l.Stats())
	}
	end(t, l, early, "early ends")
	s := newSink(t)
	l.Ship(s.deliver)
	st := closed(t, l)
	if int(st.Delivered) != kept+1 || int(st.Dropped) != 2000-kept || kept < 100 || kept > 1000 || st.Emitted != 2001 {
		t.Errorf("%d kept: %+v", kept, st)
	}
	if want := append(numbered(0, kept), "early ends"); !slices.Equal(s.got(), want) {
		t.Errorf("%q", s.got())
	}
}

// Requests that take very long do not fill the disk: their intents move on.
func TestLongRequests(t *testing.T) {
	for _, full := range []spool.Full{spool.DropOldest, spool.DropNew, spool.Refuse} {
		o := small(t, full)
		l := open(t, o)
		s := newSink(t)
		l.Ship(s.deliver)
		var marks []spool.Mark
		total := 0
		for i := range 5 {
			marks = append(marks, begin(t, l, fmt.Sprint("long ", i)))
			for range 5 {
				add(t, l, numbered(total, total+100)...)
				total += 100
				until(t, "delivered", func() bool { return l.Stats().Spooled == 0 })
			}
		}
		for i, m := range marks[1:] {
			end(t, l, m, fmt.Sprint("end ", i+1))
		}
		closed(t, l)
		l = open(t, o)
		l.Ship(s.deliver)
		st := closed(t, l)
		want := append(numbered(0, total), "end 1", "end 2", "end 3", "end 4", "cut long 0")
		if !slices.Equal(s.got(), want) || st.Cut != 1 || st.Bytes != 0 {
			t.Errorf("%d records, want %d: %+v", len(s.got()), len(want), st)
		}
	}
}

// A log that is full when it is opened gives each intent that was cut its outcome nevertheless: now, or when there is room.
func TestOpenFull(t *testing.T) {
	for _, full := range []spool.Full{spool.DropOldest, spool.DropNew, spool.Refuse} {
		o := small(t, full)
		l := open(t, o)
		n := 0
		most := 150
		if full == spool.DropOldest {
			most = 50 // as many as can move on
		}
		for ; n < most; n++ {
			if _, err := l.Begin([]byte(fmt.Sprint("intent ", n))); err != nil {
				break
			}
		}
		for i, err := 0, error(nil); err == nil && i < 300; i++ {
			err = l.Add(make([]byte, 100))
		}
		abandon(l)
		got := map[string]int{}
		for range 3 {
			l = open(t, o)
			if st := l.Stats(); st.Bytes > o.Max || st.Bytes != onDisk(t, o.Dir) {
				t.Errorf("%v: %d bytes, %d on disk", full, st.Bytes, onDisk(t, o.Dir))
			}
			s := newSink(t)
			l.Ship(s.deliver)
			if st := closed(t, l); full != spool.DropOldest && st.Dropped != 0 {
				t.Errorf("%v: %+v", full, st)
			}
			for _, r := range s.got() {
				got[r]++
			}
		}
		for i := range n {
			if r := fmt.Sprint("cut intent ", i); got[r] != 1 {
				t.Fatalf("%v: %s came %d times, of %d", full, r, got[r], n)
			}
		}
		if left := onDisk(t, o.Dir); left != 0 {
			t.Errorf("%v: %d bytes are left", full, left)
		}
	}
}

// A full disk is like a full spool. Requests that have begun still end in the segment that is there as a spare.
func TestDiskFull(t *testing.T) {
	for _, full := range []spool.Full{spool.DropOldest, spool.DropNew, spool.Refuse} {
		var none bool
		o := small(t, full).OnDisk(func() error {
			if none {
				return fmt.Errorf("fallocate: %w", syscall.ENOSPC)
			}
			return nil
		})
		l := open(t, o)
		m := begin(t, l, "intent")
		none = true
		for _, r := range numbered(0, 300) {
			err := l.Add([]byte(r))
			if err != nil && !errors.Is(err, spool.ErrFull) {
				t.Fatal(err)
			}
			balanced(t, l.Stats())
		}
		_, err := l.Begin([]byte("new"))
		if wrong := full == spool.Refuse; wrong != (err == spool.ErrFull) {
			t.Errorf("%v: %v", full, err)
		}
		if full != spool.DropOldest {
			end(t, l, m, "end")
		}
		st := l.Stats()
		if st.Dropped < 100 || full != spool.DropOldest && !errors.Is(st.LastError, syscall.ENOSPC) {
			t.Errorf("%+v", st)
		}
		abandon(l)
	}
}

// A log whose sink does not keep up says so from half of its room on, until the sink has caught up; also one that is opened anew. What
// is dropped for that counts as emitted.
func TestPressed(t *testing.T) {
	o := small(t, spool.DropOldest)
	l := open(t, o)
	for range 3 {
		l.Drop()
	}
	var most int64 // in use while it was not pressed, the spare aside
	for _, r := range numbered(0, 1000) {
		if l.Pressed() {
			break
		}
		most = l.Stats().Bytes - o.Segment
		add(t, l, r+strings.Repeat(" ", 100))
	}
	if !l.Pressed() || most != o.Max/2 {
		t.Errorf("pressed: %t, at more than %d bytes of %d", l.Pressed(), most, o.Max)
	}
	st := l.Stats()
	if balanced(t, st); st.Dropped != 3 || st.Emitted != st.Spooled+3 {
		t.Errorf("%+v", st)
	}
	for _, r := range numbered(0, 60) {
		add(t, l, r+strings.Repeat(" ", 100))
	}
	closed(t, l)
	l = open(t, o)
	if !l.Pressed() {
		t.Error("not pressed when it is opened anew")
	}
	l.Ship(newSink(t).deliver)
	until(t, "room", func() bool { return !l.Pressed() })
	closed(t, l)
}
