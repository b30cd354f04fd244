package router

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/router/prompt"
)

// Model is one entry of `models`: a name that clients may ask for, and who serves it. A name may hold `*`; then a target
// without a model is asked for the client's own model name.
type Model struct {
	Targets     []TargetConfig `yaml:"targets" jsonschema:"required,minItems=1" jsonschema_description:"who serves the name; the next is tried when one fails before its first content"`
	Pick        string         `yaml:"pick,omitempty" jsonschema:"enum=in_order,enum=weighted,enum=round_robin,enum=least_loaded,enum=fastest,enum=cheapest,enum=best,enum=prefix" jsonschema_description:"how a target is chosen of those that are fit"`
	Rules       []Rule         `yaml:"rules,omitempty" jsonschema_description:"requests that go to another model; the first that fits decides"`
	Fallback    []string       `yaml:"fallback,omitempty" jsonschema_description:"other names of models, asked in turn when no target answers"`
	Retry       Retry          `yaml:"retry,omitempty"`
	Breaker     Breaker        `yaml:"breaker,omitempty"`
	Hedge       Hedge          `yaml:"hedge,omitempty"`
	Degrade     []Degrade      `yaml:"degrade,omitempty" jsonschema_description:"when another model serves, until things are better"`
	Rollout     Rollout        `yaml:"rollout,omitempty"`
	Quality     float64        `yaml:"quality,omitempty" jsonschema:"minimum=0" jsonschema_description:"for pick: best; a target may have its own"`
	Continue    bool           `yaml:"continue,omitempty" jsonschema_description:"a stream of plain text that breaks off is gone on with by the next target, and says so; default false"`
	Cache       Cache          `yaml:"cache,omitempty"`
	Prompt      prompt.Use     `yaml:"prompt,omitempty" jsonschema_description:"a template that is put in front of every request"`
	RAG         RAG            `yaml:"rag,omitempty" jsonschema_description:"passages of documents that are put in front of a request, where they help"`
	Timeout     Timeout        `yaml:"timeout,omitempty"`
	AnswerModel string         `yaml:"answer_model,omitempty" jsonschema:"enum=served,enum=asked" jsonschema_description:"the model that answers name: the one that served (default) or the one the client asked for"`
}

// TargetConfig is one provider's model.
type TargetConfig struct {
	Provider string  `yaml:"provider" jsonschema:"required"`
	Model    string  `yaml:"model,omitempty" jsonschema_description:"the provider's name for the model; default: the name the client asked for"`
	Weight   *int    `yaml:"weight,omitempty" jsonschema:"minimum=0,maximum=1000000" jsonschema_description:"for pick: weighted; default 1"`
	Quality  float64 `yaml:"quality,omitempty" jsonschema:"minimum=0" jsonschema_description:"for pick: best; default: the model's"`
	When     When    `yaml:"when,omitempty" jsonschema_description:"which requests it is for; default all"`
	Spill    Spill   `yaml:"spill,omitempty"`
}

// Spill says when a pool is too full for more requests, which then go to the next target.
type Spill struct {
	Waiting int     `yaml:"waiting,omitempty" jsonschema:"minimum=1" jsonschema_description:"requests that wait at the pool's replicas, on average of one"`
	KV      Percent `yaml:"kv,omitempty" jsonschema_description:"of the replicas' KV caches in use, such as 90%"`
}

// Rule sends the requests that it fits to another model.
type Rule struct {
	When  When   `yaml:"when" jsonschema:"required"`
	Model string `yaml:"model" jsonschema:"required" jsonschema_description:"another name of models"`
}

// Retry says how often targets are asked again.
type Retry struct {
	Attempts int     `yaml:"attempts,omitempty" jsonschema:"minimum=1,maximum=10" jsonschema_description:"how often each target may be asked for one request; default 1"`
	Backoff  Range   `yaml:"backoff,omitempty" jsonschema_description:"before a target is asked again: at random up to the first, doubled each time, up to the second; default 200ms..2s"`
	Budget   Percent `yaml:"budget,omitempty" jsonschema_description:"how many of all calls may be such repetitions; default 20%"`
}

// Breaker says when a target is left alone.
type Breaker struct {
	ErrorRate   Percent       `yaml:"error_rate,omitempty" jsonschema_description:"of the calls in the window; default 50%"`
	SlowRate    Percent       `yaml:"slow_rate,omitempty" jsonschema_description:"of the calls in the window; default 80%"`
	SlowAfter   time.Duration `yaml:"slow_after,omitempty" jsonschema_description:"until the first content, or the whole answer where it does not stream; a call that takes longer is slow; default: none is"`
	Window      time.Duration `yaml:"window,omitempty" jsonschema_description:"default 10s"`
	MinCalls    int           `yaml:"min_calls,omitempty" jsonschema:"minimum=1" jsonschema_description:"fewer say nothing; default 10"`
	Consecutive int           `yaml:"consecutive,omitempty" jsonschema:"minimum=1" jsonschema_description:"failures in a row; default 5"`
	Open        time.Duration `yaml:"open,omitempty" jsonschema_description:"until it is tried again, give or take a tenth; default 10s"`
	Probes      int           `yaml:"probes,omitempty" jsonschema:"minimum=1" jsonschema_description:"calls that are tried then, all of which must succeed; default 2"`
	Off         bool          `yaml:"off,omitempty" jsonschema_description:"targets are always asked; default: false, but for a model with one target and no fallback that says nothing of breakers"`
}

// Hedge says when a second target is asked beside the first that is slow.
type Hedge struct {
	After    After   `yaml:"after,omitempty" jsonschema_description:"a time, or a percentile of the target's times until the first content such as p95"`
	MaxExtra Percent `yaml:"max_extra,omitempty" jsonschema_description:"of all calls; default 5%"`
}

// Percent is a share, written as 50%.
type Percent float64

// UnmarshalText reads 50% as 0.5. 0% is refused: it would be taken for a setting that is left open, which has its default.
func (p *Percent) UnmarshalText(text []byte) error {
	f, ok := ParsePercent(string(text))
	switch {
	case !ok:
		return errors.New("expected a share of more than 0% and up to 100%, such as 50%")
	case f == 0:
		return errors.New("0% is not to be had: expected more, such as 0.1%, or leave out what it is a share of")
	}
	*p = Percent(f)
	return nil
}

// ParsePercent reads 50% as 0.5, and 0% as 0.
func ParsePercent(text string) (share float64, ok bool) {
	number, ok := strings.CutSuffix(strings.TrimSpace(text), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	return f / 100, ok && err == nil && f >= 0 && f <= 100
}

// MarshalText writes it as it is read.
func (p Percent) MarshalText() ([]byte, error) {
	return append(strconv.AppendFloat(nil, float64(p)*100, 'g', 12, 64), '%'), nil
}

// Range is from one time to another, written as 200ms..2s.
type Range struct{ From, To time.Duration }

// UnmarshalText reads 200ms..2s.
func (r *Range) UnmarshalText(text []byte) error {
	from, to, ok := strings.Cut(string(text), "..")
	var errs [2]error
	r.From, errs[0] = time.ParseDuration(from)
	r.To, errs[1] = time.ParseDuration(to)
	if !ok || errs[0] != nil || errs[1] != nil || r.From <= 0 || r.To < r.From {
		return errors.New("expected two times, the shorter first, such as 200ms..2s")
	}
	return nil
}

// MarshalText writes it as it is read.
func (r Range) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s..%s", r.From, r.To), nil
}

// IsZero tells one that is left open.
func (r Range) IsZero() bool { return r == Range{} }

// After is a time, or a percentile of what times there were.
type After struct {
	Time       time.Duration
	Percentile float64 // 0.95; 0: Time
}

// UnmarshalText reads 800ms or p95.
func (a *After) UnmarshalText(text []byte) error {
	if number, ok := strings.CutPrefix(string(text), "p"); ok {
		f, err := strconv.ParseFloat(number, 64)
		if err != nil || f < 50 || f >= 100 {
			return errors.New("expected a percentile from p50 to p99.9, such as p95")
		}
		*a = After{Percentile: f / 100}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < time.Millisecond {
		return errors.New("expected a time such as 800ms, or a percentile such as p95")
	}
	*a = After{Time: d}
	return nil
}

// MarshalText writes it as it is read.
func (a After) MarshalText() ([]byte, error) {
	if a.Percentile > 0 {
		return strconv.AppendFloat([]byte("p"), a.Percentile*100, 'g', 6, 64), nil
	}
	return []byte(a.Time.String()), nil
}

// IsZero tells one that is left open.
func (a After) IsZero() bool { return a == After{} }

// Timeout bounds the phases of one attempt.
type Timeout struct {
	Connect    time.Duration `yaml:"connect,omitempty" jsonschema_description:"until connected, TLS included; default 5s"`
	FirstToken time.Duration `yaml:"first_token,omitempty" jsonschema_description:"streams: until the first content; default 5m"`
	Idle       time.Duration `yaml:"idle,omitempty" jsonschema_description:"streams: between two reads; default 5m"`
	Total      time.Duration `yaml:"total,omitempty" jsonschema_description:"the whole answer; default 10m"`
}
