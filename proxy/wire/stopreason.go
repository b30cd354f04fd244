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
		return stopWord(lastText(answer, finishKey))
	case Message:
		return stopWord(lastText(answer, stopKey))
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

// lastText is the text that follows the last of a key that a text follows.
func lastText(answer []byte, k key) []byte {
	for end := len(answer); end > 0; {
		at := k.last(answer[:end])
		if at < 0 {
			break
		}
		if value := k.value(answer, at); len(value) > 0 && value[0] == '"' {
			text, _, _ := bytes.Cut(value[1:], []byte{'"'})
			return text
		}
		end = at
	}
	return nil
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
