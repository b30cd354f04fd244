package dialect

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Whole reads a chat.completion.
func (r *chatReader) Whole(body []byte) (*Answer, error) {
	if !valid(body) {
		return nil, errors.New("the provider's answer is not JSON")
	}
	if _, err := readChunk(alias(body)); err != nil {
		return nil, err
	}
	root := parse(body)
	choices := root.Get("choices").Array()
	if len(choices) != 1 || !choices[0].Get("message").IsObject() {
		return nil, fmt.Errorf("the provider's answer has %d choices, where one with a message was asked for", len(choices))
	}
	a := &Answer{ID: root.Get("id").Str, Model: root.Get("model").Str, Tier: root.Get("service_tier").Str}
	if usage := root.Get("usage"); usage.IsObject() {
		a.Usage = wire.ReadUsage([]byte(usage.Raw))
	}
	message := choices[0].Get("message")
	if err := r.message(message, a); err != nil {
		return nil, err
	}
	c := readChoice(choices[0].Raw)
	stopped, err := r.stop(plain(c.finish), c.sequence, nil)
	if err != nil {
		return nil, err
	}
	a.Stop, a.Sequence = stopped[0].Stop, stopped[0].Sequence
	if a.Stop == StopRefusal {
		a.Refused = message.Get("refusal").Str
	}
	return a, nil
}

func (r *chatReader) message(v gjson.Result, a *Answer) error {
	thoughts, err := (&chatRequest{Request: &Request{}}).readThoughts("message", v)
	if err != nil {
		return errors.New("the provider's answer has thoughts that cannot be read") // in words that do not repeat them
	}
	a.Blocks = thoughts
	for i := range a.Blocks {
		a.Blocks[i].Path = ""
	}
	a.Blocks = append(a.Blocks, contentBlocks(v.Get("content"))...)
	v.Get("annotations").ForEach(func(_, c gjson.Result) bool {
		a.cite(chatCitation(c.Raw))
		return true
	})
	if refusal := v.Get("refusal").Str; refusal != "" {
		r.refused = true
		a.Blocks = append(a.Blocks, Block{Kind: Refusal, Text: refusal})
	}
	calls := v.Get("tool_calls").Array()
	for _, call := range calls {
		a.Blocks = append(a.Blocks, calledBlock(call.Get("id").Str, call.Get("function")))
	}
	if old := v.Get("function_call"); old.IsObject() && len(calls) == 0 {
		a.Blocks = append(a.Blocks, calledBlock("", old))
	}
	for _, b := range a.Blocks {
		r.called = r.called || b.Kind == ToolUse
	}
	return nil
}

func contentBlocks(v gjson.Result) (blocks []Block) {
	if !v.IsArray() {
		return textBlocks("", v.Str)
	}
	for _, part := range v.Array() {
		for _, thought := range part.Get("thinking").Array() {
			if text := thought.Get("text").Str; text != "" {
				blocks = append(blocks, Block{Kind: Thinking, Text: text})
			}
		}
		blocks = append(blocks, textBlocks("", part.Get("text").Str)...)
	}
	return blocks
}

// cite adds a citation to the last text.
func (a *Answer) cite(c Citation) {
	for i := len(a.Blocks) - 1; i >= 0; i-- {
		if a.Blocks[i].Kind == Text {
			a.Blocks[i].Citations = append(a.Blocks[i].Citations, c)
			return
		}
	}
	a.Blocks = append(a.Blocks, Block{Kind: Text, Citations: []Citation{c}})
}

// calledBlock is a tool call. Its input is what the model wrote: the writers must not trust it to be JSON.
func calledBlock(id string, function gjson.Result) Block {
	arguments := function.Get("arguments")
	input := arguments.Str
	if arguments.IsObject() { // some servers send the object itself
		input = arguments.Raw
	}
	if input == "" {
		input = "{}"
	}
	return Block{Kind: ToolUse, ID: orNewID(id), Name: function.Get("name").Str, Input: input}
}

// chatFailure reads an error object. OpenAI's code is a word, that of vLLM and of OpenRouter an HTTP status.
func chatFailure(raw string) *Failure {
	v := gjson.Parse(raw)
	if v.Type == gjson.String {
		return &Failure{Message: v.Str}
	}
	f := &Failure{Type: v.Get("type").Str, Message: v.Get("message").String()}
	code := v.Get("code")
	if f.Type == "" && code.Type == gjson.String {
		f.Type = code.Str
	}
	if n, err := strconv.Atoi(code.String()); err == nil && n >= 400 && n < 600 {
		f.Status = n
		return f
	}
	switch f.Type {
	case "rate_limit_error", "rate_limit_exceeded", "insufficient_quota", "tokens", "requests":
		f.Status = http.StatusTooManyRequests
	case "server_error", "internal_error", "InternalServerError":
		f.Status = http.StatusInternalServerError
	case "invalid_request_error", "BadRequestError":
		f.Status = http.StatusBadRequest
	}
	return f
}
