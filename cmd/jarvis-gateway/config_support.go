package main

import (
	"slices"
	"strings"
)

// unsupported lists what the configuration's language has and this version does not serve, so that it is refused by name
// and never silently ignored. Under each shape of path stand keys; serves are the values of them that are fine (a trailing *
// stands for any end), refuses the values that are not. With neither the key is refused whatever it holds.
var unsupported = []struct {
	at      string
	keys    []string
	serves  []string
	refuses []string
}{
	{at: "flows", keys: words("workers")},
	{at: "corpora.*", keys: words("embed hybrid")},
	{at: "models.*.rag", keys: words("rerank")},
	{at: "stores", keys: words("vectors"), serves: words("embedded")},
	{at: "stores.on_error", keys: words("vectors")},
	{at: "models.*.cache", keys: words("semantic")},
}

func words(s string) []string { return strings.Fields(s) }

// notYet says whether the table has a rule for a shape of path, and why the rule refuses the value ("{}" for a mapping or
// list) there, if it does.
func notYet(shape, value string) (why string, listed bool) {
	at, key := "", shape
	if dot := strings.LastIndexByte(shape, '.'); dot >= 0 {
		at, key = shape[:dot], shape[dot+1:]
	}
	for _, rule := range unsupported {
		if rule.at != at || !slices.Contains(rule.keys, key) {
			continue
		}
		switch {
		case rule.serves != nil && !matches(rule.serves, value):
			return "not supported yet (supported: " + strings.ReplaceAll(strings.Join(rule.serves, ", "), "*", "FILE") + ")", true
		case rule.serves != nil, rule.refuses != nil && !matches(rule.refuses, value):
			return "", true
		}
		return "not supported yet", true
	}
	return "", false
}

func matches(patterns []string, value string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		start, open := strings.CutSuffix(pattern, "*")
		return value == pattern || open && strings.HasPrefix(value, start)
	})
}
