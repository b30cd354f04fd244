package prompt_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router/prompt"
)

// folder is a folder with files, by name.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "prompts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, files map[string]string) *prompt.Library {
	t.Helper()
	l, err := prompt.Load(prompt.Config{Dir: folder(t, files)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// one is a library of one template, p 1.0.0.
func one(t testing.TB, text string) *prompt.Library {
	t.Helper()
	return load(t, map[string]string{"p/1.0.0.yml": text})
}

const hello = "messages: [{role: system, content: Hello}]\n"

func versions(list ...string) map[string]string {
	files := map[string]string{}
	for _, v := range list {
		files["p/"+v+".yml"] = hello
	}
	return files
}

func TestFind(t *testing.T) {
	l := load(t, versions("0.1.0", "0.2.0", "1.0.0", "1.2.0", "1.2.3", "1.2.10", "1.10.0", "2.0.0-rc.1", "2.0.0-rc.2", "2.0.0-rc.10", "2.0.0", "3.0.0-alpha"))
	for _, c := range []struct{ versions, want string }{
		{"", "2.0.0"},
		{"latest", "2.0.0"},
		{"*", "2.0.0"},
		{"1.2.0", "1.2.0"},
		{"=1.2.0", "1.2.0"},
		{"^1.2", "1.10.0"},
		{"^1", "1.10.0"},
		{"1", "1.10.0"},
		{"1.x", "1.10.0"},
		{"1.2", "1.2.10"},
		{"1.2.x", "1.2.10"},
		{"~1.2.3", "1.2.10"},
		{"~1.2", "1.2.10"},
		{"^0.1", "0.1.0"},
		{">=1.0 <2.0", "1.10.0"},
		{">=1.0, <1.10", "1.2.10"},
		{">1.2.3 <=1.2.10", "1.2.10"},
		{"1.0 - 1.2.3", "1.2.3"},
		{"0.1.0 || ~1.2", "1.2.10"},
		{"2.0.0-rc.2", "2.0.0-rc.2"},
		{">=2.0.0-rc.1 <2.0.0", "2.0.0-rc.10"},
		{">=2.0.0-0", "3.0.0-alpha"},
		{"3.0.0-alpha", "3.0.0-alpha"},
	} {
		for range 2 { // the second time it is remembered
			got, err := l.Find("p", c.versions)
			if err != nil || got.Version != c.want || got.Name != "p" {
				t.Errorf("%q: %v, %v, want %s", c.versions, got, err, c.want)
			}
		}
	}
	for _, c := range []struct {
		name, versions string
		status         int
		param, message string
	}{
		{"q", "", 404, "prompt.id", `there is no prompt "q".`},
		{"P", "", 404, "prompt.id", `there is no prompt "P"`},
		{"p", "^4", 404, "prompt.version", `prompt p has no version that fits "^4" (have: 3.0.0-alpha, 2.0.0, 2.0.0-rc.10, 2.0.0-rc.2`},
		{"p", "3.0.0", 404, "prompt.version", "has no version"},
		{"p", "^3", 404, "prompt.version", "has no version"}, // a prerelease only
		{"p", "newest", 400, "prompt.version", `"newest" is no version and no range of them`},
		{"p", "1.2.3.4", 400, "prompt.version", "is no version"},
		{"p", strings.Repeat("1.2.0 || ", 100) + "1", 400, "prompt.version", "longer than 128 bytes"},
		{strings.Repeat("x", 1000), "", 404, "prompt.id", `x"....`},
	} {
		_, err := l.Find(c.name, c.versions)
		e := (*wire.Error)(nil)
		if c.param == "prompt.id" && strings.Contains(err.Error(), "have") {
			t.Errorf("%.20q: templates are told to whoever asks: %v", c.name, err)
		}
		if !errors.As(err, &e) || e.Status != c.status || e.Param != c.param || !strings.Contains(e.Message, c.message) || len(e.Message) > 400 {
			t.Errorf("%.20q %.20q: %v", c.name, c.versions, err)
		}
	}
}

func TestManyRanges(t *testing.T) {
	l := load(t, versions("1.0.0", "2.0.0"))
	for i := range 5000 { // more than are remembered
		if got, err := l.Find("p", "<2."+strings.Repeat("0", i%40)+"0 || >9.9."+strings.Repeat("9", i%9)); err == nil && got.Version != "1.0.0" {
			t.Fatalf("%d: %s", i, got.Version)
		}
	}
}

func TestAll(t *testing.T) {
	files := versions("1.0.0", "1.10.0", "1.9.0")
	files["team/billing/refund/0.1.0.yaml"] = "description: pays back\nmodel: chat\n" + hello
	files["a-1/1.0.0.yml"] = hello
	files["README.md"], files["p/notes.txt"], files["p/1.0.0.yml.bak"], files["p/.1.0.1.yml"], files[".git/x/1.0.0.yml"] = "x", "x", "x", "x", "x"
	dir := folder(t, files)
	l, err := prompt.Load(prompt.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for p := range l.All() {
		got = append(got, strings.TrimSpace(p.Name+"@"+p.Version+" "+p.Model+" "+p.Description))
	}
	if want := []string{"a-1@1.0.0", "p@1.10.0", "p@1.9.0", "p@1.0.0", "team/billing/refund@0.1.0 chat pays back"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if list := prompt.Files(dir); len(list) != 5 || !slices.Contains(list, filepath.Join(dir, "p", "1.9.0.yml")) {
		t.Errorf("files: %q", list)
	}
}

func TestNoLibrary(t *testing.T) {
	l, err := prompt.Load(prompt.Config{})
	if l != nil || err != nil {
		t.Fatal(l, err)
	}
	for range l.All() {
		t.Error("a template")
	}
	if _, err := l.Find("p", ""); err == nil || !strings.Contains(err.Error(), `there is no prompt "p".`) {
		t.Error(err)
	}
	if pin, err := l.Pin("models.m.prompt", prompt.Use{}); pin != nil || err != nil {
		t.Error(pin, err)
	}
	if _, err := l.Pin("models.m.prompt", prompt.Use{Name: "p"}); err == nil || err.Error() != "models.m.prompt.name: there are no templates (set prompts.dir)" {
		t.Error(err)
	}
	body := `{"model":"m","input":"x","prompt":{"id":"support"}}`
	if got := apply(t, l, wire.Response, body, nil); got != body {
		t.Error(got)
	}
	if _, err := prompt.Load(prompt.Config{Releases: map[string]prompt.Release{"p": {}}}); err == nil {
		t.Error("releases without a folder")
	}
}

func TestEmptyFolder(t *testing.T) {
	l, err := prompt.Load(prompt.Config{Dir: t.TempDir()})
	if l == nil || err != nil {
		t.Fatal(l, err)
	}
}

// Kubernetes shows files behind links: of the files, or of the folders that they are in.
func TestLinks(t *testing.T) {
	dir := folder(t, map[string]string{"..v1/support/1.0.0.yml": hello, "..v1/2.0.0.yml": hello, "other/1.0.0.yml": hello})
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Skip(err)
		}
	}
	link("..v1", "..data")
	link("..data/support", "support")
	link("../..data/2.0.0.yml", "other/2.0.0.yml")
	root, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, dir+"-link"); err != nil {
		t.Fatal(err)
	}
	l, err := prompt.Load(prompt.Config{Dir: dir + "-link"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"support": "1.0.0", "other": "2.0.0"} {
		if p, err := l.Find(name, ""); err != nil || p.Version != want {
			t.Error(name, p, err)
		}
	}
	link("../../outside.yml", "other/3.0.0.yml")
	if err := os.WriteFile(filepath.Join(dir, "..", "..", "outside.yml"), []byte(hello), 0o644); err != nil {
		t.Fatal(err)
	}
	link("nowhere", "lost")
	link(".", "round")
	_, err = prompt.Load(prompt.Config{Dir: dir})
	for _, want := range []string{"other/3.0.0.yml: ", "lost: ", "more than 8 folders in each other"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is missing in %v", want, err)
		}
	}
}

func TestReleases(t *testing.T) {
	dir := folder(t, versions("1.0.0", "1.1.0", "2.0.0"))
	l, err := prompt.Load(prompt.Config{Dir: dir, Releases: map[string]prompt.Release{"p": {Version: "^1"}}})
	if err != nil {
		t.Fatal(err)
	}
	for reference, want := range map[string]string{`{"id":"p"}`: "1.1.0", `{"id":"p","version":null}`: "1.1.0", `{"id":"p","version":""}`: "1.1.0",
		`{"id":"p","version":"latest"}`: "2.0.0", `{"id":"p","version":"1.0.0"}`: "1.0.0"} {
		_, used, err := l.Apply(parse(t, `{"model":"m","prompt":`+reference+`}`), wire.Chat, nil, prompt.Who{})
		if err != nil || used != (prompt.Used{Name: "p", Version: want}) {
			t.Errorf("%s: %v, %v", reference, used, err)
		}
	}
	pin, err := l.Pin("models.m.prompt", prompt.Use{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if _, used, err := l.Apply(parse(t, `{"model":"m"}`), wire.Chat, pin, prompt.Who{}); err != nil || used.Version != "1.1.0" {
		t.Error(used, err)
	}
	for want, r := range map[string]map[string]prompt.Release{
		"prompts.releases.q: there is no template of that name (have: p)":                           {"q": {}},
		`prompts.releases.p.version: p has no version that fits "^3" (have: 2.0.0, 1.1.0, 1.0.0)`:   {"p": {Version: "^3"}},
		`prompts.releases.p.version: "new" is no version and no range of them, such as 1.2.0, ^1.2`: {"p": {Version: "new"}},
		`prompts.releases.p.rollout.to: must be set`:                                                {"p": {Rollout: prompt.Rollout{Percent: 10}}},
		`prompts.releases.p.rollout.to: p has no version that fits "9.x"`:                           {"p": {Rollout: prompt.Rollout{To: "9.x"}}},
		`prompts.releases.p.rollout.percent: expected a number from 0 to 100`:                       {"p": {Rollout: prompt.Rollout{To: "2.x", Percent: 101}}},
		`prompts.releases.p.rollout.sticky: unknown choice "moon" (choices: user, tenant, request)`: {"p": {Rollout: prompt.Rollout{To: "2.x", Sticky: "moon"}}},
	} {
		if _, err := prompt.Load(prompt.Config{Dir: dir, Releases: r}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
