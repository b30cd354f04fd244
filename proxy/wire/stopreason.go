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
		return stopWord(lastText(answer, `"finish_reason"`))
	case Message:
		return stopWord(lastText(answer, `"stop_reason"`))
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

// lastText is the text that follows the last of a key in JSON. Inside of a text there is no such key: its quotes are escaped there.
func lastText(answer []byte, key string) []byte {
	for end := len(answer); end > 0; {
		at := lastIndex(answer[:end], []byte(key))
		if at < 0 {
			break
		}
		value, found := bytes.CutPrefix(bytes.TrimLeft(answer[at+len(key):], " \t\r\n"), []byte{':'})
		value = bytes.TrimLeft(value, " \t\r\n")
		if found && len(value) > 0 && value[0] == '"' {
			text, _, _ := bytes.Cut(value[1:], []byte{'"'})
			return text
		}
		end = at
	}
	return nil
}

// lastIndex is bytes.LastIndex, which is slow, for what mostly stands near the end.
func lastIndex(answer, key []byte) int {
	at := -1
	for from := max(0, len(answer)-tailLooked); ; from = at + len(key) {
		i := bytes.Index(answer[from:], key)
		if i < 0 {
			break
		}
		at = from + i
	}
	if at < 0 && len(answer) > tailLooked {
		return bytes.LastIndex(answer[:len(answer)-tailLooked+len(key)-1], key)
	}
	return at
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
