package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// JSON readers disagree on repeated keys, on keys spelled with escapes and, where they ignore case, on "model" next to
// "MODEL". In the objects that the gateway inspects such keys are refused, so that what it decided on is what the
// upstream reads.

const (
	fewKeys  = 32  // up to here an object's keys are compared with one another, beyond it a map keeps the time linear
	shortKey = 128 // as well as for longer keys
)

// keystack holds where the keys of the open inspected objects start, innermost object last. Requests as people send
// them fit into few, so that Parse allocates nothing.
type keystack struct {
	n    int
	few  [fewKeys]int
	more []int // in place of few, once that was too small
}

func (k *keystack) push(start int) {
	if k.more == nil && k.n < len(k.few) {
		k.few[k.n] = start
	} else {
		k.grow()
		k.more[k.n] = start
	}
	k.n++
}

func (k *keystack) grow() {
	if k.n < len(k.more) {
		return
	}
	more := make([]int, 2*k.n)
	copy(more, k.from(0))
	k.more = more
}

func (k *keystack) from(base int) []int {
	if k.more != nil {
		return k.more[base:k.n]
	}
	return k.few[base:k.n]
}

// keyset remembers the keys of one inspected object. As long as they are few, short and ASCII they are the tail of
// scanner.open, and most are told apart by one bit each.
type keyset struct {
	base int                 // where this object's keys start in scanner.open
	bits uint64              // the bits of its keys
	all  map[string]struct{} // once they are not few, short and ASCII: all of them, folded
}

// key walks the key whose opening quote should be at i and returns the offset of its closing quote.
func (s *scanner) key(i int, z zone, seen *keyset) (end int, err error) {
	if i >= len(s.raw) || s.raw[i] != '"' {
		return 0, s.unexpected(i, "a key in double quotes")
	}
	start := i + 1
	if z == opaque || z == wanted {
		end, err = s.text(start)
		return end - 1, err
	}
	end, upper := plainKey(s.raw, start)
	if end < len(s.raw) && s.raw[end] == '"' && end-start <= shortKey {
		if upper {
			if err = s.checkSpelling(start, end, z); err != nil {
				return 0, err
			}
		}
		return end, s.add(seen, start, end)
	}
	if end, err = s.text(start); err != nil {
		return 0, err
	}
	if end--; bytes.IndexByte(s.raw[start:end], '\\') >= 0 {
		return 0, Invalid("", "key %s at byte %d is spelled with escapes, write it plainly", shown(s.raw[start:end]), i)
	}
	if err = s.checkSpelling(start, end, z); err != nil {
		return 0, err
	}
	return end, s.addFolded(seen, start, end)
}

// plainKey returns the offset of the first byte from i on that is not ordinary ASCII, as plain does, and whether there are
// capital letters before it.
func plainKey(raw []byte, i int) (end int, upper bool) {
	for i+8 <= len(raw) {
		w := binary.LittleEndian.Uint64(raw[i:])
		stop := special(w)
		capitals := ((w + (0x80-'A')*ones) ^ (w + (0x7f-'Z')*ones)) & highs // certain below the lowest stop
		if stop != 0 {
			return i + bits.TrailingZeros64(stop)>>3, upper || capitals&(stop-1)&^stop != 0
		}
		upper = upper || capitals != 0
		i += 8
	}
	for ; i < len(raw) && special(uint64(raw[i])|' '*(ones-1)) == 0; i++ {
		upper = upper || 'A' <= raw[i] && raw[i] <= 'Z'
	}
	return i, upper
}

// checkSpelling refuses a key that a reader who ignores case would take for a field that the gateway acts on. Only keys
// with capital letters or letters beyond ASCII need the check: all those fields are lower case.
func (s *scanner) checkSpelling(start, end int, z zone) error {
	const longest = 64 // no field is longer, even if each of its letters had a three-byte double
	if end-start > longest {
		return nil
	}
	var buf [longest]byte
	folded := fold(buf[:0], s.raw[start:end])
	if !acted(string(folded)) {
		if z == top && string(s.raw[start:end]) != "providerOptions" { // which is spelled so, and may be null
			s.leads(string(folded))
		}
		return nil
	}
	field := string(folded)
	return Invalid(field, "key %s at byte %d must be written %q", shown(s.raw[start:end]), start-1, field)
}

// acted reports whether the gateway acts on a field of that name, somewhere in a request.
func acted(name string) bool {
	switch name {
	case "model", "stream", "stream_options", "include_usage", "messages", "input", "role", "content", "text", "type",
		"tools", "tool_choice", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "user", "metadata",
		"prompt", "store", "previous_response_id", "conversation", "background":
		return true
	}
	return false
}

// add notes a short ASCII key, and refuses it when the object has it already, in whatever case.
func (s *scanner) add(seen *keyset, start, end int) error {
	if seen.all != nil || s.open.n-seen.base >= fewKeys {
		return s.addFolded(seen, start, end)
	}
	raw, n := s.raw, end-start
	first, last := raw[start]|0x20, raw[end-1]|0x20 // the quotes, when the key is empty
	bit := uint64(1) << ((uint(first)*5 + uint(last)*3 + uint(n)) % 64)
	if seen.bits&bit != 0 {
		for _, p := range s.open.from(seen.base) {
			// A quote n bytes behind its start means that the earlier key is as long: inside a key there is none.
			if raw[p+n] == '"' && bytes.EqualFold(raw[p:p+n], raw[start:end]) {
				return s.repeated(start, end)
			}
		}
	}
	seen.bits |= bit
	s.open.push(start)
	return nil
}

// addFolded is add for objects with many, long or non-ASCII keys.
func (s *scanner) addFolded(seen *keyset, start, end int) error {
	if seen.all == nil {
		seen.all = make(map[string]struct{})
		for _, p := range s.open.from(seen.base) {
			n := bytes.IndexByte(s.raw[p:], '"')
			seen.all[alias(fold(nil, s.raw[p:p+n]))] = struct{}{}
		}
		s.open.n = seen.base
	}
	before := len(seen.all)
	seen.all[alias(fold(nil, s.raw[start:end]))] = struct{}{}
	if len(seen.all) == before {
		return s.repeated(start, end)
	}
	return nil
}

func (s *scanner) repeated(start, end int) error {
	key, param := s.raw[start:end], ""
	if acted(string(key)) {
		param = string(key)
	}
	return Invalid(param, "key %s at byte %d is repeated (small and capital letters count as the same), send it once", shown(key), start-1)
}

// fold appends key in the form that all its spellings under case folding share, as in strings.EqualFold and
// encoding/json: the smallest rune of each fold orbit, in lower case if that is ASCII. So U+212A, the Kelvin sign, gives k.
func fold(dst, key []byte) []byte {
	for i := 0; i < len(key); {
		r, n := rune(key[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(key[i:])
			for next := unicode.SimpleFold(r); ; r, next = next, unicode.SimpleFold(next) {
				if next <= r {
					r = next
					break
				}
			}
		}
		if 'A' <= r && r <= 'Z' {
			r |= 0x20
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst
}
