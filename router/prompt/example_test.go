package prompt_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router/prompt"
)

var update = flag.Bool("update", false, "write the expected outputs anew")

// The examples do what their comments say.
func TestExamples(t *testing.T) {
	l, err := prompt.Load(prompt.Config{Dir: "../../configs/prompts"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		golden, body string
		kind         wire.Kind
	}{
		{"support-1.json", `{"model":"m","prompt":{"id":"support","version":"1.0.0","variables":{"product":"Jarvis"}},"messages":[{"role":"user","content":"Hi"}]}`, wire.Chat},
		{"support-1.1.json", `{"prompt":{"id":"support","version":"^1","variables":{"product":"客服平台","tone":"formal"}},"input":"你好"}`, wire.Response},
		{"support-2.json", `{"prompt":{"id":"support","variables":{"product":"Jarvis","customer":{"name":"李雷","since": 2019},"orders":["A-1"]}},"messages":[{"role":"user","content":"A-1"}]}`, wire.Message},
	} {
		got := apply(t, l, c.kind, c.body, nil) + "\n"
		file := filepath.Join("testdata", c.golden)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s: %v\n%s", c.golden, err, got)
		}
	}
}
