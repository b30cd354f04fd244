package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

const (
	maxBody  = 1 << 20
	maxDepth = 32
)

// object is a JSON object as a client sent it. Numbers are json.Number.
type object map[string]any

// readObject reads a request's body. No body at all is an empty object.
func readObject(r *http.Request) (object, error) {
	raw, err := readBody(r, maxBody)
	if err != nil || len(raw) == 0 {
		return object{}, err
	}
	return parseObject(raw)
}

// readBody reads JSON of so many bytes at most, which may be none.
func readBody(r *http.Request, most int64) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, most))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &wire.Error{Status: 413, Type: wire.TypeInvalid, Code: "request_too_large", Message: fmt.Sprintf("The body is larger than %d bytes.", most)}
	}
	if err != nil {
		return nil, wire.Invalid("", "The body could not be read.")
	}
	if len(raw) == 0 {
		return nil, nil
	}
	// A page in a browser can send other types to any address without asking, this one not.
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && kind != "application/merge-patch+json" {
		return nil, &wire.Error{Status: 415, Type: wire.TypeInvalid, Code: "unsupported_media_type", Message: "Send the body with Content-Type: application/json."}
	}
	return raw, nil
}

// parseObject is strict: JSON readers disagree on repeated keys, so none may stand twice.
func parseObject(raw []byte) (object, error) {
	if !utf8.Valid(raw) {
		return nil, wire.Invalid("", "The body is not UTF-8 text.")
	}
	p := &parser{json.NewDecoder(bytes.NewReader(raw))}
	p.UseNumber()
	v, err := p.value("", 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.Token(); err != io.EOF {
		return nil, wire.Invalid("", "Something follows the body's JSON.")
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, wire.Invalid("", "The body must be a JSON object.")
	}
	return o, nil
}

type parser struct{ *json.Decoder }

func (p *parser) value(path string, depth int) (any, error) {
	token, err := p.Token()
	if err != nil {
		return nil, wire.Invalid("", "The body is not valid JSON, at byte %d.", p.InputOffset())
	}
	if depth > maxDepth {
		return nil, wire.Invalid(path, "The body is nested more than %d deep.", maxDepth)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return p.object(path, depth)
		}
		return p.list(path, depth)
	case string:
		return t, plainText(path, t)
	}
	return token, nil
}

func (p *parser) object(path string, depth int) (any, error) {
	o := map[string]any{}
	for p.More() {
		token, err := p.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return nil, wire.Invalid("", "The body is not valid JSON, at byte %d.", p.InputOffset())
		}
		at := below(path, key)
		if _, twice := o[key]; twice {
			return nil, wire.Invalid(at, "%s: stands twice.", at)
		}
		if err := plainText(at, key); err != nil {
			return nil, err
		}
		if o[key], err = p.value(at, depth+1); err != nil {
			return nil, err
		}
	}
	return o, p.end()
}

func (p *parser) list(path string, depth int) (any, error) {
	list := []any{}
	for p.More() {
		v, err := p.value(path+"["+strconv.Itoa(len(list))+"]", depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, p.end()
}

// end takes the closing bracket.
func (p *parser) end() error {
	if _, err := p.Token(); err != nil {
		return wire.Invalid("", "The body is not valid JSON, at byte %d.", p.InputOffset())
	}
	return nil
}

// plainText refuses what looks like a reference to the gateway's environment: the configuration file's reader would replace
// it, and nobody may read the environment from afar. It also refuses what that reader cannot read.
func plainText(path, text string) error {
	if strings.Contains(text, "${") {
		return wire.Invalid(path, "%s: references like ${NAME} are for the configuration file; send the value itself.", path)
	}
	if strings.ContainsFunc(text, unreadable) {
		return wire.Invalid(path, "%s: holds a control character.", path)
	}
	return nil
}

func unreadable(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	case '\ufeff', '\ufffe', '\uffff':
		return true
	}
	return unicode.IsControl(r)
}

func below(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// encode is the object as JSON, its keys in order.
func (o object) encode() []byte { return mustEncode(o) }

// filled is the object without the fields that are null, for which clients' libraries stand where nothing is said.
func (o object) filled() object {
	filled := maps.Clone(o)
	maps.DeleteFunc(filled, func(_ string, v any) bool { return v == nil })
	return filled
}

// merge applies a JSON merge patch, RFC 7396: null removes. A secret, or an URL that may hold one, comes back as it is shown,
// masked, from those who change something else; it stays as it was.
func (o object) merge(patch object) object {
	merged := maps.Clone(o)
	if merged == nil {
		merged = object{}
	}
	for key, v := range patch {
		inner, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(merged, key)
		case v == wire.Masked && merged[key] != nil:
		case isObject:
			old, _ := merged[key].(map[string]any)
			merged[key] = map[string]any(object(old).merge(inner))
		default:
			merged[key] = unhidden(v, merged[key])
		}
	}
	return merged
}

// masked finds a text that is a secret as it is shown, and says where.
func masked(path string, v any) (at string, found bool) {
	switch v := v.(type) {
	case string:
		return path, hidden(v)
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at, found = masked(below(path, key), v[key]); found {
				return at, true
			}
		}
	case []any:
		for i := range v {
			if at, found = masked(path+"["+strconv.Itoa(i)+"]", v[i]); found {
				return at, true
			}
		}
	}
	return "", false
}

// take removes a field and returns its text, "" where there is none.
func (o object) take(field string) (string, error) {
	v, ok := o[field]
	delete(o, field)
	if s, isText := v.(string); isText || !ok || v == nil {
		return s, nil
	}
	return "", wire.Invalid(field, "%s: expected text.", field)
}

// show is a value of the configuration, such as a tenant, as JSON: the same words as in the file, secrets masked.
func show(v any) object {
	raw, err := yaml.Marshal(v)
	plain := object{}
	if err == nil {
		err = yaml.Unmarshal(raw, &plain)
	}
	if err != nil {
		panic("BUG: cannot show a " + fmt.Sprintf("%T", v) + ": " + err.Error())
	}
	return plain
}

func mustEncode(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: cannot encode: " + err.Error())
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
