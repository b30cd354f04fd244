package wire

import (
	"strings"
	"testing"
)

// Fields by which an upstream would ask another model or another server are found, in every spelling that some reader takes for
// them.
func TestElsewhere(t *testing.T) {
	for raw, want := range map[string]string{
		`{"model":"a"}`:                                    "",
		`{"models":["b"],"model":"a"}`:                     "models",
		`{"model":"a","models":null}`:                      "",
		`{"route":"fallback"}`:                             "route",
		`{"fallbacks":[{"model":"b"}]}`:                    "fallbacks",
		`{"context_window_fallbacks":[1]}`:                 "context_window_fallbacks",
		`{"content_policy_fallbacks":[1]}`:                 "content_policy_fallbacks",
		`{"context_window_fallback_dict":{"a":"b"}}`:       "context_window_fallback_dict",
		`{"fallback_config":{"depth":2}}`:                  "fallback_config",
		`{"model_list":[]}`:                                "model_list",
		`{"user_config":{}}`:                               "user_config",
		`{"custom_llm_provider":"x"}`:                      "custom_llm_provider",
		`{"api_base":"https://x"}`:                         "api_base",
		`{"base_url":"https://x"}`:                         "base_url",
		`{"api_key":"x","n":1}`:                            "api_key",
		`{"providerOptions":{"gateway":{"models":["b"]}}}`: "providerOptions",
		`{"Models":["b"]}`:                                 "models",
		`{"fallbac\u212as":[]}`:                            "refused",
		"{\"fallbac\u212as\":[]}":                          "fallbacks",
		`{"ProviderOptions":{}}`:                           "providerOptions",
		`{"extra_body":{"models":["b"]}}`:                  "extra_body",
		`{"extra_body":{"model":"b"}}`:                     "extra_body",
		`{"extra_body":null}`:                              "",
		`{"Extra_Body":{"models":["b"]}}`:                  "extra_body",
		`{"messages":[{"models":["b"],"route":"x"}],"metadata":{"api_key":"x"},"x":{"models":[]}}`: "",
		`{"messages":[{"Models":["b"]}],"tools":[{"Route":1}]}`:                                    "",
		`{"modelss":1,"xmodels":1,"routes":1,"fallback":1,"Routes":1}`:                             "",
	} {
		b, err := Parse([]byte(raw))
		if got := b.Elsewhere(); got != want && (want != "refused" || err == nil) {
			t.Errorf("%s: %q, want %q (%v)", raw, got, want, err)
		}
	}
	form := func(name, disposition string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--x\r\nContent-Disposition: form-data; name=\"" + name + "\"" + disposition + "\r\n\r\nb\r\n--x--\r\n"
	}
	for _, c := range [][3]string{{"fallbacks", "", "fallbacks"}, {"models", `; filename="x"`, "models"}, {"API_base", "", "api_base"}, {"models[]", "", "models"}, {"models[0]", "", "models"},
		{"extra_body", "", "extra_body"}, {"file", "", ""}, {"prompt", "", ""}} {
		f, err := ParseForm("multipart/form-data; boundary=x", []byte(form(c[0], c[1])))
		if err != nil || f.Elsewhere() != c[2] {
			t.Errorf("%s: %q, want %q (%v)", c[0], f.Elsewhere(), c[2], err)
		}
	}
	if raw := []byte(`{"model":"a","models":["b"],"messages":[]}`); testing.AllocsPerRun(10, func() { _, _ = Parse(raw) }) > 0 {
		t.Error("it allocates")
	}
	if !strings.Contains(strings.Join(elsewhere[:], " "), "models") {
		t.Error("the table is empty")
	}
}
