package spool_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// A crash at any moment of an intent's life leaves one record of it: of two that are there, the later one counts.
func TestReplaceKilled(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Max: 1 << 20, Cut: cutIntent}
	l := open(t, o)
	expect := func(when string, want ...string) {
		t.Helper()
		killed := o
		killed.Dir = t.TempDir()
		copyFolder(t, o.Dir, killed.Dir)
		again := open(t, killed)
		s := newSink(t)
		again.Ship(s.deliver)
		if st := closed(t, again); st.Bytes != 0 || st.Emitted != int64(len(want)) {
			t.Errorf("%s: %+v", when, st)
		}
		if got := s.got(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	m := begin(t, l, "first")
	expect("begun", "cut first")
	whole := l.ReplaceHalf(m, []byte("second"))
	expect("half replaced", "cut second")
	m = whole()
	expect("replaced", "cut second")
	for range 100 { // its segment is full, and goes into another
		l.Forget(begin(t, l, string(bytes.Repeat([]byte("x"), 100))))
	}
	whole = l.ReplaceHalf(m, []byte("third"))
	expect("half replaced again", "cut third")
	m = whole()
	l.EndOnly(m, []byte("outcome"))
	expect("half ended", "outcome")
	end(t, l, begin(t, l, "another"), "another ends")
	expect("ended", "outcome", "another ends")
	abandon(l)
}

// An intent of which nothing is to be said is gone; one of which nobody knows yet what to say is asked about again.
func TestForgotten(t *testing.T) {
	known := false
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096}
	o.Cut = func(dst, intent []byte) ([]byte, error) {
		switch string(intent) {
		case "nothing":
			return dst, nil
		case "later":
			if !known {
				return dst, errors.New("not known yet")
			}
		}
		return append(dst, intent...), nil
	}
	l := open(t, o)
	for _, intent := range []string{"nothing", "later", "now"} {
		begin(t, l, intent)
	}
	m := begin(t, l, "forgotten")
	l.Forget(m)
	if err := l.End(m, []byte("late")); err != spool.ErrEnded {
		t.Errorf("%v", err)
	}
	closed(t, l)
	for _, want := range []string{"now", "later", ""} {
		l = open(t, o)
		if st := l.Stats(); (st.LastError != nil) != (want == "now") {
			t.Errorf("%+v", st)
		}
		s := newSink(t)
		l.Ship(s.deliver)
		st := closed(t, l)
		if got := s.got(); want != "" && !slices.Equal(got, []string{want}) || want == "" && len(got) > 0 {
			t.Errorf("%q, want %q", got, want)
		}
		if (st.Bytes == 0) != known {
			t.Errorf("%+v", st)
		}
		known = true
	}
}

// What ends while the log closes, and is not kept, was cut.
func TestEndWhileClosing(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Cut: cutIntent, BatchWait: time.Millisecond}
	l := open(t, o)
	m := begin(t, l, "request")
	add(t, l, "another")
	closing, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.Ship(func(context.Context, string, [][]byte) error {
		once.Do(func() { close(closing) })
		<-ended
		return nil
	})
	<-closing
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.Close(context.Background())
	}()
	for l.Add([]byte("x")) == nil { // until it closes
	}
	if err := l.End(m, []byte("outcome")); err != spool.ErrClosed {
		t.Errorf("%v", err)
	}
	close(ended)
	<-done
	l = open(t, o)
	s := newSink(t)
	l.Ship(s.deliver)
	if st := closed(t, l); st.Cut != 1 || !slices.Contains(s.got(), "cut request") {
		t.Errorf("%+v: %q", st, s.got())
	}
}

// An outcome whose intent does not know of it yet stays, though it was delivered: else a crash would have the request cut.
func TestOutcomeStays(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Cut: cutIntent, BatchWait: time.Millisecond}.Rounds(time.Millisecond)
	l := open(t, o)
	m := begin(t, l, "intent")
	add(t, l, numbered(0, 200)...)
	l.EndOnly(m, []byte("outcome"))
	add(t, l, numbered(200, 400)...)
	s := newSink(t)
	l.Ship(s.deliver)
	until(t, "delivered", func() bool { st := l.Stats(); return st.Spooled == 0 && st.Segments <= 3 })
	killed := o
	killed.Dir = t.TempDir()
	copyFolder(t, o.Dir, killed.Dir)
	abandon(l)
	l = open(t, killed)
	if st := closed(t, l); st.Cut != 0 {
		t.Errorf("%+v", st)
	}
}

// Nobody but the owner may look into the folder: there may be prompts.
func TestFolderIsPrivate(t *testing.T) {
	o := spool.Options{Dir: filepath.Join(t.TempDir(), "spool"), Sync: -1, Segment: 4096}
	l := open(t, o)
	add(t, l, "record")
	err := filepath.WalkDir(o.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		stat, err := e.Info()
		if err == nil && stat.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, stat.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	abandon(l)
}
