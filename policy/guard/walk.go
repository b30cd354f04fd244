package guard

import "bytes"

// role is whose text it is.
type role uint8

const (
	user role = 1 << iota
	assistant
	system
	tool
	other    // what stands beside the conversation: metadata, user
	everyone = user | assistant | system | tool | other
)

var roleNames = map[string]role{"user": user, "assistant": assistant, "system": system, "tool": tool, "other": other}

// said is one string of a body that says something.
type said struct {
	start, end int   // in the body: what stands between the quotes; of a number, all of it
	group      int32 // of the parts that are read as one text; 0: it stands alone
	role       role
	form       form
	exact      bool // a signed thought: the placeholders in it are put back only where they are as they were sent
	fixed      bool // a name: to mask it would break what it is the name of
	plain      bool // a name like any other: letters, digits and the like
	*packed         // of bytes that are a text
	*trail          // in streams
}

// trail is the way to a string.
type trail struct {
	path []byte // the JSON from the walk's object down to it
	tail []byte // and what closes it
	key  string // the name of its member
}

// walker goes through a JSON text and finds what is said in it. Of requests that is every string but ids, words of the
// API, and bytes that are no text; and the names of members where they are the caller's own. Of answers it leaves out
// names altogether.
type walker struct {
	raw    []byte
	answer bool // of a model: its texts may be JSON
	tracks bool // notes the way to each string
	names  bool // and of requests, names like any other too

	said     []said
	probs    []said // the values of logprobs, which spell the text out again
	turns    int64
	tools    int64
	modes    mode
	numbered bool // a text is there as the numbers of its tokens
	groups   int32
	path     []byte
	close    []byte // in the order of opening

	heads    []head // in order
	passed   int    // of heads: these lie before where the walk is
	surveyed bool
}

// place is where in a body a value stands, and how it is read there.
type place struct {
	zone  zone
	role  role
	form  form
	use   use  // of strings
	parts bool // an array here holds parts that are read as one text
	turn  bool // an object here is a message, or an item
	codes bool // a number here is a token's
	exact bool
	group int32
}

type zone uint8

const (
	told    zone = iota // of the API's own making: some names are known to be none of a text's
	top                 // the request itself
	data                // of the caller's making: every string may say something, names and numbers too
	schema              // JSON Schema
	schemas             // the names of things, and a schema for each
)

const maxDepth = 512

// walk is false when raw is not JSON.
func (w *walker) walk(raw []byte, p place) bool {
	w.raw = raw
	end := w.value(space(raw, 0), 0, p)
	return end > 0 && space(raw, end) == len(raw)
}

// value walks the value at i and returns where it ends, or -1.
func (w *walker) value(i, depth int, p place) int {
	raw := w.raw
	if i >= len(raw) || depth > maxDepth {
		return -1
	}
	switch raw[i] {
	case '{':
		return w.object(i, depth, p)
	case '[':
		return w.array(i, depth, p)
	case '"':
		end := stringEnd(raw, i)
		if end > i+2 {
			w.text(i+1, end-1, p)
		}
		return end
	}
	end := valueEnd(raw, i)
	if p.codes && (raw[i] == '-' || is(raw[i], digit)) {
		w.numbered = true
		w.modes |= textMode
	}
	if p.zone == data && end-i >= 9 && bytes.IndexFunc(raw[i:end], func(r rune) bool { return r < '0' || r > '9' }) < 0 {
		p.form = number
		w.say(i, end, p)
	}
	return end
}

func (w *walker) say(start, end int, p place) {
	s := said{start: start, end: end, role: p.role, form: p.form, group: p.group, exact: p.exact}
	if w.tracks {
		s.trail = &trail{path: bytes.Clone(w.path)}
		for n := len(w.close) - 1; n >= 0; n-- {
			s.tail = append(s.tail, w.close[n])
		}
	}
	if p.role == user && p.zone != data {
		w.modes |= textMode
	}
	w.said = append(w.said, s)
}

func (w *walker) object(i, depth int, p place) int {
	index := 0
	if p.turn || p.group > 0 {
		index = w.meet(i, &p)
	}
	raw, opened := w.raw, i
	mark := w.open('{', '}')
	if index > 0 {
		w.path = append(append(append(w.path, `"index":`...), literal(raw, index)...), ',')
	}
	for i = space(raw, i+1); ; i = space(raw, i+1) {
		if i < len(raw) && raw[i] == '}' {
			w.shut(mark)
			return i + 1
		}
		key := stringEnd(raw, i)
		if key < 0 {
			return -1
		}
		name := raw[i+1 : key-1]
		at := space(raw, key)
		if at >= len(raw) || raw[at] != ':' {
			return -1
		}
		if at = space(raw, at+1); at >= len(raw) {
			return -1
		}
		w.key(key-1-len(name), key-1, p)
		if i = w.member(name, at, opened, depth, p); i < 0 {
			return -1
		}
		if i = space(raw, i); i >= len(raw) || raw[i] != ',' && raw[i] != '}' {
			return -1
		}
		if raw[i] == '}' {
			i-- // the loop steps over a comma
		}
	}
}

// member walks the value at, of the member of that name of the object that was opened there.
func (w *walker) member(name []byte, at, opened, depth int, p place) int {
	inside, skip := w.inside(unquoted(name), at, opened, p)
	if skip {
		return valueEnd(w.raw, at)
	}
	n := len(w.path)
	if w.tracks {
		w.path = append(append(append(w.path, '"'), name...), '"', ':')
	}
	from := len(w.said)
	end := w.value(at, depth+1, inside)
	if w.tracks {
		w.path = w.path[:n]
		if w.raw[at] == '"' && len(w.said) > from {
			w.said[from].key = string(name)
		}
	}
	return end
}

func (w *walker) array(i, depth int, p place) int {
	raw := w.raw
	if p.parts {
		w.groups++
		p.group, p.parts = w.groups, false
	}
	mark := w.open('[', ']')
	for i = space(raw, i+1); ; i = space(raw, i+1) {
		if i < len(raw) && raw[i] == ']' {
			w.shut(mark)
			return i + 1
		}
		if p.turn {
			w.turns++
		}
		if i = w.value(i, depth+1, p); i < 0 {
			return -1
		}
		if w.tracks {
			w.path = append(w.path, ' ') // as many spaces as elements before: paths are JSON, and no two are the same
		}
		if i = space(raw, i); i >= len(raw) || raw[i] != ',' && raw[i] != ']' {
			return -1
		}
		if raw[i] == ']' {
			i--
		}
	}
}

// open notes an object or array on the path, with the index that its object in a stream has.
func (w *walker) open(bracket, closing byte) int {
	n := len(w.path)
	if w.tracks {
		w.path = append(w.path, bracket)
		w.close = append(w.close, closing)
	}
	return n
}

func (w *walker) shut(mark int) {
	if w.tracks {
		w.path = w.path[:mark]
		w.close = w.close[:len(w.close)-1]
	}
}

// meet looks at a message, an item or a part as a whole: whose it is may stand behind what it says. Only messages and
// items say so themselves: a part is its message's. In a stream it returns where the number of a part stands, which says
// more than its place: the next piece of it may come alone.
func (w *walker) meet(i int, p *place) (index int) {
	h := w.headOf(i)
	if w.tracks && h.index > 0 {
		index = h.index
		w.path = bytes.TrimRight(w.path, " ")
	}
	if w.answer {
		return index
	}
	kind, who := str(w.raw, h.kind), ""
	if p.turn {
		who = str(w.raw, h.role)
	}
	switch who {
	case "assistant", "model":
		p.role = assistant
	case "system", "developer":
		p.role = system
	case "tool", "function":
		p.role = tool
	case "user":
		p.role = user
	case "":
		if whose, ok := kindRoles[kind]; ok && (p.turn || whose == tool) {
			p.role = whose
		}
	}
	p.turn = false
	return index
}

// members goes over an object's members: their names as written, and where their values begin.
func members(raw []byte, i int) func(yield func(name []byte, at int) bool) {
	return func(yield func([]byte, int) bool) {
		for i = space(raw, i+1); i < len(raw) && raw[i] == '"'; i = space(raw, i+1) {
			end := stringEnd(raw, i)
			if end < 0 {
				return
			}
			at := space(raw, end)
			if at = space(raw, at+1); at >= len(raw) || !yield(raw[i+1:end-1], at) {
				return
			}
			if i = valueEnd(raw, at); i < 0 {
				return
			}
			if i = space(raw, i); i >= len(raw) || raw[i] != ',' {
				return
			}
		}
	}
}

// elements goes over an array: where its elements begin.
func elements(raw []byte, i int) func(yield func(at int) bool) {
	return func(yield func(int) bool) {
		if i < 0 || i >= len(raw) || raw[i] != '[' {
			return
		}
		for i = space(raw, i+1); i < len(raw) && raw[i] != ']'; i = space(raw, i+1) {
			if !yield(i) {
				return
			}
			if i = valueEnd(raw, i); i < 0 {
				return
			}
			if i = space(raw, i); i >= len(raw) || raw[i] != ',' {
				return
			}
		}
	}
}

// find is where the value of an object's member begins, -1 when there is none.
func find(raw []byte, i int, name string) int {
	if i < 0 || i >= len(raw) || raw[i] != '{' {
		return -1
	}
	for n, at := range members(raw, i) {
		if string(unquoted(n)) == name {
			return at
		}
	}
	return -1
}

// str is the string at, as it reads; "" when there is none.
func str(raw []byte, at int) string {
	if at < 0 {
		return ""
	}
	if end := stringEnd(raw, at); end > 0 {
		return string(unquoted(raw[at+1 : end-1]))
	}
	return ""
}

// literal is the value at, as it is written; "" when there is none or it is null.
func literal(raw []byte, at int) string {
	if at < 0 {
		return ""
	}
	end := valueEnd(raw, at)
	if end < 0 || string(raw[at:end]) == "null" {
		return ""
	}
	return string(raw[at:end])
}

func space(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\n' || raw[i] == '\t' || raw[i] == '\r') {
		i++
	}
	return i
}

// stringEnd is behind the string whose quote is at i, -1 when there is none.
func stringEnd(raw []byte, i int) int {
	if i >= len(raw) || raw[i] != '"' {
		return -1
	}
	for i++; i < len(raw); {
		n := bytes.IndexByte(raw[i:], '"')
		if n < 0 {
			return -1
		}
		end := i + n
		slashes := 0
		for end-slashes-1 >= i && raw[end-slashes-1] == '\\' {
			slashes++
		}
		if i = end + 1; slashes%2 == 0 {
			return i
		}
	}
	return -1
}

// valueEnd is behind the value at i, -1 when it does not end.
func valueEnd(raw []byte, i int) int {
	if i < 0 || i >= len(raw) {
		return -1
	}
	switch raw[i] {
	case '"':
		return stringEnd(raw, i)
	case '{', '[':
	default:
		from := i
		for i < len(raw) && raw[i] != ',' && raw[i] != '}' && raw[i] != ']' && raw[i] > ' ' {
			i++
		}
		if i == from {
			return -1
		}
		return i
	}
	for depth := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			end := stringEnd(raw, i)
			if end < 0 {
				return -1
			}
			i = end - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
