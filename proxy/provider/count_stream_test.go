package provider

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// A stream that reports no usage is counted by its texts, however few events they come in.
func TestUnreported(t *testing.T) {
	long := strings.Repeat("word ", 80) // 400 letters
	end := chatChunk(`{"index":0,"delta":{},"finish_reason":"stop"}`) + done
	for name, row := range map[string]struct {
		kind   wire.Kind
		stream string
		least  int64
		most   int64
	}{
		"many words in an event":           {wire.Chat, text(0, long) + end, 100, 100},
		"a word in each":                   {wire.Chat, strings.Repeat(text(0, " a"), 50) + end, 50, 50},
		"the last words with the reason":   {wire.Chat, text(0, "a") + chatChunk(`{"index":0,"delta":{"content":"`+long+`"},"finish_reason":"stop"}`) + done, 100, 101},
		"all words with the reason":        {wire.Chat, chatChunk(`{"index":0,"delta":{"content":"`+long+`"},"finish_reason":"stop"}`) + done, 100, 100},
		"a tool call with the reason":      {wire.Chat, chatChunk(`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"`+long+`"}}]},"finish_reason":"tool_calls"}`) + done, 100, 100},
		"of a completion":                  {wire.Completion, strings.Replace(completion, " one", long, 1), 100, 104},
		"of a completion, with the reason": {wire.Completion, strings.Replace(completion, " three", long, 1), 100, 104},
		"an end without words":             {wire.Chat, text(0, "a") + end, 1, 1},
		"messages":                         {wire.Message, strings.Replace(claudeText[:strings.Index(claudeText, "event: message_delta")], " Paris", long, 1), 100, 120},
	} {
		r := relayOf(strings.NewReader(row.stream), "Connection: close", row.kind)
		r.model = "gpt-4o"
		if got := r.drain(4096); got.usage.Completion < row.least || got.usage.Completion > row.most || !got.usage.Estimated {
			t.Errorf("%s: %+v", name, got.usage)
		}
	}
}

// A provider whose first event reports the prompt alone has not reported the answer of a stream that is left.
func TestHalfReported(t *testing.T) {
	r := relayOf(strings.NewReader(strings.Replace(text(0, "a"), `]}`, `],"usage":{"prompt_tokens":9,"completion_tokens":0}}`, 1)+strings.Repeat(text(0, " b"), 20)), "Connection: close", wire.Chat)
	if got := r.drain(4096); got.usage != (wire.Usage{Prompt: 9, Completion: 21, Estimated: true}) {
		t.Errorf("%+v", got.usage)
	}
}

// Tokens are counted as the model counts them, as far as that is known, and what is lost by rounding is not lost.
func TestModelsCount(t *testing.T) {
	words := strings.Repeat(text(0, " word"), 100) + done
	for model, want := range map[string]int64{"gpt-4o": 100, "gpt-4": 100, "claude-sonnet-4-5": 120, "anthropic.claude-3-haiku-20240307-v1:0": 120, "deepseek-chat": 98, "Qwen/Qwen3-8B": 101, "nobody-knows": 110} {
		r := boundRelay(strings.NewReader(words), wire.Chat, plainChat, upTo(1000))
		r.call.Model = model
		r.bound(r.call)
		if got := r.drain(4096); got.usage.Completion != want {
			t.Errorf("%s: %d tokens, want %d", model, got.usage.Completion, want)
		}
		bound := boundTranslated(strings.NewReader(words+chatChunk(`{"index":0,"delta":{},"finish_reason":"stop"}`)+done), "openai", wire.Message, upTo(1000))
		bound.call.Model = model
		bound.gauge = newGauge(bound.call, upTo(50), gauge{})
		if bound.drain(4096); bound.tokens != 50 {
			t.Errorf("%s, translated: ended at %d", model, bound.tokens)
		}
	}
	call := &Call{Model: "meta-llama/Llama-3.1-8B"}
	g := newGauge(call, upTo(10), gauge{})
	if n := testing.AllocsPerRun(100, func() { g = newGauge(call, call.Meter, g) }); n > 0 {
		t.Errorf("%v allocations for a gauge", n)
	}
	if g.seen() != 0 {
		t.Error("a new gauge has seen something")
	}
}

// The last words count under a meter too, and a choice's last words may be the stream's last that are paid for.
func TestLastWordsUnderAMeter(t *testing.T) {
	last := func(index int) string {
		return strings.Replace(strings.Replace(text(index, " one two three four five"), `"finish_reason":null`, `"finish_reason":"stop"`, 1), "\n\n", "\n\n", 1)
	}
	r := boundRelay(strings.NewReader(text(0, "a")+last(0)+done), wire.Chat, plainChat, upTo(3))
	if got := r.drain(4096); got.usage.Completion != 6 || r.cut || strings.Contains(got.out, `"length"`) {
		t.Errorf("%s", got)
	}
	r = boundRelay(strings.NewReader(text(0, "a")+text(1, "b")+last(0)+text(1, " c")+done), wire.Chat, threeChats, upTo(4))
	if got := r.drain(4096); !r.cut || strings.Count(got.out, `"length"`) != 2 || strings.Contains(got.out, " c") {
		t.Errorf("%s", got)
	}
}
