package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/admin"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// admin makes the server of the private port.
func (s *live) admin() *admin.Server {
	return admin.New(admin.Setup{
		Key: s.conf.Server.AdminKey, Metrics: proxy.Metrics, Ready: s.proxy.Ready, Log: s.log,
		Store: s.state, Gate: s.gate, Changed: s.directory.Changed, Decode: decodeBody, Limits: s.limits,
		Tenants: func() map[string]policy.Tenant { return s.config().Tenants },
		Config:  s.printed,
		Router:  s.router,
		Pools:   s.pools,
		Explain: func(q admin.Question) (admin.Explained, error) {
			e, err := s.proxy.Explain(ofGateway(q))
			return admin.Explained(e), err
		},
		Reload:  func(by string) error { return unplaced(s.again(by)) },
		InForce: s.inForce, Rollback: s.rollback, Unpin: s.unpin,
		Prices: s.proxy.Quotes,
		Purge:  s.purge,
		Usage:  s.records.store,
	})
}

func (s *live) config() *loaded {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf
}

// router is the one in force.
func (s *live) router() *router.Router {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts.router
}

// printed is what the configuration comes to, secrets masked.
func (s *live) printed() ([]byte, error) {
	var out bytes.Buffer
	err := s.config().print(&out)
	return out.Bytes(), err
}

// limits is how limits stand; tenant is "" for the gateway's own.
func (s *live) limits(ctx context.Context, tenant string) (list []admin.Standing, err error) {
	standings, err := s.gate().Standings(ctx, tenant)
	now := time.Now()
	for _, at := range standings {
		row := admin.Standing{ID: at.ID, Tenant: tenant, Team: at.Team, Key: at.Key, Unit: at.Unit.String(), Text: at.Text,
			Limit: at.State.Limit, Used: at.State.Used, Held: at.State.Held, Free: at.Free}
		if at.State.Reset > 0 {
			row.Reset = now.Add(at.State.Reset)
		}
		list = append(list, row)
	}
	return list, err
}

// decodeBody reads what came through the admin API as strictly as a file.
func decodeBody(text []byte, into any) error { return unplaced(parseJSON(text, into)) }

// unplaced leaves out where in a file each problem is: there is none, or it is nothing to whom this is told.
func unplaced(err error) error {
	found, ok := errors.AsType[problems](err)
	if !ok {
		return err
	}
	plain := make(problems, len(found))
	for i, p := range found {
		plain[i] = problem{place: place{shown: p.shown}, path: p.path, text: p.text}
	}
	return plain
}

// changed records a change of the configuration, or an attempt at one: who made it and what there was before and after.
func (s *live) changed(by, action string, before, after *loaded) {
	if by != "" {
		return // who asked for it has recorded it
	}
	s.state.Record(state.Entry{Kind: state.ConfigChange, Actor: "file", Action: action, Target: s.source.path, Before: before.summary(), After: after.summary()})
}

// summary tells one configuration from another, without a secret.
func (l *loaded) summary() json.RawMessage {
	if l == nil {
		return nil
	}
	var out bytes.Buffer
	if err := l.print(&out); err != nil {
		return nil
	}
	digest := sha256.Sum256(out.Bytes())
	b, _ := json.Marshal(map[string]any{ // strings and numbers cannot fail
		"sha256": hex.EncodeToString(digest[:]), "tenants": slices.Sorted(maps.Keys(l.Tenants)),
		"models": slices.Sorted(maps.Keys(l.Models)), "providers": slices.Sorted(maps.Keys(l.Providers)),
	})
	return b
}
