package store

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// What is old goes, contents sooner than records, and nothing else.
func TestRetention(t *testing.T) { both(t, testRetention) }

func testRetention(t *testing.T, url string) {
	now := time.Now()
	fresh, old, older := records(0, 20, noon), records(100, 2*purged+7, now.AddDate(0, 0, -4)), records(5000, 20, now.AddDate(0, 0, -40))
	s := opened(t, url, Options{})
	write(t, s, "a", append(append(fresh[:20:20], old...), older...), opinion(1, "new", 1, noon), opinion(2, "old", 1, now.AddDate(0, 0, -40)))
	before := s.counts(t)
	s.settle(t)
	if got := s.counts(t); got != before {
		t.Fatalf("%s, before %s", got, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = opened(t, url, Options{Keep: Keep{Records: 30 * 24 * time.Hour, Contents: 48 * time.Hour}, every: time.Hour})
	s.settle(t)
	var attempts, tokens int64
	for _, r := range append(fresh, old...) {
		attempts, tokens = attempts+int64(len(r.Attempts)), tokens+r.Usage.Prompt
	}
	if got, want := s.counts(t), fmt.Sprint(20+len(old), attempts, 4, 1, tokens); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// settle waits until retention has done what there is to do.
func (s *Store) settle(t *testing.T) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = s.retain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !s.clickhouse {
		return
	}
	for _, table := range []string{"requests", "attempts", "feedback", "contents"} {
		if _, err := s.db.ExecContext(t.Context(), `OPTIMIZE TABLE `+table+` FINAL`); err != nil {
			t.Fatal(err)
		}
	}
}

// SQLite gives back the space of what it deletes, and deletes while others write.
func TestPurge(t *testing.T) {
	path := t.TempDir() + "/usage.db"
	var mu sync.Mutex
	now := noon
	s := opened(t, "sqlite:"+path, Options{
		Keep: Keep{Records: time.Hour}, every: time.Millisecond, OnError: func(err error) { t.Error(err) },
		now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now },
	})
	write(t, s, "a", records(0, 5000, noon))
	mu.Lock()
	now = noon.Add(24 * time.Hour)
	mu.Unlock()
	kept := records(6000, 100, noon.Add(24*time.Hour))
	for i := range kept {
		write(t, s, fmt.Sprint(i), kept[i:i+1])
	}
	for s.number(t, `SELECT count(*) FROM attempts WHERE time < `+fmt.Sprint(noon.Add(time.Hour).UnixMicro())) > 0 || s.number(t, `SELECT count(*) FROM requests`) > 100 {
		time.Sleep(time.Millisecond)
	}
	s.expect(t, 0, kept)
	if free := s.number(t, `PRAGMA freelist_count`); free > 0 {
		t.Errorf("%d pages are free", free)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if at, err := os.Stat(path); err != nil || at.Size() > 1<<20 {
		t.Errorf("%d bytes, %v", at.Size(), err)
	}
}

func TestTTL(t *testing.T) {
	const day = 24 * time.Hour
	const head, settings = "MergeTree PARTITION BY toYYYYMM(time) ORDER BY (tenant, time)", " SETTINGS index_granularity = 8192"
	const warm, own = "toDateTime(time) + toIntervalDay(7) TO VOLUME 'warm'", "toDateTime(time) + toIntervalDay(9)"
	seconds := func(n int) string { return fmt.Sprintf("toDateTime(time) + toIntervalSecond(%d)", n) }
	for name, c := range map[string]struct {
		engine string
		keep   time.Duration
		want   string
	}{
		"first":              {head + settings, day, "MODIFY TTL " + seconds(86400)},
		"the same":           {head + " TTL " + seconds(86400) + settings, day, ""},
		"changed":            {head + " TTL " + seconds(86400) + settings, 2 * day, "MODIFY TTL " + seconds(172800)},
		"for ever":           {head + " TTL " + seconds(86400) + settings, 0, "REMOVE TTL"},
		"nothing":            {head + settings, 0, ""},
		"no table":           {"", day, ""},
		"own":                {head + " TTL " + own + settings, 0, ""},
		"instead of own":     {head + " TTL " + own, day, "MODIFY TTL " + seconds(86400)},
		"tiers":              {head + " TTL " + warm + settings, day, "MODIFY TTL " + warm + ", " + seconds(86400)},
		"tiers stay":         {head + " TTL " + warm + ", " + seconds(86400) + settings, 0, "MODIFY TTL " + warm},
		"tiers and the same": {head + " TTL " + seconds(86400) + ", " + warm + settings, day, ""},
	} {
		want := c.want
		if want != "" {
			want = "ALTER TABLE requests " + want
		}
		if got := retention("requests", c.engine, c.keep); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Retention that changes is put into the tables of ClickHouse, and nothing when it has not.
func TestTTLIsKept(t *testing.T) {
	url := emptyHouse(t)
	for _, c := range []struct {
		keep Keep
		want string
	}{
		{Keep{}, "0"}, {Keep{Records: 24 * time.Hour}, "toIntervalSecond(86400)"}, {Keep{Records: 24 * time.Hour}, "toIntervalSecond(86400)"},
		{Keep{Records: 48 * time.Hour}, "toIntervalSecond(172800)"}, {Keep{}, "0"},
	} {
		s := opened(t, url, Options{Keep: c.keep})
		var engine string
		if err := s.db.QueryRowContext(t.Context(), `SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'requests'`).Scan(&engine); err != nil {
			t.Fatal(err)
		}
		if found := strings.Contains(engine, c.want); c.want != "0" && !found || c.want == "0" && strings.Contains(engine, "TTL") {
			t.Errorf("%v: %s", c.keep, engine)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
