package policy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// stock is limits, by their counters: so much is free of each.
type stock struct {
	mu    sync.Mutex
	names *counter.Counters // gives the counters their names, and counts nothing
	free  map[*counter.Counter]int64
	retry map[*counter.Counter]time.Duration
	tries int
}

func newStock() *stock {
	counters, _ := counter.Open(counter.Options{}) // in memory, that never fails
	_ = counters.Close()
	return &stock{names: counters, free: map[*counter.Counter]int64{}, retry: map[*counter.Counter]time.Duration{}}
}

func (s *stock) limit(free int64) *counter.Counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.names.Get(counter.Spec{Name: fmt.Sprint(len(s.free)), Algorithm: counter.Level})
	s.free[k] = free
	return k
}

func (s *stock) take(needs []counter.Need) (counter.Short, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	for i, n := range needs {
		if s.free[n.Counter] < n.N {
			return counter.Short{Index: i, Retry: s.retry[n.Counter]}, false
		}
	}
	for _, n := range needs {
		s.free[n.Counter] -= n.N
	}
	return counter.Short{}, true
}

func (s *stock) give(needs ...counter.Need) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range needs {
		s.free[n.Counter] += n.N
	}
}

func (s *stock) tried() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func one(limits ...*counter.Counter) (needs []counter.Need) {
	for _, k := range limits {
		needs = append(needs, counter.Need{Counter: k, N: 1})
	}
	return needs
}

// client is the other end of a waiter: it may leave.
type client struct {
	mu   sync.Mutex
	left bool
	at   io.Closer
}

func (c *client) hold(at io.Closer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
	return !c.left
}

func (c *client) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = nil
}

func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left = true; c.at != nil {
		c.at.Close()
	}
}

// hall is a line before a stock, in a test's own time.
type hall struct {
	t *testing.T
	*line
	*stock
	mu  sync.Mutex
	in  []string // who got in, in order
	out map[string]error

	clients []*client
}

func newHall(t *testing.T, most int) *hall {
	h := &hall{t: t, line: newLine(most), stock: newStock(), out: map[string]error{}}
	t.Cleanup(func() { // of a test that failed
		for _, c := range h.clients {
			c.leave()
		}
	})
	return h
}

// come has a request come and wait at the first of its needs, in a goroutine of its own. It is in line on return.
func (h *hall) come(name, tenant string, priority int, needs []counter.Need) *client {
	return h.comeFor(name, tenant, priority, needs, 1000, time.Hour)
}

func (h *hall) comeFor(name, tenant string, priority int, needs []counter.Need, places int, limit time.Duration) *client {
	c := &client{}
	h.clients = append(h.clients, c)
	w := &waiter{tenant: tenant, priority: priority, needs: needs, places: places, limit: limit, hold: c.hold, letGo: c.letGo,
		name: func(i int) string { return fmt.Sprint("tenant acme, limit ", i) },
		try: func() (counter.Short, bool, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			why, ok := h.take(needs)
			if ok {
				h.in = append(h.in, name)
			}
			return why, ok, nil
		}}
	go func() {
		err := h.wait(w)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err != nil {
			h.out[name] = err
		}
	}()
	synctest.Wait()
	return c
}

// release gives something back and waits until nothing moves any more.
func (h *hall) release(needs ...counter.Need) {
	h.give(needs...)
	h.freed(needs)
	synctest.Wait()
	h.settled()
}

// settled checks that nobody who could go is left waiting.
func (h *hall) settled() {
	h.t.Helper()
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	for _, d := range h.desks {
		if d.trying != nil {
			h.t.Fatal("a turn is not used")
		}
		w := d.next()
		if w == nil {
			h.t.Fatal("a desk is open at which nobody waits")
		}
		i := slices.IndexFunc(w.needs, func(n counter.Need) bool { return n.Counter.Name() == d.limit })
		if h.could(w.needs[i : i+1]) {
			h.t.Fatalf("%s, class %d, waits for what there is", w.tenant, w.priority)
		}
	}
}

// could tells whether there is all of what somebody needs.
func (h *hall) could(needs []counter.Need) bool {
	h.stock.mu.Lock()
	defer h.stock.mu.Unlock()
	return !slices.ContainsFunc(needs, func(n counter.Need) bool { return h.free[n.Counter] < n.N })
}

// empty checks that nothing is left of those who waited.
func (h *hall) empty() {
	h.t.Helper()
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	if n := h.waiting.Load(); n != 0 || len(h.desks) != 0 || len(h.lanes) != 0 || len(h.rooms) != 0 || h.all.n != 0 || len(h.all.parties) != 0 {
		h.t.Errorf("left: %d waiting, %d desks, %d lanes, %d rooms, %d places of %d parties", n, len(h.desks), len(h.lanes), len(h.rooms), h.all.n, len(h.all.parties))
	}
}

func (h *hall) order() string { return strings.Join(h.in, " ") }

func TestLineOrder(t *testing.T) {
	type guest struct {
		name, tenant string
		priority     int
	}
	for name, test := range map[string]struct {
		guests []guest
		want   string
	}{
		"who came first":           {[]guest{{"a", "x", 5}, {"b", "x", 5}, {"c", "x", 5}}, "a b c"},
		"one tenant after another": {[]guest{{"a", "x", 5}, {"b", "x", 5}, {"c", "x", 5}, {"d", "y", 5}, {"e", "y", 5}, {"f", "z", 5}}, "a d f b e c"},
		"the highest class":        {[]guest{{"a", "x", 1}, {"b", "y", 5}, {"c", "z", 10}, {"d", "z", 10}}, "c d b a"},
		"the tenth turn": {[]guest{{"low", "x", 1}, {"a", "y", 9}, {"b", "y", 9}, {"c", "y", 9}, {"d", "y", 9}, {"e", "y", 9}, {"f", "y", 9},
			{"g", "y", 9}, {"h", "y", 9}, {"i", "y", 9}, {"j", "y", 9}}, "a b c d e f g h i low j"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHall(t, everyone)
				full := one(h.limit(0))
				for _, g := range test.guests {
					h.come(g.name, g.tenant, g.priority, full)
				}
				for range test.guests {
					h.release(full...)
				}
				if h.order() != test.want {
					t.Errorf("%s, want %s", h.order(), test.want)
				}
				h.empty()
			})
		})
	}
}

// Of a tenant's keys, with limits of their own, those who came first are first.
func TestLineOrderOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		whole, first, second := h.limit(0), h.limit(9), h.limit(9)
		for i, own := range []*counter.Counter{first, second, first, second, second, first} {
			h.come(fmt.Sprint(i), "x", 5, one(whole, own))
		}
		for range 6 {
			h.release(one(whole)...)
		}
		if h.order() != "0 1 2 3 4 5" {
			t.Error(h.order())
		}
		h.empty()
	})
}

// What is given back while someone finds the limit short is not missed; what is counted for good is no news.
func TestLineNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		k := h.limit(0)
		tries := 0
		w := &waiter{tenant: "x", priority: 5, needs: one(k), places: 1, limit: time.Hour, try: func() (counter.Short, bool, error) {
			tries++
			why, ok := h.take(one(k))
			if tries == 2 { // the second one is due to the first news
				h.give(one(k)...)
				h.freed(one(k))
			}
			return why, ok, nil
		}}
		begun := time.Now()
		go h.wait(w)
		synctest.Wait()
		h.freed([]counter.Need{{Counter: k, N: 1, Spend: true}})
		synctest.Wait()
		if tries != 1 {
			t.Errorf("%d tries", tries)
		}
		h.freed(one(k))
		synctest.Wait()
		if tries != 3 || time.Since(begun) != 0 {
			t.Errorf("%d tries", tries)
		}
		h.empty()
	})
}

// A tenant's own limit holds up nobody else, nor its keys that have other limits.
func TestLineOwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		whole, own := h.limit(0), h.limit(0)
		h.come("key 1", "x", 9, one(whole, own))
		h.come("key 2", "x", 9, one(whole))
		h.come("other", "y", 5, one(whole))
		h.release(one(whole)...)
		if h.order() != "key 2" {
			t.Fatalf("in: %s", h.order())
		}
		h.release(one(whole)...)
		h.release(one(whole)...)
		if h.order() != "key 2 other" {
			t.Fatalf("in: %s", h.order())
		}
		h.release(one(own)...)
		if h.order() != "key 2 other key 1" {
			t.Fatalf("in: %s", h.order())
		}
		h.empty()
	})
}

// Of a tenant that waits with a thousand and one that waits with one at a time, each gets the same.
func TestLineFairAmongTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		for i := range 1000 {
			h.come(fmt.Sprint("noisy ", i), "noisy", 5, full)
		}
		for i := range 200 {
			h.come(fmt.Sprint("quiet ", i), "quiet", 5, full)
			h.release(full...)
			h.release(full...)
		}
		quiet := 0
		for _, name := range h.in {
			if strings.HasPrefix(name, "quiet") {
				quiet++
			}
		}
		if quiet < 199 {
			t.Errorf("the quiet tenant got %d of %d", quiet, len(h.in))
		}
		for range 800 {
			h.release(full...)
		}
		h.empty()
	})
}

// Classes that never rest: the highest keeps nine turns in ten, every tenant of the others moves, and a class is fair.
func TestLineShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		tenants := map[string]int{"top a": 10, "top b": 10, "middle": 5, "low a": 1, "low b": 1, "low c": 1}
		for _, name := range slices.Sorted(maps.Keys(tenants)) {
			for range 3 {
				h.come(name, name, tenants[name], full)
			}
		}
		const turns = 3000
		for range turns {
			h.release(full...)
			last := h.in[len(h.in)-1]
			h.come(last, last, tenants[last], full)
		}
		got := map[string]int{}
		for _, name := range h.in {
			got[name]++
		}
		if top := got["top a"] + got["top b"]; top < turns*9/10 || abs(got["top a"]-got["top b"]) > turns/50 {
			t.Errorf("the highest class: %v of %d", got, turns)
		}
		for name := range tenants {
			if got[name] < turns/round/len(tenants) {
				t.Errorf("%s got %d of %d turns", name, got[name], turns)
			}
		}
		for range 3 * len(tenants) {
			h.release(full...)
		}
		h.empty()
	})
}

func abs(n int) int { return max(n, -n) }

func refused(t *testing.T, err error, status int, code string) *wire.Error {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code || e.Retry < time.Second {
		t.Fatalf("%v, want %d %s with Retry-After", err, status, code)
	}
	return e
}

func TestLineLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		full := one(h.limit(0))
		a := h.comeFor("a", "x", 5, full, 2, time.Hour)
		h.comeFor("b", "x", 5, full, 2, time.Hour)
		h.comeFor("c", "x", 5, full, 2, time.Hour)
		refused(t, h.out["c"], 429, "rate_limit_exceeded")
		a.leave()
		if n := h.waiting.Load(); n != 1 {
			t.Errorf("%d wait", n)
		}
		h.comeFor("d", "x", 5, full, 2, time.Hour) // in a's place
		h.release(full...)
		h.release(full...)
		if !errors.Is(h.out["a"], errLeft) || h.order() != "b d" {
			t.Errorf("a: %v, in: %s", h.out["a"], h.order())
		}
		gone := &client{left: true}
		if err := h.wait(&waiter{tenant: "x", priority: 5, needs: full, places: 2, limit: time.Hour, hold: gone.hold, letGo: gone.letGo}); err != errLeft {
			t.Errorf("left before: %v", err)
		}
		h.empty()
	})
}

// The one that a desk waits for needs much. When it goes, the next one, which needs less, is let in.
func TestLineBlockerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		k := h.limit(5)
		big := h.come("big", "x", 5, []counter.Need{{Counter: k, N: 10}})
		h.come("small", "y", 5, one(k))
		h.come("another", "z", 5, one(k))
		if h.order() != "" {
			t.Errorf("%s overtook the one that needs much", h.order())
		}
		h.come("high", "v", 6, one(k))
		if h.order() != "high" {
			t.Errorf("in: %s, want the one of the higher class", h.order())
		}
		big.leave()
		synctest.Wait()
		if h.order() != "high small another" {
			t.Errorf("in: %s", h.order())
		}
		h.empty()
	})
}

// A newcomer joins those who wait for what it needs, and only those.
func TestLineBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, everyone)
		a, b, c := h.limit(1), h.limit(0), h.limit(1)
		if n := h.behind(one(a, b, c)); n != -1 {
			t.Errorf("behind %d, but nobody waits", n)
		}
		h.come("x", "x", 5, one(a, b))
		for want, needs := range map[int][]counter.Need{-1: one(a, c), 0: one(b), 2: one(a, c, b)} {
			if n := h.behind(needs); n != want {
				t.Errorf("behind %d, want %d", n, want)
			}
		}
		h.release(one(b)...)
		h.empty()
	})
}
