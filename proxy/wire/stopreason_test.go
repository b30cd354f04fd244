package wire_test

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

func TestStopReason(t *testing.T) {
	for _, row := range []struct {
		kind         wire.Kind
		answer, want string
	}{
		{wire.Chat, `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, "stop"},
		{wire.Chat, `{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}`, ""},
		{wire.Chat, `{"choices":[{"message":{"content":"\"finish_reason\":\"length\""}, "finish_reason" : "tool_calls","x":1}],"usage":{}}`, "tool_calls"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop","message":{"content":"finish_reason"}}]}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}`, "length"},
		{wire.Chat, `{"choices":[{"finish_reason":"a \"strange\" word, far longer than any reason there may be"}]}`, "other"},
		{wire.Chat, `{"choices":[{"finish_reason":"eos_token"}]}`, "eos_token"},
		{wire.Chat, `{"choices":[{"finish_reason":"`, ""},
		{wire.Completion, `{"choices":[{"text":"a","finish_reason":"length"}]}`, "length"},
		{wire.Message, `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null}}`, "stop"},
		{wire.Message, `{"type":"message_stop"}`, ""},
		{wire.Message, `{"content":[],"stop_reason":"max_tokens"}`, "length"},
		{wire.Message, `{"content":[],"stop_reason":"pause_turn"}`, "pause_turn"},
		{wire.Response, `{"id":"resp_1","status":"completed","output":[{"status":"failed"}]}`, "stop"},
		{wire.Response, `{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}`, "length"},
		{wire.Response, `{"type":"response.failed","response":{"output":[{"status":"completed"}],"status":"failed"}}`, "failed"},
		{wire.Plain, `{"finish_reason":"stop"}`, ""},
		{wire.Chat, `{"choices":[{"finish_reason":"length","message":{"content":"` + strings.Repeat("word ", 1000) + `"}}]}`, "length"},
		{wire.Chat, `{"choices":[{"finish_reason":"length","message":{"content":"` + strings.Repeat("x", 2<<10-30) + `"}}]}`, "length"}, // on the edge of what is looked at first
	} {
		if got := wire.StopReason(row.kind, []byte(row.answer)); got != row.want {
			t.Errorf("%q, not %q, of %s", got, row.want, row.answer)
		}
	}
}
