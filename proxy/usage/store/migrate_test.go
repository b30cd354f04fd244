package store

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	files "jarvis-gateway/configs/clickhouse"
)

func TestMigrate(t *testing.T) { both(t, testMigrate) }

func testMigrate(t *testing.T, url string) {
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pending, err := s.Pending(t.Context())
	if want := []string{"0001_records", "0002_rollups"}; err != nil || s.clickhouse && !slices.Equal(pending, want) || !s.clickhouse && len(pending) > 0 {
		t.Errorf("pending %v, %v", pending, err)
	}
	var group sync.WaitGroup
	for range 4 { // gateways that start together
		group.Go(func() {
			other, err := Open(t.Context(), url, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer other.Close()
			if err := other.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	list := records(0, 10, noon)
	write(t, s, "a", list)
	if err := s.Migrate(t.Context()); err != nil {
		t.Error(err)
	}
	if pending, err := s.Pending(t.Context()); err != nil || len(pending) > 0 {
		t.Errorf("pending %v, %v", pending, err)
	}
	s.expect(t, 0, list)
}

// What a newer gateway has made is left alone.
func TestNewer(t *testing.T) { both(t, testNewer) }

func testNewer(t *testing.T, url string) {
	s := opened(t, url, Options{})
	if _, err := s.db.ExecContext(t.Context(), `INSERT INTO migrations (version, name, applied) VALUES (99, '0099_later', 0)`); err != nil {
		t.Fatal(err)
	}
	const want = "made by a newer gateway"
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if _, err := s.Pending(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	if !s.clickhouse {
		if again, err := Open(t.Context(), url, Options{}); err == nil {
			again.Close()
			t.Error("opened")
		}
	}
}

// A migration that fails half-way is done when it is tried again.
func TestMigrateAgain(t *testing.T) { both(t, testMigrateAgain) }

func testMigrateAgain(t *testing.T, url string) {
	s := opened(t, url, Options{})
	next := migration{3, "0003_next", []string{`CREATE TABLE IF NOT EXISTS half AS SELECT * FROM migrations`, `CREATE NONSENSE`}}
	if s.clickhouse {
		next.statements[0] = `CREATE TABLE IF NOT EXISTS half (version UInt32) ENGINE = MergeTree ORDER BY version`
	}
	if err := s.apply(t.Context(), next); err == nil {
		t.Fatal("applied nonsense")
	}
	if version, err := s.version(t.Context()); version >= 3 || err != nil {
		t.Fatalf("version %d, %v", version, err)
	}
	next.statements = next.statements[:1]
	for range 2 {
		if err := s.apply(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	if version, err := s.version(t.Context()); version != 3 || err != nil {
		t.Errorf("version %d, %v", version, err)
	}
}

func TestFilesOfMigrations(t *testing.T) {
	list, err := migrations(fstest.MapFS{
		"0001_a.sql": {Data: []byte("-- x;\nCREATE a\n(\n  -- y\n  b ';'\n);\n\nCREATE c;")},
		"0002_b.sql": {Data: []byte("CREATE d\r\n")},
		"tiers.sql":  {Data: []byte("no")},
	})
	want := "[{1 0001_a [CREATE a\n(\n  b ';'\n) CREATE c]} {2 0002_b [CREATE d]}]"
	if got := fmt.Sprint(list); got != want || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := migrations(fstest.MapFS{"0002_a.sql": {}}); err == nil {
		t.Error("a missing file was not missed")
	}
}

// The tables have the columns that are read, in the same order; those that are written are as wide.
func TestFilesHaveTheColumns(t *testing.T) {
	house, lite := firstFile(t, files.Files), opened(t, "sqlite::memory:", Options{})
	checkFile(t, house, lite, requestsTable())
	checkFile(t, house, lite, attemptsTable())
	checkFile(t, house, lite, feedbackTable())
	checkFile(t, house, lite, contentsTable())
	for table, want := range map[string][]string{
		"records": recordColumns, "callers": callerColumns, "ways": wayColumns, "further_attempts": names(further().columns),
	} {
		got := slices.DeleteFunc(lite.columnsOf(t, table), func(name string) bool { return name == "seen" || name+"s" == table })
		if !slices.Equal(got, want) {
			t.Errorf("%s in sqlite:\n%q, want\n%q", table, got, want)
		}
	}
}

func firstFile(t *testing.T, files fs.FS) string {
	list, err := migrations(files)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list[0].statements, ";\n")
}

func checkFile[R any](t *testing.T, house string, lite *Store, table table[R]) {
	t.Helper()
	var inHouse []string
	for _, c := range table.columns {
		inHouse = append(inHouse, quoted(c.name)+" "+c.house)
	}
	if got := columnsOf(t, house, table.name); !slices.Equal(got, inHouse) {
		t.Errorf("%s in configs/clickhouse:\n%q, want\n%q", table.name, got, inHouse)
	}
	got := slices.DeleteFunc(lite.columnsOf(t, table.name), func(name string) bool { return name == "spot" || name == "record" || name == "arrived" })
	if want := names(table.columns); !slices.Equal(got, want) {
		t.Errorf("%s in sqlite:\n%q, want\n%q", table.name, got, want)
	}
}

// columnsOf are the columns of a table or view in SQLite.
func (s *Store) columnsOf(t *testing.T, table string) (list []string) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), `SELECT name FROM pragma_table_info(?)`, table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}

func columnsOf(t *testing.T, text, table string) (list []string) {
	t.Helper()
	_, rest, ok := strings.Cut(text, " "+table+"\n(\n")
	if !ok {
		if _, rest, ok = strings.Cut(text, "TABLE "+table+" (\n"); !ok {
			t.Fatalf("there is no table %s", table)
		}
	}
	rest, _, _ = strings.Cut(rest, "\n)")
	for line := range strings.Lines(rest) {
		if line = strings.Join(strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), ",")), " "); strings.HasPrefix(line, `"`) {
			list = append(list, line)
		}
	}
	return list
}

// The tables in ClickHouse are of the types and codecs that columns.go says.
func TestTablesHaveTheColumns(t *testing.T) {
	s := opened(t, emptyHouse(t), Options{})
	checkTable(t, s, requestsTable())
	checkTable(t, s, attemptsTable())
	checkTable(t, s, feedbackTable())
	checkTable(t, s, contentsTable())
}

func checkTable[R any](t *testing.T, s *Store, table table[R]) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), `SELECT name, trimRight(type || ' ' || compression_codec) FROM system.columns
		WHERE database = currentDatabase() AND table = ? ORDER BY position`, table.name)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	i := 0
	for ; rows.Next(); i++ {
		var name, house string
		if err := rows.Scan(&name, &house); err != nil {
			t.Fatal(err)
		}
		if want := table.columns[i]; name != want.name || house != want.house {
			t.Errorf("%s: %s %s, want %s %s", table.name, name, house, want.name, want.house)
		}
	}
	if err := rows.Err(); err != nil || i != len(table.columns) {
		t.Errorf("%s has %d columns, %v", table.name, i, err)
	}
}

// On a cluster every table is made on all servers, and is replicated.
func TestCluster(t *testing.T) {
	e, err := parseHouse(`clickhouse://u:p@h:9000/usage?cluster=main`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := migrations(files.Files)
	if err != nil {
		t.Fatal(err)
	}
	alone := opened(t, emptyHouse(t), Options{})
	for _, m := range list {
		for _, statement := range m.statements {
			got := e.onCluster(statement)
			if strings.Count(got, ` ON CLUSTER "main"`) != 1 || strings.Contains(statement, "\nENGINE") && !regexp.MustCompile(`(?m)^ENGINE = Replicated\w*MergeTree`).MatchString(got) {
				t.Errorf("%s", got)
			}
			if strings.Contains(statement, "MergeTree\n") && !strings.Contains(statement, "TABLE IF NOT EXISTS migrations") &&
				(!strings.Contains(got, " replicated_deduplication_window_seconds = 604800") || strings.Contains(got, "non_")) {
				t.Errorf("%s", got)
			}
			var formatted string
			if err := alone.db.QueryRowContext(t.Context(), `SELECT formatQuery(?)`, got).Scan(&formatted); err != nil {
				t.Error(err)
			}
		}
	}
	if n := alone.number(t, `SELECT count(*) FROM system.merge_tree_settings WHERE name IN ('replicated_deduplication_window', 'replicated_deduplication_window_seconds')`); n != 2 {
		t.Errorf("%d settings are known", n)
	}
	for _, statement := range []string{`CREATE DATABASE IF NOT EXISTS "usage"`, `ALTER TABLE requests REMOVE TTL`} {
		if got := e.onCluster(statement); !strings.Contains(got, ` ON CLUSTER "main"`) {
			t.Error(got)
		}
	}
	if got := (&Store{cluster: e.cluster}).from("requests"); got != `cluster('main', currentDatabase(), requests)` {
		t.Error(got)
	}
}
