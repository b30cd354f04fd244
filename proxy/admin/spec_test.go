package admin

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
)

const documentURL = "https://gateway.test/openapi.json"

// spec is openapi.json, which requests and answers are held to.
type spec struct {
	doc      gjson.Result
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema
}

func loadSpec(t testing.TB) *spec {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	s := &spec{doc: gjson.ParseBytes(document), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	s.compiler.DefaultDraft(jsonschema.Draft2020)
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource(documentURL, doc); err != nil {
		t.Fatal(err)
	}
	return s
}

// validate holds a JSON text to the schema at a JSON pointer.
func (s *spec) validate(t testing.TB, pointer string, text []byte) error {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schemas[pointer] == nil {
		schema, err := s.compiler.Compile(documentURL + "#" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		s.schemas[pointer] = schema
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.schemas[pointer].Validate(v)
}

// at is what stands at a JSON pointer, references followed, and its own pointer.
func (s *spec) at(pointer string) (gjson.Result, string) {
	v := s.doc
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		v = v.Map()[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	if ref := v.Get("$ref").String(); ref != "" {
		return s.at(strings.TrimPrefix(ref, "#"))
	}
	return v, pointer
}

func escaped(part string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(part) }

// operation is where the document describes a request, "" for nowhere.
func (s *spec) operation(r *http.Request) string {
	asked := strings.Split(r.URL.Path, "/")
	for path, item := range s.doc.Get("paths").Map() {
		parts := strings.Split(path, "/")
		same := len(parts) == len(asked) && slices.EqualFunc(parts, asked, func(a, b string) bool {
			return a == b || strings.HasPrefix(a, "{") && b != ""
		})
		if method := strings.ToLower(r.Method); same && item.Get(method).Exists() {
			return "/paths/" + escaped(path) + "/" + method
		}
	}
	return ""
}

// check fails when an answer is not one that the document tells of, or takes a body that it does not.
func (s *spec) check(t testing.TB, r *http.Request, sent string, res *http.Response, got []byte) (operation string) {
	t.Helper()
	if operation = s.operation(r); operation == "" {
		return ""
	}
	described, pointer := s.at(operation + "/responses/" + strconv.Itoa(res.StatusCode))
	if !described.Exists() {
		t.Errorf("%s %s answers %d, which the document does not tell of: %s", r.Method, r.URL.Path, res.StatusCode, got)
		return operation
	}
	kind := res.Header.Get("Content-Type")
	schema, at := s.at(pointer + "/content/" + escaped(kind) + "/schema")
	lines := [][]byte{got}
	switch {
	case !schema.Exists():
		t.Errorf("%s %s answers %d as %s, which the document does not tell of", r.Method, r.URL.Path, res.StatusCode, kind)
		return operation
	case kind == "application/yaml", kind == "text/csv":
		return operation
	case kind == "application/x-ndjson":
		lines = bytes.Split(bytes.TrimSpace(got), []byte("\n"))
	}
	for _, line := range lines {
		if err := s.validate(t, at, line); err != nil && len(line) > 0 {
			t.Errorf("%s %s: the answer %s is not as the document says: %v", r.Method, r.URL.Path, line, err)
		}
	}
	if res.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: no request id", r.Method, r.URL.Path)
	}
	if body, at := s.at(operation + "/requestBody/content/application~1json/schema"); res.StatusCode < 300 && body.Exists() && sent != "" {
		if err := s.validate(t, at, []byte(sent)); err != nil {
			t.Errorf("%s %s takes a body that the document does not allow: %s: %v", r.Method, r.URL.Path, sent, err)
		}
	}
	return operation
}

// The document has every route and no other, with what each asks for.
func TestDocumentAndRoutes(t *testing.T) {
	inCode := map[string]string{}
	for _, r := range new(Server).routes() {
		needs := ""
		if r.needs != 0 {
			needs = r.needs.String()
		}
		if r.owner {
			needs = "super admin"
		}
		inCode[r.method+" "+prefix+r.path] = needs
	}
	inDocument := map[string]string{}
	ids := map[string]bool{}
	for path, item := range gjson.GetBytes(document, "paths").Map() {
		for method, op := range item.Map() {
			if method == "parameters" {
				continue
			}
			needs := op.Get("x-permission").String()
			if op.Get("x-super-admin").Bool() {
				needs = "super admin"
			}
			inDocument[strings.ToUpper(method)+" "+path] = needs
			if id := op.Get("operationId").String(); id == "" || ids[id] {
				t.Errorf("%s %s: operationId %q", method, path, id)
			}
			ids[op.Get("operationId").String()] = true
		}
	}
	if !maps.Equal(inCode, inDocument) {
		t.Errorf("code and document differ:\n%v\n%v", inCode, inDocument)
	}
}

// The document has every field that the configuration has.
func TestDocumentAndConfig(t *testing.T) {
	for schema, typ := range map[string]reflect.Type{
		"TenantFields": reflect.TypeFor[policy.Tenant](), "Team": reflect.TypeFor[policy.Team](),
		"Limits": reflect.TypeFor[policy.Limits](), "Alerts": reflect.TypeFor[policy.Alerts](),
	} {
		var want []string
		for f := range typ.Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "keys" {
				want = append(want, name)
			}
		}
		got := slices.Collect(maps.Keys(gjson.GetBytes(document, "components.schemas."+schema+".properties").Map()))
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %v, the configuration %v", schema, got, want)
		}
	}
	patch := gjson.GetBytes(document, "components.schemas.TenantPatch.properties").Map()
	for field := range gjson.GetBytes(document, "components.schemas.TenantFields.properties").Map() {
		if !patch[field].Exists() {
			t.Errorf("TenantPatch: no %s", field)
		}
	}
}

// Every reference leads somewhere, and every part is used.
func TestDocumentReferences(t *testing.T) {
	s := loadSpec(t)
	used := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				if ref, ok := inner.(string); ok && key == "$ref" {
					used[ref] = true
					if found, _ := s.at(strings.TrimPrefix(ref, "#")); !found.Exists() {
						t.Errorf("%s leads nowhere", ref)
					}
				}
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	var doc map[string]any
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	walk(doc)
	for _, kind := range []string{"schemas", "responses", "parameters", "headers"} {
		for name := range gjson.GetBytes(document, "components."+kind).Map() {
			if !used["#/components/"+kind+"/"+name] {
				t.Errorf("%s %s is used nowhere", kind, name)
			}
		}
	}
}
