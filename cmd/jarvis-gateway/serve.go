package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"jarvis-gateway/flows"
	"jarvis-gateway/policy"
	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/cache"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/ragplug"
	"jarvis-gateway/router"
)

// parts are what one config is made into.
type parts struct {
	clients map[string]*provider.Client
	router  *router.Router
	gate    *policy.Gate
	prices  *usage.Prices
	prompts *proxy.Prompts
	flows   *flows.Library

	corpora   map[string]*ragplug.Corpus
	retrieval *proxy.Retrieval
}

// build makes the parts of a config, with what can go on from prev, which may be nil: connections, and what is known of
// tenants. setup is what the gate works with beside the config; without counters the parts are only checked. told hears of what
// the router meets. The error is
// everything that is wrong, worded as paths.
func build(c *Config, prev *parts, setup policy.Setup, told router.Setup) (*parts, error) {
	if prev == nil {
		prev = &parts{}
	}
	var p parts
	var errs [8]error
	providers := slices.Sorted(maps.Keys(c.Providers))
	p.clients, errs[0] = provider.New(c.Providers, prev.clients)
	told.Models, told.Providers, told.Pools = c.Models, providers, p.pools()
	told.Places = func(provider string) bool { return p.gate.Bulkhead(provider).Full() }
	p.router, errs[1] = router.New(told, prev.router)
	p.prices, errs[2] = usage.New(c.Prices)
	errs[3] = errors.Join(c.Server.Check(), c.Telemetry.Check(), c.Cache.Check())
	p.prompts, errs[5] = proxy.NewPrompts(c.Prompts, c.Models)
	p.flows, errs[7] = proxy.NewFlows(c.Flows, slices.Sorted(maps.Keys(c.Models)), p.router, providers)
	errs[6] = p.index(c, prev, setup.Counters != nil)
	if errors.Join(errs[:]...) != nil {
		setup.Counters = nil // a config that is refused must change no limit in force
	}
	setup.Tenants, setup.Roles, setup.JWT, setup.Limits, setup.Alerts = c.Tenants, c.Roles, c.Auth.JWT, c.Limits, c.Alerts
	setup.Rooms = rooms(c.Providers)
	setup.Names = policy.Names{Models: slices.Sorted(maps.Keys(c.Models)), Providers: providers, Flows: flowNames(p.flows, errs[7])}
	p.gate, errs[4] = policy.New(setup, prev.gate)
	if err := errors.Join(errs[:]...); err != nil {
		p.retire(prev)
		return nil, err
	}
	return &p, nil
}

// retire closes what these parts do not share with others.
func (p *parts) retire(others *parts) {
	for name, c := range p.clients {
		if others.clients[name] != c {
			c.Close()
		}
	}
	if p.gate != nil && p.gate != others.gate {
		p.gate.Close(others.gate)
	}
}

// validate builds the config and throws the result away.
func validate(c *Config) error {
	p, err := build(c, nil, policy.Setup{}, router.Setup{})
	if err == nil {
		p.retire(&parts{})
	}
	return err
}

// live is a gateway that serves.
type live struct {
	source *source
	log    *slog.Logger
	proxy  *proxy.Server
	access *proxy.AccessLog

	state     *state.Store
	counters  *counter.Counters
	cache     *cache.Cache
	records   *records
	spans     *trace.Exporter
	directory *directory
	breakers  *breakers

	mu    sync.Mutex // held by the one reload at a time
	parts *parts
	conf  *loaded
	pin   state.Pin // of the version that is in force in place of the files
	hash  string    // of the version that is in force
	salt  []byte    // of what is kept of secrets; it never changes
}

// serve runs the gateway until ctx is done, then drains it.
func serve(ctx context.Context, path string, stdout, stderr io.Writer) (err error) {
	s := &live{source: newSource(path), log: slog.New(slog.NewJSONHandler(stderr, nil))}
	if s.conf, err = s.source.load(); err != nil {
		return err
	}
	data, private, err := s.listen()
	if err != nil {
		return err
	}
	s.access = proxy.NewAccessLog(stderr)
	defer s.access.Close()
	defer func() { err = errors.Join(err, s.close()) }() // after the last request; what was acknowledged is on disk
	if err = s.open(ctx); err != nil {
		return errors.Join(err, data.Close(), private.Close())
	}
	adm := s.admin()
	s.stamp()
	s.welcome(stdout, data.Addr().String(), private.Addr().String()) // of the config as it is before it can change
	defer time.AfterFunc(started, debug.FreeOSMemory).Stop()         // what reading the config and opening the stores took is not needed again
	reload, deaf := watch(s.source, s.reload)
	if deaf != nil {
		s.log.Warn("changes of the config are noticed on SIGHUP only", "cause", deaf.Error())
	}
	pins := s.follow()
	failed := make(chan error, 2)
	go func() { failed <- s.proxy.Serve(data) }()
	go func() { failed <- adm.Serve(private) }()

	select {
	case err = <-failed:
	case <-ctx.Done():
		s.log.Info("draining", "for", s.config().Server.Drain.String())
	}
	err = errors.Join(err, reload.Close())
	pins.Close()
	return errors.Join(err, s.drain(adm))
}

// open makes what serves, from the stores up.
func (s *live) open(ctx context.Context) (err error) {
	if s.state, err = s.openState(ctx); err != nil {
		return fmt.Errorf("stores.state: %w", err)
	}
	s.openSpans()
	s.breakers = newBreakers(s.log, s.state, func(a policy.Alarm) { s.gate().Alarm(a) })
	if s.counters, err = s.openCounters(); err != nil {
		return fmt.Errorf("stores.counters: %w", err)
	}
	if s.cache, err = cache.Open(cache.Options{Memory: int64(s.conf.Cache.Memory), Entry: int64(s.conf.Cache.Entry), URL: s.conf.Stores.Counters}); err != nil {
		return fmt.Errorf("stores.counters: %w", err)
	}
	if err = s.openPinned(ctx); err != nil {
		return fmt.Errorf("stores.state: %w", err)
	}
	if s.parts, err = build(&s.conf.Config, nil, s.setup(), s.told()); err != nil {
		return s.conf.explain(err)
	}
	dir := &directory{store: s.state, log: s.log, gate: s.gate, parse: parseJSON}
	if err = dir.open(ctx); err != nil {
		if _, conflict := errors.AsType[policy.Conflict](err); conflict {
			return s.conf.explain(err)
		}
		return fmt.Errorf("stores.state: %w", err)
	}
	s.directory = dir
	s.parts.watch(s.log)
	s.parts.found()
	s.recall(ctx, s.parts.router)
	s.heed(ctx, s.parts.router)
	s.keep("start")
	if s.records, err = s.openRecords(ctx); err != nil {
		return err
	}
	if s.proxy, err = proxy.NewServer(s.conf.Server, s.gateway(), s.state, s.records.spool, s.log, s.access); err != nil {
		return err
	}
	if s.records.store != nil {
		s.proxy.Usage = usageView{s.records.store}
	}
	s.records.rate(&s.proxy.Ratings, s.log)
	return nil
}

// lastRecords is how long the end waits for records to be stored. What is not by then stays in the spool.
const lastRecords = 5 * time.Second

// close ends what open made, as far as it came.
func (s *live) close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), lastRecords)
	defer cancel()
	s.closeSpans()
	if s.directory != nil {
		s.directory.Close()
	}
	if s.breakers != nil {
		s.breakers.Close()
	}
	if s.parts != nil {
		s.parts.retire(&parts{})
	}
	errs = append(errs, s.records.close(ctx), s.cache.Close())
	if s.counters != nil {
		errs = append(errs, s.counters.Close())
	}
	if s.state != nil {
		errs = append(errs, s.state.Close())
	}
	return errors.Join(errs...)
}

// setup is what a gate works with, whatever the config.
func (s *live) setup() policy.Setup {
	return policy.Setup{Counters: s.counters, Stock: s.state, Log: s.log, Once: s.state, OnWait: proxy.Waited, OnAlert: func(a policy.Alert) {
		if a.Event == "" {
			proxy.BudgetAlerts.WithLabelValues(a.Outcome).Inc()
		}
		if a.Err != nil {
			s.log.Warn("an alert was not delivered", "event", cmp.Or(a.Event, "budget"), "tenant", a.Tenant, "limit", a.Limit, "percent", a.Percent, "outcome", a.Outcome, "cause", a.Err.Error())
		}
	}}
}

// told is who hears of what the router meets.
func (s *live) told() router.Setup {
	return router.Setup{OnEvent: s.breakers.changed, OnDegrade: degraded(s.log, s.state), OnRollout: rolled(s.log, s.state), Waiting: func() int64 { return s.proxy.Waiting() }}
}

// gate is the one in force.
func (s *live) gate() *policy.Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts.gate
}

// openCounters opens the counters, beside the state store's file so that budgets outlive a restart.
func (s *live) openCounters() (*counter.Counters, error) {
	o := counter.Options{URL: s.conf.Stores.Counters, OnError: s.conf.Stores.OnError.Counters, OnEvent: func(name, detail string) {
		s.log.Warn("counters", "event", name, "detail", detail)
		s.state.Record(state.Entry{Kind: state.Security, Actor: "gateway", Action: name, Target: detail})
	}}
	if path, ok := strings.CutPrefix(s.conf.Stores.State, "sqlite:"); !ok {
		o.Ledger = filepath.Join("data", "jarvis.counters")
	} else if path != ":memory:" {
		o.Ledger = path + ".counters"
	}
	c, err := counter.Open(o)
	if err == nil {
		proxy.Counters.Store(c)
	}
	return c, err
}

// openState opens the gateway's own database. Where nobody said where it should be and the usual place cannot be written, as
// in a container without a disk, the gateway serves all the same, and says what will be lost.
func (s *live) openState(ctx context.Context) (*state.Store, error) {
	store, err := state.Open(ctx, s.conf.Stores.State)
	if _, chosen := s.conf.places["stores.state"]; errors.Is(err, state.ErrReadOnly) && !chosen {
		s.log.Warn("tenants and keys made at run time, the audit log and stored responses will be lost at the end: set stores.state to a place that can be written", "cause", err.Error())
		store, err = state.Open(ctx, "sqlite::memory:")
	}
	if err != nil {
		return nil, err
	}
	store.OnDrop = func(err error) {
		s.log.Error("writes to the state store were lost", "responses", store.Dropped(), "audit", store.Missed(), "cause", err.Error())
	}
	store.Retain(s.conf.Audit.Retain)
	proxy.StateDropped.Store(store)
	return store, nil
}

// listen opens both ports before anything is promised.
func (s *live) listen() (data, private net.Listener, err error) {
	if data, err = net.Listen("tcp", s.conf.Server.Listen); err != nil {
		return nil, nil, fmt.Errorf("server.listen: %w", err)
	}
	if private, err = net.Listen("tcp", s.conf.Server.Admin); err != nil {
		_ = data.Close() // the error in hand says what is wrong
		return nil, nil, fmt.Errorf("server.admin: %w", err)
	}
	return data, private, nil
}

func (s *live) gateway() *proxy.Gateway {
	proxy.BoundTenants(s.conf.Telemetry.Tenants)
	g := proxy.NewGateway(s.parts.gate, s.parts.router, s.parts.clients, s.parts.prices)
	g.Prompts = s.parts.prompts
	g.Flows = s.parts.flows
	g.Retrieval = s.parts.retrieval
	g.Retrieval.Begin()
	g.Tracer = s.spans.Tracer(s.conf.Telemetry)
	s.cache.Resize(int64(s.conf.Cache.Memory), int64(s.conf.Cache.Entry))
	g.Cache = s.cache
	return g
}

// reload is again for those who cannot be told of an error.
func (s *live) reload() { _ = s.again("") } // it is in the log

// again builds everything from the config as it is now and swaps it in at once, or keeps what there is and says why. by is
// who asked for it, "" where a file changed.
func (s *live) again(by string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pin := s.standing(context.Background())
	conf, err := s.read(context.Background(), pin)
	before := s.pin
	if err = s.take(by, conf, pin, err); err == nil && before.Version != 0 && pin.Version == 0 {
		s.unpinned(before)
	}
	return err
}

// take builds a config and swaps it in, or keeps what there is and says why: err is why it could not be read. pin is the
// version that it is, if it goes in place of the files. Who calls holds mu.
func (s *live) take(by string, conf *loaded, pin state.Pin, err error) error {
	var next *parts
	if err == nil {
		if next, err = build(&conf.Config, s.parts, s.setup(), s.told()); err != nil {
			err = conf.explain(err)
		}
	}
	if err != nil {
		proxy.Reloads.WithLabelValues("failed").Inc()
		proxy.LastReload.Set(0)
		s.log.Error("the config was not reloaded; the one before stays in force", "problems", strings.Split(err.Error(), "\n"))
		s.changed(by, "config.refused", s.conf, nil)
		return err
	}
	if conf.Server != s.conf.Server {
		s.log.Warn("changes of the section server take effect after a restart")
	}
	if conf.Stores != s.conf.Stores {
		s.log.Warn("changes of the section stores take effect after a restart")
	}
	if conf.Usage != s.conf.Usage {
		s.log.Warn("changes of the section usage take effect after a restart")
	}
	s.changed(by, "config.reload", s.conf, conf)
	s.state.Retain(conf.Audit.Retain)
	prev := s.parts
	s.parts, s.conf = next, conf
	next.router.Start()
	s.recall(context.Background(), next.router)
	s.heed(context.Background(), next.router)
	next.watch(s.log) // from here on the clients before hand on what they cannot do
	s.proxy.Swap(s.gateway())
	prev.retire(next)
	s.directory.Again()
	proxy.Reloads.WithLabelValues("ok").Inc()
	proxy.LastReload.Set(1)
	s.pin = pin
	s.keep(cmp.Or(by, "file"))
	s.log.Info("config reloaded", "providers", len(conf.Providers), "models", len(conf.Models), "tenants", len(conf.Tenants),
		"by", cmp.Or(by, "file"), "pinned_version", pin.Version)
	return nil
}

// drain ends both servers within the configured time.
func (s *live) drain(adm *admin.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config().Server.Drain)
	defer cancel()
	err := s.proxy.Shutdown(ctx)
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = errors.Join(err, adm.Shutdown(last))
	s.log.Info("stopped")
	return err
}

func (s *live) stamp() {
	build, _ := debug.ReadBuildInfo()
	var goVersion, revision string
	if build != nil {
		goVersion = build.GoVersion
		for _, setting := range build.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	release, _, _ := strings.Cut(versionText(version, build), " ")
	proxy.BuildInfo.WithLabelValues(release, revision, goVersion).Set(1)
	proxy.LastReload.Set(1)
}

// started is how long after the start all have looked around once that do so again and again: at the config's files, at the stores.
const started = 300 * time.Millisecond
