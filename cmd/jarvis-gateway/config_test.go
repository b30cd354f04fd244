package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canary stands in for every secret: it must never be printed.
const canary = "canary-5ecret"

// testVariables is the environment of the configurations under testdata.
var testVariables = map[string]string{
	"SECRET":      canary,
	"LONG_SECRET": canary + "-0123456789",
	"EMPTY":       "",
	"VENDOR":      "openai",
	"PORT":        "8443",
	"NUMBER":      "12",
	"HOST":        "example.com",
	"LENGTH":      "45s",
	"URL":         "https://example.com/v1",
	// What follows would change the structure of the file if it were pasted into it.
	"FLOW":  "{kind: openai, api_key: canary}",
	"LIST":  "[http://10.0.0.1, http://canary]",
	"BLOCK": "base_url: http://canary\nkind",
	"ALIAS": "*canary",
	"NULL":  "null",
}

func lookupIn(variables map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := variables[name]
		return value, ok
	}
}

func testSource(path string) *source {
	return &source{
		path:     path,
		lookup:   lookupIn(testVariables),
		key:      func() wire.Secret { return "jv-" + canary },
		validate: knownProviders,
	}
}

// knownProviders stands in for the packages' checks, so that these tests are not about their wording.
func knownProviders(c *Config) error {
	var errs []error
	have := strings.Join(slices.Sorted(maps.Keys(c.Providers)), ", ")
	for _, name := range slices.Sorted(maps.Keys(c.Models)) {
		for i, target := range c.Models[name].Targets {
			if _, ok := c.Providers[target.Provider]; !ok {
				errs = append(errs, fmt.Errorf("models.%s.targets[%d].provider: unknown provider %q (have: %s)", name, i, target.Provider, have))
			}
		}
	}
	return errors.Join(errs...)
}

// Each testdata/bad.<why>.yml begins with the problems that it must give, all of them, in order.
func TestBadConfigs(t *testing.T) { wantProblems(t, "bad.", 40, knownProviders) }

// Each testdata/refused.<why>.yml does so too. What is wrong with it is what the packages find.
func TestRefusedConfigs(t *testing.T) { wantProblems(t, "refused.", 7, validate) }

func wantProblems(t *testing.T, prefix string, least int, validate func(*Config) error) {
	t.Chdir("testdata")
	files, _ := filepath.Glob(prefix + "*.yml")
	if len(files) < least {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, prefix), ".yml"), func(t *testing.T) {
			s := testSource(file)
			s.validate = validate
			_, err := s.load()
			if err == nil {
				t.Fatal("accepted")
			}
			if want := wantedLines(t, file); err.Error() != want {
				t.Errorf("got:\n%s\nwant:\n%s", err, want)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("a secret is shown:\n%s", err)
			}
		})
	}
}

func wantedLines(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(text)) {
		if message, ok := strings.CutPrefix(line, "# want: "); ok {
			want = append(want, strings.TrimSuffix(message, "\n"))
		}
	}
	return strings.Join(want, "\n")
}

// Each testdata/good.<what>.yml comes to what stands in its golden file.
func TestGoodConfigs(t *testing.T) {
	t.Chdir("testdata")
	files, _ := filepath.Glob("good.*.yml")
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "good."), ".yml"), func(t *testing.T) {
			l, err := testSource(file).load()
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := l.print(&got); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, strings.TrimSuffix(file, ".yml")+".golden", got.Bytes())
			if strings.Contains(got.String(), "canary") {
				t.Error("a secret is shown")
			}
		})
	}
}

func compareGolden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", file, got)
	}
}

// What check prints is itself a configuration that comes to the same, but for the masks.
func TestEffectiveConfigIsAConfig(t *testing.T) {
	t.Chdir("testdata")
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "part"), os.DirFS("part")); err != nil {
		t.Fatal(err)
	}
	printed := func(t *testing.T, file string) []byte {
		l, err := testSource(file).load()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := l.print(&out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	files, _ := filepath.Glob("good.*.yml")
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "good."), ".yml"), func(t *testing.T) {
			first := printed(t, file)
			t.Chdir(dir)
			if err := os.WriteFile(file, first, 0o644); err != nil {
				t.Fatal(err)
			}
			if second := printed(t, file); !bytes.Equal(first, second) {
				t.Errorf("first:\n%s\nsecond:\n%s", first, second)
			}
		})
	}
}

// The configuration that has every policy there is passes the packages' checks too.
func TestPackagesTakeEveryPolicy(t *testing.T) {
	t.Chdir("testdata")
	s := testSource("good.policy.yml")
	s.validate = validate
	if _, err := s.load(); err != nil {
		t.Error(err)
	}
}

func TestLoadedSecretsAreReal(t *testing.T) {
	t.Chdir("testdata")
	l, err := testSource("good.full.yml").load()
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Providers["openai"].APIKey.Reveal(); got != canary {
		t.Errorf("api_key = %q", got)
	}
	if got := l.Providers["gpu"].Headers["X-From-Env"]; got != canary {
		t.Errorf("header = %q", got)
	}
	if l.Include != nil || l.Key != "" {
		t.Errorf("include %v and key %v are left", l.Include, l.Key)
	}
}

// An error of a later step, such as connecting a store, is told with its place too.
func TestExplain(t *testing.T) {
	t.Chdir("testdata")
	l, err := testSource("good.full.yml").load()
	if err != nil {
		t.Fatal(err)
	}
	err = l.explain(errors.Join(
		errors.New("tenants.beta.keys[1].hash: expected 64 hex digits"),
		fmt.Errorf("providers.gpu.replicas[1]: cannot reach it with %s", canary),
		errors.Join(errors.New("models.gpt-*.targets[0].model: odd"), errors.New("everything is odd")),
	))
	want := `everything is odd
good.full.yml:16: providers.gpu.replicas[1]: cannot reach it with ***
good.full.yml:29: models.gpt-*.targets[0].model: odd
good.full.yml:35: tenants.beta.keys[1].hash: expected 64 hex digits`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if l.explain(nil) != nil {
		t.Error("no error is explained")
	}
}

func TestOneTenantKeyForEveryLoad(t *testing.T) {
	t.Chdir("testdata")
	s := newSource("good.empty.yml")
	s.lookup, s.validate = lookupIn(nil), knownProviders
	first, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	if first.Key != second.Key || first.Key != second.Tenants["default"].Keys[0].Key {
		t.Error("the key has changed")
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The main file matches its own pattern; an editor's lock and a folder match too.
	write("[a]/main.yml", "include: ['*.yml', b.yml, 'x/*/*.yml', none/*.yml]\nmodels: {main: {targets: [{provider: b}]}}")
	write("[a]/b.yml", "providers: {b: {kind: openai}}")
	write("[a]/.b.yml", "providers: {b: {kind: openai}}")
	write("[a]/folder.yml/c.txt", "")
	write("[a]/x/1/c.yml", "models: {c: {targets: [{provider: b}]}}")
	write("[a]/x/2/c.yml", "tenants: {c: {models: [c]}}")
	l, err := testSource(filepath.Join(dir, "[a]", "main.yml")).load()
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Providers) != 1 || len(l.Models) != 2 || len(l.Tenants) != 1 {
		t.Errorf("got %+v", l.Config)
	}
}
