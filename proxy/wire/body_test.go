package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const (
	hello = `{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are a helpful assistant."},` +
		`{"role":"user","content":"Write a haiku about the sea, and then explain in one sentence what makes it a haiku and not just three short lines."}],` +
		`"temperature":0.7,"max_tokens":256,"stream":true,"user":"u-1029384756"}`
	helloChinese = `{"model": "qwen-plus", "messages": [{"role": "user", "content": "请用一句话介绍一下“人工智能网关”，并举个例子🙂"}], "stream": true, "stream_options": {"include_usage": true}}`
	helloTools   = `{"model":"gpt-4o","messages":[{"role":"user","content":[{"type":"text","text":"Weather in Paris?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},` +
		`{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Paris\",\"city\":\"Rome\"}"}}]},` +
		`{"role":"tool","tool_call_id":"call_1","content":"19 \u00b0C"}],` +
		`"tools":[{"type":"function","function":{"name":"weather","strict":true,"parameters":{"type":"object","properties":{"Model":{"type":"string"},"model":{"type":"string"}},"required":["model"]}}}],` +
		`"tool_choice":{"type":"function","function":{"name":"weather"}},"parallel_tool_calls":false,"logit_bias":{"50256":-100},"metadata":{"User":"a","user":"b"}}`
	helloResponses = `{"model":"gpt-5","instructions":"Be brief.","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},` +
		`{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"Type":1,"Type":2}]}],"store":false}`
	helloAnthropic = `{"model":"claude","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1,"A":2,"\u0061":3}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"ok"}]}]}],"tools":[{"name":"f","input_schema":{"properties":{"x":{},"X":{}}}}]}`
)

// accepted are bodies that Parse must take.
var accepted = []string{
	hello, helloChinese, helloTools, helloResponses, helloAnthropic,
	`{}`, " \t\r\n{ \n} \r\n", `{"model":"m"}`,
	`{"stream":null}`, `{"stream":false}`, `{"stream":true}`,
	`{"stream_options":null}`, `{"stream_options":{}}`, `{"stream_options":{"include_usage":null}}`,
	`{"stream_options":{"continuous_usage_stats":true,"include_usage":false}}`,
	`{"model":"\u0067pt\n\"\\\/\b\f\r\t\ud83d\ude00"}`,
	`{"model":"` + "\ufffd" + `"}`, `{"model":"\ufffd"}`, `{"model":"\\ud800"}`,
	`{"x":[0,-0,1.5,-1e9,1E+3,2e-7,0.0e0,123456789012345678901234567890,1e999]}`,
	`{"x":[true,false,null,"",[],{}],"":1,"y":"\ud800 alone","z":"\udc00\ud800"}`,
	`{"x":{"a":1,"a":2,"A":3,"\u0061":4,"MODEL":"own data"}}`,
	`{"metadata":{"model":"a","Model":"b","Content":1}}`,
	`{"messages":"not checked here","input":7,"tools":null}`,
	`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"a"}]}`,
	`{"messages":[{"name":"Type","ToolUseID":1,"éclair":2,"Ünüblich":3,"x-y":4}]}`,
	`{"messages":[{"input":{"role":1,"role":2}},{"metadata":{"ROLE":1}},{"output":[{"a":1,"a":2}]},{"arguments":{"a":1,"a":2}}]}`,
	`{"tools":[{"json_schema":{"a":1,"a":2},"schema":{"a":1,"a":2},"input_schema":{"a":1,"a":2},"properties":{"a":1,"a":2},"parameters":{"a":1,"a":2}}]}`,
	`{"messages":[{"parameters":[[{"a":1,"a":2}]]}]}`,
	`{"mode":1,"models":2,"odel":3,"nn":4,"textt":5}`,
	nested(maxDepth),
	`{"input":` + keys(100, "k%d") + `}`, keys(33, "key-%d"), keys(40, "ключ%d"),
	`{"tools":[` + keys(31, "k%d") + `,{"function":` + keys(31, "k%d") + `}]}`,
	`{"messages":[{"` + strings.Repeat("k", 200) + `":1,"` + strings.Repeat("k", 201) + `":2}]}`,
	"{\"x\":\"\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff\"}",
}

// nested is an object that nests to a depth.
func nested(depth int) string {
	return `{"x":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
}

// keys is an object with n keys.
func keys(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"`+format+`":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestParseAccepts(t *testing.T) {
	for _, raw := range accepted {
		if _, err := Parse([]byte(raw)); err != nil {
			t.Errorf("%.200s\n%v", raw, err)
		}
	}
}

const notJSON = "the request body is not valid JSON: "

// refused are bodies that Parse must refuse, with the field it blames and what it says.
var refused = []struct{ raw, param, message string }{
	{``, "", `the request body is empty, send a JSON object`},
	{" \n", "", `the request body is empty, send a JSON object`},
	{`[]`, "", `the request body must be a JSON object, not an array`},
	{`"x"`, "", `the request body must be a JSON object, not a string`},
	{`-1`, "", `the request body must be a JSON object, not a number`},
	{`model=gpt`, "", notJSON + `"m" at byte 0, expected a JSON object`},
	{"\ufeff{}", "", notJSON + `a byte order mark at byte 0, send plain UTF-8`},
	{`{} {}`, "", `the request body goes on at byte 3, behind its JSON object`},
	{"{}\x00", "", `the request body goes on at byte 2, behind its JSON object`},

	{`{`, "", notJSON + `it ends at byte 1, expected a key in double quotes`},
	{`{"a`, "", notJSON + `it ends at byte 3, expected the closing quote of a string`},
	{`{"a"`, "", notJSON + `it ends at byte 4, expected ":"`},
	{`{"a":`, "", notJSON + `it ends at byte 5, expected a value`},
	{`{"a":1`, "", notJSON + `it ends at byte 6, expected "," or "}"`},
	{`{"a":[`, "", notJSON + `it ends at byte 6, expected a value`},
	{`{"a":[1`, "", notJSON + `it ends at byte 7, expected "," or "]"`},
	{`{"a":"x`, "", notJSON + `it ends at byte 7, expected the closing quote of a string`},
	{`{"a":"` + strings.Repeat("x", 99), "", notJSON + `it ends at byte 105, expected the closing quote of a string`},
	{`{"a":1,}`, "", notJSON + `"}" at byte 7, expected a key in double quotes`},
	{`{"a":[1,]}`, "", notJSON + `"]" at byte 8, expected a value`},
	{`{"a":[1}`, "", notJSON + `"}" at byte 7, expected "," or "]"`},
	{`{"a":1 "b":2}`, "", notJSON + `"\"" at byte 7, expected "," or "}"`},
	{`{"a" 1}`, "", notJSON + `"1" at byte 5, expected ":"`},
	{`{a:1}`, "", notJSON + `"a" at byte 1, expected a key in double quotes`},
	{`{'a':1}`, "", notJSON + `"'" at byte 1, expected a key in double quotes`},
	{`{"a":NaN}`, "", notJSON + `"N" at byte 5, expected a value`},
	{`{"a":Infinity}`, "", notJSON + `"I" at byte 5, expected a value`},
	{`{"a":-Infinity}`, "", notJSON + `"I" at byte 6, expected a digit`},
	{"{\"a\":\x00\"}", "", notJSON + `"\x00" at byte 5, expected a value`},
	{`{"a":nul}`, "", notJSON + `"n" at byte 5, expected a value`},
	{`{"a":tru`, "", notJSON + `"t" at byte 5, expected a value`},
	{`{"a":truE}`, "", notJSON + `"t" at byte 5, expected a value`},
	{`{"a":nulll}`, "", notJSON + `"l" at byte 9, expected "," or "}"`},
	{`{"a":01}`, "", notJSON + `a number with a leading zero at byte 5`},
	{`{"a":-00}`, "", notJSON + `a number with a leading zero at byte 5`},
	{`{"a":+1}`, "", notJSON + `"+" at byte 5, expected a value`},
	{`{"a":.5}`, "", notJSON + `"." at byte 5, expected a value`},
	{`{"a":1.}`, "", notJSON + `"}" at byte 7, expected a digit`},
	{`{"a":1e}`, "", notJSON + `"}" at byte 7, expected a digit`},
	{`{"a":1e+`, "", notJSON + `it ends at byte 8, expected a digit`},
	{`{"a":-`, "", notJSON + `it ends at byte 6, expected a digit`},
	{`{"a":0x10}`, "", notJSON + `"x" at byte 6, expected "," or "}"`},
	{`{/* no */}`, "", notJSON + `"/" at byte 1, expected a key in double quotes`},
	{"{\"a\":1}//", "", `the request body goes on at byte 7, behind its JSON object`},
	{"{\v}", "", notJSON + `"\v" at byte 1, expected a key in double quotes`},
	{"{\u00a0}", "", notJSON + `"\xc2" at byte 1, expected a key in double quotes`},
	{"{\"a\":\"\n\"}", "", notJSON + `the control character 0x0a in a string at byte 6, write it as an escape`},
	{"{\"a\":\"12345678\x1f\"}", "", notJSON + `the control character 0x1f in a string at byte 14, write it as an escape`},
	{"{\"a\x00\":1}", "", notJSON + `the control character 0x00 in a string at byte 3, write it as an escape`},
	{`{"a":"\x"}`, "", notJSON + `an unknown escape in the string at byte 6`},
	{`{"a":"\u12g4"}`, "", notJSON + `an unknown escape in the string at byte 6`},
	{`{"a":"\u12`, "", notJSON + `an unknown escape in the string at byte 6`},
	{`{"a":"\`, "", notJSON + `an unknown escape in the string at byte 6`},
	{"{\"a\":\"\xff\"}", "", `the request body is not valid UTF-8 at byte 6`},
	{"{\"a\":\"中\xe4\xb8\"}", "", `the request body is not valid UTF-8 at byte 9`},
	{"{\"a\":\"\xc0\xaf\"}", "", `the request body is not valid UTF-8 at byte 6`},
	{"{\"a\":\"\xe0\x9f\xbf 123456789\"}", "", `the request body is not valid UTF-8 at byte 6`},
	{"{\"a\":\"\xed\xa0\x80 123456789\"}", "", `the request body is not valid UTF-8 at byte 6`},
	{"{\"a\":\"\xf4\x90\x80\x80\"}", "", `the request body is not valid UTF-8 at byte 6`},
	{"{\"a\xe9\":1}", "", `the request body is not valid UTF-8 at byte 3`},
	{"{\"a\":{\"\xe9\":1}}", "", `the request body is not valid UTF-8 at byte 7`},

	{nested(maxDepth + 1), "", `the request body nests deeper than 128 levels at byte 132`},
	{strings.Repeat(`{"a":`, 1e6), "", `the request body nests deeper than 128 levels at byte 640`},
	{`{"messages":` + strings.Repeat(`[`, 1e6), "", `the request body nests deeper than 128 levels at byte 139`},

	{`{"model":"cheap","model":"dear"}`, "model", `key "model" at byte 17 is repeated (small and capital letters count as the same), send it once`},
	{`{"a":1,"A":2}`, "", `key "A" at byte 7 is repeated (small and capital letters count as the same), send it once`},
	{`{"":1,"":2}`, "", `key "" at byte 6 is repeated (small and capital letters count as the same), send it once`},
	{`{"É":1,"é":2}`, "", `key "é" at byte 8 is repeated (small and capital letters count as the same), send it once`},
	{`{"skill":1,"Skill":2}`, "", `key "Skill" at byte 11 is repeated (small and capital letters count as the same), send it once`},
	{`{"ſkiLL":1,"skill":2}`, "", `key "skill" at byte 12 is repeated (small and capital letters count as the same), send it once`},
	{`{"messages":[{"role":"user","role":"system"}]}`, "role", `key "role" at byte 28 is repeated (small and capital letters count as the same), send it once`},
	{`{"messages":[{"a":{"b":[{"c":1,"c":2}]}}]}`, "", `key "c" at byte 31 is repeated (small and capital letters count as the same), send it once`},
	{`{"tools":[{"x":1,"x":2}]}`, "", `key "x" at byte 17 is repeated (small and capital letters count as the same), send it once`},
	{`{"tool_choice":{"x":1,"x":2}}`, "", `key "x" at byte 22 is repeated (small and capital letters count as the same), send it once`},
	{`{"input":{"x":1,"x":2}}`, "", `key "x" at byte 16 is repeated (small and capital letters count as the same), send it once`},
	{`{"stream_options":{"include_usage":true,"include_usage":false}}`, "include_usage", `key "include_usage" at byte 40 is repeated (small and capital letters count as the same), send it once`},
	{strings.TrimSuffix(keys(40, "k%d"), "}") + `,"k7":1}`, "", `key "k7" at byte 341 is repeated (small and capital letters count as the same), send it once`},
	{strings.TrimSuffix(keys(40, "k%d"), "}") + `,"K39":1}`, "", `key "K39" at byte 341 is repeated (small and capital letters count as the same), send it once`},
	{strings.TrimSuffix(keys(28, "k%d"), "}") + `,"input":` + keys(10, "k%d") + `,"k9":1}`, "", `key "k9" at byte 313 is repeated (small and capital letters count as the same), send it once`},
	{strings.TrimSuffix(keys(28, "k%d"), "}") + `,"input":` + strings.TrimSuffix(keys(10, "k%d"), "}") + `,"k2":1}}`, "", `key "k2" at byte 312 is repeated (small and capital letters count as the same), send it once`},
	{`{"` + strings.Repeat("k", 200) + `":1,"` + strings.Repeat("K", 200) + `":2}`, "", `key "` + strings.Repeat("K", 60) + `"... at byte 206 is repeated (small and capital letters count as the same), send it once`},

	{`{"MODEL":"x"}`, "model", `key "MODEL" at byte 1 must be written "model"`},
	{`{"a":1,"Stream":true}`, "stream", `key "Stream" at byte 7 must be written "stream"`},
	{`{"ſtream":true}`, "stream", `key "ſtream" at byte 1 must be written "stream"`},
	{`{"max_toKens":1}`, "max_tokens", `key "max_toKens" at byte 1 must be written "max_tokens"`},
	{`{"N":2}`, "n", `key "N" at byte 1 must be written "n"`},
	{`{"previouS_ReSponSe_id":2}`, "previous_response_id", `key "previouS_ReSponSe_id" at byte 1 must be written "previous_response_id"`},
	{`{"stream_options":{"Include_Usage":true}}`, "include_usage", `key "Include_Usage" at byte 19 must be written "include_usage"`},
	{`{"messages":[{"Role":"user"}]}`, "role", `key "Role" at byte 14 must be written "role"`},
	{`{"mod\u0065l":"x"}`, "", `key "mod\\u0065l" at byte 1 is spelled with escapes, write it plainly`},
	{`{"messages":[{"a\/b":"x"}]}`, "", `key "a\\/b" at byte 14 is spelled with escapes, write it plainly`},

	{`{"model":null}`, "model", `model must be a string, not null`},
	{`{"model":7}`, "model", `model must be a string, not a number`},
	{`{"model":["m"]}`, "model", `model must be a string, not an array`},
	{`{"model":{}}`, "model", `model must be a string, not an object`},
	{`{"model":true}`, "model", `model must be a string, not a boolean`},
	{`{"model":""}`, "model", `model must not be empty`},
	{`{"model":"a\ud800"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"model":"\udc00\ud800"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"model":"\ud800\ud83d\ude00"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"model":"\ud800\u0041"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"model":"\ud800\ue000"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"model":"\ud83d \ude00"}`, "model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`},
	{`{"stream":"true"}`, "stream", `stream must be true, false or null, not a string`},
	{`{"stream":1}`, "stream", `stream must be true, false or null, not a number`},
	{`{"stream_options":true}`, "stream_options", `stream_options must be an object or null, not a boolean`},
	{`{"stream_options":[{"include_usage":true}]}`, "stream_options", `stream_options must be an object or null, not an array`},
	{`{"stream_options":{"include_usage":1}}`, "stream_options.include_usage", `stream_options.include_usage must be true, false or null, not a number`},
}

func TestParseRefuses(t *testing.T) {
	for _, c := range refused {
		_, err := Parse([]byte(c.raw))
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%.200s\n got %v", c.raw, err)
			continue
		}
		if e.Status != 400 || e.Type != TypeInvalid || e.Param != c.param || e.Message != c.message {
			t.Errorf("%.200s\n got %d %q %s\nwant 400 %q %s", c.raw, e.Status, e.Param, e.Message, c.param, c.message)
		}
	}
}

// Every field that the gateway acts on is refused in every other spelling, wherever keys are inspected.
func TestParseRefusesLookalikes(t *testing.T) {
	for _, field := range []string{"model", "stream", "stream_options", "include_usage", "messages", "input", "role",
		"content", "text", "type", "tools", "tool_choice", "max_tokens", "max_completion_tokens", "max_output_tokens", "n",
		"user", "metadata", "prompt", "store", "previous_response_id", "conversation", "background"} {
		spellings := []string{strings.ToUpper(field), strings.ToUpper(field[:1]) + field[1:],
			strings.NewReplacer("s", "ſ", "k", "\u212a").Replace(field), `\u00` + fmt.Sprintf("%02x", field[0]) + field[1:]}
		for _, key := range spellings {
			if key == field {
				continue
			}
			for _, raw := range []string{`{"%s":null}`, `{"messages":[{"%s":null}]}`, `{"input":[[{"content":[{"%s":null}]}]]}`, `{"tools":[{"function":{"%s":1}}]}`, `{"stream_options":{"%s":null}}`} {
				if _, err := Parse(fmt.Appendf(nil, raw, key)); err == nil {
					t.Errorf(raw+" is accepted", key)
				}
			}
		}
	}
}

func TestBodyFields(t *testing.T) {
	for _, c := range []struct {
		raw           string
		model         string
		stream, usage bool
	}{
		{hello, "gpt-4o-mini", true, false},
		{helloChinese, "qwen-plus", true, true},
		{helloTools, "gpt-4o", false, false},
		{helloResponses, "gpt-5", false, false},
		{`{}`, "", false, false},
		{`{"stream_options":{"x":{"include_usage":1},"include_usage":true},"stream":false}`, "", false, true},
		{`{"stream_options":{"include_usage":null},"stream":null}`, "", false, false},
		{`{"x":{"stream":true,"model":"inner"},"model":"通义"}`, "通义", false, false},
		{`{"model":"\u901a\u4e49/\ud83d\ude00\n\"\\\/"}`, "通义/😀\n\"\\/", false, false},
	} {
		b := parse(t, c.raw)
		if b.Model() != c.model || b.HasModel() != (c.model != "") || b.Stream() != c.stream || b.IncludeUsage() != c.usage {
			t.Errorf("%s\nmodel %q %v, stream %v, usage %v", c.raw, b.Model(), b.HasModel(), b.Stream(), b.IncludeUsage())
		}
		if string(b.Raw()) != c.raw || b.Len() != len(c.raw) {
			t.Errorf("Raw is %q", b.Raw())
		}
	}
	b := parse(t, hello)
	if b.Get("messages.1.role").Str != "user" || b.Get("max_tokens").Int() != 256 || b.Get("top_p").Exists() {
		t.Error("Get reads wrong")
	}
}

func TestLastUserText(t *testing.T) {
	for raw, want := range map[string]string{
		`{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"two"}]}`:                                       "one",
		`{"messages":[{"role":"user","content":"one"},{"role":"user","content":"\u4e8c\n"},{"role":"tool","content":"3"}]}`:         "二\n",
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url"},{"type":"text","text":"\"b\""}]}]}`: `a"b"`,
		`{"messages":[{"role":"system","content":"x"}]}`:                                                                            "",
		`{"messages":[{"role":"user","content":"x"},{"role":"user","content":null}]}`:                                               "",
		`{"messages":[{"role":"user"},7,null,["user"]]}`:                                                                            "",
		`{"messages":{"role":"user","content":"x"}}`:                                                                                "",
		`{"messages":"x"}`:          "",
		`{}`:                        "",
		`{"input":"plain \u0026"}`:  "plain &",
		`{"input":null,"x":"user"}`: "",
		`{"messages":null,"input":[{"type":"message","role":"user","content":"a"},{"type":"function_call_output","output":"b"}]}`: "a",
		helloResponses: "Hi",
		helloChinese:   "请用一句话介绍一下“人工智能网关”，并举个例子🙂",
	} {
		if got := parse(t, raw); got.LastUserText() != want {
			t.Errorf("%s\n got %q\nwant %q", raw, got.LastUserText(), want)
		}
	}
}

func TestAppendEdited(t *testing.T) {
	const usage = `"stream_options":{"include_usage":true}`
	for _, c := range []struct {
		raw, model string
		force      bool
		want       string
	}{
		{`{"model":"a"}`, "", false, `{"model":"a"}`},
		{`{"model":"a"}`, "a", false, `{"model":"a"}`},
		{` { "model" : "a" , "x" : 1 } `, "b/c", false, ` { "model" : "b/c" , "x" : 1 } `},
		{`{"model":"a"}`, "q\"\\\n\x01中\xff", false, `{"model":"q\"\\\n\u0001中` + "\ufffd" + `"}`},
		{`{"model":"\u0061"}`, "a", false, `{"model":"a"}`},
		{`{}`, "b", false, `{"model":"b"}`},
		{"{ \n }", "b", false, "{\"model\":\"b\" \n }"},
		{"{\"x\":{} \n}", "b", false, "{\"x\":{},\"model\":\"b\" \n}"},
		{`{}`, "", true, `{` + usage + `}`},
		{`{}`, "b", true, `{"model":"b",` + usage + `}`},
		{`{"x":1}`, "b", true, `{"x":1,"model":"b",` + usage + `}`},
		{`{"model":"a"}`, "b", true, `{"model":"b",` + usage + `}`},
		{`{"stream_options":null}`, "", true, `{` + usage + `}`},
		{`{"stream_options": null ,"model":"a"}`, "b", true, `{"stream_options": {"include_usage":true} ,"model":"b"}`},
		{`{"stream_options":{},"model":"a"}`, "b", true, `{` + usage + `,"model":"b"}`},
		{`{"model":"a","stream_options":{ "x":{"y":{}} }}`, "b", true, `{"model":"b","stream_options":{ "x":{"y":{}},"include_usage":true }}`},
		{`{"stream_options":{"include_usage":false,"x":1}}`, "b", true, `{"stream_options":{"include_usage":true,"x":1},"model":"b"}`},
		{`{"stream_options":{"x":1,"include_usage": null }}`, "", true, `{"stream_options":{"x":1,"include_usage": true }}`},
		{`{"stream_options":{"include_usage":true}}`, "", true, `{"stream_options":{"include_usage":true}}`},
		{`{"stream_options":{"include_usage":false}}`, "", false, `{"stream_options":{"include_usage":false}}`},
	} {
		b := parse(t, c.raw)
		if got := b.AppendEdited([]byte("before"), Edit{Model: c.model, Usage: c.force}); string(got) != "before"+c.want {
			t.Errorf("%s %q %v\n got %s\nwant %s", c.raw, c.model, c.force, got, c.want)
		}
		if b.NeedsEdit(c.model, c.force) != (c.raw != c.want) {
			t.Errorf("%s %q %v: NeedsEdit is wrong", c.raw, c.model, c.force)
		}
		if string(b.Raw()) != c.raw {
			t.Errorf("%s was changed to %s", c.raw, b.Raw())
		}
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		raw, path string
		v         any
		want      string
	}{
		{`{"a":1,"model":"x"}`, "model", "y", `{"a":1,"model":"y"}`},
		{` {"a" : 1 , "b":2}`, "a", []int{1, 2}, ` {"a" : [1,2] , "b":2}`},
		{`{}`, "a", nil, `{"a":null}`},
		{`{ }`, "a.b.c", true, `{"a":{"b":{"c":true}} }`},
		{"{\"x\":{}\n}", "a", "<&>中", "{\"x\":{},\"a\":\"<&>中\"\n}"},
		{`{"a":{"b":{"c":1}}}`, "a.b.c", 2.5, `{"a":{"b":{"c":2.5}}}`},
		{`{"a":{"b":{"c":1}}}`, "a.b.d", "x", `{"a":{"b":{"c":1,"d":"x"}}}`},
		{`{"a":{"b":{}}}`, "a.b.d.e", "x", `{"a":{"b":{"d":{"e":"x"}}}}`},
		{`{"a":1}`, "a", json.RawMessage(` {"k": [1,  2]}`), `{"a": {"k": [1,  2]}}`},
		{`{"metadata":{"\u0061":1,"A":2}}`, "metadata.a", 3, `{"metadata":{"\u0061":3,"A":2}}`},
		{`{"metadata":{"Model":1}}`, "metadata.model", 3, `{"metadata":{"Model":1,"model":3}}`},
		{`{"stream_options":{"x":1}}`, "stream_options.include_usage", true, `{"stream_options":{"x":1,"include_usage":true}}`},
		{`{"messages":[]}`, "messages", []map[string]string{{"role": "user"}}, `{"messages":[{"role":"user"}]}`},
		{`{"x":1}`, "ключ", "a", `{"x":1,"ключ":"a"}`},
	} {
		b := parse(t, c.raw)
		got, err := b.Set(c.path, c.v)
		if err != nil || string(got.Raw()) != c.want {
			t.Errorf("%s %s\n got %s, %v\nwant %s", c.raw, c.path, got.Raw(), err, c.want)
		}
		if string(b.Raw()) != c.raw {
			t.Errorf("%s was changed to %s", c.raw, b.Raw())
		}
	}
}

func TestSetFails(t *testing.T) {
	for _, c := range []struct {
		raw, path string
		v         any
		want      string
	}{
		{`{"a":1}`, "a.b", 2, `400 invalid_request_error: a must be an object, not a number`},
		{`{"a":{"b":[]}}`, "a.b.c", 2, `400 invalid_request_error: a.b must be an object, not an array`},
		{`{"a":null}`, "a.b", 2, `400 invalid_request_error: a must be an object, not null`},
		{`{"a":{"b":1,"b":2}}`, "a.b", 2, `400 invalid_request_error: key "b" is repeated at byte 16, send it once`},
		{`{"a":{"b":1,"\u0062":2}}`, "a.b", 2, `400 invalid_request_error: key "b" is repeated at byte 21, send it once`},
		{`{}`, "stream", "yes", `400 invalid_request_error: stream must be true, false or null, not a string`},
		{`{}`, "Model", "x", `400 invalid_request_error: key "Model" at byte 1 must be written "model"`},
		{`{"ab":1}`, "aB", "x", `400 invalid_request_error: key "aB" at byte 8 is repeated (small and capital letters count as the same), send it once`},
		{`{}`, "x" + strings.Repeat(".x", maxDepth), 1, `400 invalid_request_error: the request body nests deeper than 128 levels at byte 640`},
		{`{}`, "", 1, `set "": not a path of plain names`},
		{`{}`, "a..b", 1, `set "a..b": not a path of plain names`},
		{`{}`, `a"b`, 1, `set "a\"b": not a path of plain names`},
		{`{}`, "a\xff", 1, `set "a\xff": not a path of plain names`},
		{`{}`, "a", func() {}, `set a: json: unsupported type: func()`},
		{`{}`, "a", json.RawMessage(`1,"model":"x"`), `set a: not valid JSON: "1,\"model\":\"x\""`},
		{`{}`, "a", json.RawMessage(nil), `set a: not valid JSON: ""`},
		{`{}`, "a", json.RawMessage("\"\xff\""), `400 invalid_request_error: the request body is not valid UTF-8 at byte 6`},
	} {
		b := parse(t, c.raw)
		if got, err := b.Set(c.path, c.v); err == nil || err.Error() != c.want {
			t.Errorf("%s %s\n got %s, %v\nwant %s", c.raw, c.path, got.Raw(), err, c.want)
		}
	}
}

// Every field read and edited must be right wherever in the body it stands.
func TestEditsInAnyOrder(t *testing.T) {
	members := []string{`"model":"a"`, `"stream_options":{"x":1}`, `"messages":[{"content":"}]{"}]`, `"stream":true`}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		r.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] })
		some := members[:r.IntN(len(members)+1)]
		b := parse(t, "{"+strings.Join(some, ",")+"}")
		edited := parse(t, string(b.AppendEdited(nil, Edit{Model: "b", Usage: true})))
		if edited.Model() != "b" || !edited.IncludeUsage() || edited.Stream() != b.Stream() || edited.NeedsEdit("b", true) {
			t.Fatalf("%s became %s", b.Raw(), edited.Raw())
		}
	}
}

func TestParseAllocs(t *testing.T) {
	for _, raw := range []string{hello, helloChinese, helloTools, helloResponses, helloAnthropic, string(chat(english, 10<<10))} {
		raw, dst := []byte(raw), make([]byte, 0, len(raw)+200)
		if n := testing.AllocsPerRun(100, func() {
			b, err := Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			if b.Model() == "" || !b.NeedsEdit("other", true) {
				t.Fatal("wrong model")
			}
			dst = b.AppendEdited(dst[:0], Edit{Model: "other", Usage: true})
		}); n != 0 {
			t.Errorf("%v allocations for %.80s", n, raw)
		}
	}
}

func parse(t testing.TB, raw string) Body {
	t.Helper()
	b, err := Parse([]byte(raw))
	if err != nil {
		t.Fatalf("%.200s: %v", raw, err)
	}
	return b
}

const (
	english = `The quick brown fox jumps over the lazy dog, while the proxy counts every byte of what it said, twice.\nThen it \"rests\". `
	chinese = `人工智能网关把每一个请求都转发给最合适的模型，并且准确地记录用量和费用。\n`
	code    = `func (s *scanner) skip() {\n\tfor s.i < len(s.raw) {\n\t\tif s.raw[s.i] != \" \"[0] {\n\t\t\treturn\n\t\t}\n\t}\n}\n`
)

// chat is a conversation of about size bytes, in messages of up to 2 KB of a text.
func chat(text string, size int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"gpt-4o-mini","stream":true,"messages":[`)
	for b.Len() < size-100 {
		b.WriteString(`{"role":"user","content":"`)
		b.WriteString(strings.Repeat(text, max(1, min(2000, size-b.Len()-60)/len(text))))
		b.WriteString(`"},`)
	}
	return []byte(strings.TrimSuffix(b.String(), ",") + `],"temperature":0.7}`)
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"300B", []byte(hello)},
		{"tools-1KiB", []byte(helloTools)},
		{"10KiB", chat(english, 10<<10)},
		{"100KiB", chat(english, 100<<10)},
		{"zh-10KiB", chat(chinese, 10<<10)},
		{"code-10KiB", chat(code, 10<<10)},
		{"image-1MiB", chat(strings.Repeat("iVBORw0KGgoAAAANSUhEUgAA", 42<<10), 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendEdited(b *testing.B) {
	for _, raw := range []string{hello, string(chat(english, 10<<10))} {
		b.Run(fmt.Sprintf("%dB", len(raw)), func(b *testing.B) {
			body := parse(b, raw)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = body.AppendEdited(dst[:0], Edit{Model: "Qwen/Qwen3-32B", Usage: true})
			}
		})
	}
}

func BenchmarkLastUserText(b *testing.B) {
	body := parse(b, string(chat(english, 10<<10)))
	b.SetBytes(int64(body.Len()))
	for b.Loop() {
		body.LastUserText()
	}
}
