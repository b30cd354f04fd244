package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/chdb"
)

// Prompts and answers are kept of tenants that ask for it, masked.

const contentsConfig = `
stores: {state: "sqlite:${DIR}/state.db", usage: "${STORE}"}
usage: {max: 8MiB, keep: {contents: ${KEEP}}}
providers:
  up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: x}
  claude: {kind: anthropic, base_url: "http://${UPSTREAM}", api_key: x}
models:
  chat: {targets: [{provider: up, model: gpt-4o}]}
  claude: {targets: [{provider: claude, model: claude-sonnet-4-5}]}
  hear: {targets: [{provider: up, model: whisper-1}]}
  speak: {targets: [{provider: up, model: tts-1}]}
tenants:
  bare: {log_prompts: true, keys: [{name: main, key: jv-bare-0123456789abcdef}]}
  keen:
    log_prompts: true
    keys: [{name: main, key: jv-keen-0123456789abcdef}]
    guards: [{kind: deny, action: mask, name: plan, patterns: ["Phoenix", "凤凰计划"]}, {kind: pii, types: [email]}]
  other: {keys: [{name: main, key: jv-other-0123456789abcdef}]}
`

// kept is a row of contents.
type kept struct{ tenant, asked, answered string }

// keeping is a gateway and the store of its records.
type keeping struct {
	*running
	*upstream
	config string
	rows   func(t *testing.T, query string) []gjson.Result
}

func newKeeping(t *testing.T, store string, rows func(*testing.T, string) []gjson.Result) *keeping {
	t.Helper()
	dir := stateDir(t)
	k := &keeping{upstream: newUpstream(t), rows: rows}
	if store == "" {
		store, k.rows = "sqlite:"+filepath.Join(dir, "usage.db"), func(t *testing.T, query string) []gjson.Result {
			return liteRows(t, filepath.Join(dir, "usage.db"), query)
		}
	}
	k.config = strings.NewReplacer("${DIR}", dir, "${STORE}", store, "${UPSTREAM}", k.addr()).Replace(contentsConfig)
	k.running = start(t, strings.Replace(k.config, "${KEEP}", "1h", 1))
	if strings.HasPrefix(store, "clickhouse") {
		if err := migrateUsage(t.Context(), k.path, false, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func liteRows(t *testing.T, path, query string) (list []gjson.Result) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var text string
	if err := db.QueryRowContext(t.Context(), `SELECT coalesce(json_group_array(json(line)), '[]') FROM (`+query+`)`).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return gjson.Parse(text).Array()
}

// contents waits until there are so many records, and reads what is kept, by the request's id.
func (k *keeping) contents(t *testing.T, requests, contents string, want int) map[string]kept {
	t.Helper()
	eventually(t, "all records", func() bool {
		rows := k.rows(t, requests)
		return len(rows) == 1 && rows[0].Get("n").Int() >= int64(want)
	})
	all := map[string]kept{}
	for _, row := range k.rows(t, contents) {
		if _, twice := all[row.Get("id").Str]; twice {
			t.Errorf("%s is there twice", row.Get("id").Str)
		}
		all[row.Get("id").Str] = kept{row.Get("tenant").Str, row.Get("asked").Str, row.Get("answered").Str}
	}
	return all
}

const (
	chatSaid   = `{"id":"c1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"I wrote to %s, 13812345678."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	chatEvents = `data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"I wrote to %[1]s"}}]}

data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"%[2]s, 1381234"}}]}

data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"5678."}}]}

data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}

data: [DONE]

`
)

// ask sends a request of a tenant's and returns the answer, which must be one.
func (k *keeping) served(t *testing.T, tenant, id, path, body, reply string) answer {
	t.Helper()
	k.script(reply)
	a := k.ask(t, "POST /v1/"+path+"\nX-Request-Id: "+id+"\nAuthorization: Bearer jv-"+tenant+"-0123456789abcdef\n\n"+body)
	if a.status != 200 {
		t.Fatalf("%s: %v", id, a)
	}
	return a
}

func testContents(t *testing.T, k *keeping, requests, contents string) map[string]kept {
	const asks = `"messages":[{"role":"user","content":"Phoenix 凤凰计划: 写信给 ann@example.com"}]`
	said, events := fmt.Sprintf(chatSaid, "ann@example.com"), fmt.Sprintf(chatEvents, "ann@", "example.com")
	masked, maskedEvents := fmt.Sprintf(chatSaid, "<EMAIL_1> of <PLAN_1>"), fmt.Sprintf(chatEvents, "<EMAIL", "_1> of <PLAN_2>")
	sent := 0
	for _, tenant := range []string{"bare", "keen", "other"} {
		whole, stream := said, events
		if tenant == "keen" {
			whole, stream = masked, maskedEvents
		}
		for _, try := range []struct{ name, path, body, reply string }{
			{"chat", "chat/completions", `{"model":"chat",` + asks + `}`, whole},
			{"chat-stream", "chat/completions", `{"model":"chat","stream":true,` + asks + `}`, stream},
			{"messages", "messages", `{"model":"chat","max_tokens":50,` + asks + `}`, whole},
			{"messages-stream", "messages", `{"model":"chat","max_tokens":50,"stream":true,` + asks + `}`, stream},
			{"responses-stream", "responses", `{"model":"claude","stream":true,"input":"Phoenix 凤凰计划: 写信给 ann@example.com"}`, claudeEvents(tenant == "keen")},
		} {
			a := k.served(t, tenant, tenant+"-"+try.name, try.path, try.body, try.reply)
			if !strings.Contains(a.body, "example.com") || !strings.Contains(a.body, "5678") {
				t.Errorf("%s %s: the client gets %s", tenant, try.name, a.body)
			}
			sent++
		}
	}
	all := k.contents(t, requests, contents, sent)
	if len(all) != 10 {
		t.Errorf("%d are kept", len(all))
	}
	for id, row := range all {
		if tenant, _, _ := strings.Cut(id, "-"); row.tenant != tenant || tenant == "other" {
			t.Errorf("%s is kept of %s", id, row.tenant)
		}
		both := row.asked + row.answered
		if !gjson.Valid(row.asked) || !gjson.Valid(row.answered) || !strings.Contains(row.asked, "写信给 <EMAIL_1>") || !strings.Contains(row.answered, "<PHONE>") || strings.Contains(both, "example.com") || strings.Contains(both, "5678") {
			t.Errorf("%s: %+v", id, row)
		}
		hidden := strings.Contains(both, "<PLAN_") && !strings.Contains(both, "Phoenix") && !strings.Contains(both, "凤凰")
		if row.tenant == "keen" && !hidden || row.tenant == "bare" && !strings.Contains(row.asked, "Phoenix 凤凰计划") {
			t.Errorf("%s: %+v", id, row)
		}
	}
	for id, text := range map[string]string{
		"bare-chat-stream":      "choices.0.message.content",
		"bare-messages-stream":  "content.0.text",
		"bare-responses-stream": "output.0.content.0.text",
	} {
		if got := gjson.Get(all[id].answered, text).Str; got != "I wrote to <EMAIL>, <PHONE>." {
			t.Errorf("%s: %q of %s", id, got, all[id].answered)
		}
	}
	if log := k.log.String(); strings.Contains(log, "凤凰") || strings.Contains(log, "example.com") || strings.Contains(log, "wrote to") {
		t.Errorf("what was said is in the log: %s", log)
	}
	return all
}

// claudeEvents is a stream of Anthropic's.
func claudeEvents(masked bool) string {
	who := []string{"ann@", "example.com"}
	if masked {
		who = []string{"<EMAIL", "_1>"}
	}
	var b strings.Builder
	for _, data := range []string{
		`{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"c","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}`,
		`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"I wrote to ` + who[0] + `"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + who[1] + `, 138123"}}`,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"45678."}}`,
		`{"type":"content_block_stop","index":0}`,
		`{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}`, `{"type":"message_stop"}`,
	} {
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", gjson.Get(data, "type").Str, data)
	}
	return "200\nContent-Type: text/event-stream\n\n" + b.String()
}

const (
	liteRequests = `SELECT json_object('n', count(*)) AS line FROM requests`
	liteContents = `SELECT json_object('id', id, 'tenant', tenant, 'asked', asked, 'answered', answered) AS line FROM contents`
)

func TestContents(t *testing.T) {
	k := newKeeping(t, "", nil)
	testContents(t, k, liteRequests, liteContents)

	// Pictures, sounds and files are kept as their size and digest, forms as their fields; what was refused as what was asked.
	picture := "\x89PNG not really a picture"
	k.served(t, "bare", "picture", "chat/completions", `{"model":"chat","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,`+
		base64.StdEncoding.EncodeToString([]byte(picture))+`"}}]}]}`, fmt.Sprintf(chatSaid, "nobody"))
	sound := "200\nContent-Type: audio/mpeg\n\nID3 not really a sound"
	k.served(t, "bare", "sound", "audio/speech", `{"model":"speak","input":"Call 13812345678.","voice":"alloy"}`, sound)
	k.script(`{"text":"This is eve@example.com."}`)
	upload := strings.Replace(form("audio/transcriptions", "jv-bare-0123456789abcdef", "model=hear", "prompt=ann@example.com", "file;a.mp3=12345678"), "\n", "\nX-Request-Id: form\n", 1)
	if a := k.ask(t, upload); a.status != 200 {
		t.Fatal(a)
	}
	k.script("400\n\n" + `{"error":{"message":"no","type":"invalid_request_error"}}`)
	if a := k.ask(t, "POST /v1/chat/completions\nX-Request-Id: refused\nAuthorization: Bearer jv-bare-0123456789abcdef\n\n"+`{"model":"chat","messages":[{"role":"user","content":"ann@example.com"}]}`); a.status != 400 {
		t.Fatal(a)
	}
	k.served(t, "bare", "long", "chat/completions", `{"model":"chat","messages":[{"role":"user","content":"`+strings.Repeat("长", 200_000)+`"}]}`, fmt.Sprintf(chatSaid, "nobody"))

	// A tenant of the state store asks for it too, and may think again.
	k.at(t, "")
	ran(t, "tenant", "create", "late", "--log-prompts")
	made, _ := ran(t, "key", "create", "late", "main", "--json")
	late := func(id string) {
		t.Helper()
		k.script(fmt.Sprintf(chatSaid, "nobody"))
		if a := k.ask(t, "POST /v1/chat/completions\nX-Request-Id: "+id+"\nAuthorization: Bearer "+gjson.Get(made, "key").Str+"\n\n"+`{"model":"chat","messages":[{"role":"user","content":"hi"}]}`); a.status != 200 {
			t.Fatal(a)
		}
	}
	late("late-kept")
	ran(t, "tenant", "edit", "late", "--log-prompts=false")
	late("late-not")

	all := k.contents(t, liteRequests, liteContents, 22)
	sum := func(s string) string { return fmt.Sprintf("%d bytes, sha256:%x>", len(s), sha256.Sum256([]byte(s))) }
	for id, want := range map[string]kept{
		"picture":   {asked: `{"url":"data:image/png;base64,<` + sum(picture) + `"}`, answered: "nobody"},
		"sound":     {asked: `"input":"Call <PHONE_1>."`, answered: `"<audio/mpeg, ` + sum("ID3 not really a sound") + `"`},
		"form":      {asked: `{"form":[{"field":"model","bytes":4},{"field":"prompt","bytes":15},{"field":"file","bytes":8}]}`, answered: `{"text":"This is <EMAIL>."}`},
		"refused":   {asked: "<EMAIL_1>", answered: ""},
		"long":      {asked: `长…[cut]"`, answered: "nobody"},
		"late-kept": {asked: "hi", answered: "nobody"},
	} {
		got, ok := all[id]
		if !ok || !strings.Contains(got.asked, want.asked) || !strings.Contains(got.answered, want.answered) || want.answered == "" && got.answered != "" || len(got.asked) > 300_000 {
			t.Errorf("%s: %.2000v", id, got)
		}
	}
	if _, there := all["late-not"]; there {
		t.Error("kept of a tenant that does not ask for it any more")
	}

	// They have an age of their own.
	k.stop()
	g := start(t, strings.Replace(k.config, "${KEEP}", "1ms", 1))
	eventually(t, "no contents", func() bool { return len(k.rows(t, liteContents)) == 0 })
	if n := k.rows(t, liteRequests)[0].Get("n").Int(); n < 22 {
		t.Errorf("%d requests are left", n)
	}
	g.stop()
}

func TestContentsInClickHouse(t *testing.T) {
	at := chdb.Start(t)
	plain := strings.TrimSuffix(strings.TrimPrefix(at, "clickhouse+"), "default")
	k := newKeeping(t, at, func(t *testing.T, query string) (list []gjson.Result) {
		t.Helper()
		res, err := http.Post(plain, "text/plain", strings.NewReader(query+" FORMAT JSONEachRow"))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %s", query, err, text)
		}
		for line := range strings.Lines(string(text)) {
			list = append(list, gjson.Parse(line))
		}
		return list
	})
	testContents(t, k, "SELECT toInt32(count()) AS n FROM requests", "SELECT id, tenant, asked, answered FROM contents")
}
