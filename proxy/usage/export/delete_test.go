package export

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage/store"
)

// counts are how many rows a store has of a day.
func counts(t *testing.T, s *store.Store, day time.Time) (list []int64) {
	t.Helper()
	for _, table := range []string{"requests", "attempts", "feedback", "contents"} {
		n, err := s.Count(t.Context(), table, day, day.Add(24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// total is how many different requests the Parquet files of a folder have, and how many rows.
func total(t *testing.T, engine, dir string) string {
	return ask(t, engine, "SELECT count(DISTINCT uid), count() FROM file('"+dir+"/requests/dt=*/*.parquet', Parquet)")
}

// What is deleted was read back. Late records have an object of their own then, and nothing is there twice or lost, however
// often it is run and wherever it was cut short.
func TestDelete(t *testing.T) {
	engine := emptyHouse(t)
	both(t, func(t *testing.T, s *store.Store) {
		old, young := today.Add(-3*lasts), today.Add(-lasts)
		write(t, s, records(0, 100, old), opinion(1, old))
		write(t, s, records(100, 50, young))
		dir := t.TempDir()
		o := Options{To: dir, Format: "parquet", Tables: []string{"requests", "attempts", "feedback"}, Delete: true, now: today.Add(time.Hour)}
		object := filepath.Join(dir, "requests/dt="+old.Format(time.DateOnly)+"/part-00001.parquet")

		// An object that is not what was written: nothing may be deleted.
		plain := o
		plain.Delete = false
		run(t, s, plain)
		raw, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2]++
		if err := os.WriteFile(object, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		o.Resume = true
		if _, err := Run(t.Context(), s, o); err == nil || !strings.Contains(err.Error(), "nothing was deleted: requests: the object is not what was written") {
			t.Errorf("a broken object: %v", err)
		}
		if got := counts(t, s, old); got[0] != 100 {
			t.Errorf("%d requests are left", got[0])
		}
		o.Resume = false

		// The end came after it was noted that rows are about to be deleted.
		e, err := open(t.Context(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.find(t.Context(), "requests", old)
		if err != nil {
			t.Fatal(err)
		}
		p.Deleting = true
		if err := e.save(t.Context(), p); err != nil {
			t.Fatal(err)
		}

		for range 2 {
			run(t, s, o)
			if got := counts(t, s, old); !slices.Equal(got, []int64{0, 0, 0, 20}) {
				t.Errorf("%d are left", got)
			}
			if got := counts(t, s, young); got[0] != 50 {
				t.Errorf("%d requests of yesterday are left", got[0])
			}
			if got := total(t, engine, dir); got != "150\t150" {
				t.Errorf("%s requests in the files", got)
			}
		}
		write(t, s, records(200, 5, old)) // very late
		o.Tables = []string{"requests", "attempts", "feedback", "contents"}
		run(t, s, o)
		if got := counts(t, s, old); !slices.Equal(got, []int64{0, 0, 0, 0}) {
			t.Errorf("%d are left", got)
		}
		if got := total(t, engine, dir); got != "155\t155" {
			t.Errorf("%s requests in the files", got)
		}
		if _, err := os.Stat(strings.Replace(object, "00001", "00002", 1)); err != nil {
			t.Error(err)
		}
	})
}

// What retention has deleted stays where it was written.
func TestOlderThanTheStore(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		write(t, s, records(0, 20, today.Add(-2*lasts)))
		o := Options{To: t.TempDir(), Format: "parquet", Tables: []string{"requests"}, now: today}
		run(t, s, o)
		before := tree(t, o.To)
		from := today.Add(-2 * lasts)
		n, err := s.Count(t.Context(), "requests", from, from.Add(6*time.Hour))
		if err != nil || n == 0 || n == 20 {
			t.Fatal(n, err)
		}
		attempts, err := s.Count(t.Context(), "attempts", from, from.Add(6*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), from, from.Add(6*time.Hour), map[string]int64{"requests": n, "attempts": attempts + 1}); !errors.Is(err, store.ErrChanged) {
			t.Errorf("deleted what was not counted: %v", err)
		}
		if err := s.Delete(t.Context(), from, from.Add(6*time.Hour), map[string]int64{"requests": n, "attempts": attempts}); err != nil {
			t.Fatal(err)
		}
		var told []string
		o.Progress = func(p Progress) { told = append(told, p.Result) }
		run(t, s, o)
		if !slices.Equal(told, []string{Kept}) || !maps.Equal(tree(t, o.To), before) {
			t.Errorf("%q", told)
		}
	})
}
