package dialect

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// chatBody is a Chat Completions request that is being written, for OpenAI, Azure, vLLM or another compatible server.
type chatBody struct {
	*Translation
	dst     []byte
	vllm    bool // the open engines: they have top_k and thoughts, and not OpenAI's limits
	gpt     gpt
	tools   int  // written so far
	markers bool // the client has marked what to cache
	began   bool // the client began the answer that is to be gone on with
	breaks  bool // markers can be written: the client's are such, and the model knows them
}

// The limits of OpenAI's API.
const (
	chatIDs   = 40 // characters of the id of a tool call
	chatNames = 64 // characters of the name of a function, and of a JSON schema
	chatUsers = 64
	chatStops = 4
)

func (t *Translation) appendChat(dst []byte) ([]byte, error) {
	w := chatBody{Translation: t, dst: append(dst, '{'), vllm: t.Provider == "vllm", gpt: gptOf(t.Model)}
	if t.Provider == "azure" {
		w.gpt.openai = true // a deployment's name tells nothing
	}
	w.breaks = w.gpt.breakpoints && !w.vllm && t.Request.From == wire.Response
	w.dst = field(w.dst, "model", t.Model)
	for _, part := range []func() error{
		w.messages, w.tooling, w.limits, w.sampling, w.format, w.reasoning, w.rest,
	} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return append(w.dst, '}'), nil
}

func (w *chatBody) tooling() error {
	var sent []Tool
	for _, tool := range w.Request.Tools {
		if tool.Raw == "" {
			sent = append(sent, tool)
			w.tool(&tool)
		} else if err := w.refuse(tool.Path, "tools other than functions do not exist there"); err != nil {
			return err
		}
	}
	choice, err := w.choiceAmong(sent)
	if err != nil || len(sent) == 0 {
		return err
	}
	w.dst = append(w.dst, ']')
	switch choice.Mode {
	case ChoiceUnset:
	case ChoiceAuto:
		w.dst = field(w.dst, "tool_choice", "auto")
	case ChoiceNone:
		w.dst = field(w.dst, "tool_choice", "none")
	case ChoiceRequired:
		w.dst = field(w.dst, "tool_choice", "required")
	case ChoiceNamed:
		w.dst = append(key(w.dst, "tool_choice"), `{"type":"function","function":{`...)
		w.dst = field(w.dst, "name", w.toolName(choice.Name, chatNames))
		w.dst = append(w.dst, "}}"...)
	}
	if w.Request.Serial {
		w.dst = boolField(w.dst, "parallel_tool_calls", false)
	}
	return nil
}

func (w *chatBody) tool(tool *Tool) {
	w.cached(&Block{Cache: tool.Cache, Path: tool.Path})
	if w.tools++; w.tools == 1 {
		w.dst = append(key(w.dst, "tools"), '[')
	}
	w.dst = append(comma(w.dst), `{"type":"function","function":{`...)
	w.dst = field(w.dst, "name", w.toolName(tool.Name, chatNames))
	if tool.Description != "" {
		w.dst = field(w.dst, "description", tool.Description)
	}
	if tool.Schema != "" {
		w.dst = rawField(w.dst, "parameters", tool.Schema)
	}
	if tool.Strict != nil {
		w.dst = boolField(w.dst, "strict", *tool.Strict)
	}
	w.dst = append(w.dst, "}}"...)
}

// cached names the first cache marker: these servers find out by themselves what they have seen before.
func (w *chatBody) cached(b *Block) {
	if b.Cache != "" && !w.markers {
		w.markers = true
		w.note(w.markerPath(b))
	}
}

// limits writes the tokens that the answer may have, by the name that the server knows: OpenAI's newer models know only
// max_completion_tokens, many compatible servers only max_tokens.
func (w *chatBody) limits() error {
	if n := w.Request.MaxTokens; n > 0 {
		name := "max_tokens"
		if w.gpt.openai && !w.vllm {
			name = "max_completion_tokens"
		}
		w.dst = intField(w.dst, name, n)
	}
	return w.stops()
}

func (w *chatBody) stops() error {
	list, path := w.Request.Stop, "stop"
	if w.Request.From == wire.Message {
		path = "stop_sequences"
	}
	switch {
	case len(list) == 0:
		return nil
	case w.gpt.openai && w.gpt.efforts != "" && !w.gpt.has("none"):
		return w.refuse(path, "this model takes no stop sequences")
	case len(list) > chatStops && !w.vllm:
		if err := w.refuse(path, "no more than 4 stop sequences"); err != nil {
			return err
		}
		list = list[:chatStops]
	}
	w.dst = append(key(w.dst, "stop"), '[')
	for _, s := range list {
		w.dst = wire.AppendString(comma(w.dst), s)
	}
	w.dst = append(w.dst, ']')
	return nil
}

func (w *chatBody) sampling() error {
	r := w.Request
	for _, s := range []struct {
		name  string
		value *float64
	}{{"temperature", r.Temperature}, {"top_p", r.TopP}} {
		switch {
		case s.value == nil:
		case w.reasons() && *s.value == 1: // what it is without
		case w.reasons():
			if err := w.refuse(s.name, "a model that reasons takes none"); err != nil {
				return err
			}
		default:
			w.dst = floatField(w.dst, s.name, *s.value)
		}
	}
	switch {
	case r.TopK == nil:
	case w.vllm:
		w.dst = intField(w.dst, "top_k", *r.TopK)
	default:
		return w.refuse("top_k", "the Chat Completions API has no such thing")
	}
	return nil
}

func (w *chatBody) format() error {
	f := w.Request.Format
	switch {
	case f == nil:
	case f.Schema == "":
		w.dst = rawField(w.dst, "response_format", `{"type":"json_object"}`)
	default:
		w.dst = append(key(w.dst, "response_format"), `{"type":"json_schema","json_schema":{`...)
		name := "answer"
		if f.Name != "" {
			name = fitted(f.Name, chatNames)
		}
		w.dst = field(w.dst, "name", name)
		if f.Description != "" {
			w.dst = field(w.dst, "description", f.Description)
		}
		w.dst = rawField(w.dst, "schema", f.Schema)
		switch {
		case f.Strict != nil:
			w.dst = boolField(w.dst, "strict", *f.Strict)
		case w.Request.From == wire.Message && w.gpt.openai && !w.vllm && strictSchema(f.Schema):
			w.dst = boolField(w.dst, "strict", true) // Anthropic's API keeps to every schema
		}
		w.dst = append(w.dst, "}}"...)
	}
	return nil
}

// effort is what the model of OpenAI's gets for reasoning_effort, "" for nothing.
func (w *chatBody) effort() string {
	switch {
	case w.gpt.noTools && w.tools > 0 && w.gpt.has("none"):
		return "none"
	case w.Request.Reasoning.level() == "":
		return ""
	}
	return w.gpt.nearest(w.Request.Reasoning.level())
}

// reasons reports whether the model, one of OpenAI's own, is going to reason: then it takes no sampling parameters.
func (w *chatBody) reasons() bool {
	if !w.gpt.openai || w.gpt.efforts == "" {
		return false
	}
	effort := w.effort()
	return effort != "none" && (effort != "" || !w.gpt.rests)
}

// reasoning writes how much the model should think. Where it is not known how to say that to a model, the wish is named
// among what was left out, not refused: clients such as Claude Code ask every model to think.
func (w *chatBody) reasoning() error {
	asked, effort := w.Request.Reasoning.level(), w.effort()
	path := w.reasoningPath()
	switch {
	case asked == "none" && w.vllm && switchable(w.Model):
		w.dst = rawField(w.dst, "chat_template_kwargs", `{"enable_thinking":false}`)
	case effort != "":
		w.dst = field(w.dst, "reasoning_effort", effort)
		if asked != "" && (asked == "none") != (effort == "none") {
			w.note(path)
		}
	case asked != "" && asked != "none":
		w.note(path)
	case asked == "none" && w.vllm:
		w.note(path) // most reason as they were made to
	}
	return nil
}

// switchable reports whether an open model's chat template knows enable_thinking: Qwen 3's and GLM's.
// https://docs.vllm.ai/en/stable/features/reasoning_outputs/
func switchable(model string) bool {
	model = strings.ToLower(model)
	return strings.Contains(model, "qwen3") || strings.Contains(model, "glm-4") || strings.Contains(model, "glm-5")
}

// rest writes who asks, and how the answer is to come.
func (w *chatBody) rest() error {
	r := w.Request
	if r.User != "" {
		user := r.User
		if len(user) > chatUsers { // as OpenAI itself recommends: the server needs no more than to tell one from the other
			sum := sha256.Sum256([]byte(user))
			user = hex.EncodeToString(sum[:])
		}
		w.dst = field(w.dst, "user", user)
	}
	switch {
	case r.Tier == "" || r.Tier == "auto":
	case w.gpt.openai && !w.vllm:
		w.dst = field(w.dst, "service_tier", r.Tier)
	default:
		w.note("service_tier")
	}
	if r.Stream {
		w.dst = append(w.dst, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	if w.began && w.vllm {
		w.dst = append(w.dst, `,"continue_final_message":true,"add_generation_prompt":false`...)
	}
	for _, e := range r.Extra {
		if err := w.extra(&e); err != nil {
			return err
		}
	}
	return nil
}

// extra writes a member that Chat Completions has too.
func (w *chatBody) extra(e *Extra) error {
	fromChat := w.Request.From == wire.Chat && !strings.ContainsAny(e.Path, ".[")
	cacheKey := strings.HasPrefix(e.Path, "prompt_cache_") && w.gpt.openai && !w.vllm
	if e.Path == "prompt_cache_options" {
		cacheKey = w.breaks // without the breakpoints they would keep anything from being cached
	}
	switch {
	case fromChat || cacheKey:
		w.dst = rawField(w.dst, e.Path, e.Raw)
	case e.Path == "text.verbosity" && w.gpt.openai && w.gpt.efforts != "":
		w.dst = rawField(w.dst, "verbosity", e.Raw)
	case e.Path == "text.verbosity" && gjson.Parse(e.Raw).Str == "medium":
	case e.Hint:
		w.note(e.Path)
	default:
		return w.refuse(e.Path, "the Chat Completions API has no such thing")
	}
	return nil
}
