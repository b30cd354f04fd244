package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// Responses that the gateway keeps itself, of a provider that has no Responses API: they go on, can be read and deleted, by
// their own tenant only, and outlive the process.
func TestStoredResponses(t *testing.T) {
	up, err := fakellm.Start(fakellm.Options{Kind: fakellm.Anthropic, APIKey: upstreamKey, LogBodies: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	const rivalKey = "jv-rival-0123456789abcdef0123456789abcdef"
	config := fmt.Sprintf(`
server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}
stores: {state: "sqlite:%s"}
providers: {claude: {kind: anthropic, base_url: "%s", api_key: "%s"}}
models: {claude: {targets: [{provider: claude, model: claude-sonnet-4-5-20250929}]}}
tenants:
  acme: {keys: [{name: main, key: "%s"}]}
  rival: {keys: [{name: main, key: "%s"}]}
`, filepath.Join(stateDir(t), "state.db"), up.URL(), upstreamKey, tenantKey, rivalKey)
	g := start(t, config)
	call := func(key, method, path, body string) (int, gjson.Result) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+g.api+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, gjson.ParseBytes(answer)
	}
	create := func(key, body string) (int, gjson.Result) { return call(key, "POST", "/v1/responses", body) }

	up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Text: "I am Claude."} })
	_, first := create(tenantKey, `{"model":"claude","instructions":"Only now.","input":"我是谁？"}`)
	id := first.Get("id").Str
	up.SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Text: "You said so."} })
	status, second := create(tenantKey, fmt.Sprintf(`{"model":"claude","input":[{"role":"user","content":"And then?"}],"previous_response_id":%q,"stream":false}`, id))
	if status != 200 || second.Get("previous_response_id").Str != id {
		t.Fatalf("%d %s", status, second)
	}
	seen := up.Seen()
	sent := string(seen[len(seen)-1].Body)
	for _, want := range []string{"我是谁？", "I am Claude.", "And then?"} {
		if !strings.Contains(sent, want) {
			t.Errorf("the provider did not get %q: %s", want, sent)
		}
	}
	if strings.Contains(sent, "Only now.") {
		t.Errorf("instructions of an earlier turn went on: %s", sent)
	}

	for _, what := range []string{"get", "input items", "cancel", "delete", "go on"} {
		status, theirs := attempt(call, what, rivalKey, id)
		missing, unknown := attempt(call, what, rivalKey, "resp_0000")
		if status < 400 || status != missing || theirs != unknown {
			t.Errorf("%s by another tenant: %d %s, for an id that nobody has: %d %s", what, status, theirs, missing, unknown)
		}
	}

	_, unstored := create(tenantKey, `{"model":"claude","input":"x","store":false}`)
	if status, _ := call(tenantKey, "GET", "/v1/responses/"+unstored.Get("id").Str, ""); status != 404 || unstored.Get("store").Raw != "false" {
		t.Errorf("store false: %d", status)
	}

	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	g = start(t, config)
	status, again := call(tenantKey, "GET", "/v1/responses/"+id, "")
	if status != 200 || again.Raw != first.Raw {
		t.Errorf("after a restart: %d %s, want %s", status, again.Raw, first.Raw)
	}
	_, items := call(tenantKey, "GET", "/v1/responses/"+id+"/input_items?order=asc", "")
	if items.Get("data.0.content.0.text").Str != "我是谁？" || items.Get("data.#").Int() != 1 {
		t.Errorf("input items: %s", items)
	}
	if status, gone := call(tenantKey, "DELETE", "/v1/responses/"+id, ""); status != 200 || !gone.Get("deleted").Bool() {
		t.Errorf("delete: %d %s", status, gone)
	}
	if status, _ := call(tenantKey, "GET", "/v1/responses/"+id, ""); status != 404 {
		t.Errorf("after its deletion: %d", status)
	}
	status, broken := create(tenantKey, fmt.Sprintf(`{"model":"claude","input":"x","previous_response_id":%q}`, second.Get("id").Str))
	if status != 400 || broken.Get("error.code").Str != "previous_response_not_found" {
		t.Errorf("a thread with a deleted link: %d %s", status, broken)
	}
}

// attempt does something to a stored response. The answer has ID in place of its id.
func attempt(call func(key, method, path, body string) (int, gjson.Result), what, key, id string) (int, string) {
	method, path, body := "GET", "/v1/responses/"+id, ""
	switch what {
	case "input items":
		path += "/input_items"
	case "cancel":
		method, path, body = "POST", path+"/cancel", "{}"
	case "delete":
		method = "DELETE"
	case "go on":
		method, path, body = "POST", "/v1/responses", fmt.Sprintf(`{"model":"claude","input":"x","previous_response_id":%q}`, id)
	}
	status, answer := call(key, method, path, body)
	return status, strings.ReplaceAll(answer.Raw, id, "ID")
}
