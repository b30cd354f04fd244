package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"jarvis-gateway/proxy/wire"
)

// collector stands for one, without a network, so that time may be the test's own.
type collector struct {
	mu     sync.Mutex
	answer func(n int, req *http.Request) (*http.Response, error) // to the nth message
	n      int
	spans  int
	last   *http.Request
	text   []byte
}

func (c *collector) RoundTrip(req *http.Request) (*http.Response, error) {
	zipped, err := gzip.NewReader(req.Body)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(zipped)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.n++
	n := c.n
	c.mu.Unlock()
	res, err := c.answer(n, req)
	if err == nil && res.StatusCode == http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.spans, c.last, c.text = c.spans+spansIn(text), req, text
	}
	return res, err
}

func (c *collector) counted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans
}

func answer(status int, body string, header ...string) (*http.Response, error) {
	res := &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewBufferString(body)), Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res, nil
}

func taking(int, *http.Request) (*http.Response, error) { return answer(200, "") }

func (e *Exporter) held() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bytes
}

// spansIn counts the spans of a message.
func spansIn(text []byte) (n int) {
	resource, _ := field(text, fieldResourceSpans, protowire.BytesType)
	inner, _ := protowire.ConsumeBytes(resource)
	scope, _ := field(inner, fieldScopeSpans, protowire.BytesType)
	spans, _ := protowire.ConsumeBytes(scope)
	for len(spans) > 0 {
		number, kind, size := protowire.ConsumeTag(spans)
		spans = spans[size:]
		size = protowire.ConsumeFieldValue(number, kind, spans)
		if size < 0 {
			return -1
		}
		if number == fieldSpans {
			n++
		}
		spans = spans[size:]
	}
	return n
}

// exporting is an exporter before a collector, in a bubble of its own time.
func exporting(t *testing.T, c *collector, test func(t *testing.T, e *Exporter, tr *Tracer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := NewExporter(quiet())
		e.client.Transport = c
		tr := e.Tracer(Config{OTLP: "http://collector", Headers: map[string]wire.Secret{"authorization": "Bearer x"}, Resource: map[string]string{"zone": "b"}})
		test(t, e, tr)
		e.Close(t.Context())
	})
}

func some(n, size int) *Spans {
	s := NewSpans(Context{Trace: ID{1}, Span: SpanID{1}})
	now := time.Now()
	for range n {
		s.Add(&Span{ID: NewSpanID(), Name: "x", Kind: Internal, Begin: now, End: now, Attributes: make(Attributes, 0)})
	}
	s.text = append(make([]byte, 0, max(size, len(s.text))), s.text...)
	return s
}

func TestExport(t *testing.T) {
	c := &collector{answer: taking}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		begun := time.Now()
		tr.Export(some(3, 0))
		tr.Export(some(2, 0))
		time.Sleep(sendEvery + 1)
		synctest.Wait()
		if exported, dropped := e.Stats(); exported != 5 || dropped != 0 || c.spans != 5 || c.n != 1 {
			t.Errorf("%d exported, %d dropped, %d came in %d messages after %s", exported, dropped, c.spans, c.n, time.Since(begun))
		}
		h := c.last.Header
		if c.last.URL.String() != "http://collector/v1/traces" || h.Get("Authorization") != "Bearer x" || h.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %v", c.last.URL, h)
		}
		if !bytes.Contains(c.text, []byte("jarvis-gateway")) || !bytes.Contains(c.text, []byte("zone")) {
			t.Errorf("no resource in %q", c.text)
		}
	})
}

// What comes while Close runs is given away too, or counted; afterwards it is counted.
func TestClose(t *testing.T) {
	c := &collector{answer: taking}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		tr.Export(some(4, 0))
		e.Close(t.Context())
		tr.Export(some(3, 0))
		if exported, dropped := e.Stats(); exported != 4 || dropped != 3 || c.spans != 4 {
			t.Errorf("%d exported, %d dropped, %d came", exported, dropped, c.spans)
		}
	})
}

// Close does not wait for a collector that hangs beyond its time.
func TestCloseHangs(t *testing.T) {
	c := &collector{answer: func(_ int, req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		for range 3 {
			tr.Export(some(1, mostSent))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begun := time.Now()
		e.Close(ctx)
		if _, dropped := e.Stats(); dropped != 3 || time.Since(begun) != 2*time.Second {
			t.Errorf("%d dropped in %s", dropped, time.Since(begun))
		}
	})
}

// A collector that is away costs nothing but the spans that do not fit: nobody waits, and all are counted.
func TestCollectorAway(t *testing.T) {
	away := true
	c := &collector{}
	c.answer = func(int, *http.Request) (*http.Response, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if away {
			return nil, errors.New("connection refused")
		}
		return answer(200, "")
	}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		begun, emitted := time.Now(), int64(0)
		for range 2 * mostQueued / (64 << 10) {
			tr.Export(some(1, 64<<10))
			emitted++
		}
		if time.Since(begun) != 0 {
			t.Errorf("requests waited for %s", time.Since(begun))
		}
		if _, dropped := e.Stats(); dropped != emitted/2 || e.held() > mostQueued {
			t.Errorf("%d dropped of %d, %d bytes wait", dropped, emitted, e.held())
		}
		time.Sleep(30 * time.Second)
		c.mu.Lock()
		away = false
		c.mu.Unlock()
		time.Sleep(time.Minute)
		if exported, dropped := e.Stats(); exported != emitted/2 || exported+dropped != emitted || int64(c.counted()) != exported {
			t.Errorf("%d exported, %d dropped of %d; %d came", exported, dropped, emitted, c.counted())
		}
		if e.held() != 0 {
			t.Errorf("%d bytes are still held", e.held())
		}
	})
}

// A message is given up after a minute, as newer ones wait behind it.
func TestGivesUp(t *testing.T) {
	c := &collector{answer: func(int, *http.Request) (*http.Response, error) { return answer(503, "") }}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		tr.Export(some(2, 0))
		time.Sleep(tryFor + lastPause + time.Second)
		synctest.Wait()
		if _, dropped := e.Stats(); dropped != 2 || c.n < 4 || c.n > 10 {
			t.Errorf("%d dropped after %d tries", dropped, c.n)
		}
	})
}

func TestAnswers(t *testing.T) {
	partial := string(appendBytes(nil, fieldPartialSuccess, protowire.AppendVarint(protowire.AppendTag(nil, fieldRejected, protowire.VarintType), 2)))
	for _, c := range []struct {
		name              string
		first             func() (*http.Response, error)
		exported, dropped int64
		tries             int
		after             time.Duration // what the second try waits at least
	}{
		{"taken", func() (*http.Response, error) { return answer(200, "") }, 5, 0, 1, 0},
		{"accepted", func() (*http.Response, error) { return answer(202, "") }, 5, 0, 1, 0},
		{"partly refused", func() (*http.Response, error) { return answer(200, partial) }, 3, 2, 1, 0},
		{"malformed answer", func() (*http.Response, error) { return answer(200, "\xff\xff\xff") }, 5, 0, 1, 0},
		{"refused", func() (*http.Response, error) { return answer(400, "") }, 0, 5, 1, 0},
		{"unauthorized", func() (*http.Response, error) { return answer(401, "") }, 0, 5, 1, 0},
		{"moved", func() (*http.Response, error) { return answer(307, "", "Location", "http://elsewhere/") }, 0, 5, 1, 0},
		{"too many", func() (*http.Response, error) { return answer(429, "", "Retry-After", "7") }, 5, 0, 2, 7 * time.Second},
		{"unavailable", func() (*http.Response, error) { return answer(503, "") }, 5, 0, 2, firstPause},
		{"broken", func() (*http.Response, error) { return nil, errors.New("reset") }, 5, 0, 2, firstPause},
	} {
		t.Run(c.name, func(t *testing.T) {
			var at [2]time.Time
			to := &collector{answer: func(n int, _ *http.Request) (*http.Response, error) {
				at[n-1] = time.Now()
				if n == 1 {
					return c.first()
				}
				return answer(200, "")
			}}
			exporting(t, to, func(t *testing.T, e *Exporter, tr *Tracer) {
				tr.Export(some(5, 0))
				time.Sleep(20 * time.Second)
				synctest.Wait()
				exported, dropped := e.Stats()
				if exported != c.exported || dropped != c.dropped || to.n != c.tries || to.n == 2 && at[1].Sub(at[0]) < c.after {
					t.Errorf("%d exported, %d dropped, %d tries", exported, dropped, to.n)
				}
			})
		})
	}
}

// Many requests end at once.
func TestExportTogether(t *testing.T) {
	c := &collector{answer: taking}
	exporting(t, c, func(t *testing.T, e *Exporter, tr *Tracer) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 200 {
					tr.Export(some(2, 0))
				}
			})
		}
		all.Wait()
		e.Close(t.Context())
		if exported, dropped := e.Stats(); exported != 8*200*2 || dropped != 0 || int64(c.counted()) != exported {
			t.Errorf("%d exported, %d dropped, %d came", exported, dropped, c.counted())
		}
	})
}

// A configuration without a collector starts nothing.
func TestOff(t *testing.T) {
	e := NewExporter(quiet())
	if e.Tracer(Config{}) != nil || e.done != nil {
		t.Error("something is traced")
	}
	e.Close(t.Context())
}
