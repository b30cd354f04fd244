package ragplug

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// This file makes terms of text. Texts that mean the same should have the same terms: compatible forms are one (NFKC), and so are
// capital and small letters, and a word and its plural. Scripts that are written without spaces have no words to find, so there each
// two characters that stand side by side are a term, and each character is one too, for questions that have no more.

// longestTerm is how much of a word is looked at.
const longestTerm = 40 // bytes

// role is what a term is for.
type role uint8

const (
	word   role = iota // a word, or two characters
	single             // a character among others: it is found only by who asks for it alone
	lone               // a character that stands alone
)

// reader reads the terms of texts. Its memory goes from one text to the next.
type reader struct {
	word  []byte
	two   []byte
	yield func(term []byte, of role)
}

// read calls yield for each term, in order. The term is the reader's own, until the next.
func (r *reader) read(text string, yield func(term []byte, of role)) {
	if !norm.NFKC.IsNormalString(text) {
		text = norm.NFKC.String(text)
	}
	r.yield, r.word = yield, r.word[:0]
	var before rune // of a run without spaces; 0: there is none
	run := 0
	for i, c := range text {
		kind := classOf(c)
		if kind != dense && run > 0 {
			r.endRun(before, run)
			run = 0
		}
		switch kind {
		case letter:
			r.letter(c)
		case dense:
			r.endWord()
			r.dense(before, c, run)
			before = c
			run++
		case joint:
			if next, _ := utf8.DecodeRuneInString(text[i+utf8.RuneLen(c):]); len(r.word) == 0 || classOf(next) != letter {
				r.endWord()
			}
		default:
			r.endWord()
		}
	}
	r.endWord()
	if run > 0 {
		r.endRun(before, run)
	}
}

func (r *reader) letter(c rune) {
	if len(r.word) >= longestTerm {
		return
	}
	if c < utf8.RuneSelf {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		r.word = append(r.word, byte(c))
		return
	}
	r.word = utf8.AppendRune(r.word, unicode.ToLower(c))
}

func (r *reader) endWord() {
	if len(r.word) > 0 {
		if !stopWords[string(r.word)] {
			r.yield(stem(r.word), word)
		}
		r.word = r.word[:0]
	}
}

// dense is a character of a run, run characters behind its beginning.
func (r *reader) dense(before, c rune, run int) {
	if run > 0 {
		r.two = utf8.AppendRune(r.two[:0], before)
		if run == 1 {
			r.yield(r.two, single)
		}
		r.two = utf8.AppendRune(r.two, c)
		if !stopPairs[string(r.two)] {
			r.yield(r.two, word)
		}
		r.two = utf8.AppendRune(r.two[:0], c)
		r.yield(r.two, single)
	}
}

// endRun tells of a run's only character.
func (r *reader) endRun(c rune, run int) {
	if run == 1 {
		r.two = utf8.AppendRune(r.two[:0], c)
		r.yield(r.two, lone)
	}
}

// class is what a character is in a text.
type class uint8

const (
	apart  class = iota // it ends what stands before it
	letter              // or a digit, or a mark on one
	dense               // of a script that is written without spaces
	joint               // an apostrophe: it belongs to the word that it stands in
)

func classOf(c rune) class {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return letter
	case c == '\'' || c == '’':
		return joint
	case c < utf8.RuneSelf:
		return apart
	case c == 'ー' || unicode.In(c, unspaced...):
		return dense
	case unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c):
		return letter
	}
	return apart
}

var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// stopWords say nothing of what a text is about: articles, pronouns, and what questions and small talk are made of.
var stopWords = set(`a about after again all also am an and any are as at be because been before being but by can cannot cant could did didnt do
does doesnt doing dont down during each else few for from further get give go got had has hasnt have having he hello her here hers hey hi him his
how i id if ill im in into is isnt it its itself ive just know let lets like make many may me might more most much must my need no nor not now of
off ok okay on once one only or other our ours out over own please same say shall she should show so some such tell than thank thanks that thats
the their theirs them then there these they this those through to too under until up us use used using very want was wasnt way we well were what
whats when where which while who whom whose why will with without wont would you your yours youre`)

// stopPairs are their likes in Chinese.
var stopPairs = set(`你好 您好 请问 什么 怎么 怎样 如何 哪些 哪个 哪里 是否 可以 能否 多少 为什 么样 一下 一个 谢谢 我们 你们 他们 这个 那个 这些 那些 有没 没有
告诉 知道 我想 想知 是什 么是 的是 请你 请您 帮我 给我 吗的 了吗 的吗 是的`)

func set(words string) map[string]bool {
	all := map[string]bool{}
	for one := range strings.FieldsSeq(words) {
		all[one] = true
	}
	return all
}
