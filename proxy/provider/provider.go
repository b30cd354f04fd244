// Package provider speaks to model providers: it translates a request into a provider's dialect, sends it over pooled
// connections that can be aborted, and translates the answer back, whole or as a stream.
package provider

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// dialect is how one kind of provider is spoken to: a pair of functions.
type dialect struct {
	base    string                                                      // where it is when the config does not say
	request func(c *Client, h *host, call *Call, req *fasthttp.Request) // address and authorise; the body is in already
	fault   func(c *Client, status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error
}

// Defaults is what an entry of a kind leaves open.
func Defaults(kind string) Config {
	if kind == "simulated" { // it is in the process
		return Config{}
	}
	return Config{BaseURL: dialects[kind].base, MaxConns: defaultMaxConns}
}

var dialects = map[string]dialect{
	"openai":    {base: "https://api.openai.com/v1", request: openaiRequest, fault: (*Client).refused},
	"azure":     {request: azureRequest, fault: (*Client).refused},
	"vllm":      {request: vllmRequest, fault: vllmFault},
	"simulated": {base: "http://simulated.invalid/v1", request: openaiRequest, fault: (*Client).refused},
}

// Client speaks to one provider. It is safe for concurrent use.
type Client struct {
	Name    string
	cfg     Config
	dialect dialect
	hosts   []*host
	turn    atomic.Uint32
	bearer  string
	secrets [][]byte
	stop    func() // ends the simulated provider; else nil
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
	Stream     bool                    // the client asked for an event stream
	Timeout    router.Timeout          // all set
	Begun      time.Time               // when the attempt began
	Abort      *Abort

	// What an attempt works with. A Call may be used again, for the next attempt or the next request.
	res      response
	link     relay
	raw      passage
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
		c, err := newClient(name, cfgs[name])
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

func newClient(name string, cfg Config) (*Client, error) {
	d, ok := dialects[cfg.Kind]
	if !ok {
		return nil, fmt.Errorf("kind: unknown kind %q (have: %s)", cfg.Kind, strings.Join(slices.Sorted(maps.Keys(dialects)), ", "))
	}
	bases, err := cfg.bases(d)
	if err != nil {
		return nil, err
	}
	c := &Client{Name: name, cfg: cfg, dialect: d, secrets: secrets(cfg, bases)}
	if key := cfg.APIKey.Reveal(); key != "" {
		c.bearer = "Bearer " + key
	}
	for _, base := range bases {
		h, err := newHost(base, cfg)
		if err != nil {
			return nil, err
		}
		c.hosts = append(c.hosts, h)
	}
	if cfg.Kind == "simulated" {
		c.simulate()
	}
	return c, nil
}

// bases checks where the provider is.
func (cfg Config) bases(d dialect) ([]*url.URL, error) {
	list, field := []string{cmp.Or(cfg.BaseURL, d.base)}, "base_url"
	if len(cfg.Replicas) > 0 {
		if cfg.Kind != "vllm" || cfg.BaseURL != "" {
			return nil, errors.New("replicas: only for kind vllm, and in place of base_url")
		}
		list, field = cfg.Replicas, "replicas"
	}
	var errs []error
	if cfg.APIVersion != "" && cfg.Kind != "azure" {
		errs = append(errs, errors.New("api_version: only for kind azure"))
	}
	if cfg.MaxConns < 0 {
		errs = append(errs, errors.New("max_conns: must be at least 1"))
	}
	for name, value := range cfg.Headers {
		if !headerToken(name) || strings.ContainsAny(value, "\r\n\x00") || keepsToItself([]byte(canonical(name))) && !strings.HasPrefix(canonical(name), "Openai-") {
			errs = append(errs, fmt.Errorf("headers.%s: not a header that may be set here", name))
		}
	}
	var bases []*url.URL
	for i, s := range list {
		where := field
		if field == "replicas" {
			where = fmt.Sprintf("replicas[%d]", i)
		}
		u, err := url.Parse(s)
		switch {
		case s == "":
			err = fmt.Errorf("%s: must be set for kind %s", where, cfg.Kind)
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			err = fmt.Errorf("%s: expected http://host[:port][/path] or https://..., without user, query or fragment", where)
		}
		errs = append(errs, err)
		bases = append(bases, u)
	}
	return bases, errors.Join(errs...)
}

func canonical(name string) string {
	var h fasthttp.RequestHeader
	h.Set(name, "x")
	for k := range h.All() {
		return string(k)
	}
	return name
}

func headerToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// Kind is the dialect's name in the config.
func (c *Client) Kind() string { return c.cfg.Kind }

// Close ends idle connections; attempts under way finish.
func (c *Client) Close() {
	for _, h := range c.hosts {
		h.pool.CloseIdleConnections()
	}
	if c.stop != nil {
		c.stop()
	}
}

// Do asks the provider. It returns once the first content of a stream is in hand, or the whole of any other answer that
// is not binary; an error is a *wire.Error or ErrAborted. Replicas that cannot be connected to are passed over.
func (c *Client) Do(call *Call, reply *wire.Reply) error {
	err := c.try(call, reply)
	for left := len(c.hosts) - 1; left > 0 && unreached(err) && !call.Abort.Fired(); left-- {
		err = c.try(call, reply)
	}
	switch {
	case err == nil:
		return nil
	case call.Abort.Fired():
		return ErrAborted
	}
	return failed(err)
}

func (c *Client) try(call *Call, reply *wire.Reply) error {
	h := c.choose()
	if err := c.send(h, call); err != nil {
		if unreached(err) {
			h.resting.Store(time.Now().Add(restAfterRefusal).UnixNano())
		}
		return err
	}
	if h.resting.Load() != 0 {
		h.resting.Store(0)
	}
	return c.receive(call, reply)
}

// restAfterRefusal is how long a replica that refused a connection is asked last.
const restAfterRefusal = 2 * time.Second

// choose takes the replica with the fewest attempts under way; equals take turns.
func (c *Client) choose() *host {
	if len(c.hosts) == 1 {
		return c.hosts[0]
	}
	now := time.Now().UnixNano()
	start := int(c.turn.Add(1))
	var best *host
	var least int64
	for i := range c.hosts {
		h := c.hosts[(start+i)%len(c.hosts)]
		load := h.open.Load()
		if h.resting.Load() > now {
			load += 1 << 32
		}
		if best == nil || load < least {
			best, least = h, load
		}
	}
	return best
}

// send builds the request and sends it.
func (c *Client) send(h *host, call *Call) error {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	body := buffers.Get().(*[]byte)
	defer func() { recycle(body) }()

	req.Header.SetMethod(call.Method)
	copyHeaders(&req.Header, call.Header, call.Credential)
	for name, value := range c.cfg.Headers {
		req.Header.Del(name) // all of the client's
		req.Header.Set(name, value)
	}
	req.Header.SetCanonical(headerRequestID, call.ID)
	switch {
	case call.Body != nil:
		*body = call.Body.AppendEdited((*body)[:0], call.Model, call.Stream && (call.Kind == wire.Chat || call.Kind == wire.Completion))
		req.SetBodyRaw(*body)
		req.Header.SetContentTypeBytes(typeJSON)
	case call.Form != nil:
		*body = call.Form.AppendEdited((*body)[:0], call.Model)
		req.SetBodyRaw(*body)
		req.Header.SetContentType(call.Form.ContentType())
	}
	req.Header.SetHost(h.base.Host)
	c.dialect.request(c, h, call, req)

	first := call.Timeout.Total
	if call.Stream {
		first = call.Timeout.FirstToken
	}
	return h.send(req, &call.res, call, first)
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

// receive turns the answer whose headers are in into a reply.
func (c *Client) receive(call *Call, reply *wire.Reply) error {
	res := &call.res
	head := &res.head
	*reply = wire.Reply{Status: head.StatusCode(), ContentType: head.ContentType(), Header: visible(reply.Header[:0], head), Length: -1}
	switch {
	case len(head.ContentEncoding()) > 0 && string(head.ContentEncoding()) != "identity":
		res.close(false)
		return upstreamError(fmt.Errorf("unexpected content encoding %q", head.ContentEncoding()))
	case reply.Status < 200 || reply.Status > 299:
		return c.receiveFault(call)
	case hasPrefixFold(reply.ContentType, typeEvents):
		return c.receiveEvents(call, reply)
	case isText(reply.ContentType) || res.body.eof:
		return c.receiveWhole(call, reply)
	}
	call.raw = passage{res: res}
	if !res.body.chunked && res.body.left >= 0 {
		reply.Length = int(res.body.left)
	}
	reply.Stream = &call.raw
	return nil
}

func hasPrefixFold(b, prefix []byte) bool {
	return len(b) >= len(prefix) && strings.EqualFold(string(b[:len(prefix)]), string(prefix))
}

// isText tells answers that may carry a usage, and are therefore held whole, from binary ones.
func isText(contentType []byte) bool {
	return hasPrefixFold(contentType, typeJSON) || hasPrefixFold(contentType, []byte("text/")) || len(contentType) == 0
}

func (c *Client) receiveFault(call *Call) error {
	body := buffers.Get().(*[]byte)
	defer func() { recycle(body) }()
	var err error
	*body, err = call.res.readAll((*body)[:0])
	call.res.close(err == nil)
	return c.dialect.fault(c, call.res.head.StatusCode(), &call.res.head, *body)
}

func (c *Client) receiveWhole(call *Call, reply *wire.Reply) error {
	body := buffers.Get().(*[]byte)
	err := call.wholeInTime()
	if err == nil {
		*body, err = call.res.readAll((*body)[:0])
	}
	call.res.close(err == nil)
	if err != nil {
		recycle(body)
		return failed(err)
	}
	if (call.Kind == wire.Chat || call.Kind == wire.Completion) && bytes.HasPrefix(bytes.TrimLeft(*body, " \r\n\t"), errorAnswer) {
		defer recycle(body)
		return c.inStream(*body) // some servers say 200 and mean an error
	}
	reply.Body = *body
	if object := wire.FindLastUsage(*body); object != nil {
		reply.Usage = wire.ReadUsage(object)
	} else if call.Kind == wire.Chat || call.Kind == wire.Completion {
		reply.Usage.Estimated = true
	}
	if call.Kind == wire.Response {
		reply.ID = gjson.GetBytes(*body, "id").String()
	}
	if call.AnswerAs != nil {
		reply.Body = rename(reply.Body, call.AnswerAs)
	}
	if call.giveBack == nil {
		call.giveBack = func() { recycle(call.whole) }
	}
	call.whole, reply.Release = body, call.giveBack
	return nil
}

var errorAnswer = []byte(`{"error":{`)

// wholeInTime gives an answer that is whole where a stream was asked for, and so was timed by its first token, the time
// of a whole answer.
func (call *Call) wholeInTime() error {
	if !call.Stream {
		return nil
	}
	return call.res.conn.SetReadDeadline(call.res.deadline)
}

func (c *Client) receiveEvents(call *Call, reply *wire.Reply) error {
	call.link = relay{client: c, res: &call.res, kind: call.Kind, asked: call.AnswerAs,
		dropUsage: call.Stream && call.Body != nil && !call.Body.IncludeUsage()}
	if err := call.link.open(); err != nil {
		_ = call.link.Close()
		return err
	}
	reply.Stream, reply.ID = &call.link, call.link.id
	return nil
}

// passage passes a binary answer on as it comes.
type passage struct {
	res    *response
	err    error
	closed bool
}

func (p *passage) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := 0, p.res.arm()
	if err == nil {
		n, err = p.res.body.Read(b)
	}
	switch {
	case err == nil || err == io.EOF:
		p.err = err
	case p.res.abort.Fired():
		p.err = ErrAborted
	default:
		p.err = failed(err)
	}
	return n, p.err
}

// Usage is unknown: binary answers do not report one.
func (p *passage) Usage() wire.Usage { return wire.Usage{} }

func (p *passage) Close() error {
	if !p.closed {
		p.closed = true
		p.res.close(p.res.body.eof)
	}
	return nil
}
