package router

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// progress is how far a rollout has come.
type progress struct {
	names  [2]string // of the model asked for, and of the other one
	mu     sync.Mutex
	share  float64 // percent
	turn   int64   // decisions by hand so far
	step   int     // of Steps; as many as there are where somebody has set the share
	since  time.Time
	halted string // why it was called off; "": it is not
	arms   [2]arm
}

// arm is how one of the two models does.
type arm struct {
	calls, failed int64
	cost, tokens  int64
	scores        int64 // answers that clients have scored,
	score         float64
	late          window // of the last minutes
	times         times
	rate          float64 // of failures, and
	p95           time.Duration
	known         bool // from when there were enough calls
}

// trialWindow is how far back failures count.
const trialWindow = 5 * time.Minute

func newProgress(names [2]string, cfg *Rollout) *progress {
	p := &progress{names: names, since: time.Now(), share: 100}
	switch {
	case cfg.Percent != nil:
		p.share = *cfg.Percent
	case len(cfg.Steps) > 0:
		p.share = cfg.Steps[0]
	}
	p.forget()
	return p
}

// forget leaves out of the comparison what was before.
func (p *progress) forget() {
	for i := range p.arms {
		a := &p.arms[i]
		a.late, a.times, a.rate, a.p95, a.known = window{span: trialWindow}, times{}, 0, 0, false
	}
}

// Rolled is a change of a rollout that it made by itself.
type Rolled struct {
	Model, To string
	Before    float64      // the share until now,
	Percent   float64      // and from now on
	Halted    string       // why it was called off; "": it was not
	State     RolloutState // for other gateways to know
}

// RolloutState is how far a rollout has come, without how its models do. Gateways tell it each other, and remember it.
type RolloutState struct {
	Model, Spec string // Spec tells the rollout from another one that the model had, or has elsewhere
	Turn        int64  // decisions by hand so far: the last one goes
	Step        int    // of the steps that it goes by itself
	Percent     float64
	Since       time.Time
	Halted      string // why it was called off, which it stays until the next decision by hand
}

// state is what others may take over. Who calls holds mu.
func (o *rollout) state() RolloutState {
	return RolloutState{Model: o.from, Spec: o.spec, Turn: o.turn, Step: o.step, Percent: o.share, Since: o.since, Halted: o.halted}
}

// now is the share that the other model gets, which goes to its next step when it is time.
func (o *rollout) now(now time.Time) float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.halted != "" {
		return 0
	}
	if steps := o.cfg.Steps; o.step+1 < len(steps) && now.Sub(o.since) >= o.cfg.Every && o.arms[1].calls > 0 {
		before := o.share
		o.step++
		o.share, o.since = steps[o.step], now
		o.tell(Rolled{Model: o.from, To: o.to.Name, Before: before, Percent: o.share, State: o.state()})
	}
	return o.share
}

// Trial is a request that a rollout was asked about, until its end.
type Trial struct {
	rollout *rollout
	arm     int
}

// Arm is the model that was asked for and the one that the rollout gave the request to, or a copy of it; "" where no rollout was
// asked.
func (t *Trial) Arm() (model, arm string) {
	switch {
	case t.rollout == nil:
		return "", ""
	case t.arm == 0:
		return t.rollout.from, t.rollout.from
	}
	return t.rollout.from, t.rollout.to.Name
}

// End tells how the request went: whether it was answered, how long its first content took (0: none came), what it cost in
// nano-dollars and how many tokens it used. It does so once.
func (t *Trial) End(now time.Time, answered bool, first time.Duration, cost, tokens int64) {
	o := t.rollout
	if t.rollout = nil; o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.arms[t.arm]
	if first > 0 {
		a.times.add(now, first)
	}
	failed := count(!answered)
	a.calls, a.failed = a.calls+1, a.failed+int64(failed)
	a.cost, a.tokens = a.cost+cost, a.tokens+tokens
	a.late.add(now, calls{ended: 1, failed: failed})
	if t.arm == 1 && o.halted == "" && !o.cfg.Rollback.Off {
		o.compare(now)
	}
}

// Side is the one of a rollout's two models that a request went to, for who learns later how good its answer was. The zero Side is
// of no rollout. It is good for as long as anybody keeps it, also over a reload.
type Side struct {
	of  *progress
	arm int
}

// Side is the side of the trial's request.
func (t *Trial) Side() Side {
	if t.rollout == nil {
		return Side{}
	}
	return Side{t.rollout.progress, t.arm}
}

// Names are the entry of models that has the rollout and the one that the request went to; "" for the zero Side.
func (s Side) Names() (model, arm string) {
	if s.of == nil {
		return "", ""
	}
	return s.of.names[0], s.of.names[s.arm]
}

// Side is that of a rollout's two models which bears a name; the zero Side where there is no such rollout any more.
func (r *Router) Side(model, arm string) Side {
	o := r.rollout(model)
	if o == nil {
		return Side{}
	}
	if i := slices.Index(o.names[:], arm); i >= 0 {
		return Side{o.progress, i}
	}
	return Side{}
}

// Score counts what a client gave an answer, in place of what he gave it before, if he did.
func (s Side) Score(score float64, before *float64) {
	if s.of == nil {
		return
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	a := &s.of.arms[s.arm]
	if before == nil {
		a.scores++
	} else {
		score -= *before
	}
	a.score += score
}

// compare calls the rollout off when the other model does worse.
func (o *rollout) compare(now time.Time) {
	for i := range o.arms {
		o.arms[i].look(now, o.cfg.Rollback.MinCalls)
	}
	old, other := &o.arms[0], &o.arms[1]
	b := o.cfg.Rollback
	if other.late.sum(now).ended < b.MinCalls || !old.known || !other.known {
		return
	}
	switch {
	case other.rate > old.rate+float64(b.Errors):
		o.halt(fmt.Sprintf("%.1f%% of its calls fail, %.1f%% of those to %s", other.rate*100, old.rate*100, o.from))
	case old.p95 > 0 && other.p95-old.p95 > slightest && float64(other.p95) > float64(old.p95)*(1+float64(b.Latency)):
		o.halt(fmt.Sprintf("its p95 until the first content is %s, that of %s %s", other.p95.Round(time.Millisecond), o.from, old.p95.Round(time.Millisecond)))
	}
}

// slightest is a difference in time that says nothing, whatever part it is of very short ones.
const slightest = 20 * time.Millisecond

// look keeps the last readings there were enough calls for: once all requests go to the other model, there are no new ones of
// the old.
func (a *arm) look(now time.Time, enough int) {
	late := a.late.sum(now)
	if late.ended < enough {
		return
	}
	a.rate, a.known = float64(late.failed)/float64(late.ended), true
	if p := a.times.percentile(now, 0.95); p > 0 {
		a.p95 = p
	}
}

func (o *rollout) halt(why string) {
	o.halted = why
	o.tell(Rolled{Model: o.from, To: o.to.Name, Before: o.share, Halted: why, State: o.state()})
}

// RolloutView is how a rollout stands.
type RolloutView struct {
	Model, To string
	Percent   float64
	Steps     []float64 // that it goes by itself
	Next      time.Time // when the next one may come, at the earliest; zero: there is none
	ByHand    bool      // somebody has decided about it
	Shadow    bool
	Since     time.Time
	Halted    string // why it was called off
	Arms      [2]ArmView
}

// ArmView is how one of the two models does, since the rollout began in this process.
type ArmView struct {
	Model         string
	Calls, Failed int64
	Cost, Tokens  int64         // nano-dollars
	Scores        int64         // answers that clients have scored, and
	Score         float64       // the sum of what they gave
	P50, P95      time.Duration // until the first content, of the last minute's
}

// Rollouts are all that are under way.
func (r *Router) Rollouts(now time.Time) (list []RolloutView) {
	for _, route := range r.routes {
		if route.turns != nil && route.turns.rollout != nil {
			list = append(list, route.turns.rollout.view(now))
		}
	}
	return list
}

func (o *rollout) view(now time.Time) RolloutView {
	share := o.now(now)
	o.mu.Lock()
	defer o.mu.Unlock()
	v := RolloutView{Model: o.from, To: o.to.Name, Percent: share, Steps: o.cfg.Steps, ByHand: o.turn > 0, Shadow: o.cfg.Shadow, Since: o.since, Halted: o.halted}
	if o.step+1 < len(o.cfg.Steps) && o.halted == "" {
		v.Next = o.since.Add(o.cfg.Every)
	}
	for i, name := range [...]string{o.from, o.to.Name} {
		a := &o.arms[i]
		v.Arms[i] = ArmView{Model: name, Calls: a.calls, Failed: a.failed, Cost: a.cost, Tokens: a.tokens, Scores: a.scores, Score: a.score,
			P50: a.times.count(now.UnixNano(), 0.5), P95: a.times.count(now.UnixNano(), 0.95)}
	}
	return v
}

// ErrNoRollout tells that a model has none.
var ErrNoRollout = errors.New("the model has no rollout")

// rollout is that of an entry of models, nil for none.
func (r *Router) rollout(model string) *rollout {
	for _, route := range r.routes {
		if route.Name == model && route.turns != nil {
			return route.turns.rollout
		}
	}
	return nil
}

// Decided is how a rollout will stand once somebody has set the share that the other model gets: NaN calls it off, with the
// reason. It changes nothing: that is for Follow.
func (r *Router) Decided(model string, percent float64, why string) (RolloutState, error) {
	o := r.rollout(model)
	if o == nil {
		return RolloutState{}, ErrNoRollout
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.state()
	s.Turn, s.Step, s.Since = s.Turn+1, len(o.cfg.Steps), time.Now() // steps are for those that go by themselves
	if s.Halted = ""; math.IsNaN(percent) {
		s.Halted = cmp.Or(why, "by hand")
	} else {
		s.Percent = percent
	}
	return s, nil
}

// Follow takes over how a rollout stands elsewhere, and tells whether that changed anything. A later decision by hand goes before
// an earlier one; of one and the same, called off goes before a share, and a later step before an earlier one. So it does not
// matter in what order gateways hear of each other.
func (r *Router) Follow(s RolloutState) (changed bool) {
	o := r.rollout(s.Model)
	if o == nil || o.spec != s.Spec {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case s.Turn > o.turn:
		if s.Halted == "" {
			o.forget() // else it would be called off at once for what led here
		}
	case s.Turn < o.turn, o.halted != "", s.Halted == "" && s.Step <= o.step:
		return false
	}
	o.turn, o.step, o.share, o.since, o.halted = s.Turn, s.Step, s.Percent, s.Since, s.Halted
	return true
}
