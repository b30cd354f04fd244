package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// limiting is whose limits the metrics tell of.
var limiting atomic.Pointer[policy.Gate]

// Waited counts a request that waited for a limit, or for a place at a provider.
func Waited(d time.Duration, result string) { queued.WithLabelValues(result).Observe(d.Seconds()) }

// refusedBy counts a refusal under the limit that was short.
func (x *exchange) refusedBy(e *wire.Error) {
	if e == nil || e.Status != 429 || e.Code != "rate_limit_exceeded" && e.Code != "insufficient_quota" {
		return
	}
	if unit := x.grant.Short(); unit != "" {
		shortOf.WithLabelValues(tenants.label(x.tenant()), unit).Inc()
	}
}

// budgetMetrics tells how budgets stand when somebody asks: those of the gateway, of tenants and of their teams. Of the tenants
// that have no name in metrics, the one that has used most of its own counts.
type budgetMetrics struct{ used, waiting *prometheus.Desc }

var _ = func() bool {
	Metrics.MustRegister(budgetMetrics{
		prometheus.NewDesc("jarvis_budget_used_ratio", "Share of a budget that is used, 1 for all of it; without a tenant it is the whole gateway's.", []string{"tenant", "team", "budget"}, nil),
		prometheus.NewDesc("jarvis_queue_waiting", "Requests that wait for limits or for places at providers.", nil, nil),
	})
	return true
}()

// Describe lists what there is.
func (m budgetMetrics) Describe(to chan<- *prometheus.Desc) { to <- m.used; to <- m.waiting }

// Collect reads it.
func (m budgetMetrics) Collect(to chan<- prometheus.Metric) {
	gate := limiting.Load()
	if gate == nil {
		return
	}
	to <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(gate.Waiting()))
	shares := map[[3]string]float64{}
	for _, b := range gate.Budgets() {
		if b.Used == 0 && b.Tenant != "" && !tenants.has(b.Tenant) {
			continue // names are for those who do something
		}
		key := [3]string{tenants.label(b.Tenant), b.Team, b.Text}
		if key[0] == unnamed {
			key[1] = ""
		}
		shares[key] = max(shares[key], b.Used)
	}
	for key, used := range shares {
		to <- prometheus.MustNewConstMetric(m.used, prometheus.GaugeValue, used, key[:]...)
	}
}
