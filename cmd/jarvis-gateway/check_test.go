package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const configs = "../../configs"

// command runs the program and returns what it printed.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	code = run(context.Background(), args, &out, &problems)
	return code, out.String(), problems.String()
}

// setVariables gives the examples' references values that pass for addresses and keys.
func setVariables(t *testing.T) {
	for _, name := range []string{"JARVIS_ADMIN_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_EAST_KEY", "AZURE_WEST_KEY"} {
		t.Setenv(name, "canary-"+name)
	}
	for _, name := range []string{"RESEARCH_KEY", "ACME_KEY", "TEAM_KEY", "JARVIS_KEY"} {
		t.Setenv(name, "jv-canary-0123456789-"+name)
	}
	for _, name := range []string{"AZURE_EAST_ENDPOINT", "AZURE_WEST_ENDPOINT"} {
		t.Setenv(name, "https://example.openai.azure.com")
	}
}

func TestCheckAcceptsTheExamples(t *testing.T) {
	setVariables(t)
	files, _ := filepath.Glob(configs + "/*.yml")
	if len(files) < 3 {
		t.Fatalf("only %d examples", len(files))
	}
	for _, file := range files {
		code, stdout, stderr := command(t, "check", file)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d: %s", file, code, stderr)
		}
		if strings.Contains(stdout, "canary") {
			t.Errorf("%s: a secret is shown:\n%s", file, stdout)
		}
		validate := yaml.Unmarshal([]byte(stdout), new(any))
		if validate != nil || !strings.Contains(stdout, "max_conns: 16384") {
			t.Errorf("%s comes to:\n%s", file, stdout)
		}
	}
}

// The annotated example shows the defaults: without its comments' settings it comes to the same server section.
func TestCheckFillsTheDefaultsThatTheExampleShows(t *testing.T) {
	setVariables(t)
	_, full, _ := command(t, "check", configs+"/jarvis.yml")
	_, short, _ := command(t, "check", configs+"/azure.yml")
	server := func(s string) string {
		_, s, _ = strings.Cut(strings.ReplaceAll(s, "  admin_key: '***'\n", ""), "server:\n")
		s, _, _ = strings.Cut(s, "providers:")
		return s
	}
	if server(full) == "" || server(full) != server(short) {
		t.Errorf("example:\n%s\ndefaults:\n%s", server(full), server(short))
	}
}

func TestCheckTellsEveryProblem(t *testing.T) {
	code, stdout, stderr := command(t, "check", "testdata/bad.durations.yml")
	if code != 1 || stdout != "" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if lines := strings.Split(stderr, "\n"); len(lines) != 7 || lines[5] != "jarvis-gateway: the configuration has 5 problems" {
		t.Errorf("stderr:\n%s", stderr)
	}
	code, _, stderr = command(t, "check", "testdata/none.yml")
	if want := "cannot read testdata/none.yml: no such file or directory\njarvis-gateway: the configuration has 1 problem\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

// TestCheckUsesThePackages proves that the packages' own checks run and that their errors have a place.
func TestCheckUsesThePackages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yml")
	text := "providers: {a: {kind: openai}}\nmodels:\n  chat: {targets: [{provider: gpu-b}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := command(t, "check", file)
	if want := file + `:3: models.chat.targets[0].provider: unknown provider "gpu-b" (have: a)`; code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}

func TestSchemaIsInStep(t *testing.T) {
	code, stdout, stderr := command(t, "schema")
	if code != 0 {
		t.Fatal(stderr)
	}
	compareGolden(t, configs+"/jarvis.schema.json", []byte(stdout))
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	var text bytes.Buffer
	if err := printSchema(&text); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("jarvis.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("jarvis.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON is a YAML text as an editor with the schema sees it.
func asJSON(t *testing.T, text []byte) any {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	datesAsText(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// datesAsText reads 2027-01-01 as YAML 1.2 and editors do.
func datesAsText(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		datesAsText(child)
	}
}

func TestSchemaAcceptsTheExamples(t *testing.T) {
	schema := compileSchema(t)
	files, _ := filepath.Glob(configs + "/*.yml")
	more, _ := filepath.Glob(configs + "/policies/*.yml")
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for text, valid := range map[string]bool{
		"server: {drain: 30s}":                                    true,
		"server: {drain: '${DRAIN}'}":                             true,
		"server: {drain: soon}":                                   false,
		"server: {drain: 30}":                                     false,
		"server: {max_body: 1000}":                                true,
		"server: {max_body: 32MiB}":                               true,
		"server: {max_body: much}":                                false,
		"server: {drian: 30s}":                                    false,
		"include: a.yml":                                          true,
		"include: [a.yml, b.yml]":                                 true,
		"include: {}":                                             false,
		"providers: {a: {kind: openai}}":                          true,
		"providers: {a: {kind: '${KIND}'}}":                       true,
		"providers: {a: {kind: openai, max_conns: '${N}'}}":       true,
		"providers: {a: {}}":                                      false,
		"providers: {a: {kind: bedrock}}":                         true,
		"providers: {a: {kind: gemini}}":                          false,
		"providers: {a: {kind: openai, max_conns: 0}}":            false,
		"providers: {a: {kind: openai, max_conns: x}}":            false,
		"models: {a: {}}":                                         false,
		"models: {a: {targets: []}}":                              false,
		"models: {a: {targets: [{provider: x}]}}":                 true,
		"models: {a: {targets: [{provider: x}], pick: weighted}}": false,
		"tenants: {a: {keys: [{key: x}]}}":                        false,
		"telemetry: {}":                                           false,
		"stores: {state: postgres://db}":                          false,
	} {
		if err := schema.Validate(asJSON(t, []byte(text))); (err == nil) != valid {
			t.Errorf("%s: %v", text, err)
		}
	}
}
