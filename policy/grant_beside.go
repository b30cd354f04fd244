package policy

// Beside makes the holds cover a second attempt at another target too, while the first goes on: what that may cost at most counts
// as lost already. It is false, and nothing has changed, where a budget does not cover both, or the second one's answer would have
// to be shorter than the first one's. Afterwards Lost tells what was really lost, and Aim which of the two answers.
func (r *Grant) Beside(tariff Tariff, served string, cuttable bool) bool {
	if r == nil || r.habit == nil {
		return true
	}
	before := *r
	r.lost += r.prompt + r.output
	r.wasted += r.cost(r.prompt, r.output)
	if r.face(tariff, served, cuttable); !r.strict {
		return true
	}
	r.size()
	if full := r.capped == 0 || before.capped > 0 && r.capped >= before.capped; full && r.reach(r.prompt, r.output) {
		return true
	}
	*r = before
	return false
}
