package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/state"
)

// Metrics holds every jarvis_* metric. Labels are bounded by the config: models are entries of `models`, endpoints those there
// are, tenants so many as BoundTenants lets have a name; never what a client typed.
var Metrics = prometheus.NewRegistry()

var (
	latency  = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640}
	requests = newCounter("jarvis_requests_total", "Requests answered, by the call of the API, the tenant, the entry of `models`, the provider that served (none where none was asked), and how it ended.", "endpoint", "tenant", "model", "provider", "outcome")
	duration = newHistogram("jarvis_request_duration_seconds", "Time from a request's arrival to the last byte of its answer.", "endpoint", "model", "provider")
	ofTenant = newHistogram("jarvis_tenant_request_duration_seconds", "Time from a request's arrival to the last byte of its answer, by tenant.", "tenant")
	firstOut = newHistogram("jarvis_first_token_seconds", "Time from a request's arrival to the first content of a streamed answer.", "model", "provider")
	spent    = newCounter("jarvis_tokens_total", "Tokens by kind; cached, cache_write, reasoning and audio are parts of prompt and completion. Copies of requests to a model that is being tried are no tenant's.", "tenant", "model", "provider", "kind")
	paid     = newMoney("jarvis_cost_usd_total", "What answers have cost, in US dollars, with the failed attempts before them, by who served in the end. Copies of requests to a model that is being tried are no tenant's.", "tenant", "model", "provider")
	unbilled = newCounter("jarvis_usage_estimated_total", "Requests of which a provider reported no usage, of an answer or of a failed attempt, so that it was estimated.", "model", "provider")
	attempts = newCounter("jarvis_upstream_attempts_total", "Calls to providers, by result: ok, an error code, aborted, or lost where another answered first.", "model", "provider", "result")
	shortOf  = newCounter("jarvis_limit_refusals_total", "Requests refused because a limit of a tenant was short, by what it counts.", "tenant", "unit")
	queued   = newHistogram("jarvis_queue_wait_seconds", "Time that requests waited for a limit or for a place at a provider, by what became of that: served, refused, or left with the client.", "result")
	refusals = newCounter("jarvis_refusals_total", "Requests refused by the gateway itself, by reason.", "reason")
	panics   = newCounter("jarvis_panics_total", "Requests that met a bug of the gateway.")
	dropped  = newCounter("jarvis_access_lines_dropped_total", "Access lines lost because their reader was too slow.")
	_        = runtimeMetrics()

	inFlight atomic.Int64 // requests not settled yet

	// Reloads counts config reloads by result: ok or failed.
	Reloads = newCounter("jarvis_config_reloads_total", "Config reloads, by result.", "result")
	// LastReload is 1 when the file on disk is the config in force.
	LastReload = newGauge("jarvis_config_last_reload_successful", "1 when the last reload was applied, 0 when it was refused.").WithLabelValues()
	// BudgetAlerts counts shares of budgets that were reached, and what became of the messages.
	BudgetAlerts = newCounter("jarvis_budget_alerts_total", "Shares of budgets that were reached, and what became of the messages: reached, delivered, gone, failed, dropped.", "outcome")
	// DirectoryErrors counts looks for changes of tenants and keys that failed.
	DirectoryErrors = newCounter("jarvis_directory_errors_total", "Looks for changes of tenants and keys in the state store that failed, or could not take in all of them.").WithLabelValues()
	// BuildInfo is 1, with the version as label.
	BuildInfo = newGauge("jarvis_build_info", "1, labelled with what is running.", "version", "revision", "goversion")
)

func runtimeMetrics() bool {
	Metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "jarvis_state_dropped_total",
		Help: "Entries of the state store that were lost because it could not be written."}, stateDropped))
	Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "jarvis_audit_dropped_total",
		Help: "Audit entries that were lost because the state store could not be written."}, auditDropped))
	Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "jarvis_requests_in_flight",
		Help: "Requests not answered to the end yet."}, func() float64 { return float64(inFlight.Load()) }))
	counterMetrics()
	panics.WithLabelValues() // what grows to 1 must have been 0 before
	return true
}

// Counters is what the metrics of limits are read from.
var Counters atomic.Pointer[counter.Counters]

func counterMetrics() {
	for _, m := range []struct {
		name, help string
		total      bool
		read       func(counter.Stats) float64
	}{
		{"jarvis_admissions_local_total", "Admissions under limits that waited for no other server.", true, func(s counter.Stats) float64 { return float64(s.Direct) }},
		{"jarvis_admissions_waited_total", "Admissions under limits that waited for the shared counters.", true, func(s counter.Stats) float64 { return float64(s.Waited) }},
		{"jarvis_counters_syncs_total", "Calls to the shared counters.", true, func(s counter.Stats) float64 { return float64(s.Syncs) }},
		{"jarvis_counters_errors_total", "Calls to the shared counters that failed.", true, func(s counter.Stats) float64 { return float64(s.Errors) }},
		{"jarvis_counters_unsent", "Counters with use that the shared counters do not know of yet.", false, func(s counter.Stats) float64 { return float64(s.Unsent) }},
		{"jarvis_counters_degraded", "1 while the shared counters are away and stores.on_error decides.", false, func(s counter.Stats) float64 {
			if s.Degraded {
				return 1
			}
			return 0
		}},
	} {
		value := func() float64 {
			if c := Counters.Load(); c != nil {
				return m.read(c.Stats())
			}
			return 0
		}
		if m.total {
			Metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help}, value))
		} else {
			Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.name, Help: m.help}, value))
		}
	}
}

// StateDropped is the store whose losses are counted.
var StateDropped atomic.Pointer[state.Store]

func auditDropped() float64 {
	if store := StateDropped.Load(); store != nil {
		return float64(store.Missed())
	}
	return 0
}

func stateDropped() float64 {
	if store := StateDropped.Load(); store != nil {
		return float64(store.Dropped())
	}
	return 0
}

func newGauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	Metrics.MustRegister(g)
	return g
}

func newCounter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	Metrics.MustRegister(c)
	return c
}

func newHistogram(name, help string, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: latency,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour}, labels)
	Metrics.MustRegister(h)
	return h
}
