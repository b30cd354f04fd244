package export

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/chdb"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// today is when these tests happen. It is not long ago by the clock of ClickHouse, which forgets hours after a while.
var today = time.Now().UTC().Truncate(lasts)

func uidOf(i int) (u usage.UID) {
	copy(u[:], fmt.Sprintf("%08d%08d", i, i))
	return u
}

// record is the i-th, with every field set to something of its own.
func record(i int, at time.Time) *usage.Record {
	name := func(what string) string { return fmt.Sprint(what, i%3) }
	used := usage.Usage{
		Prompt: 1000 + int64(i), Completion: 11, CachedPrompt: 12, CacheWrite: 13, Reasoning: 14, Audio: 15, Estimated: i%2 == 1,
		Tier: wire.TierFlex, CacheWrite1h: 16, ImageIn: 17, AudioOut: 18, Images: 19, Millis: 20, Characters: 21,
	}
	r := &usage.Record{
		UID: uidOf(i), Time: at, ID: fmt.Sprint("req_", i), Tenant: name("tenant"), Team: name("team"), Key: name("key"), User: "user-" + name("é'\"\\\t"),
		Scene: name("scene"), Tags: []string{"a", name("tag'\"")}[:i%3], Endpoint: "chat", Stream: i%2 == 0, Asked: name("asked"), Model: name("model"),
		Provider: name("provider"), Served: name("served"), Replica: "replica", Region: "region", Route: "route", Rollout: "rollout", Arm: "arm",
		Cache: "miss", Similarity: 0.1 * float64(i), Prompt: "prompt", Corpus: "corpus", Flow: "flow", Usage: used, Cost: math.MaxInt64/1_000_000 + wire.Money(i),
		Saved: 22, Price: "price", Queued: 23 * time.Microsecond, First: 24 * time.Microsecond, Upstream: 25 * time.Microsecond,
		Overhead: 26 * time.Microsecond, Total: 27 * time.Microsecond, Status: 499, Outcome: "ok", Code: "code", Finish: "stop", Gone: i%2 == 0,
		Interrupted: i%2 == 1, In: 28, Out: 29,
	}
	for n := range i%3 + 1 {
		r.Attempts = append(r.Attempts, usage.Attempt{
			Kind: "retry", Provider: "p", Model: "m", Replica: "r", Region: "g", Result: "ok", Begun: time.Duration(n) * time.Second,
			First: 30 * time.Microsecond, Usage: used, Cost: 31,
		})
	}
	if i%5 == 0 {
		r.Content = usage.Content{Asked: "Wer da?", Answered: "日本\n\t"}
	}
	return r
}

// records are spread over a day, in an order that is not that of time.
func records(from, n int, day time.Time) (list []*usage.Record) {
	for i := range n {
		minute := (i * 7919) % (24 * 60)
		list = append(list, record(from+i, day.Add(time.Duration(minute)*time.Minute+time.Duration(i)*time.Microsecond)))
	}
	return list
}

func opinion(i int, at time.Time) *usage.Feedback {
	return &usage.Feedback{
		UID: uidOf(1000 + i), Time: at, Request: fmt.Sprint("req_", i), Of: uidOf(i), Tenant: "t", Key: "k", User: "u", Score: 0.5, Comment: "c",
		Model: "m", Prompt: "p", Rollout: "r", Arm: "a",
	}
}

func opened(t testing.TB, url string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s *store.Store, records []*usage.Record, feedback ...*usage.Feedback) {
	t.Helper()
	if err := s.Write(t.Context(), fmt.Sprint(len(records), records[0].UID), records, feedback); err != nil {
		t.Fatal(err)
	}
}

// both runs a test with either database, which is empty.
func both(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, opened(t, "sqlite:"+filepath.Join(t.TempDir(), "usage.db"))) })
	t.Run("clickhouse", func(t *testing.T) { test(t, opened(t, emptyHouse(t))) })
}

var (
	engineDir string
	databases atomic.Int64
)

// house is the one ClickHouse engine that the tests share.
var house = sync.OnceValues(func() (s *chdb.Server, err error) {
	if engineDir, err = os.MkdirTemp("", "export-chdb-"); err != nil {
		return nil, err
	}
	return chdb.Run(engineDir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if engineDir != "" {
		if s, err := house(); err == nil {
			s.Kill()
		}
		_ = os.RemoveAll(engineDir)
	}
	os.Exit(code)
}

// emptyHouse is the URL of a database that is not there yet.
func emptyHouse(t testing.TB) string {
	t.Helper()
	s, err := house()
	if errors.Is(err, chdb.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(s.URL, "/default", fmt.Sprint("/base", databases.Add(1)), 1)
}

func run(t testing.TB, s *store.Store, o Options) Summary {
	t.Helper()
	sum, err := Run(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// tree is what a folder holds: names and contents.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func names(files map[string]string) (list []string) {
	for name := range files {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// ask has the ClickHouse engine, which reads Parquet and JSON with code of its own, answer a question.
func ask(t testing.TB, engine, query string) string {
	t.Helper()
	u, err := url.Parse(strings.TrimPrefix(engine, "clickhouse+"))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/"
	res, err := http.Post(u.String(), "text/plain", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %s", query, res.Status, err, text)
	}
	return strings.TrimSpace(string(text))
}

// What an independent reader finds in the Parquet files is what the records are, value by value, and what the JSON lines say.
func TestReadBack(t *testing.T) {
	engine := emptyHouse(t)
	both(t, func(t *testing.T, s *store.Store) {
		first, second := records(0, 300, today.Add(-3*lasts)), records(300, 200, today.Add(-2*lasts))
		write(t, s, first, opinion(1, today.Add(-3*lasts)), opinion(2, today.Add(-2*lasts).Add(time.Hour)))
		write(t, s, second)
		write(t, s, records(500, 10, today)) // not over yet
		dir, lines := t.TempDir(), t.TempDir()
		tables := store.Exports()
		sum := run(t, s, Options{To: dir, Format: "parquet", Tables: tables, now: today.Add(time.Hour)})
		run(t, s, Options{To: lines, Format: "jsonl", Tables: tables, now: today.Add(time.Hour)})
		if sum.Objects != 10 || sum.Rows < 500+300*2 || sum.Deleted != 0 {
			t.Errorf("%+v", sum)
		}
		var cost, tokens, attempts int64
		for _, r := range slices.Concat(first, second) {
			cost += int64(r.Cost)
			tokens += r.Usage.Prompt
			attempts += int64(len(r.Attempts))
		}
		want := fmt.Sprintf("500\t%d\t%d\t%d", cost, tokens, attempts)
		file := func(table string) string { return "file('" + dir + "/" + table + "/dt=*/*.parquet', Parquet)" }
		if got := ask(t, engine, "SELECT count(), sum(cost_nano), sum(prompt_tokens), sum(attempts) FROM "+file("requests")); got != want {
			t.Errorf("requests %s, want %s", got, want)
		}
		if got := ask(t, engine, "SELECT sum(requests), sum(cost_nano), sum(prompt_tokens), sum(attempts) FROM "+file("rollups")); got != want {
			t.Errorf("rollups %s, want %s", got, want)
		}
		if got := ask(t, engine, "SELECT count(), sum(cost_nano) FROM "+file("attempts")); got != fmt.Sprintf("%d\t%d", attempts, 31*attempts) {
			t.Errorf("attempts %s, want %d", got, attempts)
		}
		for _, table := range tables {
			sameRows(t, engine, table, dir, lines)
		}
		sameRecords(t, lines, slices.Concat(first, second))
	})
}

// sameRows compares each row of the Parquet files with the JSON lines.
func sameRows(t *testing.T, engine, table, dir, lines string) {
	t.Helper()
	var list []string
	for _, c := range store.Columns(table) {
		if c.Kind == store.Instant {
			list = append(list, "formatDateTime(`"+c.Name+"`, '%Y-%m-%dT%H:%i:%S.%fZ') AS `"+c.Name+"`")
		} else {
			list = append(list, "`"+c.Name+"`")
		}
	}
	query := "SELECT " + strings.Join(list, ", ") + " FROM file('" + dir + "/" + table + "/dt=*/*.parquet', Parquet)" +
		" SETTINGS output_format_json_quote_64bit_integers = 0 FORMAT JSONEachRow"
	got, want := decoded(t, strings.NewReader(ask(t, engine, query))), linesOf(t, lines, table)
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("%s: %d rows in Parquet, %d in JSON", table, len(got), len(want))
		for row := range got {
			if want[row] == 0 {
				t.Fatalf("only in Parquet: %s", row)
			}
		}
	}
}

// linesOf are the rows of a table that were written as JSON lines, and how often each is there.
func linesOf(t *testing.T, dir, table string) map[string]int {
	t.Helper()
	rows := map[string]int{}
	for name, text := range tree(t, filepath.Join(dir, table)) {
		if !strings.HasSuffix(name, ".jsonl.gz") {
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for row, n := range decoded(t, z) {
			rows[row] += n
		}
	}
	return rows
}

// decoded are rows with their fields in order. Only fractions may be written in several ways.
func decoded(t *testing.T, r io.Reader) map[string]int {
	t.Helper()
	rows := map[string]int{}
	in := bufio.NewScanner(r)
	for in.Scan() {
		d := json.NewDecoder(bytes.NewReader(in.Bytes()))
		d.UseNumber()
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			t.Fatalf("%v: %s", err, in.Text())
		}
		for name, v := range row {
			if n, ok := v.(json.Number); ok && (name == "similarity" || name == "score") {
				row[name], _ = n.Float64()
			}
		}
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		rows[string(text)]++
	}
	if in.Err() != nil {
		t.Fatal(in.Err())
	}
	return rows
}

// sameRecords compares JSON lines with the records they were made of.
func sameRecords(t *testing.T, dir string, records []*usage.Record) {
	t.Helper()
	rows := map[string]gjson.Result{}
	for row := range linesOf(t, dir, "requests") {
		rows[gjson.Get(row, "uid").String()] = gjson.Parse(row)
	}
	if len(rows) != len(records) {
		t.Errorf("%d rows, want %d", len(rows), len(records))
	}
	for _, r := range records {
		row := rows[r.UID.String()]
		tags, _ := json.Marshal(append([]string{}, r.Tags...))
		got := fmt.Sprintln(row.Get("time"), row.Get("user"), row.Get("tags"), row.Get("cost_nano").Int(), row.Get("similarity").Float(), row.Get("gone"), row.Get("status"), row.Get("tier"))
		want := fmt.Sprintln(r.Time.Format("2006-01-02T15:04:05.000000Z"), r.User, string(tags), int64(r.Cost), r.Similarity, r.Gone, r.Status, "flex")
		if got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}

// The same records make the same bytes, again and from either database. What is resumed is left alone.
func TestTwice(t *testing.T) {
	trees := map[string]map[string]string{}
	for _, format := range []string{"parquet", "jsonl"} {
		both(t, func(t *testing.T, s *store.Store) {
			write(t, s, records(0, 300, today.Add(-2*lasts)), opinion(1, today.Add(-2*lasts)))
			dir, o := t.TempDir(), Options{Format: format, now: today}
			o.To = dir
			run(t, s, o)
			first := tree(t, dir)
			if got := names(first); len(got) != 8 {
				t.Errorf("%q", got)
			}
			if trees[format] == nil {
				trees[format] = first
			} else if !maps.Equal(first, trees[format]) {
				t.Error("the databases differ")
			}
			o.Resume = true
			if sum := run(t, s, o); sum.Rows != 0 || sum.Objects != 4 || !maps.Equal(tree(t, dir), first) {
				t.Errorf("resumed: %+v", sum)
			}
			o.Resume = false
			if sum := run(t, s, o); sum.Objects != 4 || sum.Rows < 300 || !maps.Equal(tree(t, dir), first) {
				t.Errorf("again: %+v", sum)
			}
			o.Resume = true
			write(t, s, records(300, 1, today.Add(-2*lasts))) // late
			if sum := run(t, s, o); sum.Rows < 301 || maps.Equal(tree(t, dir), first) {
				t.Errorf("with a late record: %+v", sum)
			}
			o.Format = map[string]string{"parquet": "jsonl", "jsonl": "parquet"}[format]
			if _, err := Run(t.Context(), s, o); err == nil || !strings.Contains(err.Error(), "it is there already as "+format) {
				t.Errorf("in another format: %v", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	s := opened(t, "sqlite::memory:")
	for want, o := range map[string]Options{
		`format: "csv" is neither parquet nor jsonl`: {To: t.TempDir(), Format: "csv"},
		`tables: unknown table "secrets"`:            {To: t.TempDir(), Format: "jsonl", Tables: []string{"secrets"}},
		`delete: requests and attempts go together`:  {To: t.TempDir(), Format: "jsonl", Tables: []string{"requests"}, Delete: true},
		`to: "" is neither`:                          {Format: "jsonl"},
		`to: "gs://b" is neither`:                    {To: "gs://b", Format: "jsonl"},
		`to: no bucket`:                              {To: "s3:///x", Format: "jsonl"},
	} {
		if _, err := Run(t.Context(), s, o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
