package chdb

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// plain is the URL for other clients than the driver.
func plain(url string) string {
	return strings.TrimPrefix(strings.TrimSuffix(url, "default"), "clickhouse+")
}

func ask(t *testing.T, url string, body io.Reader, headers ...string) (status int, answer, code string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header.Get("X-ClickHouse-Exception-Code")
}

// Queries as dashboards and scripts send them.
func TestHTTP(t *testing.T) {
	url := plain(Start(t))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("SELECT 6 * 7"))
	_ = z.Close()
	for _, c := range []struct {
		query, body, want string
		headers           []string
	}{
		{query: "?query=SELECT%201", want: "1\n"},
		{body: "SELECT 1 AS a FORMAT JSONEachRow", want: `{"a":1}` + "\n"},
		{query: "?default_format=CSV", body: "SELECT 'x', 2", want: "\"x\",2\n"},
		{body: "SELECT 'x', 2", want: "\"x\",2\n", headers: []string{"X-ClickHouse-Format", "CSV"}},
		{body: zipped.String(), want: "42\n", headers: []string{"Content-Encoding", "gzip"}},
		{query: "?param_n=7", body: "SELECT {n:Int64} + 1", want: "8\n"},
		{query: "?max_result_rows=1&database=system", body: "SELECT count() > 0 FROM tables", want: "1\n"},
		{body: "SELECT getSetting('max_result_rows')", want: "0\n"}, // settings are of one query
		{query: "ping", want: "Ok.\n"},
		{want: "Ok.\n"},
		{body: "CREATE TABLE t (n Int64, s String) ENGINE = MergeTree ORDER BY n"},
		{query: "?query=INSERT%20INTO%20t%20(n,%20s)%20FORMAT%20CSV", body: "1,\"it's\"\n2,b\n"},
		{body: "SELECT n, s FROM t ORDER BY n", want: "1\tit\\'s\n2\tb\n"},
	} {
		if status, got, _ := ask(t, url+c.query, strings.NewReader(c.body), c.headers...); status != http.StatusOK || got != c.want {
			t.Errorf("%s %s: %d %q, want %q", c.query, c.body, status, got, c.want)
		}
	}
	status, answer, code := ask(t, url, strings.NewReader("SELECT * FROM nothing"))
	if status == http.StatusOK || code != "60" || !strings.Contains(answer, "UNKNOWN_TABLE") {
		t.Errorf("%d %s %s", status, code, answer)
	}
}

// What was answered is there after a kill -9.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		s := StartAt(t, dir)
		o, err := clickhouse.ParseDSN(strings.TrimPrefix(s.URL, "clickhouse+"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := clickhouse.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS t (n Int64) ENGINE = MergeTree ORDER BY n"); err != nil {
			t.Fatal(err)
		}
		var n uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM t").Scan(&n); err != nil || n != uint64(round) {
			t.Fatalf("%d rows, %v", n, err)
		}
		if err := conn.Exec(ctx, "INSERT INTO t (n) VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		s.Kill()
		s.Kill()
	}
}

// Whoever has no engine is told how to get one.
func TestMissing(t *testing.T) {
	t.Setenv("JARVIS_CHDB", t.TempDir()+"/libchdb.so")
	if _, err := Run(t.TempDir()); !errors.Is(err, ErrMissing) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
