package wire

import (
	"bytes"
	"strings"
)

// Part is one part of a form.
type Part struct {
	Name    string
	Value   []byte
	File    bool // its headers say that it is no plain value: it has a file's name, or an encoding
	Encoded bool // its value is written in an encoding, which hides what it says
	at      int  // where Value begins in the form
}

// Parts are the form's parts, in order. Their values are the form's own bytes.
func (f *Form) Parts() (parts []Part) {
	line := []byte("\r\n--" + f.boundary)
	for at := len(f.open); ; {
		next := bytes.Index(f.raw[at:], line)
		if next < 0 {
			return parts // a form that was parsed has an end
		}
		head, value, _ := bytes.Cut(f.raw[at:at+next], []byte("\r\n\r\n"))
		if p, ok := readPart(string(head)); ok {
			p.Value, p.at = value, at+next-len(value)
			parts = append(parts, p)
		}
		at += next + len(line)
		if bytes.HasPrefix(f.raw[at:], []byte("--")) {
			return parts
		}
		at += len(crlf)
	}
}

// readPart reads the headers of a part that was parsed before.
func readPart(head string) (p Part, ok bool) {
	name, plain, err := partName(head)
	for line := range strings.SplitSeq(head, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(key, "content-transfer-encoding") {
			switch strings.ToLower(strings.TrimSpace(value)) {
			case "7bit", "8bit", "binary":
			default:
				p.Encoded = true
			}
		}
	}
	p.Name, p.File = name, !plain
	return p, err == nil
}

// With is the form with the values that its parts have now.
func (f *Form) With(parts []Part) (*Form, error) {
	raw := make([]byte, 0, len(f.raw)+64)
	from := 0
	for _, p := range parts {
		raw = append(append(raw, f.raw[from:p.at]...), p.Value...)
		from = p.at + bytes.Index(f.raw[p.at:], []byte("\r\n--"+f.boundary))
	}
	return ParseForm(f.ContentType(), append(raw, f.raw[from:]...))
}
