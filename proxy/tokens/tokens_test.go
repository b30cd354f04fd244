package tokens

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The library differs from the official tokenizer in one text of 290, of white space alone.
func TestCountAgreesWithTheOfficialVectors(t *testing.T) {
	root := os.Getenv("JARVIS_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	files, _ := filepath.Glob(filepath.Join(root, "data/token-vectors/*.jsonl"))
	if len(files) == 0 {
		t.Skip("no token vectors here (JARVIS_SHARED names the folder that holds data/)")
	}
	seen, off := 0, 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		for lines := bufio.NewReader(f); ; {
			line, err := lines.ReadBytes('\n')
			var v struct {
				Text  string
				O200k []int `json:"o200k"`
			}
			if json.Unmarshal(line, &v) == nil && v.O200k != nil {
				seen++
				if got := Count(v.Text); got != len(v.O200k) {
					off++
					t.Logf("%.60q: %d tokens, expected %d", v.Text, got, len(v.O200k))
				}
			}
			if err != nil {
				break
			}
		}
	}
	if seen < 200 || off > 1 {
		t.Errorf("%d of %d vectors differ", off, seen)
	}
}
