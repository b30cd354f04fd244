package guard

import (
	"bytes"
	"math"
	"strings"
)

// maxSecret bounds what is read of a key or token, and with it how much of a stream is held back for one.
const maxSecret = 12 << 10

// token is a kind of key that is known by how it begins.
type token struct {
	prefix string
	least  int  // characters behind the prefix
	exact  bool // no more than these
	upper  bool // capital letters and digits only
	dotted bool // dots too
}

// tokens are by their first letter. Where one prefix begins with another, the longer stands first.
var tokens = [256][]token{
	'A': {{prefix: "AKIA", least: 16, exact: true, upper: true}, {prefix: "ASIA", least: 16, exact: true, upper: true},
		{prefix: "AIza", least: 30}, {prefix: "AKID", least: 13}},
	'L': {{prefix: "LTAI", least: 12}},
	'S': {{prefix: "SG.", least: 30, dotted: true}},
	'd': {{prefix: "dop_v1_", least: 40}},
	'g': {{prefix: "ghp_", least: 20}, {prefix: "gho_", least: 20}, {prefix: "ghu_", least: 20}, {prefix: "ghs_", least: 20}, {prefix: "ghr_", least: 20},
		{prefix: "github_pat_", least: 20}, {prefix: "glpat-", least: 20}, {prefix: "gsk_", least: 20}},
	'h': {{prefix: "hf_", least: 20}},
	'j': {{prefix: "jv-", least: 16}},
	'n': {{prefix: "npm_", least: 30}},
	'p': {{prefix: "pypi-", least: 30}, {prefix: "pk_live_", least: 16}},
	'r': {{prefix: "rk_live_", least: 16}},
	's': {{prefix: "sk-", least: 16}, {prefix: "sk_live_", least: 16}, {prefix: "sk_test_", least: 16}},
	'x': {{prefix: "xoxb-", least: 10}, {prefix: "xoxp-", least: 10}, {prefix: "xoxa-", least: 10}, {prefix: "xoxr-", least: 10},
		{prefix: "xoxs-", least: 10}, {prefix: "xai-", least: 20}, {prefix: "xapp-", least: 10}},
	'y': {{prefix: "ya29.", least: 20, dotted: true}},
}

// findSecret looks for a key that begins at i, or for a word such as api_key= with one behind it.
func (p *personal) findSecret(t []byte, i int, final bool) (start, end int, v verdict) {
	rest := t[i:]
	for _, k := range tokens[t[i]] {
		n := len(k.prefix)
		if len(rest) < n {
			if !final && strings.HasPrefix(k.prefix, string(rest)) {
				return 0, 0, more
			}
			continue
		}
		if string(rest[:n]) != k.prefix || !k.upper && !k.dotted && p.dull.covers(t, i+n) {
			continue
		}
		if end, v = k.read(t, i+n, final); v != no {
			return i, end, v
		}
	}
	if bytes.HasPrefix(rest, []byte("eyJ")) {
		if end, v = findJWT(t, i, final); v != no {
			return i, end, v
		}
	}
	return p.findLabelled(t, i, final)
}

// read reads what stands behind the prefix. Real keys are random: they have a digit, or a long run without a hyphen.
func (k token) read(t []byte, from int, final bool) (int, verdict) {
	i, run, tells := from, 0, false
	for i < len(t) && i-from < maxSecret && k.has(t[i]) {
		if run++; t[i] == '-' {
			run = 0
		}
		tells = tells || run >= long || is(t[i], digit)
		if i++; i-from == decided && !tells {
			return 0, no
		}
	}
	if i == len(t) && !final {
		return 0, more
	}
	for i > from && t[i-1] == '.' {
		i--
	}
	n := i - from
	if n < k.least || k.exact && (n != k.least || i < len(t) && is(t[i], wordy)) || !tells {
		return 0, no
	}
	return i, yes
}

// decided is after how many characters it is clear whether something is a secret, so that a text made of beginnings is
// not read to its end for each of them.
const decided = 48

// long is a run without a hyphen that words do not have.
const long = 16

// dull is how far the characters of keys go on that tell nothing: no digit among them, and no long run.
type dull struct{ end, run int }

// covers tells whether it goes on from the given place until that is decided.
func (d *dull) covers(t []byte, from int) bool {
	if d.end < from {
		d.end, d.run = from, 0
	}
	for d.end < len(t) && d.end-from < decided {
		run := d.run + 1
		if t[d.end] == '-' {
			run = 0
		}
		if !is(t[d.end], letter|underscore|hyphen) || min(run, d.end+1-from) >= long {
			return false
		}
		d.end, d.run = d.end+1, run
	}
	return d.end-from >= decided
}

// has tells whether c may stand in the key.
func (k token) has(c byte) bool {
	switch {
	case k.upper:
		return c >= 'A' && c <= 'Z' || is(c, digit)
	case c == '.':
		return k.dotted
	}
	return is(c, wordy|hyphen)
}

// findJWT looks for three parts of base64 with dots between them, of which the first two are JSON. The first has no
// hyphen in it, as the base64 of no header has; so no two beginnings read the same characters.
func findJWT(t []byte, i int, final bool) (int, verdict) {
	const least = 10
	at, class := i, wordy
	for part := range 3 {
		from := at
		for at < len(t) && at-i < maxSecret && is(t[at], class) {
			at++
		}
		class = wordy | hyphen
		switch {
		case at == len(t) && !final:
			return 0, more
		case part == 2:
			return at, yes // without a signature too
		case at-from < least || at == len(t) || t[at] != '.':
			return 0, no
		}
		at++
	}
	return at, yes
}

// labels are what a name ends with whose value is a secret, without hyphens and underscores.
var labels = []string{"apikey", "secretkey", "accesskey", "privatekey", "accesskeyid", "secretkeyid", "secret", "token", "bearer"}

// findLabelled looks for a name such as OPENAI_API_KEY, then a colon or equals sign, then something random.
func (p *personal) findLabelled(t []byte, i int, final bool) (start, end int, v verdict) {
	const maxName = 64
	j := p.label.reach(t, i, maxName+1, wordy|hyphen)
	switch {
	case j == len(t) && !final && j-i <= maxName:
		return 0, 0, more
	case j == len(t) || j == p.noLabel || !isLabel(t[i:j]):
		return 0, 0, no
	}
	bearer := t[j] == ' ' && j-i >= 6 && bytes.EqualFold(t[j-6:j], []byte("bearer"))
	if start, end, v = findValue(t, j, bearer, final); v == no {
		p.noLabel = j
	}
	return start, end, v
}

// findValue looks for a value behind a label that ends at j. A bearer needs no sign between them.
func findValue(t []byte, j int, bearer, final bool) (start, end int, v verdict) {
	at, signs := j, 0
	for at < len(t) && at-j < 8 && (t[at] == ' ' || t[at] == '"' || t[at] == '\'' || t[at] == '`' || t[at] == '=' || t[at] == ':') {
		if t[at] == '=' || t[at] == ':' {
			signs++
		}
		at++
	}
	switch {
	case at == len(t) && !final:
		return 0, 0, more
	case signs == 0 && !bearer:
		return 0, 0, no
	}
	from := at
	for at < len(t) && at-from < maxSecret && is(t[at], wordy|valued) {
		if at-from == decided && !random(t[from:at]) {
			return 0, 0, no
		}
		at++
	}
	if at == len(t) && !final {
		return 0, 0, more
	}
	for at > from && t[at-1] == '.' {
		at--
	}
	if !random(t[from:min(at, from+decided)]) {
		return 0, 0, no
	}
	return from, at, yes
}

// isLabel compares the end of a name with the labels.
func isLabel(name []byte) bool {
	n := len(name)
	if n < 5 {
		return false
	}
	switch string([]byte{name[n-3] | 0x20, name[n-2] | 0x20, name[n-1] | 0x20}) {
	case "key", "ret", "ken", "rer", "yid":
	default:
		return false
	}
	var space [24]byte
	flat := space[:0]
	for _, c := range name[max(0, n-len(space)):] {
		if c != '-' && c != '_' {
			flat = append(flat, c|0x20)
		}
	}
	for _, l := range labels {
		if bytes.HasSuffix(flat, []byte(l)) {
			return true
		}
	}
	return false
}

// random tells a key from a word or a name: long, letters and digits, and by Shannon's measure hard to guess. It looks at
// no more than what decides.
func random(value []byte) bool {
	const least, bits = 16, 3.0
	var all uint8
	for _, c := range value {
		all |= class[c]
	}
	if len(value) < least || all&letter == 0 || all&digit == 0 {
		return false
	}
	var count [256]uint8
	for _, c := range value {
		count[c]++
	}
	entropy := 0.0
	for _, c := range value { // each once for every time it occurs
		entropy += logs[len(value)] - logs[count[c]]
	}
	return entropy/float64(len(value)) >= bits
}

// logs are to base 2.
var logs = func() (l [decided + 1]float64) {
	for n := 1; n <= decided; n++ {
		l[n] = math.Log2(float64(n))
	}
	return l
}()

// findPEM looks for a private key in PEM, from its first line to its last.
func findPEM(t []byte, i int, final bool) (int, verdict) {
	const dashes, first, last = "-----", "-----BEGIN ", "-----END "
	if i > 0 && t[i-1] == '-' {
		return 0, no
	}
	head := t[i:min(len(t), i+64)]
	if len(head) < len(first) {
		if !final && strings.HasPrefix(first, string(head)) {
			return 0, more
		}
		return 0, no
	}
	if string(head[:len(first)]) != first {
		return 0, no
	}
	title := head[len(first):]
	n := bytes.Index(title, []byte(dashes))
	switch {
	case n < 0 && len(head) < 64 && !final:
		return 0, more
	case n < 0 || !bytes.HasSuffix(title[:n], []byte("PRIVATE KEY")) && !bytes.HasSuffix(title[:n], []byte("PRIVATE KEY BLOCK")):
		return 0, no
	}
	body := t[i:min(len(t), i+maxSecret)]
	if end := bytes.Index(body, []byte(last)); end >= 0 {
		tail := body[end+len(last):]
		if n = bytes.Index(tail[:min(len(tail), 48)], []byte(dashes)); n >= 0 {
			return i + end + len(last) + n + len(dashes), yes
		}
	}
	if len(body) < maxSecret && !final {
		return 0, more
	}
	return i + len(body), yes // its end is missing: what is there is secret all the same
}
