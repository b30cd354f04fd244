package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// FuzzParse compares Parse with three other readers, and with the same rules written down a second time, slowly.
func FuzzParse(f *testing.F) {
	for _, raw := range accepted {
		f.Add([]byte(raw))
	}
	for _, c := range refused {
		if len(c.raw) < 1000 { // long ones only slow the fuzzer down
			f.Add([]byte(c.raw))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		b, err := Parse(raw)
		if !bytes.Equal(raw, before) {
			t.Fatal("Parse wrote to the body")
		}
		if want := allowed(raw); (err == nil) != want {
			t.Fatalf("Parse says %v, the rules say %v: %s", err, want, raw)
		}
		if err != nil {
			if e, ok := err.(*Error); !ok || e.Status != 400 || !utf8.ValidString(e.Message) || len(e.Message) > 600 {
				t.Fatalf("a bad error: %v", err)
			}
			return
		}
		readsTheSame(t, raw, &b)
		b.LastUserText()
	})
}

// readsTheSame checks that gjson, encoding/json and a reader that ignores case see what b says.
func readsTheSame(t *testing.T, raw []byte, b *Body) {
	if !json.Valid(raw) || !gjson.ValidBytes(raw) {
		t.Fatalf("not valid JSON: %s", raw)
	}
	var exact map[string]json.RawMessage
	var loose struct {
		Model         *string
		Stream        *bool
		StreamOptions *struct {
			IncludeUsage *bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if err := json.Unmarshal(raw, &exact); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &loose); err != nil {
		t.Fatal(err)
	}
	if o := loose.StreamOptions; b.IncludeUsage() != (o != nil && o.IncludeUsage != nil && *o.IncludeUsage) {
		t.Fatalf("IncludeUsage %v: %s", b.IncludeUsage(), raw)
	}
	if b.Stream() != (loose.Stream != nil && *loose.Stream) || b.HasModel() != (loose.Model != nil) ||
		b.HasModel() && b.Model() != *loose.Model {
		t.Fatalf("a reader that ignores case disagrees: %s", raw)
	}
	var options map[string]bool
	if o := exact["stream_options"]; o != nil {
		options = map[string]bool{"include_usage": gjson.GetBytes(o, "include_usage").Bool()}
	}
	var model string
	if m, ok := exact["model"]; ok && json.Unmarshal(m, &model) != nil || ok != b.HasModel() || model != b.Model() {
		t.Fatalf("encoding/json reads model %q, not %q: %s", model, b.Model(), raw)
	}
	if (string(exact["stream"]) == "true") != b.Stream() || options["include_usage"] != b.IncludeUsage() {
		t.Fatalf("encoding/json disagrees: %s", raw)
	}
	if b.Get("model").Str != b.Model() || b.Get("stream").Bool() != b.Stream() ||
		b.Get("stream_options.include_usage").Bool() != b.IncludeUsage() {
		t.Fatalf("gjson disagrees: %s", raw)
	}
}

// allowed is what Parse accepts, by the rules of wire.Parse as a reader of tokens has them.
func allowed(raw []byte) bool {
	if !json.Valid(raw) || !utf8.Valid(raw) || bytes.TrimLeft(raw, " \t\r\n")[0] != '{' {
		return false
	}
	r := reference{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw))}
	r.dec.UseNumber()
	r.value("", top, 0)
	return !r.bad
}

type reference struct {
	raw []byte
	dec *json.Decoder
	bad bool
}

// token returns the next token and its own bytes, less commas and colons.
func (r *reference) token() (json.Token, string) {
	before := r.dec.InputOffset()
	token, err := r.dec.Token()
	if err == io.EOF {
		r.bad = true
	}
	return token, strings.Trim(string(r.raw[before:r.dec.InputOffset()]), " \t\r\n,:")
}

func (r *reference) value(path string, z zone, depth int) {
	token, raw := r.token()
	r.checkType(path, token, raw)
	open, nests := token.(json.Delim)
	if !nests || r.bad {
		return
	}
	if depth++; depth > maxDepth {
		r.bad = true
		return
	}
	var seen []string
	for r.dec.More() && !r.bad {
		if open == '[' {
			r.value(path+"\x00[]", z, depth)
			continue
		}
		key, spelled := r.token()
		name := key.(string)
		if z != opaque {
			r.checkKey(name, spelled, seen)
		}
		seen = append(seen, name)
		r.value(path+"\x00"+name, below(z, name), depth)
	}
	if !r.bad {
		r.token()
	}
}

var (
	fields = strings.Fields(`model stream stream_options include_usage messages input role content text type tools
		tool_choice max_tokens max_completion_tokens max_output_tokens n user metadata prompt store previous_response_id
		conversation background`)
	ownData = strings.Fields(`parameters schema json_schema input_schema properties arguments output metadata input`)
	walked  = strings.Fields(`messages input stream_options tools tool_choice`)
)

func below(z zone, name string) zone {
	if z == top && slices.Contains(walked, name) || z == inspected && !slices.Contains(ownData, name) {
		return inspected
	}
	return opaque
}

func (r *reference) checkKey(name, spelled string, seen []string) {
	r.bad = r.bad || strings.Contains(spelled, `\`)
	for _, field := range fields {
		r.bad = r.bad || name != field && strings.EqualFold(name, field)
	}
	if len(seen) < 300 { // quadratic
		r.bad = r.bad || slices.ContainsFunc(seen, func(s string) bool { return strings.EqualFold(s, name) })
	}
}

func (r *reference) checkType(path string, token json.Token, raw string) {
	_, isBool := token.(bool)
	text, isString := token.(string)
	switch strings.TrimPrefix(path, "\x00") {
	case "model":
		raw = strings.ReplaceAll(strings.ToLower(raw), `\\`, "")
		lost := strings.Count(text, "\ufffd") > strings.Count(raw, "\ufffd")+strings.Count(raw, `\ufffd`)
		r.bad = r.bad || !isString || text == "" || lost
	case "stream", "stream_options\x00include_usage":
		r.bad = r.bad || !isBool && token != nil
	case "stream_options":
		r.bad = r.bad || token != json.Delim('{') && token != nil
	}
}

// FuzzSet edits accepted bodies: the edited field must read as its new value, and every other member of every object on
// the way must keep its bytes and its place.
func FuzzSet(f *testing.F) {
	for n, raw := range accepted {
		f.Add([]byte(raw), "Qwen/Qwen3", n%2 == 0, "stream_options.include_usage", []byte("true"))
		f.Add([]byte(raw), `a"\`+"\x01\xff中", n%3 == 0, "metadata.user", []byte(`"x"`))
		f.Add([]byte(raw), "m", true, "messages", []byte(` [{"role":"user","content":"中\n"}]`))
	}
	f.Fuzz(func(t *testing.T, raw []byte, model string, force bool, path string, value []byte) {
		b, err := Parse(raw)
		if err != nil {
			return
		}
		before := bytes.Clone(raw)
		checkAppend(t, &b, model, force)
		checkSet(t, &b, path, value)
		if edited, err := b.Set("user", model); err != nil || edited.Get("user").Str != strings.ToValidUTF8(model, "\ufffd") &&
			utf8.ValidString(model) {
			t.Fatalf("Set user to %q: %v, %s", model, err, edited.Raw())
		}
		if !bytes.Equal(raw, before) {
			t.Fatal("an edit wrote to the body")
		}
	})
}

func checkAppend(t *testing.T, b *Body, model string, force bool) {
	out := b.AppendEdited([]byte("dst"), Edit{Model: model, Usage: force})
	if !bytes.HasPrefix(out, []byte("dst")) {
		t.Fatalf("dst is lost: %s", out)
	}
	edited, err := Parse(out[3:])
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !b.NeedsEdit(model, force) && !bytes.Equal(edited.Raw(), b.Raw()) {
		t.Fatalf("edited without need: %s", out)
	}
	want := b.Model()
	if model != "" {
		want = string([]rune(model)) // what is not UTF-8 becomes U+FFFD
	}
	if edited.Model() != want || edited.Stream() != b.Stream() || edited.IncludeUsage() != (b.IncludeUsage() || force) {
		t.Fatalf("%q %v: %s", model, force, out)
	}
	var but []string
	if model != "" {
		but = append(but, "model")
	}
	if force {
		but = append(but, "stream_options")
		sameMembers(t, b.Get("stream_options").Raw, edited.Get("stream_options").Raw, "include_usage")
	}
	sameMembers(t, string(b.Raw()), string(edited.Raw()), but...)
	readsTheSame(t, edited.Raw(), &edited)
}

func checkSet(t *testing.T, b *Body, path string, value []byte) {
	edited, err := b.Set(path, json.RawMessage(value))
	if err != nil {
		return
	}
	was, is := string(b.Raw()), string(edited.Raw())
	for name := range strings.SplitSeq(path, ".") {
		sameMembers(t, was, is, name)
		was, is = member(was, name), member(is, name)
	}
	if is != strings.Trim(string(value), " \t\r\n") {
		t.Fatalf("%s is %s, not %s: %s", path, is, value, edited.Raw())
	}
	readsTheSame(t, edited.Raw(), &edited)
}

// members are the members of an object in order, keys decoded, values as they stand; none if it is not an object.
func members(object string) (keys, values []string) {
	if !strings.HasPrefix(strings.TrimLeft(object, " \t\r\n"), "{") {
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(object))
	dec.Token()
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			break
		}
		keys, values = append(keys, key.(string)), append(values, string(value))
	}
	return keys, values
}

func member(object, name string) string {
	keys, values := members(object)
	if i := slices.Index(keys, name); i >= 0 {
		return values[i]
	}
	return ""
}

// sameMembers checks that two objects have the same members in the same order, but for some.
func sameMembers(t *testing.T, was, is string, but ...string) {
	list := func(object string) (all []string) {
		keys, values := members(object)
		for i, key := range keys {
			if !slices.Contains(but, key) {
				all = append(all, key, values[i])
			}
		}
		return all
	}
	if !slices.Equal(list(was), list(is)) {
		t.Fatalf("other members than %q changed:\n%s\n%s", but, was, is)
	}
}

// Bodies made of the pieces that matter reach corners that mutated bytes do not.
func TestParseKeepsTheRules(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pool := slices.Concat(fields, ownData, strings.Fields(`a A b \u0061 Model mode\u006c STREAM ſtream toolſ é É function K \u212a`), []string{"", "\u212a", "a b"})
	leaves := []string{`"m"`, `"M"`, `""`, "true", "false", "null", "0", "-1.5e3", `"\ud800"`, `"\ud83d\ude00中é"`, "[]", "{}", " 1 ", `"}`, "01", "\"\xe4\xb8\""}
	var body func(depth int) string
	body = func(depth int) string {
		switch kind := r.IntN(8); {
		case depth > 0 && (kind < 3 || depth > 3):
			return leaves[r.IntN(len(leaves)-max(0, r.IntN(40)-36))]
		case depth > 0 && kind < 5:
			return "[" + body(depth+1) + "," + body(depth+1) + "]"
		}
		var members []string
		for range r.IntN(4) {
			members = append(members, `"`+pool[r.IntN(len(pool))]+`":`+body(depth+1))
		}
		return "{" + strings.Join(members, " , ") + "}"
	}
	var accepts int
	for range 50_000 {
		raw := []byte(body(0))
		b, err := Parse(raw)
		if (err == nil) != allowed(raw) {
			t.Fatalf("Parse says %v: %s", err, raw)
		}
		if err == nil {
			accepts++
			readsTheSame(t, raw, &b)
			checkAppend(t, &b, "other", true)
			checkSet(t, &b, pool[r.IntN(len(pool))]+"."+pool[r.IntN(len(pool))], []byte("[1]"))
		}
	}
	if accepts < 5_000 || accepts > 45_000 {
		t.Errorf("%d of 50000 bodies are accepted: the mix tests little", accepts)
	}
}
