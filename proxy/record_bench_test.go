//go:build unix

package proxy

import (
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// noted is what clients that say something of their requests say.
const noted = `{"user":"ann","scene":"support","tags":["beta","eu"]}`

// recordedExchange is a request that one provider answers, and a spool on a disk.
func recordedExchange(b testing.TB, note string) *exchange {
	b.Helper()
	x := exchangeOf(b, policy.Limits{})
	routes, err := router.New(router.Setup{Models: map[string]router.Model{"chat": {Targets: []router.TargetConfig{{Provider: "p", Model: "gpt-4o"}}}}, Providers: []string{"p"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	x.route, _ = routes.Find("chat")
	x.target, x.tries = x.route.Targets[0], 1
	log, err := spool.Open(spool.Options{Dir: b.TempDir(), Sync: time.Second, Max: 1 << 30, Segment: 8 << 20, Full: spool.DropOldest, Cut: Cut(nil)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(b.Context()); err != nil {
			b.Log(err)
		}
	})
	x.conn = &conn{server: &Server{spool: log, log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	if note != "" {
		x.ctx.Request.Header.SetCanonical(headerMetadata, []byte(note))
	}
	if x.body, err = wire.Parse([]byte(`{"model":"chat","user":"bob","messages":[{"role":"user","content":"How much does it cost?"}]}`)); err != nil {
		b.Fatal(err)
	}
	x.id, x.asked, x.first, x.upstream = []byte("req_0123456789abcdef01234567"), "chat", 300*time.Millisecond, 299*time.Millisecond
	x.reply.Body = []byte(`{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Nothing."},` +
		`"finish_reason":"stop"}],"usage":{"prompt_tokens":70,"completion_tokens":40}}`)
	x.tally = tally{came: true, known: true, answer: wire.Usage{Prompt: 70, Completion: 40, CachedPrompt: 64, Tier: wire.TierStandard}, paid: 12345}
	x.ctx.Response.SetStatusCode(200)
	return x
}

// writtenDown is all that recording adds to a request.
func (x *exchange) writtenDown(now time.Time) {
	x.start, x.answered = now, now.Add(x.first)
	x.recording = newRecording(x.start)
	if err := x.intend(x.target); err != nil {
		panic(err)
	}
	x.call.Begun = x.start
	x.calling(x.target, outcomeOK)
	x.writeDown(now)
	x.end()
}

// processCPU is what the process has used so far: the writers in the background count too.
func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecording is what it takes to write down a request: what it intends, the call, and how it ended.
func BenchmarkRecording(b *testing.B) {
	for name, note := range map[string]string{"plain": "", "noted": noted} {
		b.Run(name, func(b *testing.B) {
			x, now := recordedExchange(b, note), time.Now()
			b.ReportAllocs()
			before, n := processCPU(), 0
			for b.Loop() {
				x.writtenDown(now)
				n++
			}
			b.ReportMetric(float64(processCPU()-before)/float64(n), "cpu-ns/op")
		})
	}
}
