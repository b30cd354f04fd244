package provider

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// What a delta costs on its way through, translated and as it is, without the sockets around it: the figure is ns/delta,
// and the bar for a translation is three times the pass-through of the same protocol.

const deltas = 1000

// streamsOf is a long answer in each protocol.
var streamsOf = map[string]func() []byte{
	"openai": func() (s []byte) {
		s = append(s, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`+"\n\n"...)
		for i := range deltas {
			s = fmt.Appendf(s, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}]}`+"\n\n", i)
		}
		s = append(s, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n"...)
		s = append(s, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1000}}`+"\n\n"...)
		return append(s, done...)
	},
	"anthropic": func() (s []byte) {
		s = append(s, "event: message_start\ndata: "+`{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":1}}}`+"\n\n"...)
		s = append(s, "event: content_block_start\ndata: "+`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`+"\n\n"...)
		for i := range deltas {
			s = fmt.Appendf(s, "event: content_block_delta\ndata: "+`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word%d"}}`+"\n\n", i)
		}
		s = append(s, "event: content_block_stop\ndata: "+`{"type":"content_block_stop","index":0}`+"\n\n"...)
		s = append(s, "event: message_delta\ndata: "+`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1000}}`+"\n\n"...)
		return append(s, "event: message_stop\ndata: "+`{"type":"message_stop"}`+"\n\n"...)
	},
	"bedrock": func() (s []byte) {
		event := func(name, payload string) {
			s = appendFrame(s, payload, stringHeader(":event-type", name), stringHeader(":content-type", "application/json"), stringHeader(":message-type", "event"))
		}
		event("messageStart", `{"p":"abcdefghijklmnop","role":"assistant"}`)
		for i := range deltas {
			event("contentBlockDelta", fmt.Sprintf(`{"contentBlockIndex":0,"delta":{"text":" word%d"},"p":"abcdefghijklmn"}`, i))
		}
		event("contentBlockStop", `{"contentBlockIndex":0,"p":"abc"}`)
		event("messageStop", `{"p":"abcdefghi","stopReason":"end_turn"}`)
		event("metadata", `{"metrics":{"latencyMs":512},"p":"ab","usage":{"inputTokens":3,"outputTokens":1000,"totalTokens":1003}}`)
		return s
	},
}

func benchmarkStream(b *testing.B, answer []byte, through func(io.Reader) stream) {
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		p := through(&piecewise{answer})
		err := p.open()
		for err == nil {
			_, err = p.Read(buf)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
		_ = p.Close() // never fails
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/deltas, "ns/delta")
}

// piecewise gives one event or so at each read, as a model at work does.
type piecewise struct{ left []byte }

func (r *piecewise) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 200)], r.left)
	r.left = r.left[n:]
	return n, nil
}

func BenchmarkDelta(b *testing.B) {
	names := map[wire.Kind]string{wire.Chat: "chat", wire.Message: "messages", wire.Response: "responses"}
	for _, provider := range []string{"openai", "anthropic", "bedrock"} {
		answer := streamsOf[provider]()
		for _, client := range []wire.Kind{wire.Chat, wire.Message, wire.Response} {
			native := kinds[provider].speaks(client) && client != wire.Response
			b.Run(fmt.Sprintf("%s/%s/native=%t", provider, names[client], native), func(b *testing.B) {
				benchmarkStream(b, bytes.Clone(answer), func(from io.Reader) stream {
					if native {
						return relayOf(from, "Connection: close", client)
					}
					return translatedOf(from, provider, client)
				})
			})
		}
	}
}

// What a delta costs under a meter, whose tokens are counted one by one.
func BenchmarkMeteredDelta(b *testing.B) {
	for _, row := range []struct {
		provider string
		client   wire.Kind
		native   bool
	}{{"openai", wire.Chat, true}, {"anthropic", wire.Message, true}, {"openai", wire.Message, false}, {"bedrock", wire.Chat, false}} {
		answer := streamsOf[row.provider]()
		b.Run(fmt.Sprintf("%s/%d/native=%t", row.provider, row.client, row.native), func(b *testing.B) {
			benchmarkStream(b, bytes.Clone(answer), func(from io.Reader) stream {
				if row.native {
					return boundRelay(from, row.client, asked[row.client], upTo(1<<40))
				}
				return boundTranslated(from, row.provider, row.client, upTo(1<<40))
			})
		})
	}
}
