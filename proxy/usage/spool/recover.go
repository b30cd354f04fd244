package spool

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// cuts are the intents without an outcome, by their original position.
type cuts map[uint64]cut

// cut is such an intent. A crash while it was copied or replaced has left it in two places, of which the later one counts.
type cut struct {
	intent []byte
	places []Mark
}

// recover reads what earlier processes have left: counts the records that are to be delivered, and finds the intents that
// have no outcome.
func (l *Log) recover() (cuts, error) {
	entries, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries { // sorted by name, which is by age
		s, err := findSegment(filepath.Join(l.o.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		l.segs = append(l.segs, s)
		l.bytes += s.size
		if len(l.segs) > 1 && s.seq == l.seq {
			return nil, fmt.Errorf("%s: there are two segments of this number", e.Name())
		}
		l.seq = s.seq
	}
	l.seq = max(l.seq, uint32(l.place.next>>32), uint32(l.place.until>>32))
	open, ended := cuts{}, map[uint64]bool{}
	for _, s := range l.segs {
		l.torn += s.recover(l.place.next, open, ended)
		s.shipped = s.seq < uint32(l.place.next>>32)
	}
	for at := range ended {
		open.end(at)
	}
	for _, s := range l.segs {
		before := s.size
		if err := s.trim(); err != nil {
			return nil, err
		}
		l.bytes -= before - s.size
	}
	l.weigh()
	l.rest()
	return open, nil
}

// recover reads one segment, and tells how many bytes of it are torn. An outcome comes behind its intent, and so ends it at
// once; only a copy of an intent may come behind its outcome, which then is of another segment.
func (s *segment) recover(next uint64, open cuts, ended map[uint64]bool) (torn int64) {
	var end, records int64
	for f, ok := s.next(0, s.size); ok; f, ok = s.next(end, s.size) {
		torn += f.at - end
		end = f.end
		if f.kind == intentFrame {
			if state := s.state(f.at); state != isEnded {
				s.swap(f.at, state, isOpen) // it was ending, or is something that the disk has made up
				at := s.origin(f)
				open[at] = cut{bytes.Clone(f.payload), append(open[at].places, Mark{seg: s, at: f.at})}
				s.open.Add(1)
			}
			continue
		}
		if f.kind != goneFrame && position(s.seq, f.at) >= next {
			records++
		}
		if f.ref != 0 {
			s.resolve(f.ref, open, ended)
		}
	}
	s.records.Store(records)
	s.end.Store(end)
	s.done.Store(end)
	return torn
}

func (s *segment) resolve(at uint64, open cuts, ended map[uint64]bool) {
	if uint32(at>>32) != s.seq {
		ended[at] = true
	}
	open.end(at)
}

// end says in the intent itself, wherever it is, that it has ended.
func (c cuts) end(at uint64) {
	for _, m := range c[at].places {
		m.turn(isOpen, isEnded)
	}
	delete(c, at)
}

// finish gives each intent that was cut an outcome. When this is cut itself, the outcomes that it has written are found by the
// next Open; where there is no room for them, the intents are.
func (l *Log) finish(open cuts) {
	var done []uint64
	var ends []Mark
	var outcome []byte
	for _, at := range slices.Sorted(maps.Keys(open)) {
		var err error
		if outcome, err = l.o.Cut(outcome[:0], open[at].intent); err != nil {
			l.fault(err)
			continue
		}
		if len(outcome) > 0 {
			var m Mark
			m, err = l.put(outcomeFrame, at, outcome)
			ends = append(ends, m)
			l.cut++
		}
		if errors.Is(err, ErrFull) {
			l.cut--
			break
		}
		l.fault(l.count(err))
		done = append(done, at)
	}
	if l.o.Sync >= 0 && len(done) > 0 {
		l.fault(l.disk.wait())
	}
	for _, at := range done {
		open.end(at)
	}
	for _, m := range ends {
		m.settled()
	}
}
