package fakellm

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"slices"
)

// form is a multipart body.
type form struct {
	fields map[string][]string
	files  map[string][][]byte
}

func (f *form) get(name string) string {
	if all := f.fields[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// form reads the multipart body; only the allowed fields may occur, files among them only as files.
func (x *exchange) form(fields, files []string) (*form, *apiError) {
	kind, attributes, err := mime.ParseMediaType(x.ctype)
	if err != nil || kind != "multipart/form-data" {
		return nil, invalid("", "unsupported_content_type", "Invalid Content-Type header (%s), expected multipart/form-data.", x.ctype)
	}
	f := &form{fields: map[string][]string{}, files: map[string][][]byte{}}
	r := multipart.NewReader(bytes.NewReader(x.body), attributes["boundary"])
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, invalid("", "", "Could not parse multipart form: %v", err)
		}
		if e := f.part(x, p, fields, files); e != nil {
			return nil, e
		}
	}
	x.model, x.stream = f.get("model"), f.get("stream") == "true"
	return f, nil
}

func (f *form) part(x *exchange, p *multipart.Part, fields, files []string) *apiError {
	all, err := io.ReadAll(p)
	if err != nil {
		return invalid("", "", "Could not parse multipart form: %v", err)
	}
	name := p.FormName()
	switch {
	case p.FileName() != "" && slices.Contains(files, name):
		f.files[name] = append(f.files[name], all)
	case p.FileName() == "" && slices.Contains(fields, name):
		f.fields[name] = append(f.fields[name], string(all))
	case !x.s.o.Lenient:
		return invalid(name, "unknown_parameter", "Unknown parameter: '%s'.", name)
	}
	return nil
}
