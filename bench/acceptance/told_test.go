package acceptance

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// told is what an answer of Anthropic's or Bedrock's comes to, whole or streamed, as read from the recording without any
// client. Clients of all dialects must be told the same.
type told struct {
	Text     string `json:"text"`
	Thinking string `json:"thinking"`
	Calls    []call `json:"calls"`
	Finish   string `json:"finish"` // in Anthropic's words, which are Bedrock's
	Input    int64  `json:"input"`  // tokens, those of a cache included
	Cached   int64  `json:"cached"`
	Written  int64  `json:"written"`
	Output   int64  `json:"output"`
	// Billed are input, output and cached tokens with those of all calls of models that the answer took: Anthropic's own clients
	// are told these beside, others in their place.
	Billed [3]int64 `json:"billed"`

	own bool // the block that is being read is one that only the provider's own clients know
}

// toldRecordings reads what was recorded from Anthropic and Bedrock.
func toldRecordings(t *testing.T) []*recording {
	var all []*recording
	for folder, provider := range map[string]string{"anthropic": "anthropic", "amazon-bedrock": "bedrock"} {
		answers, err := fakellm.LoadFixtures(filepath.Join(sharedData(t), "provider-fixtures", folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			r := &recording{Name: a.Name, Endpoint: "messages", Stream: a.Stream, Status: a.Status, provider: provider, answer: a}
			if strings.Contains(r.Name, "/") || r.Status >= 400 || !r.tell() {
				continue // of other APIs; put together of several answers
			}
			if r.Stream {
				r.Name += ".stream"
			}
			r.Model = r.Name
			all = append(all, r)
		}
	}
	return all
}

// tell reads the answer, and reports whether it is one.
func (r *recording) tell() bool {
	r.Told = &told{Calls: []call{}}
	if !r.Stream {
		r.Body = r.answer.Body
		doc := gjson.ParseBytes(r.Body)
		for _, block := range append(doc.Get("content").Array(), doc.Get("output.message.content").Array()...) {
			r.Told.block(block)
		}
		r.Told.end(doc)
		return true
	}
	starts := 0
	for _, event := range r.answer.Payloads {
		if !gjson.ValidBytes(event) {
			return false
		}
		r.Events = append(r.Events, json.RawMessage(event))
		doc := gjson.ParseBytes(event)
		if doc.Get("type").Str == "message_start" {
			starts++
		}
		r.Told.event(doc)
	}
	return starts < 2
}

// block reads a content block of an answer, or the beginning of one.
func (f *told) block(v gjson.Result) {
	use := v.Get("toolUse")
	f.own = false
	switch kind := v.Get("type").Str; {
	case kind == "tool_use":
		use = v
		fallthrough
	case use.Exists():
		c := call{ID: use.Get("id").Str + use.Get("toolUseId").Str, Name: use.Get("name").Str, Arguments: use.Get("input").Raw}
		if c.Arguments == "{}" { // pieces may follow
			c.Arguments = ""
		}
		f.Calls = append(f.Calls, c)
	case kind == "text" || kind == "thinking" || v.Get("text").Exists() || v.Get("reasoningContent").Exists():
		f.delta(v)
	default:
		f.own = true
	}
}

// delta reads a piece of a block.
func (f *told) delta(v gjson.Result) {
	f.Text += v.Get("text").Str
	f.Thinking += v.Get("thinking").Str + v.Get("reasoningContent.text").Str + v.Get("reasoningContent.reasoningText.text").Str
	if n := len(f.Calls); n > 0 {
		f.Calls[n-1].Arguments += v.Get("partial_json").Str + v.Get("toolUse.input").Str
	}
}

func (f *told) event(v gjson.Result) {
	switch v.Get("type").Str {
	case "message_start":
		f.end(v.Get("message"))
	case "content_block_start":
		f.block(v.Get("content_block"))
	case "content_block_delta":
		if !f.own {
			f.delta(v.Get("delta"))
		}
	case "message_delta":
		f.end(v)
	case "":
		if start := v.Get("contentBlockStart.start"); start.Exists() {
			f.block(start)
		}
		f.delta(v.Get("contentBlockDelta.delta"))
		f.end(v.Get("messageStop"))
		f.end(v.Get("metadata"))
	}
}

// end reads why an answer ended, and what it cost, as far as v says so.
func (f *told) end(v gjson.Result) {
	if reason := v.Get("stop_reason").Str + v.Get("delta.stop_reason").Str + v.Get("stopReason").Str; reason != "" {
		f.Finish = reason
	}
	u := v.Get("usage")
	if !u.Exists() {
		return
	}
	fresh := f.Input - f.Cached - f.Written
	for _, field := range []struct {
		n     *int64
		names []string
	}{
		{&fresh, []string{"input_tokens", "inputTokens"}}, {&f.Output, []string{"output_tokens", "outputTokens"}},
		{&f.Cached, []string{"cache_read_input_tokens", "cacheReadInputTokens"}},
		{&f.Written, []string{"cache_creation_input_tokens", "cacheWriteInputTokens"}},
	} {
		for _, name := range field.names {
			if n := u.Get(name); n.Type == gjson.Number {
				*field.n = n.Int()
			}
		}
	}
	f.Input = fresh + f.Cached + f.Written
	f.Billed = [3]int64{f.Input, f.Output, f.Cached}
	if calls := u.Get("iterations").Array(); len(calls) > 0 {
		f.Billed = [3]int64{}
		for _, call := range calls {
			n := func(name string) int64 { return call.Get(name).Int() }
			if n("output_tokens") > 0 { // who declines costs nothing
				f.Billed[0] += n("input_tokens") + n("cache_read_input_tokens") + n("cache_creation_input_tokens")
				f.Billed[1] += n("output_tokens")
				f.Billed[2] += n("cache_read_input_tokens")
			}
		}
	}
}
