package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README's configuration is one that the program takes.
func TestReadmeConfig(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the README has no configuration")
	}
	file := filepath.Join(t.TempDir(), "jarvis.yml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "ACME_KEY"} {
		t.Setenv(name, "value-of-"+name)
	}
	if _, err := newSource(file).load(); err != nil {
		t.Error(err)
	}
}
