package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime/debug"
)

// batch is what is sent at once: a copy of records of one segment, which may have to go while they are being sent.
type batch struct {
	seg  *segment
	list []piece
	buf  []byte
	out  [][]byte
	full bool
	held int // of list: those that the segment's count knows
}

// piece is a record: bytes of buf, and its frame in the segment.
type piece struct {
	begin, end int
	at, to     int64
	crc        uint32
}

func (b *batch) add(f frame) {
	begin := len(b.buf)
	b.buf = append(b.buf, f.payload...)
	b.list = append(b.list, piece{begin, len(b.buf), f.at, f.end, f.crc})
}

func (b *batch) truncate(n int) {
	b.list = b.list[:n]
	b.held = min(b.held, n)
	b.buf = b.buf[:0]
	if n > 0 {
		b.buf = b.buf[:b.list[n-1].end]
	}
}

// reset empties it. A buffer that one large record has made is not kept.
func (b *batch) reset(most int) {
	b.truncate(0)
	b.seg, b.full = nil, false
	if cap(b.buf) > 2*most {
		b.buf = nil
	}
}

// end is the position behind the last record.
func (b *batch) end() uint64 { return position(b.seg.seq, b.list[len(b.list)-1].to) }

func (b *batch) records() [][]byte {
	b.out = b.out[:0]
	for _, p := range b.list {
		b.out = append(b.out, b.buf[p.begin:p.end:p.end])
	}
	return b.out
}

// token names these records and no others: their place, and a sum of what they are, in case the disk has lost some since.
func (b *batch) token(log uint64) string {
	var crc uint32
	var word [4]byte
	for _, p := range b.list {
		binary.LittleEndian.PutUint32(word[:], p.crc)
		crc = crc32.Update(crc, castagnoli, word[:])
	}
	return fmt.Sprintf("%016x-%016x-%016x-%08x", log, position(b.seg.seq, b.list[0].at), b.end(), crc)
}

// fill adds what there is to the batch, which ends where its segment does.
func (l *Log) fill() {
	b := &l.batch
	for !b.full && (l.seg != nil || l.advance()) {
		before := len(b.list)
		over := l.read()
		if len(b.list) > before {
			l.hold()
		}
		switch {
		case !over:
			return
		case len(b.list) > 0:
			b.full = true
		default:
			l.leave()
		}
	}
}

// advance goes on to the next segment.
func (l *Log) advance() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		if s.seq > l.last && !s.shipped {
			l.seg, l.last, l.at = s, s.seq, 0
			if s.seq == uint32(l.place.next>>32) {
				l.at = int64(uint32(l.place.next))
			}
			return true
		}
	}
	return false
}

// read adds records of the segment to the batch. It tells whether that has no more.
func (l *Log) read() (over bool) {
	s, b := l.seg, &l.batch
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mem == nil {
		return true
	}
	defer survive(debug.SetPanicOnFault(true))
	over = s.finished() // before written: what is there when it is finished is all there will be
	n, final := s.written()
	for !b.full {
		f, ok := s.take(l.at, n, final)
		if !ok {
			return over
		}
		if f.kind == outcomeFrame || f.kind == singleFrame {
			if b.full = l.isFull(s, f); b.full {
				return false
			}
			b.seg = s
			b.add(f)
			if l.old.Load() == 0 {
				l.old.Store(int64(f.sec))
			}
		}
		l.at = f.end
	}
	return false
}

// hold says in the segment's count what the batch has of it. What was read while the segment went is not in the batch.
func (l *Log) hold() {
	b := &l.batch
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.seg.mem != nil {
		b.held = len(b.list)
		b.seg.held = int64(b.held)
		return
	}
	b.truncate(b.held)
	if b.held == 0 {
		b.reset(l.o.BatchBytes)
		l.old.Store(0)
	}
}

// leave is done with a segment. Records that were counted and not found are lost: the disk has failed.
func (l *Log) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seg
	if s.mem != nil {
		missing := s.records.Load() - s.gone
		l.dropped += missing
		s.gone += missing
	}
	s.shipped, s.rested = true, false
	l.seg = nil
}

// isFull tells whether a record is the next batch's first.
func (l *Log) isFull(s *segment, f frame) bool {
	b := &l.batch
	if l.until != 0 {
		if position(s.seq, f.end) <= l.until {
			return false
		}
		l.until = 0
		return len(b.list) > 0
	}
	return len(b.list) >= l.limit || len(b.list) > 0 && len(b.buf)+len(f.payload) > l.o.BatchBytes
}

// take is the next frame, also one that follows a torn one. A place that is reserved and not written yet has it wait.
func (s *segment) take(at, limit int64, final bool) (f frame, ok bool) {
	if final {
		return s.next(at, limit)
	}
	return s.parse(at, limit)
}
