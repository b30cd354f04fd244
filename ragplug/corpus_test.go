package ragplug

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder makes files, by their names.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// one loads a corpus named handbook.
func one(t testing.TB, dir string, files ...string) *Corpus {
	t.Helper()
	all, err := Load(map[string]Config{"handbook": {Files: files, Dir: dir}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all["handbook"]
}

func TestFiles(t *testing.T) {
	dir := folder(t, map[string]string{"a.md": "a", "b.txt": "b", "c.png": "c", ".hidden.md": "h", "docs/d.md": "d", "docs/deep/er/e.md": "e",
		"docs/.git/x.md": "x", "other/a.md": "another a", "docs/F.MD": "f"})
	if err := os.Symlink(filepath.Join("er", "e.md"), filepath.Join(dir, "docs", "deep", "link.md")); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		files string
		want  string // names
	}{
		{"a.md", "a.md"},
		{"*.md", "a.md"},
		{"*", "a.md b.txt"},
		{"**", "a.md b.txt docs/F.MD docs/d.md docs/deep/er/e.md docs/deep/link.md other/a.md"},
		{"docs/**/*.md", "d.md deep/er/e.md deep/link.md"},
		{"docs/**/er/*.md", "deep/er/e.md"},
		{"*/a.md", "other/a.md"},
		{"d*/*.md", "docs/d.md"},
		{"[ab].*", "a.md b.txt"},
		{"*.md a.md", "a.md"},
		{"a.md other/a.md", "a.md other/a.md"},
	} {
		var names []string
		for _, d := range one(t, dir, strings.Fields(row.files)...).documents {
			names = append(names, d.name)
		}
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.files, got, row.want)
		}
	}
	c := Config{Files: []string{"docs/**/*.md", "a.md", "docs/d.md"}, Dir: dir}
	if got := Files(c); len(got) != 4 || !slices.Contains(got, filepath.Join(dir, "a.md")) {
		t.Errorf("files: %v", got)
	}
	if got := Folders(c); len(got) != 1 || got[0] != filepath.Join(dir, "docs") {
		t.Errorf("folders: %v", got)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := folder(t, map[string]string{"good.md": "good", "latin.md": "caf\xe9", "zero.txt": "a\x00b", "page.html": "x", "large.txt": strings.Repeat("x", LongestFile+1), "docs/a.png": "x"})
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	minus, many := -1, 201
	for want, c := range map[string]Config{
		"corpora.handbook.files: must be set":                                           {},
		"corpora.handbook.files[1]: no .md or .txt file matches docs/**/*.md":           {Files: []string{"good.md", "docs/**/*.md"}},
		"corpora.handbook.files[0]: cannot read none.md: no such file or directory":     {Files: []string{"none.md"}},
		"latin.md: not UTF-8 text":                                                      {Files: []string{"latin.md"}},
		"zero.txt: not text: it holds a zero byte":                                      {Files: []string{"zero.txt"}},
		"large.txt: larger than 4 MiB":                                                  {Files: []string{"large.txt"}},
		"page.html: expected a text file, .md or .txt":                                  {Files: []string{"page.html"}},
		"docs: a folder (for all that is in it: docs/**/*.md)":                          {Files: []string{"docs"}},
		"corpora.handbook.files[0]: empty":                                              {Files: []string{" "}},
		"corpora.handbook.files[0]: a[.md: not a file pattern":                          {Files: []string{"a[.md"}},
		"corpora.handbook.files[0]: a**.md: not a file pattern":                         {Files: []string{"a**.md"}},
		"corpora.handbook.files[0]: none/*.md: no such file or directory":               {Files: []string{"none/*.md"}},
		"corpora.handbook.chunk.tokens: expected 50 to 2000, got 10":                    {Files: []string{"good.md"}, Chunk: Chunk{Tokens: 10}},
		"corpora.handbook.chunk.overlap: expected 0 to 200, half of a passage, got -1":  {Files: []string{"good.md"}, Chunk: Chunk{Overlap: &minus}},
		"corpora.handbook.chunk.overlap: expected 0 to 200, half of a passage, got 201": {Files: []string{"good.md"}, Chunk: Chunk{Overlap: &many}},
		"out/**: more than": {Files: []string{"*/**"}},
	} {
		c.Dir = dir
		_, err := Check(map[string]Config{"handbook": c})
		if strings.HasPrefix(want, "out/") { // a link that leads out of the folder is not followed
			if err == nil || strings.Contains(err.Error(), "passwd") {
				t.Errorf("a link out of the folder: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Check(map[string]Config{"hand book": {Files: []string{"good.md"}, Dir: dir}}); err == nil || !strings.Contains(err.Error(), "corpora.hand book: a corpus's name") {
		t.Errorf("a name with a space: %v", err)
	}
}

func TestVersion(t *testing.T) {
	dir := folder(t, map[string]string{"a.md": "# A\nalpha", "b.md": "# B\nbeta"})
	cfg := map[string]Config{"handbook": {Files: []string{"*.md"}, Dir: dir}}
	first, err := Load(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(cfg, first)
	if err != nil || again["handbook"] != first["handbook"] {
		t.Errorf("what is unchanged was indexed anew: %v", err)
	}
	if elsewhere := one(t, folder(t, map[string]string{"a.md": "# A\nalpha", "b.md": "# B\nbeta"}), "*.md"); elsewhere.Version() != first["handbook"].Version() {
		t.Error("the same documents in another folder have another version")
	}
	if err := os.WriteFile(filepath.Join(dir, "b.md"), []byte("# B\nbetb"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed, err := Load(cfg, first)
	if err != nil || changed["handbook"].Version() == first["handbook"].Version() || changed["handbook"].mark == first["handbook"].mark {
		t.Errorf("another text has the same version: %v", err)
	}
	cfg["handbook"] = Config{Files: []string{"*.md"}, Dir: dir, Chunk: Chunk{Tokens: 100}}
	if cut, err := Load(cfg, nil); err != nil || cut["handbook"].Version() == changed["handbook"].Version() {
		t.Errorf("another cut has the same version: %v", err)
	}
}
