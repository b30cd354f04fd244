package wire

import (
	"bytes"
	"encoding/binary"
	"iter"
	"strconv"
)

// maxDepth bounds how deep objects and arrays may nest, and with it the scanner's recursion.
const maxDepth = 128

// span is raw[start:end].
type span struct{ start, end int }

// zone is what an object is to the gateway: it says how its keys are read.
type zone uint8

const (
	opaque    zone = iota // the caller's own data: valid JSON is enough
	inspected             // keys must read the same to every JSON reader
	options               // inspected: the value of stream_options
	top                   // inspected: the request itself
	wanted                // opaque, but the member named scanner.want is looked for
)

// scanner walks a JSON text once, front to back. Its methods take the offset where something starts and return the
// offset behind it: one that lives in a register makes the walk fast.
type scanner struct {
	raw  []byte
	tail int // behind the last member (or the opening brace) of the object closed last
	open keystack

	model, stream, options, usage, messages, input span // the values of these fields, where present

	optionsTail int // tail of the stream_options object
	bounds      bounds
	elsewhere   uint8 // the first field that may lead to another model: see numbered

	want  string // what to look for in zone wanted,
	found span   // and its value
}

// document walks the whole text: one object with nothing but white space around it.
func (s *scanner) document() error {
	i := skip(s.raw, 0)
	if i == len(s.raw) {
		return Invalid("", "the request body is empty, send a JSON object")
	}
	switch c := s.raw[i]; c {
	case '{':
	case '[', '"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return Invalid("", "the request body must be a JSON object, not %s", kind(c))
	default:
		return s.unexpected(i, "a JSON object")
	}
	i, err := s.object(i, 1, top)
	if err != nil {
		return err
	}
	if i = skip(s.raw, i); i < len(s.raw) {
		return Invalid("", "the request body goes on at byte %d, behind its JSON object", i)
	}
	return nil
}

func (s *scanner) value(i, depth int, z zone) (int, error) {
	if i >= len(s.raw) {
		return 0, s.unexpected(i, "a value")
	}
	switch s.raw[i] {
	case '"':
		return s.text(i + 1)
	case '{':
		return s.object(i, depth+1, z)
	case '[':
		return s.array(i, depth+1, z)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	}
	return s.number(i)
}

func (s *scanner) object(i, depth int, z zone) (int, error) {
	if depth > maxDepth {
		return 0, tooDeep(i)
	}
	raw := s.raw
	s.tail = i + 1
	if i = skip(raw, i+1); i < len(raw) && raw[i] == '}' {
		return i + 1, nil
	}
	seen := keyset{base: s.open.n}
	for {
		start := i + 1
		end, err := s.key(i, z, &seen)
		if err != nil {
			return 0, err
		}
		if i = skip(raw, end+1); i >= len(raw) || raw[i] != ':' {
			return 0, s.unexpected(i, `":"`)
		}
		name, at := raw[start:end], skip(raw, i+1)
		if i, err = s.value(at, depth, inside(z, name)); err != nil {
			return 0, err
		}
		if z >= options {
			if err = s.member(z, name, span{at, i}); err != nil {
				return 0, err
			}
		}
		behind := i
		if i = skip(raw, i); i < len(raw) && raw[i] == ',' {
			i = skip(raw, i+1)
			continue
		}
		if i >= len(raw) || raw[i] != '}' {
			return 0, s.unexpected(i, `"," or "}"`)
		}
		s.open.n, s.tail = seen.base, behind
		return i + 1, nil
	}
}

// inside is the zone of the objects in the value of a member of an object of zone z.
func inside(z zone, name []byte) zone {
	switch z {
	case opaque, wanted:
		return opaque
	case top:
		switch string(name) {
		case "messages", "input", "tools", "tool_choice":
			return inspected
		case "stream_options":
			return options
		}
		return opaque
	}
	switch string(name) {
	case "parameters", "schema", "json_schema", "input_schema", "properties", "arguments", "output", "metadata", "input":
		return opaque
	}
	return inspected
}

// find looks for a member of the object that starts at i in a JSON text known to be valid.
func find(raw []byte, i int, name string) (at span, tail int, err error) {
	s := scanner{raw: raw, want: name}
	_, err = s.object(i, 1, wanted)
	return s.found, s.tail, err
}

// elements are the elements of the array that starts at i, in a JSON text known to be valid.
func elements(raw []byte, i int) iter.Seq[span] {
	return func(yield func(span) bool) {
		s := scanner{raw: raw}
		for i = skip(raw, i+1); raw[i] != ']'; {
			end, err := s.value(i, 1, opaque)
			if err != nil || !yield(span{i, end}) {
				return
			}
			if i = skip(raw, end); raw[i] == ',' {
				i = skip(raw, i+1)
			}
		}
	}
}

// member notes where the value of a field lies that the gateway acts on, and refuses a value of the wrong type.
func (s *scanner) member(z zone, name []byte, at span) error {
	switch z {
	case wanted:
		return s.match(name, at)
	case options:
		if string(name) == "include_usage" {
			s.usage = at
			return s.oneOf("tfn", "stream_options.include_usage", "true, false or null", at)
		}
		return nil
	}
	switch string(name) {
	case "model":
		s.model = at
		return s.checkModel(at)
	case "stream":
		s.stream = at
		return s.oneOf("tfn", "stream", "true, false or null", at)
	case "stream_options":
		s.options, s.optionsTail = at, s.tail
		return s.oneOf("{n", "stream_options", "an object or null", at)
	case "messages":
		s.messages = at
	case "input":
		s.input = at
	case "models", "route", "fallbacks", "fallback_config", "context_window_fallbacks", "content_policy_fallbacks", "context_window_fallback_dict",
		"model_list", "user_config", "custom_llm_provider", "api_base", "base_url", "api_key", "providerOptions", "extra_body":
		if s.raw[at.start] != 'n' {
			s.leads(string(name))
		}
	default:
		s.bounds.note(name, at)
	}
	return nil
}

// oneOf refuses a value whose first byte, which tells its type, is not one of firsts.
func (s *scanner) oneOf(firsts, name, types string, at span) error {
	if bytes.IndexByte([]byte(firsts), s.raw[at.start]) < 0 {
		return Invalid(name, "%s must be %s, not %s", name, types, kind(s.raw[at.start]))
	}
	return nil
}

func (s *scanner) checkModel(at span) error {
	switch quoted := s.raw[at.start:at.end]; {
	case quoted[0] != '"':
		return Invalid("model", "model must be a string, not %s", kind(quoted[0]))
	case len(quoted) == 2:
		return Invalid("model", "model must not be empty")
	case loneSurrogate(quoted):
		return Invalid("model", `model must be Unicode text: a \u escape in it is half of a surrogate pair`)
	}
	return nil
}

// match is member for find: the object is the caller's own data, so a key may be spelled with escapes, or twice.
func (s *scanner) match(name []byte, at span) error {
	if bytes.IndexByte(name, '\\') >= 0 {
		name = []byte(unquote(`"` + string(name) + `"`))
	}
	if string(name) != s.want {
		return nil
	}
	if s.found.end != 0 {
		return Invalid(s.want, "key %s is repeated at byte %d, send it once", shown(name), at.start)
	}
	s.found = at
	return nil
}

func (s *scanner) array(i, depth int, z zone) (int, error) {
	if depth > maxDepth {
		return 0, tooDeep(i)
	}
	raw := s.raw
	if i = skip(raw, i+1); i < len(raw) && raw[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = s.value(i, depth, z); err != nil {
			return 0, err
		}
		if i = skip(raw, i); i < len(raw) && raw[i] == ',' {
			i = skip(raw, i+1)
			continue
		}
		if i >= len(raw) || raw[i] != ']' {
			return 0, s.unexpected(i, `"," or "]"`)
		}
		return i + 1, nil
	}
}

func (s *scanner) literal(i int, word string) (int, error) {
	if end := i + len(word); end <= len(s.raw) && string(s.raw[i:end]) == word {
		return end, nil
	}
	return 0, s.unexpected(i, "a value")
}

// number walks -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number(i int) (int, error) {
	raw, start := s.raw, i
	if raw[i] == '-' {
		i++
	}
	whole := i
	if i = digits(raw, i); i == whole {
		if whole == start {
			return 0, s.unexpected(i, "a value")
		}
		return 0, s.unexpected(i, "a digit")
	}
	if raw[whole] == '0' && i > whole+1 {
		return 0, Invalid("", "the request body is not valid JSON: a number with a leading zero at byte %d", start)
	}
	if i < len(raw) && raw[i] == '.' {
		from := i + 1
		if i = digits(raw, from); i == from {
			return 0, s.unexpected(i, "a digit")
		}
	}
	if i < len(raw) && raw[i]|0x20 == 'e' {
		from := i + 1
		if from < len(raw) && (raw[from] == '+' || raw[from] == '-') {
			from++
		}
		if i = digits(raw, from); i == from {
			return 0, s.unexpected(i, "a digit")
		}
	}
	return i, nil
}

func digits(raw []byte, i int) int {
	for i < len(raw) && raw[i]-'0' <= 9 {
		i++
	}
	return i
}

// text walks a string whose first byte behind the opening quote is at i.
func (s *scanner) text(i int) (int, error) {
	raw := s.raw
	for {
		i = plain(raw, i)
		if i == len(raw) {
			return 0, s.unexpected(i, "the closing quote of a string")
		}
		switch c := raw[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			end := escape(raw, i)
			if end < 0 {
				return 0, Invalid("", "the request body is not valid JSON: an unknown escape in the string at byte %d", i)
			}
			i = end
		case c < 0x20:
			return 0, Invalid("", "the request body is not valid JSON: the control character 0x%02x in a string at byte %d, write it as an escape", c, i)
		default:
			end := multibyte(raw, i)
			if end == i {
				return 0, Invalid("", "the request body is not valid UTF-8 at byte %d", i)
			}
			i = end
		}
	}
}

func skip(raw []byte, i int) int {
	if i < len(raw) && raw[i] > ' ' {
		return i
	}
	return skipSpace(raw, i)
}

func skipSpace(raw []byte, i int) int {
	for ; i < len(raw); i++ {
		if c := raw[i]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			break
		}
		for i+8 < len(raw) && binary.LittleEndian.Uint64(raw[i+1:]) == ' '*ones { // indentation
			i += 8
		}
	}
	return i
}

func tooDeep(i int) error {
	return Invalid("", "the request body nests deeper than %d levels at byte %d", maxDepth, i)
}

// unexpected is the error of a text that is not JSON at i.
func (s *scanner) unexpected(i int, instead string) error {
	const prefix = "the request body is not valid JSON: "
	if i >= len(s.raw) {
		return Invalid("", prefix+"it ends at byte %d, expected %s", len(s.raw), instead)
	}
	if bytes.HasPrefix(s.raw[i:], []byte("\ufeff")) {
		return Invalid("", prefix+"a byte order mark at byte %d, send plain UTF-8", i)
	}
	return Invalid("", prefix+"%s at byte %d, expected %s", shown(s.raw[i:min(i+1, len(s.raw))]), i, instead)
}

// kind names the type of the value that starts with c.
func kind(c byte) string {
	switch c {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// shown quotes a piece of the request for an error message, cut to a readable length. It copies the piece: were it to
// escape, so would the scanner, and Parse would allocate.
func shown(piece []byte) string {
	if len(piece) > 64 {
		return strconv.Quote(string(piece[:60])) + "..."
	}
	return strconv.Quote(string(piece))
}
