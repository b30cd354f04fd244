package fakellm

import (
	"github.com/tidwall/gjson"
)

// message answers POST /v1/messages.
func (c *claude) message(x *exchange) (answer, *apiError) {
	t := c.tell(x)
	if x.stream {
		return t.stream(anthropicEvents{}), nil
	}
	return answer{ctype: jsonType, body: t.anthropicMessage()}, nil
}

func (t *told) anthropicMessage() []byte {
	b := t.anthropicHead(nil)
	for i := range t.blocks {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.anthropicBlock(b, i)
	}
	b = t.anthropicEnd(append(b, `],`...))
	b = t.anthropicInput(append(b, `,"usage":{`...))
	b = append(b, `,"cache_creation":{"ephemeral_5m_input_tokens":`...)
	b = appendInt(b, t.written())
	b = t.anthropicOutput(append(b, `,"ephemeral_1h_input_tokens":0}`...))
	return append(b, `,"service_tier":"standard","inference_geo":"not_available"}}`...)
}

// anthropicHead is a message up to the bracket of its content.
func (t *told) anthropicHead(b []byte) []byte {
	b = quote(append(b, `{"model":`...), t.x.model)
	b = t.x.id(append(b, `,"id":"`...), "msg_01", 0)
	return append(b, `","type":"message","role":"assistant","content":[`...)
}

func (t *told) anthropicEnd(b []byte) []byte {
	b = append(append(append(b, `"stop_reason":"`...), t.finish...), `","stop_sequence":`...)
	if t.finish == "stop_sequence" {
		return quote(b, t.c.stopped)
	}
	return append(b, "null"...)
}

// anthropicInput is the beginning of usage: the prompt, of which the three numbers are parts.
func (t *told) anthropicInput(b []byte) []byte {
	b = appendInt(append(b, `"input_tokens":`...), t.fresh())
	b = appendInt(append(b, `,"cache_creation_input_tokens":`...), t.written())
	return appendInt(append(b, `,"cache_read_input_tokens":`...), t.x.bill.Cached)
}

func (t *told) anthropicOutput(b []byte) []byte {
	b = appendInt(append(b, `,"output_tokens":`...), t.x.bill.Completion)
	if t.x.bill.Reasoning == 0 {
		return b
	}
	b = appendInt(append(b, `,"output_tokens_details":{"thinking_tokens":`...), t.x.bill.Reasoning)
	return append(b, '}')
}

func (t *told) anthropicBlock(b []byte, i int) []byte {
	block := &t.blocks[i]
	text := block.text.whole()
	switch block.kind {
	case "thinking":
		b = block.text.quoted(append(b, `{"type":"thinking","thinking":`...), text)
		return append(quote(append(b, `,"signature":`...), signed(text)), '}')
	case "tool_use":
		b = t.callID(append(b, `{"type":"tool_use","id":`...), i, "toolu_01")
		b = quote(append(b, `,"name":`...), block.call.name)
		return append(append(append(b, `,"input":`...), inputOf(text)...), '}')
	}
	return append(block.text.quoted(append(b, `{"type":"text","text":`...), text), '}')
}

// inputOf is the arguments as they stand in a whole answer, which cannot hold what is not JSON.
func inputOf(args string) string {
	if !gjson.Valid(args) {
		return "{}"
	}
	return args
}

// anthropicEvents is how Anthropic streams blocks.
type anthropicEvents struct{}

func (anthropicEvents) ends() (finish, last part) { return frame, terminal }

func anthropicEvent(b []byte, name string) []byte {
	return append(append(append(append(append(b, "event: "...), name...), "\ndata: {\"type\":\""...), name...), '"')
}

func sealed(b []byte) []byte { return append(b, "}\n\n"...) }

func (anthropicEvents) open(b []byte, t *told) []byte {
	b = t.anthropicHead(append(anthropicEvent(b, "message_start"), `,"message":`...))
	b = t.anthropicInput(append(b, `],"stop_reason":null,"stop_sequence":null,"usage":{`...))
	b = appendInt(append(b, `,"cache_creation":{"ephemeral_5m_input_tokens":`...), t.written())
	return sealed(append(b, `,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard","inference_geo":"not_available"}}`...))
}

func (anthropicEvents) ping(b []byte) []byte { return sealed(anthropicEvent(b, "ping")) }

func (anthropicEvents) start(b []byte, t *told, i int) []byte {
	b = appendInt(append(anthropicEvent(b, "content_block_start"), `,"index":`...), i)
	switch t.blocks[i].kind {
	case "thinking":
		b = append(b, `,"content_block":{"type":"thinking","thinking":"","signature":""}`...)
	case "tool_use":
		b = t.callID(append(b, `,"content_block":{"type":"tool_use","id":`...), i, "toolu_01")
		b = quote(append(b, `,"name":`...), t.blocks[i].call.name)
		b = append(b, `,"input":{}}`...)
	default:
		b = append(b, `,"content_block":{"type":"text","text":""}`...)
	}
	return sealed(b)
}

func (anthropicEvents) delta(b []byte, t *told, i int, piece string) []byte {
	b = appendInt(append(anthropicEvent(b, "content_block_delta"), `,"index":`...), i)
	switch t.blocks[i].kind {
	case "thinking":
		b = append(b, `,"delta":{"type":"thinking_delta","thinking":`...)
	case "tool_use":
		b = append(b, `,"delta":{"type":"input_json_delta","partial_json":`...)
	default:
		b = append(b, `,"delta":{"type":"text_delta","text":`...)
	}
	return sealed(append(t.blocks[i].text.quoted(b, piece), '}'))
}

func (anthropicEvents) sign(b []byte, t *told, i int) []byte {
	b = appendInt(append(anthropicEvent(b, "content_block_delta"), `,"index":`...), i)
	b = append(append(b, `,"delta":{"type":"signature_delta","signature":"`...), signed(t.blocks[i].text.whole())...)
	return sealed(append(b, `"}`...))
}

func (anthropicEvents) stop(b []byte, i int) []byte {
	return sealed(appendInt(append(anthropicEvent(b, "content_block_stop"), `,"index":`...), i))
}

// finish carries the usage of the whole message, not what came since message_start.
func (anthropicEvents) finish(b []byte, t *told) []byte {
	b = t.anthropicEnd(append(anthropicEvent(b, "message_delta"), `,"delta":{`...))
	b = t.anthropicOutput(t.anthropicInput(append(b, `},"usage":{`...)))
	return sealed(append(b, '}'))
}

func (anthropicEvents) last(b []byte, _ *told) []byte {
	return sealed(anthropicEvent(b, "message_stop"))
}
