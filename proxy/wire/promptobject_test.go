package wire

import "testing"

func TestPromptObject(t *testing.T) {
	for text, want := range map[string]string{
		`{"prompt": {"id": "p"} , "n":1}`:         `{"id": "p"}`,
		`{"prompt":{}}`:                           `{}`,
		`{"prompt":"Once"}`:                       "",
		`{"prompt":["Once"]}`:                     "",
		`{"prompt":null}`:                         "",
		`{"metadata":{"prompt":{}}}`:              "",
		`{"messages":[{"prompt":{"id":"deep"}}]}`: "",
	} {
		b, err := Parse([]byte(text))
		if got := b.PromptObject(); err != nil || string(got) != want || want == "" && got != nil {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
}
