package main

import (
	"context"
	"fmt"
	"time"

	"jarvis-gateway/bench/load"
)

// scenario is one kind of traffic.
type scenario struct {
	Name   string
	About  string
	Model  string  // the simulated provider's plan for the reply
	Size   int     // of the request's body
	Stream bool    // then CPU counts per event and latency until the first one
	Rate   float64 // requests per second; 0: as many as the connections carry
	Conns  int
	Held   bool // streams that stay open: see held.go
}

const (
	shortReply = "fake?tokens=40&size=800" // with its envelope about 1 KiB
	pacedReply = "fake?tokens=50&event_delay=15ms"
	burstReply = "fake?tokens=200"
	heldReply  = "fake?tokens=1000&event_delay=1s"
)

var scenarios = []scenario{
	{Name: "small", About: "300 B request, 1 KiB reply, saturation", Model: shortReply, Size: 300, Conns: 32},
	{Name: "small-1000", About: "the same at 1,000/s", Model: shortReply, Size: 300, Rate: 1000, Conns: 32},
	{Name: "10k", About: "10 KiB request, saturation", Model: shortReply, Size: 10 << 10, Conns: 32},
	{Name: "10k-1000", About: "the same at 1,000/s", Model: shortReply, Size: 10 << 10, Rate: 1000, Conns: 32},
	{Name: "100k", About: "100 KiB request, saturation", Model: shortReply, Size: 100 << 10, Conns: 16},
	{Name: "paced", About: "100 streams at a time, an event each 15 ms", Model: pacedReply, Size: 300, Stream: true, Rate: 130, Conns: 256},
	{Name: "burst", About: "16 streams of 200 events without a pause", Model: burstReply, Size: 300, Stream: true, Conns: 16},
	{Name: "held", About: "1,000 and 5,000 open streams, an event each second", Model: heldReply, Size: 300, Stream: true, Held: true},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.Name)
	}
	return names
}

// reading is what one measurement of one target showed.
type reading struct {
	Target    string  `json:"target"`
	Round     int     `json:"round"`
	CPU       float64 `json:"cpu_us,omitempty"`        // microseconds per request, of streams per event
	PerSecond float64 `json:"per_second"`              // requests, of streams events
	P50       float64 `json:"p50_us"`                  // of latency, of streams until the first event
	P99       float64 `json:"p99_us"`                  //
	Idle      float64 `json:"idle_mib,omitempty"`      // memory before the first request
	Open1000  float64 `json:"open_1000_kib,omitempty"` // memory per open stream
	Open5000  float64 `json:"open_5000_kib,omitempty"`
	Sent      int64   `json:"sent"`
	Wrong     int64   `json:"wrong"`
	Lost      int64   `json:"lost"`
	Fault     string  `json:"fault,omitempty"` // the first wrong or lost reply
}

// measure runs all rounds of a scenario. Targets take turns within a round, because the machine's clock may swing
// twofold within seconds: only neighbours can be compared.
func (s *scenario) measure(ctx context.Context, b *bench) ([]reading, error) {
	if s.Held {
		return s.measureHeld(ctx, b)
	}
	loads, err := s.connect(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, l := range loads {
			_ = l.Close() // the figures are in; a connection that closes badly changes none
		}
	}()
	var out []reading
	for round := range b.rounds {
		for i, t := range b.targets {
			r, err := s.read(ctx, t, loads[i], b.duration)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			r.Round = round + 1
			out = append(out, r)
			progress("%-10s %d/%d  %s", s.Name, r.Round, b.rounds, r)
		}
	}
	return out, s.profile(ctx, b, loads)
}

// connect opens and warms up the load of every target, after checking that all give the same answer.
func (s *scenario) connect(ctx context.Context, b *bench) (loads []*load.Load, err error) {
	var truth *load.Sample
	for _, t := range b.targets {
		plan, sample, err := s.plan(ctx, t)
		if err != nil {
			return loads, fmt.Errorf("%s: %w", t.name, err)
		}
		if truth == nil {
			truth = sample
		}
		if err = sample.Differs(truth); err != nil {
			return loads, fmt.Errorf("%s answers differently from %s: %w", t.name, b.targets[0].name, err)
		}
		l, err := load.Open(ctx, plan)
		if err != nil {
			return loads, fmt.Errorf("%s: %w", t.name, err)
		}
		loads = append(loads, l)
		if r := l.Run(ctx, 500*time.Millisecond); r.Fault != nil {
			return loads, fmt.Errorf("%s: while warming up: %w", t.name, r.Fault)
		}
	}
	return loads, nil
}

// plan asks the target twice for the reply that the measurement will expect.
func (s *scenario) plan(ctx context.Context, t target) (load.Plan, *load.Sample, error) {
	p := load.Plan{Addr: t.addr, Request: s.request(t), Conns: s.Conns, Rate: s.Rate}
	one, err := load.Probe(ctx, t.addr, p.Request, s.Stream)
	if err != nil {
		return p, nil, err
	}
	two, err := load.Probe(ctx, t.addr, p.Request, s.Stream)
	if err != nil {
		return p, nil, err
	}
	p.Expect = one.Expect(two)
	return p, one, nil
}

// request has the same size for every target.
func (s *scenario) request(t target) []byte {
	model := s.Model
	if t.rename {
		model = s.Name
	}
	return load.Request(t.addr, t.key, load.Chat(model, s.Stream, s.Size))
}

func (s *scenario) read(ctx context.Context, t target, l *load.Load, d time.Duration) (reading, error) {
	before, err := t.cpu()
	if err != nil {
		return reading{}, err
	}
	res := l.Run(ctx, d)
	after, err := t.cpu()
	if err != nil {
		return reading{}, err
	}
	if err = ctx.Err(); err != nil {
		return reading{}, err
	}
	units, latency := res.OK, res.Latency
	if s.Stream {
		units, latency = res.Events, res.First
	}
	r := reading{Target: t.name, Sent: res.Sent, Wrong: res.Wrong, Lost: res.Lost}
	r.CPU = float64((after - before).Nanoseconds()) / 1e3 / float64(max(units, 1))
	r.PerSecond = float64(units) / res.Elapsed.Seconds()
	r.P50, r.P99 = float64(latency.ValueAtQuantile(50)), float64(latency.ValueAtQuantile(99))
	if res.Fault != nil {
		r.Fault = res.Fault.Error()
	}
	return r, nil
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
		s = fmt.Sprintf("%-8s idle %.1f MiB, per stream %.1f KiB at 1,000, %.1f KiB at 5,000", r.Target, r.Idle, r.Open1000, r.Open5000)
	}
	if r.Wrong+r.Lost > 0 {
		s += fmt.Sprintf("  WRONG %d LOST %d: %s", r.Wrong, r.Lost, r.Fault)
	}
	return s
}
