package cache

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// stand is a cache with a clock of its own.
type stand struct {
	*Cache
	t   *testing.T
	now time.Time
}

var someDay = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newStand(t *testing.T, o Options) *stand {
	t.Helper()
	s := &stand{t: t, now: someDay}
	if o.Memory == 0 {
		o.Memory, o.Entry = 64<<20, 1<<20
	}
	o.now = func() time.Time { return s.now }
	var err error
	if s.Cache, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ask is the key of a question.
func (s *stand) ask(tenant, model, text string) Key {
	q := s.Ask(Scope{tenant, model})
	q.Text(text)
	return q.Key()
}

// keep answers a question.
func (s *stand) keep(key Key, answer string, ttl time.Duration) *Entry {
	s.t.Helper()
	e := &Entry{TTL: ttl, ContentType: "application/json", Body: []byte(answer), Finish: "stop", Header: []Field{{"Openai-Model", "m"}},
		By: Giver{Provider: "up", Kind: "openai", Model: "gpt-4o"}}
	e.Usage.Prompt, e.Usage.Completion = 7, 9
	if !s.Put(key, e) {
		s.t.Fatalf("%q is not kept", answer)
	}
	return e
}

// wants fails unless the key has an answer, "" for none.
func (s *stand) wants(key Key, ttl time.Duration, answer string) {
	s.t.Helper()
	got := ""
	if e := s.Get(key, ttl); e != nil {
		got = string(e.Body)
	}
	if got != answer {
		s.t.Errorf("the cache has %q, want %q", got, answer)
	}
}

// What a cache does, in memory or over Redis: then a second gateway reads what the first one kept.
func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (writer, reader *stand){
		"memory": func(t *testing.T) (*stand, *stand) {
			s := newStand(t, Options{})
			return s, s
		},
		"redis": func(t *testing.T) (*stand, *stand) {
			url := startRedis(t)
			return newShared(t, url), newShared(t, url)
		},
	} {
		t.Run(name, func(t *testing.T) { conform(t, open) })
	}
}

func conform(t *testing.T, open func(t *testing.T) (writer, reader *stand)) {
	w, r := open(t)
	settle := func(key Key) {
		t.Helper()
		if w != r {
			await(t, "the answer is in Redis", func() bool { return w.far.get(&key) != nil })
		}
	}
	const ttl = 10 * time.Minute

	// What was kept is there, whole.
	hello := w.ask("acme", "chat", "你好，世界")
	r.wants(hello, ttl, "")
	want := *w.keep(hello, `{"content":"你好！"}`, ttl)
	settle(hello)
	got := r.Get(hello, ttl)
	if got == nil || string(got.Body) != string(want.Body) || got.Usage != want.Usage || got.By != want.By || got.Finish != "stop" ||
		!got.Stored.Equal(want.Stored) || got.Scope != (Scope{"acme", "chat"}) || len(got.Header) != 1 || got.Header[0] != want.Header[0] || got.ContentType != want.ContentType {
		t.Errorf("got %+v, want %+v", got, want)
	}

	// Nobody else has it, whatever he asks.
	for _, key := range []Key{w.ask("other", "chat", "你好，世界"), w.ask("acme", "chat2", "你好，世界"), w.ask("acme", "chat", "你好，世界！"), w.ask("acmec", "hat", "你好，世界")} {
		r.wants(key, ttl, "")
	}

	// Its time ends, or what the model says by now.
	r.now = someDay.Add(time.Minute)
	r.wants(hello, time.Minute, "")
	r.wants(hello, time.Minute+time.Second, string(want.Body))
	r.now, w.now = someDay.Add(ttl), someDay.Add(ttl)
	r.wants(hello, ttl, "")
	r.wants(hello, 2*ttl, "")
	r.now, w.now = someDay, someDay

	// Another answer takes its place.
	again := w.ask("acme", "chat", "再来一次")
	w.keep(again, "一", ttl)
	w.keep(again, "二", ttl)
	if w != r {
		await(t, "the second answer is in Redis", func() bool { e := w.far.get(&again); return e != nil && string(e.Body) == "二" })
	}
	r.wants(again, ttl, "二")

	// A purge reaches what it is about, and no more.
	for _, p := range []struct {
		scope Scope
		gone  string // of acme/chat, acme/embed, other/chat, other/embed
	}{{Scope{"acme", "chat"}, "y n n n"}, {Scope{Model: "chat"}, "y n y n"}, {Scope{Tenant: "other"}, "n n y y"}, {Scope{}, "y y y y"}} {
		asked := func(s *stand) (keys []Key) {
			for _, of := range []Scope{{"acme", "chat"}, {"acme", "embed"}, {"other", "chat"}, {"other", "embed"}} {
				keys = append(keys, s.ask(of.Tenant, of.Model, "问题"))
			}
			return keys
		}
		for _, key := range asked(w) {
			w.keep(key, "答案", ttl)
			settle(key)
			r.wants(key, ttl, "答案")
		}
		before := asked(w)
		if n, err := w.Purge(p.scope); n < strings.Count(p.gone, "y") || err != nil {
			t.Errorf("%+v: %d were purged, %v", p.scope, n, err)
		}
		w.now, r.now = w.now.Add(time.Second), r.now.Add(time.Second)
		await(t, "the purge is known", func() bool {
			return asked(r)[3] == asked(w)[3] && asked(r)[0] == asked(w)[0] && asked(r)[2] == asked(w)[2]
		})
		for i, gone := range strings.Fields(p.gone) {
			answer := "答案"
			if gone == "y" {
				answer = ""
				if asked(w)[i] == before[i] {
					t.Errorf("%+v: key %d is the same as before", p.scope, i)
				}
			}
			w.wants(asked(w)[i], ttl, answer)
			r.wants(asked(r)[i], ttl, answer)
		}
	}

	// What is too large is not kept, and is no error.
	if w.Put(hello, &Entry{TTL: ttl, Body: make([]byte, 1<<20+1)}) {
		t.Error("an answer that is too large was kept")
	}
	for op, n := range w.Stats().Errors {
		if n != 0 {
			t.Errorf("%d errors of %s", n, op)
		}
	}
}

// newShared is a cache that knows what was purged before.
func newShared(t *testing.T, url string) *stand {
	t.Helper()
	s := newStand(t, Options{URL: url, short: 5 * time.Second})
	s.Ask(Scope{})
	await(t, "Redis was asked", s.far.known.Load)
	return s
}

// startRedis starts a server of its own.
func startRedis(t *testing.T) (url string) {
	t.Helper()
	port := freePort(t)
	stop := runRedis(t, port)
	t.Cleanup(stop)
	return "redis://127.0.0.1:" + strconv.Itoa(port)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func runRedis(t *testing.T, port int) (stop func()) {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command(bin, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--logfile", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port)})
	defer client.Close()
	await(t, "Redis answers", func() bool { return client.Ping(context.Background()).Err() == nil })
	return stop
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}
