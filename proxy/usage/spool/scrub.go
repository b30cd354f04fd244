package spool

import (
	"runtime/debug"
	"time"
)

// round has nothing of delivered records stay where their segment does, and gives back memory that is not in use.
func (l *Log) round(now time.Time) {
	if now.Sub(l.rounded) < l.o.round {
		return
	}
	l.rounded = now
	l.scrub()
	l.fault(l.expire(now))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isBusy(now) {
		return
	}
	if l.stock != nil {
		l.remove(l.stock)
		l.stock = nil
	}
	for _, s := range l.segs {
		rest(s.mem)
	}
	if l.spare != nil {
		rest(l.spare.mem)
	}
	if len(l.batch.list) == 0 {
		l.batch = batch{}
	}
}

// scrub overwrites the records that the sink has acknowledged, in segments that cannot go yet: they are not full, or have
// records that wait, or requests that have not ended. Records may hold what people wrote, which is not to stay here.
func (l *Log) scrub() {
	l.mu.Lock()
	var segs []*segment
	last := -1
	for i, s := range l.segs {
		if to := l.acknowledgedOf(s); to > s.scrubbed {
			last = i
		}
		segs = append(segs, s)
	}
	l.mu.Unlock()
	segs = segs[:last+1]
	if l.o.Sync >= 0 {
		for _, s := range segs { // that an intent has ended is only its own to tell, once its outcome is gone
			if err := s.sync(); err != nil {
				l.fault(err)
				return
			}
		}
	}
	for _, s := range segs {
		s.scrub(l.acknowledgedOf(s))
	}
}

// acknowledgedOf is up to where a segment's records were acknowledged.
func (l *Log) acknowledgedOf(s *segment) int64 {
	switch seq := uint32(l.place.next >> 32); {
	case s.seq < seq:
		return max(s.end.Load(), 0)
	case s.seq == seq:
		return int64(uint32(l.place.next))
	}
	return 0
}

func (s *segment) sync() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mem == nil {
		return nil
	}
	n, _ := s.written()
	return syncFile(s.file, s.mem, 0, n)
}

// scrub overwrites payloads. Each header becomes that of a frame without one before, so that a crash in between leaves a frame
// which still tells of the intent that it has ended.
func (s *segment) scrub(to int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mem == nil {
		return
	}
	for f, ok := s.next(s.scrubbed, to); ok; f, ok = s.next(f.end, to) {
		if f.kind == outcomeFrame || f.kind == singleFrame {
			s.blank(f)
		}
	}
	s.scrubbed = max(s.scrubbed, to)
}

func (s *segment) blank(f frame) {
	defer survive(debug.SetPanicOnFault(true))
	b := s.mem[f.at:f.end]
	s.seal(b, f.at, goneFrame)
	touched(s.file, b[:headSize], f.at)
	clear(b[headSize:])
	touched(s.file, b[headSize:], f.at+headSize)
}
