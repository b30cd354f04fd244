package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// A ${NAME} is no YAML inside {...}, and the text it stands for may hold anything. So each is replaced before parsing by a
// placeholder of private-use code points, which YAML takes for ordinary letters, and by its value only in the parsed texts:
// no value can add to the file's structure.
const (
	opens  = "\ue000"
	closes = "\ue001"
	zero   = '\ue010' // the ten digits, as code points that no YAML rule takes for a number
)

// reference is one ${NAME} or ${NAME:-default} of a file.
type reference struct {
	name     string
	fallback string
	optional bool   // has a fallback
	bad      string // why it is no reference
	written  string // as it stands in the file
}

// hold replaces every reference of text by a placeholder that names its place in refs, to which it adds them.
func hold(text []byte, refs []reference) ([]byte, []reference) {
	var held bytes.Buffer
	for {
		before, after, found := bytes.Cut(text, []byte("${"))
		held.Write(before)
		if !found {
			return held.Bytes(), refs
		}
		ref, length := parseReference(after)
		ref.written = "${" + string(after[:length])
		held.WriteString(placeholder(len(refs)))
		refs = append(refs, ref)
		text = after[length:]
	}
}

// parseReference reads what follows "${" and returns its length, the closing brace included.
func parseReference(text []byte) (reference, int) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	depth, end := 1, -1
	for i := 0; i < len(line) && end < 0; i++ {
		switch {
		case bytes.HasPrefix(line[i:], []byte("${")):
			depth++
		case line[i] == '}':
			if depth--; depth == 0 {
				end = i
			}
		}
	}
	malformed := reference{bad: "${ begins no reference (write ${NAME} or ${NAME:-default})"}
	if end < 0 {
		return malformed, 0
	}
	name, fallback, optional := strings.Cut(string(line[:end]), ":-")
	switch {
	case isVariable(name) && !strings.Contains(fallback, "${"):
		return reference{name: name, fallback: fallback, optional: optional}, end + 1
	case isVariable(name):
		return reference{bad: "a reference inside a reference"}, end + 1
	case strings.ContainsAny(name, " ,"): // more likely the brace closes something else
		return malformed, 0
	}
	return malformed, end + 1
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func placeholder(i int) string {
	digits := strings.Map(func(r rune) rune { return zero + r - '0' }, strconv.Itoa(i))
	return opens + digits + closes
}

// ref finds the reference whose placeholder, but for its first letter, held begins with, and what follows. Nil when the file
// only looks as if it had one there.
func (d *decoder) ref(held string) (ref *reference, after string) {
	digits, after, closed := strings.Cut(held, closes)
	plain := strings.Map(func(r rune) rune {
		if zero <= r && r <= zero+9 {
			return r - zero + '0'
		}
		return 'x'
	}, digits)
	i, err := strconv.Atoi(plain)
	if err != nil || !closed || i >= len(d.refs) {
		return nil, ""
	}
	return &d.refs[i], after
}

// expand replaces the placeholders of a parsed text. In shown, what came from the environment stands as ${NAME} still.
func (d *decoder) expand(at spot, text string) (value, shown string, ok bool) {
	if !strings.Contains(text, opens) {
		return text, text, true
	}
	var full, safe strings.Builder
	for {
		before, after, found := strings.Cut(text, opens)
		full.WriteString(before)
		safe.WriteString(before)
		if !found {
			return full.String(), safe.String(), true
		}
		s, show, why := opens, opens, ""
		if ref, rest := d.ref(after); ref != nil {
			after = rest
			s, show, why = d.resolve(ref)
		}
		if why == "" && full.Len()+len(s) > maxText {
			why = fmt.Sprintf("longer than %d KiB with its references replaced", maxText>>10)
		}
		if why != "" {
			d.problem(at, "%s", why)
			return "", "", false
		}
		full.WriteString(s)
		safe.WriteString(show)
		text = after
	}
}

// resolve looks a reference up. A fallback stands in the file for all to read, so only the environment's values are hidden.
func (d *decoder) resolve(ref *reference) (value, shown, why string) {
	if ref.bad != "" {
		return "", "", ref.bad
	}
	value, set := d.lookup(ref.name)
	switch {
	case ref.optional && value == "": // as in a shell, :- also replaces an empty value
		return ref.fallback, ref.fallback, ""
	case !set:
		return "", "", "the environment variable " + ref.name + " is not set (${" + ref.name + ":-...} gives it a default)"
	}
	d.hidden = append(d.hidden, value)
	return value, "${" + ref.name + "}", ""
}
