package main

import (
	"context"
	"time"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/trace"
)

// follow adds what the environment says of where traces go, and the defaults where they go anywhere.
func (r *reading) follow() {
	c := &r.Telemetry
	r.Notes = append(r.Notes, c.Complete(r.lookup)...)
	for _, value := range c.Headers { // some came from the environment, not through a file
		r.hidden = append(r.hidden, value.Reveal())
	}
	if c.OTLP != "" {
		fillZero(c, trace.Defaults)
	} else {
		fillZero(c, trace.Config{Tenants: trace.Defaults.Tenants})
	}
}

// lastSpans is how long the end waits for the collector.
const lastSpans = 3 * time.Second

// openSpans makes what gives traces to a collector, whatever the config. It does nothing until a config wants it.
func (s *live) openSpans() {
	s.spans = trace.NewExporter(s.log)
	proxy.Spans.Store(s.spans)
}

// closeSpans gives the last of them away.
func (s *live) closeSpans() {
	if s.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastSpans)
	defer cancel()
	s.spans.Close(ctx)
}
