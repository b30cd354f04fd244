package dialect

import (
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// mostMarkers is how many places of a prompt Anthropic and Bedrock let a client mark for their caches.
const mostMarkers = 4

// limitMarkers finds the cache markers that cannot be sent, and names them: all but the last ones, in the order of the
// prompt, which begins with the tools. A marker covers all that is before it, so that the later ones are worth more.
func (t *Translation) limitMarkers(tools bool) {
	m := markers{t, mostMarkers, nil}
	for _, x := range t.Request.Extra {
		if x.Path == "cache_control" && t.To == Messages {
			m.room-- // it marks the end of the prompt
		}
	}
	for i := range t.Request.Tools {
		if tool := &t.Request.Tools[i]; tool.Raw != "" {
			m.fixed(tool.Raw)
		} else if tool.Cache != "" && tools {
			m.paths = append(m.paths, tool.Path)
		}
	}
	m.blocks(t.Request.System)
	for i := range t.Request.Turns {
		m.blocks(t.Request.Turns[i].Blocks)
	}
	for _, path := range m.paths[:max(len(m.paths)-max(m.room, 0), 0)] {
		m.without(path)
	}
}

// markers are those of a request, as they are being counted.
type markers struct {
	*Translation
	room  int
	paths []string // of what is marked
}

func (m *markers) blocks(list []Block) {
	for i := range list {
		b := &list[i]
		m.blocks(b.Content)
		switch {
		case b.Cache == "":
		case b.Kind == Other:
			m.fixed(b.Raw)
		case b.Kind == Thinking || b.Kind == Text && blank(b.Text): // one takes none, the other is not sent
			m.without(b.Path)
		default:
			m.paths = append(m.paths, b.Path)
		}
	}
}

// fixed counts the marker of an object that is sent as it is.
func (m *markers) fixed(raw string) {
	if m.To == Messages && gjson.Get(raw, "cache_control").IsObject() {
		m.room--
	}
}

func (m *markers) without(path string) {
	if m.unmarked == nil {
		m.unmarked = map[string]bool{}
	}
	m.unmarked[path] = true
	m.note(m.markerPath(path))
}

// markerPath is where the client marked what lies at path.
func (t *Translation) markerPath(path string) string {
	if t.Request.From == wire.Response {
		return path + "." + cacheBreakpoint
	}
	return path + ".cache_control"
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
		w.cached(b.Cache, b.Path)
	}
	return err
}
