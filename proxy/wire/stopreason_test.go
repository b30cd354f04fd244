package wire_test

import (
	"cmp"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

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

// A reason is read from its place, wherever else such a name stands, and in whatever order.
func TestStopReasonAtItsPlace(t *testing.T) {
	for _, row := range []struct {
		kind         wire.Kind
		answer, want string
	}{
		// In an object that is somebody's own: beside, before and within.
		{wire.Chat, `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"ext":{"finish_reason":"length"}}`, "stop"},
		{wire.Chat, `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],"finish_reason":"length"}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop","ext":{"finish_reason":"length"}}]}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop","message":{"content":"a","ext":[{"finish_reason":"length"}]}}]}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop"}],"ext":[{"finish_reason":"length"}]}`, "stop"},
		{wire.Chat, "{ \"choices\" : [ { \"finish_reason\" : \"stop\" } ] ,\n \"ext\" : [ { \"finish_reason\" : \"length\" } ] }", "stop"},
		{wire.Chat, `{"ext":[{"finish_reason":"length"}],"choices":[{"finish_reason":"stop"}]}`, "stop"},
		{wire.Chat, `{"ext":{"choices":[{"finish_reason":"length"}]},"choices":[{"finish_reason":"stop"}]}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop"}],"ext":{"choices":[{"finish_reason":"length"}]}}`, "stop"},
		{wire.Chat, `{"ext":{"choices":[1]},"list":[{"finish_reason":"length"}],"choices":[{"finish_reason":"stop"}]}`, "stop"},
		// Where the choices say none, nobody else does for them.
		{wire.Chat, `{"choices":[{"delta":{"content":"a"}}],"ext":[{"finish_reason":"length"}]}`, ""},
		{wire.Chat, `{"choices":[],"ext":[{"finish_reason":"length"}]}`, ""},
		{wire.Chat, `{"choices":[{"finish_reason":null,"delta":{"ext":[{"finish_reason":"length"}]}}]}`, ""},
		{wire.Chat, `{"ext":{"choices":[1]},"list":[{"finish_reason":"length"}]}`, ""},
		{wire.Chat, `{"object":"choices","list":[{"finish_reason":"length"}]}`, ""},
		{wire.Chat, `{"finish_reason":"length"}`, ""},
		{wire.Chat, `[{"choices":[{"finish_reason":"length"}]}]`, ""},
		// In a text, where it has escapes.
		{wire.Chat, `{"choices":[{"finish_reason":"stop","message":{"content":"}],\"finish_reason\":\"length\"}]}"}}]}`, "stop"},
		{wire.Chat, `{"choices":[{"message":{"content":"],\"x\":[{\"finish_reason\":\"length\"}]"},"finish_reason":"stop"}],"usage":{"a":"}]}"}}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"stop","message":{"tool_calls":[{"function":{"arguments":"{\"finish_reason\":\"length\"}"}}]}}]}`, "stop"},
		{wire.Chat, `{"choices":[{"finish_reason":"st\u006fp"}]}`, "stop"},
		{wire.Chat, `{"choices":[{"message":{"content":"\\"},"finish_reason":"stop"}]}`, "stop"},
		// In another order, and beside what else there may be.
		{wire.Chat, `{"usage":{"prompt_tokens":1},"choices":[{"finish_reason":"tool_calls","message":{"content":null,"tool_calls":[{"id":"a"}],"refusal":null},"index":0}],"id":"x"}`, "tool_calls"},
		{wire.Chat, `{"id":"x","choices":[{"index":0,"logprobs":{"content":[{"bytes":[1,2],"top_logprobs":[]}],"refusal":null},"finish_reason":"length"}],"model":"m"}`, "length"},
		{wire.Chat, `{"choices":[{"index":0,"message":{"content":"see [1], \"[2]\" and ],"},"finish_reason":"content_filter"}],"model":"m"}`, "content_filter"},
		{wire.Chat, `{"choices":[{"finish_reason":"length"},{"finish_reason":null}],"prompt_filter_results":[{"prompt_index":0}]}`, "length"},
		{wire.Chat, `{"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}],"choices":[{"finish_reason":"length"}]}`, "length"},
		{wire.Chat, "\n{\"choices\":[{\"finish_reason\":\"length\"}\n]\n}\n", "length"},
		{wire.Completion, `{"choices":[{"text":"a","ext":{"finish_reason":"length"},"finish_reason":"stop"}]}`, "stop"},
		// Anthropic's.
		{wire.Message, `{"type":"message","content":[{"type":"tool_use","input":{"stop_reason":"max_tokens"}}],"stop_reason":"tool_use"}`, "tool_calls"},
		{wire.Message, `{"stop_reason":"tool_use","content":[{"type":"tool_use","input":{"stop_reason":"max_tokens"}}]}`, "tool_calls"},
		{wire.Message, `{"stop_reason":"end_turn","content":[{"type":"text","text":"\"stop_reason\":\"max_tokens\"}"}]}`, "stop"},
		{wire.Message, `{"content":[{"input":{"stop_reason":"max_tokens"}}],"stop_reason":null}`, ""},
		{wire.Message, `{"type":"message_delta","delta":{"stop_sequence":null,"stop_reason":"max_tokens"},"usage":{"output_tokens":1}}`, "length"},
		{wire.Message, `{"delta":{"stop_reason":"end_turn"},"type":"message_delta","ext":{"delta":{"stop_reason":"max_tokens"}}}`, "stop"},
		{wire.Message, `{"type":"message_delta","ext":{"stop_reason":"max_tokens"},"delta":{"stop_reason":null}}`, ""},
		{wire.Message, `{"type":"message_delta","ext":{"stop_reason":"max_tokens"}}`, ""},
		// Of the Responses API.
		{wire.Response, `{"output":[{"status":"in_progress","incomplete_details":{"reason":"max_output_tokens"}}],"status":"completed"}`, "stop"},
		{wire.Response, `{"type":"response.completed","ext":{"status":"failed"},"response":{"metadata":{"status":"failed"},"status":"completed"}}`, "stop"},
	} {
		if got := wire.StopReason(row.kind, []byte(row.answer)); got != row.want {
			t.Errorf("%q, not %q, of %s", got, row.want, row.answer)
		}
	}
}

// Of answers of all shapes, the short way tells what reading all of one does.
func TestStopReasonIsThatOfTheChoices(t *testing.T) {
	dice := rand.New(rand.NewPCG(3, 4))
	said, none := 0, 0
	for range 20_000 {
		answer := anyObject(dice, 0)
		want := ""
		gjson.Get(answer, "choices").ForEach(func(_, choice gjson.Result) bool {
			want = cmp.Or(choice.Get("finish_reason").Str, want)
			return true
		})
		if got := wire.StopReason(wire.Chat, []byte(answer)); got != want {
			t.Fatalf("%q, not %q, of %s", got, want, answer)
		}
		if want == "" {
			none++
		} else {
			said++
		}
		message, event := gjson.Get(answer, "stop_reason").Str, gjson.Get(answer, "delta.stop_reason").Str // only one of them, mostly
		if got := wire.StopReason(wire.Message, []byte(answer)); got != cmp.Or(message, event) && got != event {
			t.Fatalf("%q, not %q or %q, of %s", got, message, event, answer)
		}
	}
	if said < 1000 || none < 1000 {
		t.Errorf("%d answers said a reason, %d none", said, none)
	}
}

// anyObject is one whose members have the names that matter, at any place.
func anyObject(dice *rand.Rand, depth int) string {
	names := []string{"choices", "finish_reason", "stop_reason", "delta", "message", "list"}
	dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var members []string
	for _, name := range names[:dice.IntN(5)] {
		members = append(members, `"`+name+`":`+anyValue(dice, name, depth+1))
	}
	return "{" + strings.Join(members, []string{",", " ,\n "}[dice.IntN(2)]) + "}"
}

func anyValue(dice *rand.Rand, name string, depth int) string {
	n := dice.IntN(10)
	switch {
	case depth > 4:
		return "null"
	case name == "choices" && n < 8, name == "list" && n < 5:
		var list []string
		for range dice.IntN(3) {
			list = append(list, anyObject(dice, depth))
		}
		return "[" + strings.Join(list, ",") + "]"
	case strings.HasSuffix(name, "_reason") && n < 7:
		return `"` + []string{"stop", "length", "eos"}[dice.IntN(3)] + `"`
	case n < 6:
		return anyObject(dice, depth)
	case n < 8 && !strings.HasSuffix(name, "_reason"):
		return []string{`"],\"x\":[{"`, `"\\"`, `"choices"`, `"a \"finish_reason\":\"length\"}]}"`}[dice.IntN(4)]
	}
	return []string{"null", "1", "[]", "[[1],2]"}[dice.IntN(4)]
}
