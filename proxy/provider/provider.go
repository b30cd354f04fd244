// Package provider speaks to model providers: it translates a request into a provider's dialect, sends it over pooled
// connections that can be aborted, and translates the answer back, whole or as a stream.
package provider

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// kind is how one kind of provider is spoken to.
type kind struct {
	base    string                                                            // where it is when the config does not say
	native  []wire.Kind                                                       // what goes as it is
	to      dialect.Protocol                                                  // what the other dialects are translated to
	frames  bool                                                              // streams are AWS event streams, not server-sent events
	request func(c *Client, h *host, call *Call, req *fasthttp.Request) error // address and authorise; the body is in already
	fault   func(c *Client, status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error
}

var (
	openaiKinds = []wire.Kind{wire.Plain, wire.Chat, wire.Completion, wire.Response}
	kinds       = map[string]kind{
		"openai":    {base: "https://api.openai.com/v1", native: openaiKinds, request: openaiRequest, fault: (*Client).refused},
		"azure":     {native: openaiKinds, request: azureRequest, fault: (*Client).refused},
		"vllm":      {native: openaiKinds, request: vllmRequest, fault: vllmFault},
		"simulated": {base: "http://simulated.invalid/v1", native: openaiKinds, request: openaiRequest, fault: (*Client).refused},
		"anthropic": {base: "https://api.anthropic.com", native: []wire.Kind{wire.Message}, to: dialect.Messages, request: anthropicRequest, fault: anthropicFault},
		"bedrock":   {to: dialect.Converse, frames: true, request: bedrockRequest, fault: bedrockFault},
	}
)

// Defaults is what an entry leaves open.
func Defaults(cfg Config) Config {
	if cfg.Kind == "simulated" { // it is in the process
		return Config{}
	}
	d := Config{BaseURL: kinds[cfg.Kind].base, MaxConns: defaultMaxConns}
	if cfg.Replicas.Given() {
		d.BaseURL, d.Probe = "", Probe{Path: defaultProbePath, Every: Every(defaultProbe), Timeout: defaultAsk}
		d.Scrape = Every(defaultScrape)
	}
	return d
}

// Client speaks to one provider. It is safe for concurrent use.
type Client struct {
	Name      string
	cfg       Config
	kind      kind
	host      *host        // nil where there is a fleet in its place
	fleet     *fleet       // of kind vllm
	bedrock   *bedrock     // of kind bedrock
	region    string       // where requests are processed; "" where that is not said
	fetcher   *fetcher     // nil: URLs are not fetched
	hasNative atomic.Bool  // the Responses API has answered
	noNative  atomic.Int64 // unix nanoseconds until which the Responses API is taken to be missing
	bearer    string
	secrets   [][]byte
	stop      func() // ends the simulated provider; else nil
}

// Call is one attempt: what is asked of a provider, and how long it may take.
type Call struct {
	Method     string                  // GET, POST, DELETE
	Path       string                  // below the API's root: "/chat/completions"
	Query      []byte                  // the client's raw query
	Kind       wire.Kind               // the shape of the answer
	Header     *fasthttp.RequestHeader // the client's
	Credential []byte                  // the client's key, which must not go on
	ID         []byte                  // the request's id
	Body       *wire.Body              // a JSON body, or
	Form       *wire.Form              // a multipart body, or neither
	Model      string                  // the provider's name for the model
	AnswerAs   []byte                  // the name that answers give the model; nil: the provider's own
	Timeout    router.Timeout          // all set
	Begun      time.Time               // when the attempt began
	Abort      *Abort
	Previous   string                 // the response that the body goes on from, where the gateway keeps it
	Keep       func(w dialect.Writer) // called with a translated answer that is complete, before the client has its end
	MaxTokens  int64                  // the most tokens that the answer may have, where that is less than the client lets come; 0: as it says
	Meter      Meter                  // bounds a stream while it runs, where it is Cuttable; nil: nothing does
	Prompt     int64                  // tokens of the prompt as estimated, for the usage of a stream that is cut; 0: not known
	Prefix     []uint64               // hashes of the prompt's beginnings, where a replica is to be chosen by them; else nil
	Stream     bool                   // the client asked for an event stream
	Count      bool                   // only count the prompt's tokens: Kind is wire.Message
	Trace      *Trace                 // nil: what the client said of his goes on
	Hasty      bool                   // the client's patience is shorter than Timeout would be: no time is a provider's fault

	// What an attempt works with. A Call may be used again, for the next attempt or the next request.
	foreign  bool // it is translated,
	res      response
	link     relay
	raw      passage
	path     string // below the provider's root, after translation
	query    []byte
	request  *dialect.Request    // the body in the middle form, read at the first attempt that needs it
	through  dialect.Translation // of this attempt
	told     *translated         // nil until an answer is translated while it comes
	wasted   wire.Usage          // of an attempt that failed
	partial  int                 // bytes that the model wrote of a whole answer that broke off, about
	vocab    tokens.Tokenizer
	vocabOf  string
	visit    *visit  // nil where no provider needs one
	whole    *[]byte // the answer, when held whole
	giveBack func()  // recycles it
}

// New makes a client for each entry of `providers`. Clients of prev whose config is the same go on, with their open
// connections. The error joins all that is wrong, each worded as a path.
func New(cfgs map[string]Config, prev map[string]*Client) (map[string]*Client, error) {
	clients := make(map[string]*Client, len(cfgs))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(cfgs)) {
		if old := prev[name]; old != nil && reflect.DeepEqual(old.cfg, cfgs[name]) {
			clients[name] = old
			continue
		}
		c, err := newClient(name, cfgs[name], prev[name])
		for _, e := range split(err) {
			errs = append(errs, fmt.Errorf("providers.%s.%w", name, e))
		}
		clients[name] = c
	}
	if err := errors.Join(errs...); err != nil {
		for name, c := range clients {
			if c != nil && c != prev[name] {
				c.Close()
			}
		}
		return nil, err
	}
	return clients, nil
}

func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func newClient(name string, cfg Config, prev *Client) (*Client, error) {
	k, ok := kinds[cfg.Kind]
	if !ok {
		return nil, fmt.Errorf("kind: unknown kind %q (have: %s)", cfg.Kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	var b *bedrock
	if cfg.Kind == "bedrock" {
		var err error
		if b, err = newBedrock(cfg); err != nil {
			return nil, err
		}
		k.base = b.base
	}
	bases, err := cfg.bases(k)
	if err != nil {
		return nil, err
	}
	c := &Client{bedrock: b, Name: name, cfg: cfg, kind: k, region: cfg.region(), secrets: secrets(cfg, bases)}
	if cfg.FetchURLs {
		c.fetcher = newFetcher(publicWeb)
	}
	if b != nil {
		c.region = b.region
	}
	if b != nil && b.bearer != "" {
		c.secrets = append(c.secrets, []byte(b.bearer))
	}
	if key := cfg.APIKey.Reveal(); key != "" {
		c.bearer = "Bearer " + key
	}
	if cfg.Kind == "vllm" {
		if c.fleet, err = newFleet(c, bases, prev); err != nil {
			return nil, err
		}
		return c, nil
	}
	if c.host, err = newHost(bases[0], cfg); err != nil {
		return nil, err
	}
	if cfg.Kind == "simulated" {
		c.simulate()
	}
	return c, nil
}

// Kind is the dialect's name in the config.
func (c *Client) Kind() string { return c.cfg.Kind }

// Close ends connections: idle ones now, those of attempts under way when these have finished.
func (c *Client) Close() {
	if c.fleet != nil {
		c.fleet.close()
	} else {
		c.host.retire()
	}
	if c.stop != nil {
		c.stop()
	}
	if c.bedrock != nil {
		c.bedrock.Close()
	}
}

// Do asks the provider. It returns once the first content of a stream is in hand, or the whole of any other answer that
// is not binary; an error is a *wire.Error or ErrAborted. Replicas that cannot be connected to are passed over.
func (c *Client) Do(call *Call, reply *wire.Reply) error {
	call.res.sent, call.wasted, call.partial, call.link.why = false, wire.Usage{}, 0, ""
	if call.told != nil {
		call.told.why = ""
	}
	if call.visit != nil {
		call.visit.at = ""
		call.visit.where.Store(nil)
	}
	err := c.do(call, reply)
	if call.visit != nil && !call.visit.stream {
		call.leave(router.EndedNeutral)
	}
	switch {
	case err == nil:
		return nil
	case call.Abort.Fired():
		err = ErrAborted
	default:
		err = failed(err)
	}
	call.waste(err)
	return err
}

func (c *Client) do(call *Call, reply *wire.Reply) error {
	if err := c.prepare(call); err != nil {
		return err
	}
	if call.Count && !c.counts() {
		return c.countHere(call, reply)
	}
	err := c.try(call, reply)
	if err == errNoResponses {
		err = c.withoutResponses(call, reply)
	}
	return err
}

// waste takes note of an attempt that was given up after the provider had the request, or whose answer broke off: the provider has
// read the prompt, and bills it. One that the provider itself gave up costs what it had reported till then.
func (call *Call) waste(err error) {
	var e *wire.Error
	late := errors.As(err, &e) && e.Status == fasthttp.StatusGatewayTimeout
	if !call.res.sent || err != ErrAborted && !late && call.partial == 0 {
		return
	}
	call.wasted.Estimated = true
	if call.writes() {
		call.wasted.Completion += int64(call.partial) / lettersPerToken
	}
}

// written is how much of half an answer is the model's, about: what comes from the first text on.
func written(body []byte) int {
	for _, key := range [...]string{`"content":`, `"text":`} {
		if at := bytes.Index(body, []byte(key)); at >= 0 {
			return max(len(body)-at-len(key), 1)
		}
	}
	return len(body)
}

// Wasted is what the last attempt has cost though it failed, as far as the provider had reported it: the rest of what is
// Estimated must be estimated. It is false where it cost nothing.
func (call *Call) Wasted() (u wire.Usage, ok bool) { return call.wasted, call.wasted != (wire.Usage{}) }

// Stopped is why a stream, or an answer that was translated, ended, in wire.StopReason's words; "" as long as it has not.
func (call *Call) Stopped() string {
	if call.foreign && call.told != nil {
		return cmp.Or(call.told.why, call.link.why)
	}
	return call.link.why
}

// Replica is the address of the one that was asked last; "" of a provider that has none.
func (call *Call) Replica() string {
	if call.visit == nil {
		return ""
	}
	return call.visit.at
}

// Place tells who is asked, and where: answers of two places may differ. The replicas of a pool are one.
func (c *Client) Place() string {
	place := c.cfg.Kind + " " + c.region
	if c.fleet == nil && c.host != nil && c.host.base != nil {
		place += " " + c.host.base.Host + c.host.base.Path
	}
	return place
}

// Region is where the provider processes requests, "" where that is not said.
func (c *Client) Region() string {
	if c == nil {
		return ""
	}
	return c.region
}

func (c *Client) try(call *Call, reply *wire.Reply) error {
	if c.fleet != nil {
		return c.fleet.try(call, reply)
	}
	if err := c.send(c.host, call); err != nil {
		return err
	}
	return c.receive(call, reply)
}

// send builds the request and sends it.
func (c *Client) send(h *host, call *Call) error {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	body := buffers.Get().(*[]byte)
	defer func() { recycle(body) }()

	req.Header.SetMethod(call.Method)
	c.headers(call, req)
	if err := c.body(call, req, body); err != nil {
		return err
	}
	req.Header.SetHost(h.base.Host)
	if err := c.kind.request(c, h, call, req); err != nil {
		return err
	}

	first := call.Timeout.Total
	if call.Stream {
		first = call.Timeout.FirstToken
	}
	return h.send(req, &call.res, call, first)
}

// headers takes the client's over. Those of its dialect mean nothing to a provider of another.
func (c *Client) headers(call *Call, req *fasthttp.Request) {
	if call.foreign {
		copyTrace(&req.Header, call.Header, call.Credential, call.Trace)
	} else {
		copyHeaders(&req.Header, call.Header, call.Credential, c.kind.speaks(wire.Message), call.Trace)
	}
	call.Trace.tell(&req.Header)
	for name, value := range c.cfg.Headers {
		req.Header.Del(name) // all of the client's
		req.Header.Set(name, value)
	}
	req.Header.SetCanonical(headerRequestID, call.ID)
}

// body puts the request's body together, in space of the caller's.
func (c *Client) body(call *Call, req *fasthttp.Request, space *[]byte) (err error) {
	switch {
	case call.foreign:
		if call.Count {
			*space, err = call.through.AppendCount((*space)[:0])
		} else {
			*space, err = call.through.AppendRequest((*space)[:0])
		}
		if err != nil {
			return err
		}
	case call.Body != nil:
		b, bound, err := c.capped(call)
		if err != nil {
			return err
		}
		counts := call.Stream && (call.Kind == wire.Chat || call.Kind == wire.Completion)
		*space = b.AppendEdited((*space)[:0], wire.Edit{Model: call.Model, Usage: counts, Cap: bound})
		switch call.Kind {
		case wire.Response:
			*space = dialect.Unsealed(*space)
		case wire.Message:
			*space = dialect.Unsigned(*space)
		}
	case call.Form != nil:
		*space = call.Form.AppendEdited((*space)[:0], call.Model)
		req.Header.SetContentType(call.Form.ContentType())
		req.SetBodyRaw(*space)
		return nil
	default:
		return nil
	}
	req.SetBodyRaw(*space)
	req.Header.SetContentTypeBytes(typeJSON)
	return nil
}

var (
	headerRequestID = []byte("X-Request-Id")
	typeJSON        = []byte("application/json")
	typeEvents      = []byte("text/event-stream")
)

func recycle(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}
