package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// sink keeps what it gets, each token once, and complains about a token that comes with other records.
type sink struct {
	t  testing.TB
	mu sync.Mutex
	// answer is asked before a batch is taken and after it: an error afterwards is a reply that was lost.
	answer  func(token string, records []string, taken bool) error
	batches map[string][]string
	all     []string
	sizes   []int
	repeats int
}

func newSink(t testing.TB) *sink {
	return &sink{t: t, batches: map[string][]string{}, answer: func(string, []string, bool) error { return nil }}
}

func (s *sink) deliver(_ context.Context, token string, records [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]string, len(records))
	for i, r := range records {
		list[i] = string(r)
	}
	if err := s.answer(token, list, false); err != nil {
		return err
	}
	if before, ok := s.batches[token]; ok {
		s.repeats++
		if !slices.Equal(before, list) {
			s.t.Errorf("token %s came with %d records, and with %d others before", token, len(list), len(before))
		}
	} else {
		s.batches[token] = list
		s.all = append(s.all, list...)
		s.sizes = append(s.sizes, len(list))
	}
	return s.answer(token, list, true)
}

func (s *sink) set(answer func(token string, records []string, taken bool) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func open(t testing.TB, o spool.Options) *spool.Log {
	t.Helper()
	l, err := spool.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// closed delivers all there is, and checks that the log is empty then.
func closed(t testing.TB, l *spool.Log) spool.Stats {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	st := l.Stats()
	balanced(t, st)
	return st
}

// abandon closes a log with what it has left.
func abandon(l *spool.Log) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.Close(ctx)
}

func balanced(t testing.TB, st spool.Stats) {
	t.Helper()
	if st.Emitted != st.Delivered+st.Spooled+st.Dropped || st.Spooled < 0 {
		t.Errorf("%d emitted, but %d delivered, %d spooled and %d dropped", st.Emitted, st.Delivered, st.Spooled, st.Dropped)
	}
}

func add(t testing.TB, l *spool.Log, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := l.Add([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("record %d", i))
	}
	return list
}

// until waits for what another goroutine does.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

var errDown = errors.New("the sink is down")

func TestSinkDown(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Millisecond, BatchRecords: 10}
	l := open(t, o)
	s := newSink(t)
	s.set(func(string, []string, bool) error { return errDown })
	l.Ship(s.deliver)
	add(t, l, numbered(0, 100)...)
	until(t, "a failure", func() bool { return l.Stats().Failures > 1 })
	st := l.Stats()
	balanced(t, st)
	if st.Delivered != 0 || st.Spooled != 100 || !errors.Is(st.LastError, errDown) || time.Since(st.Oldest) > time.Minute {
		t.Errorf("%+v", st)
	}
	s.set(func(string, []string, bool) error { return nil })
	if st := closed(t, l); st.Delivered != 100 || st.Bytes != 0 || st.LastError != nil || !st.Oldest.IsZero() {
		t.Errorf("%+v", st)
	}
	if !slices.Equal(s.got(), numbered(0, 100)) {
		t.Errorf("%q", s.got())
	}
}

// The sink has a batch, but its answer is lost: in this process, and with it.
func TestLostReplies(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Millisecond, BatchRecords: 7}
	s := newSink(t)
	losing := func(_ string, _ []string, taken bool) error {
		if taken {
			return errDown
		}
		return nil
	}
	for life := range 5 {
		l := open(t, o)
		s.set(losing)
		repeats := s.repeats
		add(t, l, numbered(100*life, 100*life+100)...)
		l.Ship(s.deliver)
		until(t, "the same again", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.repeats > repeats })
		if life == 4 {
			s.set(func(string, []string, bool) error { return nil })
			closed(t, l)
		} else {
			abandon(l)
		}
		o.BatchRecords += 5 // a batch that was sent remains what it is
	}
	if !slices.Equal(s.got(), numbered(0, 500)) {
		t.Errorf("%d records: %q", len(s.got()), s.got())
	}
}

// One record in the line is such that the sink will never take it.
func TestRefusedRecords(t *testing.T) {
	for _, bad := range [][]string{{"record 0"}, {"record 999"}, {"record 17", "record 18", "record 500"}} {
		o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Millisecond}
		l := open(t, o)
		s := newSink(t)
		calls := 0
		s.set(func(_ string, records []string, taken bool) error {
			calls++
			for _, r := range records {
				if slices.Contains(bad, r) {
					return fmt.Errorf("insert: %w", spool.Refused{Err: errors.New("what is this")})
				}
			}
			return nil
		})
		add(t, l, numbered(0, 1000)...)
		l.Ship(s.deliver)
		st := closed(t, l)
		if int(st.Dropped) != len(bad) || int(st.Delivered) != 1000-len(bad) {
			t.Errorf("%v: %+v", bad, st)
		}
		good := slices.DeleteFunc(numbered(0, 1000), func(r string) bool { return slices.Contains(bad, r) })
		if !slices.Equal(s.got(), good) {
			t.Errorf("%v: %d records", bad, len(s.got()))
		}
		if calls > 300 {
			t.Errorf("%v: %d calls", bad, calls)
		}
		file, err := os.ReadFile(filepath.Join(o.Dir, "refused"))
		if err != nil || bytes.Count(file, []byte("\n")) != len(bad) || !strings.Contains(string(file), `"error":"insert: refused: what is this"`) {
			t.Errorf("%v: %v %s", bad, err, file)
		}
	}
}

// A reload brings another sink: the old one is not called any more, and what it held up goes to the new one.
func TestShipReplaced(t *testing.T) {
	l := open(t, spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Millisecond})
	add(t, l, numbered(0, 10)...)
	var mu sync.Mutex
	var tokens []string
	calling := make(chan bool, 1)
	l.Ship(func(ctx context.Context, token string, _ [][]byte) error {
		calling <- true
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, token)
		return ctx.Err()
	})
	<-calling
	s := newSink(t)
	l.Ship(s.deliver)
	mu.Lock()
	defer mu.Unlock()
	if len(tokens) != 1 {
		t.Fatalf("the old sink was called %d times by now", len(tokens))
	}
	st := closed(t, l)
	if st.Failures != 0 || !slices.Equal(s.got(), numbered(0, 10)) {
		t.Errorf("%+v %q", st, s.got())
	}
	if s.batches[tokens[0]] == nil {
		t.Errorf("token %s is not in %v", tokens[0], s.batches)
	}
}

// Nowhere is a sink as well: what there is stays.
func TestShipNowhere(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, BatchWait: time.Millisecond}
	l := open(t, o)
	s := newSink(t)
	l.Ship(s.deliver)
	l.Ship(nil)
	add(t, l, numbered(0, 10)...)
	if st := closed(t, l); st.Spooled != 10 {
		t.Errorf("%+v", st)
	}
	l = open(t, o)
	if st := l.Stats(); st.Emitted != 10 || st.Spooled != 10 {
		t.Errorf("%+v", st)
	}
	l.Ship(s.deliver)
	if st := closed(t, l); st.Delivered != 10 || !slices.Equal(s.got(), numbered(0, 10)) {
		t.Errorf("%+v %q", st, s.got())
	}
}

var anIntent, anOutcome = bytes.Repeat([]byte("i"), 400), bytes.Repeat([]byte("o"), 700)

// request appends what a request does.
func request(tb testing.TB, l *spool.Log) {
	m, err := l.Begin(anIntent)
	if err != nil {
		tb.Fatal(err)
	}
	if err := l.End(m, anOutcome); err != nil {
		tb.Fatal(err)
	}
}
