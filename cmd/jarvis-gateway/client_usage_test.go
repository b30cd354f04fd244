package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// usageEnds is a time after all that was recorded.
const usageEnds = "2026-03-19T12:00:00Z"

// keepsUsage is the private port of a gateway with a few records, to which the commands of the test are pointed.
func keepsUsage(t *testing.T) {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "usage.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := admin.New(admin.Setup{Metrics: prometheus.NewRegistry(), Ready: func() error { return nil }, Log: slog.New(slog.DiscardHandler), Usage: s,
		Limits: func(_ context.Context, tenant string) ([]admin.Standing, error) {
			return []admin.Standing{{ID: "1", Tenant: tenant, Unit: "spend", Text: "$50/month", Limit: 50e9, Free: 12_500_000_000}}, nil
		}})
	go port.Serve(ln)
	t.Cleanup(func() { port.Shutdown(context.Background()); s.Close() })
	t.Setenv("JARVIS_ADMIN", "http://"+ln.Addr().String())
	t.Setenv("JARVIS_ADMIN_KEY", "")
	var records []*usage.Record
	for i, r := range []usage.Record{
		{Tenant: "租户甲", Model: "chat", Outcome: "ok", Cost: 12_345_678, Total: 1234 * time.Millisecond, Stream: true, First: 321 * time.Millisecond, Usage: usage.Usage{Prompt: 1000, Completion: 50}},
		{Tenant: "租户甲", Model: "chat", Outcome: "timeout", Total: 75 * time.Second, Cost: 5},
		{Tenant: "acme", Model: "embed", Outcome: "ok", Cost: 3 * wire.Dollar, Saved: wire.Dollar / 8, Cache: "exact", Total: 2500 * time.Microsecond, Usage: usage.Usage{Prompt: 7}},
		{Tenant: "e\u0301=\x1b[2J", Model: "", Outcome: "ok", Total: 80 * time.Microsecond},
	} {
		r.Time = time.Date(2026, 3, 19, 10, i, 0, 0, time.UTC)
		r.UID, r.ID, r.Key, r.Provider = usage.UID{1, 2, 3, byte(i)}, "req_"+string(rune('a'+i)), "main", "sim"
		records = append(records, &r)
	}
	for back := 1; back < 60; back++ {
		cost := 2 * wire.Dollar
		if back == 2 {
			cost = 90 * wire.Dollar
		}
		at := time.Date(2026, 3, 19-back, 9, 0, 0, 0, time.UTC)
		records = append(records, &usage.Record{UID: usage.UID{9, byte(back)}, Time: at, Tenant: "acme", Outcome: "ok", Cost: cost})
	}
	if err := s.Write(t.Context(), "all", records, []*usage.Feedback{{UID: usage.UID{7}, Time: time.Date(2026, 3, 19, 11, 0, 0, 0, time.UTC), Of: records[0].UID, Tenant: "租户甲", Score: -0.5}}); err != nil {
		t.Fatal(err)
	}
}

// What the commands print, to the letter: columns stay below each other also under wide letters and under none.
func TestUsageCommands(t *testing.T) {
	keepsUsage(t)
	for _, try := range []struct{ args, want string }{
		{"usage --by tenant,model --since 2026-03-19", `
TENANT     MODEL  REQUESTS  ERRORS  ERROR_RATE  PROMPT  COMPLETION     COST   SAVED  CACHE_HITS     P50    P95    P99  FIRST_P50  FIRST_P95  RATED   SCORE
acme       embed         1       0        0.0%       7           0  $3.0000  $0.125      100.0%   2.5ms  2.5ms  2.5ms          -          -      0       -
租户甲     chat          2       1       50.0%    1000          50  $0.0123  $0.000        0.0%  1.234s  1m15s  1m15s      321ms      321ms      1  -0.500
é=\x1b[2J  -             1       0        0.0%       0           0  $0.0000  $0.000        0.0%    80µs   80µs   80µs          -          -      0       -
total                    4       1       25.0%    1007          50  $3.0123  $0.125      100.0%   2.5ms  1m15s  1m15s      321ms      321ms      1  -0.500
`},
		{"usage --since 2026-03-19 --where tenant=acme", `
REQUESTS  ERRORS  ERROR_RATE  PROMPT  COMPLETION   COST   SAVED  CACHE_HITS    P50    P95    P99
       1       0        0.0%       7           0  $3.00  $0.125      100.0%  2.5ms  2.5ms  2.5ms
`},
		{"usage --by day --since 2026-03-17 --where tenant=acme --order requests --desc=false", `
DAY         REQUESTS  ERRORS  ERROR_RATE  PROMPT  COMPLETION    COST   SAVED  CACHE_HITS    P50    P95    P99
2026-03-17         1       0        0.0%       0           0  $90.00  $0.000        0.0%      -      -      -
2026-03-18         1       0        0.0%       0           0   $2.00  $0.000        0.0%      -      -      -
2026-03-19         1       0        0.0%       7           0   $3.00  $0.125      100.0%  2.5ms  2.5ms  2.5ms
total              3       0        0.0%       7           0  $95.00  $0.125      100.0%      -  2.5ms  2.5ms
`},
		{"usage forecast --by tenant", `
TENANT     MONTH        SPENT  EXPECTED        LOW      HIGH  KNOWN          BUDGETS_LEFT
acme       2026-03  $127.0000  $174.000  $158.4437  $189.556  56d, weekdays  $12.5 of $50/month
租户甲     2026-03    $0.0123    $0.321    $0.0123    $0.630  0d, pace       $12.5 of $50/month
é=\x1b[2J  2026-03    $0.0000    $0.000    $0.0000    $0.000  0d, pace       $12.5 of $50/month
`},
		{"usage anomalies --by tenant", `
BEGIN                 TENANT    COST  USUAL    AWAY  REQUESTS
2026-03-17T00:00:00Z  acme    $90.00  $2.00  +440.0         1
`},
		{"usage requests --limit 2", `
TIME                  REQUEST_ID  TENANT     KEY   MODEL  PROVIDER  OUTCOME  PROMPT  COMPLETION   COST  FIRST  TOTAL
2026-03-19T10:03:00Z  req_d       é=\x1b[2J  main  -      sim       ok            0           0  $0.00      -   80µs
2026-03-19T10:02:00Z  req_c       acme       main  embed  sim       ok            7           0  $3.00      -  2.5ms
`},
		{"usage --by tenant --since 2026-03-19 --where tenant=acme --format csv", `
tenant,requests,errors,error_rate,interrupted,client_gone,fallbacks,retries,prompt_tokens,completion_tokens,cached_tokens,cache_write_tokens,reasoning_tokens,estimated,cost_usd,saved_usd,cache_hits,cache_misses,cache_hit_rate,total_p50_ms,total_p95_ms,total_p99_ms,first_token_p50_ms,first_token_p95_ms,feedback,score
acme,1,0,0,0,0,0,0,7,0,0,0,0,0,3,0.125,1,0,1,2.5,2.5,2.5,,,0,
`},
	} {
		if out, _ := ran(t, append(strings.Fields(try.args), "--until", usageEnds)...); out != strings.TrimPrefix(try.want, "\n") {
			t.Errorf("%s\n got\n%s\nwant%s", try.args, out, try.want)
		}
	}
	for _, args := range []string{"usage --format json", "usage --json", "usage forecast --json", "usage anomalies --json --unit hour", "usage requests --json"} {
		if out, _ := ran(t, append(strings.Fields(args), "--until", usageEnds)...); !gjson.Valid(out) || gjson.Get(out, "object").String() == "" {
			t.Errorf("%s: %s", args, out)
		}
	}
	_, hint := ran(t, "usage", "--by", "tenant", "--limit", "1", "--until", usageEnds)
	if !strings.Contains(hint, "--limit") {
		t.Errorf("rows are left out without a word: %q", hint)
	}
}

func TestUsageCommandsThatAreWrong(t *testing.T) {
	keepsUsage(t)
	for args, want := range map[string]string{
		"usage --where tenant":            "--where",
		"usage --where tennant=x":         "where.tennant: unknown name",
		"usage --by tenant;drop":          "by: unknown group",
		"usage --format xml":              "--format",
		"usage --since yesterday":         "since",
		"usage nonsense":                  "nonsense",
		"usage requests --uid 1":          "uid",
		"usage anomalies --unit minute":   "unit",
		"usage forecast --by tenant,team": "by",
	} {
		if code, _, stderr := command(t, strings.Fields(args)...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestAmounts(t *testing.T) {
	for list, want := range map[string]string{
		"[3, 120]": "$3.00 $120.00", "[0]": "$0.00", "[0.5, 0.0012345]": "$0.50000 $0.00123", "[0.000000001]": "$0.000000001", "[1.995, 1.994]": "$2.00 $1.99",
		"[9000000000]": "$9000000000.00", "[0.999999999, 100]": "$1.000 $100.000",
	} {
		values := gjson.Parse(list).Array()
		var got []string
		for _, v := range values {
			got = append(got, amounts(values)(v))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", list, strings.Join(got, " "), want)
		}
	}
}
