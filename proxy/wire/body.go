package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// Body is a JSON request in OpenAI form: the client's own bytes, and where in them the fields lie that every request is
// decided by. Edits make a new Body and change no byte outside the edited value. The bytes must not change as long as
// the Body is in use.
type Body struct {
	raw   []byte
	model span // the value of model, quotes included; if there is none, the empty span where it would go
	usage span // what to overwrite to make the upstream report usage in streams
	turns span // the value of messages or input

	bounds    bounds
	usageForm usageForm // and with what
	hasModel  bool
	escaped   bool // the model is spelled with escapes
	stream    bool
	wantUsage bool
	elsewhere uint8
}

// usageForm is what goes over Body.usage, by what the client sent.
type usageForm uint8

const (
	wholeField   usageForm = iota // no stream_options: the field
	wholeObject                   // null: an object
	optionField                   // an object without include_usage: that field
	optionSwitch                  // false or null: true
)

// Parse reads a request body in one walk. It accepts exactly one JSON object (RFC 8259) and refuses, with a 400 that
// says where, whatever two JSON readers could read differently in the fields that the gateway acts on. It keeps raw, and
// allocates nothing for a body that it accepts, unless that has objects with dozens of keys or with unusual ones.
func Parse(raw []byte) (Body, error) {
	s := scanner{raw: raw}
	if err := s.document(); err != nil {
		return Body{}, err
	}
	b := Body{raw: raw, model: s.model, turns: s.messages, bounds: s.bounds, hasModel: s.model.end > 0, elsewhere: s.elsewhere}
	if !b.hasModel {
		b.model = span{s.tail, s.tail}
	}
	if !b.is('[', b.turns) {
		b.turns = s.input
	}
	b.escaped = bytes.IndexByte(raw[b.model.start:b.model.end], '\\') >= 0
	b.stream = raw[s.stream.start] == 't'
	b.findUsage(&s)
	return b, nil
}

// findUsage tells how to ask for usage. The zero span of an absent field points at a brace or white space.
func (b *Body) findUsage(s *scanner) {
	b.wantUsage = b.raw[s.usage.start] == 't'
	switch {
	case s.usage.end > 0:
		b.usage, b.usageForm = s.usage, optionSwitch
	case s.options.end == 0:
		b.usage, b.usageForm = span{s.tail, s.tail}, wholeField
	case b.raw[s.options.start] == 'n':
		b.usage, b.usageForm = s.options, wholeObject
	default:
		b.usage, b.usageForm = span{s.optionsTail, s.optionsTail}, optionField
	}
}

// Raw is the whole body.
func (b *Body) Raw() []byte { return b.raw }

// Len is the length of the body in bytes.
func (b *Body) Len() int { return len(b.raw) }

// HasModel reports whether the body names a model.
func (b *Body) HasModel() bool { return b.hasModel }

// Model is the model asked for, "" if there is none. It may share its bytes with Raw: whoever keeps it beyond them
// clones it.
func (b *Body) Model() string {
	if !b.hasModel {
		return ""
	}
	return b.text(b.model)
}

// Stream reports whether the client asked for a stream.
func (b *Body) Stream() bool { return b.stream }

// IncludeUsage reports whether the client itself asked for usage at the end of a stream.
func (b *Body) IncludeUsage() bool { return b.wantUsage }

// Get reads a rarely used field, by its gjson path. The result is a copy.
func (b *Body) Get(path string) gjson.Result { return gjson.GetBytes(b.raw, path) }

// PromptObject is the value of prompt where that is an object, as in requests that refer to a prompt template; else nil. It is
// part of Raw.
func (b *Body) PromptObject() []byte {
	if !b.is('{', b.bounds.prompt) {
		return nil
	}
	return b.raw[b.bounds.prompt.start:b.bounds.prompt.end]
}

// LastUserText is the text of the last message of the user: of a chat request, or of the input of a Responses request.
// Text parts are joined without a separator. It is "" if there is none.
func (b *Body) LastUserText() string {
	last := b.turns
	if b.is('[', last) {
		last = span{}
		for turn := range elements(b.raw, b.turns.start) {
			if b.text(b.field(turn, "role")) == "user" {
				last = b.field(turn, "content")
			}
		}
	}
	if !b.is('[', last) {
		return strings.Clone(b.text(last))
	}
	var text strings.Builder
	for part := range elements(b.raw, last.start) {
		text.WriteString(b.text(b.field(part, "text")))
	}
	return text.String()
}

// is reports whether the value at is of the type that first starts.
func (b *Body) is(first byte, at span) bool { return at.end > 0 && b.raw[at.start] == first }

// field is where the value of a field lies in the object at, the zero span if there is none.
func (b *Body) field(at span, name string) span {
	if !b.is('{', at) {
		return span{}
	}
	value, _, _ := find(b.raw, at.start, name)
	return value
}

// text is the string at, "" if there is none. It may share its bytes with Raw.
func (b *Body) text(at span) string {
	if !b.is('"', at) {
		return ""
	}
	quoted := alias(b.raw[at.start:at.end])
	if strings.IndexByte(quoted, '\\') >= 0 {
		return unquote(quoted)
	}
	return quoted[1 : len(quoted)-1]
}

// NeedsEdit reports whether AppendEdited would do more than append the body.
func (b *Body) NeedsEdit(model string, forceUsage bool) bool {
	return b.replacesModel(model) || forceUsage && !b.wantUsage
}

// replacesModel is also true for the same model spelled with escapes: upstreams get to see the plain spelling.
func (b *Body) replacesModel(model string) bool {
	return model != "" && (b.escaped || b.Model() != model)
}

// Edit is what is changed in a body on its way to a provider.
type Edit struct {
	Model string // in place of the body's; "": none
	Usage bool   // stream_options.include_usage is set
	Cap   Cap    // added at the end, see AddsCap
}

// AppendEdited appends the body to dst with an edit. It adds what is missing at the end of its object and changes no other byte.
func (b *Body) AppendEdited(dst []byte, e Edit) []byte {
	const most = len(`,"model":"","stream_options":{"include_usage":true},"max_completion_tokens":9223372036854775807`)
	dst = slices.Grow(dst, len(b.raw)+len(e.Model)+most)
	setModel, setUsage, at := b.replacesModel(e.Model), e.Usage && !b.wantUsage, 0
	if setUsage && b.usage.start < b.model.start {
		dst, at = b.appendUsage(dst, at)
		setUsage = false
	}
	if setModel {
		dst, at = b.appendModel(dst, at, e.Model)
	}
	if setUsage {
		dst, at = b.appendUsage(dst, at)
	}
	if e.Cap.Name != "" {
		dst, at = b.appendCap(dst, at, e.Cap)
	}
	return append(dst, b.raw[at:]...)
}

// appendCap is appendModel for a bound on the answer.
func (b *Body) appendCap(dst []byte, at int, c Cap) ([]byte, int) {
	end := len(bytes.TrimRight(b.raw[:bytes.LastIndexByte(b.raw, '}')], " \t\r\n")) // behind the last member
	dst = comma(append(dst, b.raw[at:end]...))
	dst = append(append(append(dst, '"'), c.Name...), '"', ':')
	return strconv.AppendInt(dst, c.Tokens, 10), end
}

// appendModel appends the body from at to the model, and the new model. It returns where the body goes on.
func (b *Body) appendModel(dst []byte, at int, model string) ([]byte, int) {
	dst = append(dst, b.raw[at:b.model.start]...)
	if !b.hasModel {
		dst = append(comma(dst), `"model":`...)
	}
	return AppendString(dst, model), b.model.end
}

// appendUsage is appendModel for stream_options.include_usage.
func (b *Body) appendUsage(dst []byte, at int) ([]byte, int) {
	dst = append(dst, b.raw[at:b.usage.start]...)
	switch b.usageForm {
	case wholeField:
		dst = append(comma(dst), `"stream_options":{"include_usage":true}`...)
	case wholeObject:
		dst = append(dst, `{"include_usage":true}`...)
	case optionField:
		dst = append(comma(dst), `"include_usage":true`...)
	case optionSwitch:
		dst = append(dst, "true"...)
	}
	return dst, b.usage.end
}

// comma appends a comma unless dst ends with the brace that opens an object, as no value does.
func comma(dst []byte) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return dst
}

// Set returns the body with the field at path set to v: a field of the request, or below it with dots through objects.
// A value that is there is replaced in place; what is missing is added at the end of its object. v is encoded as
// encoding/json does, but a json.RawMessage is taken as it is. The result is parsed anew.
func (b *Body) Set(path string, v any) (Body, error) {
	value, err := encode(v)
	if err != nil {
		return Body{}, fmt.Errorf("set %s: %w", path, err)
	}
	names := strings.Split(path, ".")
	for _, name := range names {
		if name == "" || strings.ContainsFunc(name, needsEscape) {
			return Body{}, fmt.Errorf("set %q: not a path of plain names", path)
		}
	}
	raw, err := b.splice(names, value)
	if err != nil {
		return Body{}, err
	}
	return Parse(raw)
}

// needsEscape reports whether r cannot stand in a key without an escape.
func needsEscape(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError }

// splice copies the body with the value at the path of names replaced or added.
func (b *Body) splice(names []string, value []byte) ([]byte, error) {
	at := skip(b.raw, 0)
	for n, name := range names {
		if b.raw[at] != '{' {
			field := strings.Join(names[:n], ".")
			return nil, Invalid(field, "%s must be an object, not %s", field, kind(b.raw[at]))
		}
		found, tail, err := find(b.raw, at, name)
		if err != nil {
			return nil, err
		}
		if found.end == 0 {
			return b.insert(tail, names[n:], value), nil
		}
		if n == len(names)-1 {
			return slices.Concat(b.raw[:found.start], value, b.raw[found.end:]), nil
		}
		at = found.start
	}
	panic("BUG: a path without names")
}

// insert copies the body with a new member at the offset at: value, inside as many new objects as there are more names.
func (b *Body) insert(at int, names []string, value []byte) []byte {
	raw := comma(slices.Clone(b.raw[:at]))
	for n, name := range names {
		if n > 0 {
			raw = append(raw, '{')
		}
		raw = append(AppendString(raw, name), ':')
	}
	raw = append(raw, value...)
	raw = append(raw, strings.Repeat("}", len(names)-1)...)
	return append(raw, b.raw[at:]...)
}

// encode is json.Marshal, but leaves <, > and & as they are.
func encode(v any) ([]byte, error) {
	if raw, ok := v.(json.RawMessage); ok {
		if !json.Valid(raw) {
			return nil, fmt.Errorf("not valid JSON: %s", shown(raw))
		}
		return raw, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// unquote decodes a valid JSON string.
func unquote(quoted string) string { return gjson.Parse(quoted).Str }

// alias is raw as a string without a copy: it is valid as long as nobody writes to raw.
func alias(raw []byte) string { return unsafe.String(unsafe.SliceData(raw), len(raw)) }
