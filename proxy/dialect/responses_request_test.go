package dialect

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// outline is what a request says in one line a turn.
func outline(r *Request) string {
	var out strings.Builder
	show := func(name string, blocks []Block) {
		fmt.Fprint(&out, name)
		for _, b := range blocks {
			fmt.Fprintf(&out, " | %s ", b.Path)
			switch b.Kind {
			case Text, Refusal:
				fmt.Fprintf(&out, "%q%s", b.Text, b.Cache)
			case Thinking:
				fmt.Fprintf(&out, "thought %q signed %q hidden %q %t", b.Text, b.Signature, b.Redacted, b.Summary)
			case ToolUse:
				fmt.Fprintf(&out, "call %s %s %s", b.ID, b.Name, b.Input)
			case ToolResult:
				fmt.Fprintf(&out, "result %s %q", b.ID, b.Content[0].Text)
			default:
				fmt.Fprintf(&out, "media %+v", *b.Media)
			}
		}
		fmt.Fprintln(&out)
	}
	if len(r.System) > 0 {
		show("instructions", r.System)
	}
	for _, turn := range r.Turns {
		show([]string{"user", "assistant", "system"}[turn.Role]+" "+turn.Path, turn.Blocks)
	}
	for _, e := range r.Extra {
		fmt.Fprintf(&out, "extra %s %s %t\n", e.Path, e.Raw, e.Hint)
	}
	return out.String()
}

func TestReadResponses(t *testing.T) {
	for name, want := range map[string]string{
		"string": `user input | input "Say \"hi\"\nto the world."
`,
		"everything": `instructions | instructions "You are a travel agent." | input[0].content "Answer in French."
user input[1] | input[1].content[0] "What is this?"{"type":"ephemeral"} | input[1].content[1] media {Type:image/png Data:iVBORw0KGgo= Text: URL: FileID: Name: Detail:}
assistant input[2] | input[2].content[0] "La tour Eiffel." | input[3] call call_1 get_weather {"city":"Paris"} | input[4] call call_2 get_time {}
user input[5] | input[5] result call_1 "22 degrees" | input[6] result call_2 "noon"
system input[7] | input[7].content "Be brief."
user input[8] | input[8].content "And now?"
extra prompt_cache_key "k" true
`,
		"thoughts": `user input[0] | input[0].content "Weather?"
assistant input[1] | input[1] thought "I \"look\"." signed "c2lnbmVk" hidden "" false | input[2] thought "" signed "" hidden "aGlkZGVu" false | input[3].content[0] "Let me see." | input[4] call call_1 get_weather {}
user input[5] | input[5] result call_1 "rain"
`,
		"foreign-thoughts": `user input[0] | input[0].content "Weather?"
assistant input[1] | input[1] thought "One.\n\nTwo." signed "" hidden "" true | input[2] thought "All of it." signed "" hidden "" false | input[3].content "Rain."
user input[4] | input[4].content "Thanks."
extra input[1].encrypted_content "gAAAAABo" true
extra input[3].phase "final_answer" true
`,
		"files": `user input[0] | input[0].content[0] media {Type:application/pdf Data:JVBERi0xLjQK Text: URL: FileID: Name:a.pdf Detail:} | input[0].content[1] media {Type:application/pdf Data:JVBERi0xLjQK Text: URL: FileID: Name:b.pdf Detail:} | input[0].content[2] media {Type: Data: Text: URL:https://example.com/a.png FileID: Name: Detail:low} | input[0].content[3] "Compare."
`,
	} {
		body, err := os.ReadFile("testdata/requests/" + name + ".responses.json")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Read(wire.Response, body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := outline(r); got != want {
			t.Errorf("%s:\n%s\nexpected:\n%s", name, got, want)
		}
	}
}

func TestReadResponsesSettings(t *testing.T) {
	r, err := Read(wire.Response, []byte(`{"model":"m","input":"hi","max_output_tokens":9,"temperature":0.5,"top_p":0.25,"stream":true,"store":false,
		"parallel_tool_calls":false,"user":"old","safety_identifier":"new","service_tier":"flex","reasoning":{"effort":"none","generate_summary":"concise","summary":null},
		"text":{"format":{"type":"json_object"},"verbosity":"low"},"tool_choice":{"type":"function","name":"f"},"tools":[{"type":"function","name":"f","description":"d","parameters":{"a":1},"strict":true}],
		"stream_options":{"include_obfuscation":false},"conversation":null,"max_tool_calls":3,"moderation":{"x":1},"top_logprobs":0}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(r.Model, r.MaxTokens, *r.Temperature, *r.TopP, r.Stream, r.Store, r.Serial, r.User, r.Tier, r.Reasoning, *r.Format, r.Choice, r.Extra, len(r.Tools), r.Tools[0].Name, r.Tools[0].Description, r.Tools[0].Schema, *r.Tools[0].Strict)
	want := `m 9 0.5 0.25 true false true new flex {none 0 true false concise false} {   <nil>} {4 f} [{text.verbosity "low" true} {max_tool_calls 3 true} {moderation {"x":1} false}] 1 f d {"a":1} true
`
	if got != want {
		t.Errorf("%s, expected\n%s", got, want)
	}
	if r, err = Read(wire.Response, []byte(`{"model":"m","input":"hi"}`)); err != nil || !r.Store || r.Format != nil || r.Serial || len(r.Extra) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReadResponsesRefuses(t *testing.T) {
	broken := sealed + base64.RawURLEncoding.EncodeToString([]byte(`{"t":`))
	for body, want := range map[string]string{
		`{}`:                          "input is missing",
		`{"input":7}`:                 "input must be a string or a list of items, not 7",
		`{"input":[]}`:                "input has no message",
		`{"input":["x"]}`:             `input[0] must be an object, not "x"`,
		`{"input":[{"content":"x"}]}`: "input[0].type is missing",
		`{"input":[{"role":"user"}]}`: "input[0].content is missing",
		`{"input":[{"role":"robot","content":"x"}]}`:                                                                  `input[0].role must be user, assistant, system or developer, not "robot"`,
		`{"input":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`:                                          `input[0].content[0].type must be input_text`,
		`{"input":[{"role":"user","content":[{"type":"input_text"}]}]}`:                                               "input[0].content[0].text is missing",
		`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`:                                              "input[0].content[0].image_url is missing",
		`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"ftp://x"}]}]}`:                        "input[0].content[0].image_url must be an http or https URL",
		`{"input":[{"role":"user","content":[{"type":"input_file","file_data":"%%"}]}]}`:                              "input[0].content[0].file_data must be base64",
		`{"input":[{"role":"user","content":[{"type":"input_file"}]}]}`:                                               "input[0].content[0].file_id is missing",
		`{"input":[{"type":"function_call","name":"x","arguments":"{}"}]}`:                                            "input[0].call_id is missing",
		`{"input":[{"type":"function_call_output","call_id":"1"}]}`:                                                   "input[0].output is missing",
		`{"input":[{"type":"reasoning","summary":[{}]}]}`:                                                             "input[0].summary[0].text is missing",
		`{"input":[{"type":"reasoning","summary":[],"encrypted_content":"` + broken + `"}]}`:                          "input[0].encrypted_content is not as this gateway wrote it",
		`{"input":[{"type":"item_reference","id":"msg_1"}]}`:                                                          "input[0]: references to items",
		`{"input":"x","tools":[{"type":"namespace","name":"n"}]}`:                                                     "tools[0].tools is missing",
		`{"input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"function"}]}]}`:                       "tools[0].tools[0].name is missing",
		`{"input":"x","background":true}`:                                                                             "background: ",
		`{"input":"x","prompt":{"id":"p"}}`:                                                                           "prompt: stored prompts",
		`{"input":"x","conversation":"c"}`:                                                                            "conversation: conversations are kept only by OpenAI",
		`{"input":"x","previous_response_id":"resp_1"}`:                                                               "previous_response_id: Previous response with id 'resp_1' not found",
		`{"input":"x","tools":[{}]}`:                                                                                  "tools[0].type is missing",
		`{"input":"x","tools":[{"type":"function"}]}`:                                                                 "tools[0].name is missing",
		`{"input":"x","tools":[{"type":"function","name":"a","parameters":7}]}`:                                       "tools[0].parameters must be an object",
		`{"input":"x","tool_choice":"maybe"}`:                                                                         "tool_choice must be none, auto or required",
		`{"input":"x","tool_choice":{"type":"function"}}`:                                                             "tool_choice.name is missing",
		`{"input":"x","tool_choice":{"type":"allowed_tools","mode":"none"}}`:                                          "tool_choice.mode must be auto or required",
		`{"input":"x","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"b"}]}}`: "tool_choice.tools[0] is not among the tools",
		`{"input":"x","text":{"format":{"type":"json_schema","name":"n"}}}`:                                           "text.format.schema is missing",
		`{"input":"x","text":{"format":{"type":"xml"}}}`:                                                              "text.format.type must be text, json_object or json_schema",
		`{"input":"x","reasoning":{"effort":"huge"}}`:                                                                 "reasoning.effort must be one of none",
		`{"input":"x","include":"all"}`:                                                                               "include must be a list",
		`{"input":"x","max_output_tokens":"9"}`:                                                                       "max_output_tokens must be a whole number",
		`{"input":"x","temperature":3}`:                                                                               "temperature must be a number from 0 to 2",
		`{"input":"x","store":1}`:                                                                                     "store must be true or false",
		`{"input":"x","metadata":[]}`:                                                                                 "metadata must be an object",
	} {
		_, err := Read(wire.Response, []byte(body))
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Param == "" || !strings.HasPrefix(e.Message, want) || !strings.HasPrefix(e.Message, e.Param) {
			t.Errorf("%s: %v, expected %q", body, err, want)
		}
	}
}

func FuzzReadResponses(f *testing.F) {
	for _, name := range []string{"everything", "thoughts", "foreign-thoughts", "schema", "files", "drop-own-tools", "allowed-tools", "drop-codex"} {
		body, err := os.ReadFile("testdata/requests/" + name + ".responses.json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := wire.Parse(body); err != nil {
			return
		}
		items := InputItems(body)
		if !valid(items) {
			t.Errorf("not a list: %s", items)
		}
		r, err := Read(wire.Response, body)
		var e *wire.Error
		if err != nil {
			if !errors.As(err, &e) || e.Status != 400 {
				t.Errorf("not a 400: %v", err)
			}
			return
		}
		again, err := Expand([]Past{{Input: items}}, body, 1<<20)
		if err != nil || !valid(again) {
			t.Errorf("%v: %s", err, again)
		}
		if _, err := Read(wire.Response, again); err != nil {
			t.Errorf("%v: %s", err, again)
		}
		w := (&Translation{Request: r, ID: "resp_1"}).Writer()
		if out := w.Whole(nil, &Answer{Blocks: []Block{{Text: "x"}}}); !valid(out) {
			t.Errorf("not JSON: %s", out)
		}
	})
}
