package wire

import (
	"bytes"
	"cmp"
	"strings"

	"github.com/tidwall/gjson"
)

// StopReason is why an answer ended, in OpenAI's words for chat, whatever the dialect: stop, length, tool_calls, content_filter;
// other reasons are as the provider says them. answer is a whole answer, or the event that says the reason; "" where it says none.
func StopReason(kind Kind, answer []byte) string {
	switch kind {
	case Chat, Completion:
		return stopWord(choiceReason(answer))
	case Message:
		return stopWord(messageReason(answer))
	case Response:
		return responseStop(answer)
	}
	return ""
}

// responseStop reads a response object, or the event that carries the whole of one.
func responseStop(answer []byte) string {
	whole := gjson.Parse(alias(answer))
	if inner := whole.Get("response"); inner.IsObject() {
		whole = inner
	}
	word := whole.Get("incomplete_details.reason").Str
	if word == "max_output_tokens" {
		return "length"
	}
	return stopWord([]byte(cmp.Or(word, whole.Get("status").Str)))
}

// choiceReason is the finish_reason of the last choice that has one. What is called so elsewhere is somebody's own: the last one mostly
// is a choice's, as little but reading on from there tells, and else all is read.
func choiceReason(answer []byte) (reason []byte) {
	at := finishKey.last(answer)
	if at < 0 {
		return nil
	}
	if text, rest := plainText(finishKey.value(answer, at)); len(text) > 0 && closes(rest, "}]}") && inChoices(answer, at) {
		return text
	}
	gjson.Get(alias(answer), "choices").ForEach(func(_, choice gjson.Result) bool {
		if text := choice.Get("finish_reason").Str; text != "" {
			reason = []byte(text)
		}
		return true
	})
	return reason
}

// inChoices tells that a place, which is in an object in an array in the outermost object, is in the choices. If not it may be all
// the same: they would have to end before it, as other arrays do too.
func inChoices(answer []byte, at int) bool {
	begin := choicesKey.index(answer[:at], 0)
	if begin < 0 || bytes.Count(answer[:begin], brace) != 1 || bytes.IndexByte(answer[:begin], '[') >= 0 {
		return false
	}
	list := choicesKey.value(answer[:at], begin)
	if len(list) == 0 || list[0] != '[' {
		return false
	}
	for {
		end := bytes.IndexByte(list, ']')
		if end < 0 {
			return true
		}
		rest := bytes.TrimLeft(list[end+1:], jsonSpace)
		if len(rest) > 0 && rest[0] == ',' && bytes.HasPrefix(bytes.TrimLeft(rest[1:], jsonSpace), quote) {
			return false // a member follows an array: these may have been the choices
		}
		list = list[end+1:]
	}
}

const jsonSpace = " \t\r\n"

var brace, quote, delta = []byte{'{'}, []byte{'"'}, []byte(`"delta":{`)

// messageReason is the stop_reason of one of Anthropic's messages, or of the event whose delta has it.
func messageReason(answer []byte) []byte {
	at := stopKey.last(answer)
	if at < 0 {
		return nil
	}
	text, rest := plainText(stopKey.value(answer, at))
	if len(text) > 0 && (closes(rest, "}") || bytes.HasSuffix(answer[:at], delta) && closes(rest, "}}")) {
		return text
	}
	whole := gjson.Parse(alias(answer))
	return []byte(cmp.Or(whole.Get("stop_reason").Str, whole.Get("delta.stop_reason").Str))
}

// plainText is the text that a value begins with, and what follows it; "" where it is none, or has escapes.
func plainText(value []byte) (text, rest []byte) {
	if len(value) == 0 || value[0] != '"' {
		return nil, nil
	}
	text, rest, _ = bytes.Cut(value[1:], quote)
	if bytes.IndexByte(text, '\\') >= 0 {
		return nil, nil
	}
	return text, rest
}

const longestReason = 32

// stopWord puts a provider's word into OpenAI's, without an allocation for those there mostly are.
func stopWord(word []byte) string {
	switch string(word) {
	case "stop", "end_turn", "stop_sequence", "completed":
		return "stop"
	case "length", "max_tokens", "model_context_window_exceeded":
		return "length"
	case "tool_calls", "tool_use", "function_call":
		return "tool_calls"
	case "content_filter", "refusal":
		return "content_filter"
	}
	if len(word) > longestReason || strings.Trim(string(word), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "" {
		return "other"
	}
	return string(word)
}
