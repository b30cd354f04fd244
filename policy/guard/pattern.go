package guard

import (
	"bytes"
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// pattern is a RE2 expression, compiled for texts that come in pieces. The library's matcher wants all of a text at once
// and cannot say whether a match may still be growing; this one runs the same programs, in time linear in the text.
type pattern struct {
	prog   *syntax.Prog
	prefix []byte    // what every match begins with, if that is known
	first  [256]bool // the bytes that a match may begin with
	runes  []rune    // and, of characters beyond ASCII, which they are; nil when they are many
	always bool      // the empty text matches
	plain  bool      // making look-alikes plain changed the expression itself
}

// compile makes a pattern for texts that are looked at so: its own look-alikes are made plain too.
func compile(expr string, l look) (*pattern, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) {
			return nil, fmt.Errorf("not an RE2 expression: %s: %q", se.Code, se.Expr)
		}
		return nil, err
	}
	p := &pattern{plain: l != asIs && l.makePlain(re)}
	if p.prog, err = syntax.Compile(re.Simplify()); err != nil {
		return nil, err
	}
	prefix, _ := p.prog.Prefix()
	p.prefix = []byte(prefix)
	p.begin(uint32(p.prog.Start), make([]bool, len(p.prog.Inst)))
	if len(p.runes) > maxRunes {
		p.runes = nil
	}
	return p, nil
}

// makePlain makes the characters that an expression asks for plain: a full-width comma in it stands for one in a text,
// and there it is plain by then. It tells whether there were any.
func (l look) makePlain(re *syntax.Regexp) (changed bool) {
	before := re.Rune
	re.Rune = slices.Clone(before)
	switch re.Op {
	case syntax.OpLiteral:
		re.Rune = nil
		for _, r := range before {
			if r = l.rune(r); r != gone {
				re.Rune = append(re.Rune, r)
			}
		}
		if len(re.Rune) == 0 {
			re.Rune = before
		}
	case syntax.OpCharClass:
		const first, last, shift = 0xff01, 0xff5e, 0xfee0
		for i := 0; i+1 < len(before); i += 2 {
			if lo, hi := before[i], min(before[i+1], last); lo >= first && lo <= hi {
				re.Rune = append(re.Rune, lo-shift, hi-shift)
			}
		}
		re.Rune = inOrder(re.Rune)
	}
	changed = !slices.Equal(before, re.Rune)
	for _, sub := range re.Sub {
		changed = l.makePlain(sub) || changed
	}
	return changed
}

// inOrder sorts the ranges of a class and joins those that overlap, as programs want them.
func inOrder(ranges []rune) []rune {
	var pairs [][2]rune
	for i := 0; i+1 < len(ranges); i += 2 {
		pairs = append(pairs, [2]rune{ranges[i], ranges[i+1]})
	}
	slices.SortFunc(pairs, func(a, b [2]rune) int { return int(a[0] - b[0]) })
	out := ranges[:0:0]
	for _, p := range pairs {
		if n := len(out); n > 0 && p[0] <= out[n-1]+1 {
			out[n-1] = max(out[n-1], p[1])
			continue
		}
		out = append(out, p[0], p[1])
	}
	return out
}

const maxRunes = 16

// begin collects the first bytes of matches. What must stand around them is not looked at: that only widens the set.
func (p *pattern) begin(pc uint32, seen []bool) {
	if seen[pc] {
		return
	}
	seen[pc] = true
	in := &p.prog.Inst[pc]
	switch in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		p.begin(in.Out, seen)
		p.begin(in.Arg, seen)
	case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
		p.begin(in.Out, seen)
	case syntax.InstMatch:
		p.always = true
	case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		p.lead(0, utf8.MaxRune)
	case syntax.InstRune, syntax.InstRune1:
		p.leads(in)
	case syntax.InstFail:
	}
}

func (p *pattern) leads(in *syntax.Inst) {
	if len(in.Rune) == 1 {
		r := in.Rune[0]
		p.lead(r, r)
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				p.lead(f, f)
			}
		}
		return
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		p.lead(in.Rune[i], in.Rune[i+1])
	}
}

// lead marks the first bytes of the characters from lo to hi: UTF-8 keeps their order.
func (p *pattern) lead(lo, hi rune) {
	for r := max(lo, utf8.RuneSelf); r <= hi && len(p.runes) <= maxRunes; r++ {
		p.runes = append(p.runes, r)
	}
	from, to := utf8.AppendRune(nil, lo)[0], utf8.AppendRune(nil, hi)[0]
	for b := int(from); b <= int(to); b++ {
		p.first[b] = true
	}
}

// maxMatch bounds a match that is masked, and with it how much of a stream is held back for one.
const maxMatch = 4 << 10

// maxHeld bounds what is held back of a stream for any match. A pattern that refuses has no bound of its own: what it
// needs beyond this leaves, and the stream is refused when the match is complete.
const maxHeld = 16 << 10

// errCostly is a text made to cost a mask's pattern too much time.
var errCostly = errors.New("the patterns take too long on this text")

// matcher runs a pattern over one text. It is a list of threads, as in Pike's machine: each is a place in the program and
// where its match began, and those before it in the list come first.
type matcher struct {
	p    *pattern
	each bool // find match after match, to mask them; otherwise whether there is one

	pos   int  // in the text, of the next character
	prev  rune // the one before it
	live  []thread
	queue []thread // live, as far as it can go without the next character
	seen  []uint32 // by instruction: the last step that had it in its queue
	step  uint32
	best  match
	found bool
	again int // bytes looked at more than once
	gone  int // bytes of the text dropped
}

type thread struct {
	pc    uint32
	start int
}

func (p *pattern) matcher(each bool) *matcher { return &matcher{p: p, each: each, prev: -1} }

func (m *matcher) restart() {
	*m = matcher{p: m.p, each: m.each, prev: -1, live: m.live[:0], queue: m.queue[:0], seen: m.seen, step: m.step}
}

// find implements finder.
func (m *matcher) find(t []byte, _ int, final bool) (match, int, error) {
	for {
		if len(m.live) == 0 && !m.found {
			m.idle(t, final)
		}
		if m.pos == len(t) && !final {
			return match{}, m.keep(), nil
		}
		r, n := rune(-1), 0
		if m.pos < len(t) {
			r, n = utf8.DecodeRune(t[m.pos:])
		}
		if m.advance(r, n) {
			got := m.best
			if err := m.resume(t); err != nil {
				return match{}, 0, err
			}
			return got, 0, nil
		}
		if n == 0 {
			return match{}, len(t), nil
		}
	}
}

// idle passes by what no match can begin with.
func (m *matcher) idle(t []byte, final bool) {
	from := m.pos
	if n := len(m.p.prefix); n > 1 {
		if i := bytes.Index(t[m.pos:], m.p.prefix); i >= 0 {
			m.pos += i
		} else if final {
			m.pos = len(t)
		} else {
			m.pos = max(m.pos, len(t)-n+1)
		}
	}
	for m.pos < len(t) {
		c := t[m.pos]
		if m.p.first[c] {
			if c < utf8.RuneSelf || m.p.runes == nil {
				break
			}
			r, n := utf8.DecodeRune(t[m.pos:])
			if slices.Contains(m.p.runes, r) {
				break
			}
			m.pos += n
			continue
		}
		m.pos++
	}
	if m.pos > from {
		m.prev, _ = utf8.DecodeLastRune(t[:m.pos])
	}
}

// advance takes one character, r of n bytes, or the end of the text. It is true when a match is certain.
func (m *matcher) advance(r rune, n int) bool {
	m.fill(syntax.EmptyOpContext(m.prev, r))
	m.live = m.live[:0]
	for _, th := range m.queue {
		in := &m.p.prog.Inst[th.pc]
		if in.Op == syntax.InstMatch {
			if th.start == m.pos {
				continue // an empty match says nothing
			}
			m.best, m.found = match{start: th.start, end: m.pos}, true
			break // what comes behind it in the list is worth less
		}
		if takes(in, r) && (!m.each || m.pos-th.start < maxMatch) {
			m.live = append(m.live, thread{in.Out, th.start})
		}
	}
	if m.found && (len(m.live) == 0 || !m.each) {
		return true
	}
	m.prev = r
	m.pos += n
	return false
}

// fill makes the queue: the live threads, and one that begins here as long as there is no match.
func (m *matcher) fill(around syntax.EmptyOp) {
	if m.seen == nil {
		m.seen = make([]uint32, len(m.p.prog.Inst))
	}
	m.step++
	m.queue = m.queue[:0]
	for _, th := range m.live {
		m.add(th.pc, th.start, around)
	}
	if !m.found {
		m.add(uint32(m.p.prog.Start), m.pos, around)
	}
}

func (m *matcher) add(pc uint32, start int, around syntax.EmptyOp) {
	if m.seen[pc] == m.step {
		return
	}
	m.seen[pc] = m.step
	in := &m.p.prog.Inst[pc]
	switch in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		m.add(in.Out, start, around)
		m.add(in.Arg, start, around)
	case syntax.InstEmptyWidth:
		if syntax.EmptyOp(in.Arg)&^around == 0 {
			m.add(in.Out, start, around)
		}
	case syntax.InstCapture, syntax.InstNop:
		m.add(in.Out, start, around)
	case syntax.InstFail:
	default:
		m.queue = append(m.queue, thread{pc, start})
	}
}

func takes(in *syntax.Inst, r rune) bool {
	switch in.Op {
	case syntax.InstRune:
		return in.MatchRune(r)
	case syntax.InstRune1:
		return r == in.Rune[0]
	case syntax.InstRuneAny:
		return r >= 0
	case syntax.InstRuneAnyNotNL:
		return r >= 0 && r != '\n'
	}
	return false
}

// resume goes on behind a match. What was looked at beyond it is looked at again; a text that makes that the rule is
// refused, or its cost would grow with its square.
func (m *matcher) resume(t []byte) error {
	m.again += m.pos - m.best.end
	m.pos, m.found, m.live = m.best.end, false, m.live[:0]
	m.prev, _ = utf8.DecodeLastRune(t[:m.pos])
	if m.again > 1<<20+16*(m.gone+m.pos) {
		return errCostly
	}
	return nil
}

// keep is where a match may have begun that is not certain.
func (m *matcher) keep() int {
	at := m.pos
	if len(m.live) > 0 {
		at = m.live[0].start
	}
	if m.found {
		at = min(at, m.best.start)
	}
	return max(at, 0)
}

// drop implements finder.
func (m *matcher) drop(n int) {
	m.gone += n
	m.pos -= n
	m.best.start -= n
	m.best.end -= n
	for i := range m.live {
		m.live[i].start -= n
	}
}
