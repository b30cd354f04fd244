package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage/spool"
)

// What a gateway leaves that dies beside another is delivered by that one, which then gives up the folder. What is in use is left alone.
func TestSpoolsAreAdopted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var said bytes.Buffer
	metrics := &proxy.Spools{}
	s, err := claimSpools(dir, spool.Options{Segment: spoolSegment, BatchWait: time.Millisecond}, metrics, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	records, away := 0, errors.New("it is away")
	s.start(func(*spool.Log) spool.Deliver {
		return func(_ context.Context, _ string, batch [][]byte) error {
			mu.Lock()
			defer mu.Unlock()
			if away == nil {
				records += len(batch)
			}
			return away
		}
	})
	stored := func() int {
		mu.Lock()
		defer mu.Unlock()
		return records
	}
	folders := []string{dir + "-2", dir + "-3", dir + "-4", dir + "-5"}
	used, err := spool.Open(spool.Options{Dir: folders[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close(context.Background())
	spoolOf(t, folders[1], 5)
	spoolOf(t, folders[2], 7)
	if err := errors.Join(os.Mkdir(folders[3], 0o700), os.WriteFile(filepath.Join(folders[3], "00000001-0000000000000001.seg"), nil, 0o600),
		os.WriteFile(filepath.Join(folders[3], "00000001-0000000000000002.seg"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.adopt()
		if len(s.orphans) != 2 || s.orphans[folders[0]] != nil { // they wait
			t.Fatal(s.orphans)
		}
	}
	if got := strings.Count(said.String(), "cannot be read"); got != 1 {
		t.Errorf("%d times of %q", got, said.String())
	}
	mu.Lock()
	away = nil
	mu.Unlock()
	eventually(t, "all are delivered", func() bool { return stored() == 12 })
	eventually(t, "they are given up", func() bool { s.adopt(); return len(s.orphans) == 0 })
	for _, folder := range folders[1:3] {
		l, err := spool.Open(spool.Options{Dir: folder})
		if err != nil {
			t.Fatal(err)
		}
		if st := l.Stats(); st.Emitted != 0 {
			t.Errorf("%s: %+v", folder, st)
		}
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	s.adopt()
	if len(s.orphans) > 0 || stored() != 12 {
		t.Error(s.orphans, stored())
	}
	if err := s.close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A gateway looks for what others leave while it runs.
func TestSpoolsAreLookedFor(t *testing.T) {
	dir := stateDir(t)
	s := &live{log: slog.New(slog.DiscardHandler), conf: &loaded{}}
	s.conf.Usage = usageDefaults
	r, err := s.openRecordsIn(t.Context(), filepath.Join(dir, "spool"), "sqlite:"+filepath.Join(dir, "usage.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.close(context.Background())
	ctx, quit := context.WithCancel(t.Context())
	defer quit()
	r.quit()
	r.ended.Wait()
	r.quit = quit
	r.ended.Go(func() { r.tend(ctx, s.log, time.Millisecond) })
	spoolOf(t, filepath.Join(dir, "spool-2"), 3)
	eventually(t, "they are stored", func() bool {
		n, err := r.store.Count(t.Context(), "requests", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		return err == nil && n == 3
	})
}

// A gateway whose usage.db is of no use serves, says what to do, and goes on with another one when that is done. What was asked
// meanwhile is recorded.
func TestStartsWithDamagedStore(t *testing.T) {
	dir := stateDir(t)
	path := filepath.Join(dir, "usage.db")
	damaged := []byte(strings.Repeat("This is no database. ", 1000))
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, strings.NewReplacer("${DIR}", dir, "${STORE}", "sqlite:"+path).Replace(scoredConfig))
	if a := g.ask(t, "chat"); a.status != 200 {
		t.Error(a)
	}
	eventually(t, "it is told", func() bool {
		return g.metrics()["jarvis_usage_store_up"] == 0 && strings.Contains(g.log.String(), "Move it elsewhere") && strings.Contains(g.log.String(), path) && g.spooled("spooled") == 1
	})
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, damaged) {
		t.Error("the file was changed", err)
	}
	if err := os.Rename(path, path+".damaged"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stored", func() bool { return g.metrics()["jarvis_usage_store_up"] == 1 && g.spooled("delivered_total") == 1 })
	if rows := liteRows(t, path, `SELECT json_object('n', count(*)) AS line FROM requests`); rows[0].Get("n").Int() != 1 {
		t.Error(rows)
	}
}
