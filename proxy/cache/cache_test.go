package cache

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Memory holds no more than it may; what was not asked for the longest goes first.
func TestMemoryIsBounded(t *testing.T) {
	s := newStand(t, Options{Memory: 10 * (1000 + around + 100), Entry: 1000})
	text := string(make([]byte, 1000))
	keys := make([]Key, 30)
	for i := range keys {
		keys[i] = s.ask("acme", "chat", strconv.Itoa(i))
		s.keep(keys[i], text, time.Hour)
		s.wants(keys[0], time.Hour, text) // is asked for again and again
	}
	stats := s.Stats()
	if stats.Entries < 9 || stats.Entries > 10 || stats.Bytes > s.memory.most || stats.Evictions != 30-stats.Entries {
		t.Errorf("%+v", stats)
	}
	s.wants(keys[29], time.Hour, text)
	s.wants(keys[1], time.Hour, "")
	s.Resize(2*(1000+around+100), 1000)
	if stats = s.Stats(); stats.Entries != 2 {
		t.Errorf("after it was made smaller: %+v", stats)
	}
	s.now = s.now.Add(time.Hour)
	s.wants(keys[0], time.Hour, "")
	if now := s.Stats(); now.Entries != 1 || now.Bytes >= stats.Bytes {
		t.Errorf("what has had its time still takes memory: %+v", now)
	}
}

// Who joins a flight gets what its leader got; without that one of them leads next, at a time.
func TestFlights(t *testing.T) {
	s := newStand(t, Options{})
	key := s.ask("acme", "chat", "同一个问题")
	const crowd, failures = 50, 3
	var asked, under, most, answered atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range crowd {
		wg.Go(func() {
			<-start
			for {
				f, leads := s.Join(key)
				if !leads {
					<-f.Done()
					if e, _ := f.Answer(); e != nil {
						answered.Add(1)
						return
					}
					continue
				}
				if e := s.Near(key, time.Hour); e != nil {
					s.Land(key, f, e, false)
					answered.Add(1)
					return
				}
				most.Store(max(most.Load(), under.Add(1)))
				n := asked.Add(1)
				under.Add(-1)
				if n <= failures {
					s.Land(key, f, nil, false)
					continue
				}
				e := &Entry{TTL: time.Hour, Body: []byte("答")}
				s.Put(key, e)
				s.Land(key, f, e, false)
				answered.Add(1)
				return
			}
		})
	}
	close(start)
	wg.Wait()
	if asked.Load() != failures+1 || most.Load() != 1 || answered.Load() != crowd || len(s.flights) != 0 {
		t.Errorf("%d asked, %d at a time, %d answered, %d flights left", asked.Load(), most.Load(), answered.Load(), len(s.flights))
	}
}

// A Redis that is away, or that takes too long, is a miss, and is left alone then.
func TestRedisAway(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, url := range map[string]string{"away": "redis://127.0.0.1:" + strconv.Itoa(freePort(t)), "silent": "redis://" + silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, Options{URL: url})
			s.far.begun.Do(func() {}) // by hand
			s.far.known.Store(true)
			key := s.ask("acme", "chat", "问")
			begun := time.Now()
			s.wants(key, time.Hour, "")
			if took := time.Since(begun); took > time.Second {
				t.Errorf("a miss took %v", took)
			}
			begun = time.Now()
			for range 1000 {
				s.wants(key, time.Hour, "")
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("it was not left alone: %v", took)
			}
			s.keep(key, "答", time.Hour)
			s.wants(key, time.Hour, "答")
			if n := s.Stats().Errors["get"]; n != 1 {
				t.Errorf("%d errors were counted", n)
			}
			if _, err := s.Purge(Scope{}); err == nil || s.Stats().Errors["purge"] != 1 {
				t.Error("a purge that Redis does not know of is no error")
			}
			s.wants(s.ask("acme", "chat", "问"), time.Hour, "")
		})
	}
}

// What was purged while Redis was away is told to it, and by it to others, also when it has lost all.
func TestPurgeReachesRedisLater(t *testing.T) {
	port := freePort(t)
	stop := runRedis(t, port)
	url := "redis://127.0.0.1:" + strconv.Itoa(port)
	a, b := newShared(t, url), newShared(t, url)
	key := a.ask("acme", "chat", "问")
	a.keep(key, "答", time.Hour)
	await(t, "the other has it", func() bool { return b.Get(key, time.Hour) != nil })
	stop()
	if _, err := a.Purge(Scope{Tenant: "acme"}); err == nil {
		t.Fatal("Redis is away, and nobody says so")
	}
	b.wants(key, time.Hour, "答") // it cannot know yet
	defer runRedis(t, port)()
	await(t, "the other knows", func() bool {
		a.far.rests.Store(0) // their clocks stand still
		b.far.rests.Store(0)
		return b.ask("acme", "chat", "问") == a.ask("acme", "chat", "问")
	})
	if n := b.Stats().Entries; n != 0 {
		t.Errorf("the other still holds %d answers", n)
	}
}

// What lies in Redis may be anything.
func FuzzReadEntry(f *testing.F) {
	whole, err := (&Entry{Scope: Scope{"a", "b"}, Stored: someDay, TTL: time.Minute, Body: []byte("答")}).text()
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range [][]byte{nil, {0}, {255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, []byte("\x02{}x"), whole, whole[:len(whole)/2]} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		e := readEntry(text)
		if e == nil {
			return
		}
		again, err := e.text()
		if err != nil {
			t.Skip(err) // times beyond what JSON has
		}
		if back := readEntry(again); back == nil || string(back.Body) != string(e.Body) || back.Scope != e.Scope || !back.Stored.Equal(e.Stored) {
			t.Errorf("%+v became %+v", e, back)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, url := range []string{"mongodb://x", "redis-cluster://", "redis-cluster://user:pa%ss@h:1", "redis-cluster://host"} {
		if c, err := Open(Options{URL: url}); err == nil {
			_ = c.Close()
			t.Errorf("%s is taken", url)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	c, err := Open(Options{Memory: 64 << 20, Entry: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	question := make([]byte, 4<<10)
	ask := func() Key {
		q := c.Ask(Scope{"acme", "chat"})
		q.Bytes(question)
		return q.Key()
	}
	c.Put(ask(), &Entry{TTL: time.Hour, Body: make([]byte, 4<<10)})
	b.ReportAllocs()
	for b.Loop() {
		if c.Get(ask(), time.Hour) == nil {
			b.Fatal("a miss")
		}
	}
}

// What Redis has is not trusted: neither half an entry, nor one that is larger than any may be, nor one that a clock ahead has stored.
func TestRedisIsNotTrusted(t *testing.T) {
	s := newStand(t, Options{Memory: 1 << 20, Entry: 1000, URL: startRedis(t)})
	s.far.begun.Do(func() {}) // by hand
	s.far.known.Store(true)
	s.far.short = longest
	near := s.ask("acme", "chat", "这里的")
	s.keep(near, "在", time.Hour)
	entry := func(key Key, size int, stored time.Time) *Entry {
		return &Entry{Scope: key.Scope, Stored: stored, TTL: time.Hour, Body: make([]byte, size)}
	}
	for name, row := range map[string]struct {
		size  int
		ahead time.Duration
		lost  int // bytes at its end
		more  string
		has   bool
	}{
		"whole":           {size: 1000, has: true},
		"half":            {size: 1000, lost: 500},
		"a byte short":    {size: 1000, lost: 1},
		"a byte too long": {size: 1000, more: "x"},
		"too large":       {size: 1001},
		"far too large":   {size: 8 << 20},
		"of tomorrow":     {size: 10, ahead: 24 * time.Hour, has: true},
	} {
		t.Run(name, func(t *testing.T) {
			key := s.ask("acme", "chat", name)
			text, err := entry(key, row.size, s.now.Add(row.ahead)).text()
			if err != nil {
				t.Fatal(err)
			}
			value := string(text[:len(text)-row.lost]) + row.more
			if err := s.far.client.Set(t.Context(), s.far.name(&key), value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			e := s.Get(key, time.Hour)
			if (e != nil) != row.has {
				t.Errorf("the cache has an answer: %t", e != nil)
			}
			if e != nil && e.Stored.After(s.now) {
				t.Errorf("it was stored %v from now", e.Stored.Sub(s.now))
			}
			s.wants(near, time.Hour, "在")
		})
	}
}

// What is on its way to Redis is not of what memory holds, and so has a bound of its own.
func TestQueueIsBounded(t *testing.T) {
	s := newStand(t, Options{Memory: 64 << 20, Entry: 32 << 20, URL: "redis://127.0.0.1:1"})
	s.far.begun.Do(func() {}) // nobody takes from it
	text := string(make([]byte, 1<<20))
	for i := range 100 {
		s.keep(s.ask("acme", "chat", strconv.Itoa(i)), text, time.Hour)
	}
	if n := len(s.far.queue); n < 10 || n > 16 || s.far.weight.Load() > heavy || s.Stats().Errors["set"] != int64(100-n) {
		t.Errorf("%d entries are on their way, %d bytes: %+v", n, s.far.weight.Load(), s.Stats())
	}
	for len(s.far.queue) > 0 {
		k := <-s.far.queue
		s.far.set(&k)
	}
	if w := s.far.weight.Load(); w != 0 {
		t.Errorf("the empty queue has %d bytes", w)
	}
	s.keep(s.ask("acme", "chat", "gross"), string(make([]byte, 20<<20)), time.Hour)
	if len(s.far.queue) != 1 {
		t.Error("one that is larger than all may be is never shared")
	}
}

// An answer that memory has no room for takes nobody's place.
func TestTooLargeForMemory(t *testing.T) {
	s := newStand(t, Options{Memory: 4000, Entry: 4000})
	small, large := s.ask("acme", "chat", "小"), s.ask("acme", "chat", "大")
	s.keep(small, "在", time.Hour)
	s.keep(large, string(make([]byte, 4000)), time.Hour)
	s.wants(small, time.Hour, "在")
	s.wants(large, time.Hour, "")
}
