package fakellm

import (
	"bytes"
	"encoding/json"
)

// recordedUsage is what a provider's answer says it cost, whole or streamed, in the words of OpenAI, Anthropic or Bedrock.
func recordedUsage(status int, body []byte) Usage {
	if status >= 400 {
		return Usage{}
	}
	if u, ok := usageIn(body); ok {
		return u.sum()
	}
	body = unframed(body)
	var all spoken
	for line := range bytes.Lines(body) {
		data, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			data = line
		}
		if u, ok := usageIn(data); ok {
			all.merge(u)
		}
	}
	return all.sum()
}

// spoken is usage in the names that providers give it. Later events of a stream replace what earlier ones said.
type spoken struct {
	Type             string
	PromptTokens     *int `json:"prompt_tokens"`
	CompletionTokens *int `json:"completion_tokens"`
	InputTokens      *int `json:"input_tokens"`
	OutputTokens     *int `json:"output_tokens"`
	InputTokensB     *int `json:"inputTokens"`
	OutputTokensB    *int `json:"outputTokens"`
	TotalTokens      *int `json:"total_tokens"`
	CacheRead        *int `json:"cache_read_input_tokens"`
	CacheWrite       *int `json:"cache_creation_input_tokens"`
	CacheReadB       *int `json:"cacheReadInputTokens"`
	CacheWriteB      *int `json:"cacheWriteInputTokens"`
	Seconds          *float64
	PromptDetails    *details `json:"prompt_tokens_details"`
	InputDetails     *details `json:"input_tokens_details"`
	OutputDetails    *details `json:"output_tokens_details"`
	Details          *details `json:"completion_tokens_details"`
	Iterations       []spoken // the calls of models that Anthropic's answer took: all are paid for, but those that said nothing
}

type details struct {
	Cached    int `json:"cached_tokens"`
	Reasoning int `json:"reasoning_tokens"`
	Thinking  int `json:"thinking_tokens"`
}

// usageIn finds the usage of one JSON document.
func usageIn(raw []byte) (spoken, bool) {
	var doc struct {
		Usage    *spoken
		Response *struct{ Usage *spoken }
		Message  *struct{ Usage *spoken }
		Metadata json.RawMessage // Bedrock's event; a map of strings elsewhere
	}
	if !bytes.Contains(raw, []byte(`"usage"`)) || json.Unmarshal(raw, &doc) != nil {
		return spoken{}, false
	}
	var inner struct{ Usage *spoken }
	_ = json.Unmarshal(doc.Metadata, &inner) // anything else has no usage
	switch {
	case doc.Usage != nil:
		return *doc.Usage, true
	case doc.Response != nil && doc.Response.Usage != nil:
		return *doc.Response.Usage, true
	case doc.Message != nil && doc.Message.Usage != nil:
		return *doc.Message.Usage, true
	case inner.Usage != nil:
		return *inner.Usage, true
	}
	return spoken{}, false
}

func (s *spoken) merge(u spoken) {
	if u.Iterations != nil {
		s.Iterations = u.Iterations
	}
	for _, f := range [][2]**int{{&s.PromptTokens, &u.PromptTokens}, {&s.CompletionTokens, &u.CompletionTokens}, {&s.InputTokens, &u.InputTokens},
		{&s.OutputTokens, &u.OutputTokens}, {&s.InputTokensB, &u.InputTokensB}, {&s.OutputTokensB, &u.OutputTokensB},
		{&s.TotalTokens, &u.TotalTokens}, {&s.CacheRead, &u.CacheRead}, {&s.CacheWrite, &u.CacheWrite},
		{&s.CacheReadB, &u.CacheReadB}, {&s.CacheWriteB, &u.CacheWriteB}} {
		if *f[1] != nil {
			*f[0] = *f[1]
		}
	}
	for _, f := range [][2]**details{{&s.PromptDetails, &u.PromptDetails}, {&s.InputDetails, &u.InputDetails},
		{&s.OutputDetails, &u.OutputDetails}, {&s.Details, &u.Details}} {
		if *f[1] != nil {
			*f[0] = *f[1]
		}
	}
}

// sum is the usage in our terms: Anthropic and Bedrock count cached tokens apart from the prompt, here they are part of it.
func (s *spoken) sum() Usage {
	if len(s.Iterations) > 0 {
		return total(s.Iterations)
	}
	first := func(all ...*int) int {
		for _, n := range all {
			if n != nil {
				return *n
			}
		}
		return 0
	}
	apart := first(s.CacheRead, s.CacheReadB) + first(s.CacheWrite, s.CacheWriteB)
	u := Usage{
		Prompt:     first(s.PromptTokens, s.InputTokens, s.InputTokensB) + apart,
		Completion: first(s.CompletionTokens, s.OutputTokens, s.OutputTokensB),
		Cached:     first(s.CacheRead, s.CacheReadB),
	}
	for _, d := range []*details{s.PromptDetails, s.InputDetails, s.OutputDetails, s.Details} {
		if d != nil {
			u.Cached += d.Cached
			u.Reasoning += d.Reasoning + d.Thinking
		}
	}
	if s.Seconds != nil {
		u.Seconds = int(*s.Seconds)
	}
	u.Total = u.Prompt + u.Completion
	return u
}

// total is the usage of several calls.
func total(calls []spoken) (all Usage) {
	for i := range calls {
		if u := calls[i].sum(); u.Completion > 0 {
			all.Prompt, all.Completion, all.Cached, all.Reasoning = all.Prompt+u.Prompt, all.Completion+u.Completion, all.Cached+u.Cached, all.Reasoning+u.Reasoning
		}
	}
	all.Total = all.Prompt + all.Completion
	return all
}
