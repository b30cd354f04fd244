package provider

import (
	"bytes"

	"jarvis-gateway/proxy/wire"
)

// shape is what stands around the text of an event. Nearly all events of a stream differ in their texts alone: what one of
// them was not, such as the end or a failure, the next is not either.
type shape struct {
	buf  []byte
	head int // bytes of buf in front of the text; 0: not known
}

// keep takes note of the shape of an event that is content and has no usage.
func (s *shape) keep(kind wire.Kind, data []byte) {
	s.head = 0
	at := textAt(kind, data)
	if at < 0 {
		return
	}
	inner := untilQuote(data[at:])
	if inner == nil || !plainEnd(kind, data[at+len(inner):]) {
		return
	}
	s.buf = append(append(s.buf[:0], data[:at]...), data[at+len(inner):]...)
	s.head = at
}

// again gives the text of an event that has the shape as it is written; nil: it must be looked at.
func (s *shape) again(kind wire.Kind, data []byte) []byte {
	if s.head == 0 || !bytes.HasPrefix(data, s.buf[:s.head]) {
		return nil
	}
	inner := untilQuote(data[s.head:])
	if inner == nil {
		return nil
	}
	if end := data[s.head+len(inner):]; !bytes.Equal(end, s.buf[s.head:]) && !plainEnd(kind, end) {
		return nil
	}
	return inner
}

// plainEnd tells an event's rest behind its text in which nothing stands that matters.
func plainEnd(kind wire.Kind, end []byte) bool {
	switch kind {
	case wire.Chat:
		return bytes.HasPrefix(end, closesDelta) && !bytes.Contains(end, deltaKey) && unimportant(end)
	case wire.Completion:
		return !bytes.Contains(end, textKey) && unimportant(end)
	case wire.Message:
		return string(end) == `"}}`
	}
	return false
}

func unimportant(end []byte) bool {
	return !bytes.Contains(end, finishReason) && !bytes.Contains(end, errorWord) && !wire.HasUsage(end)
}

// measure is how many bytes of text an event says, as they are written.
func measure(kind wire.Kind, data []byte) int64 {
	if at := textAt(kind, data); at >= 0 {
		if inner := untilQuote(data[at:]); len(inner) > 0 {
			return int64(len(inner))
		}
	}
	if kind == wire.Response {
		return 0
	}
	return spoken(kind, data, func(inner string) int64 { return int64(len(inner)) })
}

// textAt is where the text begins of an event that says one piece of text, as nearly all do; -1 where it is not found.
func textAt(kind wire.Kind, data []byte) int {
	var opening []byte
	switch kind {
	case wire.Chat:
		opening = contentDelta
	case wire.Completion:
		opening = textOpening
	case wire.Response:
		opening = deltaOpening
	case wire.Message:
		return messageTextAt(data)
	default:
		return -1
	}
	at := bytes.Index(data, opening)
	if at < 0 {
		return -1
	}
	return at + len(opening)
}

// messageTextAt finds it in an event of Anthropic's: {..."delta":{"type":"text_delta","text":"...
func messageTextAt(data []byte) int {
	if !bytes.HasPrefix(data, plainDelta) {
		return -1
	}
	at := bytes.Index(data, messageDelta)
	if at < 0 {
		return -1
	}
	at += len(messageDelta)
	for _, name := range messageTexts {
		if bytes.HasPrefix(data[at:], name) {
			return at + len(name)
		}
	}
	return -1
}

var (
	contentDelta = []byte(`"delta":{"content":"`)
	textOpening  = []byte(`"text":"`)
	deltaOpening = []byte(`"delta":"`)
	textKey      = []byte(`"text"`)
	closesDelta  = []byte(`"}`)
	plainDelta   = []byte(`{"type":"content_block_delta"`)
	messageDelta = []byte(`"delta":{"type":"`)
	messageTexts = [...][]byte{[]byte(`text_delta","text":"`), []byte(`thinking_delta","thinking":"`), []byte(`input_json_delta","partial_json":"`)}
)
