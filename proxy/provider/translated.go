package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// translated is a provider's stream in the client's dialect. Like relay it is pulled, without a goroutine, and holds back
// what comes before the first content. It holds one event that is not whole yet, and what was written of the events that
// one read brought.
type translated struct {
	client *Client
	res    *response
	call   *Call
	reader dialect.Reader
	writer dialect.Writer
	events []dialect.Event // of one frame; its memory is used again

	in     *[]byte // what was read and is not understood yet
	pulled int     // bytes before the first content
	sought int     // where the search for the end of the unfinished event goes on
	out    *[]byte // what was written, nil when there is nothing
	given  int     // of out, already given on

	usage    wire.Usage
	tier     wire.Tier
	reported bool
	gauge
	blocks  []int // that are open, where the stream is bounded
	begun   bool  // the first content was seen
	stopped bool  // why the answer ended was seen
	why     string
	done    bool  // the provider has said all
	waning  bool  // only the usage and the end mark are waited for
	hurried bool  // the connection's end is waited for, but not for long
	failure error // told to the client by the stream itself
	err     error // sticky
	closed  bool
}

func (c *Client) receiveTranslated(call *Call, reply *wire.Reply) error {
	if call.told == nil {
		call.told = &translated{}
	}
	t := call.told
	*t = translated{client: c, res: &call.res, call: call, reader: call.through.Reader(), writer: call.through.Writer(), events: t.events[:0],
		gauge: newGauge(call, call.Meter, t.gauge), blocks: t.blocks[:0]}
	if err := t.open(); err != nil {
		if t.reported {
			call.wasted = t.Usage()
		}
		_ = t.Close()
		return err
	}
	reply.Stream = t
	if call.Kind == wire.Response {
		reply.ID = call.through.ID
	}
	return nil
}

// open reads up to the first content, or to the end. An error before that is the request's, and another target may still
// be tried.
func (t *translated) open() error {
	for !t.begun && t.err == nil {
		if t.pulled > maxPreamble {
			return upstreamError(errors.New("the stream goes on and on without content"))
		}
		t.fill()
	}
	if t.err != nil && t.err != io.EOF {
		return t.err
	}
	return nil
}

// Read gives whole events, as many as one read from the provider brought.
func (t *translated) Read(p []byte) (int, error) {
	for {
		if t.out != nil && t.given < len(*t.out) {
			n := copy(p, (*t.out)[t.given:])
			if t.given += n; t.given == len(*t.out) {
				recycle(t.out)
				t.out, t.given = nil, 0
			}
			return n, nil
		}
		if t.err != nil {
			return 0, t.err
		}
		t.fill()
	}
}

// fill reads once from the provider and translates the events that are whole.
func (t *translated) fill() {
	if t.in == nil {
		t.in = buffers.Get().(*[]byte)
		*t.in = (*t.in)[:0]
	}
	b := *t.in
	if len(b) == cap(b) {
		if len(b) >= maxEvent {
			t.fail(upstreamError(errors.New("an event of the stream is too large")))
			return
		}
		b = append(b, 0)[:len(b)]
	}
	n, err := t.pull(b[len(b):cap(b)])
	*t.in = b[:len(b)+n]
	if !t.begun {
		t.pulled += n
	}
	t.translate()
	if err != nil && t.err == nil {
		t.end(err)
	}
}

func (t *translated) pull(p []byte) (int, error) {
	var err error
	switch {
	case t.done && !t.hurried:
		t.hurried = true
		err = t.res.conn.SetReadDeadline(time.Now().Add(lingering))
	case t.stopped && !t.waning:
		t.waning = true
		err = t.res.conn.SetReadDeadline(time.Now().Add(afterwards))
	case !t.stopped && t.begun:
		err = t.res.arm()
	}
	if err != nil {
		return 0, err
	}
	return t.res.body.Read(p)
}

// afterwards is how long the usage may take, and the end mark, once the answer itself has ended.
const afterwards = 10 * time.Second

// translate goes through the whole events that were read, and keeps what is left.
func (t *translated) translate() {
	b := *t.in
	at := 0
	for t.err == nil && at < len(b) {
		name, data, n, err := t.next(b[at:])
		if err != nil {
			t.fail(upstreamError(err))
			break
		}
		if n == 0 {
			break
		}
		at += n
		if data != nil && !t.done {
			t.see(name, data)
		}
	}
	if w, ok := t.writer.(interface{ Full() bool }); ok && t.err == nil && w.Full() {
		t.fail(upstreamError(dialect.ErrTooLarge))
	}
	if rest := copy(b, b[at:]); rest > 0 {
		*t.in = b[:rest]
		return
	}
	recycle(t.in)
	t.in, t.sought = nil, 0
}

// next cuts the first whole event off b: its length, 0 when more of it must come.
func (t *translated) next(b []byte) (name string, data []byte, n int, err error) {
	if t.client.kind.frames {
		return nextFrame(b)
	}
	n, t.sought = wire.EventEnd(b, t.sought)
	if n > 0 {
		data = wire.EventData(b[:n])
	}
	return "", data, n, nil
}

// see translates one event.
func (t *translated) see(name string, data []byte) {
	if wire.IsDone(data) {
		t.finish()
		return
	}
	var err error
	t.events, err = t.reader.Event(name, data, t.events[:0])
	for i := range t.events {
		if t.take(&t.events[i]); t.cut {
			return
		}
	}
	if err != nil {
		t.fail(t.client.misread(err))
		return
	}
	if !t.begun || t.stopped {
		t.note(data)
	}
	if t.stopped && t.last(name, data) {
		t.finish()
	}
}

// note takes note of the service tier, which an event at the beginning or the end may say.
func (t *translated) note(data []byte) {
	tier := wire.FindTier(data)
	if t.client.kind.to == dialect.Converse {
		tier = wire.TierOf(gjson.GetBytes(data, "serviceTier.type").Str)
	}
	if tier != wire.TierUnsaid {
		t.tier = tier
	}
}

// last tells the event behind which no other comes.
func (t *translated) last(name string, data []byte) bool {
	switch t.client.kind.to {
	case dialect.Converse:
		return name == "metadata"
	case dialect.Messages:
		return bytes.Contains(data, messageStop) && gjson.GetBytes(data, "type").Str == "message_stop"
	case dialect.Chat: // has an end mark
	}
	return false
}

// stops are the reasons in wire.StopReason's words.
var stops = [...]string{dialect.StopEnd: "stop", dialect.StopLength: "length", dialect.StopSequence: "stop", dialect.StopTools: "tool_calls",
	dialect.StopRefusal: "content_filter", dialect.StopPause: "pause_turn"}

// take writes what the client sees of an event, and ends the answer behind it if it must.
func (t *translated) take(e *dialect.Event) {
	last := t.count(e)
	switch e.Type {
	case dialect.Delta:
		t.begun = true
	case dialect.Open:
		t.begun = t.begun || e.Kind == dialect.ToolUse || e.Redacted != ""
	case dialect.Stopped:
		t.begun, t.stopped, t.why = true, true, stops[e.Stop]
	case dialect.Billed:
		t.usage, t.reported = e.Usage, true
	case dialect.Ping:
		if !t.begun {
			return
		}
	}
	t.call.through.Restore(e)
	t.write(e)
	if last {
		t.stop()
	}
}

func (t *translated) write(e *dialect.Event) {
	t.space()
	*t.out = t.writer.Event(*t.out, e)
}

func (t *translated) space() {
	if t.out == nil {
		t.out = buffers.Get().(*[]byte)
		*t.out, t.given = (*t.out)[:0], 0
	}
}

// finish ends an answer that is complete.
func (t *translated) finish() {
	if t.done {
		return
	}
	if !t.stopped {
		t.fail(upstreamError(errors.New("the stream ended without a reason")))
		return
	}
	t.done = true
	t.space()
	*t.out = t.writer.End(*t.out)
	t.call.keep(t.writer)
}

// end records why the provider's bytes stopped.
func (t *translated) end(err error) {
	if err == io.EOF && !t.done {
		t.lastEvent()
	}
	switch {
	case t.err != nil:
	case err == io.EOF && t.stopped:
		t.finish()
		t.err = io.EOF
	case t.res.abort.Fired() && !t.done:
		t.err = ErrAborted
		t.res.head.SetConnectionClose()
	case t.stopped: // all was said; only the end mark is missing, or the end of the chunked encoding
		t.finish()
		t.err = io.EOF
		t.res.head.SetConnectionClose()
	case err == io.EOF:
		t.fail(upstreamError(io.ErrUnexpectedEOF))
	default:
		t.fail(failed(err))
	}
}

// lastEvent takes what is left at the stream's end: an event of which only the blank line is missing, or half of one.
func (t *translated) lastEvent() {
	switch {
	case t.in == nil:
	case t.client.kind.frames || !wholeData(*t.in):
		t.fail(upstreamError(io.ErrUnexpectedEOF))
	default:
		*t.in = append(*t.in, '\n', '\n')
		t.sought = 0
		t.translate()
	}
}

// fail ends the stream. Once it has begun, the client is told inside of it, in its dialect.
func (t *translated) fail(err *wire.Error) {
	t.res.head.SetConnectionClose()
	t.res.fail(err)
	if !t.begun {
		t.err = err
		return
	}
	t.space()
	*t.out = t.writer.Fail(*t.out, err)
	t.failure, t.err = err, io.EOF
}

// Failure is the failure that the stream itself told the client of.
func (t *translated) Failure() error { return t.failure }

// Usage is what the provider reported, or else one token for each event with content. What was reported before the end
// counts only the beginning of the answer.
func (t *translated) Usage() wire.Usage {
	u := t.usage
	if !t.reported || !t.stopped {
		u.Completion, u.Estimated = max(u.Completion, t.seen()), true
	}
	if t.tier != wire.TierUnsaid {
		u.Tier = t.tier
	}
	return u
}

// Close stops the provider, unless its answer was read to the end.
func (t *translated) Close() error {
	if t.closed {
		return nil
	}
	t.closed = true
	for _, b := range []**[]byte{&t.in, &t.out} {
		if *b != nil {
			recycle(*b)
			*b = nil
		}
	}
	t.forget()
	if !t.cut { // else it was stopped there
		t.res.close(t.err == io.EOF && t.failure == nil && t.res.body.eof)
	}
	if t.err == nil {
		t.err = io.ErrClosedPipe
	}
	return nil
}

// nextFrame is next for AWS's event streams.
func nextFrame(b []byte) (name string, data []byte, n int, err error) {
	f, n, err := readFrame(b)
	if err != nil || n == 0 {
		return "", nil, 0, err
	}
	switch string(f.messageType) {
	case "event":
		return aliasOf(f.eventType), f.payload, n, nil
	case "exception":
		return "exception:" + string(f.exceptionType), f.payload, n, nil
	}
	if code := string(f.errorCode); isWord(code) {
		return "", nil, 0, errors.New("event stream: error " + code)
	}
	return "", nil, 0, errors.New("event stream: neither an event nor an exception")
}

// aliasOf is b as a string, valid as long as b is.
func aliasOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// wholeData tells whether what is left at a stream's end, without its blank line, is an event of its own.
func wholeData(b []byte) bool {
	data := wire.EventData(b)
	return data == nil || wire.IsDone(data) || json.Valid(data) // of bounded depth
}
