package wire

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
)

const formType = "multipart/form-data; boundary=edge"

// form writes a form of parts, each headers, an empty line and a value, with LF for CRLF.
func form(parts ...string) []byte {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--edge\n" + p + "\n")
	}
	return []byte(strings.ReplaceAll(b.String()+"--edge--\n", "\n", "\r\n"))
}

func field(name, value string) string {
	return "Content-Disposition: form-data; name=\"" + name + "\"\n\n" + value
}

const file = "Content-Disposition: form-data; name=\"file\"; filename*=utf-8''a.wav; filename=\"model\"\nContent-Type: audio/wav\n\nRIFF\x00\xff"

func TestForm(t *testing.T) {
	for name, c := range map[string]struct {
		raw    []byte
		model  string
		stream bool
		edited []byte
	}{
		"a model":               {form(field("model", "ears"), file), "ears", false, form(field("model", "whisper"), file)},
		"a model at the end":    {form(file, field("model", "ears")), "ears", false, form(file, field("model", "whisper"))},
		"no model":              {form(file), "", false, form(field("model", "whisper"), file)},
		"a stream":              {form(field("stream", "true"), field("model", "m")), "m", true, form(field("stream", "true"), field("model", "whisper"))},
		"no stream":             {form(field("stream", "false"), field("model", "m")), "m", false, form(field("stream", "false"), field("model", "whisper"))},
		"the model it is":       {form(field("model", "whisper")), "whisper", false, form(field("model", "whisper"))},
		"a name without quotes": {form("content-disposition: form-data; name=model\n\nears"), "ears", false, form("content-disposition: form-data; name=model\n\nwhisper")},
		"a boundary in a value": {form(field("prompt", "--edge"), field("model", "ears")), "", false, nil},
		"half a boundary":       {form(field("prompt", "x --edge y"), field("model", "ears")), "ears", false, form(field("prompt", "x --edge y"), field("model", "whisper"))},
	} {
		f, err := ParseForm(formType, c.raw)
		if c.edited == nil {
			if err == nil {
				t.Errorf("%s: accepted", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if f.Model() != c.model || f.Stream() != c.stream || f.Len() != len(c.raw) {
			t.Errorf("%s: model %q, stream %t", name, f.Model(), f.Stream())
		}
		if got := f.AppendEdited([]byte("x"), "whisper"); string(got) != "x"+string(c.edited) {
			t.Errorf("%s: %q, want %q", name, got, c.edited)
		}
		if got := f.AppendEdited(nil, ""); !bytes.Equal(got, c.raw) {
			t.Errorf("%s: changed to %q", name, got)
		}
	}
}

func TestFormRefused(t *testing.T) {
	model := field("model", "m")
	for name, c := range map[string]struct {
		kind string
		raw  []byte
	}{
		"another type":         {"application/json", form(model)},
		"no boundary":          {"multipart/form-data", form(model)},
		"a long boundary":      {"multipart/form-data; boundary=" + strings.Repeat("e", 71), form(model)},
		"empty":                {formType, nil},
		"a preamble":           {formType, append([]byte("x\r\n"), form(model)...)},
		"bytes after the end":  {formType, append(form(model), "x"...)},
		"no end":               {formType, bytes.TrimSuffix(form(model), []byte("--edge--\r\n"))},
		"LF":                   {formType, bytes.ReplaceAll(form(model), []byte("\r\n"), []byte("\n"))},
		"one LF":               {formType, bytes.Replace(form(model, file), []byte("m\r\n--edge"), []byte("m\n--edge"), 1)},
		"two models":           {formType, form(model, field("model", "n"))},
		"a model in capitals":  {formType, form(field("MODEL", "m"))},
		"a file as model":      {formType, form("Content-Disposition: form-data; name=\"model\"; filename=\"x\"\n\nm")},
		"an encoded model":     {formType, form("Content-Disposition: form-data; name=\"model\"\nContent-Transfer-Encoding: base64\n\nbQ==")},
		"an empty model":       {formType, form(field("model", ""))},
		"a model on two lines": {formType, form(field("model", "a\nb"))},
		"two streams":          {formType, form(model, field("stream", "true"), field("stream", "true"))},
		"Stream":               {formType, form(model, field("Stream", "true"))},
		"no name":              {formType, form("Content-Disposition: form-data\n\nm")},
		"no disposition":       {formType, form("Content-Type: text/plain\n\nm")},
		"two dispositions":     {formType, form("Content-Disposition: form-data; name=\"a\"\nContent-Disposition: form-data; name=\"model\"\n\nm")},
		"an attachment":        {formType, form("Content-Disposition: attachment; name=\"model\"\n\nm")},
		"an extended name":     {formType, form("Content-Disposition: form-data; name*=utf-8''model\n\nm")},
		"a name in pieces":     {formType, form("Content-Disposition: form-data; name*0=mo; name*1=del\n\nm")},
		"no headers":           {formType, form("m")},
		"many parts":           {formType, form(strings.Split(strings.Repeat(model+"|", 300), "|")...)},
	} {
		_, err := ParseForm(c.kind, c.raw)
		var refused *Error
		if !errors.As(err, &refused) || refused.Status != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// part is one part as mime/multipart reads it.
type part struct{ name, file, value string }

func readParts(raw []byte, boundary string) (parts []part, err error) {
	for r := multipart.NewReader(bytes.NewReader(raw), boundary); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(p)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{p.FormName(), p.FileName(), string(value)})
	}
}

// FuzzForm: what ParseForm accepts mime/multipart reads alike, and an edit changes the model only.
func FuzzForm(f *testing.F) {
	f.Add(formType, form(field("model", "ears"), file), "whisper")
	f.Add(formType, form(file, field("stream", "true")), "whisper")
	f.Add(`multipart/form-data; boundary="a b"`, []byte("--a b\r\nContent-Disposition: form-data; name=model\r\n\r\nx\r\n--a b--"), "y")
	f.Fuzz(func(t *testing.T, kind string, raw []byte, model string) {
		form, err := ParseForm(kind, raw)
		if err != nil || strings.ContainsAny(model, "\r\n") || model == "" {
			return
		}
		_, params, err := mime.ParseMediaType(kind)
		if err != nil {
			t.Fatal(err)
		}
		before, err := readParts(raw, params["boundary"])
		if err != nil {
			return // the provider's reader will refuse it too
		}
		asked, named := "", 0
		for _, p := range before {
			if strings.EqualFold(p.name, "model") {
				asked, named = p.value, named+1
			}
		}
		if named > 1 || asked != form.Model() {
			t.Fatalf("model %q, mime/multipart reads %q", form.Model(), before)
		}
		edited := form.AppendEdited(nil, model)
		after, err := readParts(edited, params["boundary"])
		if err != nil {
			t.Fatalf("edited to %q: %v", edited, err)
		}
		if named == 0 {
			before = append([]part{{name: "model"}}, before...)
		}
		if len(after) != len(before) {
			t.Fatalf("edited to %q, was %q", after, before)
		}
		for i, p := range before {
			if p.name == "model" {
				p.value = model
			}
			if after[i] != p {
				t.Fatalf("edited to %q, was %q", after, before)
			}
		}
	})
}

// Forms that hide a field from one reader and show it to another.
func TestFormsReadInTwoWays(t *testing.T) {
	lf := "--B\r\nX: y\nContent-Disposition: form-data; name=\"model\"\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nforbidden\r\n" +
		"--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nallowed\r\n--B--\r\n"
	plain := "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nallowed\r\n--B--\r\n"
	for contentType, raw := range map[string]string{
		"multipart/form-data; boundary=B":                       lf,
		"multipart/form-data; boundary=Y; boundary*=utf-8''B":   plain,
		"multipart/form-data; boundary*0=B":                     plain,
		"multipart/form-data; boundary=\"B\\\"\"":               plain,
		"multipart/mixed; boundary=B":                           plain,
		"multipart/form-data; boundary=\"B \"":                  plain,
		"multipart/form-data; boundary=B; boundary=C":           plain,
		"multipart/form-data; charset=utf-8; boundary=\"B\tC\"": plain,
	} {
		if f, err := ParseForm(contentType, []byte(raw)); err == nil {
			t.Errorf("%s was read, with model %q", contentType, f.Model())
		}
	}
	f, err := ParseForm("Multipart/Form-Data; boundary=\"B\"", []byte(plain))
	if err != nil || f.Model() != "allowed" || f.ContentType() != "multipart/form-data; boundary=B" {
		t.Errorf("%v, %v", f, err)
	}
}
