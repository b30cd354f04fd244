package dialect

import (
	"strings"

	"github.com/tidwall/gjson"
)

// OpenAI's Chat Completions has no thoughts. Three extensions carry them, and an answer that a client sends back may have
// several at once, all with the same thoughts:
//
//	reasoning_content, reasoning   a string (DeepSeek; vLLM, OpenRouter): the text, without what proves it
//	reasoning_details              a list (OpenRouter): reasoning.text with a signature, reasoning.encrypted, reasoning.summary
//	thinking_blocks                a list (LiteLLM): Anthropic's own blocks
//
// https://openrouter.ai/docs/use-cases/reasoning-tokens#preserving-reasoning-blocks
// https://docs.litellm.ai/docs/reasoning_content

// claudeThoughts is what OpenRouter calls the form of signatures and hidden thoughts of Claude.
const claudeThoughts = "anthropic-claude-v1"

// ownSignature is what the signatures begin with that the gateway makes up for thoughts that have none.
const ownSignature = "jarvis-"

// readThoughts reads the thoughts of an assistant's message from the form that has the most of them: a list that proves
// them, else any list, else the string.
func (r *chatRequest) readThoughts(path string, v gjson.Result) ([]Block, error) {
	details, err := r.readDetails(path+".reasoning_details", v.Get("reasoning_details"))
	if err != nil {
		return nil, err
	}
	blocks, err := r.readThinkingBlocks(path+".thinking_blocks", v.Get("thinking_blocks"))
	if err != nil {
		return nil, err
	}
	if len(details) == 0 || !proven(details) && proven(blocks) {
		details = blocks
	}
	for _, name := range []string{"reasoning_content", "reasoning"} {
		text := v.Get(name)
		switch {
		case text.Type != gjson.String || text.Str == "":
		case len(details) == 0:
			return []Block{{Kind: Thinking, Text: text.Str, Path: path + "." + name}}, nil
		case len(details) == 1 && details[0].Text == "" && details[0].Redacted == "":
			details[0].Text = text.Str // a client that joined the pieces of a stream may have kept the signature alone
		}
	}
	return details, nil
}

func proven(blocks []Block) bool {
	for _, b := range blocks {
		if b.Signature != "" || b.Redacted != "" {
			return true
		}
	}
	return false
}

func (r *chatRequest) readThinkingBlocks(path string, v gjson.Result) (blocks []Block, err error) {
	if v.Type == gjson.Null {
		return nil, nil
	}
	if err := wantList(path, v); err != nil {
		return nil, err
	}
	err = r.eachPart(path, v, func(path string, block gjson.Result) (err error) {
		b := Block{Kind: Thinking, Path: path}
		switch kind := block.Get("type"); kind.Str {
		case "thinking":
			b.Text, b.Signature = block.Get("thinking").Str, signature(block.Get("signature").Str)
		case "redacted_thinking":
			b.Redacted, err = wantString(b.Path+".data", block.Get("data"))
		default:
			err = wanted(b.Path+".type", "thinking or redacted_thinking", kind)
		}
		if err != nil {
			return err
		}
		r.keepRest(b.Path, block, true, "type", "thinking", "signature", "data", "cache_control")
		blocks = append(blocks, b)
		return nil
	})
	return blocks, err
}

func signature(s string) string {
	if strings.HasPrefix(s, ownSignature) {
		return ""
	}
	return s
}

// readDetails reads reasoning_details. A client may have kept the pieces of a stream as they came: those of one thought
// have the same index, and the signature ends it.
func (r *chatRequest) readDetails(path string, v gjson.Result) (blocks []Block, err error) {
	if v.Type == gjson.Null {
		return nil, nil
	}
	if err := wantList(path, v); err != nil {
		return nil, err
	}
	var pieces []string // of the last block
	index, open := "", false
	done := func() {
		if open {
			blocks[len(blocks)-1].Text = strings.Join(pieces, "")
		}
		pieces, open = nil, false
	}
	err = r.eachPart(path, v, func(path string, detail gjson.Result) error {
		kind, foreign := detail.Get("type").Str, foreignFormat(detail.Get("format").Str)
		b := Block{Kind: Thinking, Path: path}
		r.keepRest(b.Path, detail, true, "type", "text", "summary", "data", "signature", "format", "index", "id")
		switch {
		case kind == "reasoning.encrypted" && !foreign && detail.Get("data").Str != "":
			done()
			b.Redacted = detail.Get("data").Str
			blocks = append(blocks, b)
			return nil
		case kind == "reasoning.text" || kind == "reasoning.summary":
		default:
			r.keep(b.Path, detail, true)
			return nil
		}
		if now := detail.Get("index").Raw; !open || now != index || kind == "reasoning.summary" {
			done()
			b.Summary = kind == "reasoning.summary"
			blocks, index, open = append(blocks, b), now, true
		}
		pieces = append(pieces, detail.Get("text").Str, detail.Get("summary").Str)
		if s := signature(detail.Get("signature").Str); s != "" && !foreign {
			blocks[len(blocks)-1].Signature = s
			done()
		}
		return nil
	})
	done()
	return blocks, err
}

// foreignFormat tells the thoughts of models that are not Claude: what proves those, no other model knows.
func foreignFormat(format string) bool {
	return format != "" && format != "unknown" && format != claudeThoughts
}
