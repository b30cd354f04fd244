package fakellm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func converseBody(more string) string {
	return `{"messages":[{"role":"user","content":[{"text":"hello there"}]}]` + more + `}`
}

// described is a Bedrock that checks requests against AWS's description of them, where that is at hand.
func described(t *testing.T, o Options) *Server {
	t.Helper()
	o.Kind, o.BedrockModel = Bedrock, filepath.Join(sharedData(t), "bedrock-model", "service-2.json")
	return start(t, o)
}

func TestConverse(t *testing.T) {
	s := start(t, Options{Kind: Bedrock, Default: Plan{Cached: 2, Written: 1, Thinking: "hm", Tokens: 3}})
	got := post(t, s, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
		converseBody(`,"additionalModelResponseFieldPaths":["/stop_sequence"]`))
	want(t, "status", got.status, 200)
	want(t, "thought", got.get("output.message.content.0.reasoningContent.reasoningText").Raw, `{"signature":"`+signed("hm")+`","text":"hm"}`)
	want(t, "text", len(strings.Fields(got.get("output.message.content.1.text").Str)), 3)
	want(t, "stop", got.get("stopReason").Str, "end_turn")
	want(t, "fields", got.get("additionalModelResponseFields").Raw, `{"stop_sequence":null}`)
	want(t, "usage", got.get("usage").Raw, `{"cacheReadInputTokens":2,"cacheWriteInputTokens":1,"inputTokens":3,"outputTokens":4,"serverToolUsage":{},"totalTokens":10}`)
	want(t, "latency", got.get("metrics.latencyMs").Exists(), true)
	seen := s.WaitDone(1, patience)[0]
	want(t, "model", seen.Model, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0")
	want(t, "billed", seen.Billed, Usage{Prompt: 6, Completion: 4, Cached: 2, Reasoning: 1, Total: 10})
	want(t, "plan in the path", post(t, s, "/model/fake%3Ftokens=1/converse", converseBody("")).get("usage.outputTokens").Int(), 2)
	want(t, "no such operation", post(t, s, "/model/fake/invoke", "{}").header.Get("x-amzn-ErrorType"), "UnknownOperationException:http://internal.amazon.com/coral/com.amazon.bedrock/")
	want(t, "unescaped slash", post(t, s, "/model/a/b/converse", converseBody("")).status, 404)
	want(t, "count", post(t, s, "/model/fake/count-tokens", `{"input":{"converse":`+converseBody("")+`}}`).body, `{"inputTokens":6}`)
}

// TestConverseClaudeChoice takes Claude's own choice of tools, for which Converse has no words.
func TestConverseClaudeChoice(t *testing.T) {
	s := start(t, Options{Kind: Bedrock})
	tools := `,"toolConfig":{"tools":[` + specOf("a") + `,` + specOf("b") + `]}`
	for choice, names := range map[string]string{
		`{"type":"any"}`: `["a","b"]`, `{"type":"any","disable_parallel_tool_use":true}`: `["a"]`,
		`{"type":"tool","name":"b"}`: `["b"]`, `{"type":"none"}`: `[]`, `{"type":"auto"}`: `[]`,
	} {
		got := post(t, s, "/model/fake/converse", converseBody(tools+`,"additionalModelRequestFields":{"tool_choice":`+choice+`}`))
		want(t, choice, got.get("output.message.content.#.toolUse.name").Raw, names)
	}
	got := post(t, s, "/model/fake/converse", converseBody(tools+`,"additionalModelRequestFields":{"tool_choice":{"type":"tool","name":"g"}}`))
	want(t, "unknown tool", got.status, 400)
}

// frames takes a stream apart, by rules of its own.
func frames(t testing.TB, raw string) (names, payloads []string) {
	t.Helper()
	for b := []byte(raw); len(b) > 0; {
		n, head := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		want(t, "prelude CRC", binary.BigEndian.Uint32(b[8:]), crc32.ChecksumIEEE(b[:8]))
		want(t, "CRC", binary.BigEndian.Uint32(b[n-4:]), crc32.ChecksumIEEE(b[:n-4]))
		field := map[string]string{}
		for h := b[12 : 12+head]; len(h) > 0; {
			name := string(h[1 : 1+h[0]])
			h = h[1+h[0]:]
			want(t, "type of "+name, h[0], 7)
			size := binary.BigEndian.Uint16(h[1:])
			field[name], h = string(h[3:3+size]), h[3+size:]
		}
		want(t, "content type", field[":content-type"], "application/json")
		names = append(names, field[":"+field[":message-type"]+"-type"])
		payloads = append(payloads, string(b[12+head:n-4]))
		b = b[n:]
	}
	return names, payloads
}

func TestConverseStream(t *testing.T) {
	s := start(t, Options{Kind: Bedrock, Default: Plan{Thinking: "so so", Text: "one two", Tools: []Call{{ID: "t1", Name: "f", Input: `{"a":1}`}}}})
	got := post(t, s, "/model/fake/converse-stream", converseBody(""))
	want(t, "type", got.header.Get("content-type"), "application/vnd.amazon.eventstream")
	names, payloads := frames(t, got.body)
	want(t, "events", strings.Join(names, " "), "messageStart contentBlockDelta contentBlockDelta contentBlockDelta contentBlockStop"+
		" contentBlockDelta contentBlockDelta contentBlockStop contentBlockStart contentBlockDelta contentBlockDelta contentBlockStop messageStop metadata")
	want(t, "signature", gjson.Get(payloads[3], "delta.reasoningContent.signature").Str, signed("so so"))
	want(t, "call", gjson.Get(payloads[8], "start.toolUse").Raw, `{"name":"f","toolUseId":"t1"}`)
	want(t, "input", gjson.Get(payloads[9], "delta.toolUse.input").Str, `{"a"`)
	want(t, "index", gjson.Get(payloads[11], "contentBlockIndex").Int(), 2)
	want(t, "stop", gjson.Get(payloads[12], "stopReason").Str, "tool_use")
	want(t, "usage", gjson.Get(payloads[13], "usage.outputTokens").Int(), 7)
	seen := s.WaitDone(1, patience)[0]
	want(t, "billed", seen.Billed, Usage{Prompt: 6, Completion: 7, Reasoning: 2, Total: 13})
	want(t, "stream", seen.Stream, true)
}

func TestBedrockFaults(t *testing.T) {
	s := start(t, Options{Kind: Bedrock})
	stream := func(plan string) reply {
		return post(t, s, "/model/fake%3F"+strings.ReplaceAll(plan, "&", "%26")+"/converse-stream", converseBody(""))
	}
	for plan, last := range map[string]string{
		"fault=error-first&fault_as=429": "throttlingException", "fault=error-mid": "internalServerException", "fault=error-mid&fault_as=424": "modelStreamErrorException",
		"fault=error-mid&fault_as=503": "serviceUnavailableException", "fault=error-mid&fault_as=400": "validationException",
		"fault=no-done": "contentBlockStop", "fault=garbage-events": "messageStop",
	} {
		got := stream(plan)
		names, _ := frames(t, got.body)
		want(t, plan, got.status, 200)
		want(t, plan, names[len(names)-1], last)
	}
	got := stream("fault=cut")
	want(t, "cut", got.err, io.ErrUnexpectedEOF)
	all := splitFrames([]byte(got.body))
	_, err := frameLength(all[len(all)-1])
	want(t, "within a frame", errors.Is(err, errNoFrame), true)
	for plan, prelude := range map[string]bool{"fault=bad-crc": true, "fault=bad-prelude": false} {
		all := splitFrames([]byte(stream(plan).body))
		last := all[len(all)-1] // what cannot be split, to the end
		n := binary.BigEndian.Uint32(last)
		want(t, plan+" good frames", len(all), 10)
		want(t, plan+" prelude", binary.BigEndian.Uint32(last[8:]) == crc32.ChecksumIEEE(last[:8]), prelude)
		want(t, plan+" message", binary.BigEndian.Uint32(last[n-4:]) == crc32.ChecksumIEEE(last[:n-4]), !prelude)
	}
	want(t, "whole", post(t, s, "/model/fake%3Ffault=error-first/converse", converseBody("")).status, 500)
	got = stream("fault=429&retry_after=2")
	want(t, "429", got.header.Get("x-amzn-ErrorType"), "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/")
	want(t, "message", got.body, `{"message":"Too many requests, please wait before trying again."}`)
}

func TestBedrockStrict(t *testing.T) {
	s := described(t, Options{})
	user := `{"role":"user","content":[{"text":"x"}]}`
	said := func(all string) string {
		return `{"messages":[` + all + `],"toolConfig":{"tools":[` + specOf("f") + `]}}`
	}
	call := `{"role":"assistant","content":[{"toolUse":{"toolUseId":"t1","name":"f","input":{}}},{"toolUse":{"toolUseId":"t2","name":"f","input":{}}}]}`
	result := func(id string) string { return `{"toolResult":{"toolUseId":"` + id + `","content":[{"text":""}]}}` }
	thinking := func(budget, more string) string {
		return converseBody(`,"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":` + budget + `}}` + more)
	}
	model := "The model returned the following errors: "
	for _, c := range []struct{ body, message string }{
		{`[`, "Unexpected token"},
		{`{"messages":"x"}`, "STRING_VALUE at 'messages' can not be converted to list"},
		{`{"messages":[{"role":"user"}]}`, "1 validation error detected: Value null at 'messages.1.member.content' failed to satisfy constraint: Member must not be null"},
		{`{"messages":[{"role":"robot","content":[{"text":"x"}]}]}`, "1 validation error detected: Value 'robot' at 'messages.1.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant"},
		{converseBody(`,"inferenceConfig":{"temperature":1.5}`), "1 validation error detected: Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1"},
		{converseBody(`,"inferenceConfig":{"maxTokens":0}`), "1 validation error detected: Value '0' at 'inferenceConfig.maxTokens'"},
		{converseBody(`,"inferenceConfig":{"stopSequences":[""]}`), "1 validation error detected: Value '' at 'inferenceConfig.stopSequences.1.member'"},
		{converseBody(`,"stream":true`), "Malformed input request: #/: extraneous key [stream] is not permitted"},
		{converseBody(`,"modelId":"x"`), "Malformed input request: #/: extraneous key [modelId] is not permitted"},
		{converseBody(`,"toolConfig":{"tools":[]}`), "1 validation error detected: Value '[]' at 'toolConfig.tools'"},
		{converseBody(`,"toolConfig":{"tools":[` + specOf("a.b") + `]}`), "1 validation error detected: Value 'a.b' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"},
		{converseBody(`,"toolConfig":{"tools":[` + specOf(strings.Repeat("a", 65)) + `]}`), "1 validation error detected: Value 'aaa"},
		{converseBody(`,"toolConfig":{"tools":[` + specOf("f") + `],"toolChoice":{"any":{},"auto":{}}}`), "The union at 'toolConfig.toolChoice' must have exactly one member set, it has 2."},
		{converseBody(`,"toolConfig":{"tools":[` + specOf("f") + `],"toolChoice":{"tool":{"name":"g"}}}`), "The tool g in toolConfig.toolChoice.tool is not defined"},
		{converseBody(`,"toolConfig":{"tools":[` + specOf("f") + `,` + specOf("f") + `]}`), "The tool f is already defined at toolConfig.tools.0."},
		{converseBody(`,"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}]}`), "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."},
		{converseBody(`,"requestMetadata":{"a":"ü"}`), "1 validation error detected: Value 'ü' at 'requestMetadata.a.member'"},
		{said(`{"role":"user","content":[{"image":{"format":"bmp","source":{"bytes":"eA=="}}}]}`), "1 validation error detected: Value 'bmp'"},
		{said(`{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"%"}}}]}`), "Invalid base64 at 'messages.1.member.content.1.member.image.source.bytes'"},
		{said(`{"role":"user","content":[{}]}`), "The union at 'messages.1.member.content.1.member' must have exactly one member set, it has 0."},
		{`{}`, "A conversation must start with a user message."},
		{said(`{"role":"assistant","content":[{"text":"x"}]}`), "A conversation must start with a user message."},
		{said(user + `,` + user), "A conversation must alternate between user and assistant roles."},
		{said(`{"role":"user","content":[]}`), "The content field in the Message object at messages.0 is empty."},
		{said(`{"role":"user","content":[{"text":" "}]}`), "The text field in the ContentBlock object at messages.0.content.0 is blank."},
		{said(`{"role":"user","content":[{"text":"x"},{"document":{"name":"a.pdf","format":"pdf","source":{"bytes":"eA=="}}}]}`), "The file name at messages.0.content.1.document.name"},
		{said(`{"role":"user","content":[{"document":{"name":"a (1)","format":"pdf","source":{"bytes":"eA=="}}}]}`), "A text block must be included"},
		{`{"messages":[` + user + `,` + call + `]}`, "The toolConfig field must be defined when using toolUse and toolResult content blocks."},
		{said(user + `,` + strings.Replace(call, `"input":{}`, `"input":"{}"`, 1)), "The format of the value at messages.1.content.0.toolUse.input is invalid."},
		{said(user + `,` + call + `,{"role":"user","content":[` + result("t2") + `]}`), "Expected toolResult blocks at messages.2.content for the following Ids: t1"},
		{said(user + `,` + call + `,` + user), "Expected toolResult blocks at messages.2.content for the following Ids: t1, t2"},
		{said(`{"role":"user","content":[` + result("t2") + `]}`), "The number of toolResult blocks at messages.0.content exceeds the number of toolUse blocks of previous turn."},
		{said(user + `,` + call + `,{"role":"user","content":[{"text":"x"},` + result("t1") + `,` + result("t2") + `]}`), model + "messages.1: `tool_use` ids were found without"},
		{thinking("100", ""), model + "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"},
		{thinking("2000", `,"inferenceConfig":{"maxTokens":2000}`), model + "`max_tokens` must be greater than `thinking.budget_tokens`."},
		{thinking("5000", ``), model + "`max_tokens` must be greater than `thinking.budget_tokens`."},
		{thinking("2000", `,"inferenceConfig":{"temperature":0}`), model + "`temperature` may only be set to 1"},
		{converseBody(`,"additionalModelRequestFields":{"xyz":1}`), model + "xyz: Extra inputs are not permitted"},
		{said(user + `,{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"no"}}},{"text":"x"}]},` + user), model + "messages.1.content.0: Invalid `signature` in `thinking` block"},
		{said(user + `,{"role":"assistant","content":[{"text":"x "}]}`), model + "messages: final assistant content cannot end with trailing whitespace"},
	} {
		got := post(t, s, "/model/fake/converse", c.body)
		if got.status != 400 || !strings.HasPrefix(got.get("message").Str, c.message) || got.header.Get("x-amzn-ErrorType") == "" {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.body, got.status, got.body, c.message)
		}
	}
	want(t, "answered", post(t, s, "/model/fake/converse", said(user+`,`+call+`,{"role":"user","content":[`+result("t2")+`,`+result("t1")+`,{"text":"so?"}]}`)).status, 200)
	want(t, "another vendor's fields", post(t, s, "/model/amazon.nova-pro-v1:0/converse", converseBody(`,"additionalModelRequestFields":{"xyz":1}`)).status, 200)
	want(t, "id", post(t, s, "/model/a%20b/converse", converseBody("")).get("message").Str != "", true)
	want(t, "unknown model", post(t, s, "/model/unknown-x/converse", converseBody("")).get("message").Str, "The provided model identifier is invalid.")
	want(t, "count", post(t, s, "/model/fake/count-tokens", `{"input":{}}`).get("message").Str, "The union at 'input' must have exactly one member set, it has 0.")
}

func specOf(name string) string {
	return `{"toolSpec":{"name":"` + name + `","inputSchema":{"json":{"type":"object","properties":{"city":{"type":"string"}}}}}}`
}

func TestBedrockBearer(t *testing.T) {
	s := start(t, Options{Kind: Bedrock, APIKey: "abc"})
	want(t, "good", post(t, s, "/model/fake/converse", converseBody(""), "authorization: Bearer abc").status, 200)
	for header, kind := range map[string]string{"authorization: Bearer x": "AccessDeniedException", "accept: */*": "MissingAuthenticationTokenException",
		"authorization: AWS4-HMAC-SHA256 Credential=a": "UnrecognizedClientException"} {
		got := post(t, s, "/model/fake/converse", converseBody(""), header)
		want(t, header, got.status, 403)
		want(t, header, strings.HasPrefix(got.header.Get("x-amzn-ErrorType"), kind+":"), true)
	}
}

// TestEventStreamVectors are AWS's own good and corrupt frames.
func TestEventStreamVectors(t *testing.T) {
	for folder, good := range map[string]bool{"positive": true, "negative": false} {
		dir := filepath.Join(sharedData(t), "eventstream-vectors", "encoded", folder)
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			n, err := frameLength(raw)
			want(t, f.Name(), err == nil && n == len(raw), good)
		}
	}
}

// TestSignatureVectors are AWS's own requests, of which this signs the canonical form.
func TestSignatureVectors(t *testing.T) {
	root := filepath.Join(sharedData(t), "sigv4-testsuite")
	files, err := filepath.Glob(filepath.Join(root, "*", "*.authz"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, authz := range files {
		read := func(ending string) string {
			raw, err := os.ReadFile(strings.TrimSuffix(authz, ".authz") + ending)
			if err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(string(raw), "\r", "")
		}
		s, wrong := signatureIn(read(".authz"))
		if wrong != nil {
			t.Fatal(authz, wrong)
		}
		s.at = strings.Split(read(".sts"), "\n")[1]
		want(t, filepath.Base(authz), s.sign("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", read(".creq")), s.value)
	}
}

func TestFramesOf(t *testing.T) {
	b := framesOf([][]byte{[]byte(`{"messageStart":{"role":"assistant"}}`), []byte(`{"throttlingException":{"message":"x"}}`)})
	names, payloads := frames(t, string(b))
	want(t, "names", strings.Join(names, " "), "messageStart throttlingException")
	want(t, "payload", payloads[0], `{"role":"assistant"}`)
	want(t, "lines", string(unframed(b)), payloads[0]+"\n"+payloads[1]+"\n")
	if joined := bytes.Join(splitFrames(append(b, 'x')), nil); !bytes.Equal(joined, append(b, 'x')) {
		t.Errorf("split lost bytes: %q", joined)
	}
}
