package spool

import (
	"errors"
	"os"
	"sync"
	"time"
)

// disk has what was appended written to the disk: for all that wait at once, or every now and then.
type disk struct {
	flush func() error

	mu                sync.Mutex
	turn              sync.Cond
	busy              bool
	started, finished uint64 // rounds of writing
	err               error  // of the last round

	timer chan struct{} // closed to end the timer's goroutine
	ended chan struct{}
}

func (d *disk) init(flush func() error) {
	d.flush = flush
	d.turn.L = &d.mu
}

// wait returns when a round is over that began after the call: what was appended before is on disk then.
func (d *disk) wait() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for need := d.started + 1; d.finished < need; {
		if d.busy {
			d.turn.Wait()
			continue
		}
		d.busy = true
		d.started++
		d.mu.Unlock()
		err := d.flush()
		d.mu.Lock()
		d.busy, d.finished, d.err = false, d.started, err
		d.turn.Broadcast()
	}
	return d.err
}

// every writes at intervals, until close.
func (d *disk) every(interval time.Duration, fault func(error)) {
	d.timer, d.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(d.ended)
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fault(d.wait())
			case <-d.timer:
				return
			}
		}
	}()
}

// close writes what is left, unless that is left to the kernel.
func (d *disk) close(interval time.Duration) error {
	if d.timer != nil {
		close(d.timer)
		<-d.ended
	}
	if interval < 0 {
		return nil
	}
	return d.wait()
}

// flush writes what was appended since it was last called. One at a time.
func (l *Log) flush() (err error) {
	l.mu.Lock()
	segs := make([]*segment, 0, 2)
	for _, s := range l.segs {
		if n, _ := s.written(); n > s.synced {
			segs = append(segs, s)
		}
	}
	l.mu.Unlock()
	for _, s := range segs {
		err = errors.Join(err, s.flush(l.o.Dir))
	}
	return err
}

func (s *segment) flush(dir string) error {
	s.mu.RLock() // it may be removed meanwhile
	defer s.mu.RUnlock()
	if s.mem == nil {
		return nil
	}
	to, _ := s.written()
	if !s.named {
		if err := errors.Join(s.file.Sync(), syncDir(dir)); err != nil {
			return err
		}
		s.named = true
	}
	if err := syncFile(s.file, s.mem, s.synced, to); err != nil {
		return err
	}
	s.synced = to
	return nil
}

// syncDir has the names of new files on disk. Not every system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}
