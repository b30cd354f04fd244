package guard

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// kinds are the kinds of guards: what each may do, looks at unless told otherwise, and takes of the config.
var kinds = []struct {
	name    string
	actions []action // the first is the default
	on      []string // the default
	answers bool     // may look at answers
	roles   role     // the default, 0: it does not go by roles
	options []string
}{
	{"deny", []action{refuse, mask, flag}, []string{"request", "answer"}, true, everyone, []string{"patterns"}},
	{"allow", []action{refuse, flag}, []string{"request"}, true, user, []string{"patterns"}},
	{"pii", []action{mask, refuse, flag}, []string{"request", "answer"}, true, everyone, []string{"types"}},
	{"injection", []action{refuse, flag}, []string{"request"}, false, user | tool, []string{"threshold"}},
	{"size", []action{refuse, flag}, []string{"request"}, false, 0, []string{"max_bytes", "max_chars", "max_messages", "max_tools"}},
	{"modality", []action{refuse, flag}, []string{"request"}, false, 0, []string{"allow", "deny"}},
	{"http", []action{refuse, mask, flag}, []string{"request"}, true, everyone, []string{"url", "secret", "timeout", "on_error", "private"}},
}

var actionNames = [...]string{refuse: "refuse", mask: "mask", flag: "flag"}

// checker gathers what is wrong with one entry.
type checker struct {
	at   string
	c    *Config
	errs []error
}

func (k *checker) wrong(option, format string, args ...any) {
	k.errs = append(k.errs, fmt.Errorf("%s.%s: "+format, append([]any{k.at, option}, args...)...))
}

// oneOf reports a value that is none of the choices.
func (k *checker) oneOf(option, value string, choices []string) bool {
	if slices.Contains(choices, value) {
		return true
	}
	k.wrong(option, "unknown %q (have: %s)", value, strings.Join(choices, ", "))
	return false
}

func newRule(at string, c *Config) (*rule, error) {
	k := &checker{at: at, c: c}
	var have []string
	for _, kind := range kinds {
		have = append(have, kind.name)
		if kind.name != c.Kind {
			continue
		}
		r := &rule{at: at, kind: c.Kind, name: cmp.Or(c.Name, c.Kind), roles: kind.roles}
		k.options(kind.options, kind.roles != 0)
		k.action(r, kind.actions)
		k.on(r, kind.on, kind.answers)
		k.roles(r)
		k.build(r)
		return r, errors.Join(k.errs...)
	}
	k.oneOf("kind", c.Kind, have)
	return nil, errors.Join(k.errs...)
}

// options reports what this kind does not take.
func (k *checker) options(takes []string, roles bool) {
	c := k.c
	for _, o := range []struct {
		name string
		set  bool
	}{
		{"patterns", c.Patterns != nil}, {"types", c.Types != nil}, {"threshold", c.Threshold != 0}, {"max_bytes", c.MaxBytes != 0},
		{"max_chars", c.MaxChars != 0}, {"max_messages", c.MaxMessages != 0}, {"max_tools", c.MaxTools != 0}, {"allow", c.Allow != nil},
		{"deny", c.Deny != nil}, {"url", c.URL != ""}, {"secret", c.Secret != ""}, {"timeout", c.Timeout != 0}, {"on_error", c.OnError != ""},
		{"private", c.Private}, {"roles", c.Roles != nil},
	} {
		if o.set && !slices.Contains(takes, o.name) && (o.name != "roles" || !roles) {
			k.wrong(o.name, "a guard of kind %s does not take this (it takes: %s)", c.Kind, strings.Join(takes, ", "))
		}
	}
	if len(c.Name) > 32 || strings.ContainsFunc(c.Name, func(r rune) bool { return r >= 0x80 || !is(byte(r), wordy) && r != '-' && r != '.' }) {
		k.wrong("name", "use up to 32 letters, digits, _, - and .")
	}
}

func (k *checker) action(r *rule, may []action) {
	if r.action = may[0]; k.c.Action == "" {
		return
	}
	var have []string
	for _, a := range may {
		have = append(have, actionNames[a])
	}
	if k.oneOf("action", k.c.Action, have) {
		r.action = may[slices.Index(have, k.c.Action)]
	}
}

func (k *checker) on(r *rule, otherwise []string, answers bool) {
	on := k.c.On
	if on == nil {
		on = otherwise
	} else if len(on) == 0 {
		k.wrong("on", "say request, answer or both")
	}
	for i, v := range on {
		switch {
		case v == "answer" && !answers:
			k.wrong(fmt.Sprintf("on[%d]", i), "a guard of kind %s looks at requests only", k.c.Kind)
		case k.oneOf(fmt.Sprintf("on[%d]", i), v, []string{"request", "answer"}):
			r.asks, r.tells = r.asks || v == "request", r.tells || v == "answer"
		}
	}
}

func (k *checker) roles(r *rule) {
	if k.c.Roles == nil {
		return
	}
	r.roles = 0
	for i, name := range k.c.Roles {
		if k.oneOf(fmt.Sprintf("roles[%d]", i), name, []string{"user", "assistant", "system", "tool", "other"}) {
			r.roles |= roleNames[name]
		}
	}
	if len(k.c.Roles) == 0 {
		k.wrong("roles", "name at least one role, or leave it out")
	}
}

// build makes what the rule looks for.
func (k *checker) build(r *rule) {
	switch r.kind {
	case "deny":
		k.deny(r)
	case "allow":
		r.allow, r.whole = k.patterns(plain), r.allowed
	case "pii":
		k.personal(r)
	case "injection":
		k.injection(r)
	case "size":
		k.size(r)
	case "modality":
		k.modality(r)
	case "http":
		k.remote(r)
	}
}

// patterns compiles the patterns twice each: for texts as they are, and with look-alikes made plain so far.
func (k *checker) patterns(l look) (list [][2]*pattern) {
	if len(k.c.Patterns) == 0 {
		k.wrong("patterns", "name at least one")
	}
	for i, expr := range k.c.Patterns {
		p, err := compile(expr, asIs)
		at := fmt.Sprintf("patterns[%d]", i)
		if err != nil {
			k.wrong(at, "%w", err)
			continue
		}
		if k.c.Kind == "deny" && p.always {
			k.wrong(at, "every text matches, even the empty one")
		}
		other, err := compile(expr, l)
		if err != nil {
			k.wrong(at, "%w", err)
		}
		list = append(list, [2]*pattern{p, other})
	}
	return list
}

func (k *checker) deny(r *rule) {
	r.label = "MASKED"
	if k.c.Name != "" {
		r.label = strings.ToUpper(strings.Map(func(c rune) rune {
			if c == '-' || c == '.' {
				return '_'
			}
			return c
		}, k.c.Name))
	}
	for _, t := range personalTypes {
		if r.label == t.label {
			r.label = "MASKED_" + r.label // personal data has this name
		}
	}
	for i, both := range k.patterns(folded) {
		for n, l := range [...]look{asIs, folded} {
			p := both[n]
			r.views = append(r.views, view{look: l, idle: l == folded && !p.plain, what: fmt.Sprintf("patterns[%d]", i), made: func() finder { return p.matcher(r.action == mask) }})
		}
	}
}

func (k *checker) personal(r *rule) {
	var have []string
	for _, t := range personalTypes {
		have = append(have, t.name)
	}
	var types uint8
	for i, name := range k.c.Types {
		if k.oneOf(fmt.Sprintf("types[%d]", i), name, have) {
			types |= personalTypes[slices.Index(have, name)].bit
		}
	}
	if k.c.Types == nil {
		types = email | phone | resident | card | secret
	} else if len(k.c.Types) == 0 {
		k.wrong("types", "name at least one (have: %s), or leave it out for all", strings.Join(have, ", "))
	}
	r.views = []view{{look: plain, what: "personal data", made: func() finder { return &personal{types: types} }}}
}

func (k *checker) remote(r *rule) {
	c := *k.c
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Timeout < time.Millisecond || c.Timeout > 30*time.Second {
		k.wrong("timeout", "from 1ms to 30s")
	}
	if c.OnError != "" {
		k.oneOf("on_error", c.OnError, []string{"open", "closed"})
	}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		k.wrong("url", "say where to ask, such as https://guard.example.com/check")
	case err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		k.wrong("url", "expected https://host/path, without user and password")
	case u.Scheme == "http" && !c.Private:
		k.wrong("url", "plain http shows prompts to everybody on the way: use https, or private: true for a loopback or private address")
	default:
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !reachable(ip, c.Private) {
			k.wrong("url", "a loopback or private address needs private: true, and that needs one")
		}
	}
	r.remote, r.whole = newRemote(&c), r.askServer
}
