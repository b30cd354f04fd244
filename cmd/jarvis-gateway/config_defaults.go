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
	fillZero(&r.Server, serverDefaults())
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
	fillZero(&r.Stores, Stores{State: "sqlite:data/jarvis.db", Counters: "memory", Vectors: "embedded", Usage: "sqlite:data/usage.db"})
	fillZero(&r.Prices, Prices{Unknown: "free"})
}

// filled is the configuration with the defaults that the packages use for what it leaves open, to be shown.
func (c Config) filled() Config {
	c.Providers, c.Models, c.Tenants = maps.Clone(c.Providers), maps.Clone(c.Models), maps.Clone(c.Tenants)
	for name, p := range c.Providers {
		fillZero(&p, provider.Config{MaxConns: 16384})
		if p.Kind == "openai" {
			fillZero(&p, provider.Config{BaseURL: "https://api.openai.com/v1"})
		}
		c.Providers[name] = p
	}
	for name, m := range c.Models {
		fillZero(&m, modelDefaults())
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

func serverDefaults() proxy.Config {
	return proxy.Config{
		Listen:  "127.0.0.1:8080",
		Admin:   "127.0.0.1:8081",
		MaxBody: 32 << 20,
		Drain:   30 * time.Second,
		Timeout: proxy.ClientTimeout{Header: 10 * time.Second, Body: 30 * time.Second, Idle: 2 * time.Minute, Write: 30 * time.Second},
	}
}

func modelDefaults() router.Model {
	return router.Model{
		Pick:        "in_order",
		AnswerModel: "served",
		Timeout:     router.Timeout{Connect: 5 * time.Second, FirstToken: 5 * time.Minute, Idle: 5 * time.Minute, Total: 10 * time.Minute},
	}
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
