package trace

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	mostQueued = 8 << 20   // bytes of spans that wait; beyond them spans are dropped
	mostSent   = 512 << 10 // bytes of spans in one message
	sendEvery  = time.Second
	sendTime   = 10 * time.Second // that a collector has for a message
	tryFor     = time.Minute      // how long one message is tried, as newer ones wait behind it
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Exporter gives spans to a collector. It outlives configurations. Its goroutine begins with the first one that wants it.
type Exporter struct {
	log    *slog.Logger
	client http.Client
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{} // closed when the goroutine has ended
	hurry  func()        // calls off what is under way
	ctx    context.Context
	failed bool // the last message was not taken; of the goroutine

	mu     sync.Mutex
	to     *destination
	queue  []*Spans
	bytes  int // in the queue and under way
	closed bool

	exported, dropped atomic.Int64
	full              atomic.Bool // the queue was, and it has been told
}

// destination is where spans go, and on whose behalf.
type destination struct {
	url      string
	header   http.Header
	resource []byte // the field `resource` of ResourceSpans
}

// NewExporter makes one that sends nothing yet. Close ends it.
func NewExporter(log *slog.Logger) *Exporter {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1
	e := &Exporter{log: log, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		client: http.Client{Transport: transport, Timeout: sendTime, CheckRedirect: stay}}
	e.ctx, e.hurry = context.WithCancel(context.Background())
	return e
}

// stay follows no redirect: the headers may hold a credential, which is for the collector alone.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Stats are the spans that the collector took, and those that it did not get.
func (e *Exporter) Stats() (exported, dropped int64) { return e.exported.Load(), e.dropped.Load() }

// Tracer puts a configuration in force, and returns nil where it wants no traces. Spans of tracers before go to where its own do.
func (e *Exporter) Tracer(c Config) *Tracer {
	if c.OTLP == "" {
		return nil
	}
	c = c.filled()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.to = c.destination(); e.done == nil && !e.closed {
		e.done = make(chan struct{})
		go e.loop()
	}
	return &Tracer{exporter: e, below: c.Sample.below(), slow: c.Slow, tells: c.Propagate}
}

// add queues the spans of a request, or drops them.
func (e *Exporter) add(s *Spans) {
	s.one = nil
	e.mu.Lock()
	room := !e.closed && e.bytes+cap(s.text) <= mostQueued
	if room {
		e.queue = append(e.queue, s)
		e.bytes += cap(s.text)
	}
	many := e.bytes >= mostSent
	e.mu.Unlock()
	if !room {
		e.dropped.Add(s.n)
		if !e.full.Swap(true) {
			e.log.Warn("spans are dropped: the collector does not take them as fast as they come")
		}
		return
	}
	if many {
		select {
		case e.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

// Close sends what is left, until ctx is done, and ends the exporter. Spans that come later are dropped.
func (e *Exporter) Close(ctx context.Context) {
	e.mu.Lock()
	first, running := !e.closed, e.done
	e.closed = true
	e.mu.Unlock()
	if !first || running == nil {
		return
	}
	close(e.stop)
	end := context.AfterFunc(ctx, e.hurry)
	<-running
	end()
	e.hurry()
	e.client.CloseIdleConnections()
}

func (e *Exporter) loop() {
	defer close(e.done)
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-e.wake:
		case <-e.stop:
			e.drain()
			return
		}
		e.drain()
	}
}

// drain sends all there is.
func (e *Exporter) drain() {
	for {
		batch, size := e.take()
		if len(batch) == 0 {
			return
		}
		e.deliver(batch)
		e.mu.Lock()
		e.bytes -= size
		e.mu.Unlock()
	}
}

// take takes the spans of one message out of the queue.
func (e *Exporter) take() (batch []*Spans, size int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for n < len(e.queue) && (n == 0 || size+cap(e.queue[n].text) <= mostSent) {
		size += cap(e.queue[n].text)
		n++
	}
	batch = slices.Clone(e.queue[:n])
	e.queue = slices.Delete(e.queue, 0, n)
	return batch, size
}

// deliver sends a message until it is taken, refused, or too old.
func (e *Exporter) deliver(batch []*Spans) {
	count := int64(0)
	for _, s := range batch {
		count += s.n
	}
	pause := firstPause
	for begun := time.Now(); ; pause = min(2*pause, lastPause) {
		refused, retry, err := e.send(batch)
		if err == nil {
			e.exported.Add(count - refused)
			e.dropped.Add(refused)
			e.told(refused)
			return
		}
		if !e.failed {
			e.failed = true
			e.log.Warn("the collector does not take spans", "cause", err.Error())
		}
		if retry < 0 || time.Since(begun) > tryFor || !e.rest(max(pause, retry)) {
			e.dropped.Add(count)
			return
		}
	}
}

// told takes note of a collector that answers.
func (e *Exporter) told(refused int64) {
	if refused > 0 {
		e.log.Warn("the collector refused some spans", "spans", refused)
	}
	if e.failed {
		e.failed = false
		e.log.Info("the collector takes spans again")
	}
	e.full.Store(false)
}

// rest waits before the next try; it is false where there is to be none any more.
func (e *Exporter) rest(d time.Duration) bool {
	timer := time.NewTimer(min(d, lastPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stop:
		return false
	}
}

// send sends one message. refused is how many spans the collector did not want; retry tells after an error how long to wait at
// least, below zero that it would be in vain. https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
func (e *Exporter) send(batch []*Spans) (refused int64, retry time.Duration, err error) {
	e.mu.Lock()
	to := e.to
	e.mu.Unlock()
	req, err := http.NewRequestWithContext(e.ctx, http.MethodPost, to.url, bytes.NewReader(squeeze(to.message(batch))))
	if err != nil {
		return 0, -1, err
	}
	req.Header = to.header
	res, err := e.client.Do(req)
	if err != nil {
		return 0, 0, withoutURL(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	switch {
	case res.StatusCode/100 == 2:
		return rejected(body), 0, nil // it has them, whatever became of the rest of its answer
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 502 && res.StatusCode <= 504:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return 0, time.Duration(min(max(seconds, 0), 3600)) * time.Second, fmt.Errorf("status %d", res.StatusCode)
	}
	return 0, -1, cmp.Or(err, fmt.Errorf("status %d", res.StatusCode))
}

// withoutURL takes the URL out of an error: it may say more than a log should.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

func squeeze(message []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(message) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// The fields of opentelemetry.proto.collector.trace.v1 and of ResourceSpans and ScopeSpans.
const (
	fieldResourceSpans  protowire.Number = 1 // of ExportTraceServiceRequest
	fieldPartialSuccess protowire.Number = 1 // of ExportTraceServiceResponse
	fieldRejected       protowire.Number = 1
	fieldResource       protowire.Number = 1 // of ResourceSpans
	fieldScopeSpans     protowire.Number = 2
	fieldScope          protowire.Number = 1 // of ScopeSpans
	fieldSpans          protowire.Number = 2
	fieldScopeName      protowire.Number = 1

	fieldResourceAttributes protowire.Number = 1
)

const scopeName = "jarvis-gateway"

// message is an ExportTraceServiceRequest.
func (to *destination) message(batch []*Spans) []byte {
	scope := appendBytes(nil, fieldScope, appendText(nil, fieldScopeName, scopeName))
	spans := len(scope)
	for _, s := range batch {
		spans += len(s.text)
	}
	all := len(to.resource) + 1 + protowire.SizeBytes(spans)
	b := make([]byte, 0, all+16)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldResourceSpans, protowire.BytesType), uint64(all))
	b = append(b, to.resource...)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldScopeSpans, protowire.BytesType), uint64(spans))
	b = append(b, scope...)
	for _, s := range batch {
		b = append(b, s.text...)
	}
	return b
}

// rejected reads how many spans were, out of the collector's answer.
func rejected(answer []byte) int64 {
	partial, ok := field(answer, fieldPartialSuccess, protowire.BytesType)
	if !ok {
		return 0
	}
	inner, _ := protowire.ConsumeBytes(partial)
	if value, ok := field(inner, fieldRejected, protowire.VarintType); ok {
		n, _ := protowire.ConsumeVarint(value)
		return max(int64(n), 0)
	}
	return 0
}

// field finds a field's value.
func field(message []byte, number protowire.Number, kind protowire.Type) (value []byte, ok bool) {
	for len(message) > 0 {
		at, t, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil, false
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(at, t, message); n < 0 {
			return nil, false
		}
		if at == number && t == kind {
			return message[:n], true
		}
		message = message[n:]
	}
	return nil, false
}

// destination is where a configuration sends its spans.
func (c Config) destination() *destination {
	to := &destination{url: c.url(), header: http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"gzip"},
		"User-Agent": {"jarvis-gateway"}}}
	for name, value := range c.Headers {
		to.header.Set(name, value.Reveal())
	}
	attributes := maps.Clone(c.Resource)
	if attributes == nil {
		attributes = map[string]string{}
	}
	attributes["service.name"] = c.Service
	var resource []byte
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		value := clean(attributes[key])
		resource = appendKey(resource, fieldResourceAttributes, key, 1+protowire.SizeBytes(len(value)))
		resource = protowire.AppendString(protowire.AppendTag(resource, fieldString, protowire.BytesType), value)
	}
	to.resource = appendBytes(nil, fieldResource, resource)
	return to
}

// url is where OTLP has spans sent: below the collector's address, unless that names the place itself.
func (c Config) url() string {
	if strings.HasSuffix(c.OTLP, tracesPath) {
		return c.OTLP
	}
	return strings.TrimRight(c.OTLP, "/") + tracesPath
}

const tracesPath = "/v1/traces"
