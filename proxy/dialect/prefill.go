package dialect

import "strings"

// Prefills tells whether a model is known to go on with an answer whose beginning is the last message. Older Claudes do; newer
// ones refuse it, and of others nobody knows.
func Prefills(model string) bool {
	return strings.Contains(strings.ToLower(model), "claude") && !traitsOf(model).noPrefill
}
