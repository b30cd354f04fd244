package provider

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// relay passes a provider's event stream on as it comes. It is pulled by the client's connection: no goroutine, no
// channel, and no buffer of its own while reads end where events end, as they nearly always do. It holds back what
// comes before the first content, reads the usage, takes the usage chunk out when the client did not ask for it, and
// gives a failure inside the stream as an error.
type relay struct {
	client    *Client
	res       *response
	call      *Call
	kind      wire.Kind
	dropUsage bool   // the client did not ask for the usage chunk that the gateway asked for
	preamble  int    // what may come before the first content, in bytes
	asked     []byte // put in the place of the model's name, nil: leave it

	id       string // of the response object, for wire.Response
	usage    wire.Usage
	tier     wire.Tier
	reported bool
	gauge            // of an unreported usage; without bounds it counts the events with content
	choices  int64   // answers that the stream has, where it is bounded
	ended    []int64 // the choices of these that are complete
	begun    bool    // the first content was seen
	last     bool    // a finish reason or a final event was seen
	why      string  // the answer ended
	done     bool    // the stream's end mark was seen
	hurried  bool    // the connection's end is waited for, but not for long
	closed   bool

	buf    *[]byte // bytes read but not given on: whole events, then the start of the next; nil when there are none
	ready  int     // bytes of buf that are whole events
	given  int     // of these, already given on
	sought int     // where the search for the end of the unfinished event goes on, from ready

	failure error // told to the client by the stream itself
	err     error // sticky
}

// buffers hold what a read brought of an event that is not whole yet, and what comes before the first content.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// maxPooled keeps the buffer of one giant event from staying in the pool.
const maxPooled = 1 << 20

// open reads up to the first content, or to a clean end without any. An error before that is the request's error, and
// the reply has not begun: another target may still be tried.
func (r *relay) open() error {
	for !r.committed() {
		if err := r.fill(); err != nil {
			if err == io.EOF {
				break
			}
			return err
		}
	}
	if r.err == io.EOF && !r.clean() {
		return upstreamError(io.ErrUnexpectedEOF)
	}
	return nil
}

func (r *relay) committed() bool { return r.begun || r.last || r.done }

// clean tells an end that the provider meant from a stream that was cut.
func (r *relay) clean() bool { return r.done || r.last || r.kind == wire.Plain && r.begun }

// Read gives whole events, as many as one read from the provider brought.
func (r *relay) Read(p []byte) (int, error) {
	for {
		if r.given < r.ready {
			n := copy(p, (*r.buf)[r.given:r.ready])
			r.given += n
			r.shrink()
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if r.buf != nil || r.asked != nil {
			if err := r.fill(); err != nil && r.given == r.ready {
				return 0, err
			}
			continue
		}
		if n, err := r.direct(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// direct reads into the client's buffer. What follows the last whole event moves to a buffer of our own.
func (r *relay) direct(p []byte) (int, error) {
	n, err := r.pull(p)
	kept, rest := r.scan(p[:n], 0)
	switch {
	case r.cut:
		r.hold(nil)
		r.finish()
	case rest < n:
		r.hold(p[rest:n])
	}
	if err != nil {
		r.end(err)
	}
	if kept == 0 && r.given == r.ready && r.err != nil {
		return 0, r.err
	}
	return kept, nil
}

// fill reads more into the buffer of our own.
func (r *relay) fill() error {
	if r.err != nil {
		return r.err
	}
	if r.buf == nil {
		r.hold(nil)
	}
	b := *r.buf
	if !r.committed() && r.ready > r.preamble {
		r.fail(upstreamError(errors.New("the stream goes on and on without content")))
		return r.err
	}
	if len(b) == cap(b) {
		if len(b)-r.ready >= maxEvent {
			r.fail(upstreamError(errors.New("an event of the stream is too large")))
			return r.err
		}
		b = append(b, 0)[:len(b)]
	}
	n, err := r.pull(b[len(b):cap(b)])
	*r.buf = b[:len(b)+n]
	r.sift()
	if err != nil {
		r.end(err)
	}
	return r.err
}

// sift finds the whole events behind those that are ready, and makes them ready.
func (r *relay) sift() {
	b := *r.buf
	kept, rest := r.scan(b[r.ready:], r.sought)
	switch {
	case r.asked != nil && kept > 0:
		b = renameEvents(b, r.ready, kept, rest, r.asked)
		r.ready, *r.buf = len(b)-(len(*r.buf)-r.ready-rest), b
	case kept < rest: // events were taken out: close the gap
		b = b[:r.ready+kept+copy(b[r.ready+kept:], b[r.ready+rest:])]
		fallthrough
	default:
		r.ready += kept
		*r.buf = b
	}
	if r.cut {
		r.finish()
	}
}

func (r *relay) hold(b []byte) {
	if r.buf == nil {
		r.buf = buffers.Get().(*[]byte)
	}
	*r.buf = append((*r.buf)[:0], b...)
	r.ready, r.given = 0, 0
}

// shrink gives the buffer back once it is empty, and moves the start of an unfinished event to its front.
func (r *relay) shrink() {
	if r.given < r.ready {
		return
	}
	b := *r.buf
	*r.buf = b[:copy(b, b[r.ready:])]
	r.ready, r.given = 0, 0
	if len(*r.buf) == 0 {
		r.drop()
	}
}

func (r *relay) drop() {
	if r.buf != nil {
		recycle(r.buf)
	}
	r.buf, r.ready, r.given = nil, 0, 0
}

func (r *relay) pull(p []byte) (int, error) {
	var err error
	switch {
	case r.done && !r.hurried:
		r.hurried = true
		err = r.res.conn.SetReadDeadline(time.Now().Add(lingering))
	case !r.done && r.committed():
		err = r.res.arm()
	}
	if err != nil {
		return 0, err
	}
	return r.res.body.Read(p)
}

// lingering is how long the end of the connection's encoding may take after the stream's own end mark.
const lingering = time.Second

// scan goes through the whole events in b and moves those that the client shall see to its front. It returns how many
// bytes these are, and where the first event begins that is not whole. sought is where an earlier scan gave up looking
// for the end of the first event.
func (r *relay) scan(b []byte, sought int) (kept, rest int) {
	r.sought = 0
	for r.err == nil {
		end, resume := wire.EventEnd(b[rest:], sought)
		if sought = 0; end == 0 {
			r.sought = resume
			return kept, rest
		}
		ev := b[rest : rest+end]
		rest += end
		if r.see(ev) {
			if kept+end != rest {
				copy(b[kept:], ev)
			}
			kept += end
		}
	}
	return kept, len(b)
}

// see reads one event and tells whether the client shall see it.
func (r *relay) see(ev []byte) bool {
	data := wire.EventData(ev)
	if data == nil {
		return r.committed() // a comment: keeps the client's connection alive once there is an answer
	}
	if r.done {
		return false
	}
	if inner := r.shape.again(r.kind, data); inner != nil && !r.last {
		r.say(data, inner)
		return true
	}
	if wire.IsDone(data) {
		r.done = true
		return true
	}
	if r.kind == wire.Response && r.id == "" {
		r.id = gjson.GetBytes(data, "response.id").String()
	}
	keep, running := true, int64(0)
	if r.kind == wire.Message {
		r.seeMessage(data)
	} else if object := wire.FindUsage(data); object != nil {
		r.usage, r.reported = wire.ReadUsage(object), true
		running = r.usage.Completion
		keep = !r.dropUsage || !noChoices(data)
		if emptyChoices(data) {
			r.note(data)
		}
	}
	switch r.class(data) {
	case wire.Failure:
		return r.seeFailure(data)
	case wire.Content:
		r.begun = true
		r.count(data, running)
		if r.choices <= 1 && running == 0 {
			r.shape.keep(r.kind, data)
		}
	case wire.Last:
		r.last = true
		r.why = cmp.Or(wire.StopReason(r.kind, data), r.why)
		r.complete(data)
		r.lastWords(data, running)
		r.note(data)
	}
	return keep
}

// note takes note of the service tier, which the events with the usage say, or the last ones.
func (r *relay) note(data []byte) {
	if tier := wire.FindTier(data); tier != wire.TierUnsaid {
		r.tier = tier
	}
}

// seeMessage reads what Anthropic's events say beside their content: the usage, which comes in parts, and the end.
func (r *relay) seeMessage(data []byte) {
	if object := wire.FindMessageUsage(data); object != nil {
		wire.ReadMessageUsage(object, &r.usage)
		r.reported = true
		r.note(data)
	}
	if r.last && bytes.Contains(data, messageStop) {
		r.done = true
	}
}

// seeFailure ends the stream, except that a Responses stream that has begun reports its failure in events of its own,
// which go on as they are unless they name what clients must not know.
func (r *relay) seeFailure(data []byte) bool {
	failure := r.client.inStream(data)
	if r.kind == wire.Message {
		failure = r.client.messageFailure(data)
	}
	if r.kind == wire.Response && r.committed() && bytes.Equal(r.client.redactJSON(data), data) {
		r.last, r.failure, r.why = true, failure, wire.StopReason(r.kind, data)
		return true
	}
	r.fail(failure)
	return false
}

// Failure is the failure that the stream itself told the client of.
func (r *relay) Failure() error { return r.failure }

// class reads an event. Past the first content only ends and failures matter, and most events are told by two searches.
func (r *relay) class(data []byte) wire.EventClass {
	if r.kind == wire.Message && bytes.Contains(data, blockDelta) {
		return wire.Content
	}
	if r.begun && r.kind < wire.Response && !bytes.Contains(data, errorWord) && !bytes.Contains(data, finishReason) {
		return wire.Content
	}
	return r.kind.Classify(data)
}

var (
	errorWord    = []byte(`"error"`)
	finishReason = []byte(`"finish_reason":"`)
	deltaType    = []byte(`.delta"`)
	blockDelta   = []byte(`"content_block_delta"`)
	messageStop  = []byte(`"message_stop"`)
)

// noChoices tells the chunk that carries the usage alone. Reading it costs an allocation, so what cannot be one is told
// by a search: some providers send running usage with every chunk.
func noChoices(data []byte) bool {
	if !emptyChoices(data) {
		return false
	}
	choices := gjson.GetBytes(data, "choices")
	return choices.IsArray() && choices.Get("#").Int() == 0
}

func emptyChoices(data []byte) bool {
	for {
		at := bytes.Index(data, choicesKey)
		if at < 0 {
			return false
		}
		data = data[at+len(choicesKey):]
		if list, ok := bytes.CutPrefix(bytes.TrimLeft(data, ": \t\r\n"), []byte{'['}); ok && bytes.HasPrefix(bytes.TrimLeft(list, " \t\r\n"), []byte{']'}) {
			return true
		}
	}
}

var choicesKey = []byte(`"choices"`)

// end records why the provider's bytes stopped. What is left is an event whose blank line is missing: of a server that
// ends the stream right after its last line, if the event is whole.
func (r *relay) end(err error) {
	if err == io.EOF && r.buf != nil && r.err == nil {
		if data := wire.EventData((*r.buf)[r.ready:]); wire.IsDone(data) || json.Valid(data) { // of bounded depth
			*r.buf = append(*r.buf, '\n', '\n')
			r.sift()
		} else {
			*r.buf = (*r.buf)[:r.ready]
		}
	}
	if r.err != nil {
		return
	}
	switch {
	case err == io.EOF && (r.clean() || !r.committed()):
		r.err = io.EOF
	case r.done: // all was said; only the end of the chunked encoding is missing
		r.err = io.EOF
		r.res.head.SetConnectionClose()
	case err == io.EOF:
		r.fail(upstreamError(io.ErrUnexpectedEOF))
	case r.res.abort.Fired():
		r.fail(ErrAborted)
	default:
		r.fail(failed(err))
	}
}

func (r *relay) fail(err error) {
	r.err = err
	r.res.fail(err)
	r.res.head.SetConnectionClose()
}

// Usage is what the provider reported, or else one token for each event with content.
func (r *relay) Usage() wire.Usage {
	u := r.usage
	switch {
	case r.cut:
		u.Completion, u.Estimated = r.seen(), true
	case r.kind == wire.Message && r.reported && !r.last: // its first event has only begun to count
		u.Completion, u.Estimated = max(u.Completion, r.seen()), true
	case !r.reported || !r.last && u.Completion == 0:
		u.Completion, u.Estimated = r.seen(), true
	}
	if r.tier != wire.TierUnsaid {
		u.Tier = r.tier
	}
	return u
}

// Close stops the provider, unless its answer was read to the end.
func (r *relay) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.drop()
	r.forget()
	if !r.cut { // else it was stopped there
		r.res.close(r.err == io.EOF && r.res.body.eof)
	}
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return nil
}
