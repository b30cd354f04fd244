package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const usageConfig = `
providers: {sim: {kind: simulated}}
models: {chat: {targets: [{provider: sim, model: gpt-4o}]}}
tenants:
  acme:
    teams: {ops: {}}
    keys:
      - {name: dev, key: jv-acme-dev-0123456789abcdef}
      - {name: ops, key: jv-acme-ops-0123456789abcdef, team: ops, role: tenant_admin}
      - {name: boss, key: jv-acme-boss-0123456789abcdef, role: tenant_admin}
      - {name: eye, key: jv-acme-eye-0123456789abcdef, role: viewer}
      - {name: root, key: jv-acme-root-0123456789abcdef, role: super_admin}
  globex: {keys: [{name: main, key: jv-globex-0123456789abcdef}]}
`

// A tenant sees with its own keys what they did: a developer's his own, a viewer's and an admin's all, a team's that team's. The
// commands say the same as the private port.
func TestUsageWithOnesOwnKey(t *testing.T) {
	g := start(t, usageConfig)
	g.at(t, "")
	send := func(method, path, key, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.api+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(raw)
	}
	keys := map[string]string{}
	for _, name := range []string{"dev", "ops", "boss", "eye", "root"} {
		keys[name] = "jv-acme-" + name + "-0123456789abcdef"
	}
	for _, key := range []string{keys["dev"], keys["ops"], keys["ops"], keys["boss"], "jv-globex-0123456789abcdef"} {
		if status, body := send("POST", "/v1/chat/completions", key, `{"model":"chat","messages":[{"role":"user","content":"hi"}]}`); status != 200 {
			t.Fatal(body)
		}
	}
	const chats = "/v1/usage?where.endpoint=chat&by=key&order=key"
	eventually(t, "all records", func() bool {
		_, body := send("GET", chats, keys["boss"], "")
		return gjson.Get(body, "total.requests").Int() == 4
	})
	for name, want := range map[string]string{"dev": "dev", "ops": "ops", "boss": "boss dev ops", "eye": "boss dev ops", "root": "boss dev ops"} {
		status, body := send("GET", chats, keys[name], "")
		var got []string
		for _, v := range gjson.Get(body, "data.#.group.key").Array() {
			got = append(got, v.String())
		}
		if status != 200 || strings.Join(got, " ") != want {
			t.Errorf("%s sees %d %s", name, status, body)
		}
		for query, want := range map[string]int{"?where.tenant=globex": 404, "?where.tenant=acme": 200, "?by=replica": 403, "?by=secret": 400, "?format=csv": 200} {
			if status, body := send("GET", "/v1/usage"+query, keys[name], ""); status != want {
				t.Errorf("%s%s: %d %s, want %d", name, query, status, body, want)
			}
		}
	}
	if status, _ := send("GET", "/v1/usage", "jv-nobody", ""); status != 401 {
		t.Errorf("a stranger is answered %d", status)
	}
	if status, _ := send("POST", "/v1/usage", keys["dev"], ""); status != 405 {
		t.Errorf("POST is answered %d", status)
	}
	if out, _ := ran(t, "usage", "--by", "tenant", "--where", "endpoint=chat", "--format", "csv"); !strings.Contains(out, "\nacme,4,0,") || !strings.Contains(out, "\nglobex,1,0,") {
		t.Errorf("%s", out)
	}
}
