package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

const (
	configs   = "../../configs"
	priceList = configs + "/prices.yml"
)

// command runs the program and returns what it printed.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	code = run(context.Background(), args, &out, &problems)
	return code, out.String(), problems.String()
}

// setVariables gives the examples' references values that pass for keys, secrets and addresses.
func setVariables(t *testing.T) {
	for _, name := range []string{"JARVIS_ADMIN_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_EAST_KEY", "AZURE_WEST_KEY",
		"RESEARCH_KEY", "DASHBOARD_KEY", "ACME_KEY", "SUPPORT_KEY", "BATCH_KEY", "TEAM_KEY", "JARVIS_KEY", "GUARD_SECRET", "ALERT_SECRET",
		"ACME_WEBHOOK_SECRET", "BUDGET_WEBHOOK_SECRET"} {
		t.Setenv(name, "jv-canary-0123456789-"+name)
	}
	for _, name := range []string{"ACME_WEBHOOK", "BUDGET_WEBHOOK"} {
		t.Setenv(name, "https://hooks.example.com/canary-"+name)
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
		if file == priceList {
			continue // jarvis.yml names it
		}
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

// The annotated example explains every key that the configuration's language has.
func TestTheExampleShowsEverySetting(t *testing.T) {
	text, err := os.ReadFile(configs + "/jarvis.yml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	var show func(v reflect.Type)
	show = func(v reflect.Type) {
		for v.Kind() == reflect.Map || v.Kind() == reflect.Slice || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || seen[v] || onlyText(v) || hasMethod[yaml.Unmarshaler](reflect.New(v).Elem()) {
			return
		}
		seen[v] = true
		for _, f := range fieldsOf(v) {
			if !regexp.MustCompile(`(?m)[\s{]` + nameOf(f) + `:`).Match(text) {
				t.Errorf("jarvis.yml does not show %s of %s", nameOf(f), v)
			}
			show(f.Type)
		}
	}
	show(reflect.TypeFor[Config]())
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
	var files []string
	for _, pattern := range []string{configs + "/*.yml", configs + "/policies/*.yml", "testdata/good.*.golden"} {
		found, _ := filepath.Glob(pattern)
		if len(found) == 0 {
			t.Errorf("no %s", pattern)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		if file == priceList {
			continue // no configuration, but what one names
		}
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
		"server: {drain: 30s}":                              true,
		"server: {drain: '${DRAIN}'}":                       true,
		"server: {drain: soon}":                             false,
		"server: {drain: 30}":                               false,
		"server: {max_body: 1000}":                          true,
		"server: {max_body: 32MiB}":                         true,
		"server: {max_body: much}":                          false,
		"server: {drian: 30s}":                              false,
		"include: a.yml":                                    true,
		"include: [a.yml, b.yml]":                           true,
		"include: {}":                                       false,
		"providers: {a: {kind: openai}}":                    true,
		"providers: {a: {kind: '${KIND}'}}":                 true,
		"providers: {a: {kind: openai, max_conns: '${N}'}}": true,
		"providers: {a: {}}":                                false,
		"providers: {a: {kind: bedrock}}":                   true,
		"providers: {a: {kind: gemini}}":                    false,
		"providers: {a: {kind: openai, max_conns: 0}}":      false,
		"providers: {a: {kind: openai, max_conns: x}}":      false,
		"models: {a: {}}":                                   false,
		"models: {a: {targets: []}}":                        false,
		"models: {a: {targets: [{provider: x}]}}":           true,
		"models: {a: {targets: [{provider: x, weight: 9}], pick: weighted}}":                                     true,
		"models: {a: {targets: [{provider: x}], pick: luckiest}}":                                                false,
		"models: {a: {targets: [{provider: x, when: 'tokens > 5'}]}}":                                            true,
		"models: {a: {targets: [{provider: x, when: {tenant: a, tokens: '>8k'}}]}}":                              true,
		"models: {a: {targets: [{provider: x, when: {header: {X-A: [b, c]}, spent: '>90%', stream: true}}]}}":    true,
		"models: {a: {targets: [{provider: x, when: {tenat: a}}]}}":                                              false,
		"models: {a: {targets: [{provider: x, when: {modality: video}}]}}":                                       false,
		"models: {a: {targets: [{provider: x, when: {modality: [image, text], time: 'mon-fri 09:00-18:00'}}]}}":  true,
		"models: {a: {targets: [{provider: x, when: {tokens: many}}]}}":                                          false,
		"models: {a: {targets: [{provider: x, when: {tokens: '${MANY}'}}]}}":                                     true,
		"models: {a: {targets: [{provider: x, when: [a]}]}}":                                                     false,
		"models: {a: {targets: [{provider: x}], retry: {attempts: 2, backoff: 200ms..2s, budget: 20%}}}":         true,
		"models: {a: {targets: [{provider: x}], retry: {backoff: 2s}}}":                                          false,
		"models: {a: {targets: [{provider: x}], breaker: {error_rate: 50}}}":                                     false,
		"models: {a: {targets: [{provider: x}], breaker: {error_rate: '${RATE}'}}}":                              true,
		"models: {a: {targets: [{provider: x}], hedge: {after: p95}}}":                                           true,
		"models: {a: {targets: [{provider: x}], hedge: {after: 800ms}}}":                                         true,
		"models: {a: {targets: [{provider: x}], hedge: {after: later}}}":                                         false,
		"models: {a: {targets: [{provider: x}], degrade: [{to: b, when: {cpu: 90%}, recover: 80%}]}}":            true,
		"models: {a: {targets: [{provider: x}], degrade: [{to: b}]}}":                                            false,
		"models: {a: {targets: [{provider: x}], rules: [{when: 'true', model: b}]}}":                             true,
		"models: {a: {targets: [{provider: x}], rules: [{model: b}]}}":                                           false,
		"tenants: {a: {keys: [{key: x}]}}":                                                                       false,
		"telemetry: {otlp: 'http://collector:4318', sample: 1%, slow: 5s, headers: {Authorization: '${TOKEN}'}}": true,
		"telemetry: {otlp: '${OTEL_EXPORTER_OTLP_ENDPOINT:-}', propagate: all, resource: {zone: a}, tenants: 5}": true,
		"telemetry: {sample: 1}":                                false,
		"telemetry: {propagate: some}":                          false,
		"stores: {state: 'postgres://db'}":                      true,
		"stores: {state: 'mysql://db'}":                         false,
		"stores: {counters: 'rediss-cluster://a:1,b:2'}":        true,
		"stores: {counters: memroy}":                            false,
		"stores: {on_error: {counters: open}}":                  true,
		"stores: {on_error: {counters: ignore}}":                false,
		"limits: {requests: 600/m, tokens: [1k/m, 20M/d]}":      true,
		"limits: {requests: 600}":                               false,
		"limits: {requests: [{limit: 5/s, burst: 10}]}":         true,
		"limits: {requests: [{limt: 5/s}]}":                     false,
		"limits: {requests: {limit: 5/s, algorithm: '${A}'}}":   true,
		"limits: {requests: {limit: 5/s, algorithm: fifo}}":     false,
		"limits: {spend: [$50/d, '0.25/month']}":                true,
		"limits: {spend: $50/m}":                                false,
		"limits: {spend: '${SPEND}'}":                           true,
		"limits: {vectors: 1M, documents: 10000}":               true,
		"limits: {vectors: many}":                               false,
		"limits: {on_exceed: queue, queue: {max: 5}}":           true,
		"limits: {on_exceed: {downgrade: x}}":                   true,
		"limits: {on_exceed: 'downgrade:x'}":                    true,
		"limits: {on_exceed: wait}":                             false,
		"tenants: {a: {priority: 11}}":                          false,
		"tenants: {a: {guards: [{kind: pii, types: [email]}]}}": true,
		"tenants: {a: {guards: [{kind: pii, types: [mail]}]}}":  false,
		"tenants: {a: {guards: [{action: mask}]}}":              false,
		"roles: {r: {permissions: ['chat:*']}}":                 true,
		"auth: {jwt: {issuer: x}}":                              false,
		"prices: {unknown: reject}":                             true,
		"prices: {unknown: {assume: {input: $5/M}}}":            true,
		"prices: {unknown: {input: $5/M}}":                      false,
		"audit: {retain: 720h}":                                 true,
	} {
		if err := schema.Validate(asJSON(t, []byte(text))); (err == nil) != valid {
			t.Errorf("%s: %v", text, err)
		}
	}
}
