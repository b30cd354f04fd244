package ragplug

import (
	"strings"
	"testing"
	"unicode/utf8"

	"jarvis-gateway/proxy/tokens"
)

// shownPassages are passages as a reader sees them: title | text.
func shownPassages(text string, list []passage) (shown []string) {
	for _, p := range list {
		shown = append(shown, p.title+" | "+strings.Join(strings.Fields(text[p.start:p.end]), " "))
	}
	return shown
}

func TestCut(t *testing.T) {
	none := 0
	long := strings.Repeat("One sentence of several words. ", 30)
	for _, row := range []struct {
		name, text string
		markdown   bool
		chunk      Chunk
		want       []string // beginnings
	}{
		{"headings", "intro\n# A\na text\n## B ##\nb text\n# C\n\n### D\nd text", true, Chunk{}, []string{" | intro", "A | # A a text", "A > B | ## B ## b text", "C > D | # C ### D d text"}},
		{"no headings in code", "# A\n```sh\n# no heading\n```\n~~~\n# nor this\n```\n~~~\n# B\nb", true, Chunk{}, []string{"A | # A ```sh # no heading ``` ~~~ # nor this ``` ~~~", "B | # B b"}},
		{"no headings without a space", "#tag\n####### seven\n    # code", true, Chunk{}, []string{" | #tag ####### seven # code"}},
		{"plain text has none", "# A\na\n# B\nb", false, Chunk{}, []string{" | # A a # B b"}},
		{"paragraphs stay whole", long + "\n\n" + "Another paragraph." + "\n\n" + long, false, Chunk{Tokens: 220, Overlap: &none},
			[]string{" | One sentence", " | One sentence"}},
		{"nothing", "", true, Chunk{}, nil},
		{"only a heading", "# A", true, Chunk{}, []string{"A | # A"}},
	} {
		got := shownPassages(row.text, cut(row.text, row.markdown, row.chunk))
		if len(got) != len(row.want) {
			t.Errorf("%s: %q", row.name, got)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], row.want[i]) {
				t.Errorf("%s: %q, want %q", row.name, got[i], row.want[i])
			}
		}
	}
}

// A passage ends with a sentence where it can, in Chinese too, and repeats whole sentences of the one before.
func TestCutsBetweenSentences(t *testing.T) {
	for _, one := range []string{"This is a sentence with some words in it. ", "这是一个有一些词的句子，后面还有几个字。", "Is that so? ", "真的吗？”"} {
		text := strings.Repeat(one, 100)
		over := 25
		list := cut(text, false, Chunk{Tokens: 100, Overlap: &over})
		if len(list) < 3 {
			t.Fatalf("%q: %d passages", one, len(list))
		}
		for i, p := range list {
			part := text[p.start:p.end]
			if !strings.HasPrefix(part, one) || !strings.HasSuffix(part, one) {
				t.Errorf("%q: %q", one, part)
			}
			if i == 0 {
				continue
			}
			shared := list[i-1].end - p.start
			if p.start > list[i-1].end || shared == 0 || tokens.Estimate([]byte(text[p.start:list[i-1].end])) > over {
				t.Errorf("%q: passage %d repeats %d bytes", one, i, int(shared))
			}
		}
	}
}

func TestPassagesKnowTheirLines(t *testing.T) {
	text := strings.Repeat("A line of a few words only.\n", 200)
	for _, p := range cut(text, false, Chunk{Tokens: 60}) {
		if want := 1 + strings.Count(text[:p.start], "\n"); int(p.line) != want {
			t.Fatalf("a passage at line %d says %d", want, p.line)
		}
	}
}

func FuzzCut(f *testing.F) {
	for _, text := range []string{"", "# A\n\ntext. More? 是的。\n\n## B\n- one\n- two\n```\n# c\n```\n", strings.Repeat("word ", 500), strings.Repeat("字", 800),
		strings.Repeat("a", 3000), "\n\n\n", "a\r\n\r\nb", "# \n#\n# x", strings.Repeat("🙂", 300), "…。。！？"} {
		f.Add(text, true, uint16(50), uint16(10))
		f.Add(text, false, uint16(120), uint16(60))
	}
	f.Fuzz(func(t *testing.T, text string, markdown bool, most, overlap uint16) {
		if !utf8.ValidString(text) || len(text) > 20_000 {
			return
		}
		n := fewestTokens + int(most)%400
		over := int(overlap) % (n/2 + 1)
		behind, begins := 0, -1
		for i, p := range cut(text, markdown, Chunk{Tokens: n, Overlap: &over}) {
			if int(p.start) > behind || int(p.end) <= behind || int(p.start) <= begins {
				t.Fatalf("passage %d is %d to %d, behind %d", i, p.start, p.end, behind)
			}
			behind, begins = int(p.end), int(p.start)
			part := text[p.start:p.end]
			if got := tokens.Estimate([]byte(part)); got > n || got != int(p.tokens) {
				t.Fatalf("passage %d has %d tokens (%d), of %d: %q", i, got, p.tokens, n, part)
			}
			if !utf8.ValidString(part) || !utf8.ValidString(p.title) || len(p.title) > longestTitle {
				t.Fatalf("passage %d cuts a character apart: %q, %q", i, p.title, part)
			}
			if want := 1 + strings.Count(text[:p.start], "\n"); int(p.line) != want {
				t.Fatalf("passage %d begins in line %d, not %d", i, want, p.line)
			}
		}
		if behind != len(text) {
			t.Fatalf("%d of %d bytes are in passages", behind, len(text))
		}
	})
}
