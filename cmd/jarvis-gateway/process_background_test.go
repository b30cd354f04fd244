package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
)

// The stream of a response in the background is cut by the end of the gateway, and the response asked for afterwards: what it used is
// recorded once, not beside a guess.
func cutInBackground(t *testing.T, bin string) {
	up := replicas(t, 1, fakellm.Options{Default: fakellm.Plan{Tokens: 40, EventDelay: 50 * time.Millisecond}})[0]
	p := newProcess(t, bin, strings.ReplaceAll(`
stores: {state: "sqlite:${DIR}/state.db", usage: "sqlite:${DIR}/usage.db"}
providers: {openai: {kind: openai, base_url: "${UP}/v1", api_key: sk-up}}
models: {chat: {targets: [{provider: openai, model: gpt-4o}]}}
tenants: {acme: {keys: [{name: main, key: jv-main-0123456789abcdef}]}}
`, "${UP}", up.URL()))
	client := clients(t)
	do := func(method, path, body string) *http.Response {
		req, err := http.NewRequest(method, "http://"+p.at.Load().api+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer jv-main-0123456789abcdef")
		res, err := client.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(err, res)
		}
		return res
	}
	res := do("POST", "/v1/responses", fmt.Sprintf(inBackground, true))
	id := ""
	for lines := bufio.NewScanner(res.Body); id == "" && lines.Scan(); {
		if found := regexp.MustCompile(`"id":"(resp_[^"]+)"`).FindStringSubmatch(lines.Text()); found != nil {
			id = found[1]
		}
	}
	p.kill()
	_ = res.Body.Close()
	p.start()
	ended := func() bool {
		res := do("GET", "/v1/responses/"+id, "")
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return strings.Contains(string(text), `"status":"completed"`)
	}
	eventually(t, "the response's end", ended)
	if code := p.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	cost, rows := int64(0), liteRows(t, filepath.Join(p.dir, "usage.db"), `SELECT json_object('id', id, 'endpoint', endpoint, 'cost', cost_nano,
		'completion', completion_tokens, 'interrupted', interrupted) AS line FROM requests ORDER BY cost_nano DESC`)
	cut := 0
	for _, r := range rows {
		cost += r.Get("cost").Int()
		cut += int(r.Get("interrupted").Int())
	}
	if cut != 1 || rows[0].Get("endpoint").Str != "responses.background" || rows[0].Get("completion").Int() != 40 || cost != rows[0].Get("cost").Int() || cost == 0 {
		t.Error(rows)
	}
}
