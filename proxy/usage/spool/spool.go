// Package spool is a log of records on disk that loses none: what is appended outlives a kill -9 of the process at once, and
// is delivered in batches, in order, until the sink has said that it has them.
//
// A request appends its intent before it goes upstream, and its outcome before its answer ends. Only outcomes are delivered.
// An intent whose outcome is missing when the log is opened was cut by a crash, and gets an outcome then (Options.Cut).
//
// The log is a row of files of a fixed size that are mapped into memory (segment.go). Room on the disk is bounded, and a file
// is there as a spare before it is needed (room.go). Batches and what was acknowledged of them: ship.go and place.go.
package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Full is what happens when there is no room on the disk for another record.
type Full int

const (
	// DropOldest lets the oldest records go that were not delivered yet.
	DropOldest Full = iota
	// DropNew keeps what there is. Requests that have begun still get their outcome in.
	DropNew
	// Refuse has Begin fail, so that the request can be refused. Requests that have begun still get their outcome in.
	Refuse
)

var (
	// ErrFull says that there was no room: the record was dropped and counted as such, or the request has to be refused.
	ErrFull = errors.New("the spool is full")
	// ErrTooLarge says that a record does not fit into a segment. It was dropped and counted as such.
	ErrTooLarge = errors.New("the record is larger than a segment of the spool")
	// ErrEnded says that the intent has its outcome already.
	ErrEnded = errors.New("the intent has ended already")
	// ErrClosed says that the log was closed. What was to be appended is not kept; an intent counts as cut by a crash.
	ErrClosed = errors.New("the spool is closed")
	// ErrLocked says that another process has the folder.
	ErrLocked = errors.New("another process has the spool")
)

// Options are how a log is opened. Only Dir has to be there.
type Options struct {
	Dir string
	// Max is how many bytes of the disk the segments may take: 1 GiB. There are never fewer than four.
	Max int64
	// Full is what happens when these are used up, or the disk is full.
	Full Full
	// Sync is what a loss of power may cost. 0: nothing, each append waits until it is on disk, all that wait for one write
	// together. More: what was appended in that time. Less: whatever the kernel had not written yet.
	Sync time.Duration
	// Cut turns the intent of a request that a crash has cut into the outcome that it gets, appended to dst. An empty one says that
	// nothing is to be delivered, and an error that it is not known yet: the next Open asks again. Without Cut the intent itself is
	// delivered.
	Cut func(dst, intent []byte) ([]byte, error)
	// Knows is set where the sink knows a record that comes again, whatever batch it comes in. Then a loss of power may change the
	// batches: they need not be on disk before they are sent.
	Knows bool
	// Keep is how long records that the sink has refused are kept for people to look at: 30 days.
	Keep time.Duration
	// Segment is the size of a file: 64 MiB, at most a quarter of Max.
	Segment int64
	// A batch ends at so many records (10,000) or bytes (4 MiB), or when its first record has waited so long (1 s).
	BatchRecords int
	BatchBytes   int
	BatchWait    time.Duration

	allocate func(*os.File, int64) error // takes the room of a file; tests have a disk that is full
	round    time.Duration               // how often what was delivered is overwritten, and memory given back: 10 s
}

func (o Options) complete() Options {
	orElse(&o.Max, 1<<30)
	orElse(&o.Segment, 64<<20)
	orElse(&o.BatchRecords, 10_000)
	orElse(&o.BatchBytes, 4<<20)
	orElse(&o.BatchWait, time.Second)
	orElse(&o.round, 10*time.Second)
	orElse(&o.Keep, 30*24*time.Hour)
	page := int64(os.Getpagesize())
	o.Segment = max(min(o.Segment, o.Max/4, 1<<31)/page, 1) * page
	o.Max = max(o.Max, 4*o.Segment)
	if o.allocate == nil {
		o.allocate = allocate
	}
	if o.Cut == nil {
		o.Cut = func(dst, intent []byte) ([]byte, error) { return append(dst, intent...), nil }
	}
	return o
}

func orElse[T int | int64 | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// Deliver sends a batch to the sink. The same token always names the very same records, also after a crash, so that a sink can
// tell a batch that it has already. The records are only there until Deliver returns, which it has to do soon after ctx is
// done. An error has the batch sent again, later; one that is Refused has the record found that the sink will never take.
type Deliver func(ctx context.Context, token string, records [][]byte) error

// Log is an open spool. Its methods may be called at the same time.
type Log struct {
	o       Options
	lock    *os.File
	active  atomic.Pointer[segment] // what is appended to; one of segs
	shed    atomic.Int64            // records that were not appended for want of room to come
	pressed atomic.Bool             // more than half of the room is in use
	tight   atomic.Bool             // there is no spare: nothing new may begin, for what has begun needs the room
	disk    disk

	mu        sync.Mutex
	segs      []*segment // oldest first
	spare     *segment
	stock     *segment  // one more, which was in use before
	turned    time.Time // when a segment was full
	seq       uint32    // of the segment made last
	bytes     int64
	retired   int64 // records that count as emitted and are in no segment any more
	delivered int64
	dropped   int64
	adrift    int64 // records of the batch being sent whose segment had to go
	cut, torn int64
	failures  int64
	trouble   error // of the last delivery, or of the disk
	closed    bool
	retry     time.Time // when to look for room again

	shipper
}

// Open takes the folder, finds what there is, and gives an outcome to each intent that a crash has cut. Nothing is delivered
// until Ship is called.
func Open(o Options) (*Log, error) {
	l := &Log{o: o.complete()}
	if err := os.MkdirAll(l.o.Dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if l.lock, err = os.OpenFile(filepath.Join(l.o.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err = lock(l.lock); err == nil {
		err = l.open()
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("%s: %w", l.o.Dir, err)
	}
	return l, nil
}

func (l *Log) open() (err error) {
	if l.place, err = openPlace(filepath.Join(l.o.Dir, "place")); err != nil {
		return err
	}
	l.active.Store(&segment{}) // without room: the first append makes a segment
	l.disk.init(l.flush)
	cuts, err := l.recover()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.makeSpare()
	l.mu.Unlock()
	if l.spare == nil && l.trouble != ErrFull && !noSpace(l.trouble) {
		return l.trouble
	}
	l.finish(cuts)
	l.start()
	return nil
}

// release gives up the files. What is mapped must not be used any more.
func (l *Log) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		s.close()
	}
	for _, s := range []*segment{l.spare, l.stock} {
		if s != nil {
			s.close()
		}
	}
	l.place.close()
	_ = l.lock.Close()
}

// Mark is where an intent is. The zero Mark is that of an intent which was not kept, and may be ended all the same.
type Mark struct {
	seg *segment
	at  int64
	ref uint64 // the position of the intent that this one took the place of; 0 where it is the first
}

// Begin appends the intent of a request, before it goes upstream. ErrFull says that the request has to be refused. Another
// error is the disk's, and says only that the intent may not outlive a loss of power.
func (l *Log) Begin(intent []byte) (Mark, error) {
	if !l.tight.Load() {
		m, err := l.append(intentFrame, 0, intent)
		if !errors.Is(err, ErrFull) {
			return m, err
		}
	}
	if l.o.Full == Refuse {
		return Mark{}, ErrFull
	}
	return Mark{}, nil
}

// Replace has another intent take the place of one that has not ended, and whose mark is not used any more. Where there is no room for
// it, the one that is there stays. A crash in between leaves both, which are one intent then: the later one.
func (l *Log) Replace(m Mark, intent []byte) Mark {
	if m.seg == nil {
		return m
	}
	next := l.beside(m, intent)
	if next.seg == nil {
		return m
	}
	m.turn(isOpen, isEnded)
	return next
}

// beside appends an intent that is the same as another one, and counts in its place.
func (l *Log) beside(m Mark, intent []byte) Mark {
	next, _ := l.append(intentFrame, m.position(), intent) // an error of the disk says nothing of the mark
	if next.seg != nil {
		next.ref = m.position()
	}
	return next
}

// Forget ends an intent that has no outcome: there is nothing to deliver.
func (l *Log) Forget(m Mark) { m.turn(isOpen, isEnded) }

// End appends the outcome of a request, before its answer ends. Each intent ends once.
func (l *Log) End(m Mark, outcome []byte) error {
	if m.seg == nil {
		return l.Add(outcome)
	}
	if !m.turn(isOpen, isEnding) {
		return l.endedOrClosed()
	}
	at, err := l.append(outcomeFrame, m.position(), outcome)
	if errors.Is(err, ErrClosed) {
		return err // the next Open finds the intent
	}
	m.turn(isEnding, isEnded)
	at.settled()
	return l.count(err)
}

// settled tells the segment of an outcome that the intent knows of it.
func (m Mark) settled() {
	if m.seg != nil {
		m.seg.ending.Add(-1)
	}
}

func (l *Log) endedOrClosed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	return ErrEnded
}

// Add appends a record that has no intent.
func (l *Log) Add(record []byte) error {
	if l.tight.Load() {
		return l.count(ErrFull)
	}
	_, err := l.append(singleFrame, 0, record)
	return l.count(err)
}

// Pressed tells that more than half of the room is in use, as the sink does not keep up. Records that others can do without
// should be dropped then, so that they do not take the room of those that must not be lost.
func (l *Log) Pressed() bool { return l.pressed.Load() }

// Drop counts a record that is not appended. It takes no lock: such records may come in floods.
func (l *Log) Drop() { l.shed.Add(1) }

// weigh notes whether much of the room is in use. Under mu.
func (l *Log) weigh() {
	used := l.bytes
	for _, s := range []*segment{l.spare, l.stock} {
		if s != nil {
			used -= s.size
		}
	}
	l.pressed.Store(used > l.o.Max/2)
}

// count has a record that was not kept counted as dropped.
func (l *Log) count(err error) error {
	if errors.Is(err, ErrFull) || errors.Is(err, ErrTooLarge) {
		l.mu.Lock()
		l.retired++
		l.dropped++
		l.mu.Unlock()
	}
	return err
}

func (l *Log) append(kind byte, ref uint64, payload []byte) (Mark, error) {
	m, err := l.put(kind, ref, payload)
	if err == nil && l.o.Sync == 0 {
		err = l.disk.wait()
	}
	return m, err
}

// put writes a frame, which is in the kernel's hands then.
func (l *Log) put(kind byte, ref uint64, payload []byte) (Mark, error) {
	n := frameSize(len(payload))
	if n > l.o.Segment {
		return Mark{}, ErrTooLarge
	}
	for broken := 0; broken < 2; {
		s := l.active.Load()
		at, ok := s.reserve(n)
		if !ok {
			if err := l.rotate(s); err != nil {
				return Mark{}, err
			}
			continue
		}
		if kind == outcomeFrame {
			s.ending.Add(1)
		}
		if s.write(at, kind, ref, payload) {
			return Mark{seg: s, at: at}, nil
		}
		if kind == outcomeFrame {
			s.ending.Add(-1)
		}
		broken++
		s.reserve(s.size + 1) // the disk failed under it: nobody should try again
	}
	return Mark{}, ErrFull
}

// Stats is the state of a log at one moment. Emitted is always the sum of Delivered, Dropped and Spooled. All but the last
// line count from Open on, where what was found of earlier processes counts as emitted anew.
type Stats struct {
	Emitted, Delivered, Dropped, Spooled int64
	Cut                                  int64 // intents that a crash had left without an outcome; their outcomes are emitted as well
	Torn                                 int64 // bytes between frames that Open could not read: what a crash had cut, or the disk has lost
	Failures                             int64 // deliveries that failed and are tried again
	LastError                            error // of the delivery or the disk; nil once it works again
	Bytes                                int64 // of the disk
	Segments                             int
	Oldest                               time.Time // when the oldest record was appended that is not delivered yet, to the second
}

// Stats says what became of the records.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	shed := l.shed.Load()
	st := Stats{Emitted: l.retired + shed, Delivered: l.delivered, Dropped: l.dropped + shed, Spooled: l.adrift, Cut: l.cut, Torn: l.torn,
		Failures: l.failures, LastError: l.trouble, Bytes: l.bytes, Segments: len(l.segs)}
	for _, s := range l.segs {
		n := s.records.Load()
		st.Emitted += n
		st.Spooled += n - s.gone
	}
	if sec := l.old.Load(); sec != 0 {
		st.Oldest = time.Unix(sec, 0)
	}
	return st
}

// Close ends appending, delivers what it can until ctx is done, and keeps the rest for the next Open. It returns when nothing
// of the log runs any more.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	last := l.active.Load()
	last.reserve(last.size + 1)
	l.mu.Unlock()
	for !last.finished() { // a copy that is under way
		time.Sleep(10 * time.Microsecond)
	}
	l.stop(ctx)
	err := l.disk.close(l.o.Sync)
	l.scrub()
	l.mu.Lock()
	l.tidy(false)
	for _, s := range []*segment{l.spare, l.stock} {
		if s != nil {
			l.remove(s)
		}
	}
	l.spare, l.stock = nil, nil
	for _, s := range l.segs {
		err = errors.Join(err, s.trim())
	}
	l.mu.Unlock()
	l.release()
	return err
}
