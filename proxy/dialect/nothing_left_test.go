package dialect

import (
	"errors"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestNothingLeft has questions of which nothing is left when what cannot be sent is dropped: to ask something else would be
// worse than an error. Another target may be able to.
func TestNothingLeft(t *testing.T) {
	const (
		audio    = `{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}`
		document = `{"type":"document","source":{"type":"url","url":"https://example.org/a.pdf"}}`
		said     = `{"role":"user","content":"a"},{"role":"assistant","content":"b"}`
	)
	chat := func(messages string) string { return `{"model":"m","messages":[` + messages + `]}` }
	claude := func(messages string) string {
		return `{"model":"m","max_tokens":9,"system":"s","messages":[` + messages + `]}`
	}
	for _, c := range []struct {
		name string
		from wire.Kind
		to   []int // of providers
		body string
		code string
	}{
		{"a sound alone", wire.Chat, []int{2, 3}, chat(`{"role":"user","content":[` + audio + `]}`), "nothing_left"},
		{"a sound and blank text", wire.Chat, []int{2, 3}, chat(`{"role":"user","content":[` + audio + `,{"type":"text","text":" "}]}`), "nothing_left"},
		{"a sound and text", wire.Chat, []int{2, 3}, chat(`{"role":"user","content":[` + audio + `,{"type":"text","text":"x"}]}`), ""},
		{"a sound after an answer", wire.Chat, []int{2, 3}, chat(said + `,{"role":"user","content":[` + audio + `]}`), "nothing_left"},
		{"a sound and instructions", wire.Chat, []int{2, 3}, chat(said + `,{"role":"user","content":[` + audio + `]},{"role":"system","content":"s"}`), "nothing_left"},
		{"a sound before", wire.Chat, []int{2, 3}, chat(`{"role":"user","content":[` + audio + `]},{"role":"assistant","content":"b"},{"role":"user","content":"c"}`), ""},
		{"a document", wire.Message, []int{0, 1, 3}, claude(`{"role":"user","content":[` + document + `]}`), "nothing_left"},
		{"a document after an answer", wire.Message, []int{0, 1, 3}, claude(said + `,{"role":"user","content":[` + document + `]}`), "nothing_left"},
		{"a document and a question", wire.Message, []int{0, 1, 3}, claude(said + `,{"role":"user","content":[` + document + `,{"type":"text","text":"x"}]}`), ""},
		{"a document in a result", wire.Message, []int{0, 1, 3}, claude(`{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[` + document + `]}]}`), ""},
		{"nothing from the start", wire.Message, []int{0, 1, 3}, claude(said + `,{"role":"user","content":[]}`), ""},
		{"a part of an unknown type", wire.Chat, []int{0, 1, 2, 3}, chat(`{"role":"user","content":[{"type":"image_uml","image_url":{"url":"data:irage/png;base64,AA=="}}]}`), "nothing_left"},
	} {
		for _, i := range c.to {
			p := providers[i]
			_, err := translate(&Translation{To: p.to, Provider: p.kind, Model: p.model, Drop: true}, c.from, []byte(c.body))
			var e *wire.Error
			switch errors.As(err, &e); {
			case e == nil && err == nil && c.code == "":
			case e == nil || c.code == "" || e.Code != c.code || !e.Failover || e.Status != 400:
				t.Errorf("%s for %s: %v", c.name, p.kind, err)
			}
		}
	}
}
