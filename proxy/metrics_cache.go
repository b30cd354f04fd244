package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/cache"
)

// Of all other metrics a request that the cache answers is one that went well, with no provider.
var (
	cacheRequests = newCounter("jarvis_cache_requests_total", "Requests for an entry of `models` with a cache: hit; shared, with the answer that another request like it waited for; miss; or bypass, where the cache is not for such requests, or was not to be asked.", "model", "result")
	cacheSaved    = newMoney("jarvis_cache_saved_usd_total", "What answers of the cache would have cost, in US dollars, of who gave them first, at today's price.", "tenant", "model")
	cacheLookups  = newLookups()
	_             = cacheMetrics()

	caching atomic.Pointer[cache.Cache] // whose state the metrics tell
)

func newLookups() *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "jarvis_cache_lookup_seconds", Help: "Time that requests spent on the cache, by what came of it; of shared answers with the time until these were there.",
		Buckets: []float64{1e-6, 4e-6, 16e-6, 64e-6, 250e-6, .001, .004, .016, .064, .25, 1, 4, 16, 64}}, []string{"result"})
	Metrics.MustRegister(h)
	return h
}

func cacheMetrics() bool {
	for _, m := range []struct {
		name, help string
		total      bool
		read       func(cache.Stats) int64
	}{
		{"jarvis_cache_entries", "Answers that the cache holds in memory.", false, func(s cache.Stats) int64 { return s.Entries }},
		{"jarvis_cache_bytes", "What they take.", false, func(s cache.Stats) int64 { return s.Bytes }},
		{"jarvis_cache_evictions_total", "Answers that had to make room for others before their time.", true, func(s cache.Stats) int64 { return s.Evictions }},
	} {
		value := func() float64 { return float64(m.read(caching.Load().Stats())) }
		if m.total {
			Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help}, value))
		} else {
			Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.name, Help: m.help}, value))
		}
	}
	Metrics.MustRegister(cacheErrors{prometheus.NewDesc("jarvis_cache_errors_total", "Calls to the Redis that the cache is shared over which failed or came too late, by what they were for: get, set, purge, sync. Each get that failed was a miss.", []string{"op"}, nil)})
	return true
}

// cacheErrors reads the errors when someone asks.
type cacheErrors struct{ *prometheus.Desc }

// Describe lists what there is.
func (c cacheErrors) Describe(to chan<- *prometheus.Desc) { to <- c.Desc }

// Collect reads it.
func (c cacheErrors) Collect(to chan<- prometheus.Metric) {
	for op, n := range caching.Load().Stats().Errors {
		to <- prometheus.MustNewConstMetric(c.Desc, prometheus.CounterValue, float64(n), op)
	}
}

// countHit counts a request that the cache answered, beside its outcome.
func (x *exchange) countHit(now time.Time) {
	trace, model := x.traceID(), x.route.Name
	observe(duration.WithLabelValues(x.endpoint(), model, ""), now.Sub(x.start), trace)
	ofTenant.WithLabelValues(tenants.label(x.tenant())).Observe(now.Sub(x.start).Seconds())
	if x.reply.Stream != nil {
		observe(firstOut.WithLabelValues(model, ""), x.first, trace)
	}
	if x.failure == nil {
		cacheSaved.of(tenants.label(x.tenant()), model, "").add(x.look.saved)
	}
}
