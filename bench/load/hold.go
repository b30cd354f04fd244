package load

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Held is a number of streams that are open at the same time, all being read. Their events should come seconds
// apart: what is measured is the memory of being open, not of being busy.
type Held struct {
	addr    string
	request []byte
	streams []*held
	wg      sync.WaitGroup
}

// held is one stream. Its events are counted where another goroutine can see them.
type held struct {
	conn    *conn
	events  events
	seen    atomic.Int64
	started chan struct{} // closed by start
	start   func()        // at the first event, or when there will be none; may be called again
	fault   error         // why the stream ended; valid once started is closed and seen is 0
}

// longestHold is a bound for when nothing comes at all, not a wait that is expected.
const longestHold = 2 * time.Minute

// NewHeld returns no streams yet; Grow opens them.
func NewHeld(addr string, request []byte) *Held { return &Held{addr: addr, request: request} }

// Grow opens streams until there are n, and returns when each has brought its first event.
func (h *Held) Grow(ctx context.Context, n int) error {
	const atOnce = 1000 // many, as a gateway may hold an event back until the next; few enough for the accept queue
	slots := make(chan struct{}, atOnce)
	fresh := make([]*held, 0, n-len(h.streams))
	for len(h.streams) < n && ctx.Err() == nil {
		slots <- struct{}{}
		s := &held{started: make(chan struct{})}
		s.start = sync.OnceFunc(func() { close(s.started); <-slots })
		h.streams, fresh = append(h.streams, s), append(fresh, s)
		h.wg.Go(func() { h.read(ctx, s) })
	}
	for _, s := range fresh {
		<-s.started
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return firstFault(fresh)
}

// firstFault looks at streams that have started.
func firstFault(streams []*held) error {
	for _, s := range streams {
		if s.seen.Load() == 0 {
			return s.fault
		}
	}
	return nil
}

// read is the life of one stream.
func (h *Held) read(ctx context.Context, s *held) {
	err := s.open(ctx, h.addr, h.request)
	if err == nil {
		err = errors.New("stream ended by itself")
	}
	if s.fault = err; s.conn != nil {
		s.fault = errors.Join(err, s.conn.hangUp())
	}
	s.start()
}

// open reads the stream with a small buffer: there are thousands.
func (s *held) open(ctx context.Context, addr string, request []byte) error {
	n, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s.conn = &conn{net: n, in: reader{src: n, buf: make([]byte, 2<<10)}}
	s.conn.limit(time.Now().Add(longestHold))
	defer context.AfterFunc(ctx, func() { s.conn.limit(time.Now()) })()
	if _, err = n.Write(request); err != nil {
		return err
	}
	hd, err := s.conn.in.head()
	if err != nil {
		return err
	}
	if hd.status != 200 {
		return wrongf("status %d", hd.status)
	}
	s.events.reset()
	return s.conn.in.body(hd, s)
}

func (s *held) part(p []byte) {
	s.events.part(p)
	s.seen.Store(int64(s.events.n))
	if s.events.n > 0 {
		s.start()
	}
}

// Stuck waits until every stream has brought another event, at most for d, and returns how many have not:
// a stream that is open but cut off somewhere behind the proxy costs no memory and must not count.
func (h *Held) Stuck(ctx context.Context, d time.Duration) int {
	before := make([]int64, len(h.streams))
	for i, s := range h.streams {
		before[i] = s.seen.Load()
	}
	end := time.Now().Add(d)
	for {
		stuck := 0
		for i, s := range h.streams {
			if s.seen.Load() == before[i] {
				stuck++
			}
		}
		if stuck == 0 || time.Now().After(end) || ctx.Err() != nil {
			return stuck
		}
		pause(ctx)
	}
}

// Close ends all streams from this side.
func (h *Held) Close() {
	for _, s := range h.streams {
		<-s.started
		if s.conn != nil {
			s.conn.limit(time.Now())
		}
	}
	h.wg.Wait()
}
