package provider

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// asked is a request of each dialect, by the kind of its answers.
var asked = map[wire.Kind]string{
	wire.Chat:     `{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":{"include_usage":true}}`,
	wire.Message:  `{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"Hi"}],"stream":true}`,
	wire.Response: `{"model":"m","input":"Hi","stream":true}`,
}

// translatedOf is a stream of a provider's of the given kind, for a client of the given dialect.
func translatedOf(from io.Reader, provider string, client wire.Kind) *translated {
	request, err := dialect.Read(client, []byte(asked[client]))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	k := kinds[provider]
	call := &Call{Kind: client, request: request, foreign: true, through: dialect.Translation{Request: request, To: k.to, Provider: provider, Model: "m", ID: "id_1", Created: 1700000000}}
	if _, err := call.through.AppendRequest(nil); err != nil {
		panic("BUG: " + err.Error())
	}
	r := relayOf(from, "Connection: close", client)
	c := &Client{kind: k, cfg: Config{Kind: provider}, secrets: [][]byte{[]byte("sk-secret")}}
	return &translated{client: c, res: r.res, call: call, reader: call.through.Reader(), writer: call.through.Writer()}
}

func (t *translated) drain(size int) passed { return drain(t, t.res, size) }

// recordedStreams are the recorded streams of Anthropic and Bedrock, as they came over the wire, by their names.
func recordedStreams(t *testing.T) map[string][]byte {
	t.Helper()
	shared := os.Getenv("JARVIS_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(shared); err != nil {
		t.Skipf("no recorded traffic: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	streams := fixtures(shared)
	if len(streams) == 0 {
		t.Fatal("no recorded streams")
	}
	return streams
}

func fixtures(shared string) map[string][]byte {
	streams := map[string][]byte{}
	for provider, folder := range map[string]string{"anthropic": "anthropic", "bedrock": "amazon-bedrock"} {
		all, err := fakellm.LoadFixtures(filepath.Join(shared, "data", "provider-fixtures", folder))
		if err != nil {
			continue // the caller sees what is missing
		}
		for _, ex := range all {
			if ex.Stream {
				streams[provider+"/"+ex.Name] = ex.Body
			}
		}
	}
	return streams
}

// Every recorded stream of Anthropic and Bedrock gives the same bytes, usage and end in every dialect, whether it comes at
// once, one byte a read, or with a read error right behind the last byte; and the provider's own usage.
func TestRecordedStreamsTranslated(t *testing.T) {
	n := 0
	for name, stream := range recordedStreams(t) {
		provider, _, _ := strings.Cut(name, "/")
		for client := range asked {
			if kinds[provider].speaks(client) {
				continue
			}
			whole := translatedOf(bytes.NewReader(stream), provider, client).drain(4096)
			if spliced := strings.Contains(name, "spliced"); !whole.opened || whole.code != "" || whole.told != spliced {
				t.Errorf("%s for %d: %.300s", name, client, whole)
			}
			for size, got := range map[int]passed{
				1:    translatedOf(iotest.OneByteReader(bytes.NewReader(stream)), provider, client).drain(1),
				4096: translatedOf(iotest.OneByteReader(bytes.NewReader(stream)), provider, client).drain(4096),
				97:   translatedOf(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(stream))), provider, client).drain(97),
			} {
				if got.out != whole.out || got.usage != whole.usage || got.told != whole.told {
					t.Errorf("%s for %d, %d bytes a read: %.300s, want %.300s", name, client, size, got, whole)
				}
			}
			if want := reported(provider, stream); want == (wire.Usage{}) && !whole.usage.Estimated || want != (wire.Usage{}) && !whole.told && want != whole.usage {
				t.Errorf("%s for %d: usage %+v, want %+v", name, client, whole.usage, want)
			}
			n++
		}
	}
	t.Logf("%d recorded streams came through translated, whole and byte by byte", n)
	if n < 90 {
		t.Error("some of the recorded traffic is missing")
	}
}

// reported is the usage as the provider's last words on it say, read without any code of the gateway's.
func reported(provider string, stream []byte) (u wire.Usage) {
	if provider == "bedrock" {
		i := bytes.LastIndex(stream, []byte(`"usage":`))
		v := gjson.ParseBytes(stream[i+len(`"usage":`):])
		u.CachedPrompt, u.CacheWrite = v.Get("cacheReadInputTokens").Int(), v.Get("cacheWriteInputTokens").Int()
		u.Prompt = v.Get("inputTokens").Int() + u.CachedPrompt + u.CacheWrite
		u.Completion = v.Get("outputTokens").Int()
		return u
	}
	last, calls := map[string]int64{}, gjson.Result{}
	if bytes.Contains(stream, []byte(`"service_tier":"standard"`)) {
		u.Tier = wire.TierStandard
	}
	for line := range strings.Lines(string(stream)) {
		data := gjson.Parse(strings.TrimPrefix(line, "data: "))
		for _, path := range []string{"message.usage", "usage"} {
			data.Get(path).ForEach(func(k, v gjson.Result) bool {
				if v.Type == gjson.Number {
					last[k.Str] = v.Int()
				}
				return true
			})
		}
		if told := data.Get("usage.iterations"); told.Exists() {
			calls = told
		}
	}
	if calls.Exists() { // each call of a model for itself, the declined ones without any output
		clear(last)
		calls.ForEach(func(_, call gjson.Result) bool {
			call.ForEach(func(k, v gjson.Result) bool {
				if call.Get("output_tokens").Int() > 0 {
					last[k.Str] += v.Int()
				}
				return true
			})
			return true
		})
	}
	return wire.Usage{Prompt: last["input_tokens"] + last["cache_read_input_tokens"] + last["cache_creation_input_tokens"], Completion: last["output_tokens"],
		CachedPrompt: last["cache_read_input_tokens"], CacheWrite: last["cache_creation_input_tokens"], Tier: u.Tier}
}

// A translated stream without its end, at every byte: an error inside the stream once it has begun, an ordinary one before,
// and never the mark of a good end.
func TestTranslatedStreamsCut(t *testing.T) {
	for name, stream := range recordedStreams(t) {
		provider, _, _ := strings.Cut(name, "/")
		if !strings.Contains(name, "text") && !strings.Contains(name, "tool-call.1") && !strings.Contains(name, "tool-no-args") {
			continue
		}
		for cut := 0; cut < len(stream)-2; cut += 1 + len(stream)/300 {
			for client := range asked {
				if kinds[provider].speaks(client) {
					continue
				}
				got := translatedOf(bytes.NewReader(stream[:cut]), provider, client).drain(4096)
				if complete := strings.Contains(got.out, "[DONE]") || strings.Contains(got.out, "event: message_stop") || strings.Contains(got.out, "event: response.completed"); !complete && (got.opened != got.told || got.opened == (got.code != "")) {
					t.Errorf("%s for %d, cut at %d of %d: %.300s", name, client, cut, len(stream), got)
				} else if complete && (got.told || !got.usage.Estimated && got.usage != reported(provider, stream)) {
					t.Errorf("%s for %d, cut at %d of %d, ends as if it were whole: %.300s", name, client, cut, len(stream), got)
				}
			}
		}
	}
}

// One flipped bit anywhere in a Bedrock stream is an error, never garbage.
func TestBrokenFrames(t *testing.T) {
	for name, stream := range recordedStreams(t) {
		if !strings.HasPrefix(name, "bedrock/") {
			continue
		}
		good := translatedOf(bytes.NewReader(stream), "bedrock", wire.Chat).drain(4096)
		for at := 0; at < len(stream); at += 1 + len(stream)/200 {
			broken := bytes.Clone(stream)
			broken[at] ^= 1 << (at % 8)
			got := translatedOf(bytes.NewReader(broken), "bedrock", wire.Chat).drain(4096)
			begun, _, _ := strings.Cut(got.out, `data: {"error"`)
			if got.code == "" && !got.told || !strings.HasPrefix(good.out, begun) {
				t.Fatalf("%s, a bit at %d of %d: %.500s", name, at, len(stream), got)
			}
		}
	}
}
