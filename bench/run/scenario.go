package main

import (
	"bytes"
	"cmp"
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
	Stream bool    // then CPU counts per event and latency until the first token
	Rate   float64 // requests per second; 0: as many as the connections carry
	Conns  int
	Held   bool // streams that stay open: see held.go
	Limits bool // the tenant has five limits, all of which are counted
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
	{Name: "limits", About: "as small, with limits on requests/m, requests/d, tokens/m, tokens/d and concurrency", Model: shortReply, Size: 300, Conns: 32, Limits: true},
	{Name: "10k", About: "10 KiB request, saturation", Model: shortReply, Size: 10 << 10, Conns: 32},
	{Name: "10k-1000", About: "the same at 1,000/s", Model: shortReply, Size: 10 << 10, Rate: 1000, Conns: 32},
	{Name: "100k", About: "100 KiB request, saturation", Model: shortReply, Size: 100 << 10, Conns: 16},
	{Name: "paced", About: "100 streams at a time, an event each 15 ms", Model: pacedReply, Size: 300, Stream: true, Rate: 130, Conns: 128},
	{Name: "burst", About: "16 streams of 200 events without a pause", Model: burstReply, Size: 300, Stream: true, Conns: 16},
	{Name: "held", About: "1,000 and 5,000 open streams, an event each second", Model: heldReply, Size: 300, Stream: true, Held: true},
}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.Name)
	}
	return names
}

// measure runs all rounds of a scenario.
func (s *scenario) measure(ctx context.Context, b *bench) ([]reading, error) {
	if s.Held {
		return s.measureHeld(ctx, b)
	}
	loads, err := s.connect(ctx, b)
	defer func() {
		for _, l := range loads {
			_ = l.Close() // the figures are in; a connection that closes badly changes none
		}
	}()
	var out []reading
	for round := 1; round <= b.rounds && err == nil; round++ {
		var rs []reading
		before := b.usage()
		rs, err = s.round(ctx, b, loads)
		others := b.usage().othersSince(before)
		for _, r := range rs {
			r.Round, r.Others = round, others
			out = append(out, r)
			progress("%-10s %d/%d  %s", s.Name, r.Round, b.rounds, r)
		}
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	return out, s.profile(ctx, b, loads)
}

// round measures every target once. They take turns many times within the round, because the machine's clock may swing
// twofold within seconds, and others may use it: only close neighbours can be compared.
func (s *scenario) round(ctx context.Context, b *bench, loads []*load.Load) ([]reading, error) {
	turns := s.turns(b.duration)
	tallies := make([]tally, len(b.targets))
	for range turns {
		for i, t := range b.targets {
			if err := tallies[i].run(ctx, t, loads[i], b.duration/time.Duration(turns)); err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	var out []reading
	for i, t := range b.targets {
		out = append(out, tallies[i].reading(t.name, s.Stream))
	}
	return out, nil
}

// turns are half a second each. Streams at a fixed rate have one turn only: it takes a while until as many are open
// as there should be, and until the last has ended.
func (s *scenario) turns(d time.Duration) int {
	const turn = 500 * time.Millisecond
	if s.Stream && s.Rate > 0 {
		return 1
	}
	return max(1, int(d/turn))
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
		if err = cmp.Or(l.Warm(ctx), l.Run(ctx, 500*time.Millisecond).Fault); err != nil {
			return loads, fmt.Errorf("%s: while warming up: %w", t.name, err)
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

// request has the same messages for every target: the provider counts their tokens, and must get the same bytes in the end.
func (s *scenario) request(t target) []byte {
	body := load.Chat(s.Model, s.Stream, s.Size)
	if t.rename {
		body = bytes.Replace(body, fmt.Appendf(nil, "%q", s.Model), fmt.Appendf(nil, "%q", s.Name), 1)
		if s.Limits {
			t.key = limitedKey
		}
	}
	return load.Request(t.addr, t.key, body)
}
