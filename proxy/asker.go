package proxy

import (
	"bytes"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// An exchange is what the router asks with (router.Asker).

// Send asks one target.
func (x *exchange) Send(target *router.Target) (router.Took, error) {
	x.call.AnswerAs = x.answerAs(target)
	x.stepped(target)
	if err := x.ask(target); err != nil {
		return router.Took{}, x.fell(target, err)
	}
	return took(x.call, &x.reply), nil
}

// took tells of a call that has come to its first content.
func took(call *provider.Call, reply *wire.Reply) router.Took {
	return router.Took{Begun: call.Begun, Whole: reply.Stream == nil}
}

// answerAs is the name that answers give the model; nil: the provider's own.
func (x *exchange) answerAs(target *router.Target) []byte {
	if x.route.AnswerAs == "asked" || target.Serves().AnswerAs == "asked" {
		return []byte(x.asked)
	}
	return nil
}

// Query tells what the router wants to know of the request. What it was told once is not found out again.
func (x *exchange) Query(needs router.Needs) *router.Query {
	if x.query == nil {
		x.query = &router.Query{Header: x.header, Price: x.costs}
	}
	q := x.query
	if q.Known == 0 {
		*q = router.Query{Now: x.start, Header: q.Header, Price: q.Price, Prefix: q.Prefix[:0], Tags: q.Tags[:0]}
	}
	q.Model, q.Stream = x.model, x.call.Stream // another model after a downgrade
	if needs&router.NeedsPrice != 0 {
		needs |= router.NeedsBody
	}
	missing := needs &^ q.Known
	q.Known |= needs | router.NeedsModel
	if missing&router.NeedsWho != 0 {
		x.tellWho(q)
	}
	if missing&router.NeedsBody != 0 {
		x.tellBody(q)
	}
	if missing&router.NeedsSpent != 0 {
		q.Spent = x.caller.Spent()
	}
	if missing&router.NeedsPrefix != 0 {
		x.tellPrefix(q)
	}
	return q
}

func (x *exchange) tellWho(q *router.Query) {
	c, note := x.caller, x.note()
	q.Tenant, q.Team, q.Key, q.Role = c.Tenant, c.Team, c.Key, c.Role
	q.Request = string(x.id)
	q.Scene, q.Tags = note.scene, append(q.Tags, note.tags...)
	if q.User = c.User; q.User == "" {
		q.User = note.user
	}
	if q.User == "" && x.call.Body != nil {
		q.User = x.body.User(x.ep.kind)
	}
}

// tellBody looks at the request itself. What it asks for is known by the names that only such requests have.
func (x *exchange) tellBody(q *router.Query) {
	if x.call.Body == nil {
		q.Tokens, q.Files = x.call.Expected().Prompt, true
		return
	}
	raw := x.body.Raw()
	q.Tokens = int64(tokens.EstimateJSON(raw))
	q.MaxTokens, _, _ = x.body.Cap(x.ep.kind) // what is no number is refused elsewhere
	q.Images = holds(raw, `"image_url"`, `"input_image"`, `"image"`)
	q.Audio = holds(raw, `"input_audio"`, `"audio"`)
	q.Files = holds(raw, `"file"`, `"input_file"`, `"document"`)
	q.Tools = holds(raw, `"tools"`, `"functions"`)
	q.JSON = holds(raw, `"json_object"`, `"json_schema"`)
}

func holds(raw []byte, marks ...string) bool {
	for _, mark := range marks {
		if bytes.Contains(raw, []byte(mark)) {
			return true
		}
	}
	return false
}

func (x *exchange) tellPrefix(q *router.Query) {
	if x.call.Body == nil {
		return
	}
	seed := xxhash.Sum64String(x.model)
	for _, field := range [...]string{"tools", "system", "instructions", "messages", "input", "prompt"} { // as templates have them
		if raw := x.body.Get(field).Raw; raw != "" {
			q.Prefix = router.AppendPrefix(q.Prefix, seed, []byte(raw), router.PrefixBlock)
			seed = seed*31 + xxhash.Sum64String(raw)
		}
	}
}

// header is a header of the client's. What authorises him is nobody's business.
func (x *exchange) header(name string) string {
	for _, secret := range [...][]byte{headerAuthorization, headerXAPIKey, headerAPIKey} {
		if strings.EqualFold(name, string(secret)) {
			return ""
		}
	}
	return string(x.head().Peek(name))
}

// head is the client's header, or the copy of it for who chooses a second target while the first attempt has the header.
func (x *exchange) head() *fasthttp.RequestHeader {
	if x.race != nil && x.race.header != nil {
		return x.race.header
	}
	return &x.ctx.Request.Header
}

// likelyAnswer is how many tokens an answer has whose length nobody says.
const likelyAnswer = 400

// costs is what the request would cost at a target, as far as it can be told before: with as much of the prompt in the
// provider's cache as of late.
func (x *exchange) costs(t *router.Target) int64 {
	found, err := x.price(t)
	if err != nil || !found.known {
		return -1
	}
	q := x.query
	answer := int64(likelyAnswer)
	if q.MaxTokens > 0 {
		answer = min(answer, q.MaxTokens)
	}
	return found.price.Rough(q.Tokens, int64(t.Track(x.model).Cached()*float64(q.Tokens)), answer)
}

// Wait waits, unless the client leaves, or would before that.
func (x *exchange) Wait(d time.Duration) error {
	if left := x.left(); left > 0 && d >= left {
		return router.ErrHurried
	}
	gone := make(stake)
	if !x.abort.Hold(gone) {
		return router.ErrLeft
	}
	defer x.abort.LetGo()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-gone:
		return router.ErrLeft
	}
}

// stake is closed when the client leaves.
type stake chan struct{}

// Close tells whoever waits. The abort that holds it calls it from one goroutine at a time.
func (s stake) Close() error {
	select {
	case <-s: // told already
	default:
		close(s)
	}
	return nil
}

// broken is what broke the answer off, for the target's track: ErrLeft where the client left or was in haste, which says nothing of it.
func (x *exchange) broken() error {
	switch {
	case x.failure == nil:
		return nil
	case x.failure.Status == statusGone, x.hurried():
		return router.ErrLeft
	}
	return x.failure
}

var _ router.Asker = (*exchange)(nil)
