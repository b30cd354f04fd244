package spool_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

const childDir, childLife = "SPOOL_TEST_DIR", "SPOOL_TEST_LIFE"

// TestMain lets the test's binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir, os.Getenv(childLife))
		return
	}
	os.Exit(m.Run())
}

// Some of the processes are quick enough to use segments again, and some overwrite what was delivered.
func killOptions(dir string) spool.Options {
	return spool.Options{Dir: dir, Segment: 16 << 10, Max: 256 << 20, Full: spool.Refuse, Sync: []time.Duration{-1, 20 * time.Millisecond}[rand.IntN(2)],
		Cut: cutIntent, BatchWait: 2 * time.Millisecond, BatchRecords: 300}.Rounds(time.Duration(1+rand.IntN(50)) * 10 * time.Millisecond)
}

// fileSink appends batches to a file, each as a line. One in so many fails, and as many answers are
// lost.
func fileSink(file *os.File, oneIn int) spool.Deliver {
	return func(_ context.Context, token string, records [][]byte) error {
		line := []byte(token)
		for _, r := range records {
			line = append(append(line, '\t'), r...)
		}
		if rand.IntN(oneIn) == 0 {
			return errDown
		}
		if _, err := file.Write(append(line, '\n')); err != nil {
			return err
		}
		if rand.IntN(oneIn) == 0 {
			return errDown
		}
		return nil
	}
}

// openSink opens the file, without the end of a line that a kill has cut: the sink does not have that batch.
func openSink(path string) (*os.File, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.Truncate(path, int64(bytes.LastIndexByte(b, '\n')+1))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

// child appends for as long as it lives, and says of each request what the log has taken: "i" its intent, "o" its outcome.
func child(dir, life string) {
	file, err := openSink(filepath.Join(dir, "sink"))
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	l, err := spool.Open(killOptions(filepath.Join(dir, "spool")))
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	l.Ship(fileSink(file, []int{30, 1 << 30}[rand.IntN(2)]))
	pause := rand.N(4 * time.Millisecond) // so that some processes deliver what they append
	for g := range 16 {
		go func() {
			var open []string
			marks := map[string]spool.Mark{}
			for n := 0; ; n++ {
				id := fmt.Sprintf("%s.%d.%d", life, g, n)
				m, err := l.Begin([]byte(id + strings.Repeat(" ", rand.IntN(600))))
				if err != nil {
					fmt.Println("failed", err)
					return
				}
				fmt.Println("i", id)
				open, marks[id] = append(open, id), m
				for len(open) > rand.IntN(20) {
					id, open = open[0], open[1:]
					if err := l.End(marks[id], []byte(id+strings.Repeat(".", rand.IntN(900)))); err != nil {
						fmt.Println("failed", err)
						return
					}
					fmt.Println("o", id)
					delete(marks, id)
				}
				time.Sleep(pause)
			}
		}()
	}
	select {}
}

// live runs a child until it is killed, and returns what it said.
func live(t *testing.T, dir string, life int) (intents, outcomes []string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childLife+"="+strconv.Itoa(life))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(time.Duration(20+rand.IntN(250))*time.Millisecond, func() { _ = cmd.Process.Kill() }).Stop()
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil { // a line that the kill has cut says nothing
			break
		}
		switch what, id, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); what {
		case "i":
			intents = append(intents, id)
		case "o":
			outcomes = append(outcomes, id)
		default:
			t.Error(line)
		}
	}
	_ = cmd.Wait()
	return intents, outcomes
}

// sunk is what a sink that drops repeats has: by id, how often the outcome came, and how often that of a cut intent.
func sunk(t *testing.T, path string) (ends, cuts map[string]int) {
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends, cuts = map[string]int{}, map[string]int{}
	batches := map[string]string{}
	for line := range strings.Lines(string(file)) {
		token, records, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if before, ok := batches[token]; ok {
			if before != records {
				t.Errorf("token %s is of two batches", token)
			}
			continue
		}
		batches[token] = records
		for r := range strings.SplitSeq(records, "\t") {
			if id, ok := strings.CutPrefix(r, "cut "); ok {
				cuts[strings.TrimRight(id, " ")]++
			} else {
				ends[strings.TrimRight(r, ".")]++
			}
		}
	}
	return ends, cuts
}

// TestKill kills a process that appends and delivers, again and again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var intents, outcomes []string
	for life := range 10 {
		i, o := live(t, dir, life)
		intents, outcomes = append(intents, i...), append(outcomes, o...)
	}
	if len(outcomes) == 0 {
		t.Fatal("the processes did nothing before they were killed")
	}
	file, err := openSink(filepath.Join(dir, "sink"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	l := open(t, killOptions(filepath.Join(dir, "spool")))
	l.Ship(fileSink(file, 1<<30))
	if st := closed(t, l); st.Spooled != 0 || st.Dropped != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
	ends, cuts := sunk(t, filepath.Join(dir, "sink"))
	t.Logf("%d intents, %d outcomes; %d delivered, and %d cut", len(intents), len(outcomes), len(ends), len(cuts))
	for _, id := range outcomes {
		if ends[id] != 1 || cuts[id] != 0 {
			t.Errorf("%s ended: delivered %d times, and %d times as cut", id, ends[id], cuts[id])
		}
	}
	for _, id := range intents { // those that did not say that they ended may have: the kill came between
		if n := ends[id] + cuts[id]; n != 1 {
			t.Errorf("%s began: delivered %d times", id, n)
		}
	}
	for _, all := range []map[string]int{ends, cuts} { // nor did anything else come twice
		for id, n := range all {
			if n != 1 {
				t.Errorf("%s: %d times", id, n)
			}
		}
	}
	if len(cuts) == 0 {
		t.Error("nothing was cut")
	}
}

// Recovery is killed as well: at every moment of it the folder is copied, and recovered again.
func TestRecoveryCut(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Max: 64 << 10, Cut: cutIntent}
	l := open(t, o)
	var want []string
	for i := range 60 {
		begin(t, l, fmt.Sprint("intent ", i))
		want = append(want, fmt.Sprint("cut intent ", i))
	}
	abandon(l)
	for at := range 60 {
		stop := errors.New("killed")
		first, second := o, o
		first.Dir, second.Dir = t.TempDir(), t.TempDir()
		copyFolder(t, o.Dir, first.Dir)
		n := 0
		first.Cut = func(dst, intent []byte) ([]byte, error) {
			if n++; n > at {
				panic(stop)
			}
			return cutIntent(dst, intent)
		}
		func() {
			defer func() {
				if r := recover(); r != any(stop) {
					t.Fatal(r)
				}
			}()
			_, _ = spool.Open(first)
		}()
		copyFolder(t, first.Dir, second.Dir)
		l := open(t, second)
		s := newSink(t)
		l.Ship(s.deliver)
		closed(t, l)
		if !slices.Equal(s.got(), want) {
			t.Fatalf("killed after %d: %q", at, s.got())
		}
	}
}

// A copy of an intent may be behind its outcome: it has ended nevertheless.
func TestCopyBehindOutcome(t *testing.T) {
	o := spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Cut: cutIntent}
	l := open(t, o)
	m := begin(t, l, "intent")
	for l.Stats().Segments < 2 {
		add(t, l, "record")
	}
	if !l.EndHalf(m, []byte("outcome")) {
		t.Fatal("the intent was not copied")
	}
	killed := o
	killed.Dir = t.TempDir()
	copyFolder(t, o.Dir, killed.Dir)
	abandon(l)
	l = open(t, killed)
	if st := l.Stats(); st.Cut != 0 {
		t.Errorf("%+v", st)
	}
	s := newSink(t)
	l.Ship(s.deliver)
	if st := closed(t, l); st.Bytes != 0 || s.got()[len(s.got())-1] != "outcome" {
		t.Errorf("%+v: %q", st, s.got())
	}
}

func copyFolder(t testing.TB, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		t.Fatal(err)
	}
	isPlace := func(name string) bool { return filepath.Base(name) == "place" }
	if i := slices.IndexFunc(names, isPlace); i >= 0 { // last, see TestModel
		names = append(slices.Delete(names, i, i+1), filepath.Join(from, "place"))
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // a segment that was delivered meanwhile
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
