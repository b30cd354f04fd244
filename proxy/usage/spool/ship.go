package spool

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstPause = 100 * time.Millisecond // after a delivery that failed; twice as long after the next
	lastPause  = 30 * time.Second
)

// Refused is the error of a sink that will never take this batch, however often it is sent.
type Refused struct{ Err error }

func (r Refused) Error() string { return "refused: " + r.Err.Error() }
func (r Refused) Unwrap() error { return r.Err }

// shipper is one goroutine: it reads the segments in order, and sends what it finds.
type shipper struct {
	place   place
	batch   batch
	seg     *segment // that is being read; nil between two
	last    uint32   // the number of the one read last
	at      int64
	until   uint64       // where the batch ends that was being sent when the process ended before
	rounded time.Time    // when round was last called
	limit   int          // records of a batch; few while one is sought that the sink refuses
	old     atomic.Int64 // the second of the batch's first record, 0 where there is none

	sink    atomic.Pointer[Deliver]
	sending sync.Mutex // held while a sink is called
	recall  atomic.Pointer[context.CancelFunc]
	changed chan struct{} // has one when there is another sink
	over    chan struct{} // closed when Close was called
	ended   chan struct{}
	ctx     context.Context // done when Close has no more time
	cancel  context.CancelFunc
}

// Ship says where records are delivered to from now on; nil is nowhere. When it returns the sink that was there before is not
// called any more: a batch that it had is sent to the new one, with the same token.
func (l *Log) Ship(d Deliver) {
	if d == nil {
		l.sink.Store(nil)
	} else {
		l.sink.Store(&d)
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
	if recall := l.recall.Load(); recall != nil {
		(*recall)()
	}
	l.sending.Lock() // until the call under way is over
	defer l.sending.Unlock()
}

func (l *Log) start() {
	l.changed, l.over, l.ended = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.limit, l.until = l.o.BatchRecords, l.place.until
	if l.o.Sync > 0 {
		l.disk.every(l.o.Sync, l.fault)
	}
	go func() {
		defer close(l.ended)
		for l.collect() && l.deliver() {
			l.sweep()
		}
	}()
}

// stop has the shipper send what is left, until ctx is done.
func (l *Log) stop(ctx context.Context) {
	defer l.cancel()
	defer context.AfterFunc(ctx, l.cancel)()
	close(l.over)
	<-l.ended
}

// collect fills the batch until it is full or has waited long enough. It is false when there is nothing more to send.
func (l *Log) collect() bool {
	var since time.Time
	for {
		l.fill()
		n := len(l.batch.list)
		if n > 0 && since.IsZero() {
			since = time.Now()
		}
		if l.batch.full || n > 0 && time.Since(since) >= l.o.BatchWait {
			return true
		}
		l.sweep()
		select {
		case <-l.over:
			l.fill()
			return len(l.batch.list) > 0
		default:
		}
		if !l.pause(l.o.BatchWait/20, l.over) {
			return false
		}
	}
}

// pause is false when Close has no more time.
func (l *Log) pause(d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-l.ctx.Done():
		return false
	}
	return true
}

// deliver sends the batch until the sink has it or refuses it. It is false when there is no more time for that.
func (l *Log) deliver() bool {
	for try := 0; ; {
		sink := l.waitForSink()
		if sink == nil {
			return false
		}
		err := l.send()
		switch {
		case err == nil:
			l.limit = min(2*l.limit, l.o.BatchRecords)
			l.acknowledged(nil)
			return true
		case errors.Is(err, errRecalled):
			continue
		case errors.As(err, new(Refused)):
			if len(l.batch.list) == 1 {
				l.acknowledged(err)
				return true
			}
			l.split()
			try = 0
			continue
		}
		l.note(err)
		l.sweep()
		if !l.pause(backoff(try), l.changed) {
			return false
		}
		try++
	}
}

// waitForSink is nil when the log closes before there is one.
func (l *Log) waitForSink() *Deliver {
	for {
		if sink := l.sink.Load(); sink != nil {
			return sink
		}
		select {
		case <-l.over:
			return l.sink.Load()
		case <-l.changed:
		}
	}
}

var errRecalled = errors.New("there is another sink")

// send notes what is being sent, and sends it.
func (l *Log) send() error {
	if err := l.announce(); err != nil {
		return err
	}
	l.sending.Lock()
	defer l.sending.Unlock()
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	l.recall.Store(&cancel) // Ship stores the sink first and looks for this then: one of us sees the other
	defer l.recall.Store(nil)
	select {
	case <-l.changed: // no reason to hurry after this
	default:
	}
	sink := l.sink.Load()
	if sink == nil {
		return errRecalled
	}
	err := (*sink)(ctx, l.batch.token(l.place.log), l.batch.records())
	if err != nil && ctx.Err() != nil && l.ctx.Err() == nil {
		return errRecalled
	}
	return err
}

// announce has the place say which batch is being sent, before it is: after a crash it must be the very same one, unless the sink
// needs no batches to know what it has.
func (l *Log) announce() error {
	if until := l.batch.end(); l.place.until != until {
		if l.o.Sync > 0 && !l.o.Knows {
			l.fault(l.disk.wait())
		}
		return l.place.save(l.place.next, until, l.o.Sync >= 0 && !l.o.Knows)
	}
	return nil
}

// acknowledged goes on behind the batch, which the sink has, or has refused for ever.
func (l *Log) acknowledged(refused error) {
	b := &l.batch
	var err error
	if refused != nil {
		err = l.setAside(b.records()[0], refused)
	}
	err = errors.Join(err, l.place.save(b.end(), 0, false))
	n := int64(len(b.list))
	l.mu.Lock()
	if b.seg.mem == nil {
		l.adrift -= n
	} else {
		b.seg.gone += n
		b.seg.held = 0
	}
	if refused == nil {
		l.delivered += n
		l.trouble = err
	} else {
		l.dropped += n
		l.trouble = errors.Join(refused, err)
	}
	l.mu.Unlock()
	l.until = 0
	b.reset(l.o.BatchBytes)
	l.old.Store(0)
}

// split halves a batch that was refused, so as to find the record that is to blame. Those that follow are sent in batches that
// grow again.
func (l *Log) split() {
	b := &l.batch
	before := len(b.list)
	l.limit = before / 2
	b.truncate(l.limit)
	l.at = b.list[l.limit-1].to
	l.until = 0
	l.mu.Lock()
	defer l.mu.Unlock()
	b.seg.held = int64(l.limit)
	if b.seg.mem == nil { // what follows can be read no more
		l.adrift -= int64(before - l.limit)
		l.dropped += int64(before - l.limit)
	}
}

func (l *Log) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures++
	l.trouble = err
}

// backoff is how long to wait after so many failures, give or take, so that not all of a fleet come back at once.
func backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures, 10), lastPause)
	return d/2 + rand.N(d/2)
}
