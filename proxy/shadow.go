package proxy

import (
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file sends copies of requests to a model that is being tried. Nobody waits for their answers, which are counted and
// thrown away; what they cost is in the rollout's comparison and in no budget.

var shadowed = newCounter("jarvis_shadows_total", "Copies of requests to a model that is being tried, by what became of them: ok, failed, refused where the provider did not take the request, or dropped where there was no room for it.", "model", "to", "outcome")

// shadows are the copies under way. Their owner is the Server, whose Shutdown ends them.
type shadows struct {
	mu     sync.Mutex
	open   map[*mirror]bool
	closed bool
	wg     sync.WaitGroup
}

const (
	maxShadows = 64      // at once: each holds a copy of its request
	maxCopied  = 1 << 20 // bytes of a request that is copied
)

// mirror is one copy of a request. It is a router.Asker of its own.
type mirror struct {
	server   *Server
	g        *Gateway
	uid      usage.UID
	mark     spool.Mark
	begun    bool // mark is that of an intent, or of one that was not kept
	caller   *policy.Caller
	endpoint string
	to       *router.Route
	query    router.Query
	body     wire.Body
	header   fasthttp.RequestHeader
	call     provider.Call
	reply    wire.Reply
	abort    provider.Abort
	trial    router.Trial
	awaited  time.Duration // until the first content or whole answer, without what it waited for its turn
	failed   error         // why the last target that was asked did not answer
	full     bool          // the provider has no place for copies
}

// shadow sends a copy of the request, where a rollout wants one.
func (x *exchange) shadow() {
	m := x.mirror()
	if m != nil && !x.conn.server.shadows.begin(m, m.run) {
		shadowed.WithLabelValues(x.route.Name, m.to.Name, "dropped").Inc()
	}
}

// copied tells a request of which a copy harms nobody: nothing is kept of it or done with it, and no limit is got around.
func (x *exchange) copied(to *router.Route) bool {
	if !x.repeatable() || x.elsewhere() != "" && !x.free(to) {
		return false
	}
	return x.ep.kind != wire.Response || x.body.Get("store").Type == gjson.False
}

// mirror is a copy of the request as guards and templates have left it; nil where none is wanted. It shares no memory with the
// request, which it may outlive.
func (x *exchange) mirror() *mirror {
	if !x.route.Diverts() || x.call.Body == nil || x.body.Len() > maxCopied {
		return nil
	}
	to, trial := x.route.Shadow(x.Query)
	if to == nil || !x.copied(to) {
		return nil
	}
	x.Query(to.Needs())
	m := &mirror{server: x.conn.server, g: x.g, uid: usage.NewUID(x.start), caller: x.caller, endpoint: x.ep.name, to: to, query: *x.query, trial: trial}
	m.query.Prefix, m.query.Tags, m.query.Trace = append([]uint64(nil), m.query.Prefix...), append([]string(nil), m.query.Tags...), nil
	m.query.User, m.query.Scene = strings.Clone(m.query.User), strings.Clone(m.query.Scene)
	m.query.Header, m.query.Price = func(string) string { return "" }, m.costs
	var err error
	if m.body, err = wire.Parse(append([]byte(nil), x.body.Raw()...)); err != nil {
		return nil
	}
	x.call.Header.CopyTo(&m.header)
	c := x.call
	m.call = provider.Call{Method: c.Method, Path: c.Path, Query: append([]byte(nil), c.Query...), Kind: c.Kind, Header: &m.header,
		Credential: append([]byte(nil), c.Credential...), ID: append([]byte("shadow-"), x.id...), Body: &m.body, Stream: c.Stream, Abort: &m.abort, Trace: x.untold()}
	return m
}

// begin runs a copy, unless too many are under way.
func (s *shadows) begin(m *mirror, run func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxShadows {
		return false
	}
	if s.open == nil {
		s.open = map[*mirror]bool{}
	}
	s.open[m] = true
	s.wg.Go(func() {
		defer s.end(m)
		run()
	})
	return true
}

func (s *shadows) end(m *mirror) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, m)
}

// close calls off what is under way and waits for its end.
func (s *shadows) close() {
	s.mu.Lock()
	s.closed = true
	for m := range s.open {
		m.abort.Fire()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// run asks the model that is being tried and reads its answer to the end.
func (m *mirror) run() {
	defer func() {
		if r := recover(); r != nil {
			panics.WithLabelValues().Inc()
			m.server.log.Error("a copy of a request met a bug", "id", string(m.call.ID))
		}
	}()
	defer m.call.Forget()
	target, attempt, err := m.to.Do(m)
	defer attempt.End(errBug) // it has ended by then, but for a bug
	first := m.awaited
	var used wire.Usage
	var cost wire.Money
	if err == nil {
		used, err = m.drain()
		cost = m.g.tariffs[target.Index].price.Cost(used)
		m.g.metrics[target.Index].of("", nil).count(used, cost)
	} else if m.failed != nil {
		err = m.failed
	}
	attempt.End(err)
	model, _ := m.trial.Arm()
	outcome := m.outcome(err)
	m.writeDown(target, used, cost, outcome)
	if outcome == outcomeOK || outcome == "failed" {
		judge(&m.trial, time.Now(), err == nil, first, int64(cost), used.Total())
	}
	shadowed.WithLabelValues(model, m.to.Name, outcome).Inc()
}

// outcome is what became of the copy.
func (m *mirror) outcome(err error) string {
	switch {
	case m.full, m.abort.Fired():
		return "dropped"
	case err == nil:
		return outcomeOK
	case telling(fault(err)):
		return "failed"
	}
	return "refused"
}

// drain reads the answer and tells what it has used.
func (m *mirror) drain() (wire.Usage, error) {
	defer m.reply.Close()
	if m.reply.Stream == nil {
		return m.reply.Usage, nil
	}
	if _, err := io.Copy(io.Discard, m.reply.Stream); err != nil {
		return wire.Usage{}, err
	}
	return m.reply.Stream.Usage(), nil
}

// Query tells what the router wants to know: what the request itself was known by.
func (m *mirror) Query(router.Needs) *router.Query {
	m.query.Model = m.to.Name
	return &m.query
}

// Send asks one target. Other models do not answer for the one that is being tried.
func (m *mirror) Send(t *router.Target) (router.Took, error) {
	if t.Serves() != m.to {
		if m.failed == nil {
			m.failed = errUntried
		}
		return router.Took{}, router.ErrLeft
	}
	room := m.g.Gate.Bulkhead(t.Provider)
	if m.full = room.Full(); m.full {
		return router.Took{}, router.ErrLeft // it is for those who wait for an answer
	}
	if room != nil {
		if err := room.Enter(m.caller, &m.abort, 0); err != nil {
			return router.Took{}, err
		}
		m.call.Hold(room)
	}
	m.call.Model, m.call.Timeout, m.call.Begun = t.Model, t.Timeout, time.Now()
	if m.full = !m.intend(t); m.full {
		m.call.Forget()
		return router.Took{}, router.ErrLeft
	}
	if t.Serves().ByPrefix() {
		m.call.Prefix = m.query.Prefix
	}
	result := outcomeOK
	if m.failed = m.g.Providers[t.Provider].Do(&m.call, &m.reply); m.failed != nil {
		result = resultOf(fault(m.failed))
	}
	m.g.metrics[t.Index].of("", nil).attempt(result)
	m.awaited += time.Since(m.call.Begun)
	return took(&m.call, &m.reply), m.failed
}

var errUntried = wire.Server(503, "upstream_unavailable", "No target was fit to be asked.", nil)

// Race asks one target: nobody waits for a copy.
func (m *mirror) Race(t *router.Target, _ time.Duration, _ func() *router.Target) router.Finish {
	took, err := m.Send(t)
	return router.Finish{FirstTook: took, FirstErr: err}
}

// Wait does not: what fails is not tried again.
func (m *mirror) Wait(time.Duration) error { return router.ErrHurried }

// costs is what the copy costs at a target, about.
func (m *mirror) costs(t *router.Target) int64 {
	found := m.g.tariffs[t.Index]
	if !found.known {
		return -1
	}
	return int64(found.price.Cost(wire.Usage{Prompt: m.query.Tokens, Completion: likelyAnswer}))
}
