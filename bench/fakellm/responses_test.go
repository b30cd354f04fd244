package fakellm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestResponses(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/responses", `{"model":"fake?tokens=3&reasoning=2","input":"hello","instructions":"be brief"}`)
	want(t, "status", got.get("status").Str, "completed")
	want(t, "items", got.get("output.#.type").Raw, `["reasoning","message"]`)
	want(t, "usage", got.get("usage.output_tokens").Int(), 5)
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 10, Completion: 5, Reasoning: 2, Total: 15})
	want(t, "instructions", got.get("instructions").Str, "be brief")

	want(t, "of Codex", post(t, s, "/v1/responses", `{"model":"fake","input":"hello","client_metadata":{"x-codex-installation-id":"1"}}`).get("status").Str, "completed")

	id := got.get("id").Str
	want(t, "stored", do(t, s, "GET", "/v1/responses/"+id, "").get("output.1.content.0.text").Str, got.get("output.1.content.0.text").Str)
	items := do(t, s, "GET", "/v1/responses/"+id+"/input_items", "")
	want(t, "input items", items.get("data.0.content.0.text").Str, "hello")
	want(t, "again has another id", post(t, s, "/v1/responses", `{"model":"fake?tokens=3&reasoning=2","input":"hello","instructions":"be brief"}`).get("id").Str != id, true)
	want(t, "deleted", do(t, s, "DELETE", "/v1/responses/"+id, "").get("deleted").Bool(), true)
	want(t, "gone", do(t, s, "GET", "/v1/responses/"+id, "").get("error.message").Str, "Response with id '"+id+"' not found.")
	want(t, "counted", post(t, s, "/v1/responses/input_tokens", `{"model":"fake","input":"hello"}`).get("input_tokens").Int(), 5)
}

func TestResponsesStream(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/responses", `{"model":"fake?tokens=2","input":"hello","stream":true}`)
	var kinds []string
	for i, ev := range got.events() {
		kinds = append(kinds, strings.TrimPrefix(gjson.Get(ev, "type").Str, "response."))
		want(t, "sequence", gjson.Get(ev, "sequence_number").Int(), int64(i))
	}
	want(t, "order", strings.Join(kinds, " "), "created in_progress output_item.added content_part.added output_text.delta output_text.delta output_text.done content_part.done output_item.done completed")
	want(t, "named", strings.Count(got.body, "event: response."), len(kinds))
	id := gjson.Get(got.events()[0], "response.id").Str
	replayed := do(t, s, "GET", "/v1/responses/"+id+"?stream=true", "")
	want(t, "replayed", replayed.body, got.body)
	rest := do(t, s, "GET", "/v1/responses/"+id+"?stream=true&starting_after=7", "").events()
	want(t, "rest", len(rest), 2)
	seen := s.WaitDone(3, patience)
	want(t, "billed", seen[0].Billed.Completion, 2)
	want(t, "the replay is free", seen[1].Billed.Completion, 0)
	failed := post(t, s, "/v1/responses", `{"model":"fake?fault=error-mid","input":"hello","stream":true}`).events()
	want(t, "error", gjson.Get(failed[len(failed)-2], "type").Str, "error")
	want(t, "failed", gjson.Get(failed[len(failed)-1], "response.status").Str, "failed")
	short := post(t, s, "/v1/responses", `{"model":"fake?tokens=50","input":"hello","max_output_tokens":16,"stream":true}`).events()
	want(t, "incomplete", gjson.Get(short[len(short)-1], "response.incomplete_details.reason").Str, "max_output_tokens")
}

func TestResponsesTurns(t *testing.T) {
	s := start(t, Options{})
	first := post(t, s, "/v1/responses", responseTools("call: get_weather", ""))
	call := first.get("output.0")
	want(t, "call", call.Get("name").Str, "get_weather")
	want(t, "arguments", call.Get("arguments").Str, `{"city":"fake","days":2}`)
	second := `{"model":"fake","previous_response_id":"%s","input":[{"type":"function_call_output","call_id":"%s","output":"sunny"}]}`
	got := post(t, s, "/v1/responses", fmt.Sprintf(second, first.get("id").Str, call.Get("call_id").Str))
	want(t, "second", got.get("status").Str, "completed")
	want(t, "pays the first again", got.get("usage.input_tokens").Int() > first.get("usage.total_tokens").Int(), true)
	want(t, "no such previous", post(t, s, "/v1/responses", fmt.Sprintf(second, "resp_x", "c")).get("error.code").Str, "previous_response_not_found")
	want(t, "no such call", post(t, s, "/v1/responses", fmt.Sprintf(second, first.get("id").Str, "c")).status, 400)
	unkept := post(t, s, "/v1/responses", `{"model":"fake","input":"x","store":false}`)
	want(t, "not stored", do(t, s, "GET", "/v1/responses/"+unkept.get("id").Str, "").status, 404)
	for _, bad := range []string{`{"model":"fake"}`, `{"input":"x"}`, `{"model":"fake","input":5}`, `{"model":"fake","input":[{"role":"robot","content":"x"}]}`,
		`{"model":"fake","input":[{"role":"user","content":[{"type":"text","text":"x"}]}]}`, `{"model":"fake","input":"x","messages":[]}`} {
		want(t, bad, post(t, s, "/v1/responses", bad).status, 400)
	}
}

func TestResponsesInTheBackground(t *testing.T) {
	s := start(t, Options{})
	ask := `{"model":"fake","input":"x","background":true}`
	queued := post(t, s, "/v1/responses", ask)
	path := "/v1/responses/" + queued.get("id").Str
	want(t, "created", queued.get("status").Str, "queued")
	want(t, "first look", do(t, s, "GET", path, "").get("status").Str, "in_progress")
	want(t, "second look", do(t, s, "GET", path, "").get("status").Str, "completed")
	want(t, "too late", do(t, s, "POST", path+"/cancel", "").status, 400)
	other := "/v1/responses/" + post(t, s, "/v1/responses", ask).get("id").Str
	want(t, "cancelled", do(t, s, "POST", other+"/cancel", "").get("status").Str, "cancelled")
	want(t, "stays so", do(t, s, "GET", other, "").get("status").Str, "cancelled")
}
