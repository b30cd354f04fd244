package spool_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/usage/spool"
)

// world is the model: what was appended, and what a sink that drops repeats has of it, over many processes.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	o       spool.Options
	log     *spool.Log
	sink    *sink
	alive   *bool // of the process whose deliveries the sink takes
	open    map[string]spool.Mark
	want    map[string]bool
	count   int
	damaged int // frames that were damaged on disk: so many records may be missing, and so many batches have another token
}

func (w *world) start() {
	w.log = open(w.t, w.o)
	alive := true
	w.alive = &alive
	w.log.Ship(func(ctx context.Context, token string, records [][]byte) error {
		w.sink.mu.Lock()
		dead := !alive
		w.sink.mu.Unlock()
		if dead {
			return errDown
		}
		return w.sink.deliver(ctx, token, records)
	})
	if int(w.log.Stats().Cut) > len(w.open)+w.damaged || int(w.log.Stats().Cut) < len(w.open)-w.damaged {
		w.t.Errorf("%d cut, want %d", w.log.Stats().Cut, len(w.open))
	}
	for id := range w.open {
		w.want["cut "+id] = true
	}
	w.open = map[string]spool.Mark{}
}

// crash goes on with a copy of the folder as it is now. The old process delivers nothing any more before its place is copied:
// what the sink has is what that says, or less.
func (w *world) crash(damage bool) {
	w.sink.mu.Lock()
	*w.alive = false
	w.sink.mu.Unlock()
	dir := w.t.TempDir()
	copyFolder(w.t, w.o.Dir, dir)
	abandon(w.log)
	w.o.Dir = dir
	if damage {
		w.damage()
	}
	w.start()
}

// damage changes a byte of a segment, or cuts its end off.
func (w *world) damage() {
	files, _ := filepath.Glob(filepath.Join(w.o.Dir, "*.seg"))
	if len(files) == 0 {
		return
	}
	name := files[w.rnd.IntN(len(files))]
	b, err := os.ReadFile(name)
	if err != nil || len(b) == 0 {
		return
	}
	last := len(strings.TrimRight(string(b), "\x00"))
	if w.rnd.IntN(2) == 0 || last < 100 {
		b[w.rnd.IntN(len(b))] ^= 1 << w.rnd.IntN(8)
	} else {
		b = b[:last-w.rnd.IntN(10)]
	}
	w.damaged++
	if err := os.WriteFile(name, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) step() {
	id := fmt.Sprintf("%d", w.count)
	switch n := w.rnd.IntN(100); {
	case n < 40:
		w.count++
		w.open[id] = begin(w.t, w.log, id+strings.Repeat("i", w.rnd.IntN(100)))
	case n < 70:
		for id, m := range w.open {
			end(w.t, w.log, m, "end "+id)
			delete(w.open, id)
			w.want["end "+id] = true
			break
		}
	case n < 90:
		w.count++
		add(w.t, w.log, "add "+id)
		w.want["add "+id] = true
	case n < 92:
		w.sink.set(func(_ string, _ []string, taken bool) error { return nil })
	case n < 93:
		w.sink.set(func(_ string, _ []string, taken bool) error { return errDown })
	case n < 94:
		w.sink.set(func(_ string, _ []string, taken bool) error {
			if taken {
				return errDown
			}
			return nil
		})
	default:
		time.Sleep(time.Duration(w.rnd.IntN(1000)) * time.Microsecond)
	}
	balanced(w.t, w.log.Stats())
}

// finish delivers everything, and compares.
func (w *world) finish() {
	w.crash(false)
	w.sink.set(func(string, []string, bool) error { return nil })
	st := closed(w.t, w.log)
	if st.Spooled != 0 || st.Dropped != 0 || st.Bytes != 0 {
		w.t.Errorf("%+v", st)
	}
	got := map[string]int{}
	for _, r := range w.sink.all {
		got[strings.TrimRight(r, "i")]++
	}
	missing, again := 0, 0
	for r := range w.want {
		if got[r] == 0 {
			missing++
		}
		again += max(0, got[r]-1)
		delete(got, r)
	}
	if missing > w.damaged || again > w.damaged*w.o.BatchRecords || len(got) > w.damaged {
		w.t.Errorf("%d records are missing, %d repeated and %d unknown, of %d, with %d frames damaged", missing, again, len(got), len(w.want), w.damaged)
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		run := func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			w := &world{t: t, rnd: rnd, sink: newSink(t), open: map[string]spool.Mark{}, want: map[string]bool{}}
			w.o = spool.Options{Dir: t.TempDir(), Sync: -1, Segment: 4096, Max: 1 << 20, Cut: cutIntent,
				BatchWait: 100 * time.Microsecond, BatchRecords: 1 + rnd.IntN(20)}.Rounds(time.Duration(1+rnd.IntN(20)*50) * time.Microsecond)
			w.start()
			for range 50 + rnd.IntN(1000) {
				w.step()
				if rnd.IntN(100) == 0 {
					w.crash(seed%2 == 1)
				}
			}
			w.finish()
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { synctest.Test(t, run) })
	}
}

// FuzzOpen has whatever there may be in the files of a folder.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	l := open(f, spool.Options{Dir: dir, Sync: -1, Segment: 4096})
	end(f, l, begin(f, l, "intent"), "outcome")
	begin(f, l, "cut")
	add(f, l, "single", "another")
	abandon(l)
	files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	segment, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	place, err := os.ReadFile(filepath.Join(dir, "place"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(segment, place)
	f.Add(segment[:len(segment)-1], place)
	f.Add(segment[8:], place[:40])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, segment, place []byte) {
		if len(segment) > 1<<16 {
			return
		}
		dir := t.TempDir()
		for _, b := range [][]byte{segment, reseal(segment)} {
			write(t, filepath.Join(dir, filepath.Base(files[0])), b)
			write(t, filepath.Join(dir, "place"), place)
			l := open(t, spool.Options{Dir: dir, Sync: -1, Segment: 4096})
			st := l.Stats()
			balanced(t, st)
			abandon(l)
			if len(place) > 0 {
				continue // what it says may be delivered
			}
			l = open(t, spool.Options{Dir: dir, Sync: -1, Segment: 4096})
			if again := l.Stats(); again.Spooled != st.Spooled || again.Cut != 0 {
				t.Errorf("%+v, and then %+v", st, again)
			}
			s := newSink(t)
			l.Ship(s.deliver)
			if st := closed(t, l); int(st.Delivered) != len(s.got()) || st.Dropped != 0 {
				t.Errorf("%+v", st)
			}
		}
	})
}

func write(t *testing.T, path string, b []byte) {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// reseal has more of the bytes look like frames: the second word of each header is that of a valid one now and then.
func reseal(b []byte) []byte {
	b = append([]byte{}, b...)
	for at := 0; at+32 <= len(b); at += 64 {
		binary.NativeEndian.PutUint32(b[at+16:], uint32(at/2))
	}
	return b
}
