package ragplug

import (
	"os"
	"path/filepath"
	"testing"
)

// A link back to a folder above leads to no document twice, however many such links there are.
func TestLinksBack(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.md", "sub/b.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("Five days are carried over."), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"one": ".", "two": ".", "sub/three": "..", "sub/four": "."} {
		if err := os.Symlink(target, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Skip("no links here:", err)
		}
	}
	found, err := match(dir, "**/*.md")
	if err != nil || len(found) != 2 || found[0].name != "a.md" || found[1].name != "sub/b.md" {
		t.Errorf("found %v, %v", found, err)
	}
}
