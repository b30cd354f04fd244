package proxy

import (
	"cmp"
	"slices"
	"strings"

	"jarvis-gateway/proxy/usage"
)

// Quotes are the prices of the targets behind the models named, each once, and the version of the prices. A model is named as
// clients do, or as a provider does. Without names these are all targets, but for those that serve whatever they are asked for.
func (g *Gateway) Quotes(models []string) (version string, list []usage.Quote) {
	if len(models) == 0 {
		models = g.Router.Names()
	}
	list = []usage.Quote{}
	add := func(at usage.Place, model string) {
		if !slices.ContainsFunc(list, func(q usage.Quote) bool { return q.Provider == at.Provider && q.Model == model }) {
			list = append(list, g.Prices.Quote(at, model))
		}
	}
	for _, name := range models {
		route, model := g.Router.Find(name)
		if route == nil {
			add(usage.Place{}, name)
			continue
		}
		for _, t := range route.Targets {
			if t.Model == "" && strings.Contains(name, "*") {
				continue
			}
			client := g.Providers[t.Provider]
			add(usage.Place{Provider: t.Provider, Kind: client.Kind(), Region: client.Region()}, cmp.Or(t.Model, model))
		}
	}
	return g.Prices.Version(), list
}

// Quotes are those of the Gateway in force.
func (s *Server) Quotes(models []string) (version string, list []usage.Quote) {
	return s.current.Load().Quotes(models)
}
