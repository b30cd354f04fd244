package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testReadme runs the README's Python as it stands, save the address and the key.
func testReadme(t *testing.T, l *language, binary string) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	g := startGateway(t, binary, startUpstreams(t, nil))
	fill := strings.NewReplacer("http://127.0.0.1:8080", strings.TrimSuffix(g.url, "/v1"), "jv-...", tenantKey)
	examples := strings.Split(string(text), "```python\n")[1:]
	if len(examples) < 2 {
		t.Errorf("only %d examples", len(examples))
	}
	for _, example := range examples {
		code, _, _ := strings.Cut(example, "```")
		file := filepath.Join(t.TempDir(), "example.py")
		if err := os.WriteFile(file, []byte(fill.Replace(code)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(filepath.Join(l.dir, "bin", "python"), file).CombinedOutput(); err != nil {
			t.Errorf("%v: %s\n%s", err, out, code)
		}
	}
	g.stop(t)
}
