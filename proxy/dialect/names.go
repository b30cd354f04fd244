package dialect

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Every provider has its own rules for the names of tools and the ids of their calls. One that does not fit is replaced by
// one that does and that is always the same, so that a conversation goes on across requests, gateways and providers.

// toolName returns the name that the provider is told: the client's own where it fits. Restore gives it back.
func (t *Translation) toolName(name string, most int) string {
	fit := fitted(name, most)
	if fit != name {
		if t.names == nil {
			t.names = map[string]string{}
		}
		t.names[fit] = name
	}
	return fit
}

// toolID returns an id that the provider accepts for a client's id of a call. It needs no way back: the call and its
// result, which only the request holds, are changed alike.
func toolID(id string, most int) string { return fitted(id, most) }

// fitted returns s if it is 1 to most letters, digits, _ and -; else one that is, made of s and its digest.
func fitted(s string, most int) string {
	if s != "" && len(s) <= most && strings.IndexFunc(s, unfit) < 0 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	tail := "_" + hex.EncodeToString(sum[:5])
	kept := strings.Map(func(r rune) rune {
		if unfit(r) {
			return '_'
		}
		return r
	}, s)
	return kept[:min(len(kept), most-len(tail))] + tail
}

func unfit(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}
