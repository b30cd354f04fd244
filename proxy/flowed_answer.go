package proxy

import (
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/flows"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/wire"
)

// This file tells what became of a flow: to the client as a chat completion, to a trace as spans.

// answer makes the output the request's answer. A stream has all of it at once, for it is known only at the end.
func (r *flowRun) answer(out string) {
	x := r.x
	x.answered = time.Now()
	x.first = x.answered.Sub(x.start)
	if x.call.Stream {
		x.reply.ContentType, x.reply.Body = typeEvents, r.events(out)
	} else {
		x.reply.ContentType, x.reply.Body = typeJSON, r.whole(out)
	}
	x.reply.Status, x.reply.Header = fasthttp.StatusOK, x.reply.Header[:0]
}

// head begins an answer, or an event of one.
func (r *flowRun) head(dst []byte, object string) []byte {
	dst = append(append(dst, `{"id":"chatcmpl-`...), r.x.id...) // an id has only letters that need no escape
	dst = append(append(dst, `","object":"`...), object...)
	dst = strconv.AppendInt(append(dst, `","created":`...), r.x.start.Unix(), 10)
	return append(wire.AppendString(append(dst, `,"model":`...), r.x.asked), `,"choices":[`...)
}

func (r *flowRun) whole(out string) []byte {
	dst := r.head(nil, "chat.completion")
	dst = wire.AppendString(append(dst, `{"index":0,"message":{"role":"assistant","content":`...), out)
	dst = append(dst, `,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":`...)
	return append(r.usage(dst), '}')
}

func (r *flowRun) events(out string) (dst []byte) {
	event := func(choice string) {
		dst = append(append(r.head(append(dst, "data: "...), "chat.completion.chunk"), choice...), "]"...)
		if r.x.body.IncludeUsage() {
			dst = append(dst, `,"usage":null`...)
		}
		dst = append(dst, "}\n\n"...)
	}
	event(`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}`)
	if out != "" {
		event(`{"index":0,"delta":{"content":` + string(wire.AppendString(nil, out)) + `},"finish_reason":null}`)
	}
	event(`{"index":0,"delta":{},"finish_reason":"stop"}`)
	if r.x.body.IncludeUsage() {
		dst = append(r.head(append(dst, "data: "...), "chat.completion.chunk"), `],"usage":`...)
		dst = append(r.usage(dst), "}\n\n"...)
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// usage is the sum of what the calls used.
func (r *flowRun) usage(dst []byte) []byte {
	u := &r.used
	dst = strconv.AppendInt(append(dst, `{"prompt_tokens":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"completion_tokens":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"total_tokens":`...), u.Total(), 10)
	dst = strconv.AppendInt(append(dst, `,"prompt_tokens_details":{"cached_tokens":`...), u.CachedPrompt, 10)
	dst = strconv.AppendInt(append(dst, `},"completion_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10)
	return append(dst, "}}"...)
}

// headers tell what ran and what its calls have cost, also where it came to nothing.
func (r *flowRun) headers(h *fasthttp.ResponseHeader) {
	if r == nil {
		return
	}
	h.SetCanonical(headerFlow, []byte(r.flow.Title()))
	if r.priced {
		var space [32]byte
		h.SetCanonical(headerCost, r.paid.AppendDecimal(space[:0]))
	}
	if len(r.ignored) > 0 {
		h.SetCanonical(headerFlowWarning, r.ignored)
	}
}

// attributes are what the request's span has of its flow. https://github.com/open-telemetry/semantic-conventions-genai: a flow is
// a workflow, which has the name of an agent.
func (r *flowRun) attributes(s *trace.Span) {
	s.Name = operationFlow + " " + r.flow.Name
	s.Attributes.Text("gen_ai.operation.name", operationFlow)
	s.Attributes.Text("gen_ai.agent.name", r.flow.Name)
	s.Attributes.Text("gen_ai.agent.version", r.flow.Version)
	s.Attributes.Text("gen_ai.request.model", r.x.asked)
	if r.priced {
		s.Attributes.Float("jarvis.flow.cost_usd", float64(r.paid)/1e9)
	}
}

const operationFlow = "invoke_workflow"

// below are the spans of a run's calls. Whether they are kept is decided with the run's own: of a trace that is kept nothing is missing.
type below struct {
	spansMu sync.Mutex
	spans   []*trace.Spans
	wanted  bool // one of the calls would be kept by itself
}

func (b *below) hold(s *trace.Spans, wanted bool) {
	b.spansMu.Lock()
	defer b.spansMu.Unlock()
	b.spans, b.wanted = append(b.spans, s), b.wanted || wanted
}

// within is the run that the request is a call of; nil: of none, or of one that is not traced.
func (x *exchange) within() *flowRun {
	if call, inside := x.conn.Conn.(*insideConn); inside && call.run.x.trail != nil {
		return call.run
	}
	return nil
}

// wanted tells that the run's trace has something in it that is kept.
func (r *flowRun) wanted() bool { return r != nil && r.below.wanted }

// export gives the calls' spans away.
func (r *flowRun) export(to *trace.Tracer) {
	if r != nil {
		for _, s := range r.spans {
			to.Export(s)
		}
	}
}

// tellSteps adds a span for every step.
func (r *flowRun) tellSteps(to *trace.Spans, s *trace.Span) {
	if r == nil {
		return
	}
	for i := range r.steps {
		step := &r.steps[i]
		again(s)
		s.ID, s.Parent, s.Name, s.Kind, s.Begin, s.End = step.span, r.x.trail.Span, "step "+step.ID, trace.Internal, step.begun, step.end
		s.Attributes.Text("jarvis.flow", r.flow.Title())
		s.Attributes.Text("jarvis.flow.step", step.ID)
		s.Attributes.Text("jarvis.flow.kind", string(step.Kind))
		s.Attributes.Text("jarvis.flow.outcome", string(step.outcome))
		if step.outcome == flows.Failed {
			s.Attributes.Text("error.type", reason(fault(step.err)))
			s.Failed = true
		}
		to.Add(s)
	}
}
