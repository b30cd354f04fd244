package dialect

import (
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// mostMarkers is how many places of a prompt Anthropic and Bedrock let a client mark for their caches.
const mostMarkers = 4

// limitMarkers finds the cache markers of what is sent that are too many, and names them. A marker covers all that is before
// it, so that the later ones are worth more. But tools and instructions are what a client's requests have in common: the
// conversation's markers go first, but for its last one. sent tells of a block whether it is sent.
func (t *Translation) limitMarkers(tools bool, sent func(b *Block, role Role) bool) {
	m := markers{Translation: t, room: mostMarkers, sent: sent}
	for _, x := range t.Request.Extra {
		if x.Path == "cache_control" && t.To == Messages {
			m.room-- // it marks the end of the prompt
		}
	}
	for i := range t.Request.Tools {
		if tool := &t.Request.Tools[i]; tool.Raw != "" {
			m.fixed(tool.Raw, tool.Path)
		} else if tool.Cache != "" && tools {
			m.marked = append(m.marked, &Block{Path: tool.Path})
		}
	}
	m.blocks(t.Request.System, RoleSystem)
	before := len(m.marked)
	for i := range t.Request.Turns {
		role := RoleUser // also of instructions there: see the writers
		if t.Request.Turns[i].Role == RoleAssistant {
			role = RoleAssistant
		}
		m.blocks(t.Request.Turns[i].Blocks, role)
	}
	excess := max(len(m.marked)-max(m.room, 0), 0)
	talk := min(excess, max(len(m.marked)-before-1, 0))
	for _, b := range m.marked[before:][:talk] {
		m.without(b)
	}
	for _, b := range slices.Concat(m.marked[:before], m.marked[before+talk:])[:excess-talk] {
		m.without(b)
	}
}

// markers are those of a request, as they are being counted.
type markers struct {
	*Translation
	room   int
	sent   func(b *Block, role Role) bool
	marked []*Block
}

func (m *markers) blocks(list []Block, role Role) {
	for i := range list {
		b := &list[i]
		if b.Kind != Other && !m.sent(b, role) {
			continue // it is named itself
		}
		m.blocks(b.Content, role)
		switch {
		case b.Cache == "":
		case b.Kind == Other:
			m.fixed(b.Raw, b.Path)
		case b.Kind == Thinking || (b.Kind == Text || b.Kind == Refusal) && blank(b.Text): // one takes none, the other is not sent
			m.without(b)
		default:
			m.marked = append(m.marked, b)
		}
	}
}

// fixed counts the marker of an object that is sent as it is.
func (m *markers) fixed(raw, path string) {
	if m.To == Messages && !m.noted[path] && gjson.Get(raw, "cache_control").IsObject() {
		m.room--
	}
}

func (m *markers) without(b *Block) {
	if m.unmarked == nil {
		m.unmarked = map[string]bool{}
	}
	m.unmarked[b.Path] = true
	m.note(m.markerPath(b))
}

// markerPath is where the client marked a block, or a tool.
func (t *Translation) markerPath(b *Block) string {
	switch {
	case b.CachePath != "":
		return b.CachePath
	case t.Request.From == wire.Response:
		return b.Path + "." + cacheBreakpoint
	}
	return b.Path + ".cache_control"
}

// hasBreakpoint reports whether blocks have a cache marker that can be written.
func (w *chatBody) hasBreakpoint(blocks []Block) bool {
	return w.breaks && slices.ContainsFunc(blocks, func(b Block) bool { return b.Cache != "" })
}

// markedSystem writes instructions as parts, as only these can be marked.
func (w *chatBody) markedSystem(blocks []Block) error {
	begin := len(w.dst)
	w.message("system")
	w.dst = append(key(w.dst, "content"), '[')
	empty := len(w.dst)
	for i := range blocks {
		b := &blocks[i]
		if b.Kind == Text {
			_ = w.markedPart(b) // text is never refused
		} else if err := w.refuse(b.Path, "instructions are text there"); err != nil {
			return err
		}
	}
	if len(w.dst) == empty {
		w.dst = w.dst[:begin]
	} else {
		w.dst = append(w.dst, "]}"...)
	}
	return nil
}

// markedPart writes a part, with its cache marker where the model knows one.
func (w *chatBody) markedPart(b *Block) error {
	before := len(w.dst)
	err := w.part(b)
	if b.Cache != "" && w.breaks && len(w.dst) > before {
		w.dst = append(w.dst[:len(w.dst)-1], `,"prompt_cache_breakpoint":{"mode":"explicit"}}`...)
	} else {
		w.cached(b)
	}
	return err
}
