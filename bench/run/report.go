package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// report is everything that a run has shown, as latest.json has it.
type report struct {
	Machine  machine              `json:"machine"`
	Rounds   int                  `json:"rounds"`
	Duration string               `json:"duration"`
	Self     bool                 `json:"self,omitempty"` // the gateway's place was taken by a second bare proxy
	Rows     []row                `json:"rows"`
	Totals   []total              `json:"totals"`
	Failed   []string             `json:"failed,omitempty"` // scenarios without figures, and why
	Readings map[string][]reading `json:"readings"`
}

// total counts the replies of one scenario through one target.
type total struct {
	Scenario string `json:"scenario"`
	Target   string `json:"target"`
	Sent     int64  `json:"sent"`
	Wrong    int64  `json:"wrong"`
	Lost     int64  `json:"lost"`
	Fault    string `json:"fault,omitempty"`
}

func (p *report) add(s scenario, rs []reading) {
	if p.Readings == nil {
		p.Readings = map[string][]reading{}
	}
	p.Readings[s.Name] = rs
	for _, m := range metrics {
		if m.scenario == s.Name {
			p.Rows = append(p.Rows, m.row(rs))
		}
	}
	for _, name := range targetNames {
		if t := sumUp(s.Name, name, rs); t.Sent > 0 {
			p.Totals = append(p.Totals, t)
		}
	}
}

func sumUp(scenario, target string, rs []reading) total {
	t := total{Scenario: scenario, Target: target}
	for _, r := range rs {
		if r.Target != target {
			continue
		}
		t.Sent, t.Wrong, t.Lost = t.Sent+r.Sent, t.Wrong+r.Wrong, t.Lost+r.Lost
		if t.Fault == "" {
			t.Fault = r.Fault
		}
	}
	return t
}

// faults is an error if a scenario failed or a single reply was lost or wrong: then no other figure means anything.
func (p *report) faults() error {
	var errs []error
	for _, f := range p.Failed {
		errs = append(errs, errors.New(f))
	}
	for _, t := range p.Totals {
		if t.Wrong+t.Lost > 0 {
			errs = append(errs, fmt.Errorf("%s, %s: %d wrong and %d lost of %d: %s", t.Scenario, t.Target, t.Wrong, t.Lost, t.Sent, t.Fault))
		}
	}
	return errors.Join(errs...)
}

// write prints the report and, with a folder, keeps it there.
func (p *report) write(dir string) error {
	var md strings.Builder
	p.markdown(&md)
	fmt.Print(md.String())
	if dir == "" {
		return nil
	}
	js, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "latest.md"), []byte(md.String()), 0o644),
		os.WriteFile(filepath.Join(dir, "latest.json"), append(js, '\n'), 0o644))
}

func (p *report) markdown(w io.Writer) {
	fmt.Fprintf(w, "# Benchmark\n\n%s. Load, simulated provider and proxies share the cores.\n", p.Machine)
	fmt.Fprintf(w, "Medians of %d interleaved rounds of %s; ratios are gateway / bare with the lowest and highest round; CPU is the proxy's own.\n\n",
		p.Rounds, p.Duration)
	if p.Self {
		fmt.Fprint(w, "**In the gateway's place stood a second bare proxy: ratios other than 1 are the rig's own error.**\n\n")
	}
	p.table(w)
	for _, f := range p.Failed {
		fmt.Fprintf(w, "\n**Failed: %s**\n", f)
	}
	fmt.Fprint(w, "\n| scenario | traffic | used of the cores by others |\n|---|---|---:|\n")
	for _, s := range scenarios {
		if rs, ok := p.Readings[s.Name]; ok {
			fmt.Fprintf(w, "| %s | %s | %s |\n", s.Name, s.About, percent(others(rs), s.Held))
		}
	}
	fmt.Fprint(w, "\n| scenario | through | sent | wrong | lost |\n|---|---|---:|---:|---:|\n")
	for _, t := range p.Totals {
		fmt.Fprintf(w, "| %s | %s | %d | %d | %d |\n", t.Scenario, t.Target, t.Sent, t.Wrong, t.Lost)
	}
}

// percent is of no interest for memory, which others' CPU does not change.
func percent(share figure, held bool) string {
	if held {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

func (p *report) table(w io.Writer) {
	fmt.Fprint(w, "| # | scenario | measure | direct | bare | gateway | ratio | target | |\n|---|---|---|---:|---:|---:|---|---|---|\n")
	for _, r := range p.Rows {
		number, target := "", ""
		if r.Number > 0 {
			number, target = fmt.Sprint(r.Number), r.target()
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			number, r.Scenario, r.What, r.Direct, r.Bare, r.Gateway, r.spread(), target, r.Verdict)
	}
}

func (r row) spread() string {
	if math.IsNaN(float64(r.Ratio)) {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f..%.2f)", r.Ratio, r.Min, r.Max)
}

func (r row) target() string {
	switch r.Rule {
	case ratioAtMost:
		return fmt.Sprintf("<= %gx", r.Limit)
	case ratioAtLeast:
		return fmt.Sprintf(">= %gx", r.Limit)
	}
	return fmt.Sprintf("<= %g", r.Limit)
}

// figure is a number that may be missing.
type figure float64

var none = figure(math.NaN())

func (f figure) String() string {
	v := float64(f)
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 1000:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// MarshalJSON writes null for a missing figure, for which JSON has no number.
func (f figure) MarshalJSON() ([]byte, error) {
	if math.IsNaN(float64(f)) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}
