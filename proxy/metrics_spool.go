package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/usage/spool"
)

// Spool is whose metrics are told, and SpoolOfStream that of records that others are told of.
var Spool, SpoolOfStream Spools

// UsageStoreUp is 1 while the store of usage takes records.
var UsageStoreUp = newGauge("jarvis_usage_store_up", "1 while the store of usage takes records; 0 while it does not, and they wait in the spool: the log says why.").WithLabelValues()

// Spools are those of this process and those that it has taken over from others: what it found there counts as its own, also once
// it has given them up.
type Spools struct {
	mu   sync.Mutex
	logs []*spool.Log
	past spool.Stats
}

// Store says which there are. A nil is none.
func (s *Spools) Store(logs ...*spool.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = slices.DeleteFunc(slices.Clone(logs), func(l *spool.Log) bool { return l == nil })
	s.past = spool.Stats{}
}

// Add says that there is one more.
func (s *Spools) Add(l *spool.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, l)
}

// Retire says that one is there no more.
func (s *Spools) Retire(l *spool.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.logs, l); i >= 0 {
		s.logs = slices.Delete(s.logs, i, i+1)
		s.past = plus(s.past, l.Stats())
		s.past.Bytes = 0
	}
}

// stats are the sums of all.
func (s *Spools) stats() (sum spool.Stats, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum = s.past
	for _, l := range s.logs {
		sum = plus(sum, l.Stats())
	}
	return sum, len(s.logs) > 0
}

func plus(sum, one spool.Stats) spool.Stats {
	sum.Emitted += one.Emitted
	sum.Delivered += one.Delivered
	sum.Dropped += one.Dropped
	sum.Spooled += one.Spooled
	sum.Cut += one.Cut
	sum.Torn += one.Torn
	sum.Failures += one.Failures
	sum.Bytes += one.Bytes
	if !one.Oldest.IsZero() && (sum.Oldest.IsZero() || one.Oldest.Before(sum.Oldest)) {
		sum.Oldest = one.Oldest
	}
	return sum
}

// spoolMetrics reads it when somebody asks.
type spoolMetrics struct {
	spools                                           *Spools
	emitted, delivered, dropped, cut, torn, failures *prometheus.Desc
	spooled, bytes, oldest                           *prometheus.Desc
}

var _ = func() bool {
	describe := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	Metrics.MustRegister(spoolMetrics{
		spools:    &Spool,
		emitted:   describe("jarvis_usage_emitted_total", "Usage records written, and found in the spool at the start: those delivered, dropped and spooled together."),
		delivered: describe("jarvis_usage_delivered_total", "Usage records that the sink has acknowledged."),
		dropped:   describe("jarvis_usage_dropped_total", "Usage records lost because the spool was full, or because the sink refuses them for good."),
		cut:       describe("jarvis_usage_cut_total", "Requests that the end of a process cut off, whose records say so."),
		torn:      describe("jarvis_usage_torn_bytes_total", "Bytes of the spool that were no record at the start: what a crash had cut, or the disk has lost."),
		failures:  describe("jarvis_usage_delivery_failures_total", "Deliveries that failed and are tried again."),
		spooled:   describe("jarvis_usage_spooled", "Usage records that wait for the sink."),
		bytes:     describe("jarvis_usage_spool_bytes", "Disk that the spool takes."),
		oldest:    describe("jarvis_usage_oldest_seconds", "How long the oldest record has waited for the sink."),
	})
	Metrics.MustRegister(spoolMetrics{
		spools:    &SpoolOfStream,
		emitted:   describe("jarvis_usage_stream_emitted_total", "Usage records for usage.stream, and found waiting for it at the start: those delivered, dropped and spooled together."),
		delivered: describe("jarvis_usage_stream_delivered_total", "Usage records that usage.stream has acknowledged."),
		dropped:   describe("jarvis_usage_stream_dropped_total", "Usage records lost to usage.stream because too many waited, or because it refuses them for good."),
		failures:  describe("jarvis_usage_stream_delivery_failures_total", "Deliveries to usage.stream that failed and are tried again."),
		spooled:   describe("jarvis_usage_stream_spooled", "Usage records that wait for usage.stream."),
		bytes:     describe("jarvis_usage_stream_spool_bytes", "Disk that they take."),
		oldest:    describe("jarvis_usage_stream_oldest_seconds", "How long the oldest of them has waited."),
	})
	return true
}()

// Describe lists what there is.
func (m spoolMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.emitted, m.delivered, m.dropped, m.failures, m.spooled, m.bytes, m.oldest} {
		to <- d
	}
	if m.cut != nil {
		to <- m.cut
		to <- m.torn
	}
}

// Collect reads it, all at one time.
func (m spoolMetrics) Collect(to chan<- prometheus.Metric) {
	s, ok := m.spools.stats()
	if !ok {
		return
	}
	waited := 0.0
	if !s.Oldest.IsZero() {
		waited = max(0, time.Since(s.Oldest).Seconds())
	}
	total := func(d *prometheus.Desc, n int64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	total(m.emitted, s.Emitted)
	total(m.delivered, s.Delivered)
	total(m.dropped, s.Dropped)
	if m.cut != nil { // nothing of a stream is
		total(m.cut, s.Cut)
		total(m.torn, s.Torn)
	}
	total(m.failures, s.Failures)
	gauge(m.spooled, float64(s.Spooled))
	gauge(m.bytes, float64(s.Bytes))
	gauge(m.oldest, waited)
}
