package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// A conversation of ten turns, with several tool calls in most of them and thoughts before all, through every pair of a
// client's dialect and a provider's. The providers are strict: a call without its result, a thought whose signature is not
// theirs, or an order of messages that they do not know is a 400.

const conversationConfig = `
providers:
  openai: {kind: openai, base_url: "http://${openai}/v1", api_key: "${UPSTREAM_KEY}"}
  azure: {kind: azure, base_url: "http://${azure}", api_key: "${UPSTREAM_KEY}", responses: chat}
  vllm: {kind: vllm, base_url: "http://${vllm}", api_key: "${UPSTREAM_KEY}", responses: chat}
  anthropic: {kind: anthropic, base_url: "http://${anthropic}", api_key: "${UPSTREAM_KEY}"}
  bedrock: {kind: bedrock, region: us-east-1, base_url: "http://${bedrock}", api_key: "${UPSTREAM_KEY}"}
models:
  openai: {targets: [{provider: openai, model: gpt-5.2}]}
  azure: {targets: [{provider: azure, model: gpt-5.2}]}
  vllm: {targets: [{provider: vllm, model: openai/gpt-oss-20b}]}
  anthropic: {targets: [{provider: anthropic, model: claude-sonnet-4-5-20250929}]}
  bedrock: {targets: [{provider: bedrock, model: "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`

// toolCall is one call as the client sees it, its input in canonical form.
type toolCall struct{ id, name, input string }

// planned are the tools that the model calls in each turn; after the last it says farewell.
func planned() (turns [][]fakellm.Call) {
	inputs := []string{
		`{}`, `{"city":"上海","unit":"celsius"}`, `{"query":"it's \"quoted\" \\ and\nbroken","n":[1,2.5,-3e10,null,true]}`,
		`{"deep":{"a":{"b":[{"c":"😀"}]}}}`, `{"amount":12345678901234567890}`, `{"html":"<b>&amp;</b>","empty":""}`,
	}
	for turn := range 10 {
		var calls []fakellm.Call
		for n := range 1 + turn%3 {
			calls = append(calls, fakellm.Call{Name: []string{"get_weather", "search-web"}[n%2], Input: inputs[(turn+n)%len(inputs)]})
		}
		turns = append(turns, calls)
	}
	return turns
}

const farewell = "That is all. 再见"

// speaker is a client of one dialect in the middle of a conversation.
type speaker interface {
	// request is the body of the next turn.
	request() map[string]any
	// hear takes the answer in, whole or as events, and gives the calls or the text in it.
	hear(body []byte, stream bool) (calls []toolCall, text string)
	// tell puts the results of the calls into the conversation.
	tell(results map[string]string, order []toolCall)
}

func TestConversations(t *testing.T) {
	servers := map[string]*fakellm.Server{}
	config := strings.NewReplacer("${KEY}", tenantKey, "${UPSTREAM_KEY}", upstreamKey).Replace(conversationConfig)
	for _, kind := range []fakellm.Kind{fakellm.OpenAI, fakellm.Azure, fakellm.VLLM, fakellm.Anthropic, fakellm.Bedrock} {
		s, err := fakellm.Start(fakellm.Options{Kind: kind, APIKey: upstreamKey, LogBodies: true, BedrockModel: bedrockModel(kind)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[string(kind)] = s
		config = strings.ReplaceAll(config, "${"+string(kind)+"}", strings.TrimPrefix(s.URL(), "http://"))
	}
	g := start(t, config)
	speakers := map[string]func(model string, stream bool) speaker{
		"chat":      func(model string, stream bool) speaker { return &chatSpeaker{model: model, stream: stream} },
		"messages":  func(model string, stream bool) speaker { return &messagesSpeaker{model: model, stream: stream} },
		"responses": func(model string, stream bool) speaker { return &responsesSpeaker{model: model, stream: stream} },
		"responses linked": func(model string, stream bool) speaker {
			return &responsesSpeaker{model: model, stream: stream, linked: true}
		},
	}
	paths := map[string]string{"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses", "responses linked": "/v1/responses"}
	for kind, server := range servers {
		for dialect, begin := range speakers {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/stream=%t", dialect, kind, stream), func(t *testing.T) {
					thoughts := converse(t, g, server, paths[dialect], begin(kind, stream), stream)
					if (kind == "anthropic" || kind == "bedrock") && thoughts != len(planned()) {
						t.Errorf("the provider got %d of its thoughts back, expected %d", thoughts, len(planned()))
					}
				})
			}
		}
	}
}

// converse holds the conversation and returns how many signed thoughts the provider saw in the last request.
func converse(t *testing.T, g *running, server *fakellm.Server, path string, s speaker, stream bool) int {
	t.Helper()
	for turn, want := range append(planned(), nil) {
		plan := fakellm.Plan{Thinking: fmt.Sprintf("Turn %d: 想一想…", turn), Tools: want}
		if want == nil {
			plan = fakellm.Plan{Text: farewell, Thinking: "Done."}
		}
		server.SetPlan(func(*fakellm.Seen) fakellm.Plan { return plan })
		body, err := json.Marshal(s.request())
		if err != nil {
			t.Fatal(err)
		}
		status, answer := post(t, g, path, body)
		if status != 200 {
			t.Fatalf("turn %d: %d %s\nfor %s", turn, status, answer, body)
		}
		calls, text := s.hear(answer, stream)
		if want == nil {
			if text != farewell || len(calls) > 0 {
				t.Fatalf("the last turn says %q and calls %v: %s", text, calls, answer)
			}
			break
		}
		results := map[string]string{}
		if len(calls) != len(want) {
			t.Fatalf("turn %d: %d calls, expected %d: %s", turn, len(calls), len(want), answer)
		}
		for i, c := range calls {
			if c.name != want[i].Name || c.input != canonical(t, want[i].Input) {
				t.Fatalf("turn %d: call %d is %s(%s), expected %s(%s)", turn, i, c.name, c.input, want[i].Name, want[i].Input)
			}
			results[c.id] = fmt.Sprintf("result %d of turn %d: 晴", i, turn)
		}
		s.tell(results, calls)
	}
	seen := server.Seen()
	last := seen[len(seen)-1].Body
	checkHistory(t, last)
	return bytes.Count(last, []byte(`"signature"`))
}

// checkHistory looks for every input and every result in what the provider was sent last.
func checkHistory(t *testing.T, body []byte) {
	t.Helper()
	if gjson.GetBytes(body, "previous_response_id").Exists() {
		return // the provider knows the rest
	}
	flat := strings.ReplaceAll(string(body), `\"`, `"`)
	for turn, calls := range planned() {
		for i := range calls {
			if !strings.Contains(flat, fmt.Sprintf("result %d of turn %d: 晴", i, turn)) {
				t.Errorf("result %d of turn %d is lost: %s", i, turn, body)
			}
		}
	}
	if n := strings.Count(flat, "上海"); n != strings.Count(fmt.Sprint(planned()), "上海") {
		t.Errorf("%d of the inputs with Shanghai came back", n)
	}
}

func post(t *testing.T, g *running, path string, body []byte) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+g.api+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tenantKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, answer
}

// canonical is JSON with its numbers as they are and its keys in order.
func canonical(t *testing.T, text string) string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// dataOf gives the data of each event of a stream.
func dataOf(stream []byte) (list []gjson.Result) {
	for len(stream) > 0 {
		end, _ := wire.EventEnd(stream, 0)
		if end == 0 {
			break
		}
		if data := wire.EventData(stream[:end]); data != nil && !wire.IsDone(data) {
			list = append(list, gjson.ParseBytes(data))
		}
		stream = stream[end:]
	}
	return list
}

var weatherTools = []string{"get_weather", "search-web"}

const anySchema = `{"type":"object","properties":{},"additionalProperties":true}`

type chatSpeaker struct {
	model    string
	stream   bool
	messages []any
}

func (s *chatSpeaker) request() map[string]any {
	if s.messages == nil {
		s.messages = []any{map[string]any{"role": "system", "content": "Be brief."}, map[string]any{"role": "user", "content": "你好"}}
	}
	var tools []any
	for _, name := range weatherTools {
		tools = append(tools, map[string]any{"type": "function", "function": map[string]any{"name": name, "parameters": json.RawMessage(anySchema)}})
	}
	return map[string]any{"model": s.model, "messages": s.messages, "tools": tools, "stream": s.stream, "reasoning_effort": "medium", "max_completion_tokens": 16000}
}

func (s *chatSpeaker) hear(body []byte, stream bool) (calls []toolCall, text string) {
	message := gjson.GetBytes(body, "choices.0.message")
	if stream {
		message = gjson.Parse(gathered(body))
	}
	s.messages = append(s.messages, json.RawMessage(message.Raw))
	for _, c := range message.Get("tool_calls").Array() {
		calls = append(calls, toolCall{c.Get("id").Str, c.Get("function.name").Str, normal(c.Get("function.arguments").Str)})
	}
	return calls, message.Get("content").Str
}

// gathered is the message that the chunks of a stream add up to.
func gathered(stream []byte) string {
	text, reasoning := "", ""
	var calls []map[string]any
	var details []any
	for _, chunk := range dataOf(stream) {
		delta := chunk.Get("choices.0.delta")
		text += delta.Get("content").Str
		reasoning += delta.Get("reasoning_content").Str
		for _, d := range delta.Get("reasoning_details").Array() {
			details = merged(details, d)
		}
		for _, c := range delta.Get("tool_calls").Array() {
			i := int(c.Get("index").Int())
			for len(calls) <= i {
				calls = append(calls, map[string]any{"type": "function", "function": map[string]any{"name": "", "arguments": ""}})
			}
			if id := c.Get("id").Str; id != "" {
				calls[i]["id"] = id
			}
			f := calls[i]["function"].(map[string]any)
			f["name"] = f["name"].(string) + c.Get("function.name").Str
			f["arguments"] = f["arguments"].(string) + c.Get("function.arguments").Str
		}
	}
	message := map[string]any{"role": "assistant", "content": text}
	if calls != nil {
		message["tool_calls"] = calls
	}
	if details != nil {
		message["reasoning_details"] = details
	}
	out, err := json.Marshal(message)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(out)
}

// merged adds a delta of a reasoning detail to those that a client has: texts of one index are joined.
func merged(details []any, d gjson.Result) []any {
	for _, known := range details {
		have := known.(map[string]any)
		if have["index"] == d.Get("index").Value() && have["type"] == d.Get("type").Str {
			have["text"] = fmt.Sprint(orEmpty(have["text"]), d.Get("text").Str)
			if s := d.Get("signature").Str; s != "" {
				have["signature"] = fmt.Sprint(orEmpty(have["signature"]), s)
			}
			return details
		}
	}
	return append(details, d.Value())
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

func (s *chatSpeaker) tell(results map[string]string, order []toolCall) {
	for _, c := range order {
		s.messages = append(s.messages, map[string]any{"role": "tool", "tool_call_id": c.id, "content": results[c.id]})
	}
}

type messagesSpeaker struct {
	model    string
	stream   bool
	messages []any
}

func (s *messagesSpeaker) request() map[string]any {
	if s.messages == nil {
		s.messages = []any{map[string]any{"role": "user", "content": "你好"}}
	}
	var tools []any
	for _, name := range weatherTools {
		tools = append(tools, map[string]any{"name": name, "input_schema": json.RawMessage(anySchema)})
	}
	return map[string]any{"model": s.model, "system": "Be brief.", "messages": s.messages, "tools": tools, "stream": s.stream, "max_tokens": 16000,
		"thinking": map[string]any{"type": "enabled", "budget_tokens": 8000}}
}

func (s *messagesSpeaker) hear(body []byte, stream bool) (calls []toolCall, text string) {
	content := gjson.GetBytes(body, "content")
	if stream {
		content = gjson.Parse(blocksOf(body))
	}
	s.messages = append(s.messages, map[string]any{"role": "assistant", "content": json.RawMessage(content.Raw)})
	for _, b := range content.Array() {
		switch b.Get("type").Str {
		case "tool_use":
			calls = append(calls, toolCall{b.Get("id").Str, b.Get("name").Str, normal(b.Get("input").Raw)})
		case "text":
			text += b.Get("text").Str
		}
	}
	return calls, text
}

// blocksOf is the content that the events of a stream add up to.
func blocksOf(stream []byte) string {
	var blocks []map[string]any
	inputs := map[int]string{}
	for _, ev := range dataOf(stream) {
		i := int(ev.Get("index").Int())
		switch d := ev.Get("delta"); ev.Get("type").Str + " " + d.Get("type").Str {
		case "content_block_start ":
			if i != len(blocks) {
				panic(fmt.Sprintf("block %d after %d others", i, len(blocks)))
			}
			blocks = append(blocks, ev.Get("content_block").Value().(map[string]any))
		case "content_block_delta text_delta":
			blocks[i]["text"] = blocks[i]["text"].(string) + d.Get("text").Str
		case "content_block_delta thinking_delta":
			blocks[i]["thinking"] = blocks[i]["thinking"].(string) + d.Get("thinking").Str
		case "content_block_delta signature_delta":
			blocks[i]["signature"] = d.Get("signature").Str
		case "content_block_delta input_json_delta":
			inputs[i] += d.Get("partial_json").Str
		}
	}
	for i, in := range inputs {
		if in != "" {
			blocks[i]["input"] = json.RawMessage(in)
		}
	}
	out, err := json.Marshal(blocks)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func (s *messagesSpeaker) tell(results map[string]string, order []toolCall) {
	var blocks []any
	for _, c := range order {
		blocks = append(blocks, map[string]any{"type": "tool_result", "tool_use_id": c.id, "content": results[c.id]})
	}
	s.messages = append(s.messages, map[string]any{"role": "user", "content": blocks})
}

// responsesSpeaker sends all items with each request, or if linked only the new ones and the id of the response before.
type responsesSpeaker struct {
	model          string
	stream, linked bool
	items          []any
	previous       string
}

func (s *responsesSpeaker) request() map[string]any {
	if s.items == nil {
		s.items = []any{map[string]any{"role": "user", "content": "你好"}}
	}
	var tools []any
	for _, name := range weatherTools {
		tools = append(tools, map[string]any{"type": "function", "name": name, "parameters": json.RawMessage(anySchema), "strict": false})
	}
	body := map[string]any{"model": s.model, "instructions": "Be brief.", "input": s.items, "tools": tools, "stream": s.stream,
		"reasoning": map[string]any{"effort": "medium"}, "max_output_tokens": 16000}
	switch {
	case !s.linked:
		body["store"], body["include"] = false, []string{"reasoning.encrypted_content"}
	case s.previous != "":
		body["previous_response_id"] = s.previous
	}
	return body
}

func (s *responsesSpeaker) hear(body []byte, stream bool) (calls []toolCall, text string) {
	response := gjson.ParseBytes(body)
	if stream {
		for _, ev := range dataOf(body) {
			if ev.Get("type").Str == "response.completed" {
				response = ev.Get("response")
			}
		}
	}
	s.previous = response.Get("id").Str
	if s.linked {
		s.items = []any{}
	}
	for _, item := range response.Get("output").Array() {
		if !s.linked {
			s.items = append(s.items, json.RawMessage(item.Raw))
		}
		switch item.Get("type").Str {
		case "function_call":
			calls = append(calls, toolCall{item.Get("call_id").Str, item.Get("name").Str, normal(item.Get("arguments").Str)})
		case "message":
			for _, part := range item.Get("content").Array() {
				text += part.Get("text").Str
			}
		}
	}
	return calls, text
}

func (s *responsesSpeaker) tell(results map[string]string, order []toolCall) {
	for _, c := range order {
		s.items = append(s.items, map[string]any{"type": "function_call_output", "call_id": c.id, "output": results[c.id]})
	}
}

// normal is canonical for what the gateway answered: what is not JSON stays as it is, to be seen.
func normal(text string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || reflect.TypeOf(v) == nil {
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(out)
}

// bedrockModel is AWS's description of its service, against which the simulation checks requests, where it lies beside the
// repository.
func bedrockModel(kind fakellm.Kind) string {
	shared := cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "..", "shared"))
	path := filepath.Join(shared, "data", "bedrock-model", "service-2.json")
	if _, err := os.Stat(path); err != nil || kind != fakellm.Bedrock {
		return ""
	}
	return path
}
