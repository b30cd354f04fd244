package wire

import "strings"

// MatchModel tells whether a model's name fits a pattern with at most one *, which stands for any text, slashes
// included.
func MatchModel(pattern, name string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	return len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// MatchModelFold is MatchModel for names in any case.
func MatchModelFold(pattern, name string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return strings.EqualFold(pattern, name)
	}
	end := len(name) - len(after)
	return end >= len(before) && strings.EqualFold(before, name[:len(before)]) && strings.EqualFold(after, name[end:])
}
