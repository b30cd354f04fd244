package dialect

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

func TestExpand(t *testing.T) {
	thread := []Past{
		{Input: []byte(`[{"role":"user","content":"1"}]`), Output: []byte(` [ {"type":"message"} , {"type":"reasoning"} ] `)},
		{Input: []byte(`[]`), Output: nil},
		{Input: []byte(`[{"n":2}]`), Output: []byte(`[{"n":3}]`)},
	}
	for body, want := range map[string]string{
		`{"model":"m", "previous_response_id":"resp_1", "input":"Go \"on\"\u0021", "instructions":"now"}`: `{"model":"m","instructions":"now","input":[{"role":"user","content":"1"},` +
			`{"type":"message"} , {"type":"reasoning"},{"n":2},{"n":3},{"type":"message","role":"user","content":[{"type":"input_text","text":"Go \"on\"\u0021"}]}]}`,
		`{"input":[ {"n":4}, {"n":5} ],"previous_response_id":"resp_1"}`: `{"input":[{"role":"user","content":"1"},{"type":"message"} , {"type":"reasoning"},{"n":2},{"n":3},{"n":4}, {"n":5}]}`,
		`{"input":[],"previous_response_id":"resp_1"}`:                   `{"input":[{"role":"user","content":"1"},{"type":"message"} , {"type":"reasoning"},{"n":2},{"n":3}]}`,
	} {
		if got, err := Expand(thread, []byte(body), 1<<20); err != nil || string(got) != want {
			t.Errorf("%s, %v\nexpected %s", got, err, want)
		}
	}
	if _, err := Expand([]Past{{Input: []byte(`{"n":1}`)}}, []byte(`{"input":"x"}`), 1<<20); err == nil {
		t.Error("a turn that is no list")
	}
	var e *wire.Error
	if _, err := Expand(nil, []byte(`{"input":7}`), 1<<20); !errors.As(err, &e) || e.Param != "input" {
		t.Errorf("an input that is none: %v", err)
	}
}

// TestConversation goes on from an answer: what was said stands in the next request as it would have in a request that
// holds the whole conversation.
func TestConversation(t *testing.T) {
	first := `{"model":"m","input":"Weather?","instructions":"gone"}`
	w := responsesTo(t, first)
	written(w, thoughtful)
	_, output, ok := Stored(w)
	if !ok {
		t.Fatal("not stored")
	}
	next, err := Expand([]Past{{Input: InputItems([]byte(first)), Output: output}},
		[]byte(`{"model":"m","previous_response_id":"resp_1","input":[{"type":"function_call_output","call_id":"toolu_1","output":"rain"},{"type":"function_call_output","call_id":"toolu_2","output":"noon"}]}`), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(wire.Response, next)
	if err != nil {
		t.Fatal(err)
	}
	want := `user input[0] | input[0].content[0] "Weather?"
assistant input[1] | input[1] thought "I \"should\" look.😀" signed "c2lnbmVk" hidden "" false | input[2].content[0] "Let me see…" | input[3] call toolu_1 get_weather {"city": "Oslo"} | input[4] call toolu_2 get_time {}
user input[5] | input[5] result toolu_1 "rain" | input[6] result toolu_2 "noon"
extra input[2].content[0].annotations [{"type":"url_citation","start_index":0,"end_index":11,"url":"https://example.com/a","title":"A \"page\""}] true
`
	if got := outline(r); got != want {
		t.Errorf("%s\nexpected\n%s", got, want)
	}
}

func TestInputItems(t *testing.T) {
	seen := map[string]bool{}
	for body, want := range map[string]string{
		`{"model":"m"}`:            `[]`,
		`{"input":"Say \"hi\"\n"}`: `[{"type":"message","role":"user","content":[{"type":"input_text","text":"Say \"hi\"\n"}],"id":"msg_ID","status":"completed"}]`,
		`{"input":[{"role":"user","content":"a"},{"type":"message","role":"assistant","content":"b","id":"mine"},{"role":"assistant","content":[{"type":"output_text","text":"c"}]}]}`: `[{"role":"user","content":[{"type":"input_text","text":"a"}],"type":"message","id":"msg_ID","status":"completed"},` +
			`{"type":"message","role":"assistant","id":"mine","content":[{"type":"output_text","text":"b","annotations":[],"logprobs":[]}],"status":"completed"},` +
			`{"role":"assistant","content":[{"type":"output_text","text":"c","annotations":[],"logprobs":[]}],"type":"message","id":"msg_ID","status":"completed"}]`,
		`{"input":[{"type":"function_call","call_id":"1","name":"f","arguments":"{}","id":null},{"type":"function_call_output","call_id":"1","output":"x"},{"type":"reasoning","id":"rs_1"}]}`: `[{"type":"function_call","call_id":"1","name":"f","arguments":"{}","id":"fc_ID","status":"completed"},` +
			`{"type":"function_call_output","call_id":"1","output":"x","id":"fco_ID","status":"completed"},{"type":"reasoning","id":"rs_1","summary":[]}]`,
		`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://example.com/a.png"}]}]}`: `[{"role":"user","content":[{"type":"input_image","image_url":"https://example.com/a.png","detail":"auto"}],"type":"message","id":"msg_ID","status":"completed"}]`,
	} {
		items := InputItems([]byte(body))
		got := string(items)
		parse(items).ForEach(func(_, item gjson.Result) bool {
			id := item.Get("id").Str
			if _, made, _ := strings.Cut(id, "_"); len(made) > 20 {
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
				got = strings.Replace(got, made, "ID", 1)
			}
			return true
		})
		if got != want {
			t.Errorf("%s\nexpected %s", got, want)
		}
		list, err := AppendItemList(nil, items, Page{})
		if err != nil {
			t.Error(err)
		}
		checkSchema(t, "ResponseItemList", string(list))
	}
}

func TestItemList(t *testing.T) {
	var items []string
	for i := range 25 {
		items = append(items, fmt.Sprintf(`{"id":"i%d"}`, i))
	}
	all := []byte("[" + strings.Join(items, ",") + "]")
	for page, want := range map[Page]string{
		{}:                                     "i24 to i5, 20, more true",
		{Order: "asc", Limit: 3}:               "i0 to i2, 3, more true",
		{Order: "asc", Limit: 3, After: "i21"}: "i22 to i24, 3, more false",
		{Order: "desc", After: "i4"}:           "i3 to i0, 4, more false",
		{Order: "asc", After: "i24"}:           " to , 0, more false",
		{Limit: 100}:                           "i24 to i0, 25, more false",
		{Limit: 101}:                           "limit",
		{Limit: -1}:                            "limit",
		{Order: "up"}:                          "order",
		{After: "x"}:                           "after",
	} {
		list, err := AppendItemList(nil, all, page)
		v := parse(list)
		got := fmt.Sprintf("%s to %s, %d, more %t", v.Get("first_id"), v.Get("last_id"), len(v.Get("data").Array()), v.Get("has_more").Bool())
		var e *wire.Error
		if errors.As(err, &e) {
			got = e.Param
		}
		if got != want || err == nil && !valid(list) {
			t.Errorf("%+v: %s, expected %s: %s", page, got, want, list)
		}
	}
}

func TestUnsealed(t *testing.T) {
	for body, want := range map[string]string{
		`{"input":"plain"}`:                            `{"input":"plain"}`,
		`{"input":"say \"jarvis1.\"", "x":"jarvis1."}`: `{"input":"say \"jarvis1.\"", "x":"jarvis1."}`,
		`{"model":"m", "input":[{"n":1}, {"type":"reasoning","encrypted_content":"jarvis1.e30"}, {"type":"reasoning","encrypted_content":"gAAA"}],"previous_response_id":"resp_1"}`: `{"model":"m","previous_response_id":"resp_1","input":[{"n":1},{"type":"reasoning","encrypted_content":"gAAA"}]}`,
	} {
		if got := string(Unsealed([]byte(body))); got != want {
			t.Errorf("%s, expected %s", got, want)
		}
	}
}
