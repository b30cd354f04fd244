package main

import (
	"bytes"
	"cmp"
	"encoding"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// print writes the effective configuration as YAML, secrets masked.
func (l *loaded) print(out io.Writer) error {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(l.node("", reflect.ValueOf(l.filled()))); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	_, err := out.Write(bytes.ReplaceAll(text.Bytes(), []byte(opens), []byte(`\x24`)))
	return err
}

// node is v as YAML; path is where it stands. Nil: nothing to print.
func (l *loaded) node(path string, v reflect.Value) *yaml.Node {
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := text.MarshalText()
		if err != nil {
			panic("BUG: cannot print " + path + ": " + err.Error())
		}
		return stringNode(string(b))
	}
	if plain, ok := v.Interface().(yaml.Marshaler); ok && v.Kind() != reflect.Pointer {
		return plainNode(path, plain)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return l.node(path, v.Elem())
	case reflect.Struct:
		return l.structNode(path, v)
	case reflect.Map:
		return l.mapNode(path, v)
	case reflect.Slice:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			list.Content = append(list.Content, l.node(fmt.Sprintf("%s[%d]", path, i), v.Index(i)))
		}
		return list
	case reflect.String:
		return stringNode(l.safe(path, v.String()))
	}
	if length, ok := v.Interface().(time.Duration); ok {
		return stringNode(short(length))
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
}

// plainNode is what a type writes itself, which must hold no secret.
func plainNode(path string, v yaml.Marshaler) *yaml.Node {
	n := &yaml.Node{}
	value, err := v.MarshalYAML()
	if err == nil {
		err = n.Encode(value)
	}
	if err != nil {
		panic("BUG: cannot print " + path + ": " + err.Error())
	}
	return n
}

// structNode leaves out what is not set.
func (l *loaded) structNode(path string, v reflect.Value) *yaml.Node {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		field, name := v.FieldByIndex(f.Index), nameOf(f)
		if field.IsZero() {
			continue
		}
		if value := l.node(spot{path: path}.key(name, name, false, 0).path, field); value != nil {
			mapping.Content = append(mapping.Content, stringNode(name), value)
		}
	}
	return mapping
}

func (l *loaded) mapNode(path string, v reflect.Value) *yaml.Node {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	for _, key := range keys {
		name := stringNode(key.String())
		mapping.Content = append(mapping.Content, name, l.node(path+"."+key.String(), v.MapIndex(key)))
	}
	return mapping
}

// stringNode is quoted where it would else read as something other than text: a ${ of its own would read as a reference, so
// a placeholder keeps the place of an escape, which the encoder does not know.
func stringNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.Contains(s, "${") && !strings.Contains(s, opens) {
		n.Value, n.Style = strings.ReplaceAll(s, "${", opens+"{"), yaml.DoubleQuotedStyle
	}
	return n
}

// safe masks the secrets that stand in ordinary texts: a header that carries a credential, a password in a URL, the path of
// a URL that is told things, as a webhook's.
func (l *loaded) safe(path, value string) string {
	password := `://[^/?#@]*@`
	switch {
	case l.credential(path):
		return wire.Masked
	case strings.HasPrefix(path, "stores."):
		password = `://.*@` // it may hold what ends one in other URLs
	case strings.HasSuffix(path, ".webhook"), strings.HasSuffix(path, "].url"):
		return policy.HideURL(value)
	}
	return regexp.MustCompile(password).ReplaceAllString(value, "://"+wire.Masked+"@")
}

// credential says whether the header at path may hold a secret: its name says so, or its value came from the environment.
func (l *loaded) credential(path string) bool {
	provider, header, inHeaders := strings.Cut(path, ".headers.")
	if !inHeaders || !strings.HasPrefix(provider, "providers.") {
		return false
	}
	return l.places[path].fromEnv || slices.ContainsFunc(words("auth key token secret cookie password credential"), func(word string) bool {
		return strings.Contains(strings.ToLower(header), word)
	})
}

// short writes 10m where Go writes 10m0s.
func short(length time.Duration) string {
	s := length.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
