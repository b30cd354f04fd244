package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// requestCheck validates request bodies against OpenAI's own description of its API.
type requestCheck struct {
	compiler       *jsonschema.Compiler
	paths          map[string]string // where an endpoint's schema is
	schemas        map[string]*jsonschema.Schema
	valid, invalid int
}

const apiDocument = "https://api.test/openapi.json"

func newRequestCheck(t *testing.T) *requestCheck {
	t.Helper()
	file, err := os.Open(filepath.Join(sharedData(t), "openai-openapi", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	doc, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &requestCheck{compiler: jsonschema.NewCompiler(), paths: map[string]string{}, schemas: map[string]*jsonschema.Schema{}}
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.UseRegexpEngine(lenientPattern)
	for name, schema := range doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		unwind(schema, "#/components/schemas/"+name)
	}
	if err := c.compiler.AddResource(apiDocument, doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.(map[string]any)["paths"].(map[string]any) {
		raw, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		var op struct {
			Post struct {
				RequestBody struct {
					Content map[string]struct {
						Schema struct {
							Ref string `json:"$ref"`
						}
					}
				}
			}
		}
		if err := json.Unmarshal(raw, &op); err != nil {
			t.Fatal(err)
		}
		if ref := op.Post.RequestBody.Content["application/json"].Schema.Ref; ref != "" {
			c.paths[strings.TrimPrefix(path, "/")] = apiDocument + ref
		}
	}
	return c
}

// unwind writes the recursion of an older draft, which the document uses beside that of its own, as references.
func unwind(schema any, self string) {
	switch s := schema.(type) {
	case map[string]any:
		delete(s, "$recursiveAnchor")
		if _, ok := s["$recursiveRef"]; ok {
			delete(s, "$recursiveRef")
			s["$ref"] = self
		}
		for _, inner := range s {
			unwind(inner, self)
		}
	case []any:
		for _, inner := range s {
			unwind(inner, self)
		}
	}
}

// lenientPattern lets everything match what Go's patterns cannot say: looking ahead.
func lenientPattern(s string) (jsonschema.Regexp, error) {
	if strings.Contains(s, "(?!") || strings.Contains(s, "(?=") {
		s = ""
	}
	return regexp.Compile(s)
}

func (c *requestCheck) schema(t *testing.T, endpoint string) *jsonschema.Schema {
	t.Helper()
	if c.schemas[endpoint] == nil {
		if c.paths[endpoint] == "" {
			t.Fatalf("the API has no %s", endpoint)
		}
		schema, err := c.compiler.Compile(c.paths[endpoint])
		if err != nil {
			t.Fatal(err)
		}
		c.schemas[endpoint] = schema
	}
	return c.schemas[endpoint]
}

// request fails when the gateway made a valid request invalid.
func (c *requestCheck) request(t *testing.T, r *recording, sent string) {
	t.Helper()
	schema := c.schema(t, r.endpoint)
	err := validate2020(schema, sent)
	switch theirs := validate2020(schema, string(r.json)); {
	case err == nil:
		c.valid++
	case theirs == nil:
		t.Errorf("sent upstream: %s\n%v", sent, err)
	case r.Status < 400:
		t.Logf("the client's own request is invalid: %s\n%v", r.json, theirs)
		c.invalid++
	default:
		c.invalid++
	}
}

func validate2020(schema *jsonschema.Schema, text string) error {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return errors.New("not JSON")
	}
	return schema.Validate(doc)
}
