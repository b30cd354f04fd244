package flows

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// template is a text with expressions in it: Hello {{ vars.name }}.
type template struct {
	parts []part
}

// part is plain text, or an expression.
type part struct {
	plain string
	value *expression
}

// split takes a text apart. {{ "}}" }} ends where an expression does, not at the first braces: those in texts do not count.
func (s *scope) split(text string) (*template, error) {
	t := &template{}
	for {
		at := strings.Index(text, "{{")
		if at < 0 {
			break
		}
		if at > 0 {
			t.parts = append(t.parts, part{plain: text[:at]})
		}
		text = text[at+2:]
		end := closing(text)
		if end < 0 {
			return nil, errors.New("{{ without }}")
		}
		e, err := s.compile(strings.TrimSpace(text[:end]))
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{value: e})
		text = text[end+2:]
	}
	if text != "" {
		t.parts = append(t.parts, part{plain: text})
	}
	return t, nil
}

// closing is where the braces that end an expression begin; -1: nowhere.
func closing(text string) int {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\' && quote != '`':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quote = c
		case c == '}' && strings.HasPrefix(text[i:], "}}"):
			return i
		}
	}
	return -1
}

// alone is the expression of a template that is nothing else; nil for any other.
func (t *template) alone() *expression {
	if len(t.parts) == 1 {
		return t.parts[0].value
	}
	return nil
}

// text is the template with its values.
func (t *template) text(env map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		text := p.plain
		if p.value != nil {
			v, err := p.value.run(env)
			if err == nil {
				text, err = textOf(v)
			}
			if err != nil {
				return "", err
			}
		}
		if b.Len()+len(text) > mostText {
			return "", errTooLong
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

var errTooLong = fmt.Errorf("the text is longer than %d MiB", mostText>>20)

// textOf is a value as it stands in a text: a step as its text, nothing as nothing, lists and the like as JSON.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case result:
		return textOf(v["text"])
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	}
	raw, err := jsonOf(v)
	return string(raw), err
}

// jsonOf is a value as JSON.
func jsonOf(v any) ([]byte, error) {
	if step, ok := v.(result); ok {
		v = step["json"]
		if v == nil {
			v = step["text"]
		}
	}
	if room := mostText; !fits(v, &room) {
		return nil, errTooLong
	}
	var b bytes.Buffer
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	if err := to.Encode(v); err != nil {
		return nil, errors.New("the value cannot be written as JSON")
	}
	if b.Len() > mostText {
		return nil, errTooLong
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// fits tells whether the texts of a value leave room, before anybody writes them: a list of one long text many times is small until then.
func fits(v any, room *int) bool {
	*room--
	switch v := v.(type) {
	case string:
		*room -= len(v)
	case result:
		return fits(map[string]any(v), room)
	case []string:
		for _, text := range v {
			if *room -= len(text); *room < 0 {
				break
			}
		}
	case []any:
		for _, item := range v {
			if !fits(item, room) {
				break
			}
		}
	case map[string]any:
		for name, item := range v {
			if *room -= len(name); !fits(item, room) {
				break
			}
		}
	}
	return *room >= 0
}

// piece is a part of a JSON text: written already, a string with expressions in it, or a value that an expression makes.
type piece struct {
	raw   []byte
	text  *template
	value *expression
}

// body is the request that the pieces make.
func (a *ask) body(env map[string]any) ([]byte, error) {
	var dst []byte
	for _, p := range a.pieces {
		switch {
		case p.text != nil:
			text, err := p.text.text(env)
			if err != nil {
				return nil, err
			}
			dst = wire.AppendString(dst, text)
		case p.value != nil:
			v, err := p.value.run(env)
			if err != nil {
				return nil, err
			}
			raw, err := jsonOf(v)
			if err != nil {
				return nil, err
			}
			dst = append(dst, raw...)
		default:
			dst = append(dst, p.raw...)
		}
		if len(dst) > mostBody {
			return nil, fmt.Errorf("the request is longer than %d MiB", mostBody>>20)
		}
	}
	return dst, nil
}
