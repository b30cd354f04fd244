package provider

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// fleet is the replicas of a provider as what can be spoken to. Which of them gets a call is the pool's choice, and watch
// (fleet_watch.go) tells the pool how they are.
type fleet struct {
	client *Client
	pool   *router.Pool
	fixed  []string                         // of the config; nil: they are found
	placed atomic.Pointer[[]place]          // where they were found
	hosts  atomic.Pointer[map[string]*host] // by the replica's address; it never changes
	hidden atomic.Pointer[[][]byte]         // what redact hides, addresses included
	before *fleet                           // whose pool it takes over, once its config is in force; nil: nobody's
	heir   atomic.Pointer[fleet]            // who took the pool over, and knows the replicas that have come since

	watching sync.Once
	watched  watch
}

// poolOf is how the config has a pool treated.
func (cfg Config) poolOf() router.PoolConfig {
	slow := cfg.SlowStart.or(0)
	if cfg.SlowStart == Off {
		slow = -1
	}
	return router.PoolConfig{SlowStart: slow, Scrape: cfg.scrape()}
}

// newFleet makes the fleet of a provider that has bases, or finds its replicas itself. The pool of the client before goes on,
// with all that is known of its replicas, unless the pool is to be another one.
func newFleet(c *Client, bases []*url.URL, prev *Client) (*fleet, error) {
	f := &fleet{client: c}
	hosts := map[string]*host{}
	f.hosts.Store(&hosts)
	f.watched.init(f)
	if err := f.begin(bases, prev); err != nil {
		return nil, err
	}
	if prev != nil && prev.fleet != nil && reflect.DeepEqual(prev.cfg.poolOf(), c.cfg.poolOf()) {
		f.pool = prev.fleet.pool // of which Watch sets the replicas: this config may yet be refused
		f.before = prev.fleet
		return f, nil
	}
	f.pool = router.NewPool(c.cfg.poolOf(), time.Now())
	return f, f.pool.Set(time.Now(), f.watched.addresses())
}

// begin makes the first hosts. A file must be there; a name may come to be known later, and is asked for once the config is in
// force.
func (f *fleet) begin(bases []*url.URL, prev *Client) error {
	r := f.client.cfg.Replicas
	if !f.watched.finds() {
		for _, base := range bases {
			f.fixed = append(f.fixed, base.String())
		}
		return f.reach(plain(f.fixed))
	}
	if prev != nil && prev.fleet != nil && prev.cfg.Replicas.File == r.File && prev.cfg.Replicas.DNS == r.DNS {
		if places := prev.fleet.placed.Load(); places != nil {
			f.watched.found = *places
		}
	}
	if r.File != "" {
		if _, err := f.watched.find(context.Background()); err != nil {
			return err
		}
	}
	return f.reach(f.watched.found)
}

// place is where one replica is: address names it, and is where its connections lead, if base's host is a name for several.
type place struct {
	address string
	base    string
	dial    string // host:port; "": that of base
}

// plain are places that are known by their base URLs.
func plain(list []string) []place {
	places := make([]place, len(list))
	for i, s := range list {
		places[i] = place{address: s, base: s}
	}
	return places
}

// reach adds the hosts of the places to those that are known. The others stay until part: the pool may still choose them.
func (f *fleet) reach(places []place) error {
	hosts, bases := maps.Clone(*f.hosts.Load()), []*url.URL{}
	for _, p := range places {
		base, err := baseURL(p.base)
		if err != nil {
			return err
		}
		bases = append(bases, base)
		if named, err := baseURL(p.address); err == nil {
			bases = append(bases, named)
		}
		if hosts[p.address] != nil {
			continue
		}
		h, err := newHost(base, f.client.cfg)
		if err != nil {
			return err
		}
		if p.dial != "" {
			h.pool.Addr = p.dial
		}
		hosts[p.address] = h
	}
	hide := secrets(f.client.cfg, bases)
	f.hidden.Store(&hide)
	f.hosts.Store(&hosts)
	f.placed.Store(&places)
	return nil
}

// part leaves only the hosts of the places, once the pool knows who has left. What is left of the others ends with its last call.
func (f *fleet) part() {
	hosts := map[string]*host{}
	known := *f.hosts.Load()
	for _, p := range *f.placed.Load() {
		hosts[p.address] = known[p.address]
	}
	for address, h := range known {
		if hosts[address] == nil {
			f.watched.leaving = append(f.watched.leaving, h)
		}
	}
	f.hosts.Store(&hosts)
}

// close ends the watch and the connections.
func (f *fleet) close() {
	f.watched.close()
	for h := range maps.Values(*f.hosts.Load()) {
		h.retire()
	}
	for _, h := range f.watched.leaving {
		h.retire()
	}
}

// visit is a call's stay at a provider. Calls that never need one have none.
type visit struct {
	query  router.PoolQuery
	tried  [8]*router.Replica
	spent  int    // of tried, those that earlier attempts of the request were at
	at     string // the address of the one that was asked last
	turn   router.Turn
	ending router.Ending // of the answer, once its connection is given back
	stream bool          // then the answer ends with its connection
	place  Place

	where  atomic.Pointer[router.Replica] // where the call is, or was last, for one that is made beside it
	beside atomic.Pointer[visit]          // of that one: the replica where it is is left alone
}

// Place is what a call holds of what a provider has room for. It is given back when the answer has ended.
type Place interface{ Leave() }

// Hold has the next Do give the place back, whatever becomes of it.
func (call *Call) Hold(p Place) { call.stay().place = p }

func (call *Call) stay() *visit {
	if call.visit == nil {
		call.visit = &visit{}
	}
	return call.visit
}

// leave ends the stay, if there is one.
func (call *Call) leave(how router.Ending) {
	v := call.visit
	if v == nil {
		return
	}
	v.turn.End(time.Now(), how)
	v.stream = false
	if v.place != nil {
		v.place.Leave()
		v.place = nil
	}
}

// avoid has the replica left alone where the call beside this one is.
func (v *visit) avoid() {
	if other := v.beside.Load(); other != nil {
		if r := other.where.Load(); r != nil && !slices.Contains(v.query.Tried, r) {
			v.query.Tried = append(v.query.Tried, r)
		}
	}
}

// ended is told that the answer's connection was given back, in order or not.
func (v *visit) ended(how router.Ending, call *Call) {
	if v.ending = how; v.stream {
		call.leave(how)
	}
}

var errNoReplica = errors.New("no replica is there to be asked")

// try asks one replica after another, until one can be connected to: first those that the request has not been at.
func (f *fleet) try(call *Call, reply *wire.Reply) error {
	v := call.stay()
	v.query = router.PoolQuery{Model: call.Model, ByPrefix: call.Prefix != nil, Whole: !call.Stream, Prefix: call.Prefix, Tried: v.tried[:v.spent]}
	if call.Body != nil {
		v.query.Blocks = call.Body.Len() / router.PrefixBlock
	}
	var last error
	before := v.spent
	for time.Since(call.Begun) < call.Timeout.Total {
		now := time.Now()
		v.avoid()
		r, _ := f.pool.Choose(now, &v.query)
		if r == nil {
			r, _ = f.pool.Resort(now, &v.query)
		}
		if r == nil && before > 0 { // those that failed earlier are better than none
			v.query.Tried, before = v.tried[:copy(v.tried[:], v.query.Tried[before:])], 0
			continue
		}
		if r == nil && f.wait(call) {
			continue
		}
		if r == nil && last == nil {
			return none()
		}
		if r == nil {
			return last
		}
		v.query.Tried = append(v.query.Tried, r)
		v.spent = min(len(v.query.Tried), len(v.tried))
		h := (*f.hosts.Load())[r.Address]
		if heir := f.heir.Load(); h == nil && heir != nil {
			return heir.try(call, reply)
		}
		if h == nil && f.wait(call) {
			continue
		}
		if h == nil {
			last = none() // it has just left
			continue
		}
		v.turn, v.at = r.Begin(now, &v.query), r.Address
		v.where.Store(r)
		if last = f.visit(h, call, reply); last == nil || !unreached(last) || call.Abort.Fired() {
			return last
		}
	}
	if last == nil {
		last = none()
	}
	return last
}

// wait has a call wait where it is not known yet who is there. It is false where that is known, as far as it can be.
func (f *fleet) wait(call *Call) bool {
	left := call.Timeout.Total - time.Since(call.Begun)
	return f.watched.from.DNS != "" && f.watched.await(min(left, dnsWait))
}

// visit asks one replica.
func (f *fleet) visit(h *host, call *Call, reply *wire.Reply) error {
	v := call.visit
	v.ending = router.EndedNeutral
	if err := f.client.send(h, call); err != nil {
		v.turn.End(time.Now(), call.blame(err))
		return err
	}
	err := f.client.receive(call, reply)
	switch {
	case err != nil:
		if v.ending == router.EndedOK { // in order, but not an answer
			v.ending = router.EndedNeutral
		}
		v.turn.End(time.Now(), v.ending)
	case reply.Stream != nil:
		v.turn.Answered(time.Now())
		v.stream = true
	default:
		now := time.Now()
		v.turn.AnsweredWhole(now, reply.Usage.Completion)
		v.turn.End(now, v.ending)
	}
	return err
}

// blame tells whose fault it is that there was no answer.
func (call *Call) blame(err error) router.Ending {
	var known *wire.Error
	switch {
	case call.Abort.Fired(), errors.Is(err, fasthttp.ErrNoFreeConns), call.Hasty && isTimeout(err):
		return router.EndedNeutral
	case unreached(err):
		return router.EndedRefused
	case errors.As(err, &known): // it was never sent
		return router.EndedNeutral
	}
	return router.EndedFailed
}

func none() error {
	e := wire.Server(fasthttp.StatusServiceUnavailable, "upstream_unavailable", "No server of the model provider is fit to be asked at the moment. Please try again later.", errNoReplica)
	e.Failover, e.Retry = true, time.Second
	return e
}

// Pool is the provider's replicas; nil where it has only one address, and nobody looks after it.
func (c *Client) Pool() *router.Pool {
	if c.fleet == nil {
		return nil
	}
	return c.fleet.pool
}
