package admin

import (
	"regexp"
	"strings"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
)

// hideURLs leaves of a tenant's URLs only whom they reach. They may hold a secret as passwords do, and are shown whole to super
// admins alone.
func (o object) hideURLs() {
	hide(o["alerts"], "webhook")
	guards, _ := o["guards"].([]any)
	for _, g := range guards {
		hide(g, "url")
	}
}

func hide(v any, field string) {
	o, _ := fields(v)
	if text, ok := o[field].(string); ok {
		o[field] = policy.HideURL(text)
	}
}

// fields is an object, as either of the two decoders makes it.
func fields(v any) (object, bool) {
	switch v := v.(type) {
	case object:
		return v, true
	case map[string]any:
		return v, true
	}
	return nil, false
}

// unhidden is a change's value with the URLs that come back as they were shown put back to what they are.
func unhidden(v, was any) any {
	switch v := v.(type) {
	case string:
		if before, ok := was.(string); ok && v == policy.HideURL(before) && strings.Contains(v, "://") {
			return before
		}
	case []any:
		before, _ := was.([]any)
		for i := range min(len(v), len(before)) {
			o, isObject := fields(v[i])
			old, wasObject := fields(before[i])
			if isObject && wasObject && o["url"] != nil {
				o["url"] = unhidden(o["url"], old["url"])
			}
		}
	}
	return v
}

// hidden tells a text that stands for a secret, or for an URL that may hold one.
func hidden(text string) bool {
	return text == wire.Masked || strings.HasSuffix(text, "/"+wire.Masked) && strings.Contains(text, "://")
}

// keyLike is what could be a key or a token, of the gateway or of someone else.
var keyLike = regexp.MustCompile(`jv-[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\b(?:sk|pk|rk)[-_][\w-]{12,}|whsec_\S{8,}|[\w+=-]{40,}`)

// keyless is a path without the keys in it: who takes a key for its name must not have it in the audit log for ever. The end of
// one is left, as lists show it.
func (s *Server) keyless(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if parts[i] = keyLike.ReplaceAllStringFunc(part, ending); s.opens(part) {
			parts[i] = ending(part)
		}
	}
	return strings.Join(parts, "/")
}

// opens tells whether a text is a key that works, whatever it looks like. Tokens, which have two dots, are told by their looks:
// to check one may take a while.
func (s *Server) opens(text string) bool {
	if s.Key != "" && same(text, s.Key.Reveal()) {
		return true
	}
	if strings.Count(text, ".") == 2 {
		return false
	}
	_, err := s.Gate().Identify([]byte(text), s.Now())
	return err == nil
}

func ending(key string) string { return "..." + key[max(len(key)-4, 0):] }
