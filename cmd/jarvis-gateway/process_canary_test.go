package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/tidwall/gjson"
)

// What must not be found anywhere but where it belongs.
const (
	canaryPrompt  = "canary-prompt-7f3a"
	canaryAnswer  = "canary-answer-91c2"
	canaryTool    = "canary-tool-55d0"
	canaryFile    = "canary-file-08be"
	canaryEmail   = "canary.person@example.com"
	canaryPhone   = "13800138000"
	canarySecret  = "sk-canary-a8Gq1ZxW3vT7uYbN0pLrK5mD9sHf2cJe"
	canaryUser    = "canary-user-6612"
	canaryComment = "canary-comment-4e9b"
	canaryKey     = "jv-canary-key-0123456789abcdef"
	canaryBlind   = "jv-canary-unknown-0123456789abcdef" // of a stranger
	canaryJWT     = "eyJhbGciOiJub25lIn0.Y2FuYXJ5LWp3dA.canaryjwt"
	canaryUp      = "sk-canary-upstream-0123456789abcdef"
	canaryWebhook = "canary-webhook-secret-0123456789"
)

var canaryList = []string{canaryPrompt, canaryAnswer, canaryTool, canaryFile, canaryEmail, canaryPhone, canarySecret, canaryUser, canaryKey, canaryBlind, canaryJWT, canaryUp, canaryWebhook, canaryComment}

// inRecords is what usage records are meant to have: whose end user it was, and what people say of answers.
var inRecords = []string{canaryUser, canaryComment}

const canaryConfig = `
stores: {state: "sqlite:${DIR}/state.db", counters: "redis://${REDIS}/0"}
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "` + canaryUp + `"}}
models: {chat: {targets: [{provider: up, model: gpt-4o}]}}
tenants:
  acme:
    limits: {requests: 1000/d, tokens: [1M/m, 10M/d], spend: $100/d, concurrency: 50}
    user_limits: {requests: 1000/d, tokens: 1M/d, spend: $10/d}
    alerts: {at: [1%], webhook: "${HOOK}", secret: ` + canaryWebhook + `}
    keys: [{name: main, key: "` + canaryKey + `"}, {name: none, key: jv-none-0123456789abcdef, limits: {requests: 1/d, spend: $0.000001/d}}]
  guarded:
    guards: [{kind: deny, patterns: ["(?i)forbidden"]}, {kind: pii}, {kind: injection, action: flag}, {kind: size, max_messages: 3}]
    keys: [{name: main, key: jv-guarded-0123456789abcdef}]
`

// Keys, prompts, answers and people are found in no log line, metric, audit entry, file, Redis key or error.
func canaries(t *testing.T, bin string) {
	addr := redisServer(t)
	u, hooks := newUpstream(t), newHook(t) // alerts come when they like: they must not take an answer that waits for a request
	p := newProcess(t, bin, strings.NewReplacer("${REDIS}", addr, "${UPSTREAM}", u.addr(), "${HOOK}", hooks.URL).Replace(canaryConfig))
	g := &running{TB: t, api: p.at.Load().api, private: p.at.Load().private}
	for _, scene := range canaryScenes() {
		u.script(scene.reply, scene.reply)
		c := g.dial(t)
		c.begun = u.clientBegun
		a := c.do(scene.request)
		c.Close()
		if a.status != scene.status {
			t.Errorf("%s: %v, want %d", scene.name, a, scene.status)
		}
		if a.status >= 400 {
			keepsSecrets(t, scene.name+": the error", a.String(), canaryList...)
		}
		for _, s := range u.sightings() {
			keepsSecrets(t, scene.name+": what the provider saw", fmt.Sprint(s.header), canaryKey, canaryWebhook)
		}
	}
	eventually(t, "alerts", func() bool { told, _ := hooks.heard(); return len(told) >= 3 })
	told, texts := hooks.heard()
	for i, r := range told {
		keepsSecrets(t, "an alert", fmt.Sprint(r.URL, r.Header, texts[i]), canaryList...)
	}
	made := canaryAdmin(t, p)
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.log.String())
	}
	list := append(canaryList, made...)
	if !strings.Contains(p.log.String(), `"msg":"request"`) {
		t.Error("nothing was logged")
	}
	keepsSecrets(t, "the log", p.log.String(), spelled(list)...)
	files := 0
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "jarvis.yml" {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		hidden := list
		if strings.HasPrefix(d.Name(), "usage.db") || filepath.Base(filepath.Dir(path)) == "spool" {
			hidden = slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(inRecords, s) })
		}
		keepsSecrets(t, d.Name(), string(b), spelled(hidden)...)
		return err
	})
	if err != nil || files < 2 {
		t.Errorf("%d files, %v", files, err)
	}
	keepsSecrets(t, "Redis", redisText(t, addr), spelled(list)...)
}

type canaryScene struct {
	name, request, reply string
	status               int
}

func canaryScenes() []canaryScene {
	auth, body := "\nAuthorization: Bearer "+canaryKey, `{"model":"chat","user":"`+canaryUser+`","messages":[{"role":"user","content":"`+canaryPrompt+" "+canaryEmail+" "+canaryPhone+" "+canarySecret+`"}]`
	whole := `{"choices":[{"message":{"role":"assistant","content":"` + canaryAnswer + `","tool_calls":[{"function":{"name":"f","arguments":"` + canaryTool + `"}}]}}],"usage":{"prompt_tokens":70,"completion_tokens":200000}}`
	event := `data: {"choices":[{"delta":{"content":"` + canaryAnswer + `"}}]}` + "\n\n"
	chat := "POST /v1/chat/completions"
	unguarded := strings.Replace(body, canaryPrompt, "forbidden "+canaryPrompt, 1)
	guarded := "\nAuthorization: Bearer jv-guarded-0123456789abcdef\n\n"
	tooMany := strings.Replace(body, `"messages":[`, `"messages":[`+strings.Repeat(`{"role":"user","content":"`+canaryPrompt+`"},`, 4), 1)
	return []canaryScene{
		{"served", chat + auth + "\nX-Request-Id: canary-served\n\n" + body + "}", whole, 200},
		{"streamed", chat + auth + "\n\n" + body + `,"stream":true}`, event + "data: [DONE]\n\n", 200},
		{"a stream that is cut", chat + auth + "\n\n" + body + `,"stream":true}`, event + "@wait\n" + "@cut\n", 200},
		{"a stream with an error", chat + auth + "\n\n" + body + `,"stream":true}`, event + "@wait\n" + `data: {"error":{"message":"` + canaryUp + `","type":"server_error"}}` + "\n\n", 200},
		{"stored", "POST /v1/responses" + auth + "\n\n" + `{"model":"chat","input":"` + canaryPrompt + `","instructions":"` + canaryEmail + `"}`, `{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"` + canaryAnswer + `"}]}],"usage":{"input_tokens":5,"output_tokens":3}}`, 200},
		{"messages", "POST /v1/messages\nx-api-key: " + canaryKey + "\n\n" + `{"model":"chat","max_tokens":5,"metadata":{"user_id":"` + canaryUser + `"},"messages":[{"role":"user","content":"` + canaryPrompt + `"}]}`, whole, 200},
		{"a form", "POST /v1/audio/transcriptions" + auth + "\nContent-Type: multipart/form-data; boundary=b\n\n--b\nContent-Disposition: form-data; name=\"model\"\n\nchat\n--b\nContent-Disposition: form-data; name=\"prompt\"\n\n" + canaryPrompt + "\n--b\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\n\n" + canaryFile + "\n--b--", `{"text":"` + canaryAnswer + `"}`, 200},
		{"no JSON", chat + auth + "\n\n" + `{"model":"chat","messages":` + canaryPrompt, "", 400},
		{"a field twice", chat + auth + "\n\n" + `{"model":"chat","model":"chat","messages":"` + canaryPrompt + `"}`, "", 400},
		{"a bound that is none", chat + auth + "\n\n" + body + `,"max_tokens":"many"}`, "", 400},
		{"the provider fails", chat + auth + "\n\n" + body + "}", "500\n\n" + `{"error":{"message":"` + canaryUp + " " + canaryPrompt + `"}}`, 502},
		{"the provider refuses the gateway", chat + auth + "\n\n" + body + "}", "401\n\n" + `{"error":{"message":"Incorrect API key provided: ` + canaryUp + `"}}`, 502},
		{"the provider says nonsense", chat + auth + "\n\n" + body + "}", "HTTP/1.1 nonsense " + canaryAnswer + "\r\n\r\n", 502},
		{"the provider's header is nonsense", chat + auth + "\n\n" + body + `,"stream":true}`, "200\nContent-Type: text/event-stream\nContent-Encoding: br\n\n" + canaryAnswer, 502},
		{"the provider's event is nonsense", chat + auth + "\n\n" + body + `,"stream":true}`, "data: " + canaryAnswer + "\n\n@cut\n", 502},
		{"over a limit", chat + "\nAuthorization: Bearer jv-none-0123456789abcdef\n\n" + body + "}", "", 429},
		{"over the next limit", chat + "\nAuthorization: Bearer jv-none-0123456789abcdef\n\n" + body + "}", "", 429},
		{"masked", chat + guarded + body + "}", whole, 200},
		{"masked in a stream", chat + guarded + body + `,"stream":true}`, event + `data: {"choices":[{"delta":{"content":"[EMAIL_1]"}}]}` + "\n\ndata: [DONE]\n\n", 200},
		{"refused by a pattern", chat + guarded + unguarded + "}", "", 400},
		{"refused by its size", chat + guarded + tooMany + "}", "", 400},
		{"refused in the answer", chat + guarded + body + "}", strings.Replace(whole, canaryAnswer, "forbidden "+canaryAnswer, 1), 400},
		{"rated", "POST /v1/feedback" + auth + "\n\n" + `{"request_id":"canary-served","score":1,"comment":"` + canaryComment + `","metadata":{"user":"` + canaryUser + `"}}`, "", 200},
		{"rated, but not known", "POST /v1/feedback" + auth + "\n\n" + `{"request_id":"nothing","score":1,"comment":"` + canaryPrompt + `"}`, "", 404},
		{"rated with nonsense", "POST /v1/feedback" + auth + "\n\n" + `{"request_id":"canary-served","score":"` + canaryPrompt + `"}`, "", 400},
		{"a stranger", chat + "\nAuthorization: Bearer " + canaryBlind + "\n\n" + body + "}", "", 401},
		{"a token", chat + "\nAuthorization: Bearer " + canaryJWT + "\n\n" + body + "}", "", 401},
		{"no such model", chat + auth + "\n\n" + strings.Replace(body, `"chat"`, `"nothing"`, 1) + "}", "", 404},
		{"no such path", "POST /v1/nothing?key=" + canaryKey + auth + "\n\n" + body + "}", "", 404},
		{"a request that is none", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + canaryKey + "\r\nContent-Length: " + canaryPrompt + "\r\n\r\n", "", 400},
	}
}

// canaryAdmin makes, rotates and misuses keys through the private port, and returns what must not be kept.
func canaryAdmin(t *testing.T, p *process) (secrets []string) {
	call := func(method, path, body string) string {
		req, err := http.NewRequest(method, "http://"+p.at.Load().private+"/admin/v1"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	keepsSecrets(t, "the answer", call("POST", "/tenants", `{"name":"new","alerts":{"webhook":"https://example.com/hook","secret":"whsec_`+base64.StdEncoding.EncodeToString([]byte("of the tenant new"))+`"}}`), base64.StdEncoding.EncodeToString([]byte("of the tenant new")))
	made := call("POST", "/tenants/new/keys", `{"name":"k"}`)
	rotated := call("POST", "/tenants/new/keys/k/rotate", `{}`)
	for _, answer := range []string{made, rotated} {
		key := gjson.Get(answer, "key").Str
		if !strings.HasPrefix(key, "jv-") {
			t.Fatalf("no key: %s", answer)
		}
		secrets = append(secrets, key)
	}
	seen := ""
	for _, path := range []string{"/admin/v1/audit?format=jsonl", "/admin/v1/limits?tenant=acme", "/admin/v1/config", "/admin/v1/tenants", "/admin/v1/tenants/new/keys", "/metrics"} {
		text := p.must(path)
		if len(text) < 20 {
			t.Errorf("%s: %s", path, text)
		}
		seen += text
	}
	keepsSecrets(t, "the private port", seen, spelled(append(secrets, canaryList...))...)
	return secrets
}

// spelled is what must not be found, in other spellings too.
func spelled(list []string) (all []string) {
	for _, s := range list {
		all = append(all, s, hex.EncodeToString([]byte(s)), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "=")[:len(s)])
	}
	return all
}

// redisText is all that a Redis holds.
func redisText(t *testing.T, addr string) string {
	t.Helper()
	ctx := context.Background()
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	var b strings.Builder
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		b.WriteString(key + "\n")
		for name, value := range c.HGetAll(ctx, key).Val() {
			b.WriteString(name + " " + value + "\n")
		}
	}
	return b.String()
}
