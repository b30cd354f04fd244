package fakellm

import (
	"bytes"
	"fmt"

	"github.com/tidwall/gjson"
)

// output is one answer of the Responses API while it is put together: its output items, and the events that stream them.
type output struct {
	x      *exchange
	t      *turn
	id     string
	items  []byte // finished output items, without brackets
	events listed
	seq    int
	index  int // of the output item
	finish string
	calls  []string // ids of tool calls made
}

func (t *turn) answer(x *exchange) (answer, *apiError) {
	ch := t.choice(x, 0)
	ch.deltas -= ch.thought.n // never shown here
	o := &output{x: x, t: t, finish: ch.finish}
	o.id = x.s.responses.fresh(string(x.id(nil, "resp_", 0)))
	x.made = o.id
	x.bill.Cached = min(x.plan.Cached, x.bill.Prompt)
	x.bill.Reasoning = x.plan.Reasoning
	o.play(&ch)
	r := &stored{id: o.id, body: o.object(o.status()), events: o.events.events, items: t.items, calls: o.calls,
		tokens: x.bill.Prompt + x.bill.Completion}
	queued := o.object("queued")
	if t.background {
		r.steps = [][]byte{o.object("in_progress")}
	}
	if t.keep || t.background {
		x.s.responses.put(r)
	}
	switch {
	case x.stream:
		a := o.events.stream(x.plan.Reasoning)
		return a, nil
	case t.background:
		return answer{ctype: jsonType, body: queued}, nil
	}
	return answer{ctype: jsonType, body: r.body}, nil
}

func (o *output) status() string {
	if o.finish == "length" {
		return "incomplete"
	}
	return "completed"
}

// play makes all events, and on the way the items and the bill.
func (o *output) play(ch *choice) {
	o.event(frame, "response.created", append([]byte(`"response":`), o.object("in_progress")...))
	o.event(frame, "response.in_progress", append([]byte(`"response":`), o.object("in_progress")...))
	if o.x.plan.Reasoning > 0 {
		o.thought()
	}
	if ch.calls == nil || ch.text.n > 0 {
		o.message(&ch.text)
	}
	for i := range ch.calls {
		o.call(i, &ch.calls[i])
	}
	o.x.bill.Completion = o.x.plan.Reasoning + ch.deltas
	o.event(terminal, "response."+o.status(), append([]byte(`"response":`), o.object(o.status())...))
}

func (o *output) event(p part, kind string, fields []byte) {
	b := fmt.Appendf(nil, `{"type":"%s","sequence_number":%d`, kind, o.seq)
	if len(fields) > 0 {
		b = append(append(b, ','), fields...)
	}
	o.events.add(p, kind, append(b, '}'))
	o.seq++
}

// item ends an output item.
func (o *output) item(done []byte) {
	o.event(frame, "response.output_item.done", fmt.Appendf(nil, `"output_index":%d,"item":%s`, o.index, done))
	if o.index > 0 {
		o.items = append(o.items, ',')
	}
	o.items = append(o.items, done...)
	o.index++
}

func (o *output) thought() {
	item := append(o.x.id([]byte(`{"id":"`), "rs_", 1), `","type":"reasoning","summary":[]}`...)
	o.event(frame, "response.output_item.added", fmt.Appendf(nil, `"output_index":%d,"item":%s`, o.index, item))
	o.item(item)
}

func (o *output) message(text *pieces) {
	id := string(o.x.id(nil, "msg_", 2))
	at := fmt.Sprintf(`"item_id":"%s","output_index":%d,"content_index":0`, id, o.index)
	o.event(frame, "response.output_item.added", fmt.Appendf(nil, `"output_index":%d,"item":{"id":"%s","type":"message","status":"in_progress","content":[],"role":"assistant"}`, o.index, id))
	o.event(frame, "response.content_part.added", []byte(at+`,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}`))
	for i := range text.n {
		b := text.quoted([]byte(at+`,"delta":`), text.at(i))
		o.event(content, "response.output_text.delta", o.padded(append(b, `,"logprobs":[]`...)))
	}
	whole := text.quoted(nil, text.whole())
	part := fmt.Sprintf(`{"type":"output_text","annotations":[],"logprobs":[],"text":%s}`, whole)
	o.event(frame, "response.output_text.done", fmt.Appendf(nil, `%s,"text":%s,"logprobs":[]`, at, whole))
	o.event(frame, "response.content_part.done", []byte(at+`,"part":`+part))
	o.item(fmt.Appendf(nil, `{"id":"%s","type":"message","status":"%s","content":[%s],"role":"assistant"}`, id, o.status(), part))
}

func (o *output) padded(b []byte) []byte {
	if o.t.obfuscate {
		return padding(b, o.seq)
	}
	return b
}

func (o *output) call(i int, c *call) {
	id, callID := o.x.id(nil, "fc_", 10+i), c.callID(nil, o.x, "call_", 199+i)
	kind, field, events := "function_call", "arguments", "response.function_call_arguments"
	if c.custom {
		kind, field, events = "custom_tool_call", "input", "response.custom_tool_call_input"
	}
	o.calls = append(o.calls, gjson.ParseBytes(callID).Str)
	item := func(status, value string) []byte {
		b := fmt.Appendf(nil, `{"id":"%s","type":"%s","status":"%s","%s":`, id, kind, status, field)
		b = append(quote(b, value), fmt.Sprintf(`,"call_id":%s,"name":`, callID)...)
		return append(quote(b, c.name), '}')
	}
	// The head of a call costs a token, as in a chat.
	o.event(content, "response.output_item.added", fmt.Appendf(nil, `"output_index":%d,"item":%s`, o.index, item("in_progress", "")))
	at := fmt.Sprintf(`"item_id":"%s","output_index":%d`, id, o.index)
	for j := range c.args.n {
		o.event(content, events+".delta", o.padded(quote([]byte(at+`,"delta":`), c.args.at(j))))
	}
	o.event(frame, events+".done", quote([]byte(at+`,"`+field+`":`), c.args.whole()))
	o.item(item("completed", c.args.whole()))
}

// object is the response in the given state; output and usage belong to the last states only.
func (o *output) object(status string) []byte {
	done := status == "completed" || status == "incomplete"
	get := func(key, otherwise string) string {
		if raw := o.t.raw[key]; raw != "" {
			return raw
		}
		return otherwise
	}
	b := fmt.Appendf(nil, `{"id":"%s","object":"response","created_at":%d,"status":"%s","background":%v`, o.id, o.x.s.now().Unix(), status, o.t.background)
	if done {
		b = fmt.Appendf(b, `,"completed_at":%d`, o.x.s.now().Unix())
	}
	b = append(b, `,"error":null,"incomplete_details":`...)
	if status == "incomplete" {
		b = append(b, `{"reason":"max_output_tokens"}`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"instructions":`+get("instructions", "null")+`,"max_output_tokens":`+get("max_output_tokens", "null")+`,"max_tool_calls":null,"model":`...)
	b = append(quote(b, o.x.model), `,"output":[`...)
	if done {
		b = append(b, o.items...)
	}
	b = append(b, `],"parallel_tool_calls":`+get("parallel_tool_calls", "true")+`,"previous_response_id":`+get("previous_response_id", "null")...)
	b = append(b, `,"reasoning":`+get("reasoning", `{"effort":null,"summary":null}`)+`,"service_tier":"default","store":`+fmt.Sprint(o.t.keep)...)
	b = append(b, `,"temperature":`+get("temperature", "1")+`,"text":`+get("text", `{"format":{"type":"text"},"verbosity":"medium"}`)...)
	b = append(b, `,"tool_choice":`+get("tool_choice", `"auto"`)+`,"tools":`+get("tools", "[]")+`,"top_logprobs":0,"top_p":`+get("top_p", "1")...)
	b = append(b, `,"truncation":`+get("truncation", `"disabled"`)+`,"usage":`...)
	if done {
		b = o.usage(b)
	} else {
		b = append(b, "null"...)
	}
	return append(b, `,"user":`+get("user", "null")+`,"metadata":`+get("metadata", "{}")+`}`...)
}

func (o *output) usage(b []byte) []byte {
	u := o.x.bill
	return fmt.Appendf(b, `{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}`,
		u.Prompt, u.Cached, u.Completion, u.Reasoning, u.Prompt+u.Completion)
}

// brokenResponse is how a stream of the Responses API fails.
func (x *exchange) brokenResponse(e *apiError) [][]byte {
	message := quote(nil, e.message)
	if x.made == "" {
		x.made = string(x.id(nil, "resp_", 0))
	}
	failed := fmt.Sprintf(`{"id":"%s","object":"response","created_at":%d,"status":"failed","error":{"code":"server_error","message":%s},"output":[],"usage":null}`,
		x.made, x.s.now().Unix(), message)
	var s listed
	s.add(frame, "error", fmt.Appendf(nil, `{"type":"error","sequence_number":%d,"error":{"type":"server_error","code":"server_error","message":%s,"param":null}}`, x.sent, message))
	s.add(frame, "response.failed", fmt.Appendf(nil, `{"type":"response.failed","sequence_number":%d,"response":%s}`, x.sent+1, failed))
	return [][]byte{bytes.Clone(s.events[0].data), bytes.Clone(s.events[1].data)}
}
