package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// What Anthropic and Bedrock really answered goes through the gateway to clients of every dialect: the same texts, the same
// tool calls, the provider's own usage; whole and one byte at a time.

const translatedConfig = `
providers:
  claude: {kind: anthropic, base_url: "http://${UPSTREAM}", api_key: "${UPSTREAM_KEY}"}
  aws: {kind: bedrock, region: us-east-1, base_url: "http://${UPSTREAM}", api_key: "${UPSTREAM_KEY}"}
models:
  from-anthropic: {targets: [{provider: claude, model: claude-sonnet-4-5}]}
  from-amazon-bedrock: {targets: [{provider: aws, model: us.anthropic.claude-sonnet-4-5-20250929-v1:0}]}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}]}
`

// said is what an answer says, whatever its dialect.
type said struct {
	text  string
	calls []string // name and canonical input
}

func (s said) String() string { return fmt.Sprintf("%q %q", s.text, s.calls) }

func TestRecordingsTranslated(t *testing.T) {
	g, u := withUpstream(t, translatedConfig)
	bodies := map[string]string{
		"chat/completions": `{"model":"%s","messages":[{"role":"user","content":"confidential"}],"stream":%t,"stream_options":{"include_usage":true}}`,
		"messages":         `{"model":"%s","max_tokens":1000,"messages":[{"role":"user","content":"confidential"}],"stream":%t}`,
		"responses":        `{"model":"%s","input":"confidential","stream":%t,"store":false}`,
	}
	type settled struct {
		name, id string
		usage    fakellm.Usage
	}
	var lines []settled
	exchanges := 0
	for _, folder := range []string{"anthropic", "amazon-bedrock"} {
		all, err := fakellm.LoadFixtures(filepath.Join(sharedData(t), "provider-fixtures", folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, ex := range all {
			if strings.Contains(ex.Name, "/") {
				continue // other APIs
			}
			exchanges++
			spliced := strings.Contains(ex.Name, "spliced") // two answers in one: goes as it is, or is an error
			var want said
			if !spliced {
				want = heard(t, folder, ex)
			}
			for endpoint, body := range bodies {
				name := fmt.Sprintf("%s/%s/stream=%t/%s", folder, ex.Name, ex.Stream, endpoint)
				t.Run(name, func(t *testing.T) {
					for _, m := range []manner{{name: "whole"}, {name: "bytewise", bytewise: true}} {
						u.scriptIn(m, (&recording{Exchange: ex}).reply())
						c := g.dial(t)
						a := c.do(rawPost(endpoint, "application/json", fmt.Sprintf(body, "from-"+folder, ex.Stream)))
						c.Close()
						if a.status != 200 || a.cut {
							t.Fatalf("%s: %v", m.name, a)
						}
						if failed := strings.Contains(a.body, `"upstream_error"`) || strings.Contains(a.body, `"response.failed"`); failed != (spliced && endpoint != "messages") || spliced && !failed && a.body != string(ex.Body) {
							t.Fatalf("%s: failed %t: %v", m.name, failed, a)
						}
						if spliced {
							continue
						}
						if got := understood(t, endpoint, ex.Stream, []byte(a.body)); got.String() != want.String() {
							t.Errorf("%s: the client heard\n%.500s\nwant\n%.500s\nin %.500s", m.name, got, want, a.body)
						}
						lines = append(lines, settled{name, a.header.Get("X-Request-Id"), ex.Usage})
					}
				})
			}
		}
	}
	for _, s := range lines {
		line := g.access(s.id)
		if got := (fakellm.Usage{Prompt: int(line.Get("prompt_tokens").Int()), Completion: int(line.Get("completion_tokens").Int())}); !line.Get("estimated").Bool() &&
			(got.Prompt != s.usage.Prompt || got.Completion != s.usage.Completion) {
			t.Errorf("%s: usage %+v, want %+v: %s", s.name, got, s.usage, line.Raw)
		}
	}
	t.Logf("translated %d recorded exchanges for clients of 3 dialects, whole and byte by byte", exchanges)
	if exchanges < 80 {
		t.Error("some of the recorded traffic is missing")
	}
}

// heard reads a recorded answer without any of the gateway's code.
func heard(t *testing.T, folder string, ex fakellm.Exchange) (s said) {
	t.Helper()
	var blocks []gjson.Result
	switch {
	case folder == "anthropic" && ex.Stream:
		blocks = gjson.Parse(blocksOf(ex.Body)).Array()
	case folder == "anthropic":
		blocks = gjson.GetBytes(ex.Body, "content").Array()
	case ex.Stream:
		return heardFrames(ex.Payloads)
	default:
		for _, b := range gjson.GetBytes(ex.Body, "output.message.content").Array() {
			s.text += b.Get("text").Str
			if call := b.Get("toolUse"); call.Exists() {
				s.calls = append(s.calls, call.Get("name").Str+normal(call.Get("input").Raw))
			}
		}
		return s
	}
	for _, b := range blocks {
		switch b.Get("type").Str {
		case "text":
			s.text += b.Get("text").Str
		case "tool_use":
			s.calls = append(s.calls, b.Get("name").Str+normal(b.Get("input").Raw))
		}
	}
	return s
}

func heardFrames(payloads [][]byte) (s said) {
	inputs := map[int64]string{}
	var order []int64
	names := map[int64]string{}
	for _, p := range payloads {
		ev := gjson.ParseBytes(p)
		if start := ev.Get("contentBlockStart.start.toolUse"); start.Exists() {
			i := ev.Get("contentBlockStart.contentBlockIndex").Int()
			names[i], order = start.Get("name").Str, append(order, i)
		}
		delta := ev.Get("contentBlockDelta")
		s.text += delta.Get("delta.text").Str
		inputs[delta.Get("contentBlockIndex").Int()] += delta.Get("delta.toolUse.input").Str
	}
	for _, i := range order {
		if inputs[i] == "" {
			inputs[i] = "{}"
		}
		s.calls = append(s.calls, names[i]+normal(inputs[i]))
	}
	return s
}

// understood reads the gateway's answer as a client of its dialect does.
func understood(t *testing.T, endpoint string, stream bool, body []byte) (s said) {
	t.Helper()
	var sp speaker = &chatSpeaker{}
	switch endpoint {
	case "messages":
		sp = &messagesSpeaker{}
	case "responses":
		sp = &responsesSpeaker{}
	}
	calls, text := sp.hear(body, stream)
	s.text = text
	for _, c := range calls {
		s.calls = append(s.calls, c.name+c.input)
	}
	return s
}
