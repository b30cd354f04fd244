package store

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/usage"
)

// closedFile is a database with some records that nobody has open. What was written last is in its log, as after a crash.
func closedFile(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	s := opened(t, "sqlite:"+filepath.Join(dir, "usage.db"), Options{})
	write(t, s, "a", records(0, 200, noon))
	if _, err := s.db.ExecContext(t.Context(), `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	write(t, s, "b", records(200, 200, noon.Add(1e9)))
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(copied, "usage.db")
}

// filesOf are the files of a database, but for the index of its log, which is made anew, and a log without anything in it.
func filesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	files := map[string]string{}
	paths, _ := filepath.Glob(path + "*")
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil && !strings.HasSuffix(p, "-shm") && len(b) > 0 {
			files[filepath.Base(p)] = string(b)
		}
	}
	return files
}

// spoil has a file be what do makes of it.
func spoil(t *testing.T, path string, do func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, do(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func garbage(b []byte) []byte { return append(bytes.Repeat([]byte("garbage "), 64), b[512:]...) }

func half(b []byte) []byte { return b[:len(b)/2] }

// A gateway starts with a file that nobody can use, and says what to do. Once that is done it goes on without a restart; until then
// nothing is written to the file.
func TestLate(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		says  string
	}{
		"garbage":     {func(t *testing.T, path string) { spoil(t, path, garbage); _ = os.Remove(path + "-wal") }, "Move it elsewhere"},
		"garbage log": {func(t *testing.T, path string) { spoil(t, path, garbage) }, "Move it elsewhere"},
		"truncated":   {func(t *testing.T, path string) { spoil(t, path, half); _ = os.Remove(path + "-wal") }, "Move it elsewhere"},
		"newer": {func(t *testing.T, path string) {
			s := opened(t, "sqlite:"+path, Options{})
			if _, err := s.db.ExecContext(t.Context(), `INSERT INTO migrations (version, name, applied) VALUES (99, '0099_later', 0)`); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}, "run the newer one"},
		"folder": {func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := closedFile(t)
			c.spoil(t, path)
			before := filesOf(t, path)
			if s, err := Open(t.Context(), "sqlite:"+path, Options{}); err == nil {
				s.Close()
				if name == "garbage log" { // which has the first page
					return
				}
				t.Fatal("opened")
			}
			s, err := Open(t.Context(), "sqlite:"+path, Options{Late: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			list := []*usage.Record{usualRecord(1)}
			for range 2 {
				_, asked := s.Ask(t.Context(), Question{Since: noon, Until: noon.AddDate(0, 0, 1)})
				_, _, listed := s.Requests(t.Context(), Listing{Question: Question{Since: noon, Until: noon.AddDate(0, 0, 1)}, ID: list[0].ID})
				_, counted := s.Count(t.Context(), "requests", noon, noon.AddDate(0, 0, 1))
				for i, err := range []error{ // what is asked is answered to whoever asked, but for the file
					s.Write(t.Context(), "x", list, nil), asked, listed, counted, s.Ready(t.Context())} {
					if err == nil || errors.Is(err, ErrRefused) || (i == 0 || i > 2) && !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.says) {
						t.Errorf("%d: %v", i, err)
					}
				}
			}
			if after := filesOf(t, path); !maps.Equal(before, after) {
				t.Errorf("%q became %q", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
			aside := t.TempDir()
			paths, _ := filepath.Glob(path + "*")
			for _, p := range paths {
				if err := os.Rename(p, filepath.Join(aside, filepath.Base(p))); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, s, "x", list)
			s.expect(t, 0, list)
			if stat, err := os.Stat(path); err != nil || stat.Mode() != 0o600 {
				t.Error(stat, err)
			}
		})
	}
}

// Pages that the disk has spoilt are found when they are used. Then the records wait, until there is another file.
func TestDamagedInUse(t *testing.T) {
	path := closedFile(t)
	_ = os.Remove(path + "-wal")
	spoil(t, path, func(b []byte) []byte {
		for at := 8192; at < len(b); at += 8192 {
			copy(b[at:], bytes.Repeat([]byte{0xff}, 16))
		}
		return b
	})
	s, err := Open(t.Context(), "sqlite:"+path, Options{Late: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list := []*usage.Record{usualRecord(1)}
	for range 2 {
		_ = s.Ready(t.Context()) // nobody can see it
		if err := s.Write(t.Context(), "x", list, nil); err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "Move it elsewhere") {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path, path+".damaged"); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(path + "-wal")
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, s, "x", list)
	s.expect(t, 0, list)
}

// A file that cannot be written any more is opened anew once it can, or another one is there.
func TestFailsInUse(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, s *Store, path string){
		"a log that was cut": func(t *testing.T, _ *Store, path string) {
			if err := os.Truncate(path+"-wal", 100); err != nil {
				t.Fatal(err)
			}
		},
		"no room": func(t *testing.T, s *Store, _ string) {
			if err := s.engine.(*sqliteEngine).writer.exec(`PRAGMA max_page_count = 1`); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "usage.db")
			s := opened(t, "sqlite:"+path, Options{})
			write(t, s, "a", records(0, 200, noon))
			fail(t, s, path)
			list := records(200, 2000, noon.Add(1e9))
			if err := s.Write(t.Context(), "b", list, nil); err == nil || errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			aside := t.TempDir()
			paths, _ := filepath.Glob(path + "*")
			for _, p := range paths {
				if err := os.Rename(p, filepath.Join(aside, filepath.Base(p))); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Write(t.Context(), "b", list, nil); err == nil || errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			write(t, s, "b", list)
			s.expect(t, 0, list)
		})
	}
}

// Tables that take long to bring up to date do not keep a gateway from serving.
func TestLateUpgrade(t *testing.T) {
	dir := t.TempDir()
	made := opened(t, "sqlite:"+filepath.Join(dir, "made.db"), Options{})
	list := records(0, 20, noon)
	write(t, made, "a", list)
	s, err := Open(t.Context(), firstDatabase(t, dir), Options{Late: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	next := records(20, 20, noon.Add(1e9))
	if err := s.Write(t.Context(), "b", next, nil); !errors.Is(err, errUpgrading) {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, s, "b", next)
	s.expect(t, 0, list, next)
	if err := errors.Join(s.Close(), s.Ready(t.Context())); err == nil {
		t.Error("it is ready after its end")
	}
}
