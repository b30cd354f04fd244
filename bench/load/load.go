// Package load sends requests to a chat endpoint and checks every reply.
//
// Closed loop (Rate 0): each connection sends its next request when the last one is answered. This finds saturation.
// Open loop: requests are due at a fixed rate, whatever the server does, and latency counts from the moment
// a request was due. A server that stalls is charged for every request that had to wait (no coordinated omission).
package load

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Plan is one measurement: which bytes go where, how often, and what must come back.
type Plan struct {
	Addr    string  // host:port
	Request []byte  // a whole HTTP/1.1 request, head and body
	Expect  Expect  // of every reply
	Conns   int     // each with one goroutine
	Rate    float64 // requests due per second; 0 is the closed loop
	// Patience is how long after the run's end a reply may still come. Then it is lost. 0: 20s, as virtual machines
	// have been seen to stand still for ten
	Patience time.Duration
}

// Result is what happened. Sent = OK + Wrong + Lost, always.
type Result struct {
	Sent, OK, Wrong, Lost int64
	Events                int64 // of all right streams
	Elapsed               time.Duration
	Latency               *hdrhistogram.Histogram // microseconds until the reply was complete
	First                 *hdrhistogram.Histogram // microseconds until the reply's head, or until a stream's first token
	Fault                 error                   // the first wrong or lost reply
}

// New returns an empty Result, to Add others to.
func New() *Result {
	h := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(5*time.Minute/time.Microsecond), 3) }
	return &Result{Latency: h(), First: h()}
}

// Add merges o into r as if both had been one run.
func (r *Result) Add(o *Result) {
	r.Sent, r.OK, r.Wrong, r.Lost = r.Sent+o.Sent, r.OK+o.OK, r.Wrong+o.Wrong, r.Lost+o.Lost
	r.Events += o.Events
	r.Elapsed += o.Elapsed
	r.Latency.Merge(o.Latency)
	r.First.Merge(o.First)
	if r.Fault == nil {
		r.Fault = o.Fault
	}
}

// Load is a plan with its connections open, so that a measured run does not pay for dialling.
type Load struct {
	plan  Plan
	conns []*conn

	mu     sync.Mutex // of result, shared by all connections: uncontended it costs less than a histogram per connection
	result *Result
}

// Open dials every connection.
func Open(ctx context.Context, p Plan) (*Load, error) {
	if p.Patience == 0 {
		p.Patience = 20 * time.Second
	}
	l := &Load{plan: p}
	for range p.Conns {
		c, err := dial(ctx, p.Addr)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.conns = append(l.conns, c)
	}
	return l, nil
}

// Close closes the connections.
func (l *Load) Close() error {
	var errs []error
	for _, c := range l.conns {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// Warm has every connection answered once, all at the same time. A server may give up a connection that it accepted and
// that stays silent, long before it gives up one that waits for its next request.
func (l *Load) Warm(ctx context.Context) error {
	errs := make([]error, len(l.conns))
	var wg sync.WaitGroup
	for i, c := range l.conns {
		c.limit(time.Now().Add(l.plan.Patience))
		wg.Go(func() { _, errs[i] = c.exchange(ctx, &l.plan) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// Run sends for d and returns once every reply has come or is lost. It may be called again, one call at a time.
// When ctx ends, the run is over at once and what was in flight counts as lost.
func (l *Load) Run(ctx context.Context, d time.Duration) *Result {
	l.result = New()
	start := time.Now()
	work := l.schedule(start, d)
	limit := start.Add(d + l.plan.Patience)
	for _, c := range l.conns {
		c.limit(limit)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range l.conns {
			c.limit(time.Now())
		}
	})
	defer stop()
	var wg sync.WaitGroup
	for _, c := range l.conns {
		wg.Go(func() { l.work(ctx, c, work) })
	}
	wg.Wait()
	l.result.Elapsed = time.Since(start)
	return l.result
}

// work is the life of one connection during a run.
func (l *Load) work(ctx context.Context, c *conn, s *schedule) {
	for ctx.Err() == nil {
		due, ok := s.next(c)
		if !ok {
			return
		}
		first, err := c.exchange(ctx, &l.plan)
		now := time.Now()
		l.record(now.Sub(due), first.Sub(due), c.answer.events.n, err)
	}
}

func (l *Load) record(latency, first time.Duration, events int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.result
	r.Sent++
	if err != nil {
		if r.Fault == nil {
			r.Fault = err
		}
		if _, ok := errors.AsType[*wrong](err); ok {
			r.Wrong++
		} else {
			r.Lost++
		}
		return
	}
	r.OK++
	r.Events += int64(events)
	_ = r.Latency.RecordValue(latency.Microseconds()) // out of range only beyond five minutes, which no run lasts
	_ = r.First.RecordValue(first.Microseconds())
}
