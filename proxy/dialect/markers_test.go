package dialect

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestMarkers counts the cache markers of what is sent, and leaves out those of the conversation before those of what every
// request of a client's begins with.
func TestMarkers(t *testing.T) {
	const marker = `"cache_control":{"type":"ephemeral"}`
	audio := `{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"},` + marker + `}`
	text := func(s string) string { return `{"type":"text","text":"` + s + `",` + marker + `}` }
	ask := func(system, tools string, parts ...string) string {
		if tools != "" {
			tools = `,"tools":[{"type":"function","function":{"name":"f"},` + marker + `}]`
		}
		return `{"model":"m","messages":[{"role":"system","content":[` + system + `]},{"role":"user","content":[` + strings.Join(parts, ",") + `]}]` + tools + `}`
	}
	for _, c := range []struct {
		name, body string
		written    int
		dropped    []string
	}{
		{"a part that is not sent", ask(text("s"), "", text("a"), text("b"), text("c"), audio), 4, []string{"messages[1].content[3]"}},
		{"too many in the conversation", ask(text("s"), "tools", text("a"), text("b"), text("c")), 4, []string{"messages[1].content[0].cache_control"}},
		{"too many before it", ask(text("s")+","+text("t")+","+text("u"), "tools", text("a")), 4, []string{"tools[0].cache_control"}},
		{"too many in both", ask(text("s")+","+text("t")+","+text("u"), "tools", text("a"), text("b")), 4, []string{"tools[0].cache_control", "messages[1].content[0].cache_control"}},
		{"blank text", ask(text("s"), "tools", text("a"), text(" "), text("b")), 4, []string{"messages[1].content[1].cache_control"}},
	} {
		for _, p := range providers[2:] {
			tr := &Translation{To: p.to, Provider: p.kind, Model: p.model, Drop: true}
			out, err := translate(tr, wire.Chat, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			got := slices.Clone(tr.Dropped())
			if p.to == Converse { // names the marker of a part that is left out too
				got = slices.DeleteFunc(got, func(path string) bool { return path == "messages[1].content[3].cache_control" })
			}
			slices.Sort(got)
			slices.Sort(c.dropped)
			if n := strings.Count(string(out), `"type":"ephemeral"`) + strings.Count(string(out), "cachePoint"); n != c.written || !slices.Equal(got, c.dropped) {
				t.Errorf("%s for %s: %d markers, dropped %v: %s", c.name, p.kind, n, got, out)
			}
		}
	}
}

// TestMarkerPaths names a marker where the client wrote it: on a message or on a part.
func TestMarkerPaths(t *testing.T) {
	const marker = `"cache_control":{"type":"ephemeral"}`
	for i, want := range map[string]string{
		`{"role":"user","content":"x",` + marker + `}`:                                                                  "messages[0].cache_control",
		`{"role":"user","content":[{"type":"text","text":"x"}],` + marker + `}`:                                         "messages[0].cache_control",
		`{"role":"user","content":[{"type":"text","text":"x",` + marker + `}]}`:                                         "messages[0].content[0].cache_control",
		`{"role":"user","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{}}]}`:                           "messages[0].content[0].prompt_cache_breakpoint",
		`{"role":"user","content":"x"},{"role":"assistant","content":"y",` + marker + `},{"role":"user","content":"z"}`: "messages[1].cache_control",
		`{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f"},` + marker + `}]},{"role":"tool","tool_call_id":"c","content":"z"}`: "messages[1].tool_calls[0].cache_control",
	} {
		tr := &Translation{To: Converse, Provider: "bedrock", Model: "us.meta.llama3-3-70b-instruct-v1:0"}
		if _, err := translate(tr, wire.Chat, fmt.Appendf(nil, `{"model":"m","messages":[%s]}`, i)); err != nil || !slices.Equal(tr.Dropped(), []string{want}) {
			t.Errorf("%s: dropped %v, expected %s, %v", i, tr.Dropped(), want, err)
		}
	}
}
