package proxy

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
	"jarvis-gateway/router/prompt"
)

// exchange is one request from its arrival to the last byte of its answer. Its memory belongs to the connection, which
// serves one request at a time.
type exchange struct {
	conn *conn

	g       *Gateway // of the config in force when the request came
	ctx     *fasthttp.RequestCtx
	start   time.Time
	id      []byte
	ep      *endpoint
	caller  *policy.Caller
	grant   *policy.Grant // nil until there is a caller with limits
	body    wire.Body
	asked   string // the model that the client asked for
	route   *router.Route
	detour  *router.Detour // from the model that was asked for to route; nil: that is the same
	model   string         // what a target without a model of its own is asked for
	target  *router.Target
	attempt router.Attempt // that answered, until it has ended
	query   *router.Query  // nil until a route asks for it; of this connection
	call    *provider.Call // of the attempt that counts: own, or the rival's
	own     provider.Call
	race    *race // nil until a request may be hedged
	abort   provider.Abort
	reply   wire.Reply
	failure *wire.Error

	cost     *usage.Price // of the target asked last
	priced   bool         // it is known
	open     bool
	lessened bool  // a limit sent the request to another model
	resumed  uint8 // times that the answer broke off and another target went on
	tries    int32
	lesser   string       // which one
	called   []string     // all names of the model
	prompt   *prompt.Used // the template that was put in front
	vault    *guard.Vault // what guards took out of the request

	*recording                // nil between requests
	trail      *trail         // nil where requests are not traced
	tally      tally          // what the request has cost
	answered   time.Time      // when the last attempt ended
	upstream   time.Duration  // spent waiting for providers before the answer began
	first      time.Duration  // from the start until the answer began; 0: it never did
	sent       int64          // bytes of answer
	named      *policy.Caller // whom name is of
	name       []byte         // the caller as access lines have it
	tail       []byte         // the error event that ends a stream
}

// begin makes the exchange ready for the request in ctx.
func (x *exchange) begin(s *Server, ctx *fasthttp.RequestCtx) {
	x.finish() // nothing to do unless an earlier answer was dropped before it was written
	x.g, x.ctx, x.start, x.open = s.current.Load(), ctx, time.Now(), true
	x.ep, x.caller, x.route, x.target, x.failure, x.tail = nil, nil, nil, nil, nil, nil
	x.asked, x.model, x.tries, x.upstream, x.first, x.sent = "", "", 0, 0, 0, 0
	x.body, x.call.AnswerAs, x.call.Meter, x.call.MaxTokens, x.call.Prompt, x.call.Stream = wire.Body{}, nil, nil, 0, 0, false
	x.attempt, x.detour, x.resumed = router.Attempt{}, nil, 0
	x.cost, x.priced, x.lessened, x.vault, x.prompt = nil, false, false, nil, nil
	x.tally = tally{}
	x.recording = newRecording(x.start)
	x.identity()
	x.setOut()
	if x.query != nil {
		x.query.Known = 0
	}
	x.abort.Reset()
	if x.conn.left.Load() {
		x.abort.Fire()
	}
	inFlight.Add(1)
}

// Read gives fasthttp the next bytes of a streamed answer: whole events. A failure becomes one last event.
func (x *exchange) Read(p []byte) (n int, err error) {
	defer x.guardRead(&err)
	if x.tail == nil {
		n, err = x.reply.Stream.Read(p)
		if x.sent == 0 {
			x.nameAnswer(p[:n])
		}
		if x.heard != nil {
			x.heard.take(p[:n])
		}
		x.sent += int64(n)
		switch err {
		case nil:
			return n, nil
		case io.EOF:
			x.finish() // before the client has its end
			return n, io.EOF
		}
		x.failure = x.fault(err)
		if x.failure.Status == statusGone || !x.ep.events() {
			return 0, err // the connection is closed: its end must not look like the answer's
		}
		x.tail = errorEvent(x.ep.kind, x.failure, x.id)
	}
	if len(x.tail) == 0 {
		x.finish()
		return 0, io.EOF
	}
	n = copy(p, x.tail)
	x.tail = x.tail[n:]
	x.sent += int64(n)
	return n, nil
}

// fault reads an error, telling a client that left from a gateway that gave up on it.
func (x *exchange) fault(err error) *wire.Error {
	e := fault(err)
	if e.Status == statusGone && !x.conn.left.Load() {
		return errDraining
	}
	return e
}

// Close stops the provider, if its answer is not at its end.
func (x *exchange) Close() error {
	if x.reply.Stream != nil {
		return x.reply.Stream.Close()
	}
	return nil
}

// CloseWithError is fasthttp's last word on a streamed answer: err is what went wrong while it was written.
func (x *exchange) CloseWithError(err error) error {
	if err != nil && x.failure == nil {
		x.failure = fault(provider.ErrAborted)
		x.failure.Err = err
	}
	x.finish()
	return nil
}

// finish settles the request, exactly once, whatever became of it: what was counted in is counted out, and its usage,
// its line and its metrics are written. A bug in that costs the request its line, but nobody what it held.
func (x *exchange) finish() {
	if !x.open {
		return
	}
	x.open = false
	defer func() {
		if r := recover(); r != nil {
			_ = x.bug(r) // the answer is out
		}
	}()
	defer inFlight.Add(-1)
	defer x.release()
	defer x.landed()
	defer x.attempt.End(errBug) // it has ended by then, but for a bug
	if told, ok := x.reply.Stream.(interface{ Failure() error }); ok && x.failure == nil {
		if err := told.Failure(); err != nil {
			x.failure = x.fault(err)
		}
	}
	x.reckon()
	now := time.Now()
	x.attempt.Used(x.tally.answer.Prompt, x.tally.answer.CachedPrompt)
	x.attempt.End(x.broken())
	x.export(now)
	x.writeDown(now)
	x.tryOut(now)
	x.account(now)
	if x.failure != nil && x.run == nil { // what a flow's calls met was told with them
		x.audit(x.failure)
	}
	x.auditFlags()
	x.conn.server.access.write(x, now)
}

// release gives back what the request held.
func (x *exchange) release() {
	x.grant.Settle(x.tally.all(), x.tally.paid, x.failure == nil && x.tally.told())
	x.reply.Close()
	x.retire()
	x.call.Forget()
	x.end()
	x.recording = nil
	x.ctx, x.call.Body, x.call.Form, x.call.Header = nil, nil, nil, nil
	x.body, x.asked, x.model = wire.Body{}, "", "" // a connection that idles must not hold the last request
}

func (x *exchange) account(now time.Time) {
	outcome := outcomeOf(x.failure)
	x.refusedBy(x.failure)
	if x.target == nil {
		model, flow := x.ran()
		if x.route != nil {
			model = x.route.Name
		}
		requests.WithLabelValues(x.endpoint(), tenants.label(x.tenant()), model, "", outcome).Inc()
		if x.failure != nil && !flow { // of a flow its calls have told, or its own metrics do
			refusals.WithLabelValues(x.failure.Reason()).Inc()
		}
		if x.hit() {
			x.countHit(now)
		}
		return
	}
	m := x.metrics(x.target)
	m.outcome(outcome)
	m.count(x.tally.all(), x.tally.paid) // as in the record: failed attempts under who served in the end
	trace := x.traceID()
	m.took(now.Sub(x.start), trace)
	if x.first > 0 && x.reply.Stream != nil && x.resumed == 0 {
		m.began(x.first, trace)
	}
}

// respond turns the reply, or the error in its place, into the response.
func (x *exchange) respond(err error) {
	res := &x.ctx.Response
	x.phased(err)
	if err != nil {
		x.failure = x.fault(err)
		if x.failure.Status == statusGone {
			x.conn.closing.Store(true)
			x.ctx.SetConnectionClose()
			res.SetStatusCode(statusGone)
		} else {
			res.ResetBody()
			writeError(res, x.errorKind(), x.failure, x.id)
		}
		x.sent = int64(len(res.Body()))
	}
	if err == nil && x.reply.Stream == nil {
		x.reckon()
	}
	x.headers(&res.Header)
	x.standings(&res.Header)
	x.bill(&res.Header)
	x.run.headers(&res.Header)
	if err == nil {
		x.remember()
		x.listen()
	}
	switch {
	case err != nil:
	case x.reply.Stream != nil && !x.ctx.Request.Header.IsHTTP11():
		x.respondWhole(res)
	case x.reply.Stream != nil:
		res.ImmediateHeaderFlush = true
		res.SetBodyStream(x, x.reply.Length)
		return // finish follows the stream's end
	default:
		res.SetBody(x.reply.Body)
		x.sent = int64(len(x.reply.Body))
	}
	x.finish()
}

// respondWhole gathers a stream for a client of HTTP/1.0, which cannot read one in chunks.
func (x *exchange) respondWhole(res *fasthttp.Response) {
	body, err := io.ReadAll(io.LimitReader(x, maxGathered))
	if err != nil {
		x.ctx.SetConnectionClose()
	}
	res.SetBodyRaw(body)
}

const maxGathered = 64 << 20

// kind is the shape of the answer, also of an error before the endpoint is known.
func (x *exchange) kind() wire.Kind {
	if x.ep != nil {
		return x.ep.kind
	}
	return wire.Plain
}

// errorKind is the shape of an error: that of the endpoint, or of the client where the endpoint is everybody's.
func (x *exchange) errorKind() wire.Kind {
	if kind := x.kind(); kind != wire.Plain || !x.anthropic() {
		return kind
	}
	return wire.Message
}

func (x *exchange) headers(h *fasthttp.ResponseHeader) {
	h.SetCanonical(headerRequestID, x.id)
	if x.kind() == wire.Message {
		h.SetCanonical(headerMessageID, x.id)
	}
	if x.failure == nil && x.reply.Status != 0 {
		h.SetStatusCode(x.reply.Status)
		h.SetContentTypeBytes(x.reply.ContentType)
		for _, f := range x.reply.Header {
			h.SetCanonical(f.Name, f.Value)
		}
	}
	if x.target != nil {
		var space [32]byte
		h.SetCanonical(headerProvider, append(space[:0], x.target.Provider...))
		h.SetCanonical(headerModel, append(space[:0], provider.ShownModel(x.served())...))
		h.SetCanonical(headerAttempts, strconv.AppendInt(space[:0], int64(x.tries), 10))
		overhead := x.answered.Sub(x.start) - x.upstream
		h.SetCanonical(headerOverhead, appendMillis(space[:0], overhead))
	}
	x.cacheHeaders(h)
	x.routed(h)
	if x.prompt != nil {
		h.SetCanonical(headerPrompt, []byte(x.prompt.Name+"@"+x.prompt.Version))
	}
	x.found.headers(h)
	if x.conn.server.draining.Load() {
		x.conn.closing.Store(true)
		h.SetConnectionClose()
	}
}

// appendMillis writes a duration in milliseconds with three decimals.
func appendMillis(dst []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	dst = append(strconv.AppendInt(dst, us/1000, 10), '.')
	us %= 1000
	return append(dst, byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

func (x *exchange) status() int {
	if x.failure != nil && x.first == 0 || x.failure != nil && x.failure.Status == statusGone {
		return x.failure.Status
	}
	return x.ctx.Response.StatusCode()
}

func (x *exchange) size() int {
	if x.call.Form != nil {
		return x.call.Form.Len()
	}
	return x.body.Len()
}

// served is the model that the provider was asked for.
func (x *exchange) served() string { return x.modelOf(x.target) }

// modelOf is what a target is asked for.
func (x *exchange) modelOf(t *router.Target) string {
	if t.Model != "" {
		return t.Model
	}
	return x.model
}

// guard answers a panic with a 500: a bug costs one request, not the process.
func (x *exchange) guard() {
	if r := recover(); r != nil {
		x.respond(x.bug(r))
	}
}

func (x *exchange) guardRead(err *error) {
	if r := recover(); r != nil {
		*err = x.bug(r)
		x.failure = fault(*err)
	}
}

func (x *exchange) bug(r any) error {
	panics.WithLabelValues().Inc()
	err := fmt.Errorf("BUG: panic: %v", r)
	x.conn.server.log.Error("a request met a bug", "id", string(x.id), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	return err
}

// identity is the request's id: the client's own where it is fit to be logged, or a new one.
func (x *exchange) identity() {
	if id := x.ctx.Request.Header.PeekCanonical(headerRequestID); fitID(id) {
		x.id = append(x.id[:0], id...)
		return
	}
	x.id = appendID(x.id[:0])
}

func fitID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.' || c == ':') {
			return false
		}
	}
	return true
}

const idLetters = "0123456789abcdefghjkmnpqrstvwxyz" // base 32 without i, l, o, u, which people misread

func appendID(dst []byte) []byte {
	dst = append(dst, "req_"...)
	for range 2 {
		for v, i := rand.Uint64(), 0; i < 12; i++ {
			dst = append(dst, idLetters[v&31])
			v >>= 5
		}
	}
	return dst
}

// key is the client's credential, wherever the SDKs of the different providers put it.
func key(h *fasthttp.RequestHeader) []byte {
	if auth := h.PeekCanonical(headerAuthorization); len(auth) > 0 {
		scheme, token, ok := bytes.Cut(auth, []byte{' '})
		if ok && len(scheme) == 6 && bytes.EqualFold(scheme, bearer) {
			return bytes.TrimSpace(token)
		}
		return nil
	}
	if k := h.PeekCanonical(headerXAPIKey); len(k) > 0 {
		return k
	}
	return h.PeekCanonical(headerAPIKey)
}

var (
	headerAuthorization = []byte("Authorization")
	headerXAPIKey       = []byte("X-Api-Key")
	headerAPIKey        = []byte("Api-Key")
	bearer              = []byte("bearer")
)
