package guard

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Stream checks an answer that comes as events. Its texts come in pieces, several at a time: each has a channel, which
// holds back what may still become a match. What is held when a text ends is said in an event of its own before the one
// that ends it.
type Stream struct {
	answer
	open  []*channel
	shift int64  // events put in: later ones are numbered that much higher
	last  []byte // the last chunk with choices, while something is held: the form of an event to put in
	buf   []byte
}

// channel is one text of a streamed answer.
type channel struct {
	key   string
	owner owner
	pipe  *pipe
	head  []byte // of an event that says more of it, up to the text's quote
	tail  []byte // and from the text's other quote on
	held  bool   // something may be held
}

// owner is whose text it is: of a choice, a block, or an item and its part. Any of it is "" when events do not say it.
type owner struct{ index, item, part string }

// maxChannels bounds how many texts may be open at once.
const maxChannels = 2 << 10

var errChannels = wire.Server(502, "upstream_error", "The provider's stream says too many things at once.", errors.New("too many open texts"))

// Stream makes the check of one streamed answer, nil when there is nothing to check or to put back.
func (c *Chain) Stream(kind wire.Kind, v *Vault) *Stream {
	if !c.touches(v) {
		return nil
	}
	if v == nil {
		v = &Vault{answering: true}
	}
	return &Stream{answer: answer{chain: c, vault: v, kind: kind}}
}

// Flags are the names of the guards that noted something of the request or its answer.
func (s *Stream) Flags() []string { return s.vault.Flags() }

// Event checks one whole event and appends to dst what the client shall see: the event, with other texts or not, and in
// front of it what was held back of the texts that it ends. The error is a *wire.Error; it ends the stream.
func (s *Stream) Event(dst, ev []byte) ([]byte, error) {
	data := wire.EventData(ev)
	if data == nil {
		return append(dst, ev...), nil
	}
	if wire.IsDone(data) {
		dst, err := s.End(dst)
		if err != nil {
			return dst, err
		}
		return append(dst, ev...), nil
	}
	e := event{raw: data}
	var err error
	switch s.kind {
	case wire.Chat, wire.Completion:
		err = s.chunk(&e)
	case wire.Message:
		err = s.block(&e)
	case wire.Response, wire.Plain:
		err = s.typed(&e)
	}
	if err != nil {
		return dst, err
	}
	dst = append(dst, e.before...)
	if len(e.edits) == 0 {
		return append(dst, ev...), nil
	}
	s.buf = splice(s.buf[:0], data, e.edits)
	return appendEvent(dst, ev, s.buf), nil
}

// End appends what is still held of texts that the stream has not ended.
func (s *Stream) End(dst []byte) ([]byte, error) {
	e := event{}
	err := s.shut(&e, func(*channel) bool { return true })
	return append(dst, e.before...), err
}

// event is one event being checked.
type event struct {
	raw    []byte // its data
	edits  []edit // in order
	before []byte // events to put in front of it
}

// appendEvent appends an event with other data. Its other lines stay; data on several lines is put on one.
func appendEvent(dst, ev, data []byte) []byte {
	said := false
	for len(ev) > 0 {
		n := bytes.IndexByte(ev, '\n') + 1
		if n == 0 {
			n = len(ev)
		}
		line := ev[:n]
		ev = ev[n:]
		if !bytes.HasPrefix(line, []byte("data")) {
			dst = append(dst, line...)
			continue
		}
		if !said {
			said = true
			ending := line[len(bytes.TrimRight(line, "\r\n")):]
			dst = append(dst, "data: "...)
			for _, c := range data {
				if c == '\n' || c == '\r' { // between the values: strings have none
					c = ' '
				}
				dst = append(dst, c)
			}
			dst = append(dst, ending...)
		}
	}
	return dst
}

// say runs a piece of a text through its channel and notes what changes.
func (s *Stream) say(e *event, c *channel, at said, final bool) error {
	raw := e.raw[at.start:at.end]
	out, err := c.pipe.run(raw, final)
	if err != nil {
		return err
	}
	c.held = !final
	if !bytes.Equal(out, raw) {
		e.edits = append(e.edits, edit{at.start, at.end, bytes.Clone(out)}) // an event may say more of the same text
	}
	if final {
		s.close(c)
	}
	return nil
}

func (s *Stream) close(c *channel) {
	if i := slices.Index(s.open, c); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// channel finds the channel of a text, or opens one; made is called for a new one, to say how its events look.
func (s *Stream) channel(key []byte, o owner, f form, exact bool, made func(*channel)) (*channel, error) {
	for _, c := range s.open {
		if c.key == string(key) {
			return c, nil
		}
	}
	if len(s.open) == maxChannels {
		return nil, errChannels
	}
	c := &channel{key: string(key), owner: o, pipe: s.pipe(f, exact)}
	made(c)
	s.open = append(s.open, c)
	return c, nil
}

// shut ends the channels that which tells, and puts what they held in front of the event.
func (s *Stream) shut(e *event, which func(*channel) bool) error {
	for i := 0; i < len(s.open); {
		c := s.open[i]
		if !which(c) {
			i++
			continue
		}
		s.open = slices.Delete(s.open, i, i+1)
		out, err := c.pipe.run(nil, true)
		if err != nil {
			return err
		}
		if len(out) > 0 {
			e.before = s.more(e, c, out)
		}
	}
	return nil
}

// more appends an event that says more of a text.
func (s *Stream) more(e *event, c *channel, text []byte) []byte {
	dst := e.before
	switch s.kind {
	case wire.Chat, wire.Completion:
		dst = append(dst, "data: "...)
		dst = s.envelope(dst, e, c, text)
	case wire.Message:
		dst = append(dst, "event: content_block_delta\ndata: "...)
		dst = appendQuoted(append(dst, c.head...), text, c.tail)
	default:
		dst = append(dst, c.head...)
		if at := find(e.raw, space(e.raw, 0), "sequence_number"); at >= 0 {
			n := gjson.ParseBytes(e.raw[at:]).Int() + s.shift
			dst = append(strconv.AppendInt(append(dst, `"sequence_number":`...), n, 10), ',')
			s.shift++
		}
		dst = appendQuoted(append(dst, `"delta":`...), text, c.tail)
	}
	return append(dst, '\n', '\n')
}

func appendQuoted(dst, text, tail []byte) []byte {
	dst = append(append(dst, '"'), text...)
	return append(append(dst, '"'), tail...)
}

// envelope writes a chunk like the one at hand, or the last one before the end mark, with this text as all it says.
func (s *Stream) envelope(dst []byte, e *event, c *channel, text []byte) []byte {
	like := e.raw
	if find(like, space(like, 0), "choices") < 0 {
		like = s.last
	}
	dst = append(dst, '{')
	if at := space(like, 0); at < len(like) && like[at] == '{' {
		for name, at := range members(like, at) {
			switch string(name) {
			case "choices", "obfuscation", "prompt_filter_results":
				continue
			}
			dst = append(append(append(dst, '"'), name...), '"', ':')
			if string(name) == "usage" {
				dst = append(dst, "null,"...)
				continue
			}
			dst = append(append(dst, like[at:valueEnd(like, at)]...), ',')
		}
	}
	dst = append(dst, `"choices":[{"index":`...)
	dst = append(append(dst, c.owner.index...), ',')
	dst = appendQuoted(append(dst, c.head...), text, c.tail)
	return append(dst, `,"logprobs":null,"finish_reason":null}]}`...)
}

// chunk checks a chunk of chat or completions.
func (s *Stream) chunk(e *event) error {
	top := space(e.raw, 0)
	choices := find(e.raw, top, "choices")
	if choices < 0 {
		return s.rest(e)
	}
	for at := range elements(e.raw, choices) {
		if err := s.choice(e, at); err != nil {
			return err
		}
	}
	if s.holds() && len(e.raw) <= maxHeld {
		s.last = append(s.last[:0], e.raw...)
	}
	slices.SortFunc(e.edits, func(a, b edit) int { return a.start - b.start })
	return nil
}

func (s *Stream) holds() bool {
	return slices.ContainsFunc(s.open, func(c *channel) bool { return c.held })
}

// choice checks what a chunk says of one choice.
func (s *Stream) choice(e *event, at int) error {
	end := valueEnd(e.raw, at)
	if end < 0 {
		return nil
	}
	w := walker{answer: true, tracks: true}
	w.raw = e.raw
	if w.value(at, 0, place{role: assistant, form: either}) != end {
		return nil
	}
	index := or(literal(e.raw, find(e.raw, at, "index")), "0")
	finished := str(e.raw, find(e.raw, at, "finish_reason")) != ""
	mine := owner{index: index}
	for i := range w.said {
		text := &w.said[i]
		key := append([]byte(index), text.path...)
		c, err := s.channel(key, mine, text.form, text.exact, func(c *channel) {
			c.head, c.tail = text.path[1:], bytes.TrimSuffix(text.tail, []byte("}")) // all but the choice's own braces
		})
		if err == nil {
			err = s.say(e, c, *text, finished)
		}
		if err != nil {
			return err
		}
	}
	e.edits = s.quiet(e.edits, &w)
	if !finished {
		return nil
	}
	return s.shut(e, func(c *channel) bool { return c.owner == mine })
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// rest checks an event whose texts are all whole.
func (s *Stream) rest(e *event) error {
	w := walker{answer: true}
	if !w.walk(e.raw, place{role: assistant, form: either}) {
		return nil // an end mark of another kind, or nothing that a client could read
	}
	edits, err := s.whole(&w)
	e.edits = append(e.edits, edits...)
	slices.SortFunc(e.edits, func(a, b edit) int { return a.start - b.start })
	return err
}

// block checks an event of Anthropic's Messages API.
func (s *Stream) block(e *event) error {
	top := space(e.raw, 0)
	mine := owner{index: literal(e.raw, find(e.raw, top, "index"))}
	ofMine := func(c *channel) bool { return c.owner == mine }
	switch str(e.raw, find(e.raw, top, "type")) {
	case "ping":
		return nil
	case "content_block_start":
		if err := s.shut(e, ofMine); err != nil { // of a block that was never stopped
			return err
		}
		return s.pieces(e, find(e.raw, top, "content_block"), mine, "")
	case "content_block_delta":
		at := find(e.raw, top, "delta")
		kind := str(e.raw, find(e.raw, at, "type"))
		if kind == "signature_delta" {
			return s.shut(e, ofMine)
		}
		return s.pieces(e, at, mine, kind)
	case "content_block_stop":
		return s.shut(e, ofMine)
	case "message_start", "message_delta", "message_stop":
		if err := s.shut(e, func(*channel) bool { return true }); err != nil {
			return err
		}
	case "error": // the gateway's own words
		return s.shut(e, func(*channel) bool { return true })
	}
	return s.rest(e)
}

// pieces checks what an event says of a block. Strings of a delta itself are pieces of texts, and so are those that a
// block begins with; what lies deeper is whole.
func (s *Stream) pieces(e *event, at int, mine owner, kind string) error {
	w := walker{answer: true, tracks: true, raw: e.raw}
	if at < 0 || w.value(at, 0, place{role: assistant, form: either}) < 0 {
		return s.rest(e)
	}
	for i := range w.said {
		text := &w.said[i]
		if len(text.tail) > 1 || kind == "" && text.key != "text" && text.key != "thinking" {
			if err := s.one(e, text); err != nil {
				return err
			}
			continue
		}
		c, err := s.channel(append([]byte(mine.index), text.key...), mine, text.form, text.exact, func(c *channel) {
			index := or(mine.index, "0")
			c.head = append(c.head, `{"type":"content_block_delta","index":`+index+`,"delta":{"type":"`+or(kind, text.key+"_delta")+`","`+text.key+`":`...)
			c.tail = []byte("}}")
		})
		if err == nil {
			err = s.say(e, c, *text, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// one checks a text that is whole.
func (s *Stream) one(e *event, text *said) error {
	raw := e.raw[text.start:text.end]
	out, err := s.pipe(text.form, text.exact).run(raw, true)
	if err == nil && !bytes.Equal(out, raw) {
		e.edits = append(e.edits, edit{text.start, text.end, out})
	}
	return err
}

// typed checks an event of the Responses API, or of one like it: deltas say more of a text, the others say texts again
// as a whole.
func (s *Stream) typed(e *event) error {
	top := space(e.raw, 0)
	kind := str(e.raw, find(e.raw, top, "type"))
	if strings.HasSuffix(kind, "audio.delta") || strings.HasSuffix(kind, "partial_image") {
		s.number(e)
		return nil
	}
	mine := owner{index: literal(e.raw, find(e.raw, top, "output_index")), item: literal(e.raw, find(e.raw, top, "item_id")),
		part: or(literal(e.raw, find(e.raw, top, "content_index")), literal(e.raw, find(e.raw, top, "summary_index")))}
	if at := find(e.raw, top, "delta"); at >= 0 && strings.HasSuffix(kind, ".delta") && e.raw[at] == '"' {
		return s.delta(e, kind, mine, at)
	}
	if strings.HasSuffix(kind, ".done") || ends(kind) {
		if err := s.shut(e, mine.covers); err != nil {
			return err
		}
	}
	s.number(e)
	if kind == "error" { // the gateway's own words
		return nil
	}
	return s.rest(e)
}

// covers tells whether a text is of the item and part that an event tells of.
func (o owner) covers(c *channel) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return same(o.index, c.owner.index) && same(o.item, c.owner.item) && same(o.part, c.owner.part)
}

func ends(kind string) bool {
	switch kind {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled", "error":
		return true
	}
	return false
}

// delta checks a piece of a text of the Responses API.
func (s *Stream) delta(e *event, kind string, mine owner, at int) error {
	f := either
	if strings.Contains(kind, "arguments") {
		f = nested
	}
	end := stringEnd(e.raw, at)
	if end < 0 {
		return nil
	}
	key := []byte(kind + " " + mine.index + " " + mine.item + " " + mine.part)
	c, err := s.channel(key, mine, f, false, func(c *channel) { c.like(e.raw, kind) })
	if err != nil {
		return err
	}
	s.number(e)
	if err = s.say(e, c, said{start: at + 1, end: end - 1}, false); err != nil {
		return err
	}
	var w walker
	w.raw = e.raw
	if p := find(e.raw, space(e.raw, 0), "logprobs"); p >= 0 {
		w.probs = append(w.probs, said{start: p, end: valueEnd(e.raw, p)})
	}
	e.edits = s.quiet(e.edits, &w)
	slices.SortFunc(e.edits, func(a, b edit) int { return a.start - b.start })
	return nil
}

// like makes the channel's events look like the one that opened it.
func (c *channel) like(raw []byte, kind string) {
	c.head = append(c.head, "event: "+kind+"\ndata: {"...)
	for name, at := range members(raw, space(raw, 0)) {
		switch string(name) {
		case "delta", "sequence_number", "obfuscation":
			continue
		}
		c.head = append(append(append(c.head, '"'), name...), '"', ':')
		if string(name) == "logprobs" {
			c.head = append(c.head, "[],"...)
			continue
		}
		c.head = append(append(c.head, raw[at:valueEnd(raw, at)]...), ',')
	}
	c.tail = []byte("}")
}

// number gives an event the number that it has when others were put in before it.
func (s *Stream) number(e *event) {
	at := find(e.raw, space(e.raw, 0), "sequence_number")
	if s.shift == 0 || at < 0 {
		return
	}
	n := gjson.ParseBytes(e.raw[at:]).Int() + s.shift
	e.edits = append(e.edits, edit{at, valueEnd(e.raw, at), strconv.AppendInt(nil, n, 10)})
}
