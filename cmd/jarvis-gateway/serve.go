package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// parts are what one config is made into.
type parts struct {
	clients map[string]*provider.Client
	router  *router.Router
	gate    *policy.Gate
}

// build makes the parts of a config, with what can go on from prev, which may be nil: connections and counters. The
// error is everything that is wrong, worded as paths.
func build(c *Config, prev *parts) (*parts, error) {
	if prev == nil {
		prev = &parts{}
	}
	var p parts
	var errs [3]error
	providers := slices.Sorted(maps.Keys(c.Providers))
	p.clients, errs[0] = provider.New(c.Providers, prev.clients)
	p.router, errs[1] = router.New(c.Models, providers)
	p.gate, errs[2] = policy.New(c.Tenants, c.Limits, policy.Names{Models: slices.Sorted(maps.Keys(c.Models)), Providers: providers}, prev.gate)
	if err := errors.Join(c.Server.Check(), errors.Join(errs[:]...)); err != nil {
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
}

// validate builds the config and throws the result away.
func validate(c *Config) error {
	p, err := build(c, nil)
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

	mu    sync.Mutex // held by the one reload at a time
	parts *parts
	conf  *loaded
}

// serve runs the gateway until ctx is done, then drains it.
func serve(ctx context.Context, path string, stdout, stderr io.Writer) error {
	s := &live{source: newSource(path), log: slog.New(slog.NewJSONHandler(stderr, nil))}
	var err error
	if s.conf, err = s.source.load(); err != nil {
		return err
	}
	if s.parts, err = build(&s.conf.Config, nil); err != nil {
		return s.conf.explain(err)
	}
	data, private, err := s.listen()
	if err != nil {
		return err
	}
	s.access = proxy.NewAccessLog(stderr)
	defer s.access.Close()
	store, err := s.openState(ctx)
	if err != nil {
		return fmt.Errorf("stores.state: %w", err)
	}
	defer func() { _ = store.Close() }() // after the last request; what was acknowledged is on disk
	if s.proxy, err = proxy.NewServer(s.conf.Server, s.gateway(), store, s.log, s.access); err != nil {
		return err
	}
	adm := admin.New(s.conf.Server.AdminKey, proxy.Metrics, s.proxy.Ready)
	s.stamp()
	reload, err := watch(s.source, s.reload)
	if err != nil {
		s.log.Warn("changes of the config are noticed on SIGHUP only", "cause", err.Error())
	}
	failed := make(chan error, 2)
	go func() { failed <- s.proxy.Serve(data) }()
	go func() { failed <- adm.Serve(private) }()
	s.welcome(stdout, data.Addr().String(), private.Addr().String())

	select {
	case err = <-failed:
	case <-ctx.Done():
		s.log.Info("draining", "for", s.conf.Server.Drain.String())
	}
	return errors.Join(err, reload.Close(), s.drain(adm))
}

// openState opens the gateway's own database. Where nobody said where it should be and the usual place cannot be written, as
// in a container without a disk, the gateway serves all the same, and says what will be lost.
func (s *live) openState(ctx context.Context) (*state.Store, error) {
	store, err := state.Open(ctx, s.conf.Stores.State)
	if _, chosen := s.conf.places["stores.state"]; errors.Is(err, state.ErrReadOnly) && !chosen {
		s.log.Warn("stored responses will be lost at the end: set stores.state to a place that can be written", "cause", err.Error())
		store, err = state.Open(ctx, "sqlite::memory:")
	}
	if err != nil {
		return nil, err
	}
	store.OnDrop = func(err error) {
		s.log.Error("whose some stored responses are was lost", "dropped", store.Dropped(), "cause", err.Error())
	}
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
	return proxy.NewGateway(s.parts.gate, s.parts.router, s.parts.clients)
}

// reload builds everything from the config as it is now and swaps it in at once, or keeps what there is and says why.
func (s *live) reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	conf, err := s.source.load()
	var next *parts
	if err == nil {
		if next, err = build(&conf.Config, s.parts); err != nil {
			err = conf.explain(err)
		}
	}
	if err != nil {
		proxy.Reloads.WithLabelValues("failed").Inc()
		proxy.LastReload.Set(0)
		s.log.Error("the config was not reloaded; the one before stays in force", "problems", strings.Split(err.Error(), "\n"))
		return
	}
	if conf.Server != s.conf.Server {
		s.log.Warn("changes of the section server take effect after a restart")
	}
	if conf.Stores != s.conf.Stores {
		s.log.Warn("changes of the section stores take effect after a restart")
	}
	prev := s.parts
	s.parts, s.conf = next, conf
	s.proxy.Swap(s.gateway())
	prev.retire(next)
	proxy.Reloads.WithLabelValues("ok").Inc()
	proxy.LastReload.Set(1)
	s.log.Info("config reloaded", "providers", len(conf.Providers), "models", len(conf.Models), "tenants", len(conf.Tenants))
}

// drain ends both servers within the configured time.
func (s *live) drain(adm *admin.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.conf.Server.Drain)
	defer cancel()
	err := s.proxy.Shutdown(ctx)
	last, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = errors.Join(err, adm.Shutdown(last))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts.retire(&parts{})
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
