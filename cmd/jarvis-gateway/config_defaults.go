package main

import (
	"reflect"
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
	if len(r.Providers) == 0 && len(r.Models) == 0 {
		r.Providers, r.Models = e.offer()
		r.Notes = e.notes
	}
	if len(r.Tenants) == 0 {
		r.Key = wire.Secret(e.get("tenants.default.keys[0].key", "JARVIS_KEY"))
		if r.Key == "" {
			r.Key = r.source.key()
		}
		r.Tenants = map[string]policy.Tenant{"default": everyone(r.Key, r.Providers)}
	}
	fill(&r.Config)
}

// fill sets the defaults, so that the effective configuration shows them.
func fill(c *Config) {
	fillZero(&c.Stores, Stores{State: "sqlite:data/jarvis.db", Counters: "memory", Vectors: "embedded", Usage: "sqlite:data/usage.db"})
	fillZero(&c.Prices, Prices{Unknown: "free"})
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
	for _, t := range c.Tenants {
		for i := range t.Keys {
			fillZero(&t.Keys[i], policy.Key{Role: "developer"})
		}
	}
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
