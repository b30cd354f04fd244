package proxy

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/router"
)

// Pools are those of the config in force, by provider, for their metrics.
var Pools atomic.Pointer[map[string]*router.Pool]

// poolMetrics tells how replicas are when somebody asks. Its series are those of the replicas that there are.
type poolMetrics struct {
	state, inFlight, running, waiting, kv, answered, failed *prometheus.Desc
	ready, prefixes, desperate                              *prometheus.Desc
}

var _ = func() bool {
	replica, pool := []string{"provider", "replica"}, []string{"provider"}
	describe := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	Metrics.MustRegister(&poolMetrics{
		state:     describe("jarvis_replica_state", "1, labelled with the replica's state: fit, ejected, down or draining.", append(slices.Clone(replica), "state")),
		inFlight:  describe("jarvis_replica_in_flight", "This gateway's requests at the replica.", replica),
		running:   describe("jarvis_replica_running", "Everybody's requests that the replica computes, as it says.", replica),
		waiting:   describe("jarvis_replica_waiting", "Everybody's requests that wait at the replica, as it says.", replica),
		kv:        describe("jarvis_replica_kv", "Share of the replica's KV cache in use, as it says.", replica),
		answered:  describe("jarvis_replica_answered_total", "Requests that the replica answered.", replica),
		failed:    describe("jarvis_replica_failed_total", "Requests that failed by the replica's fault.", replica),
		ready:     describe("jarvis_pool_ready", "Replicas that are fit for requests.", pool),
		prefixes:  describe("jarvis_pool_prefix_entries", "Blocks of prompts that some replica's cache is taken to hold.", pool),
		desperate: describe("jarvis_pool_desperate_total", "Requests sent to a replica whose health probes fail, as those of all others did.", pool),
	})
	return true
}()

// Describe tells what there may be.
func (m *poolMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.state, m.inFlight, m.running, m.waiting, m.kv, m.answered, m.failed, m.ready, m.prefixes, m.desperate} {
		out <- d
	}
}

// Collect tells what there is.
func (m *poolMetrics) Collect(out chan<- prometheus.Metric) {
	pools := Pools.Load()
	if pools == nil {
		return
	}
	now := time.Now()
	for _, provider := range slices.Sorted(maps.Keys(*pools)) {
		pool := (*pools)[provider]
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{provider}, labels...)...)
		}
		total := func(d *prometheus.Desc, v uint64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{provider}, labels...)...)
		}
		gauge(m.ready, float64(pool.Load(now).Ready))
		gauge(m.prefixes, float64(pool.PrefixEntries()))
		total(m.desperate, pool.Desperate())
		for _, r := range pool.Replicas() {
			v := r.View(now)
			gauge(m.state, 1, v.Address, v.State.String())
			gauge(m.inFlight, float64(v.InFlight), v.Address)
			total(m.answered, v.Answered, v.Address)
			total(m.failed, v.Failed, v.Address)
			if v.Scraped != nil {
				gauge(m.running, float64(v.Scraped.Running), v.Address)
				gauge(m.waiting, float64(v.Scraped.Waiting), v.Address)
				gauge(m.kv, v.Scraped.KV, v.Address)
			}
		}
	}
}
