//go:build linux && !unmapped

package spool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// Someone cuts the files under a log, as a disk that fails would: the process lives on, and what comes later is kept.
func TestMemoryGone(t *testing.T) {
	for _, full := range []spool.Full{spool.DropOldest, spool.Refuse} {
		o := small(t, full)
		l := open(t, o)
		m := begin(t, l, "lost")
		add(t, l, numbered(0, 10)...)
		files, err := filepath.Glob(filepath.Join(o.Dir, "*1-*.seg"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.Truncate(files[0], 0); err != nil {
			t.Fatal(err)
		}
		end(t, l, m, "end")
		add(t, l, numbered(10, 20)...)
		s := newSink(t)
		l.Ship(s.deliver)
		until(t, "delivered", func() bool { return l.Stats().Spooled == 0 })
		st := closed(t, l)
		if got := s.got(); !slices.Equal(got[len(got)-11:], append([]string{"end"}, numbered(10, 20)...)) {
			t.Errorf("%q", got)
		}
		if st.Emitted != 21 || st.Delivered+st.Dropped != 21 {
			t.Errorf("%+v", st)
		}
	}
}

// A log that has no sink holds little memory: what is full is left to the kernel.
func TestMemoryBounded(t *testing.T) {
	l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, Max: 256 << 20, Segment: 16 << 20, BatchWait: time.Millisecond, BatchRecords: 1 << 30})
	s := newSink(t)
	s.set(func(string, []string, bool) error { return errDown })
	l.Ship(s.deliver)
	before := resident(t)
	for range 150_000 {
		request(t, l)
	}
	until(t, "rest", func() bool { return resident(t)-before < 48<<20 })
	if st := l.Stats(); st.Spooled != 150_000 || st.Bytes < 160<<20 {
		t.Errorf("%+v", st)
	}
	abandon(l)
}

func resident(t *testing.T) int64 {
	var size, pages int64
	b, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(b), &size, &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// A log that was busy and is not any more holds next to no memory.
func TestMemoryGivenBack(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4 << 20, BatchWait: time.Millisecond}.Rounds(200 * time.Millisecond)
	l := open(t, o)
	defer abandon(l)
	l.Ship(newSink(t).deliver)
	most := int64(0)
	for i := range 20_000 {
		if request(t, l); i%1000 == 0 { // a machine that is slow lets it rest in between
			most = max(most, mapped(t, o.Dir))
		}
	}
	if most < 1<<20 {
		t.Errorf("%d bytes while it is busy: the test shows nothing", most)
	}
	until(t, "memory given back", func() bool { return mapped(t, o.Dir) == 0 })
	request(t, l)
}

// mapped is how much of the files in a folder counts as memory of the process.
func mapped(t *testing.T, dir string) (n int64) {
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(b)) {
		if name := strings.Fields(line)[0]; !strings.HasSuffix(name, ":") {
			ours = strings.Contains(line, dir)
		} else if ours && name == "Rss:" {
			var kib int64
			if _, err := fmt.Sscan(strings.Fields(line)[1], &kib); err != nil {
				t.Fatal(err)
			}
			n += kib << 10
		}
	}
	return n
}
