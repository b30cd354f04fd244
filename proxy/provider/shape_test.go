package provider

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

const (
	chatWord    = `{"id":"c","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}`
	messageWord = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}`
	textWord    = `{"id":"c","choices":[{"index":0,"text":" word","finish_reason":null}]}`
)

// What looks like the event before it needs no further look; what may be more than that does.
func TestShape(t *testing.T) {
	for _, row := range []struct {
		kind          wire.Kind
		first, second string
		text          string // of the second; "no": it is looked at
	}{
		{wire.Chat, chatWord, strings.Replace(chatWord, " word", ` \"x\"`, 1), ` \"x\"`},
		{wire.Chat, chatWord, strings.Replace(chatWord, " word", "", 1), ""},
		{wire.Chat, chatWord, strings.Replace(chatWord, `"usage":null`, `"obfuscation":"abc"`, 1), " word"},
		{wire.Chat, chatWord, strings.Replace(chatWord, `"usage":null`, `"usage":{"completion_tokens":5}`, 1), "no"},
		{wire.Chat, chatWord, strings.Replace(chatWord, `"finish_reason":null`, `"finish_reason":"stop"`, 1), "no"},
		{wire.Chat, chatWord, strings.Replace(chatWord, `"usage":null`, `"error":{"message":"m"}`, 1), "no"},
		{wire.Chat, chatWord, strings.Replace(chatWord, ` word"`, ` word","reasoning_content":"more"`, 1), "no"},
		{wire.Chat, chatWord, strings.Replace(chatWord, `}],"usage"`, `},{"index":1,"delta":{"content":"more"}}],"usage"`, 1), "no"},
		{wire.Chat, chatWord, strings.Replace(chatWord, `"id":"c"`, `"id":"d"`, 1), "no"},
		{wire.Chat, chatWord, chatWord[:len(chatWord)/2], "no"},
		{wire.Chat, strings.Replace(chatWord, ` word"`, ` word","refusal":"more"`, 1), chatWord, "no"},
		{wire.Chat, strings.Replace(chatWord, `"content"`, `"reasoning"`, 1), chatWord, "no"},
		{wire.Completion, textWord, strings.Replace(textWord, " word", " more", 1), " more"},
		{wire.Completion, textWord, strings.Replace(textWord, `"finish_reason":null`, `"finish_reason":"stop"`, 1), "no"},
		{wire.Completion, textWord, strings.Replace(textWord, `}]`, `},{"index":1,"text":"more"}]`, 1), "no"},
		{wire.Message, messageWord, strings.Replace(messageWord, " word", " more", 1), " more"},
		{wire.Message, messageWord, strings.Replace(messageWord, `"index":0`, `"index":1`, 1), "no"},
		{wire.Message, messageWord, strings.Replace(messageWord, `"}}`, `"},"usage":{"output_tokens":3}}`, 1), "no"},
		{wire.Message, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}`, messageWord, "no"},
		{wire.Message, `{"type":"content_block_stop","index":0}`, messageWord, "no"},
		{wire.Response, `{"type":"x.delta","delta":"a"}`, `{"type":"x.delta","delta":"a"}`, "no"},
	} {
		var s shape
		s.keep(row.kind, []byte(row.first))
		if got := s.again(row.kind, []byte(row.second)); string(got) != strings.TrimPrefix(row.text, "no") || (got == nil) != (row.text == "no") {
			t.Errorf("after %s\n%s: %q", row.first, row.second, got)
		}
	}
}

// Whatever two events are: what is taken for one like the other has no usage, no end, and its text is one that stands in it.
func FuzzShape(f *testing.F) {
	for kind, first := range map[wire.Kind]string{wire.Chat: chatWord, wire.Completion: textWord, wire.Message: messageWord} {
		f.Add(byte(kind), []byte(first), []byte(strings.Replace(first, " word", `\u00e4`, 1)))
		f.Add(byte(kind), []byte(first), []byte(strings.Replace(first, `null`, `"stop"`, 1)))
	}
	f.Fuzz(func(t *testing.T, kind byte, first, second []byte) {
		k := wire.Kind(kind % 5)
		if !gjson.ValidBytes(first) || !gjson.ValidBytes(second) || wire.FindUsage(first) != nil {
			return
		}
		r := &relay{kind: k, begun: true}
		if r.class(first) != wire.Content {
			return
		}
		var s shape
		s.keep(k, first)
		inner := s.again(k, second)
		if inner == nil {
			return
		}
		if r.class(second) != wire.Content || wire.FindUsage(second) != nil || !bytes.Contains(second, inner) {
			t.Errorf("after %s\n%s is taken for the same, with %q", first, second, inner)
		}
	})
}

func TestMeasure(t *testing.T) {
	for _, row := range []struct {
		kind wire.Kind
		data string
		want int64
	}{
		{wire.Chat, chatWord, 5},
		{wire.Chat, `{"choices":[{"delta":{"role":"assistant","content":"four"}}]}`, 4},
		{wire.Chat, `{"choices":[{"delta":{"content":"","reasoning_content":"seven.."}}]}`, 7},
		{wire.Chat, `{"choices":[{"delta":{"reasoning":"seven..","reasoning_content":"seven.."}}]}`, 7},
		{wire.Chat, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}}]}`, 7},
		{wire.Chat, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`, 0},
		{wire.Completion, textWord, 5},
		{wire.Message, messageWord, 5},
		{wire.Message, `{ "type": "content_block_delta", "delta": {"type": "text_delta", "text": "spaces"}}`, 6},
		{wire.Response, `{"type":"response.output_text.delta","sequence_number":4,"delta":"Hello"}`, 5},
		{wire.Response, `{"type":"response.output_item.done"}`, 0},
		{wire.Plain, `{"text":"x"}`, 0},
	} {
		if got := measure(row.kind, []byte(row.data)); got != row.want {
			t.Errorf("%s: %d, want %d", row.data, got, row.want)
		}
	}
}
