package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// Versions of the configuration are kept in the state store, where no secret may stand. So what is kept of a file is what the
// gateway reads of it: without comments, which may hold an old key, and with a mark in place of each secret that the file
// itself holds. References like ${NAME} stay. A mark tells one secret from another, and who has the secret can tell which it
// is, so that a version that comes back finds its secrets in the configuration that is there.

// keptFile is what versions keep of a file, its secrets still to be marked.
type keptFile struct {
	name, kind string
	text       string   // with markAt(i) for the ith secret
	secrets    []string // as they were written
}

const (
	marks  = "\ue002" // begins and ends the place of a mark, as placeholders of references do theirs
	marked = "\ue003"
)

func markAt(i int) string { return marks + strconv.Itoa(i) + marked }

var placeOfMark = regexp.MustCompile(marks + `(\d{1,9})` + marked)

// markOf stands for a secret. The salt keeps it from being looked up in tables.
func markOf(salt []byte, secret string) string {
	digest := hmac.New(sha256.New, salt)
	digest.Write([]byte("secret " + secret))
	return wire.Masked + " " + hex.EncodeToString(digest.Sum(nil)[:8])
}

var isMark = regexp.MustCompile(`^\*\*\* [0-9a-f]{16}$`)

// version is what is kept of a configuration; one without files has none.
func (l *loaded) version(salt []byte) (v state.Version) {
	if v.Files = l.restored; v.Files == nil {
		for _, f := range l.kept {
			text := placeOfMark.ReplaceAllStringFunc(f.text, func(place string) string {
				i, err := strconv.Atoi(placeOfMark.FindStringSubmatch(place)[1])
				if err != nil || i >= len(f.secrets) {
					return place
				}
				return markOf(salt, f.secrets[i])
			})
			v.Files = append(v.Files, state.ConfigFile{Name: f.name, Kind: f.kind, Text: text})
		}
	}
	text, err := json.Marshal(v.Files)
	if err != nil {
		panic("BUG: texts do not encode: " + err.Error())
	}
	digest := sha256.Sum256(text)
	v.SHA256 = hex.EncodeToString(digest[:])
	return v
}

// secrets are those that configurations' files hold, by their marks.
func secrets(salt []byte, of ...*loaded) map[string]string {
	all := map[string]string{}
	for _, l := range of {
		if l == nil {
			continue
		}
		for _, f := range l.kept {
			for _, secret := range f.secrets {
				all[markOf(salt, secret)] = secret
			}
		}
	}
	return all
}

// relative is a file as seen from the main file's folder: the same wherever that lies.
func (s *source) relative(file string) string {
	name, err := filepath.Rel(filepath.Dir(s.path), file)
	if err != nil {
		return file
	}
	return filepath.ToSlash(name)
}

func (r *reading) decoder(file string) *decoder {
	return &decoder{file: file, lookup: r.lookup, fill: r.fill, places: map[string]place{}}
}

// mainText reads what the main file says.
func (r *reading) mainText(file string, text []byte) {
	d := r.decoder(file)
	d.decode(text, &r.Config)
	r.add(d)
	r.later = append(r.later, func() (keptFile, error) { return d.keep(r.relative(file), "main") })
}

// pricesText takes over the text of the price file, which holds no secret.
func (r *reading) pricesText(name string, text []byte) {
	r.Prices.Text = append([]byte{}, text...)
	r.later = append(r.later, func() (keptFile, error) {
		var document yaml.Node
		err := yaml.Unmarshal(text, &document)
		plain := ""
		if err == nil && document.Kind != 0 {
			plain, err = writeYAML(&document)
		}
		return keptFile{name: name, kind: "prices", text: plain}, err
	})
}

// keep has versions keep what was read, now that it is known to be valid. One that cannot be kept is in force all the same.
func (r *reading) keep() {
	for _, keep := range r.later {
		k, err := keep()
		if err != nil {
			r.Notes = append(r.Notes, "this configuration cannot be kept as a version to go back to: "+masker(r.hidden).Replace(err.Error()))
			r.kept = nil
			return
		}
		r.kept = append(r.kept, k)
	}
}

// restore reads a version in place of the files, as load reads those. The sections server and stores are those of the files,
// as now: they take effect at a start alone, when what is pinned is not known yet.
func (s *source) restore(v state.Version, now *loaded, secrets map[string]string) (*loaded, error) {
	r := &reading{source: s, loaded: &loaded{places: map[string]place{}, restored: v.Files}}
	r.fill = func(mark string) (string, bool) {
		secret, found := secrets[mark]
		return secret, found
	}
	for _, f := range v.Files {
		name := fmt.Sprintf("%s (version %d)", beside(s.path, f.Name), v.ID)
		switch f.Kind {
		case "main":
			r.mainText(name, withoutSections(f.Text, "server", "stores"))
			r.Server, r.Stores = now.Server, now.Stores
		case "include":
			r.includeText(name, []byte(f.Text))
		case "prices":
			r.pricesText(f.Name, []byte(f.Text))
		}
	}
	if r.Prices.File != "" {
		r.Prices.File = beside(s.path, r.Prices.File)
	}
	if r.Prompts.Dir != "" {
		r.Prompts.Dir = beside(s.path, r.Prompts.Dir)
	}
	if r.Flows.Dir != "" {
		r.Flows.Dir = beside(s.path, r.Flows.Dir)
	}
	r.Corpora = corporaBeside(s.path, r.Corpora)
	r.Include = nil
	return r.finish()
}

// withoutSections leaves sections out of a text that was kept.
func withoutSections(text string, names ...string) []byte {
	held, refs := hold([]byte(text), nil)
	var document yaml.Node
	if err := yaml.Unmarshal(held, &document); err != nil || document.Kind == 0 || document.Content[0].Kind != yaml.MappingNode {
		return []byte(text) // what reads it tells what is wrong
	}
	root := document.Content[0]
	var left []*yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if !slices.Contains(names, root.Content[i].Value) {
			left = append(left, root.Content[i], root.Content[i+1])
		}
	}
	root.Content = left
	plain, err := writeYAML(&document)
	if err != nil {
		return []byte(text)
	}
	return []byte((&decoder{refs: refs}).written(plain))
}

// hide notes that a text of the file is a secret, or may be one: everywhere has it looked for in other texts too.
func (d *decoder) hide(n *yaml.Node, everywhere bool) {
	if d.secret == nil {
		d.secret = map[*yaml.Node]bool{}
	}
	d.secret[n] = d.secret[n] || everywhere
}

// hideHeaders notes that texts are what headers hold. Any of them may be a credential, whatever the header is called, but
// most are ordinary words, which stand in other places too.
func (d *decoder) hideHeaders(at spot, n *yaml.Node, text string) {
	told := strings.HasPrefix(at.path, "providers.") && strings.Contains(at.path, ".headers.") || strings.Contains(at.path, ".when.header.")
	asked := strings.HasSuffix(at.path, ".when") && strings.Contains(text, "header")
	if n.Kind == yaml.ScalarNode && (told || asked) && d.literal(strings.TrimPrefix(n.Value, "Bearer ")) {
		d.hide(n, false)
	}
}

// literal tells whether a text, its references held, holds something that did not come from the environment.
func (d *decoder) literal(held string) bool {
	for held != "" {
		after, found := strings.CutPrefix(held, opens)
		if !found {
			return true
		}
		ref, rest := d.ref(after)
		if ref == nil || ref.optional && ref.fallback != "" {
			return true
		}
		held = rest
	}
	return false
}

// carriesSecret tells whether an ordinary text is one that is masked where it is shown, as a password in a URL, and whether
// what is to be masked stands in the file itself.
func (d *decoder) carriesSecret(at spot, held, text string) bool {
	l := loaded{places: d.places}
	credential := l.credential(at.path)
	if !credential && !strings.Contains(text, "://") || l.safe(at.path, text) == text {
		return false
	}
	if url := passwordIn.FindStringSubmatch(held); url != nil && !credential && policy.HideURL(text) != l.safe(at.path, text) {
		return d.literal(url[1])
	}
	return d.literal(strings.TrimPrefix(held, "Bearer "))
}

var passwordIn = regexp.MustCompile(`^[^:]+://(?:[^:/?#@]*:)?([^/?#@]*)@[^@]*$`)

// written puts references back to how they stand in the file.
func (d *decoder) written(held string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(held, opens)
		out.WriteString(before)
		if !found {
			return out.String()
		}
		held = after
		if ref, rest := d.ref(after); ref != nil {
			out.WriteString(ref.written)
			held = rest
		} else {
			out.WriteString(opens)
		}
	}
}

// shortestSecret is how long a secret must be to be looked for in other texts too: shorter ones would be found everywhere.
const shortestSecret = 8

// keep is what versions keep of the file. It is the end of the tree.
func (d *decoder) keep(name, kind string) (k keptFile, err error) {
	k = keptFile{name: name, kind: kind}
	if d.root == nil {
		return k, nil
	}
	var known []string
	for n, everywhere := range d.secret {
		if everywhere && len(n.Value) >= shortestSecret {
			known = append(known, n.Value)
		}
	}
	elsewhere := masker(known)
	d.mark(&k, d.root, elsewhere)
	text, err := writeYAML(d.root)
	k.text = d.written(text)
	d.root, d.secret = nil, nil
	return k, err
}

// mark puts a mark's place where a secret stands, or another text has one in it.
func (d *decoder) mark(k *keptFile, n *yaml.Node, elsewhere *strings.Replacer) {
	for _, child := range n.Content {
		d.mark(k, child, elsewhere)
	}
	if _, secret := d.secret[n]; n.Kind != yaml.ScalarNode || !secret && elsewhere.Replace(n.Value) == n.Value {
		return
	}
	place := markAt(len(k.secrets))
	k.secrets = append(k.secrets, d.written(n.Value))
	n.SetString(place)
	n.Style = yaml.DoubleQuotedStyle
}

// refill puts secrets back where a version has their marks.
func (d *decoder) refill(at spot, n *yaml.Node) {
	if d.fill == nil {
		return
	}
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			d.refill(at.item(i, child.Line), child)
		case i%2 == 1:
			name := n.Content[i-1].Value
			d.refill(at.key(name, name, true, child.Line), child)
		default:
			d.refill(at, child)
		}
	}
	if n.Kind != yaml.ScalarNode || !isMark.MatchString(n.Value) {
		return
	}
	secret, found := d.fill(n.Value)
	if !found {
		d.problem(at, "the secret that stood here is in no file any more (put it into the file again, or write ${NAME})")
		return
	}
	held, refs := hold([]byte(secret), d.refs)
	n.Value, d.refs = string(held), refs
}

// writeYAML writes a tree without its comments.
func writeYAML(n *yaml.Node) (string, error) {
	uncomment(n)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	err := e.Encode(n)
	return out.String(), errors.Join(err, e.Close())
}

func uncomment(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, child := range n.Content {
		uncomment(child)
	}
}
