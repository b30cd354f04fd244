package counter

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"
)

// ledger is a file that keeps what may not be lost with the process: what was used of the windows of calendars, and on Redis
// what each lease has used and Redis may not know of yet. The file is memory: a count is one store, which outlives a kill -9
// as soon as it is made, and a crash of the machine when it was synced, about every second. A nil ledger keeps nothing.
//
// Guarded by Counters.mu, but for flush and alarmed.
type ledger struct {
	file    *os.File
	onEvent func(name, detail string)
	opened  time.Time
	chunks  atomic.Pointer[[]*chunk]
	empty   []*slot
	old     map[[16]byte][]*slot // of earlier processes, by digest; those that nobody asked for yet
	full    bool
	trouble string // why there are no more lines, until someone was told
	alarmed bool   // by flush
}

// slot is a line of the ledger: eight words, so that none crosses a page. The check is over the first three, which do not
// change while the slot is in use; a line whose check is wrong is empty.
type slot [8]uint64

const (
	slotCheck = 3 // after the digest of the counter and the id of the lease (0: a window's)
	slotBegin = 4 // of the window, or what of a lease's use Redis knows
	slotCount = 5
	slotUntil = 6 // the window's end
	slotPeers = 7 // of the file's head: how many replicas there were

	slotSize  = int(unsafe.Sizeof(slot{}))
	chunkSize = 64 << 10
	chunksMax = 256 // a quarter of a million lines
	magic     = "jarvis counters 1"
)

// orphan is a lease of an earlier process.
type orphan struct {
	id           uint64
	spent, acked int64
	slot         *slot
}

func digest(s *Spec, lease bool) [16]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%t\x00%s\x00%s", lease, s.shape(), s.Name))
	return [16]byte(sum[:16])
}

func (s *slot) load(i int) int64 {
	defer survive(debug.SetPanicOnFault(true))
	return int64(atomic.LoadUint64(&s[i]))
}

func (s *slot) store(i int, n int64) {
	defer survive(debug.SetPanicOnFault(true))
	atomic.StoreUint64(&s[i], uint64(n))
}

// survive is deferred around what touches a line. The memory is gone when someone else cuts the file, or the disk fails: what
// would be kept is lost, but the process is not. flush then finds out.
func survive(before bool) {
	_ = recover()
	debug.SetPanicOnFault(before)
}

func (s *slot) digest() (d [16]byte) {
	binary.NativeEndian.PutUint64(d[:], s[0])
	binary.NativeEndian.PutUint64(d[8:], s[1])
	return d
}

func (s *slot) check() uint64 {
	h := fnv.New64a()
	var b [24]byte
	for i := range 3 {
		binary.LittleEndian.PutUint64(b[8*i:], s[i])
	}
	_, _ = h.Write(b[:])
	return h.Sum64() | 1
}

// count keeps what was used of a window. Whenever the process ends between two stores, the line says too little of a window
// that is over or nothing at all, never the old window's use of the new one.
func (s *slot) count(m *calendar) {
	defer survive(debug.SetPanicOnFault(true))
	if atomic.LoadUint64(&s[slotBegin]) != uint64(m.begin) {
		atomic.StoreUint64(&s[slotCount], 0)
		atomic.StoreUint64(&s[slotBegin], uint64(m.begin))
		atomic.StoreUint64(&s[slotUntil], uint64(m.end))
	}
	atomic.StoreUint64(&s[slotCount], uint64(m.total))
}

func (s *slot) spend(n int64) { s.store(slotCount, n) }
func (s *slot) ack(n int64)   { s.store(slotBegin, n) }

// openLedger opens the file or makes it. Whatever is wrong with it, the gateway goes on: without a ledger where there can be
// none, with an empty one where the file is not one of ours.
func openLedger(path string, now time.Time, onEvent func(name, detail string)) *ledger {
	if path == "" {
		return nil
	}
	l := &ledger{onEvent: onEvent, opened: now, old: map[[16]byte][]*slot{}}
	err := l.open(path, now)
	if errors.Is(err, errForeign) {
		aside := path + ".bad"
		onEvent("counters_ledger_corrupt", fmt.Sprintf("%s: %v; moved to %s", path, err, aside))
		if err = os.Rename(path, aside); err == nil {
			err = l.open(path, now)
		}
	}
	if err != nil {
		onEvent("counters_ledger_missing", fmt.Sprintf("%s: %v", path, err))
		return nil
	}
	return l
}

var (
	errForeign = errors.New("not a ledger of counters")
	errLocked  = errors.New("another process has it")
	errCut     = errors.New("the file was cut by someone else: counts are not kept until the next start")
)

func (l *ledger) open(path string, now time.Time) (err error) {
	if err = os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if l.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	l.chunks.Store(new([]*chunk))
	l.empty = nil
	clear(l.old)
	if err = l.read(now); err != nil {
		_ = l.unmap()
		_ = l.file.Close()
	}
	return err
}

func (l *ledger) read(now time.Time) error {
	if err := lock(l.file); err != nil {
		return err
	}
	stat, err := l.file.Stat()
	if err != nil {
		return err
	}
	if stat.Size() == 0 {
		return l.grow()
	}
	if stat.Size()%chunkSize != 0 || stat.Size() > chunkSize*chunksMax || !stat.Mode().IsRegular() {
		return errForeign
	}
	head := make([]byte, len(magic))
	if _, err := l.file.ReadAt(head, 0); err != nil || string(head) != magic {
		return errForeign
	}
	for at := int64(0); at < stat.Size(); at += chunkSize {
		if err := l.add(at, now); err != nil {
			return err
		}
	}
	return nil
}

// grow adds a chunk of empty lines. They are written, not only promised: a full disk must be an error here and not a fault
// at the first use of the memory.
func (l *ledger) grow() error {
	n := len(*l.chunks.Load())
	if n == chunksMax {
		return fmt.Errorf("it is full: %d counters", chunksMax*chunkSize/slotSize)
	}
	lines := make([]byte, chunkSize)
	if n == 0 {
		copy(lines, magic)
	}
	at := int64(n) * chunkSize
	if _, err := l.file.WriteAt(lines, at); err != nil {
		_ = l.file.Truncate(at)
		return err
	}
	return l.add(at, l.opened)
}

// add maps a chunk, and sorts its lines. The first line of the file is its head.
func (l *ledger) add(at int64, now time.Time) error {
	c, err := mapChunk(l.file, at)
	if err != nil {
		return err
	}
	all := append(*l.chunks.Load(), c)
	l.chunks.Store(&all)
	first := 0
	if at == 0 {
		first = 1
	}
	for i := first; i < len(c.slots); i++ {
		s := &c.slots[i]
		if s[slotCheck] == 0 || s[slotCheck] != s.check() || s[2] == 0 && s.load(slotUntil) <= now.UnixNano() {
			s.store(slotCheck, 0)
			l.empty = append(l.empty, s)
			continue
		}
		d := s.digest()
		l.old[d] = append(l.old[d], s)
	}
	return nil
}

// window is the line of a calendar, which takes over what an earlier process counted in this window.
func (l *ledger) window(d [16]byte, m *calendar) *slot {
	if l == nil {
		return nil
	}
	if list := l.old[d]; len(list) > 0 {
		delete(l.old, d)
		for _, s := range list[1:] {
			l.release(s)
		}
		if list[0].load(slotBegin) == m.begin {
			m.total = max(0, list[0].load(slotCount))
		}
		return list[0]
	}
	s := l.claim(d, 0)
	if s != nil {
		s.store(slotUntil, m.end)
	}
	return s
}

// lease is a line for what a lease has used.
func (l *ledger) lease(d [16]byte, id uint64) *slot {
	if l == nil {
		return nil
	}
	return l.claim(d, id)
}

// orphans are the leases of a counter that earlier processes left.
func (l *ledger) orphans(d [16]byte) (list []*orphan) {
	if l == nil {
		return nil
	}
	for _, s := range l.old[d] {
		list = append(list, &orphan{uint64(s.load(2)), max(0, s.load(slotCount)), max(0, s.load(slotBegin)), s})
	}
	delete(l.old, d)
	return list
}

// peers is how many replicas there were when that was last known, 0 where it never was.
func (l *ledger) peers() int64 {
	if l == nil {
		return 0
	}
	return max(0, (*l.chunks.Load())[0].slots[0].load(slotPeers))
}

func (l *ledger) notePeers(n int64) {
	if l != nil {
		(*l.chunks.Load())[0].slots[0].store(slotPeers, n)
	}
}

func (l *ledger) claim(d [16]byte, id uint64) *slot {
	if len(l.empty) == 0 && !l.full {
		if err := l.grow(); err != nil {
			l.full = true
			l.trouble = err.Error()
		}
	}
	end := len(l.empty) - 1
	if end < 0 {
		return nil
	}
	s := l.empty[end]
	l.empty = l.empty[:end]
	line := slot{binary.NativeEndian.Uint64(d[:8]), binary.NativeEndian.Uint64(d[8:]), id}
	for i, n := range line {
		s.store(i, int64(n))
	}
	s.store(slotCheck, int64(line.check()))
	return s
}

func (l *ledger) release(s *slot) {
	if l == nil || s == nil {
		return
	}
	s.store(slotCheck, 0)
	l.empty = append(l.empty, s)
	l.full = false
}

// expire frees the lines of earlier processes that nobody asked for: of windows that are over, and of leases when Redis has
// forgotten them.
func (l *ledger) expire(now time.Time) {
	for d, list := range l.old {
		s := list[0]
		over := s.load(slotUntil) <= now.UnixNano()
		if s.load(2) != 0 {
			over = now.Sub(l.opened) > time.Hour
		}
		if over {
			delete(l.old, d)
			for _, s := range list {
				l.release(s)
			}
		}
	}
}

// flush has the disk keep what the memory says. It tells whether that is no use any more: the file was cut.
func (l *ledger) flush() (cut bool) {
	if l == nil {
		return false
	}
	for i, c := range *l.chunks.Load() {
		err := c.flush(l.file, int64(i)*chunkSize)
		if err != nil && !l.alarmed {
			l.alarmed = true
			l.onEvent("counters_ledger_failed", err.Error())
		}
		cut = cut || errors.Is(err, errCut)
	}
	return cut
}

func (l *ledger) unmap() (err error) {
	for _, c := range *l.chunks.Load() {
		err = errors.Join(err, c.unmap())
	}
	return err
}

func (l *ledger) close() error {
	if l == nil {
		return nil
	}
	l.flush()
	return errors.Join(l.unmap(), l.file.Close())
}
