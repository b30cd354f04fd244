package provider

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// What a client can make a provider say must not switch the Responses API off for everyone.
func TestNoSuchRoute(t *testing.T) {
	for body, want := range map[string]bool{
		`{"error":{"message":"Invalid URL (POST /v1/responses)","type":"invalid_request_error","param":null,"code":null}}`: true,
		`{"detail":"Not Found"}`:         true,
		` {"detail":"Not Found"}` + "\n": true,
		"<html>404</html>":               true,
		"":                               true,
		`{"error":{"message":"Unknown request URL: POST /v1/responses."}}`:                                     true,
		`{"error":{"message":"The requested model 'Invalid URL (' does not exist.","code":"model_not_found"}}`: false,
		`{"error":{"message":"Invalid URL ( is not a model","code":null}}`:                                     false,
		`{"object":"error","message":"The model x does not exist.","type":"NotFoundError","code":404}`:         false,
		`{"detail":"Model x not found"}`:          false,
		`{"message":"x"}`:                         false,
		`{"error":{"code":"DeploymentNotFound"}}`: false,
		`{"error":{"message":"Response with id 'resp_1' not found.","code":null}}`: false,
	} {
		if got := noSuchRoute([]byte(body), "Invalid URL ( is"); got != want {
			t.Errorf("%s: %t", body, got)
		}
	}
}

func TestShownModel(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-4o":              "gpt-4o",
		"us.anthropic.c-v1:0": "us.anthropic.c-v1:0",
		"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.c-v1:0": "us.anthropic.c-v1:0",
		"arn:aws:bedrock:us-east-1::foundation-model/anthropic.c-v1:0:200k":            "anthropic.c-v1:0:200k",
		"arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine":                       "mine",
	} {
		if got := ShownModel(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestWarning(t *testing.T) {
	for want, dropped := range map[string][]string{
		"dropped: seed, tools[0].x, tools[17].x, a??b": {"seed", "tools[0].x", "tools[17].x", "a\r\nb"},
		"dropped: ?????": {"你好\x00\x7f,"},
	} {
		if got := string(warning(dropped)); got != want {
			t.Errorf("%q: %q, want %q", dropped, got, want)
		}
	}
	var many []string
	for i := range 10_000 {
		many = append(many, strings.Repeat("x", 1+i%50))
	}
	if got := warning(many); len(got) > 1100 || !bytes.HasSuffix(got, []byte(" more")) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

const (
	claudeBegins = "data: " + `{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":1000,"output_tokens":1}}}` + "\n\n" +
		"data: " + `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}` + "\n\n"
	claudeSays = "data: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}` + "\n\n"
)

// A stream that nobody reads to its end has its prompt as the provider said, and what was seen of the answer.
func TestUsageOfAStreamThatWasLeft(t *testing.T) {
	stream := claudeBegins + strings.Repeat(claudeSays, 50)
	want := wire.Usage{Prompt: 1000, Completion: 50, Estimated: true}
	if got := translatedOf(strings.NewReader(stream), "anthropic", wire.Chat).drain(4096); got.usage != want {
		t.Errorf("translated: %+v, want %+v", got.usage, want)
	}
	if got := relayOf(strings.NewReader(stream), "Connection: close", wire.Message).drain(4096); got.usage != want {
		t.Errorf("as it is: %+v, want %+v", got.usage, want)
	}
}

// A stop sequence that reads like another protocol's end mark ends nothing.
func TestStopSequenceIsNoEndMark(t *testing.T) {
	stream := role + hello + `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop","stop_reason":"message_stop"}]}` + "\n\n" + counted + done
	got := translatedOf(strings.NewReader(stream), "vllm", wire.Message).drain(4096)
	if want := (wire.Usage{Prompt: 3, Completion: 2}); got.usage != want || !strings.Contains(got.out, `"output_tokens":2`) || !strings.Contains(got.out, `"stop_sequence":"message_stop"`) {
		t.Errorf("%s", got)
	}
}

// silence is a provider that says no more until the time is over, or resets the connection.
type silence struct{ err error }

func (s silence) Read([]byte) (int, error) { return 0, s.err }

func TestEndsAfterTheAnswer(t *testing.T) {
	reset := errors.New("connection reset by peer")
	for name, row := range map[string]struct {
		provider, stream string
		err              error
		told             bool
	}{
		"no end mark, silence":     {"openai", role + hello + stopped + counted, os.ErrDeadlineExceeded, false},
		"no end mark, reset":       {"openai", role + hello + stopped + counted, reset, false},
		"no finish, silence":       {"openai", role + hello, os.ErrDeadlineExceeded, true},
		"no finish, end mark":      {"openai", role + hello + done, io.EOF, true},
		"a newline behind":         {"openai", role + hello + stopped + counted + done + "\n", io.EOF, false},
		"blank lines at the end":   {"openai", role + hello + stopped + counted + "\r\n\r\n\n", io.EOF, false},
		"half an event at the end": {"openai", role + hello + stopped + `data: {"usage`, io.EOF, true},
		"no blank line at the end": {"openai", strings.TrimSuffix(role+hello+stopped, "\n\n"), io.EOF, false},
	} {
		got := translatedOf(io.MultiReader(strings.NewReader(row.stream), silence{row.err}), row.provider, wire.Message).drain(4096)
		if got.told != row.told || strings.Contains(got.out, "event: message_stop") == row.told || got.code != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A request's instructions come back in a stream's first events: that is no endless preamble.
func TestEchoedInstructions(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	stream := `data: {"type":"response.created","response":{"id":"r","instructions":"` + long + `"}}` + "\n\n" +
		`data: {"type":"response.in_progress","response":{"id":"r","instructions":"` + long + `"}}` + "\n\n" +
		`data: {"type":"response.output_text.delta","delta":"a"}` + "\n\n" + `data: {"type":"response.completed","response":{"id":"r"}}` + "\n\n"
	r := relayOf(strings.NewReader(stream), "Connection: close", wire.Response)
	r.preamble += 3 * len(long)
	if got := r.drain(1 << 20); got.code != "" || got.out != stream {
		t.Errorf("%.300s", got)
	}
	request, err := dialect.Read(wire.Response, []byte(`{"model":"m","input":"x","stream":true,"instructions":"`+long+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	tr := translatedOf(strings.NewReader(claudeBegins+claudeSays), "anthropic", wire.Response)
	tr.call.request, tr.call.through.Request = request, request
	tr.writer = tr.call.through.Writer()
	if got := tr.drain(1 << 20); !got.opened || !strings.Contains(got.out, "response.output_text.delta") {
		t.Errorf("translated: %.300s", got)
	}
	if got := translatedOf(strings.NewReader(strings.Repeat("data: {\"type\":\"ping\"}\n\n", 300_000)), "anthropic", wire.Chat).drain(4096); got.opened || got.code != "upstream_error" {
		t.Errorf("pings without end: %.300s", got)
	}
}

// A connection that waits for its next request holds nothing of the last.
func TestForget(t *testing.T) {
	tr := translatedOf(strings.NewReader(claudeBegins+claudeSays), "anthropic", wire.Response)
	call := tr.call
	call.told = tr
	call.told.drain(4096)
	call.Previous = "resp_1"
	call.Forget()
	if call.request != nil || call.Translated() != nil || call.through.Request != nil || call.told.reader != nil || call.told.writer != nil || call.told.in != nil || call.told.out != nil || call.Previous != "" {
		t.Errorf("%+v", call)
	}
	for _, e := range call.told.events[:cap(call.told.events)] {
		if e != (dialect.Event{}) {
			t.Errorf("an event is kept: %+v", e)
		}
	}
}

// An answer without a usage is estimated, also when it is whole.
func TestEstimateOfAWholeAnswer(t *testing.T) {
	a := &dialect.Answer{Blocks: []dialect.Block{{Kind: dialect.Text, Text: strings.Repeat("word ", 100)}, {Kind: dialect.ToolUse, Input: `{"a":"bcd"}`}}}
	if a.Size() != 511 {
		t.Errorf("%d", a.Size())
	}
}
