package fakellm

import (
	"strings"

	"github.com/tidwall/gjson"
)

// answer answers Converse and ConverseStream.
func (c *converse) answer(x *exchange) (answer, *apiError) {
	t := c.tell(x)
	form := converseEvents{fields: c.responseFields(t)}
	if x.stream {
		return t.stream(form), nil
	}
	return answer{ctype: jsonType, body: form.whole(t)}, nil
}

// responseFields are the model's own response fields that the request asks for by path; stop_sequence is the only one there is.
func (c *converse) responseFields(t *told) string {
	stop := "null"
	if t.finish == "stop_sequence" {
		stop = string(quote(nil, c.stopped))
	}
	for _, path := range c.paths.Array() {
		switch path.Str {
		case "/stop_sequence":
			return `{"stop_sequence":` + stop + `}`
		case "/delta/stop_sequence":
			return `{"delta":{"stop_sequence":` + stop + `}}`
		}
	}
	return ""
}

// converseEvents is how Bedrock answers; keys are in the order of the alphabet there.
type converseEvents struct{ fields string }

func (f converseEvents) whole(t *told) []byte {
	b := append([]byte(nil), '{')
	if f.fields != "" {
		b = append(append(append(b, `"additionalModelResponseFields":`...), f.fields...), ',')
	}
	b = append(b, `"metrics":{"latencyMs":7},"output":{"message":{"content":[`...)
	for i := range t.blocks {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.converseBlock(b, i)
	}
	b = append(append(append(b, `],"role":"assistant"}},"stopReason":"`...), t.finish...), `","usage":`...)
	return append(t.converseUsage(b), '}')
}

func (t *told) converseBlock(b []byte, i int) []byte {
	block := &t.blocks[i]
	text := block.text.whole()
	switch block.kind {
	case "thinking":
		b = append(append(append(b, `{"reasoningContent":{"reasoningText":{"signature":"`...), signed(text)...), `","text":`...)
		return append(block.text.quoted(b, text), "}}}"...)
	case "tool_use":
		b = append(append(b, `{"toolUse":{"input":`...), inputOf(text)...)
		b = quote(append(b, `,"name":`...), block.call.name)
		return append(t.callID(append(b, `,"toolUseId":`...), i, "tooluse_"), "}}"...)
	}
	return append(block.text.quoted(append(b, `{"text":`...), text), '}')
}

// converseUsage counts tokens of a cache apart from the input, but in the total.
func (t *told) converseUsage(b []byte) []byte {
	u := t.x.bill
	b = appendInt(append(b, `{"cacheReadInputTokens":`...), u.Cached)
	b = appendInt(append(b, `,"cacheWriteInputTokens":`...), t.written())
	b = appendInt(append(b, `,"inputTokens":`...), t.fresh())
	b = appendInt(append(b, `,"outputTokens":`...), u.Completion)
	return append(appendInt(append(b, `,"serverToolUsage":{},"totalTokens":`...), u.Prompt+u.Completion), '}')
}

// ends: what comes after messageStop only counts.
func (converseEvents) ends() (finish, last part) { return terminal, frame }

func (converseEvents) open(b []byte, t *told) []byte {
	at := len(b)
	b = append(openFrame(b, "event", "messageStart"), `{"p":"`...)
	b = append(b, idLetters[:4+t.x.seed%40]...) // padding against guessing from sizes
	return closeFrame(append(b, `","role":"assistant"}`...), at)
}

func (converseEvents) ping(b []byte) []byte { return b }

// start is there for tool calls only.
func (converseEvents) start(b []byte, t *told, i int) []byte {
	if t.blocks[i].call == nil {
		return b
	}
	at := len(b)
	b = appendInt(append(openFrame(b, "event", "contentBlockStart"), `{"contentBlockIndex":`...), i)
	b = quote(append(b, `,"p":"abcd","start":{"toolUse":{"name":`...), t.blocks[i].call.name)
	b = t.callID(append(b, `,"toolUseId":`...), i, "tooluse_")
	return closeFrame(append(b, "}}}"...), at)
}

func (converseEvents) delta(b []byte, t *told, i int, piece string) []byte {
	at := len(b)
	b = appendInt(append(openFrame(b, "event", "contentBlockDelta"), `{"contentBlockIndex":`...), i)
	closing := "}"
	switch t.blocks[i].kind {
	case "thinking":
		b, closing = append(b, `,"delta":{"reasoningContent":{"text":`...), "}}"
	case "tool_use":
		b, closing = append(b, `,"delta":{"toolUse":{"input":`...), "}}"
	default:
		b = append(b, `,"delta":{"text":`...)
	}
	b = append(t.blocks[i].text.quoted(b, piece), closing...)
	b = append(append(b, `,"p":"`...), idLetters[:1+(len(b)*7)%40]...)
	return closeFrame(append(b, `"}`...), at)
}

func (converseEvents) sign(b []byte, t *told, i int) []byte {
	at := len(b)
	b = appendInt(append(openFrame(b, "event", "contentBlockDelta"), `{"contentBlockIndex":`...), i)
	b = append(append(b, `,"delta":{"reasoningContent":{"signature":"`...), signed(t.blocks[i].text.whole())...)
	return closeFrame(append(b, `"}},"p":"abcdefgh"}`...), at)
}

func (converseEvents) stop(b []byte, i int) []byte {
	at := len(b)
	b = appendInt(append(openFrame(b, "event", "contentBlockStop"), `{"contentBlockIndex":`...), i)
	return closeFrame(append(b, `,"p":"abcdefghijkl"}`...), at)
}

func (f converseEvents) finish(b []byte, t *told) []byte {
	at := len(b)
	b = append(openFrame(b, "event", "messageStop"), '{')
	if f.fields != "" {
		b = append(append(append(b, `"additionalModelResponseFields":`...), f.fields...), ',')
	}
	b = append(append(append(b, `"p":"abcdef","stopReason":"`...), t.finish...), '"')
	return closeFrame(append(b, '}'), at)
}

func (converseEvents) last(b []byte, t *told) []byte {
	at := len(b)
	b = append(openFrame(b, "event", "metadata"), `{"metrics":{"latencyMs":7},"p":"abcdefghij","usage":`...)
	return closeFrame(append(t.converseUsage(b), '}'), at)
}

// framesOf makes frames of recorded lines, each an object with the event's name as its only key.
func framesOf(lines [][]byte) []byte {
	var b []byte
	for _, line := range lines {
		gjson.ParseBytes(line).ForEach(func(name, payload gjson.Result) bool {
			kind := "event"
			if strings.HasSuffix(name.Str, "Exception") {
				kind = "exception"
			}
			b = appendFrame(b, kind, name.Str, []byte(payload.Raw))
			return true
		})
	}
	return b
}
