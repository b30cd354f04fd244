package fakellm

import (
	"hash/crc32"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// exchange is one request and its answer, from the parsed head to the last byte.
type exchange struct {
	s   *Server
	ctx *fasthttp.RequestCtx
	c   *conn
	rec *record // nil when nobody wants to know

	path     string // without the query, as on the wire
	query    string
	endpoint string
	params   params
	body     []byte

	authorization, apiKey, ctype string // header fields
	version, beta                string // and Anthropic's
	number                       int64  // of the request, from 1
	seed                         uint32 // of everything generated: a digest of the request

	denied   bool // the key is wrong
	violated bool
	model    string
	stream   bool
	plan     Plan
	shape    *shape

	bill    Usage
	failure *apiError // that is being answered with
	made    string    // id of the response that is being answered with, in the Responses API
	sent    int       // stream events
	status  int
	watch   *watch
	timer   *time.Timer
	slot    bool // holds a turn of the engine
	kv      int  // and this much of its cache
	billed  bool // the whole answer, before it is sent
	settled bool
}

// params are the parts of the path that vary.
type params struct {
	id         string // the second path element, such as a model or response id, decoded
	action     string // the third
	deployment string // Azure
}

// answer is what goes back: a body, or a script of stream events.
type answer struct {
	status int // 200 when 0
	ctype  string
	body   []byte
	script script
	parts  int // content events in script
	hidden int // completion tokens that no content event shows
}

// render makes the answer once the plan is known.
type render func(x *exchange) (answer, *apiError)

// endpoint reads a request strictly.
type endpoint func(x *exchange) (render, *apiError)

func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	path, query, _ := strings.Cut(string(ctx.Request.Header.RequestURI()), "?")
	if s.ownPage(ctx, path, query) {
		return
	}
	x := s.open(ctx, path, query)
	defer x.close()
	work, refused := x.read()
	if err := x.decide(); err != nil && refused == nil {
		refused = err
	}
	x.enter()
	if !x.hold() || x.breakEarly() {
		return
	}
	x.send(x.answer(work, refused))
}

func (s *Server) open(ctx *fasthttp.RequestCtx, path, query string) *exchange {
	c := connOf(ctx.Conn())
	x := &c.x
	*x = exchange{s: s, ctx: ctx, c: c, path: path, query: query, body: ctx.Request.Body(), timer: x.timer, shape: s.dialect.shape}
	x.seed = crc32.Update(uint32(len(x.body)), castagnoli(), x.body)
	x.number = s.counters.requests.Add(1)
	if !s.o.Quiet || s.planner.Load() != nil {
		x.rec = x.record()
	}
	x.inspect()
	return x
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once by the library, in hardware

func (x *exchange) record() *record {
	r := &record{Seen: Seen{
		Seq: int(x.s.log.seq.Add(1)), Time: time.Now(), ConnID: x.c.id,
		Method: string(x.ctx.Method()), Path: string(x.ctx.Request.Header.RequestURI()),
	}}
	if x.s.o.LogBodies {
		r.Body = append([]byte{}, x.body...)
	}
	return r
}

// read finds the endpoint, checks the key and reads the request.
func (x *exchange) read() (render, *apiError) {
	read, err := x.s.dialect.route(x)
	if err != nil {
		x.peek()
	}
	if e := x.s.dialect.admit(x); e != nil {
		x.denied = true
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	return read(x)
}

// peek finds model and stream in a request for an endpoint that is not known; a plan may still have an answer to it.
func (x *exchange) peek() {
	for _, key := range []string{"model", "stream"} {
		x.top(key, gjson.GetBytes(x.body, key))
	}
}

// decide picks the plan: the server's, changed by what the model name asks for.
func (x *exchange) decide() *apiError {
	x.plan = x.s.o.Default
	name, _, asks := strings.Cut(x.model, "?")
	if r := x.rec; r != nil {
		r.Endpoint, r.Model, r.Stream = x.endpoint, name, x.stream
	}
	if f := x.s.planner.Load(); f != nil {
		seen := x.rec.Seen
		seen.Body = append([]byte{}, x.body...)
		x.plan = (*f)(&seen)
	}
	var err error
	if asks {
		x.model, err = planned(x.model, &x.plan)
	}
	if x.plan.Fault == Status429 {
		x.plan.Status = 429
	}
	if err != nil {
		return &apiError{status: 400, kind: "invalid_request_error", param: "model", message: err.Error()}
	}
	return nil
}

// enter makes the request visible in the log.
func (x *exchange) enter() {
	if x.stream {
		x.s.counters.streams.Add(1)
	}
	if x.rec != nil && !x.s.o.Quiet {
		x.s.log.add(x.rec)
	}
	if x.plan.slow() || x.s.o.MaxRunning > 0 {
		x.watch = x.s.watcher.add(x.c)
	}
}

// hold waits as planned before the headers, and for a turn to run. False: the peer has left.
func (x *exchange) hold() bool {
	if x.plan.Fault == StallBeforeHeaders && !x.stall() {
		return false
	}
	return x.wait(x.plan.Delay) && x.s.engine.acquire(x)
}

// wait is false when the peer left meanwhile. Only exchanges with a slow plan notice that.
func (x *exchange) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	if x.timer == nil {
		x.timer = time.NewTimer(d)
	} else {
		x.timer.Reset(d)
	}
	select {
	case <-x.timer.C:
		return true
	case <-x.watch.gone:
		x.left(x.watch.at)
	case <-x.c.down:
	}
	x.timer.Stop()
	return false
}

// stall waits for StallFor, or for the peer to leave. False: it has left.
func (x *exchange) stall() bool {
	if x.plan.StallFor > 0 {
		return x.wait(x.plan.StallFor)
	}
	select {
	case <-x.watch.gone:
		x.left(x.watch.at)
	case <-x.c.down:
	}
	return false
}

// answer makes the answer that plan and request call for.
func (x *exchange) answer(work render, refused *apiError) answer {
	p := &x.plan
	switch {
	case x.denied:
		return x.fail(refused)
	case p.Body != nil:
		x.bill = recordedUsage(p.Status, p.Body)
		return answer{status: p.Status, ctype: jsonType, body: p.Body}
	case p.Status >= 400:
		return x.fail(x.s.dialect.stock(x, p.Status))
	case p.raw():
		return x.replayed()
	case refused != nil:
		return x.fail(refused)
	case p.Fault == GarbageEvents, p.Fault == InStreamErrorFirst, p.Fault == InStreamErrorMid && !x.stream:
		return x.broken()
	}
	a, err := work(x)
	if err != nil {
		return x.fail(err)
	}
	if a.status == 0 {
		a.status = p.Status
	}
	return a
}

func (x *exchange) fail(e *apiError) answer {
	x.bill, x.failure = Usage{}, e
	return answer{status: e.status, ctype: x.s.dialect.errorType, body: x.s.dialect.fail(x, e)}
}

// left notes that the peer hung up.
func (x *exchange) left(at time.Time) {
	if !x.settled {
		x.s.counters.left.Add(1)
	}
	x.settle(at, false)
}

// finish notes that the whole answer is on its way.
func (x *exchange) finish() { x.settle(time.Time{}, true) }

// settle fixes the bill, once. What never got a status line costs nothing.
func (x *exchange) settle(left time.Time, whole bool) {
	if x.settled {
		return
	}
	x.settled = true
	if x.status == 0 {
		x.bill = Usage{}
	}
	x.bill.Total = x.bill.Prompt + x.bill.Completion
	x.s.counters.bill(x.bill)
	x.s.engine.count(x, whole)
	if x.rec == nil || x.s.o.Quiet {
		return
	}
	x.s.log.settle(x.rec, func(s *Seen) {
		s.Billed, s.Status, s.Ended = x.bill, x.status, time.Now()
		s.ClosedByPeer, s.Finished = left, whole
	})
}

// close ends what a whole answer or a dropped one leaves behind. For streams that is after the handler, see stream.Close.
func (x *exchange) close() {
	if x.ctx.Response.IsBodyStream() {
		return
	}
	x.release()
}

func (x *exchange) release() {
	x.settle(time.Time{}, false)
	if x.watch != nil {
		x.s.watcher.drop(x.watch)
		x.watch = nil
	}
	x.s.engine.release(x)
}
