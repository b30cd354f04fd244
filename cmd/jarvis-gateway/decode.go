package main

import (
	"bytes"
	"encoding"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// Bounds of one configuration file, so that no file can make the gateway hang or swell.
const (
	maxFile   = 16 << 20 // bytes
	maxCopied = 100_000  // nodes reached through aliases
	maxText   = 1 << 20  // bytes of one value once its references are replaced
)

// decoder reads one YAML file into a Go value. It follows the value's type, not the file's, so nothing that the type does
// not know passes, and it notes every problem on its way instead of stopping at the first.
type decoder struct {
	file     string
	included bool // an included file: it may hold less than the main one
	lookup   func(name string) (string, bool)

	text     []byte
	refs     []reference // what the file's placeholders stand for
	problems problems
	places   map[string]place
	hidden   []string // values that no message may show
	root     *yaml.Node
	secret   map[*yaml.Node]bool                           // texts that are, or hold, a secret; true: it is looked for in other texts too
	fill     func(mark string) (secret string, found bool) // of a kept version: the secrets that it left out
	aliases  []*yaml.Node                                  // being followed, outermost first
	copied   int                                           // nodes reached through aliases so far
}

// decode reads text, the content of file, into the struct that into points to.
func decode(file string, text []byte, into any, lookup func(string) (string, bool)) *decoder {
	d := &decoder{file: file, lookup: lookup, places: map[string]place{}}
	d.decode(text, into)
	return d
}

func (d *decoder) decode(text []byte, into any) {
	if root := d.parse(text); root != nil {
		d.root = root
		d.refill(spot{}, root)
		d.value(spot{line: root.Line}, root, reflect.ValueOf(into).Elem())
	}
}

// parse returns the root node of the file's only document, nil when there is none to read.
func (d *decoder) parse(text []byte) *yaml.Node {
	if len(text) > maxFile {
		d.problem(spot{line: 1}, "larger than %d MiB", maxFile>>20)
		return nil
	}
	if !utf8.Valid(text) {
		d.problem(spot{line: 1}, "not UTF-8 text")
		return nil
	}
	d.text, d.refs = hold(text, nil)
	documents := yaml.NewDecoder(bytes.NewReader(d.text))
	var first, second yaml.Node
	if err := documents.Decode(&first); err != nil {
		d.syntax(err)
		return nil
	}
	if err := documents.Decode(&second); err == nil {
		d.problem(spot{line: second.Line}, "a second document (only one is read)")
	} else {
		d.syntax(err)
	}
	root := first.Content[0]
	if isNull(root) {
		return nil
	}
	return root
}

// syntax notes what the YAML parser stopped at; the end of the file is no problem.
func (d *decoder) syntax(err error) {
	if errors.Is(err, io.EOF) {
		return
	}
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if number, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
		if n, err := strconv.Atoi(number); err == nil {
			text, line = rest, n
		}
	}
	if alias, ok := strings.CutPrefix(text, "unknown anchor '"); ok { // the parser does not say where
		before, _, _ := bytes.Cut(d.text, []byte("*"+strings.TrimSuffix(alias, "' referenced")))
		line = 1 + bytes.Count(before, []byte("\n"))
	}
	d.problem(spot{line: line}, "not valid YAML: %s", text)
}

// value decodes n into v, which must be settable.
func (d *decoder) value(at spot, n *yaml.Node, v reflect.Value) {
	n, end := d.follow(at, n)
	if n == nil {
		return
	}
	defer end()
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	d.note(at, false)
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		d.problem(at, "tag %s is not supported", n.Tag)
	case isNull(n):
		d.problem(at, "no value (fill it or remove the line)")
	case n.Kind != yaml.SequenceNode && oneOrMany(v.Type()):
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		d.value(at, n, v.Index(0))
	case n.Kind == yaml.ScalarNode && !hasMethod[yaml.Unmarshaler](v):
		d.scalar(at, n, v)
	default:
		d.collection(at, n, v)
	}
}

func (d *decoder) collection(at spot, n *yaml.Node, v reflect.Value) {
	if why, _ := notYet(at.shape, "{}"); why != "" {
		d.problem(at, "%s", why)
		return
	}
	unmarshaler, custom := v.Addr().Interface().(yaml.Unmarshaler)
	switch {
	case custom:
		d.custom(at, n, unmarshaler)
	case n.Kind == yaml.MappingNode && v.Kind() == reflect.Struct && !onlyText(v.Type()):
		d.fields(at, n, v)
	case n.Kind == yaml.MappingNode && v.Kind() == reflect.Map:
		d.entries(at, n, v)
	case n.Kind == yaml.SequenceNode && v.Kind() == reflect.Slice:
		d.items(at, n, v)
	default:
		d.wrong(at, v, kindOf(n))
	}
}

// fields decodes a mapping into a struct.
func (d *decoder) fields(at spot, n *yaml.Node, v reflect.Value) {
	known := fieldsOf(v.Type())
	d.pairs(at, n, false, func(at spot, name string, n *yaml.Node) {
		i := indexOf(known, name)
		if i < 0 {
			d.unknown(at, name, n, known)
			return
		}
		field, before := v.FieldByIndex(known[i].Index), len(d.problems)
		d.value(at, n, field)
		if len(d.problems) == before {
			d.least(at, known[i], field)
		}
	})
}

// unknown notes a key that the struct lacks: one of a later version, one in the wrong file, or a mistake.
func (d *decoder) unknown(at spot, name string, n *yaml.Node, known []reflect.StructField) {
	value := "{}"
	if n.Kind == yaml.ScalarNode {
		value = n.Value
	}
	if why, listed := notYet(at.shape, value); listed {
		if why != "" {
			d.problem(at, "%s", why)
		}
		return
	}
	choices := make([]string, 0, len(known))
	for _, f := range known {
		choices = append(choices, nameOf(f))
	}
	if d.included && indexOf(fieldsOf(reflect.TypeFor[Config]()), at.path) >= 0 {
		d.problem(at, "only the main file may hold it (an included file may hold %s)", strings.Join(choices, ", "))
		return
	}
	near := nearest(name, choices)
	if near == "" {
		d.problem(at, "unknown key (choices: %s)", strings.Join(choices, ", "))
		return
	}
	d.problem(at, "unknown key (did you mean %s? choices: %s)", near, strings.Join(choices, ", "))
	d.problems[len(d.problems)-1].meant = strings.TrimSuffix(at.path, name) + near
}

// entries decodes a mapping into a map by name. A name whose value has problems is kept, so that what refers to it is not
// reported too.
func (d *decoder) entries(at spot, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	d.pairs(at, n, true, func(at spot, name string, n *yaml.Node) {
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(at, n, entry)
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), entry)
	})
}

// pairs calls each for every well-formed pair of a mapping; named says that its keys are names, not fields.
func (d *decoder) pairs(at spot, n *yaml.Node, named bool, each func(at spot, name string, n *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		name, shown, ok := d.name(at, key)
		if !ok {
			continue
		}
		at := at.key(name, shown, named, key.Line)
		if line, twice := seen[name]; twice {
			d.problem(at, "stands twice, first at line %d", line)
			continue
		}
		seen[name] = key.Line
		each(at, name, n.Content[i+1])
	}
}

// name reads a mapping's key; shown is what messages may show of it.
func (d *decoder) name(at spot, key *yaml.Node) (name, shown string, ok bool) {
	at.line = key.Line
	key, end := d.follow(at, key)
	if key == nil {
		return "", "", false
	}
	defer end()
	switch {
	case key.Kind != yaml.ScalarNode:
		d.problem(at, "expected a name before the colon, got %s", kindOf(key))
	case key.Style&yaml.TaggedStyle != 0:
		d.problem(at, "tag %s is not supported", key.Tag)
	case key.Tag == "!!merge":
		d.problem(at, "merge keys (<<) are not supported (repeat the keys, or give a whole value an &anchor and write *anchor)")
	default:
		name, shown, ok = d.expand(at, key.Value)
		if ok && (isNull(key) || strings.TrimSpace(name) == "") {
			d.problem(at, "empty name")
			ok = false
		}
	}
	return name, shown, ok
}

func (d *decoder) items(at spot, n *yaml.Node, v reflect.Value) {
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(at.item(i, item.Line), item, v.Index(i))
	}
}

// custom hands a copy of the node to a type that reads nodes itself.
func (d *decoder) custom(at spot, n *yaml.Node, into yaml.Unmarshaler) {
	before, hidden := len(d.problems), len(d.hidden)
	plain := d.plain(at, n)
	if plain == nil || len(d.problems) > before {
		return
	}
	switch err := into.UnmarshalYAML(plain); {
	case err == nil:
	case len(d.hidden) > hidden: // the error may quote what came from the environment
		d.problem(at, "not valid")
	default:
		d.problem(at, "%v", err)
	}
}

// plain copies n with aliases followed and references replaced.
func (d *decoder) plain(at spot, n *yaml.Node) *yaml.Node {
	n, end := d.follow(at, n)
	if n == nil {
		return nil
	}
	defer end()
	c := *n
	c.Content, c.Anchor = nil, ""
	if c.Kind == yaml.ScalarNode {
		d.hideHeaders(at, n, "")
		c.Value, _, _ = d.expand(at, c.Value)
		return &c
	}
	for _, child := range n.Content {
		if child = d.plain(at, child); child != nil {
			c.Content = append(c.Content, child)
		}
	}
	return &c
}

// follow returns the node that n is or stands for; end must be called when the walk leaves it. Nil: an alias of its own
// surroundings, or one too many.
func (d *decoder) follow(at spot, n *yaml.Node) (target *yaml.Node, end func()) {
	if len(d.aliases) > 0 {
		if d.copied++; d.copied > maxCopied {
			if d.copied == maxCopied+1 {
				d.problem(at, "aliases repeat more than %d values", maxCopied)
			}
			return nil, nil
		}
	}
	if n.Kind != yaml.AliasNode {
		return n, func() {}
	}
	for _, open := range d.aliases {
		if open == n.Alias {
			d.problem(at, "alias *%s stands inside its own anchor", n.Value)
			return nil, nil
		}
	}
	d.aliases = append(d.aliases, n.Alias)
	return n.Alias, func() { d.aliases = d.aliases[:len(d.aliases)-1] }
}

// scalar is a single value of the file.
type scalar struct {
	text   string // its references replaced
	got    string // what a message may show of it
	quoted bool
	hidden bool // text must not be shown
}

// scalar decodes a single value.
func (d *decoder) scalar(at spot, n *yaml.Node, v reflect.Value) {
	text, shown, ok := d.expand(at, n.Value)
	if !ok {
		return
	}
	s := scalar{text: text, got: strconv.Quote(clip(text)), hidden: text != shown}
	s.quoted = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	switch {
	case s.hidden:
		s.got = "*** (from " + clip(shown) + ")"
		d.note(at, true)
	case isSecret(v.Type()):
		s.hidden, s.got = true, wire.Masked
		d.hidden = append(d.hidden, text)
	case s.quoted:
		s.got = "the text " + s.got
	}
	if isSecret(v.Type()) && d.literal(n.Value) || v.Kind() == reflect.String && d.carriesSecret(at, n.Value, text) {
		d.hide(n, true)
	}
	d.hideHeaders(at, n, text)
	if why, _ := notYet(at.shape, text); why != "" {
		d.problem(at, "%s", why)
		return
	}
	d.set(at, v, s)
}

// set stores s in v as v's type wants it.
func (d *decoder) set(at spot, v reflect.Value, s scalar) {
	err := strconv.ErrSyntax
	switch reader, reads := v.Addr().Interface().(encoding.TextUnmarshaler); {
	case reads:
		d.read(at, reader, v.Type(), s)
		return
	case v.Type() == reflect.TypeFor[time.Duration]():
		err = setDuration(v, s.text)
	case v.Kind() == reflect.String:
		v.SetString(s.text)
		return
	case !isScalar(v.Kind()):
		s.got = "a single value" // not shown: a secret on the wrong line must not be echoed
	case !s.quoted: // a quoted 50 is text; saying so beats guessing
		err = setNumber(v, s.text)
	}
	if err != nil {
		d.wrong(at, v, s.got)
	}
}

// read lets the type read its text. Its error may quote the text, so for a hidden text it is asked again about "***".
func (d *decoder) read(at spot, reader encoding.TextUnmarshaler, t reflect.Type, s scalar) {
	err := reader.UnmarshalText([]byte(s.text))
	if err == nil {
		return
	}
	if s.hidden {
		again := reflect.New(t).Interface().(encoding.TextUnmarshaler)
		if err = again.UnmarshalText([]byte(wire.Masked)); err == nil {
			err = errors.New("not valid: " + s.got)
		}
	}
	d.problem(at, "%v", err)
}

func setDuration(v reflect.Value, text string) error {
	length, err := time.ParseDuration(text)
	if err == nil && length <= 0 { // 0 would silently become the default
		err = strconv.ErrRange
	}
	v.SetInt(int64(max(length, 0)))
	return err
}

func setNumber(v reflect.Value, text string) error {
	switch {
	case v.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return strconv.ErrSyntax
		}
		v.SetBool(text == "true")
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		v.SetInt(n)
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		v.SetUint(n)
		return err
	default:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err == nil && n-n != 0 { // NaN and the infinities are no setting
			err = strconv.ErrRange
		}
		v.SetFloat(n)
		return err
	}
	return nil
}
