package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

// providers that each request is translated for: the kind in the configuration, what it speaks, and a model of its.
var providers = []struct {
	kind  string
	to    Protocol
	model string
}{
	{"openai", Chat, "gpt-5.2"},
	{"vllm", Chat, "meta-llama/Llama-3.1-70B-Instruct"},
	{"anthropic", Messages, "claude-sonnet-4-5-20250929"},
	{"bedrock", Converse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
}

// TestRequests translates testdata/requests/NAME.CLIENT.json, CLIENT being chat, messages or responses, for each provider.
// What comes out is in NAME.CLIENT.PROVIDER.golden: the body, what was left out, or why the request is refused. A name
// that begins with "drop-" is translated with `unsupported: drop`. A first line of "// model: NAME" in place of a request's
// first line asks for another model.
func TestRequests(t *testing.T) {
	files, err := filepath.Glob("testdata/requests/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	for _, file := range files {
		for _, p := range providers {
			name := strings.TrimSuffix(filepath.Base(file), ".json")
			from := map[string]wire.Kind{".chat": wire.Chat, ".messages": wire.Message, ".responses": wire.Response}[filepath.Ext(name)]
			if from == wire.Chat && p.to == Chat || from == wire.Message && p.to == Messages {
				continue // goes as it is
			}
			t.Run(name+"/"+p.kind, func(t *testing.T) {
				tr := &Translation{To: p.to, Provider: p.kind, Model: p.model, Drop: strings.HasPrefix(name, "drop-")}
				compare(t, strings.TrimSuffix(file, ".json")+"."+p.kind+".golden", translated(t, tr, from, file))
			})
		}
	}
}

func translated(t *testing.T, tr *Translation, from wire.Kind, file string) []byte {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if rest, ok := bytes.CutPrefix(body, []byte("// model: ")); ok {
		model, rest, _ := bytes.Cut(rest, []byte("\n"))
		body = rest
		tr.Model = string(model)
	}
	if _, err := wire.Parse(body); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if tr.Request, err = Read(from, body); err != nil {
		return refusal(t, err)
	}
	out, err := tr.AppendRequest(nil)
	if err != nil {
		return refusal(t, err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "  "); err != nil {
		t.Fatalf("not JSON: %v: %s", err, out)
	}
	if len(tr.Dropped()) > 0 {
		fmt.Fprintf(&pretty, "\ndropped: %s", strings.Join(tr.Dropped(), ", "))
	}
	return append(pretty.Bytes(), '\n')
}

func refusal(t *testing.T, err error) []byte {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Status != 400 {
		t.Fatalf("not a 400: %v", err)
	}
	return fmt.Appendf(nil, "%d %s: %s\n", e.Status, e.Param, e.Message)
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nexpected:\n%s", file, got, want)
	}
}
