package prompt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// longestText bounds what a template becomes with its variables: one that stands there often may be long.
const longestText = 32 << 20

// Template is one version of a template. It never changes.
type Template struct {
	Name, Version, Description string
	Model                      string // of requests that name none; "" if they must

	version    *semver.Version
	variables  []variable
	index      map[string]int // of variables, by name
	defaults   [][]byte       // by variable: what stands there unless it is given; nil: it must be
	parameters []member
	system     []message // of the roles system and developer
	turns      []message // behind them, of the others
}

// member is a member of the request's body that the template gives it, unless the client does.
type member struct {
	name  string
	value []byte
}

type message struct {
	role  string
	parts []part
}

// part is a piece of a message: a text as it stands in a JSON string, or a variable.
type part struct {
	text     []byte
	variable int // -1: text
}

// split takes a message apart: {{name}} is a variable, and {{{{ is a plain {{.
func (t *Template) split(content string) (parts []part, err error) {
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, part{text: escape(plain.String()), variable: -1})
			plain.Reset()
		}
	}
	var errs []error
	for {
		before, rest, found := strings.Cut(content, "{{")
		plain.WriteString(before)
		if !found {
			flush()
			return parts, errors.Join(errs...)
		}
		if after, literal := strings.CutPrefix(rest, "{{"); literal {
			plain.WriteString("{{")
			content = after
			continue
		}
		name, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, errors.Join(append(errs, errors.New("a {{ without its }} (write {{{{ for a plain {{)"))...)
		}
		i, known := t.index[strings.TrimSpace(name)]
		if !known {
			errs = append(errs, fmt.Errorf("unknown variable %s (%s; write {{{{ for a plain {{)", shown(name), choices(t.names())))
		}
		flush()
		parts = append(parts, part{variable: i})
		content = after
	}
}

func (t *Template) names() []string {
	list := make([]string, len(t.variables))
	for i := range t.variables {
		list[i] = t.variables[i].name
	}
	return list
}

// Render returns the template's messages, a JSON array as /v1/chat/completions takes it. vars is a JSON object with the
// variables, or nothing. The error is a *wire.Error for the client.
func (t *Template) Render(vars []byte) ([]byte, error) {
	if len(vars) == 0 {
		vars = []byte("{}")
	}
	if !gjson.ValidBytes(vars) || !utf8.Valid(vars) {
		return nil, wire.Invalid("prompt.variables", "prompt.variables: not valid JSON.")
	}
	values, err := arm{Template: t, given: t.defaults}.values(gjson.ParseBytes(vars))
	if err != nil {
		return nil, err
	}
	raw := appendMessages([]byte{'['}, t.system, values)
	return append(appendMessages(raw, t.turns, values), ']'), nil
}

// values are what stands for each variable. vars is a JSON object that is known to be valid, null or missing.
func (a arm) values(vars gjson.Result) ([][]byte, error) {
	if vars.Exists() && vars.Type != gjson.Null && !vars.IsObject() {
		return nil, wire.Invalid("prompt.variables", "prompt.variables: expected an object, got %s.", nameOf(vars))
	}
	values := slices.Clone(a.given)
	if !vars.IsObject() {
		return values, a.check(values)
	}
	var err error
	vars.ForEach(func(key, value gjson.Result) bool {
		i, known := a.index[key.Str]
		switch {
		case known && value.Type != gjson.Null: // null is not given
			if values[i], err = a.variables[i].text(value); err != nil {
				err = wire.Invalid("prompt.variables."+key.Str, "prompt.variables.%s: %v.", key.Str, err)
			}
		case !known && !a.tolerates(key.Str):
			err = wire.Invalid("prompt.variables."+clipName(key.Str), "prompt.variables: prompt %s %s has no variable %s (%s).", a.Name, a.Version, shown(key.Str), choices(a.names()))
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return values, a.check(values)
}

// tolerates tells a variable that only the other version of a rollout has: a client cannot know which one it gets.
func (a arm) tolerates(name string) bool {
	if a.other == nil {
		return false
	}
	_, known := a.other.index[name]
	return known
}

// check refuses values that are missing, or too long together.
func (a arm) check(values [][]byte) error {
	for i, value := range values {
		if name := a.variables[i].name; value == nil {
			return wire.Invalid("prompt.variables."+name, "prompt.variables.%s: must be set, as prompt %s %s needs it: %s.", name, a.Name, a.Version, a.variables[i].called())
		}
	}
	size := 0
	for _, messages := range [...][]message{a.system, a.turns} {
		for _, m := range messages {
			for _, p := range m.parts {
				if p.variable >= 0 {
					size += len(values[p.variable])
				}
			}
		}
	}
	if size > longestText {
		return wire.Invalid("prompt.variables", "prompt.variables: the prompt would be longer than %d MiB with them.", longestText>>20)
	}
	return nil
}

// appendMessages appends messages, with a comma in front of the first unless it begins an array.
func appendMessages(dst []byte, messages []message, values [][]byte) []byte {
	for _, m := range messages {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"role":"`...), m.role...), `","content":"`...)
		dst = append(m.append(dst, values), `"}`...)
	}
	return dst
}

// append appends the message's text, as it stands in a JSON string.
func (m *message) append(dst []byte, values [][]byte) []byte {
	for _, p := range m.parts {
		if p.variable >= 0 {
			p.text = values[p.variable]
		}
		dst = append(dst, p.text...)
	}
	return dst
}

// clipName bounds a name of the client's where it is repeated.
func clipName(name string) string {
	if len(name) > 64 {
		return strings.ToValidUTF8(name[:60], "") + "..."
	}
	return name
}
