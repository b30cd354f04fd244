package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/state"
)

var testSalt = []byte("salt")

// filed is a source whose files are these, as names and texts; the first is the main file.
func filed(t *testing.T, files ...string) *source {
	t.Helper()
	dir := t.TempDir()
	for pair := range slices.Chunk(files, 2) {
		path := filepath.Join(dir, pair[0])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(pair[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := newSource(filepath.Join(dir, files[0]))
	s.lookup = func(name string) (string, bool) {
		value, set := map[string]string{"KEY": "jv-from-env-0123456789", "TOKEN": "token-from-env", "HOST": "up.test"}[name]
		return value, set
	}
	return s
}

func mustLoad(t *testing.T, s *source) *loaded {
	t.Helper()
	l, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Canaries are the secrets of secretive, of which none may be kept.
const secretive = `# an old key: sk-canary-comment
server:
  admin_key: admin-canary # here too: sk-canary-comment
stores: {state: "postgres://jarvis:canary-stores@db/jarvis"}
include: more/*.yml
providers:
  a:
    kind: openai
    base_url: https://${HOST}/v1
    proxy: http://user:canary-password@${HOST}:3128
    api_key: sk-canary-literal
    headers: {X-Api-Token: canary-header, X-Auth: "Bearer ${TOKEN}", X-Plain: canary, X-Long: canary-plain, X-Env: "${TOKEN}", X-Twice: "so sk-canary-literal again"}
  b: {kind: openai, proxy: "http://user:${TOKEN}@${HOST}:3128", api_key: "${KEY}"}
  c:
    kind: openai
    api_key: "${UNSET:-sk-canary-fallback}"
    headers: {X-Auth: "half ${TOKEN} canary-half"}
models:
  chat:
    targets: [{provider: a, model: gpt-4o}]
    timeout: {total: 30s}
    rules:
      - {when: {header: {X-Pass: canary-rule, X-Of: [canary-one, "${TOKEN}"]}, tag: a}, model: other}
      - {when: 'header("X-Pass") == "canary-expression"', model: other}
      - {when: tokens > 8000, model: other}
  other: {targets: [{provider: b, model: canary-plain}]}
tenants:
  acme:
    keys:
      - {name: main, key: &k "jv-canary-'quoted\"#key"}
      - name: block
        key: |-
          jv-canary-block-0123
    alerts: {webhook: https://hooks.test/canary-path, secret: canary-alert-secret}
    guards:
      - {kind: http, on: request, url: "https://guard.test/?canary-query", secret: canary-guard-secret}
    limits: {requests: 600/m, spend: {limit: $50/d, on_exceed: reject}}
prices: {file: prices.yml}
`

const moreFile = "tenants:\n  other: {keys: [{name: main, key: jv-canary-included}, {name: env, key: \"${KEY}\"}]} # jv-canary-comment\n"

func secretiveSource(t *testing.T) *source {
	return filed(t, "jarvis.yml", strings.Replace(secretive, "on: request, ", "", 1), "more/other.yml", moreFile, "prices.yml", "# canary-prices\ngpt-4o: {input: $1/M, output: $2/M}\n")
}

func TestVersionsKeepNoSecret(t *testing.T) {
	l := mustLoad(t, secretiveSource(t))
	v := l.version(testSalt)
	var all strings.Builder
	for _, f := range v.Files {
		all.WriteString("## " + f.Kind + " " + f.Name + "\n" + strings.ReplaceAll(f.Text, "model: canary-plain", "model: as-a-header"))
	}
	if strings.Contains(all.String(), "canary") || strings.Contains(all.String(), "from-env") {
		t.Errorf("a secret is kept:\n%s", all.String())
	}
	for _, want := range []string{"## main jarvis.yml\n", "## include more/other.yml\n", "## prices prices.yml\n", `X-Plain: "*** `, `X-Env: "${TOKEN}"`, `X-Pass: "*** `, `"${TOKEN}"]}, tag: a}`, "when: tokens > 8000", "model: as-a-header", `"Bearer ${TOKEN}"`, `key: "${KEY}"`,
		`proxy: "http://user:${TOKEN}@${HOST}:3128"`, "include: more/*.yml", "spend: {limit: $50/d, on_exceed: reject}", "gpt-4o: {input: $1/M, output: $2/M}", `api_key: "*** `} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no %s in\n%s", want, all.String())
		}
	}
	if again := mustLoad(t, secretiveSource(t)).version(testSalt); again.SHA256 != v.SHA256 {
		t.Error("the same files are another version in another folder")
	}
	if other := l.version([]byte("other salt")); other.SHA256 == v.SHA256 {
		t.Error("the salt makes no difference")
	}
}

// A version comes back as it was, once its secrets are found.
func TestVersionsComeBack(t *testing.T) {
	s := secretiveSource(t)
	l := mustLoad(t, s)
	v := l.version(testSalt)
	back, err := s.restore(v, l, secrets(testSalt, nil, l))
	if err != nil {
		t.Fatal(err)
	}
	if back.Prices.Text, l.Prices.Text = nil, nil; !reflect.DeepEqual(back.Config, l.Config) { // of prices comments are left out
		t.Errorf("%+v\n%+v", back.Config, l.Config)
	}
	if again := back.version(testSalt); again.SHA256 != v.SHA256 {
		t.Error("what came back is another version")
	}
	if !reflect.DeepEqual(without(secrets(testSalt, l), "server", "admin-canary", "canary-stores"), without(secrets(testSalt, back), "server", "admin-canary", "canary-stores")) {
		t.Error("what came back has other secrets")
	}
	v.ID = 7
	_, err = s.restore(v, l, nil)
	if err == nil {
		t.Fatal("restored without its secrets")
	}
	text := unplaced(err).Error()
	for _, path := range []string{"providers.a.api_key", "providers.a.proxy", "providers.a.headers.X-Api-Token", "providers.c.api_key", "tenants.acme.keys[0].key", "tenants.acme.keys[1].key",
		"tenants.acme.alerts.webhook", "tenants.acme.alerts.secret", "tenants.acme.guards[0].url", "tenants.other.keys[0].key"} {
		if !strings.Contains(text, path+": the secret that stood here is in no file any more") {
			t.Errorf("no %s in\n%s", path, text)
		}
	}
	if strings.Contains(text, "server") || strings.Contains(text, "canary") || !strings.Contains(err.Error(), "jarvis.yml (version 7):") {
		t.Errorf("%v", err)
	}
}

func without(m map[string]string, parts ...string) map[string]string {
	for mark, secret := range m {
		if slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(secret, part) }) {
			delete(m, mark)
		}
	}
	return m
}

// The sections server and stores stay those of the files.
func TestVersionsLeaveTheServer(t *testing.T) {
	old := mustLoad(t, filed(t, "jarvis.yml", "server: {listen: 127.0.0.1:1, admin_key: old-secret-key}\nstores: {state: \"sqlite:old.db\"}\nproviders: {a: {kind: simulated}}\n"))
	s := filed(t, "jarvis.yml", "server: {listen: 127.0.0.1:2}\nproviders: {b: {kind: simulated}}\n")
	now := mustLoad(t, s)
	back, err := s.restore(old.version(testSalt), now, nil)
	if err != nil || back.Server != now.Server || back.Stores != now.Stores || len(back.Providers) != 1 || back.Providers["a"].Kind != "simulated" {
		t.Errorf("%v, %+v", err, back)
	}
}

// What is kept of each example reads as the example does.
func TestExamplesAreKept(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		s := newSource(file)
		s.lookup = func(string) (string, bool) { return "jv-0123456789-from-env", true }
		l, err := s.load()
		if err != nil {
			continue // no configuration, or one of another test
		}
		n++
		v := l.version(testSalt)
		back, err := s.restore(v, l, secrets(testSalt, l))
		if err != nil {
			t.Fatal(err)
		}
		if back.Prices.Text, l.Prices.Text = nil, nil; !reflect.DeepEqual(back.Config, l.Config) {
			t.Errorf("%s: %v\n%s", file, err, v.Files[0].Text)
		}
	}
	if n == 0 {
		t.Error("no example is a configuration")
	}
}

// Texts that look like marks, or like the places of marks, do no harm.
func TestVersionsOfOddTexts(t *testing.T) {
	s := filed(t, "jarvis.yml", "providers:\n  a: {kind: openai, api_key: sk-secret-0123, headers: {A: \"\\ue0027\\ue003\", B: \"\\ue0020\\ue003\", D: \"\\ue000x\"}}\nmodels: {m: {targets: [{provider: a, model: \"*** 0123456789abcdef\"}]}}\n")
	l := mustLoad(t, s)
	v := l.version(testSalt)
	if strings.Contains(v.Files[0].Text, "sk-secret") {
		t.Errorf("%s", v.Files[0].Text)
	}
	if _, err := s.restore(v, l, secrets(testSalt, l)); err == nil || !strings.Contains(err.Error(), "models.m.targets[0].model") {
		t.Errorf("%v", err)
	}
	if _, err := s.restore(state.Version{}, l, nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

// Whatever a file holds: what is kept of it reads as the file does, and holds none of its secrets.
func FuzzKept(f *testing.F) {
	f.Add(secretive)
	f.Add(moreFile)
	f.Add("providers: {a: &a {kind: openai, api_key: 'sk-0123456789'}, b: *a}\n")
	f.Add("providers:\n  a:\n    api_key: >-\n      sk-0123\n      456789 ${KEY}\n\n    headers: {? a : \"\\u00e9\\0\", b: ' ', c: '*** 0123'}\n")
	f.Fuzz(func(t *testing.T, text string) {
		lookup := func(string) (string, bool) { return "from-env-0123", true }
		var first, again Config
		d := decode("a.yml", []byte(text), &first, lookup)
		if len(d.problems) > 0 {
			return
		}
		var sought []string
		for n, everywhere := range d.secret {
			if everywhere {
				sought = append(sought, d.written(n.Value))
			}
		}
		k, err := d.keep("a.yml", "main")
		if err != nil {
			t.Skip(err)
		}
		l := &loaded{kept: []keptFile{k}}
		pool := secrets(testSalt, l)
		kept := l.version(testSalt).Files[0].Text
		for _, secret := range sought {
			if len(secret) >= 16 && strings.Contains(kept, secret) {
				t.Errorf("%q is kept in\n%s", secret, kept)
			}
		}
		back := &decoder{file: "a.yml", lookup: lookup, places: map[string]place{}, fill: func(mark string) (string, bool) {
			secret, found := pool[mark]
			return secret, found
		}}
		back.decode([]byte(kept), &again)
		if len(back.problems) > 0 || !reflect.DeepEqual(first, again) {
			t.Errorf("%v\n%q\n%q", back.problems, text, kept)
		}
	})
}
