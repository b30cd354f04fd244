package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/router"
)

// This file tells how a request came to the model that served it.

// divert sends the request to another model where rules, a rollout or the state of things say so. Limits by model count both:
// what was asked for, and what serves (exchange.names).
func (x *exchange) divert() {
	if !x.route.Diverts() {
		return
	}
	to, detour := x.g.Router.Resolve(x.route, x.Query)
	if len(detour) == 0 {
		return
	}
	x.route, x.detour = to, &detour
	x.model = x.route.Name // such routes have no pattern, and their targets models of their own
	for _, hop := range detour {
		detours.WithLabelValues(hop.From, hop.To, hop.Kind).Inc()
	}
}

// routed tells the client why another model serves.
func (x *exchange) routed(h *fasthttp.ResponseHeader) {
	if why := x.why(); why != "" {
		h.SetCanonical(headerRoute, []byte(why))
	}
}

// why is how the request came to another model than was asked for, "" where it did not.
func (x *exchange) why() string {
	steps := x.hedged(x.steps())
	switch {
	case x.detour == nil:
		return steps
	case steps == "":
		return x.detour.String()
	}
	return x.detour.String() + ", " + steps
}

var headerRoute = []byte("X-Jarvis-Route")

var detours = newCounter("jarvis_detours_total", "Requests that went to another entry of `models` than was asked for, by why: rule, rollout or degrade.", "model", "to", "kind")

// Waiting is how many requests wait for limits.
func (s *Server) Waiting() int64 { return s.current.Load().Gate.Waiting() }

// routing is whose state the metrics of routing tell.
var routing atomic.Pointer[router.Router]

// degradedModels tells which models others serve for, as things are when someone asks.
type degradedModels struct{ now, callers *prometheus.Desc }

func newDegradedModels() degradedModels {
	return degradedModels{
		prometheus.NewDesc("jarvis_degraded", "1 while another model serves in the place of this one, by what was beyond its threshold.", []string{"model", "to", "cause"}, nil),
		prometheus.NewDesc("jarvis_degraded_callers", "Callers for whom another model serves in the place of this one, because their budgets run out.", []string{"model", "to"}, nil),
	}
}

// Describe lists what there is.
func (d degradedModels) Describe(to chan<- *prometheus.Desc) { to <- d.now; to <- d.callers }

// Collect reads it.
func (d degradedModels) Collect(to chan<- prometheus.Metric) {
	r := routing.Load()
	if r == nil {
		return
	}
	for _, m := range r.Degraded(time.Now()) {
		for _, cause := range m.Causes {
			on := 0.0
			if cause == m.Cause {
				on = 1
			}
			to <- prometheus.MustNewConstMetric(d.now, prometheus.GaugeValue, on, m.Model, m.To, cause)
		}
		to <- prometheus.MustNewConstMetric(d.callers, prometheus.GaugeValue, float64(m.Callers), m.Model, m.To)
	}
}

var _ = routingMetrics()

func routingMetrics() bool {
	Metrics.MustRegister(newDegradedModels(), prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "jarvis_expression_errors_total",
		Help: "Conditions whose expression came to nothing, such as tags[3] of fewer, and so did not fit."}, func() float64 { return float64(router.ExpressionErrors()) }))
	return true
}
