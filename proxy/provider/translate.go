package provider

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// What a provider does not speak is translated: see package dialect. What it does speak goes as it is.

func (k kind) speaks(what wire.Kind) bool { return slices.Contains(k.native, what) }

// Native tells whether answers of a kind are the provider's own, byte for byte. That of the Responses API may change: see
// Config.Responses.
func (c *Client) Native(what wire.Kind) bool {
	if what == wire.Response && (c.cfg.Responses == "chat" || c.noNative.Load() > time.Now().UnixNano()) {
		return false
	}
	return c.kind.speaks(what)
}

// Stores tells whether the provider may keep responses.
func (c *Client) Stores() bool { return c.kind.speaks(wire.Response) }

// prepare decides how the call goes to this provider.
func (c *Client) prepare(call *Call) (err error) {
	call.path, call.query = call.Path, call.Query
	stored := call.Kind == wire.Response && call.Body == nil // what a provider keeps, only that provider can be asked for
	if call.foreign = !c.Native(call.Kind) && !(stored && c.Stores()); !call.foreign {
		return nil
	}
	if call.Kind == wire.Plain && call.Path == "/models" && c.cfg.Kind == "anthropic" {
		call.foreign = false
		return nil
	}
	if call.Body == nil || call.Kind != wire.Chat && call.Kind != wire.Message && call.Kind != wire.Response {
		return unserved(c, call)
	}
	if call.request == nil {
		if call.request, err = call.read(); err != nil {
			return err
		}
		call.request.Previous = call.Previous
	}
	call.through = dialect.Translation{Request: call.lessened(), To: c.kind.to, Provider: c.cfg.Kind, Model: call.Model,
		Drop: c.cfg.Unsupported == "drop", ID: c.newID(call.Kind), Named: c.named(call), Created: call.Begun.Unix()}
	if call.Kind == wire.Message && len(call.Header.PeekBytes(headerAnthropicBeta)) > 0 {
		call.through.Note("anthropic-beta")
	}
	call.query = nil
	switch c.kind.to {
	case dialect.Chat:
		call.path = "/chat/completions"
	case dialect.Messages:
		call.path = "/messages"
	case dialect.Converse: // the model is in it
	}
	return c.fetchMedia(call)
}

func (call *Call) read() (*dialect.Request, error) {
	if call.Count {
		return dialect.ReadCount(call.Body.Raw())
	}
	return dialect.Read(call.Kind, call.Body.Raw())
}

// Forget drops what the attempts of a request left in the call: a connection that waits for the next one must hold
// nothing large.
func (call *Call) Forget() {
	call.Previous, call.foreign = "", false
	if call.visit != nil {
		call.leave(router.EndedNeutral) // nothing to end, unless a bug was met
		*call.visit, call.Prefix = visit{}, nil
	}
	if call.request == nil {
		return // nothing was translated
	}
	call.request, call.through = nil, dialect.Translation{}
	if call.told == nil {
		return
	}
	if cap(call.told.events) > 64 {
		call.told.events = nil
	}
	clear(call.told.events[:cap(call.told.events)])
	*call.told = translated{events: call.told.events[:0], blocks: call.told.blocks[:0], gauge: gauge{text: call.told.text}}
}

// Translated is the translation of the last attempt, nil if the provider speaks the client's dialect.
func (call *Call) Translated() *dialect.Translation {
	if !call.foreign {
		return nil
	}
	return &call.through
}

func unserved(c *Client, call *Call) *wire.Error {
	e := wire.Invalid("model", "Models of a provider of kind %s serve /chat/completions, /responses and /messages, not %s.", c.cfg.Kind, call.Path)
	e.Code, e.Failover = "unsupported_endpoint", true
	return e
}

// named is the model that the answer names, where that is not the provider's to say: Converse does not.
func (c *Client) named(call *Call) string {
	if call.AnswerAs == nil && c.kind.to == dialect.Converse {
		return ShownModel(call.Model)
	}
	return string(call.AnswerAs)
}

// ShownModel is a model's name as clients may see it: an ARN tells the operator's account.
func ShownModel(name string) string {
	if !strings.HasPrefix(name, "arn:") {
		return name
	}
	parts := strings.SplitN(name, ":", 6) // arn:partition:service:region:account:resource
	resource := parts[len(parts)-1]
	return resource[strings.LastIndexByte(resource, '/')+1:]
}

// newID makes an answer's id where the provider has none that fits: a response's is the gateway's to keep, and Converse
// gives none.
func (c *Client) newID(kind wire.Kind) string {
	prefix := map[wire.Kind]string{wire.Chat: "chatcmpl-", wire.Message: "msg_", wire.Response: "resp_"}[kind]
	if kind != wire.Response && c.kind.to != dialect.Converse {
		return ""
	}
	var b [24]byte
	rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// chattyFor is how long a server that has no Responses API is not asked for it again.
const chattyFor = 10 * time.Minute

// withoutResponses makes the request anew of chat completions, and remembers that if it works.
func (c *Client) withoutResponses(call *Call, reply *wire.Reply) error {
	before := c.noNative.Swap(time.Now().Add(chattyFor).UnixNano())
	err := c.prepare(call)
	if err == nil {
		err = c.try(call, reply)
	}
	if err != nil {
		c.noNative.Store(before)
	}
	return err
}

// errNoResponses says that the server has no Responses API: the request is made anew, of chat completions.
var errNoResponses = errors.New("the server has no Responses API")

// lacksResponses tells the answer of a server that does not know the path from one that refuses the request. What a client
// can make the server say, by the model's name, must not decide: the switch is for all tenants.
func (c *Client) lacksResponses(call *Call, body []byte) bool {
	if call.foreign || call.Kind != wire.Response || call.Path != "/responses" || c.cfg.Responses == "native" || c.hasNative.Load() {
		return false
	}
	switch call.res.head.StatusCode() {
	case fasthttp.StatusMethodNotAllowed, fasthttp.StatusNotImplemented:
		return true
	case fasthttp.StatusNotFound:
		return noSuchRoute(body, call.Model)
	}
	return false
}

func noSuchRoute(body []byte, model string) bool {
	if len(body) > maxErrorText || !gjson.ValidBytes(body) {
		return true // a web server's page
	}
	if bytes.Equal(bytes.TrimSpace(body), []byte(`{"detail":"Not Found"}`)) { // FastAPI's
		return true
	}
	message := gjson.GetBytes(body, "error.message").String()
	return (strings.HasPrefix(message, "Invalid URL (") || strings.HasPrefix(message, "Unknown request URL")) && !strings.Contains(message, model)
}

// Lists tells whether the provider can be asked for its models. Bedrock lists them elsewhere, for other credentials.
func (c *Client) Lists() bool { return c.cfg.Kind != "bedrock" }

// counts tells whether the provider can count a prompt's tokens.
func (c *Client) counts() bool { return c.cfg.Kind == "anthropic" || c.cfg.Kind == "bedrock" }

// copyTrace takes over the headers that mean the same to every provider: whose request it is, and the trace that it is part
// of. The others are of the client's dialect.
func copyTrace(dst, src *fasthttp.RequestHeader, credential []byte, trace *Trace) {
	for _, name := range []string{fasthttp.HeaderUserAgent, "Traceparent", "Tracestate"} {
		if v := src.Peek(name); len(v) > 0 && !trace.replaces([]byte(name)) && (len(credential) == 0 || !bytes.Contains(v, credential)) {
			dst.SetBytesV(name, v)
		}
	}
}

// receiveForeign translates an answer of another dialect.
func (c *Client) receiveForeign(call *Call, reply *wire.Reply) error {
	streams := typeEvents
	if c.kind.frames {
		streams = typeFrames
	}
	var err error
	if hasPrefixFold(reply.ContentType, streams) {
		reply.ContentType = typeEvents
		err = c.receiveTranslated(call, reply)
	} else {
		reply.ContentType = typeJSON
		err = c.receiveWholeForeign(call, reply)
	}
	if dropped := call.through.Dropped(); err == nil && len(dropped) > 0 {
		reply.Header = append(reply.Header, wire.Field{Name: headerWarning, Value: warning(dropped)})
	}
	return err
}

// warning lists what was left out, for a header: what cannot stand in one is replaced, and the rest of a long list is only
// counted, as clients take only so much header.
func warning(dropped []string) []byte {
	const most = 1000
	text := []byte("dropped: ")
	for i, path := range dropped {
		if len(text)+len(path) > most {
			return fmt.Appendf(text, "and %d more", len(dropped)-i)
		}
		for _, r := range path {
			if r < '!' || r > '~' || r == ',' {
				r = '?'
			}
			text = append(text, byte(r))
		}
		text = append(text, ", "...)
	}
	return bytes.TrimSuffix(text, []byte(", "))
}

var (
	typeFrames    = []byte("application/vnd.amazon.eventstream")
	headerWarning = []byte("X-Jarvis-Warning")

	headerAnthropicBeta = []byte("Anthropic-Beta")
)

// receiveWholeForeign translates an answer that does not stream; for a client that asked for a stream it makes one.
func (c *Client) receiveWholeForeign(call *Call, reply *wire.Reply) error {
	body := buffers.Get().(*[]byte)
	defer recycle(body)
	err := call.wholeInTime()
	if err == nil {
		*body, err = call.res.readAll((*body)[:0])
	}
	if err != nil {
		call.res.fail(err)
	}
	call.res.close(err == nil)
	if err != nil {
		call.partial = written(*body)
		return failed(err)
	}
	if bytes.HasPrefix(bytes.TrimLeft(*body, " \r\n\t"), errorAnswer) {
		return c.inStream(*body) // some servers say 200 and mean an error
	}
	if call.Count {
		return countAnswer(*body, reply)
	}
	answer, err := call.through.Reader().Whole(*body)
	if err != nil {
		return c.misread(err)
	}
	call.through.RestoreAnswer(answer)
	out, w := buffers.Get().(*[]byte), call.through.Writer()
	if call.Stream {
		reply.ContentType = typeEvents
		for e := range answer.Events() {
			*out = w.Event(*out, &e)
		}
		*out = w.End(*out)
	} else {
		*out = w.Whole((*out)[:0], answer)
	}
	reply.Body, reply.Usage, call.link.why = *out, answer.Usage, stops[answer.Stop]
	if answer.Usage == (wire.Usage{}) {
		reply.Usage = wire.Usage{Completion: answer.Size() / lettersPerToken, Estimated: true}
	}
	if tier := wire.TierOf(answer.Tier); tier != wire.TierUnsaid {
		reply.Usage.Tier = tier
	}
	if call.giveBack == nil {
		call.giveBack = func() { recycle(call.whole) }
	}
	call.whole, reply.Release = out, call.giveBack
	call.keep(w)
	return nil
}

func (call *Call) keep(w dialect.Writer) {
	if call.Keep != nil && call.Kind == wire.Response {
		call.Keep(w)
	}
}

// misread turns what a reader of answers says into what the client sees: a failure that the provider tells of, or an
// answer that makes no sense.
func (c *Client) misread(err error) *wire.Error {
	var told *dialect.Failure
	if errors.As(err, &told) {
		return c.translatedFailure(told)
	}
	return upstreamError(err)
}

// messageFailure reads an error event of Anthropic's.
func (c *Client) messageFailure(data []byte) *wire.Error {
	e := gjson.GetBytes(data, "error")
	return c.translatedFailure(&dialect.Failure{Type: e.Get("type").String(), Message: e.Get("message").String()})
}

// countAnswer turns Bedrock's count of tokens into Anthropic's.
func countAnswer(body []byte, reply *wire.Reply) error {
	n := gjson.GetBytes(body, "inputTokens")
	if n.Type != gjson.Number {
		return upstreamError(errors.New("no inputTokens in the count of tokens"))
	}
	reply.Body = []byte(`{"input_tokens":` + n.Raw + `}`)
	return nil
}
