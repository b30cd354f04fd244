package state

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"time"
)

// Writes that nobody waits for are tried again when their transaction fails: a database that stalls for a moment must not
// cost what they say. They come before all that follows, so that order holds: what a Delete has deleted does not come back.
// Those who wait never wait for more than the attempt that is under way.

// backlog is what was posted and has failed. Only the goroutine that writes uses it.
type backlog struct {
	writes []*write
	due    <-chan time.Time // of the next attempt; nil: nothing has failed
	pause  time.Duration
	halved int // how often the size of a transaction was, because one that large was too slow
}

const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

var (
	errFull   = errors.New("too much is waiting to be written")
	errAtExit = errors.New("it could not be written before the end")
)

// Dropped counts the responses that were lost though nobody was told by an error: see Remember.
func (s *Store) Dropped() int64 { return s.dropped.Load() }

// Missed counts the audit entries that were lost: see Record.
func (s *Store) Missed() int64 { return s.missed.Load() }

// post has something written that nobody waits for.
func (s *Store) post(w *write) {
	select {
	case <-s.quit:
		s.drop(w, ErrClosed)
		return
	default:
	}
	select {
	case s.queue <- w:
	default:
		s.drop(w, errFull)
	}
}

func (s *Store) drop(w *write, cause error) {
	w.lost.Add(1)
	last, now := s.told.Load(), s.now().UnixMilli()
	if s.OnDrop != nil && (last == 0 || now-last >= time.Minute.Milliseconds()) && s.told.CompareAndSwap(last, now) {
		s.OnDrop(cause)
	}
}

// take commits a group, unless the database fails and nobody waits: then there is time until the next attempt.
func (s *Store) take(group []*write) {
	if s.failed.due == nil || slices.ContainsFunc(group, func(w *write) bool { return w.ctx != nil }) {
		s.commit(group)
		return
	}
	for _, w := range group {
		s.keep(w)
	}
}

// keep puts a posted write aside for the next transaction.
func (s *Store) keep(w *write) {
	if len(s.failed.writes) == queued {
		s.drop(w, errFull)
		return
	}
	s.failed.writes = append(s.failed.writes, w)
}

// most is how many writes one transaction may have.
func (b *backlog) most() int { return max(grouped>>b.halved, 1) }

// learn makes transactions smaller when one took too long, and larger again when one did not: on a server that is slow or far
// away some size can be written, and then all can.
func (b *backlog) learn(err error) {
	switch {
	case err == nil:
		b.halved, b.pause = max(b.halved-1, 0), 0
	case errors.Is(err, context.DeadlineExceeded):
		b.halved = min(b.halved+1, bits.Len(grouped))
	}
}

// rest waits longer after each failure.
func (b *backlog) rest(err error) {
	if err == nil || len(b.writes) == 0 {
		b.due, b.pause = nil, 0
		return
	}
	b.pause = min(max(2*b.pause, firstPause), lastPause)
	b.due = time.After(b.pause)
}

// finish writes what is left, at one go: a database that stalls must not hold up the end for long.
func (s *Store) finish() {
	group := s.counted(true)
	if len(s.queue) > 0 {
		group = append(s.gather(<-s.queue, queued+1), group...)
	}
	if len(group) > 0 || len(s.failed.writes) > 0 {
		s.commit(group)
	}
	for _, w := range s.failed.writes {
		s.drop(w, errAtExit)
	}
}
