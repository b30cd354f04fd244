package proxy

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// checkForm has the guards look at a form, as at a JSON body that says the same.
func (x *exchange) checkForm(chain *guard.Chain) error {
	form := x.call.Form
	v, err := viewOf(form.Parts(), x.ep.path)
	if err != nil {
		return err
	}
	view := v.json()
	raw, vault, flags, err := chain.Request(view, x.ep.kind)
	if x.vault, x.flags = vault, flags; err != nil || same(raw, view) {
		return err
	}
	v.take(raw, "prompt", v.prompt)
	v.take(raw, "metadata", v.beside)
	x.call.Form, err = form.With(v.parts)
	return err
}

// formView is a form as guards see it. What can be read as text is one: a provider may take a file for its field's value.
type formView struct {
	parts  []wire.Part
	prompt []int  // the parts that are the prompt, or files
	beside []int  // what else says something
	files  string // the member of a JSON body that files like the form's are in; "": it has none
}

func viewOf(parts []wire.Part, path string) (v formView, err error) {
	v.parts = parts
	for i, p := range parts {
		file := p.File || slices.Contains(fileFields, strings.TrimSuffix(p.Name, "[]"))
		if file {
			v.files = fileMember(path)
		}
		switch readable := utf8.Valid(p.Value); {
		case p.Encoded, !file && !readable:
			return v, wire.Invalid(p.Name, "The fields of a form must be plain text in UTF-8.")
		case !readable || p.Name == "model":
		case file || p.Name == "prompt":
			v.prompt = append(v.prompt, i)
		default:
			v.beside = append(v.beside, i)
		}
	}
	return v, nil
}

func (v *formView) json() []byte {
	dst := v.appendTexts([]byte(`{"prompt":`), v.prompt)
	dst = v.appendTexts(append(dst, `,"metadata":`...), v.beside)
	if v.files != "" {
		dst = append(wire.AppendString(append(dst, ','), v.files), `:""`...)
	}
	return append(dst, '}')
}

func (v *formView) appendTexts(dst []byte, which []int) []byte {
	dst = append(dst, '[')
	for n, i := range which {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendString(dst, string(v.parts[i].Value))
	}
	return append(dst, ']')
}

// take takes over the texts that guards have left.
func (v *formView) take(raw []byte, name string, which []int) {
	for n, text := range gjson.GetBytes(raw, name).Array() {
		v.parts[which[n]].Value = []byte(text.Str)
	}
}

// fileFields are the fields that hold files.
var fileFields = []string{"file", "image", "mask"}

func fileMember(path string) string {
	switch {
	case strings.HasPrefix(path, "/images/"):
		return "image_url"
	case strings.HasPrefix(path, "/audio/"):
		return "input_audio"
	}
	return "file_data"
}
