package guard

import (
	"cmp"
	"hash/fnv"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Vault is what the guards took out of one request, and what they noted of it and its answer. It lives as long as the
// request and is written nowhere.
type Vault struct {
	names     map[string]string // placeholder, such as EMAIL_1 -> what it stands for
	hidden    map[string]string // label and value -> placeholder
	counts    map[string]int    // label -> the last number given
	labels    []string          // those of names
	flags     []string
	asked     *asked // while it is checked: placeholders may stand in it already
	answering bool   // what is masked now is the answer's, and stays masked
}

// String keeps the values from being printed.
func (v *Vault) String() string { return wire.Masked }

// GoString keeps them from %#v.
func (v *Vault) GoString() string { return wire.Masked }

// Flags are the names of the guards that noted something, each once.
func (v *Vault) Flags() []string {
	if v == nil {
		return nil
	}
	return v.flags
}

// Hidden are the values that were taken out of the request, each with its placeholder, the longest first: for who keeps what was
// said, of which none of them may be part.
func (v *Vault) Hidden() iter.Seq2[string, string] {
	return func(yield func(value, placeholder string) bool) {
		if v.empty() {
			return
		}
		names := slices.SortedFunc(maps.Keys(v.names), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(v.names[b]), len(v.names[a])), cmp.Compare(a, b))
		})
		for _, name := range names {
			if !yield(v.names[name], "<"+name+">") {
				return
			}
		}
	}
}

// empty tells that there is nothing to put back.
func (v *Vault) empty() bool { return v == nil || len(v.names) == 0 }

func (v *Vault) flag(name string) {
	if !slices.Contains(v.flags, name) {
		v.flags = append(v.flags, name)
	}
}

// known tells that the client said the value itself: its answer may say it too.
func (v *Vault) known(label, value string) bool {
	_, ok := v.hidden[label+"\x00"+value]
	return ok
}

// hide gives the placeholder of a value: in a request the same for the same. In an answer, which nobody needs to turn
// back, it is the label alone: a number would tell in which order the pieces of a stream came.
func (v *Vault) hide(label, value string) string {
	if v.answering {
		return label
	}
	if v.hidden == nil {
		v.names, v.hidden, v.counts = map[string]string{}, map[string]string{}, map[string]int{}
	}
	key := label + "\x00" + value
	if name, ok := v.hidden[key]; ok {
		return name
	}
	n, counted := v.counts[label]
	if !counted {
		n = v.asked.lastNumber(label) + v.asked.ahead()
		v.labels = append(v.labels, label)
	}
	n++
	name := label + "_" + strconv.Itoa(n)
	v.counts[label], v.hidden[key], v.names[name] = n, name, value
	return name
}

// ahead is where numbers begin in a request that goes on from an answer that the provider keeps: the placeholders of that
// conversation are not known here, and must not be taken for this request's.
func (q *asked) ahead() int {
	if q == nil {
		return 0
	}
	top := space(q.raw, 0)
	before := literal(q.raw, find(q.raw, top, "previous_response_id")) + literal(q.raw, find(q.raw, top, "conversation"))
	if before == "" {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(before))
	return 1000 + int(h.Sum32()%900_000)
}

// lastNumber is the highest n of a LABEL_n that the client typed: its own must not be taken for ours.
func (q *asked) lastNumber(label string) (most int) {
	if q == nil {
		return 0
	}
	var w window
	for i := range q.walk.said {
		s := &q.walk.said[i]
		w.load(q.text(s), s.form)
		most = max(most, typed(w.text, label))
	}
	return most
}

// typed is lastNumber of one text. It knows all spellings that restore knows, and takes in a few more.
func typed(t []byte, label string) (most int) {
	r := restore{}
	for i := range t {
		if !r.begins(t, i) {
			continue
		}
		open, _ := affix(t[i:], "<", "&lt;", "%3C")
		name, _ := r.name(t[i+open:min(len(t), i+maxPlaceholder)], true, true)
		if n := len(label); len(name) > n+1 && name[n] == '_' && (name[:n] == label || open > 0 && strings.EqualFold(name[:n], label)) {
			most = max(most, numberAt(name[n+1:]))
		}
	}
	return most
}

// numberAt is the number that s begins with, of so many digits as placeholders have.
func numberAt(s string) (n int) {
	for _, c := range []byte(s[:min(len(s), maxNumber)]) {
		if !is(c, digit) {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// maxNumber is how many digits of a placeholder are read.
const maxNumber = 7
