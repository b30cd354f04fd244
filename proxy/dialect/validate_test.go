package dialect

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// shapes is AWS's own description of Bedrock's API: https://smithy.io/2.0/spec/index.html tells what it means.
type shapes map[string]*shape

type shape struct {
	Type          string
	Required      []string
	Members       map[string]shapeRef
	Member        shapeRef
	Key, Value    shapeRef
	Min, Max      *float64
	Pattern       string
	Enum          []string
	Union         bool
	Document      bool
	Documentation string `json:"-"`
}

type shapeRef struct{ Shape, Location string }

func readShapes(t testing.TB) shapes {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(shared(t, "bedrock-model"), "service-2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var model struct{ Shapes shapes }
	if err := json.Unmarshal(raw, &model); err != nil || len(model.Shapes) < 100 {
		t.Fatalf("%d shapes, %v", len(model.Shapes), err)
	}
	return model.Shapes
}

// check lists what is wrong with a value.
func (all shapes) check(name, path string, v any) []string {
	s := all[name]
	wrong := func(format string, args ...any) []string {
		return []string{path + " (" + name + "): " + fmt.Sprintf(format, args...)}
	}
	if s.Document {
		return nil
	}
	switch s.Type {
	case "structure":
		object, ok := v.(map[string]any)
		if !ok {
			return wrong("not an object: %v", v)
		}
		return all.checkMembers(s, name, path, object)
	case "list":
		list, ok := v.([]any)
		if !ok {
			return wrong("not a list: %v", v)
		}
		faults := s.bounds(path, float64(len(list)))
		for i, item := range list {
			faults = append(faults, all.check(s.Member.Shape, fmt.Sprintf("%s[%d]", path, i), item)...)
		}
		return faults
	case "map":
		object, ok := v.(map[string]any)
		if !ok {
			return wrong("not an object: %v", v)
		}
		faults := s.bounds(path, float64(len(object)))
		for k, item := range object {
			faults = append(faults, all.check(s.Key.Shape, path+" key", k)...)
			faults = append(faults, all.check(s.Value.Shape, path+"."+k, item)...)
		}
		return faults
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong("not a string: %v", v)
		}
		return s.checkText(path, text)
	case "blob":
		text, _ := v.(string)
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return wrong("not base64: %.60v", v)
		}
		return s.bounds(path, float64(len(raw)))
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong("not a boolean: %v", v)
		}
		return nil
	case "integer", "long", "float", "double":
		n, ok := v.(float64)
		if !ok || (s.Type == "integer" || s.Type == "long") && n != math.Trunc(n) {
			return wrong("not of type %s: %v", s.Type, v)
		}
		return s.bounds(path, n)
	}
	return wrong("a shape of type %q", s.Type)
}

func (all shapes) checkMembers(s *shape, name, path string, object map[string]any) (faults []string) {
	for _, member := range s.Required {
		if _, ok := object[member]; !ok && s.Members[member].Location == "" {
			faults = append(faults, fmt.Sprintf("%s (%s): %s is missing", path, name, member))
		}
	}
	if s.Union && len(object) != 1 {
		faults = append(faults, fmt.Sprintf("%s (%s): a union with %d members", path, name, len(object)))
	}
	for k, v := range object {
		ref, ok := s.Members[k]
		if !ok || ref.Location != "" {
			faults = append(faults, fmt.Sprintf("%s (%s): no member %s in the body", path, name, k))
			continue
		}
		faults = append(faults, all.check(ref.Shape, path+"."+k, v)...)
	}
	return faults
}

func (s *shape) bounds(path string, n float64) []string {
	if s.Min != nil && n < *s.Min || s.Max != nil && n > *s.Max {
		return []string{fmt.Sprintf("%s: %g is out of bounds", path, n)}
	}
	return nil
}

func (s *shape) checkText(path, text string) []string {
	faults := s.bounds(path, float64(len([]rune(text))))
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		faults = append(faults, fmt.Sprintf("%s: %q is none of %q", path, text, s.Enum))
	}
	if s.Pattern != "" && !regexp.MustCompile("^(?:"+s.Pattern+")$").MatchString(text) {
		faults = append(faults, fmt.Sprintf("%s: %q does not match %s", path, text, s.Pattern))
	}
	return faults
}

// bedrockModels are models of every family that a request is written differently for.
var bedrockModels = []string{
	"us.anthropic.claude-sonnet-4-5-20250929-v1:0",
	"anthropic.claude-3-haiku-20240307-v1:0",
	"global.anthropic.claude-opus-4-6-v1",
	"anthropic.claude-opus-5-5",
	"us.amazon.nova-2-lite-v1:0",
	"amazon.nova-pro-v1:0",
	"openai.gpt-oss-120b-1:0",
	"meta.llama3-3-70b-instruct-v1:0",
	"arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abcdefghijkl",
}

// TestBedrockRequestsAreValid checks what is written for Bedrock against AWS's description, and what that does not say:
// the order of the roles, that a document has text beside it, that tools are told of where they were called, and that
// results follow their calls.
func TestBedrockRequestsAreValid(t *testing.T) {
	all := readShapes(t)
	files, err := filepath.Glob("testdata/requests/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	written := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		from := map[string]wire.Kind{".chat": wire.Chat, ".messages": wire.Message, ".responses": wire.Response}[filepath.Ext(name)]
		for _, model := range bedrockModels {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(body, []byte("// model:")) {
				_, body, _ = bytes.Cut(body, []byte("\n"))
			}
			for _, drop := range []bool{false, true} {
				faults, ok := all.checkBedrock(t, &Translation{To: Converse, Provider: "bedrock", Model: model, Drop: drop}, from, body)
				if len(faults) > 0 {
					t.Errorf("%s for %s (drop %t):\n%s", name, model, drop, strings.Join(faults, "\n"))
				}
				if ok {
					written++
				}
			}
		}
	}
	if written < len(files) {
		t.Errorf("only %d bodies of %d requests", written, len(files))
	}
}

// checkBedrock lists what is wrong with the bodies for Converse and CountTokens; not ok: the request is refused.
func (all shapes) checkBedrock(t *testing.T, tr *Translation, from wire.Kind, body []byte) (faults []string, ok bool) {
	t.Helper()
	var err error
	if tr.Request, err = Read(from, body); err == nil {
		var out []byte
		if out, err = tr.AppendRequest(nil); err == nil {
			op := "ConverseRequest"
			if tr.Request.Stream {
				op = "ConverseStreamRequest"
			}
			v := decoded(t, out)
			faults = append(all.check(op, "", v), checkConversation(v.(map[string]any))...)
			out, err = tr.AppendCount(nil)
		}
		if err == nil {
			faults = append(faults, all.check("CountTokensRequest", "count", decoded(t, out))...)
		}
	}
	var refusal *wire.Error
	if err != nil && (!errors.As(err, &refusal) || refusal.Status != 400) {
		t.Fatalf("not a 400: %v", err)
	}
	if tr.Drop && tr.Request != nil && err != nil && refusal.Code == "unsupported_parameter" {
		faults = append(faults, "refused although what is not supported is to be dropped: "+err.Error())
	}
	return faults, err == nil
}

func decoded(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

// checkConversation checks rules that Bedrock has beside its description.
func checkConversation(body map[string]any) (faults []string) {
	was, asked, tools := "assistant", map[any]bool{}, false
	for i, m := range body["messages"].([]any) {
		message := m.(map[string]any)
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Sprintf("messages[%d]: ", i)+fmt.Sprintf(format, args...))
		}
		if message["role"] == was {
			fault("%s again", was)
		}
		was = message["role"].(string)
		text, document, others, calls := false, false, false, map[any]bool{}
		content := message["content"].([]any)
		if len(content) == 0 {
			fault("no content")
		}
		for _, b := range content {
			block := b.(map[string]any)
			if s, ok := block["text"].(string); ok {
				text = true
				if strings.TrimSpace(s) == "" {
					fault("blank text")
				}
			}
			document = document || block["document"] != nil
			if use, ok := block["toolUse"].(map[string]any); ok {
				calls[use["toolUseId"]], tools = true, true
			}
			if result, ok := block["toolResult"].(map[string]any); ok {
				tools = true
				if delete(asked, result["toolUseId"]); others {
					fault("a result behind other blocks")
				}
			} else {
				others = others || block["cachePoint"] == nil
			}
		}
		if document && !text {
			fault("a document without text")
		}
		asked = calls
	}
	if tools && body["toolConfig"] == nil {
		faults = append(faults, "calls or results, but no toolConfig")
	}
	return faults
}

// TestShapesCheck makes sure that the check finds faults.
func TestShapesCheck(t *testing.T) {
	all := readShapes(t)
	for body, want := range map[string]string{
		`{"messages":[{"role":"user"}]}`:                                     "content is missing",
		`{"messages":[{"role":"tool","content":[{"text":"a"}]}]}`:            "is none of",
		`{"messages":[{"role":"user","content":[{"text":"a","image":{}}]}]}`: "a union with 2 members",
		`{"messages":[{"role":"user","content":[{"type":"text"}]}]}`:         "no member type",
		`{"inferenceConfig":{"temperature":1.5}}`:                            "1.5 is out of bounds",
		`{"inferenceConfig":{"maxTokens":1.5}}`:                              "not of type integer",
		`{"toolConfig":{"tools":[]}}`:                                        "0 is out of bounds",
		`{"system":[{"text":""}]}`:                                           "0 is out of bounds",
		`{"toolConfig":{"toolChoice":{"tool":{"name":"a b"}},"tools":[{"toolSpec":{"name":"a","inputSchema":{"json":1}}}]}}`: "does not match",
		`{"requestMetadata":{"a":"{}"}}`: "does not match",
		`{"modelId":"a"}`:                "no member modelId",
		`{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"?"}}}]}]}`: "not base64",
	} {
		if faults := strings.Join(all.check("ConverseRequest", "", decoded(t, []byte(body))), "\n"); !strings.Contains(faults, want) {
			t.Errorf("%s: %q, expected %s", body, faults, want)
		}
	}
}
