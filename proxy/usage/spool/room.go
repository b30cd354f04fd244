package spool

import (
	"errors"
	"slices"
	"time"
)

// patience is how long a log without room waits before it looks for some again.
const patience = 10 * time.Millisecond

// rotate puts the spare in the place of a segment that is full, and makes the next spare.
func (l *Log) rotate(full *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if l.active.Load() != full {
		return nil
	}
	if l.spare == nil {
		l.makeSpare()
	}
	if l.spare == nil {
		return ErrFull
	}
	l.segs = append(l.segs, l.spare)
	l.active.Store(l.spare)
	l.spare, l.turned = nil, time.Now()
	l.makeSpare()
	l.weigh()
	l.rest()
	return nil
}

// makeSpare makes the next segment ahead of need, so that a log that runs out of room knows while it can still finish what has
// begun. Under mu.
func (l *Log) makeSpare() {
	if l.spare == nil && l.stock != nil {
		l.takeSpare(l.stock)
		l.stock = nil
	}
	if l.spare != nil || l.closed || time.Now().Before(l.retry) {
		return
	}
	for {
		err := ErrFull
		if l.bytes+l.o.Segment <= l.o.Max {
			var s *segment
			if s, err = makeSegment(l.o.Dir, l.seq+1, l.o.Segment, l.o.allocate); err == nil {
				l.seq++
				l.bytes += l.o.Segment
				l.takeSpare(s)
				return
			}
		}
		if full := err == ErrFull || noSpace(err); !full || !l.makeRoom() {
			l.trouble = err
			l.retry = time.Now().Add(patience)
			l.tight.Store(l.o.Full != DropOldest)
			return
		}
	}
}

// takeSpare has a segment be the spare: there is room again. Under mu.
func (l *Log) takeSpare(s *segment) {
	l.spare = s
	l.retry = time.Time{}
	l.tight.Store(false)
	if l.trouble == ErrFull || noSpace(l.trouble) {
		l.trouble = nil
	}
}

// makeRoom lets the oldest segment go that can go. Under mu.
func (l *Log) makeRoom() bool {
	l.tidy(false)
	for _, s := range l.segs {
		if s.shipped && s.ending.Load() == 0 && l.carry(s, false) {
			l.remove(s)
			return true
		}
	}
	if l.o.Full != DropOldest {
		return false
	}
	for _, s := range l.segs {
		if s != l.active.Load() && s.finished() {
			l.carry(s, true)
			l.drop(s)
			return true
		}
	}
	return false
}

// drop lets a segment go with all that was not delivered of it. What is in the batch by now is still delivered.
func (l *Log) drop(s *segment) {
	l.dropped += s.records.Load() - s.gone - s.held
	l.adrift += s.held
	l.remove(s)
}

// remove takes a segment out of the log, and its file out of the folder. Under mu.
func (l *Log) remove(s *segment) {
	l.retire(s)
	l.bytes -= s.size
	l.weigh()
	s.delete()
}

// retire takes a segment out of the log. Under mu.
func (l *Log) retire(s *segment) {
	if i := slices.Index(l.segs, s); i >= 0 {
		l.segs = slices.Delete(l.segs, i, i+1)
		l.retired += s.records.Load()
		l.settle(l.segs[:i])
	}
}

// settle has older segments on disk before one goes that may have the outcomes of their intents: only their states then tell
// that these have ended.
func (l *Log) settle(older []*segment) {
	if l.o.Sync < 0 {
		return
	}
	for _, s := range older {
		if err := syncFile(s.file, s.mem, 0, s.size); err != nil {
			l.trouble = err
		}
	}
}

// rest has the memory of full segments count as the process's no longer, but for the latest: the shipper is soon through with that
// one, and then it is used again. Under mu.
func (l *Log) rest() {
	for _, s := range l.segs[:max(len(l.segs)-2, 0)] {
		if !s.rested && s.finished() {
			s.rested = true
			rest(s.mem)
		}
	}
}

// tidy removes the segments of which all was delivered and whose intents have ended. While many come one of them is kept, to be used
// again. Under mu.
func (l *Log) tidy(keep bool) (worn *segment) {
	for i := 0; i < len(l.segs); i++ {
		s := l.segs[i]
		if !s.shipped || !s.finished() || s.open.Load() != 0 || s.ending.Load() != 0 {
			continue
		}
		if keep && l.spare != nil && l.stock == nil && worn == nil && s.ours && l.bytes <= l.o.Max/2 && l.isBusy(time.Now()) {
			l.retire(s)
			worn = s
		} else {
			l.remove(s)
		}
		i--
	}
	l.rest()
	return worn
}

// isBusy tells whether segments are filled one after the other. Under mu.
func (l *Log) isBusy(now time.Time) bool { return now.Sub(l.turned) < l.o.round/2 }

// reuse puts a segment that is done with into stock, unless one was made meanwhile that comes before it.
func (l *Log) reuse(worn *segment) {
	l.mu.Lock()
	l.seq++
	seq := l.seq
	l.mu.Unlock()
	n, err := worn.renew(l.o.Dir, seq, l.o.Sync >= 0)
	if err != nil {
		worn.delete()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.bytes -= worn.size
	case l.seq != seq:
		l.remove(n)
	default:
		l.stock = n
	}
	l.weigh()
}

// carry copies the intents that have not ended to the segment that is being filled, so that theirs can go. Where their copies
// would take too much of it nothing is done; or, where the segment must go, those that do not fit are kept no longer: their
// requests are recorded all the same when they end. Under mu.
func (l *Log) carry(s *segment, must bool) bool {
	to := l.active.Load()
	room := to.size*3/4 - to.tail.Load()
	if !must && s.open.Load()*headSize > room {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list, size, all := s.unended(room)
	if !must && !all {
		return false
	}
	var at int64
	if size > 0 {
		var ok bool
		if at, ok = to.reserve(size); !ok {
			s.adrift = must
			return must
		}
	}
	s.moved = make(map[int64]Mark, len(list))
	s.adrift = !all
	for _, f := range list {
		if !s.copyIntent(f, to, at) {
			s.adrift = true
		}
		at += f.end - f.at
	}
	return true
}

// unended are the intents that have not ended, as many as there is room for.
func (s *segment) unended(room int64) (list []frame, size int64, all bool) {
	end := s.end.Load()
	for f, ok := s.next(0, end); ok; f, ok = s.next(f.end, end) {
		if f.kind != intentFrame || s.state(f.at) == isEnded {
			continue
		}
		if size+f.end-f.at > room {
			return list, size, false
		}
		list = append(list, f)
		size += f.end - f.at
	}
	return list, size, true
}

// copyIntent writes a copy that refers to the original. A crash may leave both: they are one intent.
func (s *segment) copyIntent(f frame, to *segment, at int64) bool {
	if !to.write(at, intentFrame, s.origin(f), f.payload) {
		return false
	}
	state := s.state(f.at)
	to.swap(at, isOpen, state)
	s.swap(f.at, state, isEnded)
	s.open.Add(-1)
	s.moved[f.at] = Mark{seg: to, at: at}
	return true
}

// origin is the position that the outcome of an intent refers to.
func (s *segment) origin(f frame) uint64 {
	if f.ref != 0 {
		return f.ref
	}
	return position(s.seq, f.at)
}

// sweep is called by the shipper now and then.
func (l *Log) sweep() {
	l.mu.Lock()
	worn := l.tidy(true)
	l.makeSpare()
	l.mu.Unlock()
	if worn != nil {
		l.reuse(worn)
	}
	l.round(time.Now())
}

// fault notes what is wrong with the disk.
func (l *Log) fault(err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		l.mu.Lock()
		l.trouble = err
		l.mu.Unlock()
	}
}
