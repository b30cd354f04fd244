package counter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// told collects events.
type told struct {
	mu   sync.Mutex
	list []string
}

func (e *told) event(name, _ string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, name)
}

func (e *told) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.list, " ")
}

var budget = counter.Spec{Name: "budget", Algorithm: counter.Calendar, Limit: 1000}

func spend(t testing.TB, c *counter.Counters, k *counter.Counter, n int64) {
	t.Helper()
	for range 300 {
		s, ok := c.Take([]counter.Need{{Counter: k, N: n, Spend: true}})
		if ok {
			return
		}
		if s.Retry != 200*time.Millisecond { // else Redis was not fast enough
			t.Fatalf("Take(%d): %+v, %+v", n, s, k.State())
		}
		time.Sleep(s.Retry)
	}
	t.Fatalf("Take(%d): never", n)
}

// TestLedgerIsCut: when someone cuts the file, nothing more is kept, and the gateway goes on.
func TestLedgerIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	var events told
	c := open(t, counter.Options{Ledger: path, OnEvent: events.event})
	k := c.Get(budget)
	spend(t, c, k, 1)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	other := budget
	other.Name = "other"
	spend(t, c, k, 1)
	spend(t, c, c.Get(other), 1)
	if s := k.State(); s.Used != 2 {
		t.Errorf("%+v, want 2 used", s)
	}
	c.FlushLedger()
	c.FlushLedger()
	spend(t, c, k, 1)
	c.Sweep()
	if s := k.State(); s.Used != 3 {
		t.Errorf("%+v, want 3 used", s)
	}
	if got := events.all(); got != "counters_ledger_failed" {
		t.Errorf("events %q", got)
	}
}

func TestLedgerOutlivesTheProcess(t *testing.T) {
	path, at := filepath.Join(t.TempDir(), "data", "ledger"), newClock()
	o := counter.Options{Ledger: path, Now: at.now}
	c := open(t, o)
	k := c.Get(budget)
	spend(t, c, k, 300)
	if _, ok := c.Take([]counter.Need{{Counter: k, N: 500}}); !ok {
		t.Fatal("a hold does not fit")
	}
	user := budget
	for i := range 2000 { // more than a chunk
		user.Name = fmt.Sprint("user/", i)
		spend(t, c, c.Lookup(user), int64(i%7+1))
	}
	c.Close()

	c = open(t, o)
	if s := c.Get(budget).State(); s.Used != 300 || s.Held != 0 {
		t.Errorf("%+v, want 300 used and nothing held, whose holder is gone", s)
	}
	for i := range 2000 {
		user.Name = fmt.Sprint("user/", i)
		if s := c.Lookup(user).State(); s.Used != int64(i%7+1) {
			t.Fatalf("user %d: %+v", i, s)
		}
	}
	size := func() int64 {
		stat, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return stat.Size()
	}
	before := size()
	at.add(24 * time.Hour)
	c.Sweep()
	if n := c.Stats().Counters; n != 1 {
		t.Errorf("%d counters after their day, want 1", n)
	}
	spend(t, c, c.Get(budget), 1)
	for i := range 2000 {
		user.Name = fmt.Sprint("tomorrow/", i)
		spend(t, c, c.Lookup(user), 1)
	}
	if size() != before {
		t.Errorf("the ledger grew from %d to %d bytes although lines were free again", before, size())
	}
	c.Close()

	at.add(24 * time.Hour)
	c = open(t, o)
	if s := c.Get(budget).State(); s.Used != 0 {
		t.Errorf("%+v, want nothing used in a new day", s)
	}
	for i := range 2000 {
		user.Name = fmt.Sprint("later/", i)
		spend(t, c, c.Lookup(user), 1)
	}
	if size() != before {
		t.Errorf("the ledger grew from %d to %d bytes although all windows were over", before, size())
	}
}

func TestLedgerThatIsNotOurs(t *testing.T) {
	cases := map[string]string{"text": "hello", "long": strings.Repeat("x", 64<<10), "cut": "jarvis counters 1" + strings.Repeat("\x00", 100)}
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var events told
			for range 2 {
				c := open(t, counter.Options{Ledger: path, OnEvent: events.event})
				spend(t, c, c.Get(budget), 1)
				c.Close()
			}
			if events.all() != "counters_ledger_corrupt" {
				t.Errorf("events %q", events.all())
			}
			if kept, _ := os.ReadFile(path + ".bad"); string(kept) != content {
				t.Error("the file was not kept")
			}
			c := open(t, counter.Options{Ledger: path})
			if s := c.Get(budget).State(); s.Used != 2 {
				t.Errorf("%+v, want 2 used", s)
			}
		})
	}
}

// TestLedgerLinesThatAreDamaged: whatever stands in the lines, nothing breaks, and what is whole is found.
func TestLedgerLinesThatAreDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	c := open(t, counter.Options{Ledger: path})
	spend(t, c, c.Get(budget), 77)
	c.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for at := 64; at < len(b); at += 64 {
		if strings.Trim(string(b[at:at+64]), "\x00") != "" {
			whole++
			continue
		}
		for i := range 64 {
			b[at+i] = byte(at*7 + i*13)
		}
	}
	if whole != 1 {
		t.Fatalf("%d lines, want 1", whole)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c = open(t, counter.Options{Ledger: path})
	if s := c.Get(budget).State(); s.Used != 77 {
		t.Errorf("%+v, want 77 used", s)
	}
	other := budget
	other.Name = "other"
	if s := c.Get(other).State(); s.Used != 0 {
		t.Errorf("%+v, want nothing used", s)
	}
}

func TestLedgerOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	first := open(t, counter.Options{Ledger: path})
	spend(t, first, first.Get(budget), 5)
	var events told
	second := open(t, counter.Options{Ledger: path, OnEvent: events.event})
	spend(t, second, second.Get(budget), 1)
	if events.all() != "counters_ledger_missing" {
		t.Errorf("events %q", events.all())
	}
	second.Close()
	first.Close()
	c := open(t, counter.Options{Ledger: path})
	if s := c.Get(budget).State(); s.Used != 5 {
		t.Errorf("%+v, want the first one's 5", s)
	}
}

func TestLedgerNowhere(t *testing.T) {
	var events told
	c := open(t, counter.Options{Ledger: filepath.Join(t.TempDir(), "file", "\x00"), OnEvent: events.event})
	spend(t, c, c.Get(budget), 5)
	if events.all() != "counters_ledger_missing" {
		t.Errorf("events %q", events.all())
	}
}

func TestOptions(t *testing.T) {
	cases := map[string]counter.Options{
		"on_error":                  {OnError: "maybe"},
		"expected memory":           {URL: "memcached://x"},
		"expected redis-cluster://": {URL: "redis-cluster://a:1,b"},
		"not escaped":               {URL: "redis-cluster://u:%zz@a:1"},
	}
	for want, o := range cases {
		c, err := counter.Open(o)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if _, err := counter.Open(counter.Options{URL: "redis://:canary@host:port:x"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v: tells the password, or nothing", err)
	}
}
