package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rounds makes readings of as many rounds as bare has values.
func rounds(set func(r *reading, v float64), direct, bare, gateway []float64) (out []reading) {
	for name, values := range map[string][]float64{"direct": direct, "bare": bare, "gateway": gateway} {
		for i, v := range values {
			r := reading{Target: name, Round: i + 1, Sent: 10}
			set(&r, v)
			out = append(out, r)
		}
	}
	return out
}

func find(t *testing.T, scenario, what string) metric {
	t.Helper()
	for _, m := range metrics {
		if m.scenario == scenario && m.what == what {
			return m
		}
	}
	t.Fatalf("no metric %s %s", scenario, what)
	return metric{}
}

func TestRows(t *testing.T) {
	cpu := func(r *reading, v float64) { r.CPU = v }
	rate := func(r *reading, v float64) { r.PerSecond = v }
	p50 := func(r *reading, v float64) { r.P50 = v }
	open := func(r *reading, v float64) { r.Open5000 = v }
	for _, c := range []struct {
		name, scenario, what  string
		set                   func(*reading, float64)
		direct, bare, gateway []float64
		bareIs, gatewayIs     float64
		spread, verdict       string
	}{
		// The clock doubles in the second round: the ratio must be of neighbours, not of medians.
		{"neighbours", "small", "CPU us/request", cpu, nil, []float64{10, 20, 10}, []float64{12, 24, 13}, 10, 13, "1.20 (1.20..1.30)", "pass"},
		{"too much CPU", "small", "CPU us/request", cpu, nil, []float64{10, 10}, []float64{13, 14}, 10, 13.5, "1.35 (1.30..1.40)", "miss"},
		{"fast enough", "small", "requests/s", rate, []float64{50}, []float64{100}, []float64{70}, 100, 70, "0.70 (0.70..0.70)", "pass"},
		{"too slow", "small", "requests/s", rate, []float64{50}, []float64{100}, []float64{69}, 100, 69, "0.69 (0.69..0.69)", "miss"},
		{"added", "small-1000", "added p50 us", p50, []float64{100, 200}, []float64{120, 220}, []float64{125, 235}, 20, 30, "1.50 (1.25..1.75)", "pass"},
		{"below the noise", "small-1000", "added p50 us", p50, []float64{100}, []float64{90}, []float64{125}, -10, 25, "-", "unclear"},
		{"memory", "held", "KiB per stream at 5,000", open, nil, []float64{30}, []float64{41}, 30, 41, "1.37 (1.37..1.37)", "miss"},
		{"no gateway", "small", "CPU us/request", cpu, nil, []float64{10}, nil, 10, math.NaN(), "-", ""},
		{"for information", "10k", "requests/s", rate, nil, []float64{100}, []float64{10}, 100, 10, "0.10 (0.10..0.10)", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := find(t, c.scenario, c.what).row(rounds(c.set, c.direct, c.bare, c.gateway))
			if r.Bare != figure(c.bareIs) || r.Gateway.String() != figure(c.gatewayIs).String() {
				t.Errorf("bare %v, gateway %v; want %v, %v", r.Bare, r.Gateway, c.bareIs, c.gatewayIs)
			}
			if r.spread() != c.spread || r.Verdict != c.verdict {
				t.Errorf("%s %q, want %s %q", r.spread(), r.Verdict, c.spread, c.verdict)
			}
		})
	}
}

// Latencies measured while others used the machine get no verdict; CPU does.
func TestDisturbedRows(t *testing.T) {
	rs := []reading{
		{Target: "direct", Round: 1, P50: 100, Others: 0.3},
		{Target: "bare", Round: 1, P50: 110, CPU: 10, Others: 0.3},
		{Target: "gateway", Round: 1, P50: 111, CPU: 11, Others: 0.3},
	}
	if v := find(t, "small-1000", "added p50 us").row(rs).Verdict; v != "disturbed" {
		t.Errorf("latency: %q", v)
	}
	if v := find(t, "small-1000", "CPU us/request").row(rs).Verdict; v != "pass" {
		t.Errorf("CPU: %q", v)
	}
}

// Every scenario has a metric and every metric a scenario.
func TestMetricsAndScenariosMatch(t *testing.T) {
	used := map[string]bool{}
	for _, m := range metrics {
		used[m.scenario] = true
		if (m.number > 0) != (m.rule != "") {
			t.Errorf("%s %s: target %d, rule %q", m.scenario, m.what, m.number, m.rule)
		}
	}
	for _, name := range scenarioNames() {
		if !used[name] {
			t.Errorf("no metric for %s", name)
		}
		delete(used, name)
	}
	if len(used) > 0 {
		t.Errorf("metrics without a scenario: %v", used)
	}
}

func TestReportTellsWhatWentWrong(t *testing.T) {
	dir := t.TempDir()
	p := report{Rounds: 1, Duration: "1s"}
	p.add(scenarios[0], []reading{
		{Target: "bare", Round: 1, Sent: 5, CPU: 10},
		{Target: "gateway", Round: 1, Sent: 5, Lost: 1, CPU: 12, Fault: "reply cut"},
	})
	p.Failed = []string{"held: refused"}
	if err := p.write(dir); err != nil {
		t.Fatal(err)
	}
	err := p.faults()
	if err == nil || !strings.Contains(err.Error(), "1 lost of 5: reply cut") || !strings.Contains(err.Error(), "held: refused") {
		t.Errorf("faults: %v", err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "latest.md"))
	if err != nil || !strings.Contains(string(md), "| 2 | small | CPU us/request | - | 10.0 | 12.0 | 1.20 (1.20..1.20) | <= 1.3x | pass |") ||
		!strings.Contains(string(md), "| small | gateway | 5 | 0 | 1 |") {
		t.Errorf("%v\n%s", err, md)
	}
	js, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	if err != nil || !json.Valid(js) {
		t.Errorf("%v\n%s", err, js)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-scenarios", "held,small", "-only", "direct,bare"})
	if err != nil || o.rounds != 2 || len(o.scenarios) != 2 || len(o.only) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err = parse([]string{"-scenarios", "smal"}); err == nil || !strings.Contains(err.Error(), `unknown scenario "smal" (have: small,`) {
		t.Errorf("error %v", err)
	}
}
