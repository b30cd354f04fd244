package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A frame is a header and a payload, and begins at a multiple of 8 bytes:
//
//	0  seal   8 bytes, written last and at once: the CRC-32C of the rest, the kind, and the last 24 bits of the segment's lot
//	8  state  4 bytes, of an intent, which alone changes later; 4 bytes unused
//	16 length 4 bytes; 4 bytes of seconds
//	24 ref    8 bytes: the position of the intent that this is the outcome of, or a copy of
//
// The CRC begins with the position, the kind and the lot, which is a number drawn at random: a frame is valid in its place
// only, and no payload can pass for one or look like one for long. Numbers are in the machine's order: the files stay with it.
//
// Of a record that was delivered only the header stays (scrub.go), which is what its CRC is of then.
const (
	headSize = 32
	lotMask  = 1<<24 - 1

	intentFrame, outcomeFrame, singleFrame, goneFrame byte = 1, 2, 3, 4

	isOpen, isEnding, isEnded uint32 = 0, 1, 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameSize is what a payload takes with its header.
func frameSize(payload int) int64 { return (headSize + int64(payload) + 7) &^ 7 }

// segment is a file of the log. Its first 32 bits of a position are seq, its last 32 the offset.
type segment struct {
	seq  uint32
	lot  uint64
	size int64
	path string
	file *os.File
	ours bool // made by this process, so that there is nothing torn in it

	tail    atomic.Int64 // where the next frame goes; beyond size when it is full
	end     atomic.Int64 // where the last frame ends, once it is full; before that -1
	done    atomic.Int64 // bytes whose writers are through
	records atomic.Int64
	open    atomic.Int64 // intents that have not ended
	ending  atomic.Int64 // outcomes whose intents do not know of them yet: until then only they tell that these have ended

	mu    sync.RWMutex // held while mem is used by others than the writers of frames, which are known by done
	mem   []byte       // nil once the segment is gone
	moved map[int64]Mark
	// Some intents had to go before they ended.
	adrift bool

	// Under Log.mu:
	gone    int64 // records that were delivered or dropped
	held    int64 // records that are in the batch
	shipped bool  // the shipper is through with it
	rested  bool

	synced   int64 // under disk's turn
	named    bool  // under disk's turn: its name and its room are on disk
	scrubbed int64 // the shipper's: up to where there are no payloads of delivered records any more
}

// frame is a valid one.
type frame struct {
	kind    byte
	at, end int64
	ref     uint64
	sec     uint32
	crc     uint32
	payload []byte
}

func position(seq uint32, at int64) uint64 { return uint64(seq)<<32 | uint64(at) }

// position is what the outcome of an intent refers to.
func (m Mark) position() uint64 {
	if m.ref != 0 {
		return m.ref
	}
	return position(m.seg.seq, m.at)
}

// makeSegment makes a file and takes all its room on the disk, so that a full disk is an error here and not a fault later.
// What the CRCs need is in its name: the file itself has nothing that could be torn.
func makeSegment(dir string, seq uint32, size int64, allocate func(*os.File, int64) error) (*segment, error) {
	s := newSegment(dir, seq, size)
	var err error
	if s.file, err = os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	if err = allocate(s.file, size); err == nil {
		s.mem, err = mapFile(s.file, size)
	}
	if err != nil {
		s.delete()
		return nil, err
	}
	return s, nil
}

func newSegment(dir string, seq uint32, size int64) *segment {
	s := &segment{seq: seq, lot: rand.Uint64(), size: size, ours: true}
	s.path = filepath.Join(dir, fmt.Sprintf("%08x-%016x.seg", s.seq, s.lot))
	s.end.Store(-1)
	return s
}

// renew makes an empty segment of one that is done with: it has its room on the disk and its memory, so that filling it costs no
// page faults. Its new name comes first, and is on disk: what is in the file cannot be read any more then. Otherwise a loss of
// power could leave an intent whose outcome was overwritten already.
func (s *segment) renew(dir string, seq uint32, sync bool) (*segment, error) {
	n := newSegment(dir, seq, s.size)
	if err := os.Rename(s.path, n.path); err != nil {
		return nil, err
	}
	s.mu.Lock()
	n.file, n.mem = s.file, s.mem
	s.file, s.mem, s.path = nil, nil, ""
	s.mu.Unlock()
	if sync {
		if err := syncDir(dir); err != nil {
			n.delete()
			return nil, err
		}
		n.named = true
	}
	if !n.wipe(0, s.end.Load()) {
		n.delete()
		return nil, errWiped
	}
	return n, nil
}

var errWiped = errors.New("the disk failed under a segment")

// wipe overwrites what is there. It is false when the disk fails.
func (s *segment) wipe(from, to int64) (ok bool) {
	defer survive(debug.SetPanicOnFault(true))
	clear(s.mem[from:to])
	touched(s.file, s.mem[from:to], from)
	return true
}

// parseName reads what is in the name of a segment.
func parseName(name string) (seq uint32, lot uint64, ok bool) {
	name, isOurs := strings.CutSuffix(name, ".seg")
	first, second, _ := strings.Cut(name, "-")
	n, err := strconv.ParseUint(first, 16, 32)
	lot, err2 := strconv.ParseUint(second, 16, 64)
	return uint32(n), lot, isOurs && err == nil && err2 == nil
}

// findSegment opens a file that an earlier process has left. It is nil for names that are not those of segments.
func findSegment(path string) (*segment, error) {
	seq, lot, ok := parseName(filepath.Base(path))
	if !ok {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{seq: seq, lot: lot, path: path, file: f}
	stat, err := f.Stat()
	if err == nil {
		s.size = stat.Size() &^ 7
		s.mem, err = mapFile(f, s.size)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	s.tail.Store(s.size + 1)
	return s, nil
}

// reserve takes the next n bytes. The one that finds too little room notes where the segment has ended.
func (s *segment) reserve(n int64) (at int64, ok bool) {
	at = s.tail.Add(n) - n
	if at+n <= s.size {
		return at, true
	}
	if at <= s.size {
		s.end.Store(at)
	}
	return 0, false
}

// finished tells whether the segment is full and nobody writes in it any more.
func (s *segment) finished() bool {
	end := s.end.Load()
	return end >= 0 && s.done.Load() == end
}

// written is how far the segment is filled, and whether all of that is as it will stay.
func (s *segment) written() (n int64, final bool) {
	done := s.done.Load()
	if n = s.tail.Load(); n > s.size {
		if n = s.end.Load(); n < 0 { // it is being noted right now
			return done, false
		}
	}
	return n, n == done
}

// survive is deferred around what touches mapped memory. That is gone when the disk fails or someone else cuts the file: then
// the record is lost, but not the process.
func survive(before bool) {
	debug.SetPanicOnFault(before)
	if p := recover(); p != nil {
		if _, fault := p.(interface{ Addr() uintptr }); !fault {
			panic(p)
		}
	}
}

// write fills a reserved place. The counts go first: who finds the frame may count it as delivered at once.
func (s *segment) write(at int64, kind byte, ref uint64, payload []byte) (ok bool) {
	n := frameSize(len(payload))
	counter := &s.records
	if kind == intentFrame {
		counter = &s.open
	}
	counter.Add(1)
	s.fill(at, kind, ref, payload)
	ok = s.sealed(at)
	if !ok {
		counter.Add(-1)
	}
	s.done.Add(n)
	return ok
}

func (s *segment) fill(at int64, kind byte, ref uint64, payload []byte) {
	defer survive(debug.SetPanicOnFault(true))
	b := s.mem[at : at+frameSize(len(payload))]
	binary.NativeEndian.PutUint32(b[16:], uint32(len(payload)))
	if kind != intentFrame { // nobody asks how old an intent is, and the clock takes as long as the CRC
		binary.NativeEndian.PutUint32(b[20:], uint32(time.Now().Unix()))
	}
	binary.NativeEndian.PutUint64(b[24:], ref)
	copy(b[headSize:], payload)
	s.seal(b[:headSize+len(payload)], at, kind)
	touched(s.file, b, at)
}

// seal makes a frame of what is there.
func (s *segment) seal(b []byte, at int64, kind byte) {
	atomic.StoreUint64(word(b), uint64(s.sum(at, kind, b))<<32|uint64(kind)<<24|s.lot&lotMask)
}

func (s *segment) sealed(at int64) (ok bool) {
	defer survive(debug.SetPanicOnFault(true))
	return atomic.LoadUint64(word(s.mem[at:])) != 0
}

// sum is the CRC of a frame.
func (s *segment) sum(at int64, kind byte, b []byte) uint32 {
	if kind == goneFrame {
		b = b[:headSize]
	}
	return crc32.Update(s.salt(at, kind), castagnoli, b[16:])
}

// salt is what a frame's CRC begins with.
func (s *segment) salt(at int64, kind byte) uint32 {
	x := s.lot ^ position(s.seq, at) ^ uint64(kind)<<56
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	x = (x ^ x>>32) * 0xd6e8feb86659fd93
	return uint32(x >> 32)
}

// parse reads the frame at a place, if there is one that ends within limit.
func (s *segment) parse(at, limit int64) (f frame, ok bool) {
	if at+headSize > limit {
		return f, false
	}
	seal := atomic.LoadUint64(word(s.mem[at:]))
	kind := byte(seal >> 24)
	if seal&lotMask != s.lot&lotMask || kind < intentFrame || kind > goneFrame {
		return f, false
	}
	b := s.mem[at:limit]
	n := int(binary.NativeEndian.Uint32(b[16:]))
	if n > len(b)-headSize || !(kind == intentFrame && s.ours) && s.sum(at, kind, b[:headSize+n]) != uint32(seal>>32) {
		return f, false // an intent of our own is only passed over
	}
	f = frame{kind: kind, at: at, end: at + frameSize(n), sec: binary.NativeEndian.Uint32(b[20:]),
		ref: binary.NativeEndian.Uint64(b[24:]), crc: uint32(seal >> 32), payload: b[headSize : headSize+n]}
	return f, f.end <= limit
}

// next is the first frame at a place or behind it. It passes over what is no frame: a torn one costs only itself.
func (s *segment) next(at, limit int64) (f frame, ok bool) {
	defer survive(debug.SetPanicOnFault(true))
	for ; at+headSize <= limit; at += 8 {
		if f, ok = s.parse(at, limit); ok {
			return f, true
		}
	}
	return frame{}, false
}

// turn changes the state of an intent, wherever it is by now. It is false when the intent was in another state.
func (m Mark) turn(from, to uint32) bool {
	for m.seg != nil {
		next, moved, ok := m.seg.turn(m.at, from, to)
		if !moved {
			return ok
		}
		m = next
	}
	return true
}

func (s *segment) turn(at int64, from, to uint32) (next Mark, moved, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if next, moved = s.moved[at]; moved {
		return next, true, true
	}
	if s.mem == nil {
		return next, false, s.adrift
	}
	ok = !s.swap(at, from, to)
	if ok && to == isEnded {
		s.open.Add(-1)
	}
	return next, false, ok
}

// swap changes the state of an intent, and tells whether it was another one. Where the memory is gone nobody can say so.
func (s *segment) swap(at int64, from, to uint32) (other bool) {
	defer survive(debug.SetPanicOnFault(true))
	other = !atomic.CompareAndSwapUint32((*uint32)(unsafe.Pointer(&s.mem[at+8])), from, to)
	touched(s.file, s.mem[at+8:at+16], at+8)
	return other
}

func (s *segment) state(at int64) (n uint32) {
	defer survive(debug.SetPanicOnFault(true))
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&s.mem[at+8])))
}

func word(b []byte) *uint64 { return (*uint64)(unsafe.Pointer(&b[0])) }

// trim gives back the room behind the last frame.
func (s *segment) trim() error {
	end := s.end.Load()
	if s.mem == nil || end < 0 || end >= s.size {
		return nil
	}
	s.size = end // what is mapped behind it is not touched any more
	return s.file.Truncate(end)
}

func (s *segment) unmap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem != nil {
		unmapFile(s.mem)
		s.mem = nil
	}
}

func (s *segment) close() {
	s.unmap()
	if s.file != nil {
		_ = s.file.Close()
	}
}

func (s *segment) delete() {
	s.close()
	if s.path != "" {
		_ = os.Remove(s.path)
	}
}
