package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/router"
)

// This file tells of the attempts that came to nothing, and why others followed.

// step is one of them.
type step struct {
	target *router.Target
	reason string
	begun  bool // its answer broke off
	tells  bool // something of the model, see telling
}

var (
	retries   = newCounter("jarvis_retries_total", "Calls to providers that were made because an earlier one for the same request failed, on the same entry of `models`, by the failure's reason.", "model", "from", "to", "reason")
	fallbacks = newCounter("jarvis_fallbacks_total", "Requests of an entry of `models` that went on from one entry (from) to another (to), by the last failure's reason; unfit: no target was fit to be asked.", "model", "from", "to", "reason")
	_         = breakerMetrics()

	// BreakerOpens counts how often targets were given up for a while.
	BreakerOpens = newCounter("jarvis_breaker_opens_total", "Times that a target's breaker opened, by cause; served is * where clients name the model.", "model", "provider", "served", "cause")
)

// stepped counts the step from what failed to the next target, if it is one.
func (x *exchange) stepped(to *router.Target) {
	serving, reason := x.route, "unfit"
	if n := len(x.failed); n > 0 {
		last := x.failed[n-1]
		if serving, reason = last.target.Serves(), last.reason; serving == to.Serves() {
			retries.WithLabelValues(to.Route, last.target.Provider, to.Provider, reason).Inc()
			return
		}
	}
	if serving != to.Serves() {
		fallbacks.WithLabelValues(x.route.Name, serving.Name, to.Route, reason).Inc()
	}
}

// fell takes note of an attempt that failed. When the client has waited as long as it wanted to, nobody else is asked, and it says
// nothing of the target.
func (x *exchange) fell(target *router.Target, err error) error {
	e := x.fault(err)
	if e.Status == statusGone || e == errUnrecorded {
		return err
	}
	x.failed = append(x.failed, step{target: target, reason: resultOf(e), tells: telling(e)})
	if e.Failover && x.hurried() {
		own := *e
		own.Failover = false
		return &own
	}
	return err
}

// hurried tells that the client's own limit of time has passed.
func (x *exchange) hurried() bool {
	d := x.patience()
	return d > 0 && time.Since(x.start) >= d-clockSlack
}

// clockSlack is how much earlier than the client's limit its end may come, as times are rounded.
const clockSlack = 5 * time.Millisecond

// patience is how long the client is ready to wait: X-Jarvis-Timeout, in seconds or as 1m30s; 0 where it does not say.
func (x *exchange) patience() time.Duration {
	v := x.head().PeekCanonical(headerTimeout)
	if len(v) == 0 {
		return 0
	}
	d, err := time.ParseDuration(string(v))
	if err != nil {
		d, err = time.ParseDuration(string(v) + "s")
	}
	if err != nil || d < 0 {
		return 0
	}
	return d
}

// left is how long the client is still ready to wait; 0 where it does not say.
func (x *exchange) left() time.Duration {
	if d := x.patience(); d > 0 {
		return max(d-time.Since(x.start), time.Millisecond)
	}
	return 0
}

// mostSteps are told to a client, and to the log.
const mostSteps = 8

// steps tells why another target answered than the first, such as failover:upstream_rate_limited, fallback:small.
func (x *exchange) steps() string {
	if x.target == nil || x.route == nil || len(x.failed) == 0 && x.target.Serves() == x.route {
		return ""
	}
	var words []string
	serving := x.route
	for i := range x.failed[:min(len(x.failed), mostSteps)] {
		at := x.failed[i]
		if at.target.Serves() != serving {
			serving = at.target.Serves()
			words = append(words, "fallback:"+serving.Name)
		}
		switch next := x.after(i); {
		case next != nil && at.begun:
			words = append(words, "continue:"+at.reason)
		case next == nil || next.Serves() != serving: // told as a fallback
		case next.Provider == at.target.Provider && next.Model == at.target.Model:
			words = append(words, "retry:"+at.reason)
		default:
			words = append(words, "failover:"+at.reason)
		}
	}
	if x.target.Serves() != serving {
		words = append(words, "fallback:"+x.target.Route)
	}
	return strings.Join(words, ", ")
}

// after is who was asked after a failed attempt, nil for nobody.
func (x *exchange) after(i int) *router.Target {
	switch {
	case i+1 < len(x.failed):
		return x.failed[i+1].target
	case x.tally.came:
		return x.target
	}
	return nil
}

// failures lists the attempts that failed, as provider/model:reason.
func (x *exchange) failures() string {
	var words []string
	for _, at := range x.failed[:min(len(x.failed), mostSteps)] {
		words = append(words, at.target.Provider+"/"+provider.ShownModel(x.modelOf(at.target))+":"+at.reason)
	}
	if more := len(x.failed) - len(words); more > 0 {
		words = append(words, "and "+strconv.Itoa(more)+" more")
	}
	return strings.Join(words, ", ")
}

// breakers tells how breakers stand, as things are when someone asks.
type breakers struct{ *prometheus.Desc }

func breakerMetrics() bool {
	Metrics.MustRegister(breakers{prometheus.NewDesc("jarvis_breaker_state",
		"Whether a target is asked: 0 closed, 1 half-open, 2 open; served is * where clients name the model, and the value the worst of them.",
		[]string{"model", "provider", "served"}, nil)})
	return true
}

// Describe lists what there is.
func (b breakers) Describe(to chan<- *prometheus.Desc) { to <- b.Desc }

// Collect reads it.
func (b breakers) Collect(to chan<- prometheus.Metric) {
	r := routing.Load()
	if r == nil {
		return
	}
	worst := map[[3]string]float64{}
	for _, s := range r.Standings(time.Now()) {
		key := [3]string{s.Route, s.Provider, s.Label}
		worst[key] = max(worst[key], stateValue[s.State])
	}
	for key, v := range worst {
		to <- prometheus.MustNewConstMetric(b.Desc, prometheus.GaugeValue, v, key[:]...)
	}
}

var stateValue = map[string]float64{"closed": 0, "half-open": 1, "open": 2}
