package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of ours each one may import. What is not listed may import none; tests may import bench
// and everything below themselves besides.
var imports = map[string][]string{
	"proxy/wire":         {},
	"router":             {"proxy/wire"},
	"policy":             {"proxy/wire"},
	"proxy/provider":     {"proxy/wire", "router"},
	"proxy/admin":        {"proxy/wire"},
	"proxy":              {"policy", "proxy/provider", "proxy/wire", "router"},
	"cmd/jarvis-gateway": {"policy", "proxy", "proxy/admin", "proxy/provider", "proxy/wire", "router"},

	"bench/load":          {},
	"bench/run":           {"bench/load"},
	"bench/fakellm/serve": {"bench/fakellm"},
}

func TestWhoMayImportWhom(t *testing.T) {
	const module = "jarvis-gateway/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for list := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := list.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, other := range p.Imports {
			other, ours := strings.CutPrefix(other, module)
			if ours && !slices.Contains(imports[name], other) {
				t.Errorf("%s imports %s; it may import: %s", name, other, strings.Join(imports[name], ", "))
			}
		}
	}
	if seen < len(imports) {
		t.Errorf("only %d packages were looked at", seen)
	}
}
