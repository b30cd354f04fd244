package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func versionOf(text, author string) Version {
	return Version{SHA256: "sha of " + text, Author: author, Files: []ConfigFile{{"jarvis.yml", "main", text}, {"more/a.yml", "include", "b: 1\n"}}}
}

func listed(t *testing.T, s *Store, before int64, most int) (ids []int64) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := s.Versions(t.Context(), before, most)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		ids = append(ids, v.ID)
	}
	return ids
}

func salted(t *testing.T, s *Store) *Store {
	t.Helper()
	if salt, err := s.ConfigSalt(t.Context()); err != nil || len(salt) != 32 {
		t.Fatalf("salt %x, %v", salt, err)
	}
	return s
}

func TestVersions(t *testing.T) { both(t, testVersions) }

func testVersions(t *testing.T, url string) {
	s, clock := clocked(t, url, time.Hour)
	began := clock.now()
	s.KeepVersion(versionOf("one", "start"))
	s.KeepVersion(versionOf("one", "another replica"))
	clock.add(time.Minute)
	s.KeepVersion(versionOf("two", "file"))
	s.KeepVersion(versionOf("one", strings.Repeat("x", 1000)))
	if ids := listed(t, s, 0, 10); !reflect.DeepEqual(ids, []int64{3, 2, 1}) {
		t.Fatalf("versions %v", ids)
	}
	if ids := listed(t, s, 3, 1); !reflect.DeepEqual(ids, []int64{2}) {
		t.Errorf("a page: %v", ids)
	}
	v, err := s.Version(t.Context(), 1)
	want := versionOf("one", "start")
	want.ID, want.At = 1, began
	if err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("%+v, %v, want %+v", v, err, want)
	}
	if list, err := s.Versions(t.Context(), 0, 1); err != nil || len(list[0].Author) > 300 || list[0].Files != nil || !list[0].At.Equal(began.Add(time.Minute)) {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Version(t.Context(), 4); !errors.Is(err, ErrNoVersion) {
		t.Errorf("a version that there is not: %v", err)
	}
	for text, want := range map[string]int64{"one": 3, "two": 2, "three": 0} {
		if id, err := s.LastVersion(t.Context(), "sha of "+text); id != want || err != nil {
			t.Errorf("the last of %s: %d, %v", text, id, err)
		}
	}
}

// Gateways that take the same configurations in at the same time share their versions.
func TestVersionsOfSeveral(t *testing.T) { both(t, testVersionsOfSeveral) }

func testVersionsOfSeveral(t *testing.T, url string) {
	var wg sync.WaitGroup
	salts := make([]string, 4)
	stores := make([]*Store, len(salts))
	for i := range stores {
		stores[i] = opened(t, url)
	}
	for i, s := range stores {
		wg.Go(func() {
			var salt []byte
			if err := insist(s, func() (err error) { salt, err = s.ConfigSalt(t.Context()); return err }); err != nil {
				t.Error(err)
			}
			salts[i] = string(salt)
			s.KeepVersion(versionOf("one", fmt.Sprint("gateway ", i)))
		})
	}
	wg.Wait()
	for i, s := range stores {
		if err := insist(s, func() error { return s.Flush(t.Context()) }); err != nil {
			t.Error(err)
		}
		if salts[i] != salts[0] || salts[i] == "" {
			t.Error("gateways of one database have several salts")
		}
	}
	if ids := listed(t, stores[0], 0, 10); len(ids) != 1 {
		t.Errorf("versions %v", ids)
	}
}

// Old versions go, but never the pinned one, nor the last.
func TestVersionsAreBounded(t *testing.T) { both(t, testVersionsAreBounded) }

func testVersionsAreBounded(t *testing.T, url string) {
	s := salted(t, opened(t, url))
	if _, err := s.PinVersion(t.Context(), versionOf("pinned", "boss"), "files"); err != nil {
		t.Fatal(err)
	}
	for i := range versionsKept + 50 {
		s.KeepVersion(versionOf(fmt.Sprint(i), "file"))
	}
	ids := listed(t, s, 0, 10*versionsKept)
	if len(ids) != versionsKept+1 || ids[0] != versionsKept+51 || ids[versionsKept] != 1 {
		t.Errorf("%d versions from %d to %d", len(ids), ids[0], ids[len(ids)-1])
	}
	const most = 3000
	for i, c := range []struct{ size, left int }{{2000, 0}, {1000, 2}, {1000, 3}, {10, 4}, {5000, 2}, {10, 2}, {2000, 3}} {
		err := s.writeInTurn(t.Context(), func(ctx context.Context, tx *sql.Tx) error {
			_, err := keepVersion(ctx, tx, versionOf(strings.Repeat(fmt.Sprint(i), c.size), "file"), most)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if ids := listed(t, s, 0, 10*versionsKept); c.left > 0 && len(ids) != c.left || ids[len(ids)-1] != 1 {
			t.Errorf("step %d: %v", i, ids)
		}
	}
}

func TestPins(t *testing.T) { both(t, testPins) }

func testPins(t *testing.T, url string) {
	s := opened(t, url)
	pinned := func() Pin {
		p, err := s.Pinned(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := pinned(); p != (Pin{}) {
		t.Errorf("before any: %+v", p)
	}
	if _, err := s.PinVersion(t.Context(), versionOf("one", "boss"), "files"); err == nil {
		t.Error("pinned without a salt, so without a row")
	}
	salted(t, s)
	s.KeepVersion(versionOf("one", "start"))
	s.KeepVersion(versionOf("two", "file"))
	back := versionOf("one", "boss")
	back.Restores = 1
	p, err := s.PinVersion(t.Context(), back, "files of two")
	if err != nil || p.Version != 3 || p.Author != "boss" || p != pinned() {
		t.Fatalf("%+v, %v, stored %+v", p, err, pinned())
	}
	if v, err := s.Version(t.Context(), 3); err != nil || v.Restores != 1 || v.SHA256 != back.SHA256 {
		t.Errorf("%+v, %v", v, err)
	}
	other := p
	other.Version = 2
	s.EndPin(other) // one that is over already ends no other
	if err := s.Flush(t.Context()); err != nil || pinned() != p {
		t.Errorf("%v, %+v", err, pinned())
	}
	s.EndPin(p)
	if err := s.Flush(t.Context()); err != nil || !pinned().Ended {
		t.Errorf("%v, %+v", err, pinned())
	}
	if err := s.SetPin(t.Context(), p); err != nil || pinned() != p {
		t.Errorf("%v, %+v", err, pinned())
	}
	if err := s.Unpin(t.Context(), versionOf("two", "boss")); err != nil || pinned() != (Pin{}) {
		t.Errorf("%v, %+v", err, pinned())
	}
	if err := s.Unpin(t.Context(), Version{}); err != nil {
		t.Error(err)
	}
	if ids := listed(t, s, 0, 10); len(ids) != 4 {
		t.Errorf("%v", ids)
	}
}
