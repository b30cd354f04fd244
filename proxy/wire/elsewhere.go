package wire

import (
	"slices"
	"strings"
)

// elsewhere are the fields by which a client has an upstream that is a gateway itself, or that falls back to other models, ask
// another model than the one that it names, or another server. scanner.member knows them too.
// https://openrouter.ai/docs/guides/routing/model-fallbacks https://docs.litellm.ai/docs/proxy/clientside_auth
// https://vercel.com/docs/ai-gateway/models-and-providers/model-fallbacks https://docs.anthropic.com/en/api/messages
var elsewhere = [...]string{"models", "route", "fallbacks", "fallback_config", "context_window_fallbacks", "content_policy_fallbacks",
	"context_window_fallback_dict", "model_list", "user_config", "custom_llm_provider", "api_base", "base_url", "api_key", "providerOptions",
	"extra_body"} // whose members some read like the request's own

// Elsewhere is the first field by which the request might go to another model than Model, or to another server; "" if there is
// none.
func (b *Body) Elsewhere() string { return named(b.elsewhere) }

// Elsewhere is the same of a form.
func (f *Form) Elsewhere() string { return named(f.elsewhere) }

// numbered is the place of a field in elsewhere, counted from one; 0 when it is not there.
func numbered(name string) uint8 {
	return uint8(1 + slices.IndexFunc(elsewhere[:], func(known string) bool { return strings.EqualFold(known, name) }))
}

func named(n uint8) string {
	if n == 0 {
		return ""
	}
	return elsewhere[n-1]
}

// leads notes a field of elsewhere, in whatever case.
func (s *scanner) leads(name string) {
	if s.elsewhere == 0 {
		s.elsewhere = numbered(name)
	}
}

// leads notes a field of elsewhere in a form, where lists have brackets behind their name.
func (f *Form) leads(name string) {
	if name, _, _ = strings.Cut(name, "["); f.elsewhere == 0 {
		f.elsewhere = numbered(name)
	}
}
