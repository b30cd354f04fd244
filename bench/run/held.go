package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"jarvis-gateway/bench/load"
)

// settle is for goroutines of the start to end, and buffers of the opening to be given back.
const settle = time.Second

// measureHeld opens streams through a fresh process each time, as memory that was used once is not given back soon.
func (s *scenario) measureHeld(ctx context.Context, b *bench) ([]reading, error) {
	var out []reading
	rounds := (b.rounds + 1) / 2 // memory varies little from process to process
	for round := range rounds {
		for _, t := range b.targets {
			if t.process == 0 {
				continue
			}
			r, err := s.readHeld(ctx, b, t.name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			r.Round = round + 1
			out = append(out, r)
			progress("%-10s %d/%d  %s", s.Name, r.Round, rounds, r)
		}
	}
	return out, nil
}

func (s *scenario) readHeld(ctx context.Context, b *bench, name string) (r reading, err error) {
	t, err := b.open(ctx, name)
	if err != nil {
		return r, err
	}
	defer b.close(t)
	idle, err := t.settled(ctx, t.process.RSS)
	if err != nil {
		return r, err
	}
	own, err := t.settled(ctx, t.process.Anonymous)
	if err != nil {
		return r, err
	}
	r = reading{Target: name, Idle: idle / (1 << 20), IdleOwn: own / (1 << 20)}
	held := load.NewHeld(t.addr, s.request(t))
	defer held.Close()
	for _, level := range []struct {
		n    int
		into *float64
	}{{1000, &r.Open1000}, {5000, &r.Open5000}} {
		if err = held.Grow(ctx, level.n); err != nil {
			return r, err
		}
		rss, err := t.settled(ctx, t.process.RSS)
		if err != nil {
			return r, err
		}
		*level.into = (rss - idle) / (1 << 10) / float64(level.n)
	}
	r.Sent, r.Lost = 5000, int64(held.Stuck(ctx, 10*time.Second))
	if r.Lost > 0 {
		r.Fault = "streams brought no further event"
	}
	return r, ctx.Err()
}

// settled is the median of some samples of the process's memory, after a pause.
func (t target) settled(ctx context.Context, memory func() (int64, error)) (float64, error) {
	var samples []float64
	for range 5 {
		select {
		case <-time.After(settle / 4):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		bytes, err := memory()
		if err != nil {
			return 0, err
		}
		samples = append(samples, float64(bytes))
	}
	slices.Sort(samples)
	return samples[len(samples)/2], nil
}
