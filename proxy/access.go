package proxy

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"jarvis-gateway/proxy/wire"
)

// AccessLog writes one line for each request, in the format of slog's JSON handler. Lines are put together in a buffer
// and written by one goroutine: a request never waits for the log's reader. The buffers are several, so that requests
// do not wait for each other either.
type AccessLog struct {
	out    io.Writer
	shards [8]struct {
		mu  sync.Mutex
		buf []byte
		_   [32]byte // a cache line each
	}
	batch []byte
	stop  chan struct{}
	done  chan struct{}
}

const (
	flushEvery = 200 * time.Millisecond
	maxUnread  = 1 << 20 // a shard's bytes that may wait for a slow reader
)

// NewAccessLog starts writing to out. Close writes what is left and ends it.
func NewAccessLog(out io.Writer) *AccessLog {
	a := &AccessLog{out: out, stop: make(chan struct{}), done: make(chan struct{})}
	go a.loop()
	return a
}

func (a *AccessLog) loop() {
	defer close(a.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.flush()
		case <-a.stop:
			a.flush()
			return
		}
	}
}

// Close writes the last lines.
func (a *AccessLog) Close() {
	close(a.stop)
	<-a.done
}

func (a *AccessLog) flush() {
	a.batch = a.batch[:0]
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		a.batch = append(a.batch, s.buf...)
		s.buf = s.buf[:0]
		s.mu.Unlock()
	}
	if len(a.batch) > 0 {
		_, _ = a.out.Write(a.batch) // where could a failing log be logged?
	}
}

// write appends the line of a request that has ended. It says who, what, how long and how much, never what was said.
func (a *AccessLog) write(x *exchange, now time.Time) {
	s := &a.shards[x.start.UnixNano()>>10&7]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buf) > maxUnread {
		dropped.WithLabelValues().Inc()
		return
	}
	l := line(s.buf)
	l = append(l, `{"time":"`...)
	l = now.AppendFormat(l, time.RFC3339Nano)
	l = append(l, `","level":"INFO","msg":"request"`...)
	l.text("id", string(x.id))
	if x.ep != nil {
		l.text("endpoint", x.ep.name)
	}
	if x.caller != nil {
		l = append(l, x.whose()...)
	}
	if x.asked != "" {
		l.text("model", shorten(x.asked))
	}
	if why := x.why(); why != "" {
		l.text("route", why)
	}
	if x.target != nil {
		l.text("provider", x.target.Provider)
		l.text("served", x.served())
		l.number("attempts", int64(x.tries))
	}
	if len(x.failed) > 0 {
		l.text("failed", x.failures())
	}
	l.number("status", int64(x.status()))
	l.text("outcome", outcomeOf(x.failure))
	l.trace(x.trail)
	l.result(x, now.Sub(x.start))
	if note := x.note(); note.said {
		l.text("user", note.user)
		l.text("scene", note.scene)
	}
	l = append(l, '}', '\n')
	s.buf = l
}

// whose names the caller, who is mostly the same one throughout a connection.
func (x *exchange) whose() []byte {
	if x.named != x.caller {
		l := line(x.name[:0])
		l.text("tenant", x.caller.Tenant)
		l.text("key", x.caller.Key)
		x.name, x.named = l, x.caller
	}
	return x.name
}

func (l *line) result(x *exchange, total time.Duration) {
	if x.failure != nil {
		l.text("error", reason(x.failure))
		if x.failure.Err != nil {
			l.text("cause", shorten(x.failure.Err.Error()))
		}
	}
	if x.reply.Stream != nil || x.call.Stream {
		*l = append(*l, `,"stream":true`...)
		l.millis("first_token_ms", x.first)
	}
	if x.look != nil {
		l.text("cache", x.look.result)
	}
	l.positive("continued", int64(x.resumed))
	u := x.tally.all()
	l.number("prompt_tokens", u.Prompt)
	l.number("completion_tokens", u.Completion)
	l.positive("cached_tokens", u.CachedPrompt)
	l.positive("cache_write_tokens", u.CacheWrite)
	l.positive("reasoning_tokens", u.Reasoning)
	l.positive("audio_tokens", u.Audio)
	if u.Estimated {
		*l = append(*l, `,"estimated":true`...)
	}
	if x.priced || x.tally.paid > 0 {
		l.name("cost_usd")
		*l = x.tally.paid.AppendDecimal(*l)
	}
	if x.lessened {
		l.text("downgraded_to", x.route.Name)
	}
	if flow := x.flown(); flow != "" {
		l.text("flow", flow)
	}
	if x.prompt != nil {
		l.text("prompt", x.prompt.Name+"@"+x.prompt.Version)
	}
	if noted := x.noted(); len(noted) > 0 {
		l.text("guards", strings.Join(noted, ","))
	}
	l.millis("total_ms", total)
	l.millis("upstream_ms", x.upstream)
	l.number("bytes_in", int64(x.size()))
	l.number("bytes_out", x.sent)
}

// reason is why a request failed. It may be in the words of a provider, which are kept out where they are a sentence.
func reason(e *wire.Error) string {
	if why := e.Reason(); fitID([]byte(why)) {
		return why
	}
	return "refused"
}

// line is a JSON object being written.
type line []byte

func (l *line) name(k string) { *l = append(append(append(*l, ',', '"'), k...), '"', ':') }

func (l *line) text(k, v string) {
	l.name(k)
	*l = wire.AppendString(*l, v)
}

func (l *line) number(k string, v int64) {
	l.name(k)
	*l = strconv.AppendInt(*l, v, 10)
}

func (l *line) positive(k string, v int64) {
	if v > 0 {
		l.number(k, v)
	}
}

func (l *line) millis(k string, d time.Duration) {
	l.name(k)
	*l = appendMillis(*l, d)
}
