package counter

import "time"

// subs is into how many parts a sliding window is cut. What was used leaves with the last moment of its part, so never too
// early, and at most a 256th of the window too late.
const subs = 256

// sliding counts what was used in the last window, at any moment.
type sliding struct {
	sub   int64 // how long a part is
	parts []part
	first int // in parts: those before it are gone
	total int64
}

type part struct{ at, n int64 } // at: its number since the beginning of time

func (s *sliding) used(now moment) int64 {
	oldest := now.mono/s.sub - subs
	for s.first < len(s.parts) && s.parts[s.first].at < oldest {
		s.total -= s.parts[s.first].n
		s.first++
	}
	if s.first == len(s.parts) {
		s.parts, s.first = s.parts[:0], 0
	}
	return s.total
}

func (s *sliding) add(now moment, n int64) {
	_ = s.used(now)
	s.total += n
	at := now.mono / s.sub
	if end := len(s.parts) - 1; end >= s.first && s.parts[end].at == at {
		s.parts[end].n += n
		return
	}
	if len(s.parts) == cap(s.parts) && s.first > len(s.parts)/2 {
		s.parts = s.parts[:copy(s.parts, s.parts[s.first:])]
		s.first = 0
	}
	s.parts = append(s.parts, part{at, n})
}

func (s *sliding) gone(now moment, n int64) time.Duration {
	if n <= 0 {
		return 0
	}
	if n == s.total { // most ask for that, and there may be many parts
		return s.empty(now)
	}
	for _, p := range s.parts[s.first:] {
		if n -= p.n; n <= 0 {
			return s.leaves(p, now)
		}
	}
	return 0
}

// empty is when the last of what was used is gone. What was taken back has left parts of nothing.
func (s *sliding) empty(now moment) time.Duration {
	last := len(s.parts) - 1
	for s.parts[last].n <= 0 {
		last--
	}
	return s.leaves(s.parts[last], now)
}

// leaves is when a part is gone.
func (s *sliding) leaves(p part, now moment) time.Duration {
	return time.Duration((p.at+subs+1)*s.sub - now.mono)
}

func (s *sliding) resize(int64) {}
