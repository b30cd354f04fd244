package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// mutants are what each value of a request is replaced by: every type of JSON, and what is special of it.
var mutants = []string{
	`null`, `true`, `0`, `-1`, `1.5`, `1e400`, `12345678901234567890`, `""`, `" "`, `"x"`, `"\u0000\ud800"`, `[]`, `[null]`, `[[]]`, `["x"]`, `[{}]`,
	`{}`, `{"type":null}`, `{"type":"x"}`, `{"":{"":[]}}`,
}

// TestMutations replaces each value of each request in testdata by others of every type of JSON, a third of the mutants in
// turn, as many requests are alike. Whatever comes of it: a refusal of status 400, or a body that is JSON, and never a panic.
func TestMutations(t *testing.T) {
	targets := append(providers[:len(providers):len(providers)], struct {
		kind  string
		to    Protocol
		model string
	}{"bedrock", Converse, "us.amazon.nova-2-lite-v1:0"})
	files, err := filepath.Glob("testdata/requests/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(body, []byte("// model:")) {
			_, body, _ = bytes.Cut(body, []byte("\n"))
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		from := map[string]wire.Kind{".chat": wire.Chat, ".messages": wire.Message, ".responses": wire.Response}[filepath.Ext(name)]
		for i, at := range values(gjson.ParseBytes(body), 0, nil) {
			for j, mutant := range mutants {
				if (i+j)%3 != 0 {
					continue
				}
				mutated := []byte(string(body[:at[0]]) + mutant + string(body[at[1]:]))
				if _, err := wire.Parse(mutated); err != nil {
					continue
				}
				for _, p := range targets {
					for _, drop := range []bool{false, true} {
						tr := &Translation{To: p.to, Provider: p.kind, Model: p.model, Drop: drop}
						if err := try(tr, from, mutated); err != nil {
							t.Fatalf("%s with %s at %d for %s (drop %t): %v\n%s", name, mutant, at[0], p.kind, drop, err, mutated)
						}
					}
				}
			}
		}
	}
}

// values lists where the values of a JSON text lie: [start, end].
func values(v gjson.Result, base int, list [][2]int) [][2]int {
	start := base + v.Index
	list = append(list, [2]int{start, start + len(v.Raw)})
	if v.IsObject() || v.IsArray() {
		v.ForEach(func(_, child gjson.Result) bool {
			list = values(child, base, list)
			return true
		})
	}
	return list
}

func try(tr *Translation, from wire.Kind, body []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	var out []byte
	if tr.Request, err = Read(from, body); err == nil {
		if out, err = tr.AppendRequest(nil); err == nil {
			if !gjson.ValidBytes(out) {
				return fmt.Errorf("not JSON: %s", out)
			}
			for _, line := range tr.Dropped() {
				if strings.ContainsAny(line, "\r\n") {
					return fmt.Errorf("dropped has a line break: %q", line)
				}
			}
			return nil
		}
	}
	var refusal *wire.Error
	if !errors.As(err, &refusal) || refusal.Status != 400 || refusal.Message == "" {
		return fmt.Errorf("not a 400: %w", err)
	}
	return nil
}
