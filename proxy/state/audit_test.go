package state

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func entries(t *testing.T, s *Store, f Filter) []Entry {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := s.Audit(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAudit(t *testing.T) { both(t, testAudit) }

func testAudit(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	began := clock.now()
	full := Entry{
		Seq: 99, Kind: Operation, Actor: "k1", Action: "key.create", Tenant: "a", Target: "k2", From: "192.0.2.1", Request: "req_1", Repeats: 5,
		Before: json.RawMessage(`{"a":1}`), After: json.RawMessage(`[2]`),
	}
	for i := range 10 {
		e := full
		if i%2 == 1 {
			e = Entry{Kind: ConfigChange, Actor: "root", Action: "reload", Tenant: "b", At: began.Add(time.Duration(i) * time.Second)}
		}
		s.Record(e)
	}
	want := full
	want.Seq, want.At, want.Repeats = 1, began, 0
	list := entries(t, s, Filter{})
	if len(list) != 10 || !reflect.DeepEqual(list[0], want) || list[1].Before != nil || list[1].After != nil {
		t.Fatalf("%+v", list)
	}
	for name, c := range map[string]struct {
		f    Filter
		want []int64
	}{
		"tenant":       {Filter{Tenant: "b"}, []int64{2, 4, 6, 8, 10}},
		"actor, after": {Filter{Actor: "k1", After: 5}, []int64{7, 9}},
		"kind, limit":  {Filter{Kind: ConfigChange, Limit: 2}, []int64{2, 4}},
		"action":       {Filter{Action: "reload", After: 9}, []int64{10}},
		"time":         {Filter{Since: began.Add(3 * time.Second), Until: began.Add(7 * time.Second)}, []int64{4, 6}},
		"nothing":      {Filter{Tenant: "a", Actor: "root"}, nil},
		"the end":      {Filter{After: 10}, nil},
	} {
		var got []int64
		for _, e := range entries(t, s, c.f) {
			got = append(got, e.Seq)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	line, err := json.Marshal(list[0])
	if err != nil || !strings.Contains(string(line), `"seq":1,`) || !strings.Contains(string(line), `"before":{"a":1},"after":[2]`) {
		t.Errorf("%s, %v", line, err)
	}
}

// What strangers send is cut to size and made text.
func TestAuditIsBounded(t *testing.T) { both(t, testAuditIsBounded) }

func testAuditIsBounded(t *testing.T, url string) {
	s := opened(t, url)
	long := strings.Repeat("é", 1<<20)
	s.Record(Entry{Kind: Operation, Action: "x\x00\xff", Target: long, From: "e" + long, Before: json.RawMessage("{"), After: json.RawMessage(`"` + long + `"`)})
	list := entries(t, s, Filter{Action: "x\x00\xff"})
	if len(list) != 1 {
		t.Fatalf("%d entries", len(list))
	}
	e := list[0]
	if e.Action != "x\uFFFD\uFFFD" || e.Target != long[:longestWord]+"…" || e.From != "e"+long[:longestWord-2]+"…" {
		t.Errorf("%q, %q, %q", e.Action, e.Target, e.From)
	}
	if string(e.Before) != `{"omitted_bytes":1}` || string(e.After) != fmt.Sprintf(`{"omitted_bytes":%d}`, len(long)+2) {
		t.Errorf("%s, %s", e.Before, e.After)
	}
}

func TestAuditIsAppendOnly(t *testing.T) { both(t, testAuditIsAppendOnly) }

func testAuditIsAppendOnly(t *testing.T, url string) {
	s := opened(t, url)
	s.Record(Entry{Kind: Operation, Action: "one"})
	s.Record(Entry{Kind: Operation, Action: "two"})
	before := entries(t, s, Filter{})
	values := `(1, 0, '', '', '', '', '', '', '', 0, NULL, NULL)`
	for _, statement := range []string{
		`UPDATE audit SET actor = 'nobody'`, `DELETE FROM audit`, `DELETE FROM audit WHERE seq = 1`, `UPDATE audit SET seq = 7 WHERE seq = 1`,
		`INSERT INTO audit (` + entryColumns + `) VALUES ` + values, `REPLACE INTO audit (` + entryColumns + `) VALUES ` + values, `TRUNCATE audit`,
		`INSERT INTO audit (` + entryColumns + `) VALUES ` + values + ` ON CONFLICT (seq) DO UPDATE SET actor = 'nobody'`,
	} {
		if _, err := s.db.Exec(statement); err == nil {
			t.Errorf("%s: done", statement)
		}
	}
	if after := entries(t, s, Filter{}); !reflect.DeepEqual(after, before) || len(after) != 2 {
		t.Errorf("%+v", after)
	}
}

func TestRetention(t *testing.T) { both(t, testRetention) }

func testRetention(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Millisecond)
	const old = 2*purged + 7
	for i := range old {
		s.Record(Entry{Kind: Operation, Action: "old"})
		if i%500 == 0 {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Record(Entry{Kind: Operation, Action: "edge", At: clock.now().Add(time.Millisecond)})
	clock.add(time.Hour)
	s.Record(Entry{Kind: Operation, Action: "new"})
	if n := len(entries(t, s, Filter{Limit: mostPage})); n != old+2 {
		t.Errorf("%d entries without retention", n)
	}
	s.Retain(time.Hour)
	clock.add(time.Millisecond)
	eventually(t, func() bool { return len(entries(t, s, Filter{})) == 2 })
	s.Record(Entry{Kind: Operation, Action: "newer"})
	if list := entries(t, s, Filter{}); len(list) != 3 || list[0].Action != "edge" || list[2].Seq != old+3 {
		t.Errorf("%+v", list)
	}
	if _, err := s.db.Exec(`DELETE FROM audit`); err == nil {
		t.Error("what is to be kept was deleted")
	}
}

// What some keys did, and what was done to them.
func TestAuditOfKeys(t *testing.T) { both(t, testAuditOfKeys) }

func testAuditOfKeys(t *testing.T, url string) {
	s := opened(t, url)
	for _, e := range []Entry{
		{Actor: "admin_key", Action: "key.create", Tenant: "acme", Target: "a"},
		{Actor: "admin_key", Action: "key.create", Tenant: "acme", Target: "b"},
		{Actor: "admin_key", Action: "key.create", Tenant: "globex", Target: "a"},
		{Actor: "acme/a", Action: "tenant.update", Tenant: "acme", Target: "b"},
		{Actor: "acme/b", Action: "tenant.update", Tenant: "acme", Target: "a"},
		{Actor: "acme/a", Action: "key.revoke", Tenant: "acme", Target: "b"},
		{Kind: Denial, Actor: "acme/a", Action: "GET /keys", Tenant: "acme", Target: "/keys/b"},
	} {
		e.Kind = cmp.Or(e.Kind, Operation)
		s.Record(e)
	}
	for _, c := range []struct {
		keys []string
		want string
	}{{nil, "1 2 4 5 6 7"}, {[]string{"acme/a"}, "1 4 7"}, {[]string{"acme/b", "acme/x'"}, "2 5 6"}, {[]string{}, ""}} {
		var got []string
		for _, e := range entries(t, s, Filter{Tenant: "acme", Keys: c.keys, Limit: 9}) {
			got = append(got, fmt.Sprint(e.Seq))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %v, want %s", c.keys, got, c.want)
		}
	}
}

// A flood becomes few entries, and none of it is uncounted.
func TestFlood(t *testing.T) { both(t, testFlood) }

func testFlood(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	denial := Entry{Kind: Denial, Action: "auth", From: "192.0.2.1", Request: "req_1"}
	for range 10_000 {
		s.Record(denial)
	}
	for i := range 1000 { // one customer's network, and many strangers
		s.Record(Entry{Kind: Denial, Action: "auth", From: fmt.Sprintf("2001:db8::%x", i)})
		s.Record(Entry{Kind: Security, Action: "guard", Tenant: fmt.Sprint("t", i%20), From: fmt.Sprintf("198.51.%d.%d", i/256, i%256)})
		s.Record(Entry{Kind: Denial, Action: fmt.Sprint("made up ", i), From: "203.0.113.9"})
	}
	s.Record(Entry{Kind: Operation, Action: "work"})
	first := entries(t, s, Filter{})
	if len(first) != mostSources+1 || first[0].Request != "req_1" || s.Missed() != 0 {
		t.Errorf("%d entries, %d missed", len(first), s.Missed())
	}
	clock.add(floodLasts)
	for _, w := range s.counted(false) {
		s.post(w)
	}
	list := entries(t, s, Filter{})
	told, network := int64(0), 0
	for _, e := range list {
		told += max(e.Repeats, 1)
		if strings.HasPrefix(e.From, "2001:db8:") {
			network++
		}
		if e.From == "192.0.2.1" && e.Repeats != 0 && (e.Repeats != 9999 || e.Request != "") {
			t.Errorf("%+v", e)
		}
	}
	if told != 13_001 || network != 2 || len(list) > len(first)+mostCounts+4 {
		t.Errorf("%d entries tell of %d", len(list), told)
	}
	clock.add(time.Second)
	s.Record(denial) // the next minute
	if again := entries(t, s, Filter{After: list[len(list)-1].Seq}); len(again) != 1 || again[0].Repeats != 0 {
		t.Errorf("%+v", again)
	}
}

// Strangers from many places, and a tenant's own keys, hide nothing of what others do.
func TestFloodHidesNobody(t *testing.T) {
	s, _ := clocked(t, "sqlite::memory:", time.Hour)
	for i := range 1000 {
		s.Record(Entry{Kind: Denial, Action: "auth", From: fmt.Sprintf("198.51.%d.%d", i/256, i%256)})
		s.Record(Entry{Kind: Denial, Action: fmt.Sprint("made up ", i), From: "192.0.2.7"})
		s.Record(Entry{Kind: Denial, Action: "auth", Actor: "loud/key", Tenant: "loud", From: fmt.Sprintf("203.0.%d.%d", i/256, i%256)})
	}
	s.Record(Entry{Kind: Denial, Action: "auth", Actor: "quiet/key", Tenant: "quiet", From: "192.0.2.1"})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]int{"quiet": 1, "loud": mostOfActor} {
		if n := len(entries(t, s, Filter{Tenant: tenant})); n != want {
			t.Errorf("%d entries of %s, want %d", n, tenant, want)
		}
	}
}

// A key that is refused everywhere hides nothing of what other keys of its tenant try, and of what one tries some targets are told.
func TestFloodTellsWho(t *testing.T) {
	s, clock := clocked(t, "sqlite::memory:", time.Hour)
	denial := func(key, action, target string) {
		s.Record(Entry{Kind: Denial, Action: action, Actor: "acme/" + key, Tenant: "acme", From: "192.0.2.1", Target: target})
	}
	for i := range 100 {
		denial("loud", fmt.Sprint("GET /", i), fmt.Sprint("/", i))
	}
	for i := range 50 {
		denial("prober", "GET /tenants", fmt.Sprint("/tenants/", i))
		denial("prober", "GET /tenants", "/tenants/0")
	}
	denial("quiet", "GET /tenants", "/tenants/0")
	denial("quiet", "GET /config", "/config")
	for i := range 100 { // many keys
		denial(fmt.Sprint("late", i), "GET /tenants", "/tenants/0")
	}
	clock.add(floodLasts)
	for _, w := range s.counted(false) {
		s.post(w)
	}
	recorded, counted, targets := map[string]int{}, map[string]int64{}, map[string]bool{}
	all := int64(0)
	for _, e := range entries(t, s, Filter{}) {
		if e.Repeats == 0 {
			recorded[e.Actor]++
			all++
		}
		counted[e.Actor] += e.Repeats
		all += e.Repeats
		if e.Actor == "acme/prober" {
			targets[e.Target] = true
		}
	}
	if all != 302 || recorded["acme/loud"] != mostOfActor || counted["acme/loud"] != 100-mostOfActor || recorded["acme/quiet"] != 2 || counted["acme/quiet"] != 0 {
		t.Errorf("%d: %v, %v", all, recorded, counted)
	}
	if recorded["acme/prober"] != mostTargets || counted["acme/prober"] != 100-mostTargets || len(targets) != mostTargets+1 {
		t.Errorf("%v, %v: %v", recorded, counted, targets)
	}
	own := 0
	for _, n := range recorded {
		own += n
	}
	if own != mostOfOne || counted["acme/late5"] != 0 && counted["acme/late5"] != 1 || len(entries(t, s, Filter{Limit: mostPage})) > mostOfOne+mostCounts+4 {
		t.Errorf("%d of the tenant", own)
	}
}

// What was counted is written at the end of the minute, and at the end.
func TestFloodIsWritten(t *testing.T) { both(t, testFloodIsWritten) }

func testFloodIsWritten(t *testing.T, url string) {
	clock := &hands{}
	s, err := open(t.Context(), url, clock.now, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	e := Entry{Kind: Denial, Action: "auth", From: "192.0.2.1"}
	s.Record(e)
	s.Record(e)
	clock.add(floodLasts)
	eventually(t, func() bool { return len(entries(t, s, Filter{})) == 2 })
	for range 4 {
		s.Record(e)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	list := entries(t, opened(t, url), Filter{})
	if len(list) != 4 || list[1].Repeats != 1 || list[3].Repeats != 3 {
		t.Errorf("%+v", list)
	}
}

func TestRecordNeverBlocks(t *testing.T) { both(t, testRecordNeverBlocks) }

func testRecordNeverBlocks(t *testing.T, url string) {
	s, free := locked(t, url)
	var told []error
	s.OnDrop = func(err error) { told = append(told, err) }
	for range 3 * queued { // the first that fails goes to the backlog, and the others behind it
		s.Record(Entry{Kind: Operation, Action: "x"})
	}
	if s.Missed() < queued-grouped || s.Dropped() != 0 || len(told) != 1 || told[0] != errFull {
		t.Errorf("%d missed, %d dropped, told %v", s.Missed(), s.Dropped(), told)
	}
	free()
	if n := len(entries(t, s, Filter{Limit: mostPage})); n != 3*queued-int(s.Missed()) {
		t.Errorf("%d entries, %d missed", n, s.Missed())
	}
}

// Whoever follows the log sees each entry once and in order, though several gateways write.
func TestAuditIsFollowed(t *testing.T) { both(t, testAuditIsFollowed) }

func testAuditIsFollowed(t *testing.T, url string) {
	stores := []*Store{opened(t, url), opened(t, url), opened(t, url)}
	const each = 150
	var writers sync.WaitGroup
	for i, s := range stores {
		for w := range 3 {
			writers.Go(func() {
				for n := range each {
					s.Record(Entry{Kind: Operation, Actor: fmt.Sprint(i, w), Target: fmt.Sprint(n)})
					if n%10 == 0 {
						if err := insist(s, func() error { return s.Flush(context.Background()) }); err != nil {
							t.Error(err)
						}
					}
				}
				if err := insist(s, func() error { return s.Flush(context.Background()) }); err != nil {
					t.Error(err)
				}
			})
		}
	}
	written := make(chan struct{})
	go func() { writers.Wait(); close(written) }()
	next := map[string]int{}
	seen, after, last := 0, int64(0), false
	for {
		list, err := stores[0].Audit(t.Context(), Filter{After: after, Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Target != fmt.Sprint(next[e.Actor]) || e.Seq <= after {
				t.Fatalf("%d: %s of %s, not %d", e.Seq, e.Target, e.Actor, next[e.Actor])
			}
			next[e.Actor]++
			after = e.Seq
		}
		if seen += len(list); len(list) == 0 && last {
			break
		}
		select {
		case <-written:
			last = true
		default:
		}
	}
	if seen != 9*each {
		t.Errorf("%d of %d", seen, 9*each)
	}
}

// An operation whose entry cannot be written is not made.
func TestNoChangeWithoutEntry(t *testing.T) { both(t, testNoChangeWithoutEntry) }

func testNoChangeWithoutEntry(t *testing.T, url string) {
	s := opened(t, url)
	if _, err := s.db.Exec(`ALTER TABLE audit RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	if err := s.AddTenant(t.Context(), Tenant{Name: "a", Config: []byte("{}")}, Entry{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if d := directory(t, s); len(d.Tenants) != 0 || d.Revision != 0 {
		t.Errorf("%+v", d)
	}
}
