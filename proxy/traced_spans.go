package proxy

import (
	"strings"
	"time"

	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/wire"
)

// This file makes spans of what was noted. Names are those of the semantic conventions, for HTTP and for generative AI, and jarvis.*
// where these have none. https://github.com/open-telemetry/semantic-conventions-genai. Nothing that was said is in a span.

// export decides about the request's trace, now that it is known how it ended, and gives its spans away if they are kept.
func (x *exchange) export(now time.Time) {
	t := x.trail
	if t == nil {
		return
	}
	took := now.Sub(x.start)
	if x.first > 0 && x.reply.Stream != nil {
		took = x.first
	}
	run := x.within()
	t.kept = t.tracer.Keeps(&t.Context, x.failing() || x.run.wanted(), x.caller == nil, took)
	switch {
	case run != nil:
		run.hold(x.spans(now), t.kept)
	case t.kept:
		t.tracer.Export(x.spans(now))
		x.run.export(t.tracer)
	}
}

// spans are all of the request's own.
func (x *exchange) spans(now time.Time) *trace.Spans {
	t := x.trail
	spans := trace.NewSpans(t.Context)
	span := trace.Span{Attributes: make(trace.Attributes, 0, 1<<10)}
	x.requestSpan(&span, now)
	spans.Add(&span)
	for i := range t.phases {
		x.phaseSpan(&span, &t.phases[i], now)
		spans.Add(&span)
	}
	x.run.tellSteps(spans, &span)
	for i, a := range t.calls[:t.used] {
		if a.number > 0 {
			x.callSpan(&span, i, now)
			spans.Add(&span)
		}
	}
	return spans
}

// again makes a span ready for the next.
func again(s *trace.Span) { *s = trace.Span{Attributes: s.Attributes[:0]} }

// requestSpan is the request as its client sees it.
func (x *exchange) requestSpan(s *trace.Span, now time.Time) {
	t, a := x.trail, &s.Attributes
	s.ID, s.Parent, s.Kind, s.Begin, s.End = t.Span, t.Parent, trace.Server, x.start, now
	if state := x.tracestate(); t.state && len(state) <= mostState {
		s.State = state
	}
	h := &x.ctx.Request.Header
	method, path := string(h.Method()), ""
	if x.ep != nil && x.ep.path != "" {
		path = "/v1" + x.ep.path
	}
	s.Name = strings.TrimSpace(method + " " + path)
	a.Text("http.request.method", method)
	a.Text("http.route", path)
	a.Text("url.path", string(x.ctx.Path()))
	a.Text("url.scheme", "http")
	a.Text("user_agent.original", string(h.UserAgent()))
	a.Int("http.response.status_code", int64(x.status()))
	a.Text("jarvis.request_id", string(x.id))
	a.Text("jarvis.outcome", outcomeOf(x.failure))
	if x.failure != nil {
		a.Text("error.type", reason(x.failure))
		s.Failed = x.failure.Status >= 500
	}
	if x.caller != nil {
		a.Text("jarvis.tenant", x.caller.Tenant)
		a.Text("jarvis.team", x.caller.Team)
		a.Text("jarvis.key", x.caller.Key)
		a.Text("jarvis.scene", x.note().scene)
	}
	a.Text("jarvis.flow", x.flown())
	if x.run != nil {
		x.run.attributes(s)
	}
	if x.asked != "" && x.route != nil {
		s.Name = x.operation() + " " + x.asked
		x.askedFor(a)
	}
	if x.target != nil {
		x.answeredBy(a)
	}
	x.look.span(a)
	if x.hit() {
		x.givenAgain(a)
	}
}

// mostState is how long a tracestate is shown; how long one must be passed on.
const mostState = 512

// askedFor is what the client wants of a model.
func (x *exchange) askedFor(a *trace.Attributes) {
	a.Text("gen_ai.operation.name", x.operation())
	a.Text("gen_ai.request.model", x.asked)
	a.True("gen_ai.request.stream", x.call.Stream)
	if x.call.Body != nil && x.ep.kind != wire.Plain {
		most, choices, err := x.body.Cap(x.ep.kind)
		if err == nil {
			a.Count("gen_ai.request.max_tokens", most)
		}
		if err == nil && choices > 1 {
			a.Int("gen_ai.request.choice.count", choices)
		}
	}
	if x.prompt != nil {
		a.Text("gen_ai.prompt.name", x.prompt.Name)
		a.Text("gen_ai.prompt.version", x.prompt.Version)
	}
	a.Text("jarvis.model", x.route.Name)
	a.Text("jarvis.route", x.why())
}

// answeredBy is who answered last, and what it has cost.
func (x *exchange) answeredBy(a *trace.Attributes) {
	a.Text("gen_ai.provider.name", x.vendor(x.target.Provider))
	a.Text("jarvis.provider", x.target.Provider)
	a.Count("jarvis.attempts", int64(x.tries))
	if x.queued > 0 {
		a.Seconds("jarvis.queued", x.queued)
	}
	if !x.tally.came {
		return
	}
	a.Text("gen_ai.response.model", x.served())
	a.List("gen_ai.response.finish_reasons", x.stopped())
	used(a, x.tally.all())
	if x.reply.Stream != nil {
		a.Seconds("gen_ai.response.time_to_first_chunk", x.first)
	}
	if x.priced {
		a.Float("jarvis.cost_usd", float64(x.tally.paid)/1e9)
	}
}

func used(a *trace.Attributes, u wire.Usage) {
	a.Count("gen_ai.usage.input_tokens", u.Prompt)
	a.Count("gen_ai.usage.output_tokens", u.Completion)
	a.Count("gen_ai.usage.cache_read.input_tokens", u.CachedPrompt)
	a.Count("gen_ai.usage.cache_write.input_tokens", u.CacheWrite)
	a.Count("gen_ai.usage.reasoning.output_tokens", u.Reasoning)
	a.True("jarvis.usage.estimated", u.Estimated)
}

// phaseSpan is something that happened to the request.
func (x *exchange) phaseSpan(s *trace.Span, p *phase, now time.Time) {
	again(s)
	s.ID, s.Parent, s.Name, s.Kind, s.Begin, s.End = trace.NewSpanID(), x.trail.Span, p.name, trace.Internal, p.begun, p.end
	if p.end.IsZero() { // a bug ended it
		s.End, p.failed = now, true
	}
	if p.failed && x.failure != nil {
		s.Attributes.Text("error.type", reason(x.failure))
		s.Failed = x.failure.Status >= 500
	}
	if p.waited > 0 {
		s.Attributes.Seconds("jarvis.queued", p.waited)
	}
	if p.name == phaseCache {
		x.look.span(&s.Attributes)
	}
	if p.name == phaseRetrieve {
		x.found.tell(&s.Attributes)
	}
}

// The phases of a request.
const (
	phaseAdmit  = "admit"
	phaseGuards = "guards"
	phaseCache  = "cache"

	phaseRetrieve = "retrieve"
)

// callSpan is a call to a provider.
func (x *exchange) callSpan(s *trace.Span, i int, now time.Time) {
	again(s)
	t, a := x.trail, &s.Attributes
	at := t.calls[i]
	c := &x.calls[at.number-1]
	answers := at.came && at.number == len(x.calls) && x.tally.came
	s.ID, s.Parent, s.Kind, s.Name = at.span, t.Span, trace.Client, x.operation()+" "+c.Model
	s.Begin = x.start.Add(c.Begun)
	s.End = x.ends(i, s.Begin.Add(c.First), now)
	a.Text("gen_ai.operation.name", x.operation())
	a.Text("gen_ai.provider.name", x.vendor(c.Provider))
	a.Text("gen_ai.request.model", c.Model)
	a.True("gen_ai.request.stream", x.call.Stream)
	host, port := splitAddress(at.Address)
	a.Text("server.address", host)
	a.Count("server.port", port)
	a.Count("http.response.status_code", int64(at.Status))
	a.Text("cloud.region", c.Region)
	a.Text("jarvis.provider", c.Provider)
	a.Text("jarvis.replica", c.Replica)
	a.Text("jarvis.attempt", c.Kind)
	if at.came && x.call.Stream {
		a.Seconds("gen_ai.response.time_to_first_chunk", c.First)
	}
	result := c.Result
	if answers {
		a.List("gen_ai.response.finish_reasons", x.stopped())
		used(a, x.tally.answer)
		if x.failure != nil {
			result = resultOf(x.failure)
		}
	} else {
		used(a, c.Usage)
	}
	a.Text("jarvis.result", result)
	if result != outcomeOK && result != "lost" {
		a.Text("error.type", result)
		s.Failed = true
	}
}

// ends is when a call ended: with its first content or its failure, or, where its answer is a stream, with that. One that broke off
// ended where another one went on.
func (x *exchange) ends(i int, first, now time.Time) time.Time {
	t := x.trail
	if !t.calls[i].came || x.reply.Stream == nil {
		return first
	}
	for _, next := range t.calls[i+1 : t.used] {
		if next.number > t.calls[i].number {
			if begun := x.start.Add(x.calls[next.number-1].Begun); begun.After(first) {
				return begun
			}
		}
	}
	return now
}

// operation is what is asked of a model, in the conventions' words where they have one.
func (x *exchange) operation() string {
	switch {
	case x.ep.kind == wire.Completion:
		return "text_completion"
	case x.ep.kind != wire.Plain && !x.ep.count:
		return "chat"
	}
	return x.ep.name
}

// vendor is who answers, in the conventions' words where they have one.
func (x *exchange) vendor(name string) string {
	switch kind := x.g.Providers[name].Kind(); kind {
	case "azure":
		return "azure.ai.openai"
	case "bedrock":
		return "aws.bedrock"
	default:
		return kind
	}
}
