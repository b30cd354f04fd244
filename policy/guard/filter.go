package guard

import (
	"cmp"
	"unicode/utf8"
)

// stage is one guard's way through one text that comes in pieces. It takes what is written between the quotes of a JSON
// string and appends to dst what may leave of it. With final nothing follows.
type stage interface {
	run(dst, raw []byte, final bool) ([]byte, error)
}

// pipe is all the guards' way through one text: each sees what the one before it lets through.
type pipe struct {
	stages  []stage
	scratch [2][]byte
}

// run gives what may leave; it is valid until the next call.
func (p *pipe) run(raw []byte, final bool) ([]byte, error) {
	for i, s := range p.stages {
		out, err := s.run(p.scratch[i%2][:0], raw, final)
		if err != nil {
			return nil, err
		}
		p.scratch[i%2], raw = out, out
	}
	return raw, nil
}

// filter is a stage that looks for matches. It holds back only what may still become one.
type filter struct {
	rule  *rule // nil: it puts the vault's values back
	view  view
	find  finder
	vault *Vault

	w     window
	begun bool // an earlier piece has come
	sent  int  // of w.raw; what has left
	done  int  // of w.text; what need not be looked at again
	over  bool // one match has said all
}

// lookback is how much of what has left is kept to tell what stands before a match.
const lookback = 64

func (f *filter) flags() bool { return f.rule != nil && f.rule.action == flag }

// run implements stage.
func (f *filter) run(dst, raw []byte, final bool) ([]byte, error) {
	if f.flags() {
		dst = append(dst, raw...)
	}
	if f.over {
		return dst, nil
	}
	if final && !f.begun { // a whole text
		f.w.load(raw, f.w.form)
		if f.view.idle && !f.w.changed {
			return f.pass(dst, raw), nil
		}
	} else {
		f.begun = true
		f.w.add(raw, final)
	}
	for {
		m, keep, err := f.find.find(f.w.text, f.done, final)
		if err != nil {
			return dst, f.rule.refusal(f.view.what, err)
		}
		if m.end == 0 {
			dst = f.release(dst, f.bound(keep))
			if !final {
				f.forget()
				return dst, nil
			}
			return f.pass(dst, f.w.raw[f.sent:]), nil
		}
		dst = f.release(dst, m.start)
		if dst, err = f.act(dst, m); err != nil {
			return dst, err
		}
		if f.over {
			return dst, nil
		}
		f.done, f.sent = m.end, f.w.endAt(m.end)
	}
}

// pass lets raw text go, unless it has gone already.
func (f *filter) pass(dst, raw []byte) []byte {
	if f.flags() {
		return dst
	}
	return append(dst, raw...)
}

// bound keeps what is held back from growing without bound: only a pattern that refuses may want more.
func (f *filter) bound(keep int) int {
	if least := len(f.w.text) - maxHeld; keep < least {
		for keep = least; !utf8.RuneStart(f.w.text[keep]); {
			keep++
		}
	}
	return max(keep, f.done)
}

// release lets the text go up to the given place.
func (f *filter) release(dst []byte, to int) []byte {
	f.done = to
	if end, _ := f.w.at(to); end > f.sent {
		dst = f.pass(dst, f.w.raw[f.sent:end])
		f.sent = end
	}
	return dst
}

// act does what is to be done about a match.
func (f *filter) act(dst []byte, m match) ([]byte, error) {
	from, bare := f.w.at(m.start)
	switch {
	case f.rule == nil:
		form := prose
		if f.w.isNested() && !bare {
			form = nested
		}
		return appendText(dst, m.value, form), nil
	case f.rule.action == refuse:
		return dst, f.rule.refusal(cmp.Or(m.label, f.view.what), nil)
	case f.rule.action == flag:
		f.vault.flag(f.rule.flagged(m))
		f.over = f.rule.label != ""
		return dst, nil
	}
	if f.vault.known(cmp.Or(m.label, f.rule.label), f.w.value(m.start, m.end)) {
		return append(dst, f.w.raw[from:f.w.endAt(m.end)]...), nil // the client said it
	}
	return appendMask(dst, f.rule.hide(f.vault, &f.w, m), bare, f.w.form), nil
}

// forget drops what is no longer needed.
func (f *filter) forget() {
	n := f.done - lookback
	for n > 0 && !utf8.RuneStart(f.w.text[n]) {
		n--
	}
	if n > 0 {
		f.sent -= f.w.drop(n)
		f.find.drop(n)
		f.done -= n
	}
}

// allowing is a stage that lets a text leave once one of the patterns has matched.
type allowing struct {
	rule   *rule
	vault  *Vault
	views  [2]window // as it is, and with look-alikes made plain
	tries  [2][]*matcher
	held   []byte
	passed bool
}

// maxGathered bounds what is held of a text that is judged as a whole.
const maxGathered = 1 << 20

func (r *rule) allowing(v *Vault, f form) *allowing {
	a := &allowing{rule: r, vault: v}
	for i := range a.views {
		a.views[i].look = [...]look{asIs, plain}[i]
		a.views[i].reset(f)
		for _, p := range r.allow {
			a.tries[i] = append(a.tries[i], p[i].matcher(false))
			a.passed = a.passed || p[i].always
		}
	}
	return a
}

// run implements stage.
func (a *allowing) run(dst, raw []byte, final bool) ([]byte, error) {
	if a.passed || a.rule.action == flag {
		dst = append(dst, raw...)
	} else {
		a.held = append(a.held, raw...)
	}
	if a.passed {
		return dst, nil
	}
	for i := range a.views {
		a.views[i].add(raw, final)
		for _, m := range a.tries[i] {
			if got, _, _ := m.find(a.views[i].text, 0, final); got.end > 0 {
				a.passed = true
			}
		}
	}
	switch {
	case a.passed:
		dst = append(dst, a.held...)
		a.held = nil
	case a.rule.action == flag && final:
		a.vault.flag(a.rule.name)
	case a.rule.action == refuse && (final || len(a.held) > maxGathered):
		return dst, a.rule.refusal("no pattern matches", nil)
	}
	return dst, nil
}
