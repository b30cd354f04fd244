package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
)

// The command writes days, says so, and deletes those that it was told to.
func TestUsageExport(t *testing.T) {
	dir := t.TempDir()
	at := "sqlite:" + filepath.Join(dir, "usage.db")
	s, err := store.Open(t.Context(), at, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var records []*usage.Record
	for i := range 4 {
		when := time.Date(2026, 1, 5+i, 23, 59, 59, 0, time.UTC)
		records = append(records, &usage.Record{UID: usage.NewUID(when), Time: when, Tenant: "acme", Model: "chat", Outcome: "ok", Cost: 7, Attempts: []usage.Attempt{
			{Kind: "first", Result: "ok", Begun: 2 * time.Second, Cost: 7}}})
	}
	if err := s.Write(t.Context(), "all", records, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "jarvis.yml")
	if err := os.WriteFile(config, []byte("stores: {usage: '"+at+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "lake")
	for _, try := range []struct{ args, want, told string }{
		{"--since 2026-01-06 --before 2026-01-08 --format jsonl --tables requests,attempts", "4 objects: 4 rows written, ", "2026-01-07 attempts          1 rows"},
		{"--before 2026-01-08 --format jsonl --delete --resume", "9 objects: 5 rows written, ", "2026-01-06 requests          1 rows"},
		{"--format jsonl", "3 objects: 3 rows written, ", "2026-01-08 rollups"},
		{"--since nonsense", `"nonsense" is no time`, ""},
		{"--until today --before today", "--before and --until say the same", ""},
		{"--tables secrets", `unknown table "secrets"`, ""},
		{"--format parquet", "it is there already as jsonl", ""},
	} {
		args := append([]string{"usage", "export", config, "--to", to}, strings.Fields(try.args)...)
		code, out, told := command(t, args...)
		if failed := try.told == ""; !strings.Contains(out+told, try.want) || !strings.Contains(told, try.told) || failed != (code != 0) {
			t.Errorf("%s:\n%s\n%s", try.args, out, told)
		}
	}
	// What begins after midnight is of its request's day.
	for day, there := range map[string]bool{"05": true, "06": true, "07": true, "08": true, "09": false} {
		_, err := os.Stat(filepath.Join(to, "attempts/dt=2026-01-"+day+"/part-00001.jsonl.gz"))
		if (err == nil) != there {
			t.Errorf("attempts of %s: %v", day, err)
		}
	}
}

// What Athena is told of the tables is what is written.
func TestAthena(t *testing.T) {
	for _, format := range []string{"parquet", "jsonl"} {
		compareGolden(t, filepath.Join(configs, "athena", format+".sql"), []byte(athena(format)))
	}
}

const athenaHead = `-- Tables of what jarvis-gateway usage export --format %s has written to s3://BUCKET/PREFIX: put in yours, and run one
-- statement after the other. Partitions are days (UTC), which Athena finds by itself (partition projection): no crawler, no
-- ALTER TABLE. Questions should say WHERE dt BETWEEN '2026-11-01' AND '2026-11-30', and read only those days then.
-- Money is nano-dollars: sum(cost_nano) / 1e9. Attempts are of the day of their request: they are joined by dt and uid.
`

func athena(format string) string {
	types := map[store.Kind]string{store.Text: "string", store.Name: "string", store.List: "array<string>", store.Number: "bigint",
		store.Truth: "boolean", store.Instant: "timestamp", store.Fraction: "double"}
	stored := "STORED AS PARQUET"
	if format == "jsonl" {
		types[store.Instant] = "string"
		stored = "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'"
	}
	var b strings.Builder
	fmt.Fprintf(&b, athenaHead, format)
	if format == "jsonl" {
		b.WriteString("-- Times are texts: from_iso8601_timestamp(\"time\").\n")
	}
	for _, table := range store.Exports() {
		fmt.Fprintf(&b, "\nCREATE EXTERNAL TABLE IF NOT EXISTS jarvis_%s (\n", table)
		columns := store.Columns(table)
		for i, c := range columns {
			fmt.Fprintf(&b, "  `%s` %s%s\n", c.Name, types[c.Kind], ",)"[min(i/(len(columns)-1), 1):][:1])
		}
		fmt.Fprintf(&b, "PARTITIONED BY (`dt` string)\n%s\nLOCATION 's3://BUCKET/PREFIX/%s/'\nTBLPROPERTIES (\n", stored, table)
		fmt.Fprintf(&b, "  'projection.enabled' = 'true',\n  'projection.dt.type' = 'date',\n  'projection.dt.format' = 'yyyy-MM-dd',\n"+
			"  'projection.dt.range' = '2026-01-01,NOW',\n  'storage.location.template' = 's3://BUCKET/PREFIX/%s/dt=${dt}/');\n", table)
	}
	return b.String()
}
