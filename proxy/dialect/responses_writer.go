package dialect

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// responsesWriter writes answers as the Responses API does: https://platform.openai.com/docs/api-reference/responses-streaming
// The events that end a part, an item and the answer repeat all of its text, so the text is kept, as it stands in JSON.
type responsesWriter struct {
	t         *Translation
	ask       *responsesAsk
	id, model string
	tail      string // of the items' ids
	tier      string // a JSON string, "" when not known
	echo      []byte // the members of the object that repeat the request
	sequence  int64
	blocks    []place // where the answer's blocks went
	items     []responsesItem
	stop      Stop
	usage     wire.Usage
	held      int // bytes that are kept, about
	begun     bool
	complete  bool
	full      bool // more than mostHeld
}

// place is an item of the output and a part of it. An item of -1 is of a block that has no form here.
type place struct{ item, part int }

// responsesItem is an item of the output: a message (Text), a thought or a tool call.
type responsesItem struct {
	kind             Kind
	callID, name     string
	parts            []responsesPart // a thought and a tool call have at most one
	open             int             // blocks that are not shut
	done, incomplete bool
	signature        []byte // as it stands in JSON
	redacted         string
}

type responsesPart struct {
	kind  Kind   // Text, Refusal, Thinking or ToolUse
	text  []byte // as it stands in JSON
	cites []Citation
}

func newResponsesWriter(t *Translation) *responsesWriter {
	return &responsesWriter{t: t, ask: cmp.Or(t.Request.responses, &responsesAsk{})}
}

// Full reports whether the answer is too large to be kept: it must end as a failure.
func (w *responsesWriter) Full() bool { return w.full }

// keep takes note of what is kept. It is false when that is too much, and the answer given up.
func (w *responsesWriter) keep(bytes int) bool {
	if w.held += bytes; w.held > mostHeld {
		w.full = true
		w.release()
	}
	return !w.full
}

// release lets go of all texts.
func (w *responsesWriter) release() { w.blocks, w.items, w.complete = nil, nil, false }

// Event writes one step of a stream.
func (w *responsesWriter) Event(dst []byte, e *Event) []byte {
	if w.full || !w.keep(e.weight()) {
		return dst
	}
	switch e.Type {
	case Start:
		return w.start(dst, e.ID, e.Name)
	case Open:
		return w.open(dst, e)
	case Delta:
		return w.delta(dst, w.at(e.Index), e.Text)
	case Signed:
		if p := w.at(e.Index); p.item >= 0 {
			it := &w.items[p.item]
			it.signature = append(it.signature, inner(e.Text)...)
		}
	case Cited:
		w.cite(w.at(e.Index), e.Cite)
	case Shut:
		return w.shut(dst, w.at(e.Index))
	case Stopped:
		return w.stopped(dst, e.Stop)
	case Billed:
		w.usage = e.Usage
	case Ping:
		return append(dst, ": ping\n\n"...)
	}
	return dst
}

// End writes the whole answer once more.
func (w *responsesWriter) End(dst []byte) []byte {
	if w.full {
		return w.Fail(dst, tooLarge())
	}
	if !w.begun {
		dst = w.start(dst, "", "")
	}
	if !w.complete {
		dst = w.stopped(dst, w.stop)
	}
	status := w.status()
	dst = w.event(slices.Grow(dst, w.held), status, "")
	dst = shutEvent(w.object(key(dst, "response"), status, nil))
	if !w.t.Request.Store { // else Stored needs it all once more
		w.release()
	}
	return dst
}

// Fail writes what there is of the answer, and why there is no more.
func (w *responsesWriter) Fail(dst []byte, e *wire.Error) []byte {
	if !w.begun {
		dst = w.start(dst, "", "")
	}
	w.complete = false
	for i := range w.items {
		w.items[i].incomplete = w.items[i].incomplete || !w.items[i].done
	}
	dst = w.event(dst, faulty, "")
	dst = shutEvent(w.object(key(dst, "response"), faulty, e))
	w.release()
	return dst
}

func (w *responsesWriter) start(dst []byte, id, model string) []byte {
	if w.begun {
		return dst
	}
	w.begin(id, model)
	dst = shutEvent(w.object(key(w.event(dst, "created", ""), "response"), inProgress, nil))
	return shutEvent(w.object(key(w.event(dst, inProgress, ""), "response"), inProgress, nil))
}

func (w *responsesWriter) begin(id, model string) {
	w.begun = true
	w.id = cmp.Or(w.t.ID, "resp_"+id)
	w.model = strings.Clone(cmp.Or(w.t.Named, model))
	w.tail = strings.TrimPrefix(w.id, "resp") + "_"
	w.echo = w.ask.echo(w.t.Request)
}

// event begins a server-sent event, whose type has two parts: output_text and .delta.
func (w *responsesWriter) event(dst []byte, about, step string) []byte {
	dst = append(append(append(dst, "event: response."...), about...), step...)
	dst = append(append(append(dst, "\ndata: {\"type\":\"response."...), about...), step...)
	dst = append(dst, `","sequence_number":`...)
	dst = strconv.AppendInt(dst, w.sequence, 10)
	w.sequence++
	return dst
}

func shutEvent(dst []byte) []byte { return append(dst, "}\n\n"...) }

// itemEvent begins an event that has a whole item.
func (w *responsesWriter) itemEvent(dst []byte, step string, item int, status string) []byte {
	dst = intField(w.event(dst, "output_item", step), "output_index", int64(item))
	return shutEvent(w.item(key(dst, "item"), item, status, w.ask.encrypted))
}

// partEvent begins an event about a part of an item.
func (w *responsesWriter) partEvent(dst []byte, about, step string, p place) []byte {
	dst = w.itemID(key(w.event(dst, about, step), "item_id"), p.item)
	dst = intField(dst, "output_index", int64(p.item))
	switch w.items[p.item].kind {
	case Text:
		dst = intField(dst, "content_index", int64(p.part))
	case Thinking:
		dst = intField(dst, "summary_index", int64(p.part))
	}
	return dst
}

// responsesWords are the words of the protocol for a kind of part.
func responsesWords(kind Kind) (part, text, value string) {
	switch kind {
	case Refusal:
		return "content_part", "refusal", "refusal"
	case Thinking:
		return "reasoning_summary_part", "reasoning_summary_text", "text"
	case ToolUse:
		return "", "function_call_arguments", "arguments"
	}
	return "content_part", "output_text", "text"
}

func (w *responsesWriter) at(block int) place {
	if block < 0 || block >= len(w.blocks) {
		return place{item: -1}
	}
	return w.blocks[block]
}

// place makes room for a block. Texts that follow each other are parts of one message.
func (w *responsesWriter) place(kind Kind) place {
	last := len(w.items) - 1
	item := kind
	switch kind {
	case Text, Refusal:
		if last >= 0 && w.items[last].kind == Text && !w.items[last].done {
			w.items[last].parts = append(w.items[last].parts, responsesPart{kind: kind})
			return place{last, len(w.items[last].parts) - 1}
		}
		item = Text
	case Thinking, ToolUse:
	default:
		return place{item: -1} // a block of the provider's own tools
	}
	w.items = append(w.items, responsesItem{kind: item, parts: []responsesPart{{kind: kind}}})
	return place{item: last + 1}
}

func (w *responsesWriter) open(dst []byte, e *Event) []byte {
	if !w.begun {
		dst = w.start(dst, "", "")
	}
	n := len(w.items)
	p := w.place(e.Kind)
	w.blocks = append(w.blocks, p)
	if p.item < 0 {
		return dst
	}
	it := &w.items[p.item]
	it.open++
	if p.item == n {
		it.callID, it.name, it.redacted = strings.Clone(e.ID), strings.Clone(e.Name), strings.Clone(e.Redacted)
		if n > 0 && w.items[n-1].open == 0 {
			dst = w.finish(dst, n-1)
		}
		dst = w.itemEvent(dst, ".added", n, inProgress)
	}
	if it.kind == Text {
		dst = w.wholePart(dst, ".added", p)
	}
	return dst
}

// wholePart writes the event that begins or ends a part.
func (w *responsesWriter) wholePart(dst []byte, step string, p place) []byte {
	part := &w.items[p.item].parts[p.part]
	about, _, _ := responsesWords(part.kind)
	dst = w.partEvent(dst, about, step, p)
	return shutEvent(part.append(key(dst, "part")))
}

func (w *responsesWriter) delta(dst []byte, p place, literal string) []byte {
	if p.item < 0 || literal == `""` {
		return dst
	}
	part := &w.items[p.item].parts[p.part]
	if part.kind == Thinking && len(part.text) == 0 { // one that is hidden, or only signed, has no part
		dst = w.wholePart(dst, ".added", p)
	}
	_, about, _ := responsesWords(part.kind)
	dst = rawField(w.partEvent(dst, about, ".delta", p), "delta", literal)
	if part.kind == Text {
		dst = rawField(dst, "logprobs", "[]")
	}
	part.text = append(part.text, inner(literal)...)
	return shutEvent(dst)
}

// cite keeps a source until its text is complete: only then is it known what part of the text it is for.
func (w *responsesWriter) cite(p place, c Citation) {
	if p.item >= 0 && c.URL != "" {
		part := &w.items[p.item].parts[p.part]
		part.cites = append(part.cites, Citation{URL: strings.Clone(c.URL), Title: strings.Clone(c.Title), Start: c.Start, End: c.End})
	}
}

func (w *responsesWriter) shut(dst []byte, p place) []byte {
	if p.item < 0 {
		return dst
	}
	it := &w.items[p.item]
	part := &it.parts[p.part]
	it.open--
	if part.kind == ToolUse && len(part.text) == 0 {
		dst = w.delta(dst, p, `"{}"`)
	}
	if part.kind == Text {
		part.settle()
		for i, c := range part.cites {
			dst = intField(w.partEvent(dst, "output_text", ".annotation.added", p), "annotation_index", int64(i))
			dst = shutEvent(c.annotation(key(dst, "annotation")))
		}
	}
	if part.kind != Thinking || len(part.text) > 0 {
		dst = w.doneText(slices.Grow(dst, 2*len(part.text)), p)
	}
	if p.item < len(w.items)-1 && it.open == 0 {
		dst = w.finish(dst, p.item)
	}
	return dst
}

// doneText writes the events that end a part.
func (w *responsesWriter) doneText(dst []byte, p place) []byte {
	it := &w.items[p.item]
	part := &it.parts[p.part]
	_, about, value := responsesWords(part.kind)
	dst = w.partEvent(dst, about, ".done", p)
	switch part.kind {
	case Text:
		dst = rawField(dst, "logprobs", "[]")
	case ToolUse:
		dst = field(dst, "name", w.ask.split(it.name).name)
	}
	dst = shutEvent(appendQuoted(key(dst, value), part.text))
	if part.kind == ToolUse {
		return dst
	}
	return w.wholePart(dst, ".done", p)
}

// finish ends an item. The last one is ended with the answer, which may tell that it is incomplete.
func (w *responsesWriter) finish(dst []byte, item int) []byte {
	it := &w.items[item]
	if it.done {
		return dst
	}
	it.done = true
	return w.itemEvent(dst, ".done", item, it.status())
}

func (w *responsesWriter) stopped(dst []byte, why Stop) []byte {
	w.ended(why)
	for i := range w.items {
		dst = w.finish(dst, i)
	}
	return dst
}

// ended takes note of why the answer ended.
func (w *responsesWriter) ended(why Stop) {
	w.stop, w.complete = why, true
	if n := len(w.items); n > 0 && w.status() == incomplete {
		w.items[n-1].incomplete = true
	}
}

// Whole writes an answer that does not stream.
func (w *responsesWriter) Whole(dst []byte, a *Answer) []byte {
	w.begin(a.ID, a.Model)
	if a.Tier != "" {
		w.tier = string(wire.AppendString(nil, a.Tier))
	}
	w.usage = a.Usage
	for i := range a.Blocks {
		if !w.block(&a.Blocks[i]) {
			return w.object(dst, faulty, tooLarge())
		}
	}
	w.ended(a.Stop)
	for i := range w.items {
		w.items[i].done = true
	}
	dst = w.object(slices.Grow(dst, w.held), w.status(), nil)
	if !w.t.Request.Store {
		w.release()
	}
	return dst
}

// block keeps a block of a whole answer. It is false when the answer is too large.
func (w *responsesWriter) block(b *Block) bool {
	if !w.keep(b.weight()) {
		return false
	}
	p := w.place(b.Kind)
	if p.item < 0 {
		return true
	}
	it := &w.items[p.item]
	part := &it.parts[p.part]
	text := b.Text
	if b.Kind == ToolUse {
		it.callID, it.name, text = b.ID, b.Name, cmp.Or(b.Input, "{}")
	}
	part.text = literalText(text)
	it.signature, it.redacted = literalText(b.Signature), b.Redacted
	for _, c := range b.Citations {
		w.cite(p, c)
	}
	part.settle()
	return true
}
