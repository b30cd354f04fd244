package provider

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

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
	case call.Kind == wire.Response && call.Path == "/responses" && !call.foreign && !c.hasNative.Load():
		c.hasNative.Store(true)
		return c.receive(call, reply)
	case call.foreign:
		return c.receiveForeign(call, reply)
	case hasPrefixFold(reply.ContentType, typeEvents):
		return c.receiveEvents(call, reply)
	case isText(reply.ContentType) || res.body.eof:
		return c.receiveWhole(call, reply)
	}
	call.raw = passage{res: res, usage: wire.Usage{Characters: call.spoken()}}
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
	call.res.refused(call.res.head.StatusCode())
	call.res.close(err == nil)
	if c.lacksResponses(call, *body) {
		return errNoResponses
	}
	return c.kind.fault(c, call.res.head.StatusCode(), &call.res.head, *body)
}

func (c *Client) receiveWhole(call *Call, reply *wire.Reply) error {
	body := buffers.Get().(*[]byte)
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
		recycle(body)
		return failed(err)
	}
	if (call.Kind == wire.Chat || call.Kind == wire.Completion) && bytes.HasPrefix(bytes.TrimLeft(*body, " \r\n\t"), errorAnswer) {
		defer recycle(body)
		return c.inStream(*body) // some servers say 200 and mean an error
	}
	reply.Body = *body
	reply.Usage = call.used(*body)
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

// used is what a whole answer says that it cost.
func (call *Call) used(answer []byte) (u wire.Usage) {
	object := wire.FindLastUsage(answer)
	switch {
	case call.Kind == wire.Message && object != nil:
		wire.ReadMessageUsage(object, &u)
	case object != nil:
		u = wire.ReadUsage(object)
	default:
		u.Estimated = call.writes() && (call.Kind != wire.Response || !underWay(answer))
	}
	if call.Kind == wire.Plain {
		call.units(&u, answer)
	} else {
		u.Tier = wire.FindTier(answer)
	}
	return u
}

// writes tells whether the answer is made of tokens.
func (call *Call) writes() bool { return call.Kind != wire.Plain && !call.Count }

// underWay tells a response that is made in the background: nothing of it is known yet.
func underWay(response []byte) bool {
	status := gjson.GetBytes(response, "status").Str
	return status == "queued" || status == "in_progress"
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
	c.relays(call)
	if err := call.link.open(); err != nil {
		if call.link.reported {
			call.wasted = call.link.Usage()
		}
		_ = call.link.Close()
		return err
	}
	reply.Stream, reply.ID = &call.link, call.link.id
	return nil
}

// relays makes the call's relay ready. What that takes of the stack is free again when the first events are read.
func (c *Client) relays(call *Call) {
	call.link = relay{client: c, res: &call.res, call: call, kind: call.Kind, asked: call.AnswerAs, gauge: call.link.gauge, ended: call.link.ended[:0],
		preamble: maxPreamble, dropUsage: call.Stream && call.Body != nil && !call.Body.IncludeUsage()}
	if call.Kind == wire.Response && call.Body != nil {
		call.link.preamble += 3 * call.Body.Len() // its first events repeat the request's instructions and tools
	}
	call.link.bound(call)
}

// passage passes a binary answer on as it comes.
type passage struct {
	res    *response
	usage  wire.Usage
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
		p.res.fail(err)
		p.err = failed(err)
	}
	return n, p.err
}

// Usage is what the request tells: binary answers do not report any.
func (p *passage) Usage() wire.Usage { return p.usage }

func (p *passage) Close() error {
	if !p.closed {
		p.closed = true
		p.res.close(p.res.body.eof)
	}
	return nil
}
