package main

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// complete adds what every configuration needs and this one leaves open.
func (r *reading) complete() {
	fillZero(&r.Server, proxy.Defaults)
	fillZero(&r.Cache, proxy.CacheDefaults)
	e := &environment{lookup: r.lookup, listen: r.Server.Listen, places: r.places}
	if len(r.Providers) == 0 {
		providers, models := e.offer()
		r.Providers, r.Notes = providers, e.notes
		if len(r.Models) == 0 {
			r.Models = models
		}
	}
	if len(r.Tenants) == 0 {
		r.Key = wire.Secret(e.get("tenants.default.keys[0].key", "JARVIS_KEY"))
		if r.Key == "" {
			r.Key = r.key()
		}
		r.Tenants = map[string]policy.Tenant{"default": everyone(r.Key, r.Providers)}
	}
	for name, p := range r.Providers {
		if p.Replicas.File != "" && r.path != "" {
			p.Replicas.File = beside(r.path, p.Replicas.File)
			r.Providers[name] = p
		}
	}
	fillZero(&r.Stores, Stores{State: "sqlite:data/jarvis.db", Counters: "memory", Vectors: "embedded",
		OnError: StoreFails{Counters: "local_share", Usage: "spool"}})
	r.Usage.complete(&r.Stores)
	fillZero(&r.Usage, usageDefaults)
	r.follow()
	fillZero(&r.Audit, Audit{Retain: 365 * 24 * time.Hour})
}

// filled is the configuration with the defaults that the packages use for what it leaves open, to be shown.
func (c Config) filled() Config {
	c.Providers, c.Models, c.Tenants = maps.Clone(c.Providers), maps.Clone(c.Models), maps.Clone(c.Tenants)
	for name, p := range c.Providers {
		fillZero(&p, provider.Defaults(p))
		c.Providers[name] = p
	}
	for name, m := range c.Models {
		m = m.Filled()
		fillZero(&m, router.Defaults)
		c.Models[name] = m
	}
	for name, t := range c.Tenants {
		t.Keys = slices.Clone(t.Keys)
		for i := range t.Keys {
			fillZero(&t.Keys[i], policy.Key{Role: "developer"})
		}
		c.Tenants[name] = t
	}
	return c
}

// fillZero sets the fields of a struct that are zero to those of defaults, in inner structs too.
func fillZero[T any](s *T, defaults T) {
	fillZeroFields(reflect.ValueOf(s).Elem(), reflect.ValueOf(defaults))
}

func fillZeroFields(v, defaults reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case f.Kind() == reflect.Struct:
			fillZeroFields(f, defaults.Field(i))
		case f.IsZero():
			f.Set(defaults.Field(i))
		}
	}
}
