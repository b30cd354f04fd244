package wire

import (
	"strings"
	"testing"
)

func BenchmarkStopReasons(b *testing.B) {
	head, tail := `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":`, `},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":40,"total_tokens":52,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_1"}`
	for name, answer := range map[string]string{
		"text-1k":  head + `"` + strings.Repeat("the quick brown fox ", 45) + `"` + tail,
		"text-16k": head + `"` + strings.Repeat("the quick brown fox ", 800) + `"` + tail,
		"code-4k":  head + `"` + strings.Repeat(`fmt.Println(\"a quick one\")\n\tuse snake_case\n`, 85) + `"` + tail,
		"tools":    head + `null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\",\"unit\":\"c\",\"days\":[1,2,3]}"}}]` + tail,
		"event":    `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","service_tier":"default","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			data := []byte(answer)
			for b.Loop() {
				if StopReason(Chat, data) != "stop" {
					b.Fatal("not found")
				}
			}
		})
	}
}
