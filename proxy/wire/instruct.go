package wire

import (
	"slices"
	"strings"
)

// Question is what the user said last: the text of his last message that has any, such as one that is no mere result of a tool; of a
// completion, the prompt. Parts are joined by line breaks. It is "" if there is none.
func (b *Body) Question(kind Kind) string {
	switch {
	case kind == Completion:
		return strings.Clone(b.text(b.bounds.prompt))
	case kind == Plain:
		return ""
	case !b.is('[', b.turns):
		return strings.Clone(b.text(b.turns))
	}
	var last span
	for turn := range elements(b.raw, b.turns.start) {
		if b.text(b.field(turn, "role")) != "user" {
			continue
		}
		if content := b.field(turn, "content"); b.said(content, nil) {
			last = content
		}
	}
	var text strings.Builder
	b.said(last, &text)
	return text.String()
}

// said tells whether a message's content has any text, and writes it where there is a place for it.
func (b *Body) said(content span, to *strings.Builder) (something bool) {
	add := func(text string) {
		if strings.TrimSpace(text) == "" {
			return
		}
		if to != nil && something {
			to.WriteByte('\n')
		}
		if something = true; to != nil {
			to.WriteString(text)
		}
	}
	if !b.is('[', content) {
		add(b.text(content))
		return something
	}
	for part := range elements(b.raw, content.start) {
		add(b.text(b.field(part, "text")))
	}
	return something
}

// Instruct is the body with a text behind the instructions that its conversation begins with, as a part of the last of them; where there
// are none, the text is one. In front of what is said to a model without a conversation it just stands. All other bytes stay as they
// are. It is false for a request that has no place for it.
func (b *Body) Instruct(kind Kind, text string) (Body, bool, error) {
	var raw []byte
	switch kind {
	case Chat:
		raw = b.instructChat(text)
	case Response:
		raw = b.instructMember("instructions", text, false)
	case Message:
		raw = b.instructMember("system", text, true)
	case Completion:
		raw = b.instructPrompt(text)
	}
	if raw == nil {
		return *b, false, nil
	}
	out, err := Parse(raw)
	return out, true, err
}

// instructChat adds to the last of the system's messages in front.
func (b *Body) instructChat(text string) []byte {
	if !b.is('[', b.turns) {
		return nil
	}
	var lead span
	for turn := range elements(b.raw, b.turns.start) {
		if role := b.text(b.field(turn, "role")); role != "system" && role != "developer" {
			break
		}
		lead = turn
	}
	if lead.end > 0 {
		if raw := b.extend(b.field(lead, "content"), text, true); raw != nil {
			return raw
		}
	}
	one := append(AppendString([]byte(`{"role":"system","content":`), text), '}')
	switch at := b.turns.start + 1; {
	case lead.end > 0:
		return b.put(lead.end, append([]byte{','}, one...))
	case b.raw[skip(b.raw, at)] == ']':
		return b.put(at, one)
	default:
		return b.put(at, append(one, ','))
	}
}

// instructMember adds to a member of the request; blocks: it may be a list of texts.
func (b *Body) instructMember(name, text string, blocks bool) []byte {
	at := b.field(span{skip(b.raw, 0), len(b.raw)}, name)
	if at.end == 0 || b.raw[at.start] == 'n' || at.end-at.start == len(`""`) && b.raw[at.start] == '"' {
		raw, err := b.splice([]string{name}, AppendString(nil, text))
		if err != nil {
			return nil
		}
		return raw
	}
	return b.extend(at, text, blocks)
}

// extend adds a text to a string, or to a list of parts; nil where there is neither.
func (b *Body) extend(at span, text string, blocks bool) []byte {
	switch {
	case b.is('"', at):
		inner := AppendString(nil, "\n\n"+text)
		return b.put(at.end-1, inner[1:len(inner)-1])
	case b.is('[', at) && blocks:
		part := append(AppendString([]byte(`{"type":"text","text":`), text), '}')
		if b.raw[skip(b.raw, at.start+1)] != ']' {
			part = append([]byte{','}, part...)
		}
		return b.put(at.end-1, part)
	}
	return nil
}

// instructPrompt puts a text in front of a prompt, unless that is to be filled in between two parts.
func (b *Body) instructPrompt(text string) []byte {
	suffix := b.field(span{skip(b.raw, 0), len(b.raw)}, "suffix")
	if !b.is('"', b.bounds.prompt) || suffix.end > 0 && b.raw[suffix.start] != 'n' {
		return nil
	}
	inner := AppendString(nil, text+"\n\n")
	return b.put(b.bounds.prompt.start+1, inner[1:len(inner)-1])
}

// put copies the body with more bytes at an offset.
func (b *Body) put(at int, more []byte) []byte { return slices.Concat(b.raw[:at], more, b.raw[at:]) }
