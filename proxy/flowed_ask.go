package proxy

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/flows"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/wire"
)

// This file makes a flow's calls. Each goes the whole way of a request (Server.serve): key, limits, guards, cache, routing, record,
// trace. Only the socket is missing: the connection that it comes on is a mark, which nobody can send from outside, that says of which
// flow and step it is.

// insideConn is the connection of a call, on which nothing is ever read or written. What a client that leaves does to a socket,
// the context of the run does to it.
type insideConn struct {
	net.Conn
	run  *flowRun
	step string
	from net.Addr // whose request the flow runs for
}

// RemoteAddr is the client's.
func (c *insideConn) RemoteAddr() net.Addr { return c.from }

// deadConn is what an insideConn reads from.
func deadConn() net.Conn {
	here, there := net.Pipe()
	_, _ = here.Close(), there.Close() // a pipe's Close does not fail
	return here
}

// bill is what the calls of a run have used.
type bill struct {
	mu     sync.Mutex
	used   wire.Usage
	paid   wire.Money
	priced bool           // the price of something is known
	vaults []*guard.Vault // what guards took out of the calls
}

func (b *bill) add(x *exchange) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = b.used.Plus(x.tally.all())
	b.paid = b.paid.Plus(x.tally.paid)
	b.priced = b.priced || x.priced
	if x.vault != nil && x.caller.LogsPrompts() {
		b.vaults = append(b.vaults, x.vault)
	}
}

// grace is how long a call may take to tell by itself that its time is over, which says more than to be called off.
const grace = 100 * time.Millisecond

// ask makes a call.
func (r *flowRun) ask(ctx context.Context, call flows.Call) (flows.Answer, error) {
	outer := r.x
	c := newConn(&insideConn{Conn: deadConn(), run: r, step: call.Step.ID, from: outer.ctx.RemoteAddr()}, outer.conn.server)
	defer c.server.gone.remove(c)
	var rc fasthttp.RequestCtx
	rc.Init2(c, serverLog{c.server.log}, true)
	if err := r.request(ctx, &rc.Request, call); err != nil {
		return flows.Answer{}, err
	}
	defer r.offWith(ctx, c)()
	c.server.http.Handler(&rc) // Server.serve
	body := rc.Response.Body() // to the end, where it is a stream
	r.add(&c.x)
	switch failure := c.x.failure; {
	case failure == nil:
		return answerOf(body), nil
	case ctx.Err() != nil:
		return flows.Answer{}, ctx.Err()
	default:
		return flows.Answer{}, failure
	}
}

// offWith calls a call off with its run: at once when the client leaves, and a little late when time is over. What it returns
// ends that.
func (r *flowRun) offWith(ctx context.Context, c *conn) (end func()) {
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			c.gone()
		}
	})
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() { stop() }
	}
	late := time.AfterFunc(time.Until(deadline)+grace, c.gone)
	return func() { stop(); late.Stop() }
}

// pass takes from the client's request what goes on to calls, before there are several at a time: to look into fasthttp's headers
// changes them.
func (r *flowRun) pass() {
	from := &r.x.ctx.Request.Header
	for _, name := range [...][]byte{headerAuthorization, headerXAPIKey, headerAPIKey, headerMetadata, headerCacheControl} {
		if v := from.PeekCanonical(name); len(v) > 0 {
			r.passed = append(r.passed, wire.Field{Name: name, Value: v})
		}
	}
	if t := r.x.trail; t != nil && t.state {
		r.state = r.x.tracestate()
	}
}

// request writes the call as its client would have sent it.
func (r *flowRun) request(ctx context.Context, req *fasthttp.Request, call flows.Call) error {
	outer, h := r.x, &req.Header
	h.SetMethod(fasthttp.MethodPost)
	req.SetRequestURI("/v1/chat/completions")
	h.SetContentTypeBytes(typeJSON)
	for _, f := range r.passed {
		h.SetCanonical(f.Name, f.Value)
	}
	h.SetCanonical(headerRequestID, idBelow(outer.id, call))
	if t := outer.trail; t != nil {
		h.Set("Traceparent", string(t.AppendParent(make([]byte, 0, trace.ParentSize), r.step)))
		if t.state {
			h.Set("Tracestate", r.state)
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		h.SetCanonical(headerTimeout, []byte(max(time.Until(deadline), time.Millisecond).String()))
	}
	body, err := r.named(call.Body)
	req.SetBodyRaw(body)
	return err
}

var headerCacheControl = []byte("Cache-Control")

// named has a call say who the end user is, as the request does.
func (r *flowRun) named(body []byte) ([]byte, error) {
	for _, name := range [...]string{"safety_identifier", "user"} {
		v := r.x.body.Get(name)
		if v.Type != gjson.String {
			continue
		}
		b, err := wire.Parse(body)
		if err != nil {
			return nil, err
		}
		if b, err = b.Set(name, v.Str); err != nil {
			return nil, err
		}
		body = b.Raw()
	}
	return body, nil
}

// idBelow is a call's id: that of the request, and the step; of each with the item.
func idBelow(id []byte, call flows.Call) []byte {
	const most = 128
	end := append([]byte{'.'}, call.Step.ID...)
	if call.Item >= 0 {
		end = strconv.AppendInt(append(end, '.'), int64(call.Item), 10)
	}
	return append(append([]byte{}, id[:min(len(id), most-len(end))]...), end...)
}

// answerOf reads what a model said. Parts that are no text are left out.
func answerOf(body []byte) flows.Answer {
	choice := gjson.GetBytes(body, "choices.0")
	content := choice.Get("message.content")
	text := content.String()
	if content.IsArray() {
		text = ""
		for _, part := range content.Get("#.text").Array() {
			text += part.String()
		}
	}
	return flows.Answer{Text: text, Finish: choice.Get("finish_reason").String()}
}
