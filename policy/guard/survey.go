package guard

import (
	"cmp"
	"slices"

	"jarvis-gateway/proxy/wire"
)

// head is what an object says of itself, which may stand behind what it tells about: where the values of these members
// begin. 0 is none; twice means that the member is there more than once, and readers would differ.
type head struct {
	at                int // of its brace
	kind, role, index int
}

const twice = -1

// headOf is the head of the object at i. The whole text is surveyed at the first call, once: looking from each object for
// itself would read what lies deep as often as it is deep. Calls come in the order of the objects.
func (w *walker) headOf(i int) head {
	if !w.surveyed {
		w.surveyed = true
		w.survey()
	}
	for w.passed < len(w.heads) && w.heads[w.passed].at < i {
		w.passed++
	}
	if w.passed < len(w.heads) && w.heads[w.passed].at == i {
		return w.heads[w.passed]
	}
	return head{at: i}
}

// survey finds the heads of all objects that have one.
func (w *walker) survey() {
	raw := w.raw
	var open []head // from the outermost in; of an array, at is -1
	key := false    // the next string is a member's name
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			h := head{at: i}
			if key = raw[i] == '{'; !key {
				h.at = -1
			}
			if open = append(open, h); len(open) > maxDepth {
				return // the walk goes no deeper
			}
		case ',':
			key = len(open) > 0 && open[len(open)-1].at >= 0
		case '}', ']':
			if key = false; len(open) == 0 {
				return
			}
			h := open[len(open)-1]
			if open = open[:len(open)-1]; h.kind|h.role|h.index != 0 {
				w.heads = append(w.heads, h)
			}
		case '"':
			end := stringEnd(raw, i)
			if end < 0 {
				return
			}
			if key {
				open[len(open)-1].note(unquoted(raw[i+1:end-1]), space(raw, space(raw, end)+1))
			}
			key, i = false, end-1
		}
	}
	slices.SortFunc(w.heads, func(a, b head) int { return cmp.Compare(a.at, b.at) })
}

// note takes in a member whose value is at.
func (h *head) note(name []byte, at int) {
	var to *int
	switch string(name) {
	case "type":
		to = &h.kind
	case "role":
		to = &h.role
	case "index":
		to = &h.index
	default:
		return
	}
	if *to != 0 {
		at = twice
	}
	*to = at
}

// unquoted is what stands between the quotes of a JSON string, as it reads.
func unquoted(raw []byte) []byte {
	for _, c := range raw {
		if c == '\\' {
			return wire.AppendUnquoted(nil, string(raw))
		}
	}
	return raw
}
