package proxy

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file tells rollouts how requests went.

var (
	rolloutRequests = newCounter("jarvis_rollout_requests_total", "Requests of an entry of `models` with a rollout, and copies of them, by the entry that they were given to (arm) and whether it answered: ok or failed.", "model", "arm", "outcome")
	_               = rolloutMetrics()
)

// tryOut tells the rollout how the request went, which had a part in it. What the client did wrong or gave up says nothing, nor
// does what went to a third model because the one that was to serve is spared. One that a fallback had to answer has failed, if
// that was the model's fault.
func (x *exchange) tryOut(now time.Time) {
	if x.query == nil || x.query.Known == 0 {
		return
	}
	trial := x.query.Trial
	x.query.Trial = router.Trial{}
	_, arm := trial.Arm()
	if arm == "" || x.route == nil || arm != x.route.Name || x.hit() {
		return
	}
	answered := x.failure == nil && (x.target == nil || x.target.Serves() == x.route)
	if !answered && !x.telling() {
		return
	}
	judge(&trial, now, answered, x.awaited(), int64(x.tally.paid), x.tally.all().Total())
}

// awaited is how long the request waited for providers until its first content, or its whole answer, which both models give to
// like requests: what it waited for its turn, in the gateway, is nobody's.
func (x *exchange) awaited() time.Duration { return x.upstream }

// telling tells that it says something of the model that the request was not answered by it. One whose targets have all been given
// up, because calls to them failed, has nobody to be asked.
func (x *exchange) telling() bool {
	if errors.Is(x.broken(), router.ErrLeft) {
		return false
	}
	for _, at := range x.failed {
		if at.tells && at.target.Serves() == x.route {
			return true
		}
	}
	switch {
	case x.failure == nil:
		return false
	case x.tries == 0:
		return x.failure.Failover && x.failure.Status >= 500
	}
	return x.target.Serves() == x.route && telling(x.failure)
}

// telling is true for what clients have no part in: a provider that fails, that limits the gateway, or that does not know the model.
// What the gateway itself says is not the model's, nor is a request that it cannot serve: anybody can make one.
func telling(e *wire.Error) bool {
	if e.Own {
		return false
	}
	switch outcomeOf(e) {
	case outcomeProvider, outcomeTimeout:
		return true
	case outcomeLimited:
		return e.Code == "upstream_rate_limited"
	}
	return e.Status == fasthttp.StatusNotFound && e.Code == "model_not_found"
}

// judge counts one end of a trial.
func judge(t *router.Trial, now time.Time, answered bool, first time.Duration, cost, tokens int64) {
	outcome := outcomeOK
	if !answered {
		first, outcome = 0, "failed"
	}
	model, arm := t.Arm()
	rolloutRequests.WithLabelValues(model, arm, outcome).Inc()
	t.End(now, answered, first, cost, tokens)
}

// rolloutShares tells what shares other models get, as things are when someone asks.
type rolloutShares struct{ *prometheus.Desc }

func rolloutMetrics() bool {
	Metrics.MustRegister(rolloutShares{prometheus.NewDesc("jarvis_rollout_percent",
		"Percent of its requests that an entry of `models` gives to another one, or copies of them; 0 once the rollout was called off.", []string{"model", "to"}, nil)})
	return true
}

// Describe lists what there is.
func (s rolloutShares) Describe(to chan<- *prometheus.Desc) { to <- s.Desc }

// Collect reads it.
func (s rolloutShares) Collect(to chan<- prometheus.Metric) {
	r := routing.Load()
	if r == nil {
		return
	}
	for _, v := range r.Rollouts(time.Now()) {
		to <- prometheus.MustNewConstMetric(s.Desc, prometheus.GaugeValue, v.Percent, v.Model, v.To)
	}
}
