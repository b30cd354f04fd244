package counter_test

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// model is a limit told in the plainest way: all that was ever used, with its time.
type model struct {
	spec   counter.Spec
	events []event
	held   int64
	debt   *big.Rat // of a bucket
	last   time.Time
}

type event struct {
	at time.Time
	n  int64
}

func (m *model) capacity() int64 {
	switch {
	case m.spec.Algorithm != counter.Token && m.spec.Algorithm != counter.Leaky:
		return m.spec.Limit
	case m.spec.Burst > 0:
		return m.spec.Burst
	case m.spec.Algorithm == counter.Leaky:
		return 1
	}
	return m.spec.Limit
}

// used is the least and the most that may count as used now: a sliding window may forget up to a 256th later.
func (m *model) used(now time.Time) (least, most int64) {
	switch m.spec.Algorithm {
	case counter.Sliding:
		for len(m.events) > 0 && now.Sub(m.events[0].at) > 2*m.spec.Window {
			m.events = m.events[1:]
		}
		for _, e := range m.events {
			if age := now.Sub(e.at); age < m.spec.Window {
				least, most = least+e.n, most+e.n
			} else if age <= m.spec.Window+m.spec.Window/256+1 {
				most += e.n
			}
		}
		return least, most
	case counter.Calendar:
		y, mon, d := now.In(m.spec.Location).Date()
		for _, e := range m.events {
			y2, mon2, d2 := e.at.In(m.spec.Location).Date()
			if y == y2 && mon == mon2 && (d == d2 || m.spec.Period == counter.Month) {
				least += e.n
			}
		}
		return least, least
	case counter.Level:
		return 0, 0
	}
	m.drain(now)
	n := new(big.Int).Add(m.debt.Num(), new(big.Int).Sub(m.debt.Denom(), big.NewInt(1)))
	n.Div(n, m.debt.Denom())
	return n.Int64(), n.Int64()
}

func (m *model) drain(now time.Time) {
	if m.debt == nil {
		m.debt = new(big.Rat)
	} else {
		gone := big.NewRat(m.spec.Limit, int64(m.spec.Window))
		gone.Mul(gone, new(big.Rat).SetInt64(int64(now.Sub(m.last))))
		if m.debt.Sub(m.debt, gone); m.debt.Sign() < 0 {
			m.debt.SetInt64(0)
		}
	}
	m.last = now
}

func (m *model) add(now time.Time, n int64) {
	m.events = append(m.events, event{now, n})
	if m.debt != nil {
		m.debt.Add(m.debt, new(big.Rat).SetInt64(n))
	}
}

// fits tells whether n must fit, and whether it may.
func (m *model) fits(now time.Time, n int64) (must, may bool) {
	least, most := m.used(now)
	limit := m.capacity()
	large := m.debt != nil && n > limit && m.held == 0 && least == 0
	return n == 0 || most+m.held+n <= limit || large, n == 0 || least+m.held+n <= limit || large
}

// TestModel runs random needs, at random times, against the model.
func TestModel(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.UTC
	}
	specs := []counter.Spec{
		{Algorithm: counter.Sliding, Limit: 100, Window: time.Minute},
		{Algorithm: counter.Sliding, Limit: 7, Window: time.Second},
		{Algorithm: counter.Token, Limit: 100, Window: time.Minute},
		{Algorithm: counter.Token, Limit: 977, Burst: 40, Window: 61 * time.Second},
		{Algorithm: counter.Leaky, Limit: 100, Window: time.Minute},
		{Algorithm: counter.Leaky, Limit: 13, Burst: 3, Window: 7 * time.Second},
		{Algorithm: counter.Calendar, Limit: 5000, Location: berlin},
		{Algorithm: counter.Calendar, Limit: 100000, Period: counter.Month, Location: berlin},
		{Algorithm: counter.Level, Limit: 50},
	}
	for i, spec := range specs {
		for seed := range uint64(6) {
			at := newClock()
			c, err := counter.Open(counter.Options{Now: at.now})
			if err != nil {
				t.Fatal(err)
			}
			spec.Name = "k"
			r := &modelRun{T: t, clock: at, c: c, k: c.Get(spec), m: model{spec: spec}, r: rand.New(rand.NewPCG(uint64(i), seed))}
			for range 2000 {
				r.step()
			}
			c.Close()
			if t.Failed() {
				t.Fatalf("%+v, seed %d", spec, seed)
			}
		}
	}
}

type modelRun struct {
	*testing.T
	*clock
	c     *counter.Counters
	k     *counter.Counter
	m     model
	r     *rand.Rand
	holds []int64
}

func (r *modelRun) step() {
	r.m.used(r.now())
	switch limit := r.m.capacity(); r.r.IntN(6) {
	case 0, 1:
		r.take(r.r.Int64N(limit/4+2), true)
	case 2:
		r.take(r.r.Int64N(limit/4+2), false)
	case 3:
		r.take(r.r.Int64N(limit*2+1), r.r.IntN(2) == 0)
	case 4:
		if len(r.holds) == 0 {
			return
		}
		i := r.r.IntN(len(r.holds))
		held, used := r.holds[i], r.r.Int64N(r.holds[i]*5/4+1)
		r.holds = append(r.holds[:i], r.holds[i+1:]...)
		r.k.Settle(held, used)
		r.m.held -= held
		r.m.add(r.now(), used)
	case 5:
		scale := r.m.spec.Window
		if scale == 0 {
			scale = 100 * time.Hour
		}
		r.add(time.Duration(r.r.ExpFloat64() * float64(scale) / 20))
	}
	least, most := r.m.used(r.now())
	if s := r.k.State(); s.Used < least || s.Used > most || s.Held != r.m.held {
		r.Fatalf("%+v, want %d to %d used and %d held", s, least, most, r.m.held)
	}
}

func (r *modelRun) take(n int64, spend bool) {
	must, may := r.m.fits(r.now(), n)
	s, ok := r.c.Take([]counter.Need{{Counter: r.k, N: n, Spend: spend}})
	if ok && !may || !ok && must {
		r.Fatalf("Take(%d) = %t, %+v; must %t, may %t, held %d, %+v", n, ok, s, must, may, r.m.held, r.k.State())
	}
	if !ok && s.Retry > 0 && r.r.IntN(8) == 0 {
		r.retry(n, s.Retry)
		return
	}
	if ok && n > 0 {
		if spend && r.m.spec.Algorithm != counter.Level {
			r.m.add(r.now(), n)
		} else {
			r.m.held += n
			r.holds = append(r.holds, n)
		}
	}
}

// retry sees to it that what was told to wait is met after that time, and was not a moment before.
func (r *modelRun) retry(n int64, after time.Duration) {
	needs := []counter.Need{{Counter: r.k, N: n}}
	r.add(after - 1)
	if s, ok := r.c.Take(needs); ok {
		r.Fatalf("%d were to wait for %v and fit before: %+v", n, after, s)
	}
	r.add(1)
	if s, ok := r.c.Take(needs); !ok {
		r.Fatalf("%d were to wait for %v and do not fit then: %+v", n, after, s)
	}
	r.k.Settle(n, 0)
}

// TestMidnights: days follow each other without a gap, in every zone, and change at midnight or as soon as there is one.
func TestMidnights(t *testing.T) {
	cases := map[string]struct{ from, until string }{
		"America/Sao_Paulo":   {"2018-10-20", "2019-03-01"}, // midnight is skipped
		"America/Havana":      {"2024-10-20", "2025-04-01"}, // midnight comes twice
		"Atlantic/Azores":     {"2024-03-20", "2024-11-10"},
		"Asia/Beirut":         {"2023-03-01", "2023-11-10"},
		"Pacific/Apia":        {"2011-12-20", "2012-01-10"}, // a day is skipped
		"Australia/Lord_Howe": {"2024-03-20", "2024-11-10"},
		"Asia/Tokyo":          {"2024-03-20", "2024-04-10"},
	}
	for zone, c := range cases {
		t.Run(zone, func(t *testing.T) {
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Skip("there are no time zones here")
			}
			from, _ := time.Parse(time.DateOnly, c.from)
			until, _ := time.Parse(time.DateOnly, c.until)
			at := &clock{t: from}
			counters, err := counter.Open(counter.Options{Now: at.now})
			if err != nil {
				t.Fatal(err)
			}
			defer counters.Close()
			k := counters.Get(counter.Spec{Name: "k", Algorithm: counter.Calendar, Limit: 1, Location: loc})
			for day := ""; at.now().Before(until); at.add(10 * time.Minute) {
				today := at.now().In(loc).Format(time.DateOnly)
				if _, ok := counters.Take([]counter.Need{{Counter: k, N: 1, Spend: true}}); ok != (today != day) {
					t.Fatalf("%v: met %t, on the day after %s", at.now().In(loc), ok, day)
				}
				day = today
				s := k.State()
				if begin := s.Window.In(loc); begin.Format(time.DateOnly) != today || begin.Add(-1).Format(time.DateOnly) == today {
					t.Fatalf("%v: the window begins %v", at.now().In(loc), begin)
				}
			}
		})
	}
}
