package proxy

import (
	"crypto/sha256"
	"net/url"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// Responses are stored by the provider, under the gateway's own account, which all tenants share. So the gateway keeps
// who made which, and lets nobody else see, go on with, cancel or delete it.

// owner is whose a stored response is, and where it is stored.
type owner struct {
	tenant, provider string
	until            time.Time
}

// owners remembers the owners of stored responses, by a digest of the id, the latest ones for as long as OpenAI keeps
// responses. It lives in memory: after a restart a response can be found again only while there is a single tenant, to
// whom everything in the account belongs.
type owners struct {
	byID *lru.Cache[[16]byte, owner]
}

const (
	maxStored = 1 << 17
	storedFor = 30 * 24 * time.Hour
)

func newOwners() *owners {
	byID, err := lru.New[[16]byte, owner](maxStored)
	if err != nil {
		panic("BUG: " + err.Error()) // only for a size below 1
	}
	return &owners{byID}
}

func idDigest(id string) [16]byte {
	sum := sha256.Sum256([]byte(id))
	return [16]byte(sum[:16])
}

func (o *owners) add(id, tenant, provider string) {
	o.byID.Add(idDigest(id), owner{tenant, provider, time.Now().Add(storedFor)})
}

func (o *owners) drop(id string) { o.byID.Remove(idDigest(id)) }

// mayUse tells whether the tenant may use a response, and the provider that stores it, "" where that is not known.
func (x *exchange) mayUse(id string) (provider string, ok bool) {
	by, known := x.conn.server.owners.byID.Get(idDigest(id))
	if !known || time.Now().After(by.until) {
		return "", x.g.Gate.Single()
	}
	return by.provider, by.tenant == x.caller.Tenant
}

// createResponse creates a response.
func (g *Gateway) createResponse(x *exchange) error {
	if err := g.run(x); err != nil {
		return err
	}
	if id := x.reply.ID; id != "" {
		x.conn.server.owners.add(id, x.caller.Tenant, x.target.Provider)
	}
	return nil
}

// checkLinks refuses a request that goes on from what is not the tenant's.
func (x *exchange) checkLinks() error {
	if x.ep.kind != wire.Response {
		return nil
	}
	if previous := x.body.Get("previous_response_id"); previous.Str != "" {
		if _, ok := x.mayUse(previous.Str); !ok {
			return &wire.Error{Status: 400, Type: wire.TypeInvalid, Code: "previous_response_not_found", Param: "previous_response_id",
				Message: "Previous response with id '" + shorten(previous.Str) + "' not found."}
		}
	}
	if conversation := x.body.Get("conversation"); conversation.Exists() && conversation.Raw != "null" && !x.g.Gate.Single() {
		return wire.Invalid("conversation", "Conversations are not supported; use previous_response_id.")
	}
	if !x.g.Gate.Single() && x.body.Get(`input.#(type=="item_reference")`).Exists() {
		return wire.Invalid("input", "Items of type item_reference are not supported; use previous_response_id.")
	}
	return nil
}

// storedResponse gets, lists the input of, cancels or deletes a response.
func (g *Gateway) storedResponse(x *exchange) (err error) {
	id, verb, _ := strings.Cut(strings.TrimPrefix(string(x.ctx.Path()), "/v1/responses/"), "/")
	if !fitID([]byte(id)) {
		return responseNotFound(id)
	}
	provider, ok := x.mayUse(id)
	if !ok {
		return responseNotFound(id)
	}
	if x.grant, err = g.Gate.Admit(x.caller); err != nil {
		return err
	}
	call := &x.call
	call.Method, call.Path, call.Kind = string(x.ctx.Method()), "/responses/"+id, wire.Response
	if verb != "" {
		call.Path += "/" + verb
	}
	call.Header, call.ID, call.Body, call.Form = &x.ctx.Request.Header, x.id, nil, nil
	call.Query, call.Stream = storedQuery(x.ctx.QueryArgs())
	if err = x.askStores(provider); err == nil && x.ctx.IsDelete() {
		x.conn.server.owners.drop(id)
	}
	return err
}

// askStores asks the provider that stores the response; where that is not known, each one, until one knows it.
func (x *exchange) askStores(provider string) error {
	err := error(responseNotFound(""))
	for _, target := range x.g.Router.Direct() {
		if provider != "" && provider != target.Provider {
			continue
		}
		x.tries++
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
