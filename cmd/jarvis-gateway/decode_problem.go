package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"jarvis-gateway/proxy/wire"
)

// spot is where the walk through a file stands.
type spot struct {
	path  string // as errors word it: models.chat.targets[2].provider
	shown string // path as messages may show it, where a name came from the environment
	shape string // path with * for every name: models.*.targets[].provider
	line  int
}

func (s spot) key(name, shown string, named bool, line int) spot {
	shape := name
	if named {
		shape = "*"
	}
	dot := "."
	if s.path == "" {
		dot = ""
	}
	return spot{s.path + dot + name, s.shown + dot + shown, s.shape + dot + shape, line}
}

func (s spot) item(i, line int) spot {
	index := "[" + strconv.Itoa(i) + "]"
	return spot{s.path + index, s.shown + index, s.shape + "[]", line}
}

// show is the path as messages may show it, on one line.
func (s spot) show() string { return oneLine(s.shown) }

// place is where a path of the configuration was written.
type place struct {
	file    string
	line    int
	shown   string
	fromEnv bool // its value came from the environment
}

func (p place) String() string { return p.file + ":" + strconv.Itoa(p.line) }

// problem is one thing wrong with the configuration.
type problem struct {
	place
	path  string // where it is, as the decoder and the packages name it
	meant string // the path that an unknown one was probably meant to be
	text  string
}

func (p problem) String() string {
	s := oneLine(p.text)
	if p.shown != "" {
		s = p.shown + ": " + s
	}
	if p.file != "" {
		s = p.place.String() + ": " + s
	}
	return s
}

// problems is everything wrong with a configuration, as one error.
type problems []problem

func (ps problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders problems as a reader meets them, file by file, each once.
func (ps problems) sorted() problems {
	slices.SortStableFunc(ps, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	return slices.Compact(ps)
}

// note keeps where a path stands. The root has none, so that an error about no path is not put at the file's first line.
func (d *decoder) note(at spot, fromEnv bool) {
	if at.path != "" {
		d.places[at.path] = place{file: d.file, line: at.line, shown: at.show(), fromEnv: fromEnv}
	}
}

func (d *decoder) problem(at spot, format string, args ...any) {
	where := place{file: d.file, line: at.line, shown: at.show()}
	d.problems = append(d.problems, problem{place: where, path: at.path, text: fmt.Sprintf(format, args...)})
}

// annotate turns the packages' errors, each worded "path: what is wrong", into problems at the place of the longest part of
// the path that the files hold. Errors about a path that has problems already are echoes of those and left out.
func annotate(err error, places map[string]place, mask *strings.Replacer, known problems) problems {
	var found problems
	for _, err := range leaves(err) {
		text := err.Error()
		path := longest(text, places)
		rest := text[len(path):]
		if !echoes(text, path, known) {
			where := places[path]
			shown := where.shown + mask.Replace(rest)
			where.shown = ""
			found = append(found, problem{place: where, path: path, text: shown})
		}
	}
	return found
}

// leaves are the errors that errors.Join put together, however deep.
func leaves(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, leaves(err)...)
	}
	return all
}

// longest is the longest known path that text begins with. Names may hold dots, so every cut is tried.
func longest(text string, places map[string]place) string {
	for end := len(text); end > 0; end = strings.LastIndexAny(text[:end], ".[:") {
		if _, ok := places[text[:end]]; ok {
			return text[:end]
		}
	}
	return ""
}

// echoes says whether text, about path or something below it, follows from a known problem.
func echoes(text, path string, known problems) bool {
	exact := strings.HasPrefix(text[len(path):], ": ")
	return slices.ContainsFunc(known, func(k problem) bool {
		return within(text, k.path) || within(text, k.meant) || exact && within(k.path, path)
	})
}

// within says whether path is outer or below it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && outer != "" && (rest == "" || strings.ContainsRune(".[:", rune(rest[0])))
}

// minHidden is the least length of a hidden value. Shorter ones would blot out half of a message and hide nothing.
const minHidden = 4

// masker replaces hidden values, the longest first lest a part of one stay.
func masker(hidden []string) *strings.Replacer {
	hidden = slices.SortedFunc(slices.Values(hidden), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	var pairs []string
	for _, value := range slices.Compact(hidden) {
		if len(value) >= minHidden {
			quoted := strconv.Quote(value) // %q writes some characters differently
			pairs = append(pairs, value, wire.Masked, quoted[1:len(quoted)-1], wire.Masked)
		}
	}
	return strings.NewReplacer(pairs...)
}

// oneLine keeps control characters from breaking a message's line or a terminal.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
