package wire

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// Kind is the shape of an endpoint's answers, whole and streamed.
type Kind uint8

// The answer shapes of the OpenAI API, and of Anthropic's.
const (
	Plain      Kind = iota // JSON whose only part that matters here is "usage", or bytes: embeddings, audio, images, rerank
	Chat                   // chat.completion and chat.completion.chunk
	Completion             // text_completion
	Response               // the Responses API: an object, or typed events
	Message                // Anthropic's Messages: an object, or typed events
)

// EventClass says what an event means for the commit gate.
type EventClass uint8

// Before the first Content, Last or Done event nothing may reach the client, so that another target can still be tried.
const (
	Preamble EventClass = iota // role, filter results, response.created: nothing lost if another target takes over
	Content                    // text, tool calls, audio: from here on the answer is the client's
	Last                       // the content is complete: a finish reason, response.completed
	Failure                    // the stream reports an error
)

// Classify reads one event's data of a stream of this kind.
func (k Kind) Classify(data []byte) EventClass {
	switch k {
	case Chat, Completion:
		return classifyChunk(data)
	case Response:
		return classifyTyped(data)
	case Message:
		return classifyMessage(data)
	}
	if errorKeyIn(data) && gjson.Get(alias(data), "error").IsObject() || gjson.Get(alias(data), "type").Str == "error" {
		return Failure
	}
	return Content
}

var errorKey = []byte(`"error"`)

// errorKeyIn is a cheap no: inside a JSON string every quote is escaped, so a key can only match whole.
func errorKeyIn(data []byte) bool { return bytes.Contains(data, errorKey) }

func classifyChunk(data []byte) EventClass {
	if errorKeyIn(data) {
		if e := gjson.Get(alias(data), "error"); e.Exists() && e.Type != gjson.Null {
			return Failure
		}
		// vLLM before 0.10: the error object is the event itself.
		if gjson.Get(alias(data), "object").Str == "error" {
			return Failure
		}
	}
	choices := gjson.Get(alias(data), "choices")
	var only gjson.Result
	n := 0
	choices.ForEach(func(_, choice gjson.Result) bool {
		only = choice
		n++
		return n < 2
	})
	if n < 2 {
		return classifyChoice(only)
	}
	class := Preamble
	choices.ForEach(func(_, choice gjson.Result) bool {
		class = max(class, classifyChoice(choice))
		return class != Last
	})
	return class
}

// classifyChoice is called deep down: the common case, of one choice, must not need so much of the stack that that of each stream
// grows from 8 KiB to 16.
func classifyChoice(choice gjson.Result) EventClass {
	if reason := choice.Get("finish_reason"); reason.Type == gjson.String && reason.Str != "" {
		return Last
	}
	if choice.Get("text").Str != "" || hasContent(choice.Get("delta")) {
		return Content
	}
	return Preamble
}

// hasContent tells a delta that says something from one that only opens the message. Fields this code does not know
// count as content: showing them to the client late would be worse than committing early.
func hasContent(delta gjson.Result) bool {
	found := false
	delta.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "role":
		default:
			found = v.Type != gjson.Null && v.Raw != `""` && v.Raw != `[]` && v.Raw != `{}`
		}
		return !found
	})
	return found
}

func classifyTyped(data []byte) EventClass {
	switch t := gjson.Get(alias(data), "type").Str; t {
	case "response.created", "response.queued", "response.in_progress", "keepalive":
		return Preamble
	case "response.completed", "response.incomplete":
		return Last
	case "response.failed", "error":
		return Failure
	case "":
		if gjson.Get(alias(data), "error").IsObject() {
			return Failure
		}
	}
	return Content
}

// classifyMessage reads an event of Anthropic's Messages API. A tool call and a hidden thought are content as soon as they
// begin, a text only once it has letters.
func classifyMessage(data []byte) EventClass {
	switch gjson.Get(alias(data), "type").Str {
	case "message_start", "ping":
		return Preamble
	case "content_block_start":
		if t := gjson.Get(alias(data), "content_block.type").Str; t == "text" || t == "thinking" {
			return Preamble
		}
	case "message_delta":
		if gjson.Get(alias(data), "delta.stop_reason").Type == gjson.String {
			return Last
		}
		return Preamble
	case "message_stop":
		return Last
	case "error":
		return Failure
	}
	return Content
}

// ErrorIn returns the raw error object of a failure: that of an error body, of a chunk, of a Responses event, or the
// flat object that older vLLM sends. It is nil when data holds none.
func ErrorIn(data []byte) []byte {
	for _, path := range []string{"error", "response.error"} {
		if v := gjson.Get(alias(data), path); v.IsObject() {
			return []byte(v.Raw)
		}
	}
	if v := gjson.Get(alias(data), "error"); v.Type == gjson.String {
		return append(AppendString([]byte(`{"message":`), v.Str), '}')
	}
	root := gjson.ParseBytes(data)
	if root.IsObject() && root.Get("message").Type == gjson.String {
		return bytes.TrimSpace(data)
	}
	return nil
}
