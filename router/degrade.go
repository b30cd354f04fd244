package router

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Degrade says when another model serves.
type Degrade struct {
	To      string        `yaml:"to" jsonschema:"required" jsonschema_description:"another name of models"`
	When    Strain        `yaml:"when" jsonschema:"required"`
	Recover Percent       `yaml:"recover,omitempty" jsonschema_description:"of every threshold: it serves again once all are under it; default 80%"`
	Hold    time.Duration `yaml:"hold,omitempty" jsonschema_description:"and have been so for this long; default 30s"`
}

// Strain is what is too much for a model: any of these, beyond its threshold.
type Strain struct {
	ErrorRate Percent       `yaml:"error_rate,omitempty" jsonschema_description:"of the calls to the model's targets in the breaker's window, limits of providers included; 100% while none is fit to be asked"`
	P95       time.Duration `yaml:"p95,omitempty" jsonschema_description:"until the first content, or the whole answer where it does not stream, of the last minute's calls"`
	Queue     int           `yaml:"queue,omitempty" jsonschema:"minimum=1" jsonschema_description:"requests that wait: in the gateway's line for limits, and at the replicas of the pools that serve the model"`
	CPU       Percent       `yaml:"cpu,omitempty" jsonschema_description:"of what the gateway may use, over a second"`
	Spent     Percent       `yaml:"spent,omitempty" jsonschema_description:"of the caller's tightest budget; this concerns the callers alone who are beyond it"`
}

var (
	errNoCondition = errors.New("a condition is needed, such as {tenant: acme} or tokens > 8000")
	errNoThreshold = errors.New("a threshold is needed, such as {error_rate: 30%}")
)

// degradeDefaults is what an entry leaves open.
var degradeDefaults = Degrade{Recover: 0.8, Hold: 30 * time.Second}

func (d *Degrade) fill() {
	d.Recover, d.Hold = cmp.Or(d.Recover, degradeDefaults.Recover), cmp.Or(d.Hold, degradeDefaults.Hold)
}

// Filled is the entry with all that it leaves open, to be shown.
func (m Model) Filled() Model {
	m.fill()
	m.Degrade = slices.Clone(m.Degrade)
	for i := range m.Degrade {
		m.Degrade[i].fill()
	}
	return m
}

// Degraded is a model and the one that may serve in its place.
type Degraded struct {
	Model, To string
	Cause     string   // what is beyond its threshold; "": nothing, it serves itself
	Causes    []string // that there may be
	Callers   int      // that were sent on because their own budgets run out
}

// degrade watches a model for one of its entries.
type degrade struct {
	cfg    Degrade
	from   *Route
	to     *Route
	gauges []gauge
	state  *strained
	tell   func(Degraded)
}

// gauge is one reading with its threshold.
type gauge struct {
	cause string
	limit float64
	read  func(now time.Time) float64
}

// lookEvery is how often gauges are read; requests between two looks go by the last one.
const lookEvery = int64(200 * time.Millisecond)

// maxStrained bounds the callers that are remembered for being beyond a share of their budgets.
const maxStrained = 10_000

// strained is whether a model is degraded. It survives a reload.
type strained struct {
	since  atomic.Pointer[string] // the cause; nil: it is not
	next   atomic.Int64           // when to look again
	mu     sync.Mutex
	calm   time.Time // since when all gauges are under what they must be to recover; zero: they are not
	caught atomic.Int64
	spent  *lru.Cache[callerKey, *time.Time] // callers beyond their threshold, and since when they are calm
}

type callerKey struct{ tenant, team, key string }

func newStrained() *strained {
	s := &strained{}
	s.spent, _ = lru.NewWithEvict(maxStrained, func(callerKey, *time.Time) { s.caught.Add(-1) }) // an error would be of the size
	return s
}

func (r *Router) newDegrade(from, to *Route, cfg Degrade) *degrade {
	cfg.fill()
	d := &degrade{cfg: cfg, from: from, to: to, state: newStrained(), tell: r.onDegrade}
	for _, g := range []gauge{
		{"error_rate", float64(cfg.When.ErrorRate), from.errorRate},
		{"p95", cfg.When.P95.Seconds(), from.p95},
		{"queue", float64(cfg.When.Queue), func(now time.Time) float64 { return float64(r.waiting()) + from.queued(now) }},
		{"cpu", float64(cfg.When.CPU), func(now time.Time) float64 { return r.cpu.share(now) }},
	} {
		if g.limit > 0 {
			d.gauges = append(d.gauges, g)
		}
	}
	return d
}

func (d *degrade) key() [2]string { return [2]string{d.from.Name, d.to.Name} }

func (d *degrade) needs() Needs {
	if d.cfg.When.Spent > 0 {
		return NeedsWho | NeedsSpent
	}
	return 0
}

// cause is why the request goes to the other model, "" where it does not.
func (d *degrade) cause(q *Query, now time.Time) string {
	if len(d.gauges) > 0 {
		d.look(now)
		if cause := d.state.since.Load(); cause != nil {
			return *cause
		}
	}
	if d.cfg.When.Spent > 0 && d.overspent(q, now) {
		return "spent"
	}
	return ""
}

// look reads the gauges, now and then.
func (d *degrade) look(now time.Time) {
	s := d.state
	due := s.next.Load()
	if now.UnixNano() < due || !s.next.CompareAndSwap(due, now.UnixNano()+lookEvery) {
		return
	}
	beyond, calm := d.read(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch degraded := s.since.Load() != nil; {
	case beyond != "":
		s.calm = time.Time{}
		if !degraded {
			d.set(&beyond)
		}
	case !calm:
		s.calm = time.Time{}
	case s.calm.IsZero():
		s.calm = now
	case degraded && now.Sub(s.calm) >= d.cfg.Hold:
		d.set(nil)
	}
}

func (d *degrade) set(cause *string) {
	d.state.since.Store(cause)
	event := Degraded{Model: d.from.Name, To: d.to.Name}
	if cause != nil {
		event.Cause = *cause
	}
	d.tell(event)
}

// read tells the first gauge beyond its threshold, and whether all are low enough to recover.
func (d *degrade) read(now time.Time) (beyond string, calm bool) {
	calm = true
	for _, g := range d.gauges {
		v := g.read(now)
		if v > g.limit && beyond == "" {
			beyond = g.cause
		}
		calm = calm && v <= g.limit*float64(d.cfg.Recover)
	}
	return beyond, calm
}

// overspent tells a caller whose budget runs out, until it has room again.
func (d *degrade) overspent(q *Query, now time.Time) bool {
	s, limit := d.state, float64(d.cfg.When.Spent)
	beyond := q.Spent > limit
	if !beyond && s.caught.Load() == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := callerKey{q.Tenant, q.Team, q.Key}
	calm, known := s.spent.Get(key)
	switch {
	case !known && !beyond:
		return false
	case !known:
		s.caught.Add(1)
		s.spent.Add(key, &time.Time{})
	case q.Spent > limit*float64(d.cfg.Recover):
		*calm = time.Time{}
	case calm.IsZero():
		*calm = now
	case now.Sub(*calm) >= d.cfg.Hold:
		s.spent.Remove(key)
		return false
	}
	return true
}

// errorRate is the share of calls that failed.
func (r *Route) errorRate(now time.Time) float64 {
	calls, failed, seen, ready := 0, 0, false, false
	for _, t := range r.Targets {
		for track := range t.followed {
			ended, bad := track.outcomes(now)
			calls, failed = calls+ended, failed+bad
			seen, ready = true, ready || track.ready(now)
		}
	}
	switch {
	case seen && !ready: // of models that only clients name there may be no track yet
		return 1
	case calls < max(r.Targets[0].breaker.MinCalls, 1):
		return 0
	}
	return float64(failed) / float64(calls)
}

// p95 is how many seconds most calls took until their first content, or their whole answer: whoever sets a threshold knows which
// of them his clients ask for.
func (r *Route) p95(now time.Time) float64 {
	var sum [buckets]int64
	var n int64
	for _, t := range r.Targets {
		for track := range t.followed {
			n += track.times.gather(now.UnixNano(), &sum) + track.whole.gather(now.UnixNano(), &sum)
		}
	}
	return rankOf(&sum, n, 0.95).Seconds()
}

// queued is how many requests wait at the replicas of the pools that serve the route.
func (r *Route) queued(now time.Time) float64 {
	n := 0
	for i, t := range r.Targets {
		same := func(other *Target) bool { return other.crowd != nil && other.crowd.pool == t.crowd.pool }
		if t.crowd != nil && !slices.ContainsFunc(r.Targets[:i], same) {
			n += t.crowd.pool.Load(now).Waiting
		}
	}
	return float64(n)
}

// followed is every track of the target.
func (t *Target) followed(yield func(*Track) bool) {
	if t.track != nil {
		yield(t.track)
		return
	}
	for _, track := range t.tracks.all() {
		if !yield(track) {
			return
		}
	}
}

// Degraded lists the models that another one may serve for, as they are now.
func (r *Router) Degraded(now time.Time) (list []Degraded) {
	for _, d := range r.degrades {
		found := Degraded{Model: d.from.Name, To: d.to.Name, Callers: int(d.state.caught.Load())}
		for _, g := range d.gauges {
			found.Causes = append(found.Causes, g.cause)
		}
		if len(d.gauges) > 0 {
			d.look(now)
			if cause := d.state.since.Load(); cause != nil {
				found.Cause = *cause
			}
		}
		list = append(list, found)
	}
	return list
}

// cpuMeter tells how busy the gateway's process is. Whoever asks measures, at most once a second.
type cpuMeter struct {
	next atomic.Int64
	busy atomic.Uint64 // float64 bits
	mu   sync.Mutex
	used time.Duration
	at   time.Time
}

// share is how much of what it may use the process used over the last second, or since it was asked last.
func (p *cpuMeter) share(now time.Time) float64 {
	due := p.next.Load()
	if now.UnixNano() >= due && p.next.CompareAndSwap(due, now.Add(time.Second).UnixNano()) {
		p.measure(now)
	}
	return p.last()
}

// last is what the last look found.
func (p *cpuMeter) last() float64 { return math.Float64frombits(p.busy.Load()) }
