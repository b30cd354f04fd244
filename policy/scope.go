package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Unit is what a limit counts.
type Unit uint8

// The units.
const (
	Requests Unit = iota
	Tokens
	Spend
	Concurrency
	Documents
	Vectors
	FlowRuns
)

var unitNames = [...]string{"requests", "tokens", "spend", "concurrency", "documents", "vectors", "flow_runs"}

func (u Unit) String() string { return unitNames[u] }

// scope is whose limits these are: a key's, a team's, a tenant's, the gateway's or an end user's.
type scope struct {
	name   string // key main, tenant acme: as headers, errors and alerts call it
	limits []*limit

	metered bool // some are of tokens or money,
	pays    bool // of money
	byModel bool // of some models only
}

// limit is one limit of a scope.
type limit struct {
	scope   *scope
	unit    Unit
	rate    Rate   // of requests, tokens, spend; of the others Amount alone
	path    string // in the config, below the scope's: spend[0]
	spec    counter.Spec
	counter *counter.Counter // nil in the scope of end users, each of whom has one of his own
	exceed  OnExceed
	queue   Queue
	used    atomic.Int64 // of a budget, when it was last looked at
	watch   *budget      // of a calendar's window that alerts tell of; else nil
}

// String is the limit as people write it: requests 600/m.
func (l *limit) String() string {
	if l.rate.Per == "" {
		return fmt.Sprintf("%s %d", l.unit, l.rate.Amount)
	}
	return l.unit.String() + " " + l.rate.String()
}

// applies tells whether requests for a model count, which may have several names. Some providers take a name in any case.
func (l *limit) applies(names []string) bool {
	if len(l.rate.Models) == 0 {
		return true
	}
	for _, m := range l.rate.Models {
		for _, name := range names {
			if wire.MatchModelFold(m, name) {
				return true
			}
		}
	}
	return false
}

// spares tells the model that requests over a limit go to. A limit for all models does not bound that one, or going there would
// never help; a budget does, as that one costs too.
func (l *limit) spares(model string) bool {
	return len(l.rate.Models) == 0 && l.exceed.Action == "downgrade" && l.exceed.Model == model && !l.budget()
}

// wholeID is the scope of the whole gateway.
const wholeID = "gateway"

// scoping is what the limits of a scope are read with.
type scoping struct {
	at       string // its path in the config: tenants.acme.limits
	name     string // tenant acme
	id       string // the same on every replica: tenant/acme
	zone     string // of the scope around it, where the limits name none
	names    Names
	told     Names   // those that whoever reads the errors may know of
	stored   bool    // it is in the store already: models that are gone since are no mistake
	template bool    // of end users, each of whom has counters of his own
	notice   *notice // who is told of budgets
	tenant   *tenant // nil: the gateway
	team     *team   // nil: none
}

// maxLimits is how many limits a scope may have: every request asks each of them. maxModels is how many models a limit may
// name.
const maxLimits, maxModels = 32, 64

// newScope reads the limits of one scope. The errors are worded as paths.
func newScope(s scoping, cfg Limits) (*scope, []error) {
	r := &scopeReader{scoping: s, cfg: cfg, scope: &scope{name: s.name}}
	zone := cfg.Timezone
	if zone == "" {
		zone = s.zone
	}
	var err error
	if r.zone, err = time.LoadLocation(zone); err != nil {
		if cfg.Timezone != "" { // else it is told where it stands
			r.bad("timezone", "%q is no time zone (expected one like UTC or Asia/Shanghai)", zone)
		}
		r.zone = time.UTC
	}
	if n := cfg.count(); n > maxLimits {
		return r.scope, append(r.errs, fmt.Errorf("%s: at most %d limits in one place, not %d", r.at, maxLimits, n))
	}
	r.exceeds("", cfg.OnExceed)
	r.choice("algorithm", cfg.Algorithm)
	r.queue(cfg.Queue)
	r.rates(Requests, cfg.Requests, "s", "m", "h", "d")
	r.rates(Tokens, cfg.Tokens, "m", "d", "month")
	money := make([]Rate, len(cfg.Spend))
	for i, s := range cfg.Spend {
		money[i] = Rate(s)
	}
	r.rates(Spend, money, "d", "month")
	r.level(Concurrency, cfg.Concurrency)
	r.level(Documents, int64(cfg.Documents))
	r.level(Vectors, int64(cfg.Vectors))
	r.level(FlowRuns, int64(cfg.FlowRuns))
	return r.scope, r.errs
}

// count is how many limits there are.
func (l *Limits) count() int {
	n := len(l.Requests) + len(l.Tokens) + len(l.Spend)
	for _, level := range [...]int64{l.Concurrency, int64(l.Documents), int64(l.Vectors), int64(l.FlowRuns)} {
		if level != 0 {
			n++
		}
	}
	return n
}

// scopeReader is one newScope in progress.
type scopeReader struct {
	scoping
	cfg   Limits
	scope *scope
	zone  *time.Location
	errs  []error
}

func (r *scopeReader) bad(path, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s.%s: %w", r.at, path, fmt.Errorf(format, args...)))
}

var algorithms = []string{"sliding_window", "token_bucket", "leaky_bucket"}

func (r *scopeReader) choice(path, algorithm string) {
	if algorithm != "" && !slices.Contains(algorithms, algorithm) {
		r.bad(path, "unknown algorithm %q (choices: %s)", algorithm, strings.Join(algorithms, ", "))
	}
}

// exceeds checks what happens over a limit. Nobody gets to a model that he may not ask for by way of a limit.
func (r *scopeReader) exceeds(path string, o OnExceed) {
	if o.Action != "downgrade" || r.stored {
		return
	}
	may := r.tenant == nil || r.tenant.allows(r.team, o.Model, r.names.direct(o.Model))
	if may && r.names.match(o.Model) && !strings.Contains(o.Model, "*") {
		return
	}
	choices := r.names.Models
	if r.tenant != nil {
		choices = r.tenant.choices(r.team, r.names)
	}
	r.bad(strings.TrimPrefix(path+".on_exceed.downgrade", "."), "%q is no model that may be asked for here (choices: %s)", o.Model, strings.Join(choices, ", "))
}

const (
	maxPlaces = 10_000
	maxWait   = 10 * time.Minute
)

// queue checks how many may wait, and how long: each keeps a connection and its body.
func (r *scopeReader) queue(q Queue) {
	if q.Max < 0 || q.Max > maxPlaces {
		r.bad("queue.max", "must be from 1 to %d", maxPlaces)
	}
	if q.Wait < 0 || q.Wait > maxWait {
		r.bad("queue.wait", "must be more than 0 and at most 10m")
	}
}

// rates adds the limits of a unit over time.
func (r *scopeReader) rates(unit Unit, list []Rate, allowed ...string) {
	seen := map[string]bool{}
	for i, rate := range list {
		path := fmt.Sprintf("%s[%d]", unit, i)
		key := strings.Join(append([]string{rate.Per}, rate.Models...), ",")
		switch {
		case !slices.Contains(allowed, rate.Per):
			r.bad(path, "%s can be limited per %s, not per %s", unit, strings.Join(allowed, ", "), rate.Per)
			continue
		case seen[key]:
			r.bad(path, "a second limit per %s for the same models", rate.Per)
			continue
		}
		seen[key] = true
		if len(rate.Models) > maxModels {
			r.bad(path+".models", "at most %d models, not %d", maxModels, len(rate.Models))
			continue
		}
		for _, m := range rate.Models {
			if !r.told.match(m) {
				r.bad(path+".models", "unknown model %q (have: %s)", m, strings.Join(r.told.Models, ", "))
			}
		}
		r.choice(path+".algorithm", rate.Algorithm)
		r.exceeds(path, rate.OnExceed)
		spec, err := r.spec(unit, rate)
		if err != nil {
			r.bad(path, "%w", err)
			continue
		}
		r.add(unit, rate, path, spec)
	}
}

var windows = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// spec is how a rate is counted. Days and months are the calendar's, unless an algorithm says otherwise.
func (r *scopeReader) spec(unit Unit, rate Rate) (counter.Spec, error) {
	name := strings.Join(append([]string{r.id, unit.String(), rate.Per}, rate.Models...), "/")
	s := counter.Spec{Name: name, Limit: rate.Amount, Burst: rate.Burst, Window: windows[rate.Per], Location: r.zone}
	algorithm := rate.Algorithm
	if algorithm == "" && unit != Spend && rate.Per != "month" && (rate.Per != "d" || r.cfg.Algorithm != "") {
		algorithm = r.cfg.Algorithm
	}
	calendar := rate.Per == "d" || rate.Per == "month"
	switch {
	case algorithm == "" && calendar:
		s.Algorithm, s.Window = counter.Calendar, 0
		if rate.Per == "month" {
			s.Period = counter.Month
		}
	case rate.Per == "month" || unit == Spend:
		return s, fmt.Errorf("a limit of %s per %s follows the calendar and takes no algorithm", unit, rate.Per)
	case algorithm == "token_bucket":
		s.Algorithm = counter.Token
	case algorithm == "leaky_bucket":
		s.Algorithm = counter.Leaky
	default:
		s.Algorithm = counter.Sliding
	}
	if rate.Burst > 0 && s.Algorithm != counter.Token && s.Algorithm != counter.Leaky {
		return s, errors.New("burst is for token_bucket and leaky_bucket")
	}
	return s, nil
}

// level adds a limit on how many there may be at once.
func (r *scopeReader) level(unit Unit, n int64) {
	if n < 0 {
		r.bad(unit.String(), "must be at least 1")
	}
	if n > 0 {
		r.add(unit, Rate{Amount: n}, unit.String(), counter.Spec{Name: r.id + "/" + unit.String(), Algorithm: counter.Level, Limit: n})
	}
}

const (
	defaultPlaces = 100
	defaultWait   = 10 * time.Second
)

func (r *scopeReader) add(unit Unit, rate Rate, path string, spec counter.Spec) {
	l := &limit{scope: r.scope, unit: unit, rate: rate, path: path, spec: spec, exceed: rate.OnExceed, queue: r.cfg.Queue}
	if l.exceed.Action == "" {
		l.exceed = r.cfg.OnExceed
	}
	if l.exceed.Action == "" && unit == Concurrency && r.id == wholeID {
		l.exceed.Action = "queue" // a full gateway is nobody's fault
	}
	if l.queue.Max == 0 {
		l.queue.Max = defaultPlaces
	}
	if l.queue.Wait == 0 {
		l.queue.Wait = defaultWait
	}
	r.scope.limits = append(r.scope.limits, l)
	r.scope.metered = r.scope.metered || unit == Tokens || unit == Spend
	r.scope.pays = r.scope.pays || unit == Spend
	r.scope.byModel = r.scope.byModel || len(rate.Models) > 0
}
