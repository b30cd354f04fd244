package provider

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/router"
)

// The defaults of what a pool's replicas are asked for.
const (
	defaultProbePath = "/health"
	defaultProbe     = 5 * time.Second
	defaultScrape    = time.Second
	defaultAsk       = 2 * time.Second // how long a replica may take to tell how it is
	listEvery        = 15 * time.Second
	maxTold          = 4 << 20 // bytes of metrics or of a list of models
	scrapeRarely     = 30 * time.Second
)

// scrape is how often metrics are read; 0: never.
func (cfg Config) scrape() time.Duration {
	if cfg.Replicas.Given() {
		return cfg.Scrape.or(defaultScrape)
	}
	return cfg.Scrape.or(0)
}

// probe is how often replicas are asked whether they are well; 0: never.
func (cfg Config) probe() time.Duration {
	if cfg.Replicas.Given() {
		return cfg.Probe.Every.or(defaultProbe)
	}
	if cfg.Probe.Path != "" {
		return cfg.Probe.Every.or(defaultProbe)
	}
	return cfg.Probe.Every.or(0)
}

// watch finds out who is in a pool and how they are: one goroutine, and one for each replica that is just being asked.
type watch struct {
	finder
	fleet   *fleet
	log     *slog.Logger
	ask     time.Duration
	health  string
	checks  map[*router.Replica]*checkup
	leaving []*host // whose last connections are to be closed
	despair bool    // nobody is fit, by the probes

	ctx    context.Context // ends with the watch
	cancel context.CancelFunc
	looked chan struct{} // closed when it was found out for the first time who is there, or was tried
	done   chan struct{} // a replica has been asked
	wg     sync.WaitGroup
}

// checkup is what is due for one replica.
type checkup struct {
	replica *router.Replica
	busy    chan struct{} // of one place: its turn to be asked
	abort   Abort
	call    Call

	probeAt, scrapeAt, listAt time.Time
	mute                      int // scrapes in a row that failed
	since                     time.Time
}

func (w *watch) init(f *fleet) {
	cfg := f.client.cfg
	w.fleet, w.checks = f, map[*router.Replica]*checkup{}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.looked, w.done = make(chan struct{}), make(chan struct{}, 1)
	w.finder = finder{from: cfg.Replicas, names: net.DefaultResolver}
	w.health, w.ask = cfg.Probe.Path, cfg.Probe.Timeout
	if w.health == "" {
		w.health = defaultProbePath
	}
	if w.ask <= 0 {
		w.ask = defaultAsk
	}
}

// finds tells whether replicas come and go.
func (w *watch) finds() bool { return w.from.File != "" || w.from.DNS != "" }

// addresses are those of the replicas that there are to be.
func (w *watch) addresses() []string {
	if !w.finds() {
		return w.fleet.fixed
	}
	list := make([]string, len(w.found))
	for i, p := range w.found {
		list[i] = p.address
	}
	return list
}

// Watch begins to look after the provider's replicas, once; Close ends it. A client that is only checked is not watched. It waits
// for nobody: a name in the DNS is looked up by and by, and calls that come before that is done wait for it.
func (c *Client) Watch(log *slog.Logger) {
	if c.fleet != nil {
		c.fleet.watching.Do(func() { c.fleet.watched.begin(log.With("provider", c.Name)) })
	}
}

// Found waits until it is known who the provider's replicas are, for so long at most.
func (c *Client) Found(limit time.Duration) {
	if c.fleet != nil && c.fleet.watched.from.DNS != "" {
		c.fleet.watched.await(limit)
	}
}

func (w *watch) begin(log *slog.Logger) {
	w.log = log
	if w.from.File != "" {
		w.look(time.Now())
	}
	w.inherit()
	w.set()
	if w.from.DNS == "" {
		close(w.looked)
	}
	w.wg.Add(1)
	go w.run()
}

// inherit takes the pool over. The fleet before looks after it no more, and hands on the calls that get a replica which it
// does not know: they came before the reload, or while it was under way.
func (w *watch) inherit() {
	if before := w.fleet.before; before != nil {
		before.watched.close()
		before.heir.Store(w.fleet)
		w.fleet.before = nil
	}
}

func (w *watch) close() {
	w.fleet.watching.Do(func() {}) // or it might begin now
	w.cancel()
	w.wg.Wait()
}

func (w *watch) run() {
	defer w.wg.Done()
	defer w.known()
	defer func() {
		for _, c := range w.checks {
			c.abort.Fire()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-timer.C:
		case <-w.done:
		}
		now := time.Now()
		if w.finds() && !now.Before(w.due) && w.look(now) {
			w.set()
		}
		w.known()
		next := w.round(now)
		w.tell(now)
		w.sweep()
		timer.Reset(min(max(time.Until(next), minEvery), time.Second))
	}
}

// known tells those who wait for it that it is known who is there, as far as it can be.
func (w *watch) known() {
	select {
	case <-w.looked:
	default:
		close(w.looked)
	}
}

// await waits until it is known who is there, for so long at most. It is false where there was nothing to wait for.
func (w *watch) await(limit time.Duration) bool {
	select {
	case <-w.looked:
		return false
	default:
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.looked:
	case <-timer.C:
	}
	return true
}

// look looks who is there, and says once when that fails.
func (w *watch) look(now time.Time) (changed bool) {
	w.due = now.Add(jittered(w.every()))
	failed := w.failed
	changed, err := w.find(w.ctx)
	if err != nil && !failed && w.ctx.Err() == nil {
		w.log.Warn("the list of replicas cannot be read; the last one goes on", "replicas", len(w.found), "cause", err.Error())
	}
	return changed
}

// set has the pool be of those who are there.
func (w *watch) set() {
	places := w.found
	if w.finds() && len(places) == 0 {
		return // not found yet
	}
	if !w.finds() {
		places = plain(w.fleet.fixed)
	}
	if err := w.fleet.reach(places); err != nil {
		w.log.Warn("the list of replicas is not used", "cause", err.Error())
		return
	}
	if err := w.fleet.pool.Set(time.Now(), w.addresses()); err != nil {
		w.log.Warn("some replicas are not used", "cause", err.Error())
	}
	w.fleet.part()
	if w.finds() {
		w.log.Info("replicas", "list", w.addresses())
	}
}

// tell says when the probes of all replicas fail, and when that is over.
func (w *watch) tell(now time.Time) {
	switch despair := w.fleet.pool.InDespair(now); {
	case despair && !w.despair:
		w.log.Error("the health probes of all replicas fail; they are asked all the same. Is the probe's path wrong?", "path", w.health)
	case !despair && w.despair:
		w.log.Info("the health probes succeed again")
	}
	w.despair = w.fleet.pool.InDespair(now)
}

// sweep closes the connections of those who have left, as they become idle.
func (w *watch) sweep() {
	var still []*host
	for _, h := range w.leaving {
		if h.pool.CloseIdleConnections(); h.pool.ConnsCount() > 0 {
			still = append(still, h)
		}
	}
	w.leaving = still
}

// round asks every replica for what is due, and tells when there is something to do again.
func (w *watch) round(now time.Time) (next time.Time) {
	next = now.Add(time.Second)
	hosts := *w.fleet.hosts.Load()
	checks := map[*router.Replica]*checkup{}
	for _, r := range w.fleet.pool.Replicas() {
		h := hosts[r.Address]
		if h == nil {
			continue // it has left
		}
		c := w.checks[r]
		if c == nil {
			c = w.newCheckup(r)
		}
		checks[r] = c
		select {
		case c.busy <- struct{}{}:
		default:
			continue // it has not answered the last time yet
		}
		if at := c.next(); now.Before(at) {
			if <-c.busy; at.Before(next) {
				next = at
			}
			continue
		}
		w.wg.Add(1)
		go func() {
			defer w.wg.Done()
			w.check(c, h, now)
			<-c.busy
			select {
			case w.done <- struct{}{}:
			default:
			}
		}()
	}
	for r, c := range w.checks {
		if checks[r] == nil {
			c.abort.Fire()
		}
	}
	w.checks = checks
	return next
}

// never is later than anything that is due.
const never = 100 * 365 * 24 * time.Hour

func (w *watch) newCheckup(r *router.Replica) *checkup {
	c := &checkup{replica: r, busy: make(chan struct{}, 1)}
	cfg := w.fleet.client.cfg
	now := time.Now()
	c.probeAt, c.scrapeAt, c.listAt = now.Add(never), now.Add(never), now.Add(never)
	if cfg.probe() > 0 {
		c.probeAt = now
	}
	if cfg.scrape() > 0 {
		c.scrapeAt = now
	}
	if cfg.Replicas.Given() && cfg.probe()+cfg.scrape() > 0 { // who turns both off wants replicas to be left alone
		c.listAt = now
	}
	return c
}

func (c *checkup) next() time.Time {
	next := c.probeAt
	for _, at := range []time.Time{c.scrapeAt, c.listAt} {
		if at.Before(next) {
			next = at
		}
	}
	return next
}

// check asks one replica for what is due.
func (w *watch) check(c *checkup, h *host, now time.Time) {
	cfg := w.fleet.client.cfg
	if !now.Before(c.probeAt) {
		c.probeAt = now.Add(jittered(cfg.probe()))
		w.probe(c, h)
	}
	if !now.Before(c.scrapeAt) {
		c.scrapeAt = now.Add(jittered(cfg.scrape()))
		w.scrape(c, h)
	}
	if !now.Before(c.listAt) {
		c.listAt = now.Add(jittered(listEvery))
		w.list(c, h)
	}
}

func jittered(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d)/5+1))
}

func (w *watch) probe(c *checkup, h *host) {
	status, _, err := w.get(c, h, root(h)+w.health)
	if errors.Is(err, ErrAborted) || errors.Is(err, fasthttp.ErrNoFreeConns) {
		return // it says nothing of the replica
	}
	was := c.replica.State(time.Now())
	c.replica.Probe(time.Now(), err == nil && status/100 == 2)
	is := c.replica.State(time.Now())
	switch {
	case is == router.WhyDown && was != is:
		w.log.Warn("a replica is down: its health probes fail", "replica", c.replica.Address, "path", w.health, "status", status, "cause", textOf(err))
	case was == router.WhyDown && is != was:
		c.listAt = time.Time{} // it may serve other models now
		w.log.Info("a replica is back", "replica", c.replica.Address)
	}
}

// scrape reads the replica's metrics, more and more rarely while there are none.
func (w *watch) scrape(c *checkup, h *host) {
	status, text, err := w.get(c, h, root(h)+"/metrics")
	if errors.Is(err, ErrAborted) {
		return
	}
	s, known := readEngine(text)
	if err != nil || status != fasthttp.StatusOK || !known {
		if c.mute++; c.mute == 3 {
			w.log.Warn("a replica's metrics cannot be read, or hold nothing of an engine's load", "replica", c.replica.Address, "status", status, "cause", textOf(err))
		}
		every := w.fleet.client.cfg.scrape()
		c.scrapeAt = time.Now().Add(jittered(max(every, min(every<<min(c.mute, 10), scrapeRarely))))
		return
	}
	c.mute = 0
	c.replica.Report(time.Now(), s)
	if !s.Started.IsZero() && !s.Started.Equal(c.since) {
		c.since, c.listAt = s.Started, time.Time{}
	}
}

// list asks which models and adapters the replica serves. Who does not say keeps what it said.
func (w *watch) list(c *checkup, h *host) {
	status, text, err := w.get(c, h, apiOf(h)+"/models")
	if err != nil || status != fasthttp.StatusOK || !gjson.ValidBytes(text) {
		return
	}
	ids := gjson.GetBytes(text, "data.#.id")
	if !ids.IsArray() {
		return
	}
	models := []string{}
	for _, id := range ids.Array() {
		models = append(models, id.String())
	}
	c.replica.List(models)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// root is the path that a server's own pages are below, and apiOf that of its API.
func root(h *host) string { return strings.TrimSuffix(h.prefix, "/v1") }

func apiOf(h *host) string {
	if h.prefix == "" {
		return "/v1"
	}
	return h.prefix
}

// get reads a page of a replica, over the connections that requests use.
func (w *watch) get(c *checkup, h *host, path string) (status int, body []byte, err error) {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	client := w.fleet.client
	req.Header.SetMethod(fasthttp.MethodGet)
	for name, value := range client.cfg.Headers {
		req.Header.Set(name, value)
	}
	if client.bearer != "" {
		req.Header.SetCanonical([]byte(fasthttp.HeaderAuthorization), []byte(client.bearer))
	}
	req.Header.SetHost(h.base.Host)
	setURI(req, path, "", nil)

	c.call.Begun, c.call.Abort = time.Now(), &c.abort
	c.call.Timeout = router.Timeout{Connect: w.ask, FirstToken: w.ask, Idle: w.ask, Total: w.ask}
	if err := h.send(req, &c.call.res, &c.call, w.ask); err != nil {
		return 0, nil, err
	}
	body, err = readSome(&c.call.res.body)
	c.call.res.close(err == nil)
	return c.call.res.head.StatusCode(), body, err
}

// readSome reads a page that should be small. The read deadline is that of the whole call.
func readSome(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxTold+1))
	if err == nil && len(body) > maxTold {
		err = errors.New("the page is larger than 4 MiB")
	}
	return body, err
}
