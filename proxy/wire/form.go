package wire

import (
	"bytes"
	"mime"
	"strconv"
	"strings"
)

// Form is a multipart/form-data request (audio, image edits): the client's own bytes and where the model's name lies in
// them. RFC 7578.
type Form struct {
	raw            []byte
	boundary       string
	open           []byte // the line that opens a part
	model          string
	modelAt, after int // the model's value is raw[modelAt:after]; both 0 when there is none
	stream         bool
	elsewhere      uint8
	n              int64
}

const maxParts = 256

const boundaryLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? "

// ParseForm reads the fields that the gateway acts on. It refuses forms that two parsers could read differently: a
// field twice, fields that differ only in case, line breaks other than CRLF around boundaries, encoded values.
func ParseForm(contentType string, raw []byte) (*Form, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || kind != "multipart/form-data" || boundary == "" || len(boundary) > 70 || strings.ContainsRune(contentType, '*') ||
		strings.Trim(boundary, boundaryLetters) != "" || strings.HasSuffix(boundary, " ") {
		return nil, Invalid("", "Expected a body of type multipart/form-data with a boundary.")
	}
	f := &Form{raw: raw, boundary: boundary, open: []byte("--" + boundary + "\r\n")}
	line := []byte("\r\n--" + boundary)
	if bytes.Count(raw, line[1:]) != bytes.Count(raw, line) {
		return nil, Invalid("", "The form's boundary lines must be ended by CRLF.")
	}
	if !bytes.HasPrefix(raw, f.open) {
		return nil, Invalid("", "The form must begin with its boundary line.")
	}
	at := len(f.open)
	for parts := 0; ; parts++ {
		if parts == maxParts {
			return nil, Invalid("", "The form has more than %d parts.", maxParts)
		}
		next := bytes.Index(raw[at:], line)
		if next < 0 {
			return nil, Invalid("", "The form's last boundary is missing.")
		}
		if err := f.part(at, at+next); err != nil {
			return nil, err
		}
		at += next + len(line)
		switch tail := raw[at:]; {
		case bytes.HasPrefix(tail, []byte("\r\n")):
			at += 2
		case string(bytes.TrimRight(tail, "\r\n")) == "--":
			return f, nil
		default:
			return nil, Invalid("", "A boundary line of the form is malformed, or bytes follow its end.")
		}
	}
}

// part reads the part raw[at:end].
func (f *Form) part(at, end int) error {
	head, value, ok := bytes.Cut(f.raw[at:end], []byte("\r\n\r\n"))
	if !ok {
		return Invalid("", "A part of the form has no headers.")
	}
	if bytes.Count(head, crlf) != bytes.Count(head, crlf[:1]) || bytes.Count(head, crlf) != bytes.Count(head, crlf[1:]) {
		return Invalid("", "The headers of a form's parts must be ended by CRLF.") // others would see more headers
	}
	name, plain, err := partName(string(head))
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(name, "model"):
		if name != "model" || f.after > 0 || !plain || len(value) == 0 || bytes.ContainsAny(value, "\r\n") {
			return Invalid("model", "The form must have one plain field named exactly \"model\".")
		}
		f.model, f.modelAt, f.after = string(value), end-len(value), end
	case strings.EqualFold(name, "stream"):
		if name != "stream" || f.stream || !plain {
			return Invalid("stream", "The form may have one plain field named exactly \"stream\".")
		}
		f.stream = strings.EqualFold(string(value), "true") || string(value) == "1"
	case name == "n" && plain:
		f.n, _ = strconv.ParseInt(string(value), 10, 64) // what is no number is the provider's to refuse
	default:
		f.leads(name)
	}
	return nil
}

// partName reads a part's headers: its field's name, and whether its value is plain text.
func partName(head string) (name string, plain bool, err error) {
	plain = true
	found := false
	for line := range strings.SplitSeq(head, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "content-disposition":
			kind, params, perr := mime.ParseMediaType(value)
			if perr != nil || kind != "form-data" || params["name"] == "" || found || extendedName(value) {
				return "", false, Invalid("", "A part of the form has a malformed Content-Disposition.")
			}
			found, name = true, params["name"]
			_, isFile := params["filename"]
			plain = plain && !isFile
		case "content-transfer-encoding":
			plain = false
		}
	}
	if !found {
		return "", false, Invalid("", "A part of the form has no Content-Disposition.")
	}
	return name, plain, nil
}

var crlf = []byte("\r\n")

// ContentType is the form's own, in the one spelling that every reader understands alike.
func (f *Form) ContentType() string {
	if strings.ContainsAny(f.boundary, "()/,:=? ") {
		return `multipart/form-data; boundary="` + f.boundary + `"`
	}
	return "multipart/form-data; boundary=" + f.boundary
}

// Model is the model asked for, "" when the form names none.
func (f *Form) Model() string { return f.model }

// Stream tells whether an event stream was asked for.
func (f *Form) Stream() bool { return f.stream }

// N is how many answers are asked for, as far as that is said.
func (f *Form) N() int64 { return f.n }

// Len is the number of bytes of the form.
func (f *Form) Len() int { return len(f.raw) }

// AppendEdited appends the form to dst with the model's name replaced, or put in front where there is none. An empty
// model leaves the form as it is. Every other byte stays.
func (f *Form) AppendEdited(dst []byte, model string) []byte {
	switch {
	case model == "" || model == f.model:
		return append(dst, f.raw...)
	case f.after == 0:
		dst = append(dst, f.open...)
		dst = append(dst, "Content-Disposition: form-data; name=\"model\"\r\n\r\n"...)
		dst = append(append(dst, model...), '\r', '\n')
		return append(dst, f.raw...)
	}
	dst = append(append(dst, f.raw[:f.modelAt]...), model...)
	return append(dst, f.raw[f.after:]...)
}

// extendedName finds RFC 2231 spellings of the field's name (name*=, name*0=), which parsers read differently; those of
// a file's name do no harm.
func extendedName(disposition string) bool {
	lower := strings.ToLower(disposition)
	return strings.Count(lower, "name*") > strings.Count(lower, "filename*")
}
