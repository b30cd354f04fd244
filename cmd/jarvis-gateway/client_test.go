package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

const clientConfig = `
providers: {sim: {kind: simulated}}
models: {chat: {targets: [{provider: sim, model: m}]}}
tenants:
  filed: {keys: [{name: main, key: jv-filed-0123456789abcdef}]}
`

// at points the commands of a test to a gateway.
func (g *running) at(t *testing.T, key string) {
	t.Setenv("JARVIS_ADMIN", "http://"+g.private)
	t.Setenv("JARVIS_ADMIN_KEY", key)
}

// status is what the data plane answers a key.
func (g *running) status(key string) int {
	g.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+g.api+"/v1/models", nil)
	if err != nil {
		g.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// ran runs a command that must go well and returns what it printed.
func ran(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := command(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	return stdout, stderr
}

// A tenant's and a key's life, as an operator leads it.
func TestTenantAndKeyCommands(t *testing.T) {
	g := start(t, clientConfig)
	g.at(t, "")
	out, hint := ran(t, "tenant", "create", "acme", "--models", "chat", "--requests", "600/m", "--tokens", "200k/m,20M/d", "--spend", "$50/d", "--concurrency", "5", "--on-exceed", "queue")
	for _, want := range []string{"name ", "acme", "600/m", "$50/d", "concurrency 5", "on_exceed queue"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.Contains(hint, "jarvis-gateway key create acme") {
		t.Errorf("hint %q", hint)
	}
	key, warning := ran(t, "key", "create", "acme", "ci", "--expires", "90d", "--requests", "60/m")
	if !regexp.MustCompile(`^jv-[0-9A-Za-z]{38}\n$`).MatchString(key) || !strings.Contains(warning, "not stored") {
		t.Fatalf("%q, %q", key, warning)
	}
	key = strings.TrimSpace(key)
	if got := g.status(key); got != 200 {
		t.Errorf("the new key is answered %d", got)
	}
	list, _ := ran(t, "key", "list", "acme")
	if !regexp.MustCompile(`(?s)^NAME +STATUS +ENDS +ROLE .*\nci +active +\.\.\.`+key[len(key)-4:]+` +developer +- +2\S+Z +store +requests 60/m\n$`).MatchString(list) || strings.Contains(list, key) {
		t.Errorf("%s", list)
	}
	next, about := ran(t, "key", "rotate", "acme", "ci", "--overlap", "1h")
	next = strings.TrimSpace(next)
	if g.status(key) != 200 || g.status(next) != 200 || !strings.Contains(about, "The key before it works until 2") {
		t.Errorf("while keys overlap: %d, %d, %s", g.status(key), g.status(next), about)
	}
	ran(t, "key", "revoke", "acme", "ci")
	if g.status(key) != 401 || g.status(next) != 401 {
		t.Errorf("after revoking: %d, %d", g.status(key), g.status(next))
	}
	later, _ := ran(t, "key", "create", "filed", "later")
	latest, _ := ran(t, "key", "rotate", "filed", "later", "--overlap", "0s")
	if before, after := g.status(strings.TrimSpace(later)), g.status(strings.TrimSpace(latest)); before != 401 || after != 200 {
		t.Errorf("without an overlap: %d and %d", before, after)
	}
	later = latest
	ran(t, "key", "expire", "filed", "later", "2099-01-01")
	if out, _ := ran(t, "key", "show", "filed", "later"); !strings.Contains(out, "2099-01-01T00:00:00Z") {
		t.Errorf("%s", out)
	}
	ran(t, "key", "expire", "filed", "later", "now")
	if got := g.status(strings.TrimSpace(later)); got != 401 {
		t.Errorf("an ended key is answered %d", got)
	}
	tenants, _ := ran(t, "tenant", "list")
	if !regexp.MustCompile(`(?s)^NAME +SOURCE +MODELS +LIMITS\nacme +store +chat +.*\nfiled +config +-`).MatchString(tenants) {
		t.Errorf("%s", tenants)
	}
	ran(t, "tenant", "delete", "acme")
	if code, _, stderr := command(t, "tenant", "show", "acme"); code != 1 || !strings.Contains(stderr, `There is no tenant "acme"`) {
		t.Errorf("%d %s", code, stderr)
	}
	audit, _ := ran(t, "audit", "--since", "1h")
	for _, want := range []string{"TIME ", "tenant.create", "key.create", "key.rotate", "key.revoke", "key.expire", "tenant.delete", "local"} {
		if !strings.Contains(audit, want) {
			t.Errorf("no %q in\n%s", want, audit)
		}
	}
	if lines, _ := ran(t, "audit", "--json", "--tenant", "filed"); strings.Count(lines, "\n") != 4 || gjson.Get(lines, "action").String() != "key.create" {
		t.Errorf("%s", lines)
	}
	if strings.Contains(audit+g.log.String(), key) || strings.Contains(audit+g.log.String(), next) {
		t.Error("a key is in the audit log, or in the gateway's")
	}
}

// A file gives a tenant's fields in the configuration's words, and flags come on top.
func TestTenantEditCommand(t *testing.T) {
	g := start(t, clientConfig)
	g.at(t, "")
	file := filepath.Join(t.TempDir(), "tenant.yml")
	text := "models: [chat]\nlimits: {requests: 600/m, spend: [$50/d, $1000/month], documents: 10k}\nteams: {ops: {limits: {tokens: 1M/d}}}\npriority: 7\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	made, _ := ran(t, "tenant", "create", "acme", "--file", file, "--requests", "5/s", "--requests", "100/m", "--json")
	if gjson.Get(made, "limits.requests.1").String() != "100/m" || gjson.Get(made, "limits.spend.1").String() != "$1000/month" || gjson.Get(made, "priority").Int() != 7 {
		t.Errorf("%s", made)
	}
	edited, _ := ran(t, "tenant", "edit", "acme", "--spend", "", "--priority", "3", "--json", "--revision", gjson.Get(made, "revision").String())
	if gjson.Get(edited, "limits.spend").Exists() || gjson.Get(edited, "priority").Int() != 3 || gjson.Get(edited, "limits.requests.0").String() != "5/s" {
		t.Errorf("%s", edited)
	}
	if code, _, stderr := command(t, "tenant", "edit", "acme", "--priority", "4", "--revision", gjson.Get(made, "revision").String()); code != 1 || !strings.Contains(stderr, "changed meanwhile") {
		t.Errorf("%d %s", code, stderr)
	}
	list, _ := ran(t, "tenant", "list", "--json")
	if !gjson.Valid(list) || gjson.Get(list, "data.#").Int() != 2 {
		t.Errorf("%s", list)
	}
}

// What is wrong is said in the configuration's words, with what to do.
func TestClientRefusals(t *testing.T) {
	g := start(t, clientConfig)
	g.at(t, "")
	bad := filepath.Join(t.TempDir(), "bad.yml")
	if err := os.WriteFile(bad, []byte("model: [chat]\nalerts: {secret: \"${HOME}\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"tenant", 0, ""},
		{"tenant make", 2, `unknown command "make"`},
		{"tenant create", 2, "accepts 1 arg(s), received 0"},
		{"tenant create x --request 5/m", 2, "unknown flag: --request"},
		{"tenant create x --requests 5", 1, `limits.requests[0]: "5" is no limit over time`},
		{"tenant create x --requests 5/month", 1, "limits.requests[0]: requests can be limited per s, m, h, d, not per month"},
		{"tenant create x --concurrency many", 1, "limits.concurrency: expected a whole number"},
		{"tenant create x --models gone", 1, `models[0]: unknown model "gone" (have: chat`},
		{"tenant create filed", 1, "stands in the configuration file"},
		{"tenant create x --file " + bad, 1, "references like ${NAME} are for the configuration file"},
		{"tenant create x --file none.yml", 1, "cannot read none.yml"},
		{"tenant edit filed --priority 3", 1, "stands in the configuration file. Change it there"},
		{"tenant edit filed", 1, "say what to change"},
		{"key create filed main", 1, "stands in the configuration file"},
		{"key create filed x --role king", 1, `role: unknown role "king"`},
		{"key create filed x --expires soon", 1, `--expires: "soon" is no time`},
		{"key rotate filed x --overlap long", 1, `--overlap: "long" is no length of time`},
		{"key revoke filed none", 1, `There is no key "none"`},
		{"key expire filed none 5w", 1, `"5w" is no time`},
		{"audit --since soon", 1, `--since: "soon" is no time in the past`},
		{"audit --kind odd", 1, "kind: unknown kind"},
		{"tenant list --admin 127.0.0.1:8081", 1, "is no address like http://127.0.0.1:8081"},
		{"tenant list --admin http://" + g.api, 1, "is not a gateway's private port"},
		{"tenant list --admin http://127.0.0.1:1", 1, "no gateway answers at http://127.0.0.1:1"},
	} {
		code, _, stderr := command(t, strings.Fields(try.args)...)
		if code != try.code || !strings.Contains(stderr, try.stderr) || strings.Contains(stderr, "Usage:") {
			t.Errorf("%s: exit code %d, stderr %q", try.args, code, stderr)
		}
	}
	if _, _, stderr := command(t, "tenant", "list", "--admin", "http://127.0.0.1:1"); !strings.Contains(stderr, "jarvis-gateway serve") || !strings.Contains(stderr, "$JARVIS_ADMIN") {
		t.Errorf("no remedy: %s", stderr)
	}
}

// The admin key comes from the environment, and help does not print it.
func TestClientKey(t *testing.T) {
	g := start(t, "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, admin_key: the-admin-key-canary}\n"+clientConfig)
	g.at(t, "the-admin-key-canary")
	if out, _ := ran(t, "tenant", "list"); !strings.Contains(out, "filed") {
		t.Error(out)
	}
	for _, args := range []string{"tenant --help", "tenant list --help", "audit --help"} {
		if out, stderr := ran(t, strings.Fields(args)...); strings.Contains(out+stderr, "canary") {
			t.Errorf("%s prints the key", args)
		}
	}
	for _, wrong := range []string{"", "wrong"} {
		t.Setenv("JARVIS_ADMIN_KEY", wrong)
		if code, _, stderr := command(t, "tenant", "list"); code != 1 || !strings.Contains(stderr, "$JARVIS_ADMIN_KEY") {
			t.Errorf("%d %s", code, stderr)
		}
	}
	if _, stderr := ran(t, "tenant", "list", "--admin-key", "the-admin-key-canary"); stderr != "" {
		t.Error(stderr)
	}
}

// The key is not carried to where an answer points.
func TestClientStaysWhereItIs(t *testing.T) {
	carried := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { carried <- r.Header.Get("Authorization") }))
	defer elsewhere.Close()
	here := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer here.Close()
	if code, _, stderr := command(t, "tenant", "list", "--admin", here.URL, "--admin-key", "secret"); code != 1 || !strings.Contains(stderr, "not a gateway's private port") {
		t.Errorf("%d %s", code, stderr)
	}
	select {
	case key := <-carried:
		t.Errorf("carried %q", key)
	default:
	}
}

// Names that others chose do not move the reader's cursor.
func TestTablesAreOneLineARow(t *testing.T) {
	var out strings.Builder
	if err := table(&out, "NAME LIMITS", [][]string{{"a\x1b[2J\nb", ""}}); err != nil || out.String() != "NAME         LIMITS\na\\x1b[2J\\nb  -\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]any{
		"90d": "2026-04-02T03:04:05Z", "24h": "2026-01-03T03:04:05Z", "0s": "2026-01-02T03:04:05Z", "now": "2026-01-02T03:04:05Z", "never": nil,
		"2027-01-01": "2027-01-01", "2027-01-01T00:00:00+08:00": "2027-01-01T00:00:00+08:00", "1.5d": "2026-01-03T15:04:05Z",
	} {
		if got, err := when(text, now); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1h", "-5d", "5w", "tomorrow", "9999999999999d", "2027-13-01"} {
		if got, err := when(text, now); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// A followed audit log goes on until the reader has enough.
func TestFollowedAudit(t *testing.T) {
	g := start(t, clientConfig)
	g.at(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	var out record
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"audit", "--follow", "--json"}, &out, &out) }()
	ran(t, "tenant", "create", "one")
	eventually(t, "the first entry", func() bool { return strings.Contains(out.String(), `"target":"one"`) })
	ran(t, "tenant", "create", "two")
	eventually(t, "the second entry", func() bool { return strings.Contains(out.String(), `"target":"two"`) })
	cancel()
	if code := <-ended; code != 0 || strings.Count(out.String(), "tenant.create") != 2 {
		t.Errorf("%d %s", code, out.String())
	}
}
