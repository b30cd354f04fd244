package load

import (
	"sync/atomic"
	"time"
)

// schedule hands out the moments at which requests are due, one to each connection that is free.
type schedule struct {
	start time.Time
	end   time.Time     // closed loop: no new request after it
	gap   time.Duration // open loop: between two requests
	total int64         // open loop
	taken atomic.Int64
}

func (l *Load) schedule(start time.Time, d time.Duration) *schedule {
	s := &schedule{start: start, end: start.Add(d)}
	if l.plan.Rate > 0 {
		s.gap = time.Duration(float64(time.Second) / l.plan.Rate)
		s.total = int64(d / s.gap)
	}
	return s
}

// next returns when the connection's next request is due, waiting until then. In the open loop that moment may lie in
// the past, when all connections were busy: the request goes out at once and its latency counts from when it was due.
func (s *schedule) next(c *conn) (due time.Time, ok bool) {
	if s.gap == 0 {
		now := time.Now()
		return now, now.Before(s.end)
	}
	i := s.taken.Add(1) - 1
	if i >= s.total {
		return due, false
	}
	due = s.start.Add(time.Duration(i) * s.gap)
	c.alarm.wait(due)
	return due, true
}
