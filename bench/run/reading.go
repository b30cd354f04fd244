package main

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"jarvis-gateway/bench/load"
)

// reading is what one measurement of one target showed.
type reading struct {
	Target    string  `json:"target"`
	Round     int     `json:"round"`
	CPU       float64 `json:"cpu_us,omitempty"`        // microseconds per request, of streams per event
	PerSecond float64 `json:"per_second"`              // requests, of streams events
	P50       float64 `json:"p50_us"`                  // of latency, of streams until the first token
	P99       float64 `json:"p99_us"`                  //
	Idle      float64 `json:"idle_mib,omitempty"`      // memory before the first request
	IdleOwn   float64 `json:"idle_own_mib,omitempty"`  // what of it is not mapped from files
	Open1000  float64 `json:"open_1000_kib,omitempty"` // memory per open stream
	Open5000  float64 `json:"open_5000_kib,omitempty"`
	Others    float64 `json:"others"` // share of the cores that other processes used during the round
	Sent      int64   `json:"sent"`
	Wrong     int64   `json:"wrong"`
	Lost      int64   `json:"lost"`
	Fault     string  `json:"fault,omitempty"` // the first wrong or lost reply
}

// tally gathers a round's turns of one target.
type tally struct {
	cpu      time.Duration
	sum      *load.Result
	p50, p99 [2][]float64 // of latency and of the first token, by turn
}

func (y *tally) run(ctx context.Context, t target, l *load.Load, d time.Duration) error {
	before, err := t.cpu()
	if err != nil {
		return err
	}
	res := l.Run(ctx, d)
	after, err := t.cpu()
	if err != nil {
		return err
	}
	if y.sum == nil {
		y.sum = load.New()
	}
	y.sum.Add(res)
	y.cpu += after - before
	for i, h := range []*hdrhistogram.Histogram{res.Latency, res.First} {
		y.p50[i] = append(y.p50[i], float64(h.ValueAtQuantile(50)))
		y.p99[i] = append(y.p99[i], float64(h.ValueAtQuantile(99)))
	}
	return ctx.Err()
}

// reading takes CPU and rate over the whole round. Percentiles are the median of the turns': what disturbed a single
// turn, another process say, would otherwise be the whole round's p99.
func (y *tally) reading(target string, stream bool) reading {
	units, i := y.sum.OK, 0
	if stream {
		units, i = y.sum.Events, 1
	}
	r := reading{Target: target, Sent: y.sum.Sent, Wrong: y.sum.Wrong, Lost: y.sum.Lost}
	r.CPU = float64(y.cpu.Nanoseconds()) / 1e3 / float64(max(units, 1))
	r.PerSecond = float64(units) / y.sum.Elapsed.Seconds()
	r.P50, r.P99 = float64(median(y.p50[i])), float64(median(y.p99[i]))
	if y.sum.Fault != nil {
		r.Fault = y.sum.Fault.Error()
	}
	return r
}

// cpu is 0 for the provider itself, so that its readings carry none.
func (t target) cpu() (time.Duration, error) {
	if t.process == 0 {
		return 0, nil
	}
	return t.process.CPU()
}

func (r reading) String() string {
	s := fmt.Sprintf("%-8s %8.2f us CPU %9.0f/s  p50 %6.0f p99 %6.0f us", r.Target, r.CPU, r.PerSecond, r.P50, r.P99)
	if r.Open5000 > 0 {
		s = fmt.Sprintf("%-8s idle %.1f MiB, %.1f of its own, per stream %.1f KiB at 1,000, %.1f KiB at 5,000", r.Target, r.Idle, r.IdleOwn, r.Open1000, r.Open5000)
	}
	if r.Others > calm {
		s += fmt.Sprintf("  (others use %.0f %%)", 100*r.Others)
	}
	if r.Wrong+r.Lost > 0 {
		s += fmt.Sprintf("  WRONG %d LOST %d: %s", r.Wrong, r.Lost, r.Fault)
	}
	return s
}
