package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
)

// Attempts are the same from either database, whether they have rows of their own or not, and go with their requests.
func TestAttempts(t *testing.T) { both(t, testAttempts) }

func testAttempts(t *testing.T, url string) {
	s := opened(t, url, Options{})
	list := make([]*usage.Record, 60)
	for i := range list {
		list[i] = usualRecord(i)
		list[i].UID, list[i].Time = uidOf(i), noon.Add(time.Duration(i)*time.Second)
	}
	a := func(i int) *usage.Attempt { return &list[i].Attempts[0] } // what makes an attempt one with a row of its own
	a(1).Kind, a(2).Provider, a(3).Model, a(4).Replica, a(5).Region, a(6).Cost = "shadow", "another", "another", "another", "another", 1
	a(7).Usage.Completion, a(8).Begun, a(9).Begun = 99, -time.Second, askAfter
	list[10].Attempts = nil
	a(11).Result, a(11).First, a(11).Begun, list[12].Usage.Images, a(12).Usage.Images = "refused", 7*time.Second, 5*time.Second, 3, 3
	var want, got []string
	for i, r := range list {
		for n := range r.Attempts {
			t := attempt{r, &r.Attempts[n], n + 1}
			row := ""
			for _, c := range attemptsTable().columns {
				v := c.one(t)
				if b, ok := v.(bool); ok {
					v = bit(b)
				}
				row += fmt.Sprint(v, " ")
			}
			want = append(want, row)
		}
		write(t, s, fmt.Sprint(i), list[i:i+1])
	}
	s.expect(t, 0, list)
	from, to := noon.Add(-time.Minute), noon.Add(25*time.Hour)
	if err := s.Rows(t.Context(), "attempts", from, to, func(row []Value) error {
		text := ""
		for i, c := range Columns("attempts") {
			if c.Kind == Text || c.Kind == Name {
				text += row[i].Text + " "
			} else {
				text += fmt.Sprint(row[i].Number, " ")
			}
		}
		got = append(got, text)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	sameSet(t, got, want)
	n := int64(len(want))
	if have, err := s.Count(t.Context(), "attempts", from, to); have != n || err != nil {
		t.Errorf("%d attempts, want %d: %v", have, n, err)
	}
	if err := s.Delete(t.Context(), noon, noon.Add(time.Minute), map[string]int64{"attempts": n, "requests": int64(len(list))}); err != nil {
		t.Error(err)
	}
	if left, kept := s.number(t, `SELECT count(*) FROM attempts`), s.number(t, `SELECT count(*) FROM requests`); left != 0 || kept != 0 {
		t.Errorf("%d attempts and %d requests are left", left, kept)
	}
}

func sameSet(t *testing.T, got, want []string) {
	t.Helper()
	count := map[string]int{}
	for _, row := range want {
		count[row]++
	}
	for _, row := range got {
		count[row]--
	}
	for row, n := range count {
		if n != 0 {
			t.Errorf("%d more than there are, or less: %s", n, row)
		}
	}
}

// A request is found by its uid, which SQLite has no index of, also if its uid is from its end; and by its id.
func TestFound(t *testing.T) {
	both(t, func(t *testing.T, url string) { testFound(t, url, 200) })
}

// SQLite keeps the ids of large batches in another way.
func TestFoundInLargeBatches(t *testing.T) {
	both(t, func(t *testing.T, url string) { testFound(t, url, 2*manyIds) })
}

func testFound(t *testing.T, url string, n int) {
	s := opened(t, url, Options{})
	var list []*usage.Record
	for i := range n {
		r := usualRecord(i)
		r.Time = noon.Add(-time.Duration(i) * 6 * time.Hour)
		r.UID, r.ID = usage.NewUID(r.Time.Add(time.Duration(i%3)*time.Hour)), fmt.Sprint("req_", i%(n/2))
		list = append(list, r)
	}
	write(t, s, "a", list)
	write(t, s, "a", list)
	if !s.clickhouse { // a batch of which some is there already
		write(t, s, "b", list[:n/4])
		for i := range n / 2 {
			other := usualRecord(i)
			other.Time, other.UID, other.ID = noon.Add(time.Duration(i)*time.Second), uidOf(i), fmt.Sprint("later_", i)
			list = append(list, other)
		}
		write(t, s, "c", list[n/2:])
		found, _, err := s.Requests(t.Context(), Listing{ID: "later_77"})
		if err != nil || len(found) != 1 || found[0].UID != uidOf(77) {
			t.Errorf("%d, %v", len(found), err)
		}
		list = list[:n]
	}
	for i, r := range list {
		if n > 200 && i%97 > 0 || s.clickhouse && i%5 > 0 { // which takes its time
			continue
		}
		for _, l := range []Listing{{UID: r.UID.String()}, {ID: r.ID}, {ID: r.ID, UID: r.UID.String()}} {
			want := 1
			if l.UID == "" {
				want = 2
			}
			found, _, err := s.Requests(t.Context(), l)
			if err != nil || len(found) != want || found[i/(n/2)*(want-1)].UID != r.UID || len(found[0].Attempts) != len(list[i%(n/2)].Attempts) {
				t.Fatalf("%d %+v: %d, %v", i, l, len(found), err)
			}
		}
	}
	for _, l := range []Listing{{ID: "req_1000"}, {UID: usage.NewUID(noon).String()}, {UID: list[0].UID.String(), ID: "req_1"}} {
		if found, _, err := s.Requests(t.Context(), l); err != nil || len(found) != 0 {
			t.Errorf("%+v: %d, %v", l, len(found), err)
		}
	}
}

// One id of very many requests does not keep the latest of them from being found.
func TestOneIdOfMany(t *testing.T) {
	s := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "usage.db"), Options{})
	list := make([]*usage.Record, mostRecords+10)
	for i := range list {
		list[i] = usualRecord(i)
		list[i].ID, list[i].UID, list[i].Time = "always", uidOf(i), noon.Add(time.Duration(i)*time.Millisecond)
	}
	write(t, s, "a", list)
	found, more, err := s.Requests(t.Context(), Listing{ID: "always", Question: Question{Limit: 3}})
	if err != nil || len(found) != 3 || !more || found[0].UID != list[len(list)-1].UID {
		t.Errorf("%d, %v", len(found), err)
	}
}

// The ids of records go when these do.
func TestIdsGo(t *testing.T) {
	now := noon
	s := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "usage.db"), Options{Keep: Keep{Records: time.Hour}, every: time.Hour, now: func() time.Time { return now }})
	for batch := range 3 {
		list := make([]*usage.Record, manyIds)
		for i := range list {
			list[i] = usualRecord(i)
			list[i].UID, list[i].ID, list[i].Time = uidOf(batch*manyIds+i), fmt.Sprint(batch, "_", i), noon.Add(time.Duration(batch)*30*time.Minute)
		}
		write(t, s, fmt.Sprint(batch), list)
	}
	now = noon.Add(2*time.Hour - 1)
	s.settle(t)
	if n := s.number(t, `SELECT count(*) FROM ids`); n != 1 {
		t.Errorf("%d rows of ids", n)
	}
	if found, _, err := s.Requests(t.Context(), Listing{ID: "2_5"}); err != nil || len(found) != 1 {
		t.Errorf("%d, %v", len(found), err)
	}
}

// What requests share goes when the last of them does.
func TestSharedGoes(t *testing.T) {
	now := noon
	s := opened(t, "sqlite:"+filepath.Join(t.TempDir(), "usage.db"), Options{Keep: Keep{Records: time.Hour}, every: time.Hour, now: func() time.Time { return now }})
	for i, tenant := range []string{"early", "both", "late"} {
		r := usualRecord(i)
		r.Tenant, r.Route, r.UID = tenant, tenant, uidOf(i)
		write(t, s, tenant, []*usage.Record{r})
		r.Time, r.UID = noon.Add(30*time.Minute), uidOf(10+i)
		if tenant == "early" {
			continue
		}
		write(t, s, tenant+" again", []*usage.Record{r})
	}
	now = noon.Add(80 * time.Minute)
	s.settle(t)
	for _, table := range []string{"callers", "ways", "requests", "attempts"} {
		if n := s.number(t, `SELECT count(*) FROM `+table); n != 2 {
			t.Errorf("%d rows in %s", n, table)
		}
	}
}
