package guard

import (
	"regexp"
	"testing"
	"unicode/utf8"
)

// checkPattern compares the matches in a text that grows by steps with those that the library finds in the whole.
func checkPattern(t *testing.T, expr, text string, step int) {
	t.Helper()
	re, err := regexp.Compile(expr)
	p, perr := compile(expr, asIs)
	if (err == nil) != (perr == nil) {
		t.Fatalf("%q: %v, the library says %v", expr, perr, err)
	}
	if err != nil || len(text) > 300 || len(expr) > 40 || !utf8.ValidString(text) {
		return
	}
	var want [][]int
	for _, m := range re.FindAllStringIndex(text, -1) {
		if m[0] < m[1] {
			want = append(want, m)
		}
	}
	if emptyFirst(re, text) {
		return // the library stops at empty matches, which hide nothing
	}
	if got, err := grown(p, text, step); err == nil && !equal(got, want) {
		t.Fatalf("%q in %q by %d: %v, want %v", expr, text, step, got, want)
	}
	found := false
	whole := p.matcher(false)
	if m, _, _ := whole.find([]byte(text), 0, true); m.end > 0 {
		found = true
	}
	if found != (len(want) > 0) {
		t.Fatalf("%q in %q: found is %v", expr, text, found)
	}
}

func emptyFirst(re *regexp.Regexp, text string) bool {
	for _, m := range re.FindAllStringIndex(text, -1) {
		if m[0] == m[1] {
			return true
		}
	}
	return false
}

func grown(p *pattern, text string, step int) (got [][]int, err error) {
	m := p.matcher(true)
	for n := 0; ; n += max(step, 1) {
		final := n >= len(text)
		n = min(n, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n++
		}
		for {
			found, keep, err := m.find([]byte(text[:n]), 0, final)
			if err != nil {
				return nil, err
			}
			if found.end == 0 {
				if final && keep != len(text) {
					panic("a text that has ended keeps something")
				}
				break
			}
			got = append(got, []int{found.start, found.end})
		}
		if final {
			return got, nil
		}
	}
}

func equal(a, b [][]int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i][0] != b[i][0] || a[i][1] != b[i][1] {
			return false
		}
	}
	return true
}

func TestPattern(t *testing.T) {
	for _, expr := range []string{
		`a`, `ab`, `a+`, `a+?`, `a|ab`, `ab|a`, `(?i)AbC`, `(?i)ſ`, `\ba`, `a\b`, `\Ba\B`, `^a`, `a$`, `(?m)^a+$`, `[a-c]+\d`, `a.c`, `(?s)a.b`, `a{2,3}`, `(a|b)*c`, `中+文?`, `[^a]b`, `x.*y|x`,
		`(?:a|b|ab)+?c`, `abc|abd`, `\x{1F600}`, `[一-龥]{2}`, `a[^\n]*z`, `(`, `\pN`, `(?i)k`,
	} {
		for _, text := range []string{
			"", "a", "aaa", "abcabd", "aAbBcC", "xaay xzy xxyx", "a\nb\naa\n", "中文中中b", "1a2 ab3", "😀a😀", "ſsSkK\u212a", "abababc", "zzz azbz z",
		} {
			for step := 1; step < 4; step++ {
				checkPattern(t, expr, text, step)
			}
		}
	}
}

// A text made to be looked at again and again is given up on.
func TestPatternTooCostly(t *testing.T) {
	c := chainOf(t, Config{Kind: "deny", Action: "mask", Patterns: []string{`x.*z|x`}})
	long := make([]byte, 256<<10)
	for i := range long {
		long[i] = 'x'
	}
	_, _, err := ask(t, c, string(long))
	refused(t, err)
	if _, _, err = ask(t, c, string(long[:300])); err != nil {
		t.Error(err)
	}
}
