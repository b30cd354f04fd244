package policy

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"600/m": {Amount: 600, Per: "m"}, "200k/m": {Amount: 200_000, Per: "m"}, "20M/d": {Amount: 20_000_000, Per: "d"},
		"1.5k/h": {Amount: 1500, Per: "h"}, "300M / month": {Amount: 300_000_000, Per: "month"},
	} {
		if got, err := parseRate(text, false); err != nil || got.Amount != want.Amount || got.Per != want.Per {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]wire.Money{"$50/d": 50 * wire.Dollar, "$0.000000001/d": 1, "$1k/month": 1000 * wire.Dollar, "0.25/d": wire.Dollar / 4} {
		if got, err := parseRate(text, true); err != nil || got.Amount != int64(want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"600": "no limit over time", "600/week": `unknown period "week" (choices: s, m, h, d, month)`, "0/m": "more than 0", "-1/m": "no limit over time",
		"0.5/m": "no limit over time", "1e3/m": "no limit over time", "9999999999999999999/m": "no limit over time", "/m": "no limit over time", "NaN/m": "no limit over time",
	} {
		if _, err := parseRate(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := parseRate("$0.0000000001/d", true); err == nil {
		t.Error("less than a nano-dollar is accepted")
	}
}

// What is written reads as the same limit.
func FuzzRate(f *testing.F) {
	for _, seed := range []string{"600/m", "$50/d", "{limit: 200k/m, models: [a, b*], algorithm: token_bucket, burst: 10, on_exceed: {downgrade: x}}", "{limit: $1/month, models: a}"} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, money bool) {
		read := func(text string) (Rate, error) {
			var r Rate
			var s SpendRate
			if !money {
				return r, yaml.Unmarshal([]byte(text), &r)
			}
			err := yaml.Unmarshal([]byte(text), &s)
			return Rate(s), err
		}
		r, err := read(text)
		if err != nil || r.Amount == 0 { // or an empty document
			return
		}
		if r.Amount < 1 || r.Burst < 0 {
			t.Fatalf("%q is %+v", text, r)
		}
		written, err := yaml.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := read(string(written))
		if err != nil || again.String() != r.String() || again.Burst != r.Burst || again.Algorithm != r.Algorithm || len(again.Models) != len(r.Models) || again.OnExceed != r.OnExceed {
			t.Fatalf("%q is %+v, written %q, read again %+v, %v", text, r, written, again, err)
		}
	})
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"previous_response_id": "r", "input":[{"type":"input_image","file_id":"f"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m := scan(raw); m.elsewhere < 0 || m.elsewhere > int64(len(raw))*document {
			t.Fatalf("%+v", m)
		}
	})
}
