package guard

import (
	"bytes"
	"slices"

	"jarvis-gateway/proxy/wire"
)

// answer is one answer on its way through the chain.
type answer struct {
	chain *Chain
	vault *Vault
	kind  wire.Kind
	told  map[string][]byte // what became of texts that servers were asked about: streams say them twice
}

// pipe makes the way of one text.
func (a *answer) pipe(f form, exact bool) *pipe {
	p := &pipe{}
	if a.chain != nil {
		for _, r := range a.chain.rules {
			if r.tells {
				p.stages = append(p.stages, r.stages(a, f)...)
			}
		}
	}
	if !a.vault.empty() {
		back := &filter{find: restore{a.vault, exact}, vault: a.vault}
		back.w.reset(f)
		p.stages = append(p.stages, back)
	}
	return p
}

// stages are a rule's part of a text's way.
func (r *rule) stages(a *answer, f form) []stage {
	switch {
	case r.remote != nil:
		return []stage{&gathering{rule: r, answer: a, form: f}}
	case r.allow != nil:
		return []stage{r.allowing(a.vault, f)}
	}
	stages := make([]stage, 0, len(r.views))
	for _, v := range r.views {
		s := &filter{rule: r, view: v, find: v.made(), vault: a.vault}
		s.w.look = v.look
		s.w.reset(f)
		stages = append(stages, s)
	}
	return stages
}

// whole checks all texts that were found, each as a whole, and returns what to change, in order.
func (a *answer) whole(w *walker) ([]edit, error) {
	var edits []edit
	for i := range w.said {
		s := &w.said[i]
		raw := w.raw[s.start:s.end]
		out, err := a.pipe(s.form, s.exact).run(raw, true)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(out, raw) {
			edits = append(edits, edit{s.start, s.end, out})
		}
	}
	return a.quiet(edits, w), nil
}

// quiet takes out the probabilities of tokens, which would tell what guards took out of the text.
func (a *answer) quiet(edits []edit, w *walker) []edit {
	if a.chain == nil || !a.chain.spelled || len(w.probs) == 0 {
		return edits
	}
	for _, s := range w.probs {
		put := []byte("null")
		if w.raw[s.start] == '[' {
			put = []byte("[]")
		}
		edits = append(edits, edit{s.start, s.end, put})
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	return edits
}
