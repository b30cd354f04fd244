package proxy

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// tracedExchange is a request that was answered by one provider, to be followed.
func tracedExchange(b testing.TB, c trace.Config) *exchange {
	x := exchangeOf(b, policy.Limits{})
	exporter := trace.NewExporter(slog.New(slog.NewTextHandler(io.Discard, nil)))
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nobody collects
		exporter.Close(ctx)
	})
	x.g.Tracer, x.start = exporter.Tracer(c), time.Now()
	x.ctx.Request.Header.SetMethod(fasthttp.MethodPost)
	x.ctx.Request.Header.Set("User-Agent", "OpenAI/Python 1.99.9")
	x.ctx.Request.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	x.conn, x.id, x.asked = &conn{}, []byte("req_0123456789abcdef"), "chat"
	x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 70, Completion: 40, CachedPrompt: 64}, paid: 12345}
	return x
}

// alongTheTrail is what tracing adds to a request: all its hooks, one after the other.
func (x *exchange) alongTheTrail() {
	x.setOut()
	x.phase(phaseAdmit)
	x.phase(phaseGuards)
	x.phase("")
	x.call.Trace = x.onTrace(x.target)
	x.calls = append(x.calls[:0], usage.Attempt{Kind: "first", Provider: x.target.Provider, Model: "gpt", Result: outcomeOK})
	x.marked(outcomeOK)
	x.phase(phaseGuards)
	x.phased(nil)
	x.export(x.start.Add(time.Second))
}

func benchmarkTrail(b *testing.B, c trace.Config) {
	x := tracedExchange(b, c)
	b.ReportAllocs()
	for b.Loop() {
		x.alongTheTrail()
	}
}

// BenchmarkTrailOff is what tracing costs a request where nobody wants it.
func BenchmarkTrailOff(b *testing.B) { benchmarkTrail(b, trace.Config{}) }

// BenchmarkTrailDropped is what it costs one that is not kept.
func BenchmarkTrailDropped(b *testing.B) {
	benchmarkTrail(b, trace.Config{OTLP: "http://127.0.0.1:9", Sample: trace.Nothing})
}

// BenchmarkTrailKept is what it costs one that is.
func BenchmarkTrailKept(b *testing.B) {
	benchmarkTrail(b, trace.Config{OTLP: "http://127.0.0.1:9", Slow: time.Nanosecond})
}

// A request that is not kept allocates nothing for it, traced or not.
func TestTrailDoesNotAllocate(t *testing.T) {
	for name, c := range map[string]trace.Config{"off": {}, "dropped": {OTLP: "http://127.0.0.1:9", Sample: trace.Nothing}} {
		x := tracedExchange(t, c)
		if n := testing.AllocsPerRun(100, x.alongTheTrail); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
