package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// targetMetrics are the metrics of one target for one tenant and one call of the API, looked up once instead of for each request.
type targetMetrics struct {
	tenant, endpoint string
	model, provider  string
	ok, tried        prometheus.Counter
	total, first     prometheus.Observer
	tenants          prometheus.Observer // the tenant's share of total
	prompt, output   prometheus.Counter
	cached           prometheus.Counter // nil until there are such tokens
	cost             *money
}

func newTargetMetrics(h *router.Target, tenant, endpoint string) *targetMetrics {
	return &targetMetrics{
		tenant: tenant, endpoint: endpoint, model: h.Route, provider: h.Provider,
		ok:      requests.WithLabelValues(endpoint, tenant, h.Route, h.Provider, outcomeOK),
		tried:   attempts.WithLabelValues(h.Route, h.Provider, outcomeOK),
		total:   duration.WithLabelValues(endpoint, h.Route, h.Provider),
		tenants: ofTenant.WithLabelValues(tenant),
		first:   firstOut.WithLabelValues(h.Route, h.Provider),
		prompt:  spent.WithLabelValues(tenant, h.Route, h.Provider, "prompt"),
		output:  spent.WithLabelValues(tenant, h.Route, h.Provider, "completion"),
		cached:  spent.WithLabelValues(tenant, h.Route, h.Provider, "cached"),
		cost:    paid.of(tenant, h.Route, h.Provider),
	}
}

// lazyTarget makes a target's metrics when they are first used, so that a long list of models does not become a long list of
// empty series. Who reads takes no lock: what is new goes into a copy.
type lazyTarget struct {
	target *router.Target
	mu     sync.Mutex
	series atomic.Pointer[map[seriesKey]*targetMetrics]
}

type seriesKey struct {
	tenant string
	ep     *endpoint
}

// of finds the metrics for a tenant, "" where it is nobody's, and a call of the API.
func (l *lazyTarget) of(tenant string, ep *endpoint) *targetMetrics {
	if m := l.known(seriesKey{tenant, ep}); m != nil {
		return m
	}
	return l.add(seriesKey{tenants.label(tenant), ep})
}

func (l *lazyTarget) known(key seriesKey) *targetMetrics {
	if all := l.series.Load(); all != nil {
		return (*all)[key]
	}
	return nil
}

func (l *lazyTarget) add(key seriesKey) *targetMetrics {
	if m := l.known(key); m != nil {
		return m // that of all tenants without a name
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.known(key); m != nil {
		return m
	}
	all := map[seriesKey]*targetMetrics{}
	if before := l.series.Load(); before != nil {
		all = maps.Clone(*before)
	}
	name := ""
	if key.ep != nil {
		name = key.ep.name
	}
	m := newTargetMetrics(l.target, key.tenant, name)
	all[key] = m
	l.series.Store(&all)
	return m
}

// metrics are those of this request at a target.
func (x *exchange) metrics(t *router.Target) *targetMetrics {
	return x.g.metrics[t.Index].of(x.tenant(), x.ep)
}

// endpoint is the name of the call of the API, "" for what is none.
func (x *exchange) endpoint() string {
	if x.ep == nil {
		return ""
	}
	return x.ep.name
}

// tenant is whose request it is, "" as long as nobody knows.
func (x *exchange) tenant() string {
	if x.caller == nil {
		return ""
	}
	return x.caller.Tenant
}

func (m *targetMetrics) count(u wire.Usage, cost wire.Money) {
	m.prompt.Add(float64(u.Prompt))
	m.output.Add(float64(u.Completion))
	if u.CachedPrompt > 0 {
		m.cached.Add(float64(u.CachedPrompt))
	}
	m.part("cache_write", u.CacheWrite)
	m.part("reasoning", u.Reasoning)
	m.part("audio", u.Audio)
	m.cost.add(cost)
	if u.Estimated {
		unbilled.WithLabelValues(m.model, m.provider).Inc()
	}
}

func (m *targetMetrics) part(kind string, n int64) {
	if n > 0 {
		spent.WithLabelValues(m.tenant, m.model, m.provider, kind).Add(float64(n))
	}
}

func (m *targetMetrics) outcome(name string) {
	if name == outcomeOK {
		m.ok.Inc()
		return
	}
	requests.WithLabelValues(m.endpoint, m.tenant, m.model, m.provider, name).Inc()
}

func (m *targetMetrics) attempt(result string) {
	if result == outcomeOK {
		m.tried.Inc()
		return
	}
	attempts.WithLabelValues(m.model, m.provider, result).Inc()
}

// took counts how long an answered request took. A trace's id makes it an example of that.
func (m *targetMetrics) took(total time.Duration, trace []byte) {
	observe(m.total, total, trace)
	m.tenants.Observe(total.Seconds())
}

func (m *targetMetrics) began(first time.Duration, trace []byte) { observe(m.first, first, trace) }

func observe(h prometheus.Observer, d time.Duration, trace []byte) {
	if trace == nil {
		h.Observe(d.Seconds())
		return
	}
	h.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": string(trace)})
}
