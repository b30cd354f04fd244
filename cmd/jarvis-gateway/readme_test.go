package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// readmeBlocks are the README's blocks in a language.
func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, found := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, found[1])
	}
	return blocks
}

// readmeBlock is the one with some words in it.
func readmeBlock(t *testing.T, language, with string) string {
	t.Helper()
	for _, block := range readmeBlocks(t, language) {
		if strings.Contains(block, with) {
			return block
		}
	}
	t.Fatalf("the README has no %s with %q", language, with)
	return ""
}

// The README's configurations are such that the program takes.
func TestReadmeConfigs(t *testing.T) {
	for _, name := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"} {
		t.Setenv(name, "")
	}
	variables := map[string]string{"ACME_KEY": "value-of-ACME_KEY", "OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x", "AZURE_OPENAI_API_KEY": "x"}
	blocks := readmeBlocks(t, "yaml")
	if len(blocks) < 3 {
		t.Fatalf("the README has %d configurations", len(blocks))
	}
	for _, block := range blocks {
		file := filepath.Join(t.TempDir(), "jarvis.yml")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newSource(file)
		if strings.Contains(block, "providers:") { // one that leaves them out is served by the simulated provider
			s.lookup = lookupIn(variables)
		} else {
			s.lookup = lookupIn(nil)
		}
		if _, err := s.load(); err != nil {
			t.Errorf("%v, of:\n%s", err, block)
		}
	}
}

// The README's commands do what is said of them.
func TestReadmeCommands(t *testing.T) {
	g := start(t, "providers: {sim: {kind: simulated}}\nmodels: {chat: {targets: [{provider: sim}]}, gpt-4o-mini: {targets: [{provider: sim}]}}\n")
	script := readmeBlock(t, "sh", "tenant create") + `jarvis-gateway tenant show acme; echo "the key is $KEY"`
	program := filepath.Join(t.TempDir(), "jarvis-gateway")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asProgram, os.Args[0]), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("bash", "-euc", script)
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "JARVIS_ADMIN=http://"+g.private, "JARVIS_ADMIN_KEY=")
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{
		`The key before it works until 2`, `backend +active +\.\.\..... +developer`, `backend +replaced`, `limits +spend \$80/d\n`,
		`operation +local +key\.rotate +acme +backend`, `operation +local +tenant\.update +acme`, `the key is jv-\w+\n`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
}

// What the README says of alerts is how they come, and its way to verify them works.
func TestReadmeAlerts(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	type message struct {
		header http.Header
		body   []byte
	}
	told := make(chan message, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		told <- message{r.Header, body}
	}))
	defer hook.Close()
	const secret = "whsec_c2lnbmVkLWJ5LXRoZS1nYXRld2F5"
	g, u := withUpstream(t, strings.Replace(defaultConfig, "acme: {", "acme: {limits: {spend: $50/d}, timezone: Asia/Shanghai, alerts: {webhook: '"+hook.URL+"', secret: "+secret+"}, ", 1)+
		"prices: {unknown: {assume: {input: $1/M, output: $1/M}}}\n")
	u.script(`{"choices":[],"usage":{"prompt_tokens":40120000,"completion_tokens":0}}`)
	if a := g.ask(t, "chat"); a.status != 200 {
		t.Fatalf("%v", a)
	}
	var m message
	select {
	case m = <-told:
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
	example := readmeBlock(t, "json", "budget.threshold")
	times := regexp.MustCompile(`\d{4}-\d\d-\d\dT[^"]*`)
	if got := times.ReplaceAllString(string(m.body), "T"); got != strings.NewReplacer(`": `, `":`, `, "`, `,"`, ",\n ", ",", "\n", "").Replace(times.ReplaceAllString(example, "T")) {
		t.Errorf("told:\n%s\nin the README:\n%s", m.body, example)
	}
	check := func(body string) string {
		python := exec.Command("python3", "-c", readmeBlock(t, "python", "def verify")+`
import json, sys
print(verify(sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer.read()))`, secret, fmt.Sprintf(`{"webhook-id":%q,"webhook-timestamp":%q,"webhook-signature":%q}`,
			m.header.Get("Webhook-Id"), m.header.Get("Webhook-Timestamp"), m.header.Get("Webhook-Signature")))
		python.Stdin = strings.NewReader(body)
		out, err := python.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if check(string(m.body)) != "True" || check(string(m.body)+" ") != "False" {
		t.Error("the README's way to verify does not tell true from false")
	}
}

// The README's questions about usage have answers.
func TestReadmeUsage(t *testing.T) {
	g := start(t, "providers: {sim: {kind: simulated}}\nmodels: {chat: {targets: [{provider: sim}]}}\ntenants: {acme: {keys: [{name: main, key: "+tenantKey+"}]}}\n")
	for range 3 {
		if a := g.ask(t, "chat"); a.status != 200 {
			t.Fatalf("%v", a)
		}
	}
	eventually(t, "the records in the store", func() bool { return g.metrics()["jarvis_usage_delivered_total"] >= 3 })
	program := filepath.Join(t.TempDir(), "jarvis-gateway")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", asProgram, os.Args[0]), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("bash", "-euc", readmeBlock(t, "sh", "usage --by tenant,model"))
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "JARVIS_ADMIN=http://"+g.private, "JARVIS_ADMIN_KEY=")
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, want := range []string{`acme +chat +3`, `(?m)^20\d\d-\d\d-\d\d,3,`, `(?i)month`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
}
