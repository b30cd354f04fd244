package proxy

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/flows"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// catalog keeps what providers say that they serve, for names that the config does not spell out: patterns, and
// provider/model.
type catalog struct {
	mu   sync.Mutex
	seen map[string]listing
}

type listing struct {
	until  time.Time
	models []gjson.Result
}

const (
	listingFor  = time.Minute
	unlistedFor = 5 * time.Second // after a failure
)

// listModels lists the names that the caller may ask for.
func (g *Gateway) listModels(x *exchange) error {
	offered := g.offered(x)
	if x.anthropic() {
		x.answer(listForAnthropic(offered))
		return nil
	}
	out := []byte(`{"object":"list","data":[`)
	for i, m := range offered {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m.raw...)
	}
	x.answer(append(out, ']', '}'))
	return nil
}

// listForAnthropic is the list as Anthropic's clients read it. https://docs.anthropic.com/en/api/models-list
func listForAnthropic(offered []model) []byte {
	out := []byte(`{"data":[`)
	for i, m := range offered {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, m.forAnthropic()...)
	}
	out = append(out, `],"has_more":false,"first_id":`...)
	if len(offered) == 0 {
		return append(out, `null,"last_id":null}`...)
	}
	out = wire.AppendString(out, offered[0].name)
	out = wire.AppendString(append(out, `,"last_id":`...), offered[len(offered)-1].name)
	return append(out, '}')
}

func (m model) forAnthropic() []byte {
	made := time.Unix(gjson.GetBytes(m.raw, "created").Int(), 0).UTC()
	out := wire.AppendString([]byte(`{"type":"model","id":`), m.name)
	out = wire.AppendString(append(out, `,"display_name":`...), m.name)
	return append(made.AppendFormat(append(out, `,"created_at":"`...), time.RFC3339), `"}`...)
}

// anthropic tells a client of Anthropic's: only they name a version.
func (x *exchange) anthropic() bool {
	return len(x.ctx.Request.Header.PeekCanonical(headerVersion)) > 0
}

// getModel describes one of them.
func (g *Gateway) getModel(x *exchange) error {
	name := strings.TrimPrefix(string(x.ctx.Path()), "/v1/models/")
	offered := g.offered(x)
	if i := slices.IndexFunc(offered, func(m model) bool { return m.name == name }); i >= 0 {
		x.describe(offered[i])
		return nil
	}
	route, _ := g.Router.Find(name)
	if route == nil || !x.caller.Allows(name, route.IsDirect()) {
		return modelNotFound(name)
	}
	x.describe(model{name, describe(name, route.Targets[0].Provider, g.born)})
	return nil
}

func (x *exchange) describe(m model) {
	if x.anthropic() {
		x.answer(m.forAnthropic())
		return
	}
	x.answer(m.raw)
}

func (x *exchange) answer(body []byte) {
	x.reply.Status, x.reply.ContentType, x.reply.Body, x.reply.Header = fasthttp.StatusOK, typeJSON, body, x.reply.Header[:0]
}

// model is one that is offered: its name, and the object that describes it.
type model struct {
	name string
	raw  []byte
}

func (g *Gateway) offered(x *exchange) []model {
	var list []model
	add := func(name, provider string, direct bool, raw []byte) {
		known := slices.ContainsFunc(list, func(m model) bool { return m.name == name })
		if known || !x.caller.Allows(name, direct) {
			return
		}
		if raw == nil {
			raw = describe(name, provider, g.born)
		}
		list = append(list, model{name, raw})
	}
	for _, name := range g.Flows.Names() {
		add(flows.Prefix+name, "jarvis-gateway", false, nil)
	}
	for _, r := range g.Router.Routes() {
		target := r.Targets[0]
		switch {
		case !strings.Contains(r.Name, "*"):
			add(r.Name, target.Provider, false, g.extras(x, target, r.Name))
		case target.Model == "" && (!r.IsDirect() || x.caller.Allows(target.Provider+"/", true)):
			for _, m := range g.served(x, target) {
				name := m.Get("id").Str
				if r.IsDirect() {
					name = target.Provider + "/" + name
				}
				if wire.MatchModel(r.Name, name) {
					add(name, target.Provider, r.IsDirect(), renamed(m, name))
				}
			}
		}
	}
	return list
}

// extras takes over what a vLLM server says of a model beyond OpenAI's fields, such as max_model_len.
func (g *Gateway) extras(x *exchange, target *router.Target, name string) []byte {
	if g.Providers[target.Provider].Kind() != "vllm" {
		return nil
	}
	for _, m := range g.served(x, target) {
		if m.Get("id").Str == target.Model {
			return renamed(m, name)
		}
	}
	return nil
}

// renamed is a provider's description of a model under the name that clients know.
func renamed(m gjson.Result, name string) []byte {
	id := gjson.Get(m.Raw, "id")
	raw := wire.AppendString([]byte(m.Raw[:id.Index]), name)
	return append(raw, m.Raw[id.Index+len(id.Raw):]...)
}

// served lists what the target's provider serves. A provider that does not answer serves nothing here.
func (g *Gateway) served(x *exchange, target *router.Target) []gjson.Result {
	g.catalog.mu.Lock()
	known, ok := g.catalog.seen[target.Provider]
	g.catalog.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.models
	}
	call := x.call
	if !g.Providers[target.Provider].Lists() {
		return nil
	}
	call.Method, call.Path, call.Query, call.Kind, call.Count = fasthttp.MethodGet, "/models", nil, wire.Plain, false
	call.Header, call.ID, call.Body, call.Form, call.Stream, call.Model, call.AnswerAs = &x.ctx.Request.Header, x.id, nil, nil, false, "", nil
	call.Timeout = router.Timeout{Connect: 2 * time.Second, FirstToken: 5 * time.Second, Idle: 5 * time.Second, Total: 5 * time.Second}
	call.Begun = time.Now()
	if err := g.Providers[target.Provider].Do(call, &x.reply); err != nil {
		x.conn.server.log.Warn("a provider did not list its models", "provider", target.Provider, "cause", err.Error())
		g.catalog.keep(target.Provider, nil, unlistedFor)
		return nil
	}
	models := gjson.GetBytes(x.reply.Body, "data").Array() // copies
	x.reply.Close()
	models = slices.DeleteFunc(models, func(m gjson.Result) bool { return !fitModel(m.Get("id").Str) || m.Get("id").Str == "" })
	for i, m := range models {
		if m.Get("type").Str == "model" { // Anthropic's form
			made, _ := time.Parse(time.RFC3339, m.Get("created_at").Str)
			models[i] = gjson.ParseBytes(describe(m.Get("id").Str, target.Provider, made))
		}
	}
	g.catalog.keep(target.Provider, models, listingFor)
	return models
}

func (c *catalog) keep(provider string, models []gjson.Result, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[provider] = listing{time.Now().Add(d), models}
}

func describe(name, provider string, born time.Time) []byte {
	raw := wire.AppendString([]byte(`{"id":`), name)
	raw = strconv.AppendInt(append(raw, `,"object":"model","created":`...), born.Unix(), 10)
	raw = wire.AppendString(append(raw, `,"owned_by":`...), provider)
	return append(raw, '}')
}
