// Package guard checks what people and models say: patterns, personal data, attempts to take over a prompt, sizes and
// kinds of content, and whatever a server of the operator's looks for. It works on the client's own bytes: what a guard
// masks is spliced into them, and nothing else changes. Chain is where to begin reading.
package guard

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// Chain is a tenant's guards, in order. A nil Chain does nothing. It is safe for concurrent use.
type Chain struct {
	rules   []*rule
	answers bool // some rule looks at answers
	names   bool // some rule looks at names of requests, whatever they are
	spelled bool // some rule takes out or refuses what is said in answers: probabilities of tokens would tell it
}

// rule is one guard: what it finds, and what it does then.
type rule struct {
	at     string // its place in the config
	name   string
	kind   string
	action action
	asks   bool // looks at requests
	tells  bool // looks at answers
	roles  role
	label  string // of what it masks, where its matches have none

	views  []view             // what it looks for in texts, one after another
	whole  func(*asked) error // what it looks at in a request as a whole
	remote *remote
	allow  [][2]*pattern
}

// view is a way to read texts, and what to look for in them.
type view struct {
	look look // how
	idle bool // finds nothing new in a text that has none
	made func() finder
	what string // for the log
}

type action uint8

const (
	refuse action = iota
	mask
	flag
)

// New makes a chain of the guards, nil for none. Its error tells all that is wrong, each worded as a path.
func New(cfgs []Config) (*Chain, error) {
	if len(cfgs) == 0 {
		return nil, nil
	}
	c := &Chain{}
	var errs []error
	for i := range cfgs {
		r, err := newRule(fmt.Sprintf("guards[%d]", i), &cfgs[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.rules = append(c.rules, r)
		c.answers = c.answers || r.tells
		c.names = c.names || r.asks && r.names()
		c.spelled = c.spelled || r.tells && r.action != flag
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// Close gives up the connections to servers that guards ask.
func (c *Chain) Close() {
	if c == nil {
		return
	}
	for _, r := range c.rules {
		if r.remote != nil {
			r.remote.client.CloseIdleConnections()
		}
	}
}

// asked is a request on its way through the chain.
type asked struct {
	raw   []byte
	kind  wire.Kind
	vault *Vault
	names bool // names like any other are looked at too
	walk  walker
	ways  [folded + 1]window // a text by how it is looked at
	edits []edit
}

// Request checks a request's body, in any client's dialect. It returns the body as it may be sent on (raw itself, when
// nothing is masked), and what the answer will need. flags are the names of the guards that noted something. The error is
// a *wire.Error.
func (c *Chain) Request(raw []byte, kind wire.Kind) (edited []byte, v *Vault, flags []string, err error) {
	if c == nil {
		return raw, nil, nil, nil
	}
	v = &Vault{}
	q := &asked{raw: raw, kind: kind, vault: v, names: c.names}
	v.asked = q
	for _, r := range c.rules {
		if !r.asks {
			continue
		}
		if q.walk.raw == nil && !q.read() {
			return nil, nil, nil, wire.Invalid("", "the request body is not valid JSON")
		}
		if q.walk.numbered && r.roles&user != 0 {
			err = r.numbered(q)
		}
		if err == nil {
			err = r.request(q)
		}
		if err != nil {
			return nil, nil, v.flags, err
		}
	}
	v.asked, v.answering = nil, true
	return q.raw, v, v.flags, nil
}

// read finds anew what is said in the request.
func (q *asked) read() bool {
	q.walk = walker{said: q.walk.said[:0], names: q.names}
	return q.walk.walk(q.raw, place{zone: top, role: other})
}

// request looks at a request: at each of its texts, and then at those that come in parts as a whole.
func (r *rule) request(q *asked) error {
	if r.whole != nil {
		return r.whole(q)
	}
	finders := make([]finder, len(r.views))
	for i, v := range r.views {
		finders[i] = v.made()
	}
	for i := range q.walk.said {
		if s := &q.walk.said[i]; r.sees(s) {
			if err := r.text(q, s, finders); err != nil {
				return err
			}
		}
	}
	if err := q.apply(); err != nil || q.walk.groups == 0 {
		return err
	}
	for i, v := range r.views {
		if err := r.joined(q, finders[i], v); err != nil {
			return err
		}
	}
	return nil
}

// text looks at one text. Each view sees what the one before it left; until something is masked, the text is read only
// once for each way to look at it. In a name a match that would be masked is refused.
func (r *rule) text(q *asked, s *said, finders []finder) error {
	if s.fixed && r.action == mask {
		strict := *r
		strict.action = refuse
		r = &strict
	}
	raw := q.text(s)
	var loaded, same [folded + 1]bool
	changed := false
	for i, v := range r.views {
		w := &q.ways[v.look]
		if v.idle && !loaded[v.look] && loaded[asIs] {
			if same[v.look] = same[v.look] || !v.look.differs(q.ways[asIs].text); same[v.look] {
				continue
			}
		}
		if !loaded[v.look] {
			w.look, loaded[v.look] = v.look, true
			w.load(raw, s.form)
		}
		if v.idle && !w.changed {
			continue
		}
		var edits []edit
		err := r.each(w, finders[i], v, func(m match) {
			from, bare := w.at(m.start)
			edits = append(edits, edit{from, w.endAt(m.end), appendMask(nil, r.hide(q.vault, w, m), bare, s.form)})
		}, q.vault)
		if err != nil {
			return err
		}
		if len(edits) > 0 {
			raw, changed = splice(nil, raw, edits), true
			loaded, same = [folded + 1]bool{}, [folded + 1]bool{}
		}
	}
	if changed {
		q.put(s, raw)
	}
	return nil
}

// each calls do with every match that is to be masked.
func (r *rule) each(w *window, f finder, v view, do func(match), vault *Vault) error {
	f.restart()
	for from := 0; ; {
		m, _, err := f.find(w.text, from, true)
		switch {
		case err != nil:
			return r.refusal(v.what, err)
		case m.end == 0:
			return nil
		case r.action == refuse:
			return r.refusal(cmp.Or(m.label, v.what), nil)
		case r.action == flag:
			vault.flag(r.flagged(m))
			if r.label != "" {
				return nil // one match says all
			}
		default:
			do(m)
		}
		from = m.end
	}
}

// flagged is what a match is noted as.
func (r *rule) flagged(m match) string {
	if r.label == "" {
		for _, t := range personalTypes {
			if t.label == m.label {
				return r.name + "." + t.name
			}
		}
	}
	return r.name
}

// hide makes the placeholder of a match.
func (r *rule) hide(v *Vault, w *window, m match) string {
	return v.hide(cmp.Or(m.label, r.label), w.value(m.start, m.end))
}

// appendMask appends a placeholder, with quotes where a number was.
func appendMask(dst []byte, name string, bare bool, f form) []byte {
	around := ""
	if bare {
		if around = `\"`; f == number {
			around = `"`
		}
	}
	dst = append(append(dst, around...), '<')
	dst = append(append(dst, name...), '>')
	return append(dst, around...)
}

// refusal is what the client is told: not what was found, and not by what.
func (r *rule) refusal(found string, cause error) *wire.Error {
	e := &wire.Error{Status: 400, Type: wire.TypeInvalid, Code: "content_policy_violation",
		Message: "The request or its answer is against this gateway's content policy."}
	e.Err = fmt.Errorf("%s %s: %s", r.at, r.name, found)
	if cause != nil {
		e.Err = fmt.Errorf("%w: %w", e.Err, cause)
	}
	return e
}

// numbered does what is to be done about a text that is there as the numbers of its tokens: no rule can read those.
func (r *rule) numbered(q *asked) error {
	if r.action == flag {
		q.vault.flag(r.name)
		return nil
	}
	e := r.refusal("numbers of tokens", nil)
	e.Message = "This gateway's content policy reads texts: send text, not the numbers of its tokens."
	return e
}

// edit puts something in the place of raw[start:end].
type edit struct {
	start, end int
	put        []byte
}

// splice applies edits, which are in order.
func splice(dst, raw []byte, edits []edit) []byte {
	at := 0
	for _, e := range edits {
		dst = append(append(dst, raw[at:e.start]...), e.put...)
		at = e.end
	}
	return append(dst, raw[at:]...)
}

// apply makes the edits and reads the request anew.
func (q *asked) apply() error {
	if len(q.edits) == 0 {
		return nil
	}
	q.raw = splice(make([]byte, 0, len(q.raw)+64), q.raw, q.edits)
	q.edits = q.edits[:0]
	if !q.read() {
		return errors.New("BUG: an edited body is no longer JSON")
	}
	return nil
}

// joined looks at the parts of each message as one text: at what lies across two of them.
func (r *rule) joined(q *asked, f finder, v view) error {
	for parts := range q.walk.texts() {
		if len(parts) == 1 || parts[0].role&r.roles == 0 {
			continue
		}
		w, seams := q.join(parts, v.look)
		if v.idle && !w.changed {
			continue
		}
		if err := r.across(q, w, f, v, parts, seams); err != nil {
			return err
		}
	}
	return q.apply()
}

// join reads parts as one text. seams tells where in the window's raw each of them ends.
func (q *asked) join(parts []said, how look) (w *window, seams []int) {
	w = &q.ways[how]
	w.look = how
	w.reset(prose)
	for i := range parts {
		w.add(q.raw[parts[i].start:parts[i].end], false)
		seams = append(seams, len(w.raw))
	}
	w.fold(true)
	return w, seams
}

func (r *rule) across(q *asked, w *window, f finder, v view, parts []said, seams []int) error {
	only := *r // a match within one part has been dealt with
	only.action = mask
	var refused error
	err := only.each(w, f, v, func(m match) {
		from, bare := w.at(m.start)
		to := w.endAt(m.end)
		if to <= seams[seam(seams, from)] || refused != nil {
			return
		}
		switch r.action {
		case refuse:
			refused = r.refusal(cmp.Or(m.label, v.what), nil)
		case flag:
			q.vault.flag(r.flagged(m))
		case mask:
			q.spread(parts, seams, from, to, appendMask(nil, r.hide(q.vault, w, m), bare, prose))
		}
	}, q.vault)
	if err != nil {
		return err
	}
	return refused
}

// spread puts a text in the place of what lies from and to in joined parts: in the first that it lies in.
func (q *asked) spread(parts []said, seams []int, from, to int, put []byte) {
	first, begun := seam(seams, from), 0
	if first > 0 {
		begun = seams[first-1]
	}
	for i := first; i < len(parts) && (i == first || begun < to); i++ {
		s := &parts[i]
		start, end := max(from-begun, 0), min(to, seams[i])-begun
		q.edits = append(q.edits, edit{s.start + start, s.start + end, put})
		put, begun = nil, seams[i]
	}
}

func seam(seams []int, at int) int {
	i, _ := slices.BinarySearch(seams, at+1)
	return min(i, len(seams)-1)
}

// texts goes over what is said, text by text: those that come in parts as one. What stands alone between two parts, a name or an
// address, does not part them. A text is valid until the next.
func (w *walker) texts() iter.Seq[[]said] {
	return func(yield func([]said) bool) {
		var parts []said
		for i := range w.said {
			group := w.said[i].group
			switch {
			case group == 0:
				if !yield(w.said[i : i+1]) {
					return
				}
				continue
			case len(parts) > 0 && group != parts[0].group:
				if !yield(parts) {
					return
				}
				parts = parts[:0]
			}
			parts = append(parts, w.said[i])
		}
		if len(parts) > 0 {
			yield(parts)
		}
	}
}

// Answer checks a whole answer, and puts back into it what was taken out of its request. What guards mask in it stays
// masked. The error is a *wire.Error.
func (c *Chain) Answer(body []byte, kind wire.Kind, v *Vault) (edited []byte, flags []string, err error) {
	if !c.touches(v) {
		return body, v.Flags(), nil
	}
	if v == nil {
		v = &Vault{answering: true}
	}
	a := answer{chain: c, vault: v, kind: kind}
	var w walker
	if w.answer = true; !w.walk(body, place{role: assistant, form: either}) {
		edited, err = a.text(body)
		return edited, v.flags, err
	}
	edits, err := a.whole(&w)
	if err != nil {
		return nil, v.flags, err
	}
	if len(edits) > 0 {
		body = splice(make([]byte, 0, len(body)+64), body, edits)
	}
	return body, v.flags, nil
}

// touches tells whether answers can be different for the chain.
func (c *Chain) touches(v *Vault) bool { return c != nil && c.answers || !v.empty() }

// text checks an answer that is not JSON: a transcript, or bytes that are no text at all.
func (a *answer) text(body []byte) ([]byte, error) {
	if !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return body, nil
	}
	quoted := wire.AppendString(nil, string(body))
	p := a.pipe(prose, false)
	out, err := p.run(quoted[1:len(quoted)-1], true)
	if err != nil {
		return nil, err
	}
	w := window{}
	w.load(out, prose)
	return w.text, nil
}
