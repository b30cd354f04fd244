package proxy

import (
	"bytes"
	"encoding/hex"
	"net"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/router"
)

// This file follows a request through the gateway, where it is traced. What happens is only noted; spans are made of it at the end,
// and only if they are kept. See traced_spans.go.

// Spans is what the metrics of traces are read from.
var Spans atomic.Pointer[trace.Exporter]

var _ = spanMetrics()

func spanMetrics() bool {
	stats := func() (exported, dropped int64) {
		if e := Spans.Load(); e != nil {
			return e.Stats()
		}
		return 0, 0
	}
	Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "jarvis_spans_exported_total",
		Help: "Spans that the collector took."}, func() float64 { n, _ := stats(); return float64(n) }))
	Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "jarvis_spans_dropped_total",
		Help: "Spans that the collector did not get: it was away, too slow, or refused them."}, func() float64 { _, n := stats(); return float64(n) }))
	return true
}

// trail is what a connection needs for requests that are traced.
type trail struct {
	trace.Context
	tracer *trace.Tracer
	state  bool // the request came with a tracestate that is valid
	kept   bool
	phases []phase
	calls  []*attempted // of this request and, beyond used, of others before
	used   int
	mute   provider.Trace // of calls that tell nothing
	hex    [32]byte
}

// phase is something that happens to a request, one after the other.
type phase struct {
	name       string
	begun, end time.Time
	waited     time.Duration // in line
	failed     bool
}

// attempted is a call to a provider.
type attempted struct {
	provider.Trace
	span   trace.SpanID
	number int  // in x.calls, from 1; 0: it is not over
	came   bool // it came to its first content
	space  [trace.ParentSize]byte
}

// setOut begins the request's trace, or takes it over from the client.
func (x *exchange) setOut() {
	x.call.Trace = nil
	if x.g.Tracer == nil {
		x.trail = nil
		return
	}
	if x.trail == nil {
		x.trail = &trail{}
	}
	t := x.trail
	t.tracer, t.kept, t.state, t.phases, t.used = x.g.Tracer, false, false, t.phases[:0], 0
	var parent []byte
	if all := x.ctx.Request.Header.PeekAll("Traceparent"); len(all) == 1 { // of two nobody knows which is true
		parent = all[0]
	}
	t.Context = t.tracer.Begin(parent)
	t.state = t.Remote() && trace.ValidState(x.tracestate())
	hex.Encode(t.hex[:], t.Trace[:])
	x.call.Trace = &t.mute
}

// tracestate is what the client sent along with his traceparent, in one line. It lives as long as the request.
func (x *exchange) tracestate() string {
	lines := x.ctx.Request.Header.PeekAll("Tracestate")
	switch len(lines) {
	case 0:
		return ""
	case 1:
		return unsafe.String(unsafe.SliceData(lines[0]), len(lines[0]))
	}
	return string(bytes.Join(lines, []byte{','}))
}

// phase begins the next thing that happens to the request, which ends the one before; "" only ends it. Guards that there are none of
// are nothing.
func (x *exchange) phase(name string) {
	if x.trail == nil {
		return
	}
	if name == phaseGuards && x.caller.Guards() == nil {
		name = ""
	}
	x.trail.next(name, x.queued, false)
}

// phased ends what happens to the request before it is answered.
func (x *exchange) phased(err error) {
	if x.trail != nil {
		x.trail.next("", x.queued, err != nil)
	}
}

func (t *trail) next(name string, waited time.Duration, failed bool) {
	n := len(t.phases)
	open := n > 0 && t.phases[n-1].end.IsZero()
	if !open && name == "" {
		return
	}
	now := time.Now()
	if open {
		last := &t.phases[n-1]
		last.end, last.waited, last.failed = now, waited-last.waited, failed
	}
	if name != "" {
		t.phases = append(t.phases, phase{name: name, begun: now, waited: waited})
	}
}

// onTrace is a new call's place in the trace. In a race the second one comes from another goroutine, while the first one's waits for
// the provider.
func (x *exchange) onTrace(target *router.Target) *provider.Trace {
	t := x.trail
	if t == nil {
		return nil
	}
	if t.used == len(t.calls) {
		t.calls = append(t.calls, &attempted{})
	}
	a := t.calls[t.used]
	t.used++
	*a = attempted{span: trace.NewSpanID()}
	if t.tracer.Tells(x.g.Providers[target.Provider].Own()) {
		a.Parent, a.State = t.AppendParent(a.space[:0], a.span), t.state
	}
	return &a.Trace
}

// untold is for a call that is no part of the request: it tells the provider nothing, where the gateway traces.
func (x *exchange) untold() *provider.Trace {
	if x.trail == nil {
		return nil
	}
	return &provider.Trace{}
}

// marked takes note that the call has come to its first content, or to nothing.
func (x *exchange) marked(result string) {
	if x.trail == nil {
		return
	}
	for _, a := range x.trail.calls[:x.trail.used] {
		if &a.Trace == x.call.Trace {
			a.number, a.came = len(x.calls), result == outcomeOK
		}
	}
}

// traceID is the id of the request's trace, in letters, where that is kept, as far as it is known by now; nil where it is not. It
// lives as long as the request.
func (x *exchange) traceID() []byte {
	if t := x.trail; t != nil && (t.kept || t.Sampled && !(t.Remote() && x.caller == nil)) {
		return t.hex[:]
	}
	return nil
}

// trace adds the trace's id to the access line, where requests are traced.
func (l *line) trace(t *trail) {
	if t != nil {
		l.name("trace_id")
		*l = append(append(append(*l, '"'), t.hex[:]...), '"')
	}
}

// failing tells a request that went wrong on the gateway's side or the provider's, even if another target put it right.
func (x *exchange) failing() bool {
	switch outcomeOf(x.failure) {
	case outcomeTimeout, outcomeProvider, outcomeInternal, outcomeUnavailable:
		return true
	}
	for i := range x.failed {
		if x.failed[i].reason != resultRefused {
			return true
		}
	}
	return false
}

// resultRefused is resultOf what the caller did wrong.
const resultRefused = "refused"

// splitAddress is host and port of where a provider is.
func splitAddress(address string) (host string, port int64) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return address, 0
	}
	port, _ = strconv.ParseInt(digits, 10, 32)
	return host, port
}
