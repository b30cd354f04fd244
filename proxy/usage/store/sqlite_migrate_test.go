package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
)

// A database of the first version tells the same afterwards, and still knows what it has.
func TestFirstDatabase(t *testing.T) {
	dir := t.TempDir()
	made := opened(t, "sqlite:"+filepath.Join(dir, "made.db"), Options{})
	random := sample{rand.New(rand.NewPCG(7, 7)), askNoon.Add(-40 * 24 * time.Hour), 40 * 24 * time.Hour}
	var list []*usage.Record
	for i := range manyIds - 1 {
		r := random.record()
		if i%2 == 0 {
			r = usualRecord(i)
			r.UID, r.Time = uidOf(i), askNoon.Add(-time.Duration(i)*time.Minute)
		}
		list = append(list, r)
	}
	said := random.opinion(list)
	write(t, made, "a", list, said)
	first := firstDatabase(t, dir)
	s := opened(t, first, Options{})
	from, to := askNoon.AddDate(0, -2, 0), askNoon.AddDate(0, 0, 1)
	for _, table := range Exports() {
		if got, want := s.lines(t, table, from, to), made.lines(t, table, from, to); !reflect.DeepEqual(got, want) || len(got) == 0 && table != "contents" {
			t.Errorf("%s:\n%s\nwant\n%s", table, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	q := Question{Since: from, Until: to, By: []string{"tenant"}}
	if got, want := asked(t, s, q), asked(t, made, q); !reflect.DeepEqual(got, want) || got.Total.Fallbacks == 0 || got.Total.Retries == 0 {
		t.Errorf("%s\nwant\n%s", told(got), told(want))
	}
	write(t, s, "a", list, said)
	s.expect(t, 1, list)
	for _, l := range []Listing{{ID: list[0].ID}, {UID: list[0].UID.String()}, {UID: list[1].UID.String()}} {
		l.Since, l.Until = from, to
		if found, _, err := s.Requests(t.Context(), l); err != nil || len(found) == 0 {
			t.Errorf("%+v: %d, %v", l, len(found), err)
		}
	}
}

// firstDatabase has the rows of made.db as the first version kept them.
func firstDatabase(t *testing.T, dir string) (url string) {
	t.Helper()
	path := filepath.Join(dir, "first.db")
	e, err := newLite(path, Options{now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if _, err := e.open(); err != nil {
		t.Fatal(err)
	}
	e.up.Store(true)
	files, err := fs.Sub(sqliteFiles, "sqlite")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := migrations(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.apply(t.Context(), steps[0]); err != nil {
		t.Fatal(err)
	}
	columns := `"time", "spot", "caller", "way", "id", "user", "scene", "tags", "asked", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
		"reasoning_tokens", "rare", "cost_nano", "saved_nano", "queued_us", "first_us", "upstream_us", "overhead_us", "total_us", "bytes_in", "bytes_out",
		"attempt_begun_us"`
	for _, statement := range []string{
		fmt.Sprintf(`ATTACH '%s' AS made`, filepath.Join(dir, "made.db")),
		`INSERT INTO main.callers SELECT * FROM made.callers`, `INSERT INTO main.ways SELECT * FROM made.ways`, `INSERT INTO main.feedback SELECT * FROM made.feedback`,
		`INSERT INTO main.contents SELECT * FROM made.contents`, `INSERT INTO main.further_attempts SELECT * FROM made.further_attempts`,
		`INSERT INTO main.records ("uid", "attempt_first_us", ` + columns + `)
			SELECT (SELECT uid FROM made.requests AS q WHERE q.record = r.record), "attempt_heard_us", ` + columns + ` FROM made.records AS r`,
	} {
		if err := e.writer.exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return "sqlite:" + path
}

func (s *Store) lines(t *testing.T, table string, from, to time.Time) (list []string) {
	t.Helper()
	if err := s.Rows(t.Context(), table, from, to, func(row []Value) error {
		list = append(list, fmt.Sprint(row))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// A gateway of the first version that still runs cannot write rows that would be read as others: they wait in its spool.
func TestFirstWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	opened(t, "sqlite:"+path, Options{})
	l, err := dial("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	err = l.exec(`INSERT INTO records ("time", "uid", "attempt_begun_us", "attempt_first_us") VALUES (1, '00000000-0000-7000-8000-000000000000', 0, 0)`)
	if err == nil || errors.Is(refusedLite(err), ErrRefused) {
		t.Error(err)
	}
}
