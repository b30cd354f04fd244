package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const formConfig = `
providers: {up: {kind: openai, base_url: "http://${UPSTREAM}/v1", api_key: "${UPSTREAM_KEY}"}}
models: {draw: {targets: [{provider: up, model: gpt-image-1}]}, hear: {targets: [{provider: up, model: whisper-1}]}, chat: {targets: [{provider: up, model: gpt-4o}]}}
tenants:
  acme:
    keys:
      - {name: main, key: "${KEY}"}
      - {name: loose, key: jv-loose-0123456789abcdef}
    guards: [{kind: deny, patterns: ["(?i)forbidden"]}, {kind: pii, types: [email]}]
  blind:
    keys: [{name: main, key: jv-blind-0123456789abcdef}]
    guards: [{kind: modality, deny: [image]}]
  deaf:
    keys: [{name: main, key: jv-deafs-0123456789abcdef}]
    guards: [{kind: modality, deny: [audio]}]
  strict:
    keys: [{name: main, key: jv-strict-0123456789abcdef}]
    guards: [{kind: allow, patterns: ["^a cat"]}]
`

// form is a request of this kind, in the tests' notation: its fields as name=value, a file's as name;filename=value.
func form(path, key string, fields ...string) string {
	text := "POST /v1/" + path + "\nAuthorization: Bearer " + key + "\nContent-Type: multipart/form-data; boundary=b\n\n"
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		name, more, _ := strings.Cut(name, ";")
		disposition := `Content-Disposition: form-data; name="` + name + `"`
		switch {
		case strings.HasPrefix(more, "Content-"):
			disposition += "\n" + more
		case more != "":
			disposition += `; filename="` + more + `"`
		}
		text += "--b\n" + disposition + "\n\n" + value + "\n"
	}
	return text + "--b--"
}

// A tenant's guards look at forms as they do at JSON: at every text, and at what kind the files are of.
func TestFormsAreGuarded(t *testing.T) {
	g, u := withUpstream(t, formConfig)
	const picture = "\xff\xd8\xff picture"
	for _, row := range []struct {
		name, request string
		refused       string // a word of the error; "": served
		saw, sawNot   string
	}{
		{"nothing to find", form("images/edits", tenantKey, "model=draw", "prompt=a cat", "image;a.jpg="+picture), "", "a cat", ""},
		{"denied", form("images/edits", tenantKey, "model=draw", "prompt=a Forbidden cat", "image;a.jpg="+picture), "content_policy_violation", "", ""},
		{"denied in another field", form("audio/transcriptions", tenantKey, "model=hear", "anything=FORBIDDEN", "file;a.mp3="+picture), "content_policy_violation", "", ""},
		{"denied in what says to be a file", form("images/edits", tenantKey, "model=draw", "prompt;p.txt=a forbidden cat", "image;a.jpg="+picture), "content_policy_violation", "", ""},
		{"masked", form("images/edits", tenantKey, "model=draw", "prompt=a cat of ann@example.com", "user=bob@example.com", "image;a.jpg="+picture), "", "a cat of <EMAIL_1>", "example.com"},
		{"masked, all else as it was", form("audio/transcriptions", tenantKey, "prompt=ann@example.com", "model=hear", "file;a.mp3="+picture, "language=en"), "", picture + "\r\n--b\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nen\r\n--b--", "example.com"},
		{"encoded", form("images/edits", tenantKey, "model=draw", "prompt;Content-Transfer-Encoding: base64=Zm9yYmlkZGVu", "image;a.jpg="+picture), "UTF-8", "", ""},
		{"no text", form("images/edits", tenantKey, "model=draw", "prompt="+picture, "image;a.jpg="+picture), "UTF-8", "", ""},
		{"no pictures", form("images/edits", "jv-blind-0123456789abcdef", "model=draw", "prompt=a cat", "image[];a.jpg="+picture), "content_policy_violation", "", ""},
		{"no pictures, but sound", form("audio/transcriptions", "jv-blind-0123456789abcdef", "model=hear", "file;a.mp3="+picture), "", "whisper-1", ""},
		{"no sound", form("audio/transcriptions", "jv-deafs-0123456789abcdef", "model=hear", "file;a.mp3="+picture), "content_policy_violation", "", ""},
		{"allowed", form("images/edits", "jv-strict-0123456789abcdef", "model=draw", "prompt=a cat", "size=1024x1024", "image;a.jpg="+picture), "", "1024x1024", ""},
		{"not allowed", form("images/edits", "jv-strict-0123456789abcdef", "model=draw", "prompt=a dog", "image;a.jpg="+picture), "content_policy_violation", "", ""},
	} {
		u.script(`{"data":[]}`)
		a := g.ask(t, row.request)
		seen := u.sightings()
		if row.refused != "" {
			if a.status != 400 || !strings.Contains(a.body, row.refused) || len(seen) != 0 {
				t.Errorf("%s: %v, %d went on", row.name, a, len(seen))
			}
			continue
		}
		if a.status != 200 || len(seen) != 1 || !strings.Contains(seen[0].body, row.saw) || row.sawNot != "" && strings.Contains(seen[0].body, row.sawNot) {
			t.Errorf("%s: %v; the provider saw %v", row.name, a, seen)
		}
	}
}

// So do they at what comes of forms, and what was masked is put back.
func TestAnswersOfFormsAreGuarded(t *testing.T) {
	g, u := withUpstream(t, formConfig)
	ask := form("audio/transcriptions", tenantKey, "model=hear", "prompt=ann@example.com speaks", "file;a.mp3=\xff")
	for _, row := range []struct{ reply, want string }{
		{`{"text":"I am <EMAIL_1>."}`, `{"text":"I am ann@example.com."}`},
		{`{"text":"I am eve@example.com."}`, `{"text":"I am <EMAIL>."}`},
		{"200\nContent-Type: text/plain\n\nI am eve@example.com.", "I am <EMAIL>."},
		{`{"text":"It is forbidden."}`, "content_policy_violation"},
		{"data: {\"type\":\"transcript.text.delta\",\"delta\":\"I am eve@example.com, and you? \"}\n\ndata: {\"type\":\"transcript.text.done\",\"text\":\"I am eve@example.com, and you?\"}\n\n", "I am <EMAIL>, and you?"},
	} {
		u.script(row.reply)
		if a := g.ask(t, ask); !strings.Contains(a.body, row.want) || strings.Contains(a.body, "eve@") {
			t.Errorf("%s becomes %v, want %s", row.reply, a, row.want)
		}
	}
}

// What a provider stores passes the guards of whoever reads it.
func TestStoredAnswersAreGuarded(t *testing.T) {
	g, u := withUpstream(t, formConfig)
	said := func(text string) string {
		return `{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"` + text + `"}]}],"usage":{"input_tokens":1,"output_tokens":1}}`
	}
	u.script(said("Hi."))
	if a := g.ask(t, "POST /v1/responses\n\n"+`{"model":"chat","input":"x"}`); a.status != 200 {
		t.Fatal(a)
	}
	for _, row := range []struct{ path, reply, want string }{
		{"resp_1", said("I am eve@example.com."), "I am <EMAIL>."},
		{"resp_1", said("It is forbidden."), "content_policy_violation"},
		{"resp_1/input_items", `{"object":"list","data":[{"type":"message","role":"user","content":[{"type":"input_text","text":"eve@example.com"}]}]}`, "<EMAIL>"},
		{"resp_1?stream=true", "data: {\"type\":\"response.output_text.delta\",\"delta\":\"I am eve@example.com, \"}\n\ndata: {\"type\":\"response.completed\",\"response\":" + said("I am eve@example.com, ") + "}\n\n", "I am <EMAIL>, "},
	} {
		u.script(row.reply)
		if a := g.ask(t, "GET /v1/responses/"+row.path); !strings.Contains(a.body, row.want) || strings.Contains(a.body, "eve@") {
			t.Errorf("%s: %v, want %s", row.path, a, row.want)
		}
	}
}

// So does what the gateway keeps itself, which may be older than its guards.
func TestKeptAnswersAreGuarded(t *testing.T) {
	u := newUpstream(t)
	config := strings.NewReplacer("${UPSTREAM}", u.addr(), "${KEY}", tenantKey, "${STATE}", filepath.Join(stateDir(t), "state.db")).Replace(`
stores: {state: "sqlite:${STATE}"}
providers: {claude: {kind: anthropic, base_url: "http://${UPSTREAM}", api_key: "x"}}
models: {claude: {targets: [{provider: claude, model: claude-real}]}}
tenants:
  acme: {keys: [{name: main, key: "${KEY}"}], guards: []}
`)
	g := start(t, config)
	u.script(`{"id":"m","type":"message","role":"assistant","model":"claude-real","content":[{"type":"text","text":"I am eve@example.com."}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)
	a := g.ask(t, "POST /v1/responses\n\n"+`{"model":"claude","input":"Write to ann@example.com."}`)
	id := gjson.Get(a.body, "id").Str
	if a.status != 200 || id == "" || !strings.Contains(a.body, "eve@") {
		t.Fatal(a)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	g = start(t, strings.Replace(config, "guards: []", "guards: [{kind: pii}]", 1))
	for _, path := range []string{id, id + "/input_items"} {
		if a := g.ask(t, "GET /v1/responses/"+path); a.status != 200 || !strings.Contains(a.body, "<EMAIL>") || strings.Contains(a.body, "@example.com") {
			t.Errorf("%s: %v", path, a)
		}
	}
}
