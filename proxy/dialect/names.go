package dialect

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Every provider has its own rules for the names of tools and the ids of their calls. One that does not fit is replaced by
// one that does and that is always the same, so that a conversation goes on across requests, gateways and providers.

// toolName returns the name that the provider is told: the client's own where it fits, else one that no other tool has.
// Restore gives it back.
func (t *Translation) toolName(name string, most int) string {
	if fits(name, most) {
		return name
	}
	t.takeNames(most)
	fit := t.fits[name]
	for n := 0; fit == ""; n++ {
		salt := ""
		if n > 0 {
			salt = "\x00" + strconv.Itoa(n)
		}
		if candidate := digested(name, salt, most); t.names[candidate] == "" {
			fit = candidate
			t.names[fit], t.fits[name] = name, fit
		}
	}
	return fit
}

// spareName returns a name like the one wanted that no tool of the request has, nor a call in its conversation: for a
// tool of the gateway's own.
func (t *Translation) spareName(wanted string, most int) string {
	t.takeNames(most)
	name := fitted(wanted, most)
	for t.names[name] != "" {
		name = fitted("answer_"+name, most)
	}
	t.names[name] = name
	return name
}

// takeNames makes sure that the names which fit as they are belong to their tools before any other is changed.
func (t *Translation) takeNames(most int) {
	if t.names != nil {
		return
	}
	t.names, t.fits = map[string]string{}, map[string]string{}
	take := func(name string) {
		if fits(name, most) {
			t.names[name] = name
		}
	}
	for i := range t.Request.Tools {
		tool := &t.Request.Tools[i]
		if take(tool.Name); tool.Raw != "" {
			take(gjson.Get(tool.Raw, "name").Str)
		}
	}
	for i := range t.Request.Turns {
		for j := range t.Request.Turns[i].Blocks {
			if b := &t.Request.Turns[i].Blocks[j]; b.Kind == ToolUse {
				take(b.Name)
			}
		}
	}
}

// pastNames lists the tools that a conversation has calls of.
func pastNames(turns []Turn) (names []string) {
	known := map[string]bool{}
	for i := range turns {
		for j := range turns[i].Blocks {
			if b := &turns[i].Blocks[j]; b.Kind == ToolUse && !known[b.Name] {
				known[b.Name] = true
				names = append(names, b.Name)
			}
		}
	}
	return names
}

// toolID returns an id that the provider accepts for a client's id of a call. It needs no way back: the call and its
// result, which only the request holds, are changed alike.
func toolID(id string, most int) string { return fitted(id, most) }

// fitted returns s if it is 1 to most letters, digits, _ and -; else one that is, made of s and its digest.
func fitted(s string, most int) string {
	if fits(s, most) {
		return s
	}
	return digested(s, "", most)
}

func fits(s string, most int) bool {
	return s != "" && len(s) <= most && strings.IndexFunc(s, unfit) < 0
}

func digested(s, salt string, most int) string {
	sum := sha256.Sum256([]byte(s + salt))
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
