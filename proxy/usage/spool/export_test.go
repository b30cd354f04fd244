package spool

import (
	"os"
	"time"
)

// OnDisk has the log believe that taking room on the disk went as f says.
func (o Options) OnDisk(f func() error) Options {
	o.allocate = func(file *os.File, size int64) error {
		if err := f(); err != nil {
			return err
		}
		return allocate(file, size)
	}
	return o
}

// Rounds has the log overwrite what was delivered so often.
func (o Options) Rounds(d time.Duration) Options {
	o.round = d
	return o
}

// Backoff is how long the log waits after so many failures.
var Backoff = backoff

// EndHalf is End up to where the outcome is in the log and the intent does not know yet. Then the intent is copied, as when its
// segment has to go, but the segment is still there: where a crash may come.
func (l *Log) EndHalf(m Mark, outcome []byte) bool {
	m.turn(isOpen, isEnding)
	if _, err := l.put(outcomeFrame, m.position(), outcome); err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return m.seg.finished() && l.carry(m.seg, false)
}

// ReplaceHalf is Replace up to where both intents are in the log.
func (l *Log) ReplaceHalf(m Mark, intent []byte) (whole func() Mark) {
	next := l.beside(m, intent)
	return func() Mark {
		m.turn(isOpen, isEnded)
		return next
	}
}

// EndOnly is End up to where the outcome is in the log.
func (l *Log) EndOnly(m Mark, outcome []byte) {
	m.turn(isOpen, isEnding)
	_, _ = l.put(outcomeFrame, m.position(), outcome)
}

// Slowly is Add by a goroutine that is held up between taking its place and writing there, until write is called.
func (l *Log) Slowly(record []byte) (write func()) {
	s := l.active.Load()
	at, _ := s.reserve(frameSize(len(record)))
	return func() { s.write(at, singleFrame, 0, record) }
}

// GroupCommit is a function that waits for the disk, which is written by flush.
func GroupCommit(flush func() error) (wait func() error) {
	d := &disk{}
	d.init(flush)
	return d.wait
}
