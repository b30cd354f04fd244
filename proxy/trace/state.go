package trace

import "strings"

// maxMembers is how many members a tracestate may have.
const maxMembers = 32

// ValidState tells whether a tracestate is one: members key=value, none of them twice. The lines of several headers are joined by
// commas. https://www.w3.org/TR/trace-context-1/#tracestate-header
func ValidState(list string) bool {
	var seen [maxMembers]string
	n := 0
	for member := range strings.SplitSeq(list, ",") {
		if member = strings.Trim(member, " \t"); member == "" {
			continue
		}
		key, value, found := strings.Cut(member, "=")
		if !found || n == maxMembers || !validKey(key) || !validValue(value) {
			return false
		}
		for _, other := range seen[:n] {
			if other == key {
				return false
			}
		}
		seen[n] = key
		n++
	}
	return n > 0
}

// validKey allows key and tenant@system.
func validKey(key string) bool {
	tenant, system, several := strings.Cut(key, "@")
	if !several {
		return keyPart(key, 256) && key[0] > '9'
	}
	return keyPart(tenant, 241) && keyPart(system, 14) && system[0] > '9'
}

func keyPart(s string, most int) bool {
	if s == "" || len(s) > most || !letterOrDigit(s[0]) {
		return false
	}
	for i := range len(s) {
		if !letterOrDigit(s[i]) && strings.IndexByte("_-*/", s[i]) < 0 {
			return false
		}
	}
	return true
}

func letterOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func validValue(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '=' { // a comma ends the member
			return false
		}
	}
	return true
}
