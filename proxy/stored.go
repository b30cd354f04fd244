package proxy

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// Responses are stored where they were made: by a provider that has the Responses API, under the gateway's own account,
// which all tenants share; or by the gateway, when it made the response of another dialect's answer. Either way the state
// store knows whose each one is, and nobody else can see, go on with, cancel or delete it.

const (
	storedFor = 30 * 24 * time.Hour // as long as OpenAI keeps responses
	// lookupTime bounds what a request waits for the state store.
	lookupTime = 5 * time.Second
)

func (x *exchange) lookup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), lookupTime)
}

// stored finds a response of the tenant's. Unknown to the gateway are those that were made elsewhere with the same account:
// a single tenant may use them, as everything in the account is its own.
func (x *exchange) stored(id string) (r *state.Response, ok bool, err error) {
	ctx, cancel := x.lookup()
	defer cancel()
	store := x.conn.server.state
	r, err = store.Get(ctx, x.caller.Tenant, id)
	if errors.Is(err, state.ErrUnknown) {
		if err = store.Flush(ctx); err == nil { // it may be on its way to the disk
			r, err = store.Get(ctx, x.caller.Tenant, id)
		}
	}
	switch {
	case err == nil:
		return r, true, nil
	case !errors.Is(err, state.ErrUnknown):
		return nil, false, stateError(err)
	case !x.g.Gate.Single():
		return nil, false, nil
	}
	_, _, known, err := store.Owner(ctx, id)
	if err != nil {
		return nil, false, stateError(err)
	}
	return &state.Response{ID: id}, !known, nil
}

func stateError(err error) *wire.Error {
	return wire.Server(503, "state_unavailable", "The gateway's store of responses does not answer. Please try again.", err)
}

// createResponse creates a response.
func (g *Gateway) createResponse(x *exchange) error {
	if err := g.run(x); err != nil {
		return err
	}
	if id := x.reply.ID; id != "" && x.call.Translated() == nil {
		now := time.Now()
		r := &state.Response{ID: id, Tenant: x.caller.Tenant, Provider: x.target.Provider, Created: now, Expires: now.Add(storedFor)}
		if x.tally.later = x.postpone(r); !x.tally.later {
			x.conn.server.state.Remember(r)
		}
	}
	return nil
}

// keep stores a response that the gateway made, unless another attempt is quicker.
func (x *exchange) keep(w dialect.Writer) {
	if x.leads() {
		x.store(&x.own, w)
	}
}

// store stores a response, unless the client said not to.
func (x *exchange) store(call *provider.Call, w dialect.Writer) {
	object, items, ok := dialect.Stored(w)
	if !ok {
		return
	}
	if chain := x.caller.Guards(); chain != nil { // it is kept as the client has it
		var err error
		if object, _, err = chain.Answer(object, wire.Response, x.vault); err != nil {
			return // nor does the client get it
		}
		items = []byte(gjson.GetBytes(object, "output").Raw)
	}
	ctx, cancel := x.lookup()
	defer cancel()
	now := time.Now()
	err := x.conn.server.state.Put(ctx, &state.Response{ID: call.Translated().ID, Tenant: x.caller.Tenant, Previous: call.Previous,
		Body: object, Input: dialect.InputItems(x.ctx.Request.Body()), Output: items, Created: now, Expires: now.Add(storedFor)})
	if err != nil {
		x.conn.server.log.Error("a response could not be stored", "id", string(x.id), "cause", err.Error())
	}
}

// checkThread refuses a thread, which Anthropic would keep in the account that all tenants share. Its clients know the
// error: they go on without.
func (x *exchange) checkThread() error {
	if x.ep.kind != wire.Message {
		return nil
	}
	if container := x.body.Get("container"); !x.g.Gate.Single() && (container.Type == gjson.String || container.Get("id").Type == gjson.String) {
		return wire.Invalid("container", "container: containers cannot be named, as the account is shared. Leave it out.")
	}
	if thread := x.body.Get("thread"); !thread.Exists() || thread.Raw == "null" {
		return nil
	}
	e := wire.Invalid("thread", "thread: threads are not supported. Send all messages with each request.")
	e.Details = []byte(`{"error_code":"thread_unsupported_request","unsupported":["thread"]}`)
	return e
}

// checkLinks refuses a request that goes on from what is not the tenant's, and puts in what went before where the gateway
// keeps it itself.
func (x *exchange) checkLinks() error {
	if x.ep.kind != wire.Response {
		return nil
	}
	if previous := x.body.Get("previous_response_id"); previous.Str != "" {
		if err := x.goOn(previous.Str); err != nil {
			return err
		}
	}
	if conversation := x.body.Get("conversation"); conversation.Exists() && conversation.Raw != "null" && !x.g.Gate.Single() {
		return wire.Invalid("conversation", "Conversations are not supported; use previous_response_id.")
	}
	if err := x.resolve(); err != nil {
		return err
	}
	return x.checkShared()
}

// checkShared refuses what names objects of the provider's account that another tenant may have made.
func (x *exchange) checkShared() (err error) {
	if x.g.Gate.Single() {
		return nil
	}
	if err = x.checkPrompt(); err != nil {
		return err
	}
	x.body.Get("input").ForEach(func(_, item gjson.Result) bool {
		if kind := item.Get("type"); kind.Str == "item_reference" || kind.Str == "" && item.Get("id").Exists() && !item.Get("role").Exists() {
			err = wire.Invalid("input", "Items of type item_reference are not supported; use previous_response_id.")
		}
		return err == nil
	})
	x.body.Get("tools").ForEach(func(_, tool gjson.Result) bool {
		if tool.Get("container").Type == gjson.String {
			err = wire.Invalid("tools", "Containers cannot be named; leave container out, or let it be made anew with {\"type\":\"auto\"}.")
		}
		return err == nil
	})
	return err
}

// resolve puts the items in that the request only refers to, where the gateway keeps them.
func (x *exchange) resolve() error {
	raw, err := dialect.Resolve(x.body.Raw(), int(x.conn.server.cfg.MaxBody), func(id string) (items []byte, err error) {
		ctx, cancel := x.lookup()
		defer cancel()
		r, err := x.conn.server.state.Get(ctx, x.caller.Tenant, id)
		switch {
		case errors.Is(err, state.ErrUnknown):
			return nil, nil
		case err != nil:
			return nil, stateError(err)
		}
		return r.Output, nil
	})
	if err != nil || raw == nil {
		return err
	}
	x.body, err = wire.Parse(raw)
	return err
}

// goOn makes the request one that goes on from an earlier response.
func (x *exchange) goOn(id string) error {
	r, ok, err := x.stored(id)
	switch {
	case err != nil:
		return err
	case !ok:
		return previousNotFound(id)
	case r.Body == nil:
		return nil // the provider knows it
	}
	ctx, cancel := x.lookup()
	defer cancel()
	thread, err := x.conn.server.state.Thread(ctx, x.caller.Tenant, id, int(x.conn.server.cfg.MaxBody))
	switch {
	case errors.Is(err, state.ErrUnknown), errors.Is(err, state.ErrElsewhere):
		return previousNotFound(id)
	case errors.Is(err, state.ErrTooLong):
		return wire.Invalid("previous_response_id", "The conversation is too long to go on from: start a new one with the parts that matter.")
	case err != nil:
		return stateError(err)
	}
	past := make([]dialect.Past, len(thread))
	for i := range thread {
		past[i] = dialect.Past{Input: thread[i].Input, Output: thread[i].Output}
	}
	raw, err := dialect.Expand(past, x.body.Raw(), int(x.conn.server.cfg.MaxBody))
	if err != nil {
		return err
	}
	if x.body, err = wire.Parse(raw); err != nil {
		return err
	}
	x.call.Previous = id
	return nil
}

func previousNotFound(id string) error {
	return &wire.Error{Status: 400, Type: wire.TypeInvalid, Code: "previous_response_not_found", Param: "previous_response_id",
		Message: "Previous response with id '" + shorten(id) + "' not found."}
}

// storedResponse gets, lists the input of, cancels or deletes a response.
func (g *Gateway) storedResponse(x *exchange) error {
	id, verb, _ := strings.Cut(strings.TrimPrefix(string(x.ctx.Path()), "/v1/responses/"), "/")
	if !fitID([]byte(id)) {
		return responseNotFound(id)
	}
	r, ok, err := x.stored(id)
	switch {
	case err != nil:
		return err
	case !ok:
		return responseNotFound(id)
	case r.Body != nil:
		err = x.answerStored(r, verb)
	default:
		err = g.askStored(x, r, verb)
	}
	if err != nil {
		return err
	}
	return x.checkAnswer() // what is stored may be older than the guards, or of a key with others
}

// answerStored answers for a response that the gateway keeps itself.
func (x *exchange) answerStored(r *state.Response, verb string) error {
	query := x.ctx.QueryArgs()
	switch {
	case x.ctx.IsDelete():
		ctx, cancel := x.lookup()
		defer cancel()
		if _, err := x.conn.server.state.Delete(ctx, x.caller.Tenant, r.ID); err != nil {
			return stateError(err)
		}
		x.answer(append(wire.AppendString([]byte(`{"id":`), r.ID), `,"object":"response","deleted":true}`...))
	case verb == "cancel":
		return wire.Invalid("", "Only responses that were made with background set to true can be cancelled.")
	case verb == "input_items":
		page := dialect.Page{Limit: query.GetUintOrZero("limit"), Order: string(query.Peek("order")), After: string(query.Peek("after"))}
		list, err := dialect.AppendItemList(nil, r.Input, page)
		if err != nil {
			return err
		}
		x.answer(list)
	case string(query.Peek("stream")) == "true":
		return wire.Invalid("stream", "Only responses that were made with background set to true can be streamed again.")
	default:
		x.answer(r.Body)
	}
	return nil
}

// askStored asks the provider that keeps the response.
func (g *Gateway) askStored(x *exchange, r *state.Response, verb string) (err error) {
	if x.limited() {
		if err = g.Gate.Admit(x.caller, &policy.Ask{Free: true, Waiting: &x.abort}, x.grant); err != nil {
			return err
		}
	}
	call := x.call
	call.Method, call.Path, call.Kind = string(x.ctx.Method()), "/responses/"+r.ID, wire.Response
	if verb != "" {
		call.Path += "/" + verb
	}
	call.Header, call.ID, call.Body, call.Form, call.Count = &x.ctx.Request.Header, x.id, nil, nil, false
	call.Query, call.Stream = storedQuery(x.ctx.QueryArgs())
	if err = x.askStores(r.ID, r.Provider); err != nil || !x.ctx.IsDelete() {
		return err
	}
	ctx, cancel := x.lookup()
	defer cancel()
	if _, err := x.conn.server.state.Delete(ctx, x.caller.Tenant, r.ID); err != nil {
		x.conn.server.log.Warn("the owner of a deleted response is still remembered", "id", string(x.id), "cause", err.Error())
	}
	return nil
}

// askStores asks the provider that stores the response; where that is not known, each one, until one knows it.
func (x *exchange) askStores(id, provider string) error {
	err := error(responseNotFound(id))
	for _, target := range x.g.Router.Direct() {
		if provider != "" && provider != target.Provider || !x.g.Providers[target.Provider].Stores() {
			continue
		}
		if err = x.ask(target); err == nil || provider == "" && fault(err).Status != fasthttp.StatusNotFound {
			return err
		}
	}
	return err
}

// storedQuery takes over the parameters that OpenAI documents, and no others: a provider's own, such as Azure's
// api-version, are the gateway's to set.
func storedQuery(args *fasthttp.Args) (query []byte, stream bool) {
	out := url.Values{}
	for k, v := range args.All() {
		switch string(k) {
		case "stream", "starting_after", "include", "include[]", "include_obfuscation", "limit", "order", "after", "before":
			out.Add(string(k), string(v))
		}
	}
	return []byte(out.Encode()), out.Get("stream") == "true"
}

func responseNotFound(id string) *wire.Error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Message: "Response with id '" + shorten(id) + "' not found."}
}
