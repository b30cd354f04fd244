package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestNothingIsLost puts a member that nobody knows into each object of each request, one at a time. It must reach the
// provider, be refused, or be named among what was left out: by its own path or by that of something it is in.
func TestNothingIsLost(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	tried := 0
	for _, file := range files {
		body, model := requestIn(t, file)
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.UseNumber()
		var root any
		if err := dec.Decode(&root); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for path, object := range objectsIn("", root) {
			object["zz"] = "zz"
			changed, err := json.Marshal(root)
			delete(object, "zz")
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range providers {
				for _, drop := range []bool{false, true} {
					tr := Translation{To: p.to, Provider: p.kind, Model: p.model, Drop: drop}
					if model != "" {
						tr.Model = model
					}
					tried++
					if from := clientOf(file); !accounted(tr, from, body, changed, path) {
						t.Errorf("%s for %s (drop %t): %s is lost", filepath.Base(file), p.kind, drop, path)
					}
				}
			}
		}
	}
	if tried < 4000 {
		t.Errorf("only %d requests were tried", tried)
	}
}

// accounted reports whether the member at path, which is in changed but not in body, is told of. Of a body that is refused
// anyway nothing can be said.
func accounted(tr Translation, from wire.Kind, body, changed []byte, path string) bool {
	if from == wire.Chat && tr.To == Chat || from == wire.Message && tr.To == Messages {
		return true // goes as it is
	}
	before := tr
	if _, err := translate(&before, from, body); err != nil {
		return true
	}
	out, err := translate(&tr, from, changed)
	var e *wire.Error
	if errors.As(err, &e) {
		return within(path, e.Param)
	}
	return bytes.Contains(out, []byte(`"zz"`)) || slices.ContainsFunc(tr.Dropped(), func(dropped string) bool { return within(path, dropped) })
}

func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && outer != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func translate(tr *Translation, from wire.Kind, body []byte) (out []byte, err error) {
	if tr.Request, err = Read(from, body); err != nil {
		return nil, err
	}
	return tr.AppendRequest(nil)
}

// objectsIn finds the objects that the gateway has to understand, each by the path that a member "zz" has in it.
func objectsIn(path string, v any) map[string]map[string]any {
	found := map[string]map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		prefix := path
		if path != "" {
			prefix += "."
		}
		found[prefix+"zz"] = v
		for name, member := range v {
			if !opaque(v, name) {
				for p, object := range objectsIn(prefix+name, member) {
					found[p] = object
				}
			}
		}
	case []any:
		for i, one := range v {
			for p, object := range objectsIn(at(path, i), one) {
				found[p] = object
			}
		}
	}
	return found
}

// opaque reports whether a member is none of the gateway's business: data, JSON schemas, or a marker of one provider's.
func opaque(parent map[string]any, name string) bool {
	switch name {
	case "parameters", "input_schema", "schema", "cache_control", "metadata", "prompt_cache_breakpoint":
		return true
	case "tools": // those that are not chosen say nothing
		choice, _ := parent["tool_choice"].(map[string]any)
		return choice["type"] == "allowed_tools"
	case "input":
		return parent["type"] == "tool_use"
	}
	return false
}

func requestIn(t *testing.T, file string) (body []byte, model string) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if rest, ok := bytes.CutPrefix(body, []byte("// model: ")); ok {
		line, rest, _ := bytes.Cut(rest, []byte("\n"))
		return rest, string(line)
	}
	return body, ""
}

func clientOf(file string) wire.Kind {
	return map[string]wire.Kind{".chat": wire.Chat, ".messages": wire.Message, ".responses": wire.Response}[filepath.Ext(strings.TrimSuffix(file, ".json"))]
}
