package policy

import (
	"errors"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// Preview is what Admit would do with a request now. Nothing was held or counted for it.
type Preview struct {
	Verdict   string       `json:"verdict"`                  // admitted, waits, refused, or downgraded, which leads to another Preview
	By        string       `json:"by,omitempty"`             // the limit that is short: tenant acme, requests 600/m
	Why       string       `json:"why,omitempty"`            // what the client would be told
	Code      string       `json:"code,omitempty"`           // likewise
	Status    int          `json:"status,omitempty"`         // likewise
	RetryMS   int64        `json:"retry_after_ms,omitempty"` // until it would be met, as far as is known, if nothing else happens
	LineMS    int64        `json:"waits_ms,omitempty"`       // at most, in line
	Model     string       `json:"model,omitempty"`          // of a downgrade
	MaxTokens int64        `json:"max_tokens,omitempty"`     // that the answer would be bounded to
	Limits    []LimitStand `json:"limits"`                   // all that apply, narrow to wide
}

// Finding is what a guard would do with a request.
type Finding = guard.Finding

// What a Finding says.
const (
	DoesMask   = guard.DoesMask
	DoesNote   = guard.DoesNote
	DoesRefuse = guard.DoesRefuse
	DoesAsk    = guard.DoesAsk
)

// LimitStand is how one limit stands to a request. Money is in nano-dollars.
type LimitStand struct {
	Scope   string `json:"scope"` // key main, tenant acme, gateway
	Limit   string `json:"limit"` // as people write it
	Unit    string `json:"unit"`
	Of      int64  `json:"of"`
	Used    int64  `json:"used"`
	Held    int64  `json:"held"`                     // by requests under way
	Free    int64  `json:"free"`                     // as this gateway knows it
	Needs   int64  `json:"needs"`                    // of it, by this request
	ResetMS int64  `json:"reset_ms,omitempty"`       // until all of it is there again
	RetryMS int64  `json:"retry_after_ms,omitempty"` // until what is needed is there, where it is short
	Short   bool   `json:"short"`
}

// Verdicts.
const (
	Admitted   = "admitted"
	Waits      = "waits"
	Refused    = "refused"
	Downgraded = "downgraded"
)

// Preview tells what Admit would do.
func (g *Gate) Preview(c *Caller, a *Ask) Preview {
	var r Grant
	r.begin(g, c, a)
	p := Preview{Verdict: Admitted, Limits: []LimitStand{}}
	short, why := r.probe()
	for i := range r.holds {
		p.Limits = append(p.Limits, r.stand(&r.holds[i]))
	}
	p.MaxTokens, _ = r.Cap()
	at := g.line.behind(r.needs)
	switch {
	case at >= 0 && r.holds[at].limit.exceed.Action == "queue":
		p.waits(r.holds[at].limit, counter.Short{})
	case short == nil:
	case short.limit.exceed.Action == "queue" && !r.never(short):
		p.waits(short.limit, why)
	case short.limit.exceed.Action == "downgrade" && short.limit.exceed.Model != a.Model && !a.Last:
		p.by(Downgraded, short.limit, why)
		p.Model = short.limit.exceed.Model
	default:
		p.by(Refused, short.limit, why)
		p.Refuse(r.refusal(short, why))
	}
	return p
}

// probe is take, but that nothing is taken.
func (r *Grant) probe() (short *hold, why counter.Short) {
	if r.habit != nil {
		if r.roomy() {
			if short, why = r.lacking(); short == nil {
				return nil, why
			}
		}
		r.size()
	}
	return r.lacking()
}

// lacking is the first limit that has too little.
func (r *Grant) lacking() (*hold, counter.Short) {
	for i := range r.holds {
		h := &r.holds[i]
		if why, ok := h.counter.Look(r.need(h)); !ok {
			return h, why
		}
	}
	return nil, counter.Short{}
}

// stand tells how a limit stands to the request.
func (r *Grant) stand(h *hold) LimitStand {
	at, need := h.counter.State(), r.need(h)
	why, ok := h.counter.Look(need)
	return LimitStand{Scope: h.limit.scope.name, Limit: h.limit.String(), Unit: h.limit.unit.String(), Of: at.Limit, Used: at.Used, Held: at.Held, Free: max(why.Free, 0),
		Needs: need, ResetMS: at.Reset.Milliseconds(), RetryMS: why.Retry.Milliseconds(), Short: !ok}
}

func (p *Preview) by(verdict string, l *limit, why counter.Short) {
	p.Verdict, p.By, p.RetryMS = verdict, l.by(), why.Retry.Milliseconds()
}

func (p *Preview) waits(l *limit, why counter.Short) {
	p.by(Waits, l, why)
	p.LineMS = l.queue.Wait.Milliseconds()
}

// Refuse makes it tell of an error.
func (p *Preview) Refuse(err error) {
	p.Verdict, p.MaxTokens = Refused, 0
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		p.Status, p.Why = 500, "internal error"
		return
	}
	p.Status, p.Code, p.Why = e.Status, e.Code, e.Message
	if e.Retry > 0 {
		p.RetryMS = max(e.Retry, time.Millisecond).Milliseconds()
	}
}
