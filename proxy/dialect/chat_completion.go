package dialect

import (
	"strings"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// Whole writes a chat.completion.
func (w *chatWriter) Whole(dst []byte, a *Answer) []byte {
	dst = w.appendHead(dst, "chat.completion", a.ID, a.Model)
	dst = append(dst, `,"choices":[{"index":0,"message":{"role":"assistant"`...)
	dst = w.appendContent(dst, a)
	if !w.t.Request.Reasoning.Hidden {
		dst = w.appendThoughts(dst, a.Blocks)
	}
	dst = appendCited(dst, a.Blocks)
	dst = appendCalls(dst, a.Blocks)
	dst = append(dst, `},"logprobs":null`...)
	dst = append(appendFinish(dst, a.Stop, a.Sequence), "}]"...)
	dst = appendChatUsage(dst, a.Usage)
	if a.Tier != "" {
		dst = field(dst, "service_tier", a.Tier)
	}
	return append(dst, '}')
}

// appendContent appends content and refusal: null where there is nothing.
func (w *chatWriter) appendContent(dst []byte, a *Answer) []byte {
	content, refusal := joined(a.Blocks, Text), joined(a.Blocks, Refusal)
	if refusal == "" && a.Stop == StopRefusal {
		refusal = a.Refused
	}
	dst = textOrNull(key(dst, "content"), content)
	return textOrNull(key(dst, "refusal"), refusal)
}

func textOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return wire.AppendString(dst, s)
}

// joined is the text of all blocks of a kind.
func joined(blocks []Block, kind Kind) string {
	var texts []string
	for i := range blocks {
		if blocks[i].Kind == kind && blocks[i].Text != "" {
			texts = append(texts, blocks[i].Text)
		}
	}
	return strings.Join(texts, "")
}

func (w *chatWriter) appendThoughts(dst []byte, blocks []Block) []byte {
	if text := joined(blocks, Thinking); text != "" {
		dst = field(dst, "reasoning_content", text)
	}
	for i := range blocks {
		b := &blocks[i]
		if b.Kind != Thinking || b.Redacted == "" && b.Signature == "" {
			continue
		}
		if w.notes == 0 {
			dst = append(key(dst, "reasoning_details"), '[')
		}
		if b.Redacted != "" {
			dst = w.appendRedacted(dst, b.Redacted)
		} else {
			dst = w.appendSigned(dst, escaped(b.Text), escaped(b.Signature))
		}
	}
	if w.notes > 0 {
		dst = append(dst, ']')
	}
	return dst
}

func escaped(s string) string { return inner(string(wire.AppendString(nil, s))) }

// appendCited appends the citations of each text with its place in the whole.
func appendCited(dst []byte, blocks []Block) []byte {
	var all []Citation
	at := int64(0)
	for i := range blocks {
		if blocks[i].Kind != Text {
			continue
		}
		end := at + int64(utf8.RuneCountInString(blocks[i].Text))
		for _, c := range blocks[i].Citations {
			if c.Start < 0 || c.End < c.Start {
				c.Start, c.End = at, end
			}
			all = append(all, c)
		}
		at = end
	}
	if len(all) == 0 {
		return dst
	}
	return appendAnnotations(dst, all, 0, at)
}

func appendCalls(dst []byte, blocks []Block) []byte {
	calls := 0
	for i := range blocks {
		b := &blocks[i]
		if b.Kind != ToolUse {
			continue
		}
		if calls++; calls == 1 {
			dst = append(key(dst, "tool_calls"), '[')
		}
		dst = field(append(comma(dst), '{'), "id", b.ID)
		dst = append(dst, `,"type":"function","function":{`...)
		dst = append(field(field(dst, "name", b.Name), "arguments", b.Input), "}}"...)
	}
	if calls > 0 {
		dst = append(dst, ']')
	}
	return dst
}
