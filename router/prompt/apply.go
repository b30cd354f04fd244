package prompt

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// stored is how the ids of prompts begin that are stored at OpenAI. They are the provider's.
const stored = "pmpt_"

// Used is the template that a request got, for headers and records. It is empty if there was none.
type Used struct{ Name, Version string }

// reference is the member `prompt` of a request.
type reference struct {
	id, versions string
	variables    gjson.Result
}

// Model is the model of the template that a request names, for a request that names no model. It is "" if there is none.
func (l *Library) Model(b *wire.Body, kind wire.Kind, who Who) (string, error) {
	ref, ours, err := l.refers(b, kind)
	if err != nil || !ours || ref.id == "" { // without an id it is for the model's own template
		return "", err
	}
	a, err := l.choose(ref, who)
	if err != nil {
		return "", err
	}
	return a.Model, nil
}

// Apply puts the template that a request names, or that its model has, in front of the request's own messages, and takes
// the member `prompt` away. A request without either stays as it is. Errors are *wire.Errors.
func (l *Library) Apply(b wire.Body, kind wire.Kind, pin *Pin, who Who) (wire.Body, Used, error) {
	if pin != nil && kind == wire.Completion {
		return b, Used{}, wire.Invalid("model", "This model begins with a prompt of its own, which cannot be put into /v1/completions. Use /v1/chat/completions.")
	}
	ref, ours, err := l.refers(&b, kind)
	if err != nil || !ours && (pin == nil || !takes(kind)) {
		return b, Used{}, err
	}
	var a arm
	if pin != nil {
		a, err = pin.choose(ref, who)
	} else {
		a, err = l.choose(ref, who)
	}
	if err != nil {
		return b, Used{}, err
	}
	values, err := a.values(ref.variables)
	if err != nil {
		return b, Used{}, err
	}
	raw, err := a.rewrite(&b, kind, values)
	if err != nil {
		return b, Used{}, err
	}
	changed, err := wire.Parse(raw)
	return changed, Used{Name: a.Name, Version: a.Version}, err
}

// takes tells the dialects that have messages.
func takes(kind wire.Kind) bool {
	return kind == wire.Chat || kind == wire.Response || kind == wire.Message
}

// refers reads a request's reference to a template. A prompt that OpenAI stores is not ours.
func (l *Library) refers(b *wire.Body, kind wire.Kind) (ref reference, ours bool, err error) {
	if l == nil || !takes(kind) {
		return ref, false, nil
	}
	object := b.PromptObject()
	if object == nil {
		return ref, false, nil
	}
	if id := gjson.GetBytes(object, "id").Str; strings.HasPrefix(id, stored) {
		return reference{id: id}, false, nil
	}
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			ref.id, err = word("prompt.id", value)
		case "version":
			ref.versions, err = word("prompt.version", value)
		case "variables":
			ref.variables = value
		default:
			err = wire.Invalid("prompt", "prompt: unknown field %s (choices: id, version, variables).", shown(key.Str))
		}
		return err == nil
	})
	return ref, true, err
}

func word(param string, value gjson.Result) (string, error) {
	if value.Type != gjson.String && value.Type != gjson.Null {
		return "", wire.Invalid(param, "%s: expected a string, got %s.", param, nameOf(value))
	}
	return value.Str, nil
}

// choose finds the version for a request.
func (l *Library) choose(ref reference, who Who) (arm, error) {
	if ref.id == "" {
		return arm{}, wire.Invalid("prompt.id", "prompt.id: must be set.")
	}
	f, err := l.family(ref.id)
	if err != nil {
		return arm{}, err
	}
	if ref.versions == "" && f.release != nil {
		return f.release.choose(who), nil
	}
	t, err := l.find(f, ref.versions)
	if err != nil {
		return arm{}, err
	}
	return arm{Template: t, given: t.defaults}, nil
}

// choose is that of a model that has a template: the client has no say in which.
func (p *Pin) choose(ref reference, who Who) (arm, error) {
	if ref.id != "" && ref.id != p.name {
		return arm{}, wire.Invalid("prompt.id", "prompt.id: this model has a prompt of its own, %s. Leave id out, and give variables only.", p.name)
	}
	if ref.versions != "" {
		return arm{}, wire.Invalid("prompt.version", "prompt.version: this model chooses the version of its prompt itself. Leave it out.")
	}
	return p.release.choose(who), nil
}

// own is what a body has where the template's messages go.
type own struct {
	names       []string // of all members
	turns, lead gjson.Result
}

// places are the members that hold messages, and what is said before them: "" for none.
func places(kind wire.Kind) (turns, lead string) {
	switch kind {
	case wire.Response:
		return "input", "instructions"
	case wire.Message:
		return "messages", "system"
	}
	return "messages", ""
}

// rewrite copies the body with the template in it. The members that it does not touch stay as they are.
func (a arm) rewrite(b *wire.Body, kind wire.Kind, values [][]byte) ([]byte, error) {
	var has own
	turns, lead := places(kind)
	dst := append(make([]byte, 0, b.Len()+1024), '{')
	gjson.ParseBytes(b.Raw()).ForEach(func(key, value gjson.Result) bool {
		has.names = append(has.names, key.Str)
		switch {
		case key.Str == "prompt" && value.IsObject():
		case key.Str == turns:
			has.turns = value
		case key.Str == lead && lead != "":
			has.lead = value
		default:
			dst = append(appendKey(dst, key.Str), value.Raw...) // keys have no escapes: wire.Parse refuses them
		}
		return true
	})
	if !b.HasModel() && a.Model != "" {
		dst = wire.AppendString(appendKey(dst, "model"), a.Model)
	}
	dst, err := a.appendPrompt(dst, kind, &has, values)
	if err != nil {
		return nil, err
	}
	return append(a.appendParameters(dst, kind, has.names), '}'), nil
}

func appendKey(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(wire.AppendString(dst, name), ':')
}

// appendPrompt appends the members with messages: the template's, and behind them the client's.
func (a arm) appendPrompt(dst []byte, kind wire.Kind, has *own, values [][]byte) ([]byte, error) {
	turns, lead := places(kind)
	first := a.system
	switch {
	case kind == wire.Message:
		first = nil
		var err error
		if dst, err = a.appendSystem(dst, has.lead, values); err != nil {
			return nil, err
		}
	case kind == wire.Response && none(has.lead):
		first = nil
		if text := a.lead(values); len(text) > 0 {
			dst = append(append(append(appendKey(dst, lead), '"'), text...), '"')
		}
	case kind == wire.Response: // the client's own stay what they are; the template's are not lost
		dst = append(appendKey(dst, lead), has.lead.Raw...)
	}
	if len(first)+len(a.turns) == 0 {
		if has.turns.Exists() {
			dst = append(appendKey(dst, turns), has.turns.Raw...)
		}
		return dst, nil
	}
	clients, err := elements(turns, has.turns, kind)
	if err != nil {
		return nil, err
	}
	dst = append(appendKey(dst, turns), '[')
	dst = appendMessages(appendMessages(dst, first, values), a.turns, values)
	if len(clients) > 0 {
		dst = append(dst, ',')
	}
	return append(append(dst, clients...), ']'), nil
}

// none tells a member that says nothing.
func none(value gjson.Result) bool { return value.Type == gjson.Null || value.Raw == `""` }

// lead is all that the template says before its turns, as it stands in a JSON string.
func (a arm) lead(values [][]byte) (text []byte) {
	for i := range a.system {
		one := a.system[i].append(nil, values)
		if len(text) > 0 && len(one) > 0 {
			text = append(text, `\n\n`...)
		}
		text = append(text, one...)
	}
	return text
}

// appendSystem appends the system prompt of a Messages request: the template's, and the client's own behind it.
func (a arm) appendSystem(dst []byte, has gjson.Result, values [][]byte) ([]byte, error) {
	text := a.lead(values)
	switch {
	case none(has) && len(text) == 0:
		return dst, nil
	case none(has):
		dst = append(append(appendKey(dst, "system"), '"'), text...)
		return append(dst, '"'), nil
	case has.Type != gjson.String && !has.IsArray():
		return nil, wire.Invalid("system", "system must be a string or an array, not %s", nameOf(has))
	case len(text) == 0:
		return append(appendKey(dst, "system"), has.Raw...), nil
	}
	dst = append(append(appendKey(dst, "system"), `[{"type":"text","text":"`...), text...)
	dst = append(dst, `"}`...)
	if has.Type == gjson.String {
		return append(append(append(dst, `,{"type":"text","text":`...), has.Raw...), '}', ']'), nil
	}
	if blocks := inner(has.Raw); blocks != "" {
		dst = append(append(dst, ','), blocks...)
	}
	return append(dst, ']'), nil
}

// elements are the client's messages, without the brackets around them.
func elements(name string, has gjson.Result, kind wire.Kind) (string, error) {
	switch {
	case has.Type == gjson.Null:
		return "", nil
	case has.IsArray():
		return inner(has.Raw), nil
	case has.Type == gjson.String && kind == wire.Response:
		return `{"role":"user","content":` + has.Raw + `}`, nil
	}
	return "", wire.Invalid(name, "%s must be an array, not %s", name, nameOf(has))
}

// inner is what stands between an array's brackets.
func inner(array string) string { return strings.TrimSpace(array[1 : len(array)-1]) }

// appendParameters appends the template's parameters that the client left out.
func (a arm) appendParameters(dst []byte, kind wire.Kind, names []string) []byte {
	for _, p := range a.parameters {
		name := p.name
		alike := []string{name}
		if slices.Contains(lengths, name) {
			alike = lengthNames(kind)
			if !slices.Contains(alike, name) {
				name = alike[0]
			}
		}
		if !slices.ContainsFunc(alike, func(one string) bool { return slices.Contains(names, one) }) {
			dst = append(appendKey(dst, name), p.value...)
		}
	}
	return dst
}

// lengthNames are the names that a dialect has for the bound on an answer.
func lengthNames(kind wire.Kind) []string {
	switch kind {
	case wire.Response:
		return []string{"max_output_tokens"}
	case wire.Message:
		return []string{"max_tokens"}
	}
	return []string{"max_completion_tokens", "max_tokens"}
}
