package wire

import (
	"bytes"
	"testing"
)

const fieldsOfForm = "--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na cat\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n\x89\r\n\r\nPNG\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"x\"\r\nContent-Transfer-Encoding: Base64\r\n\r\nYQ==\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"y\"\r\ncontent-transfer-encoding: binary\r\n\r\n\r\n--b--\r\n"

func TestFormParts(t *testing.T) {
	f, err := ParseForm("multipart/form-data; boundary=b", []byte(fieldsOfForm))
	if err != nil {
		t.Fatal(err)
	}
	parts := f.Parts()
	want := []Part{{Name: "prompt", Value: []byte("a cat")}, {Name: "model", Value: []byte("m")}, {Name: "image[]", Value: []byte("\x89\r\n\r\nPNG"), File: true},
		{Name: "x", Value: []byte("YQ=="), File: true, Encoded: true}, {Name: "y", Value: []byte(""), File: true}}
	if len(parts) != len(want) {
		t.Fatalf("%+v", parts)
	}
	for i, p := range parts {
		if p.Name != want[i].Name || !bytes.Equal(p.Value, want[i].Value) || p.File != want[i].File || p.Encoded != want[i].Encoded {
			t.Errorf("%d: %+v, want %+v", i, p, want[i])
		}
	}
	parts[0].Value, parts[4].Value = []byte("a dog, or two"), []byte("z")
	changed, err := f.With(parts)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Replace(bytes.Replace([]byte(fieldsOfForm), []byte("a cat"), []byte("a dog, or two"), 1), []byte("binary\r\n\r\n"), []byte("binary\r\n\r\nz"), 1)
	if got := changed.AppendEdited(nil, ""); !bytes.Equal(got, text) {
		t.Errorf("%q, want %q", got, text)
	}
	if got := changed.AppendEdited(nil, "other"); !bytes.Contains(got, []byte("\r\n\r\nother\r\n")) || changed.Model() != "m" {
		t.Errorf("the model is lost: %q", got)
	}
}

// A form that is taken apart and put together again is the same form.
func FuzzFormParts(f *testing.F) {
	f.Add([]byte(fieldsOfForm))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n--b\r\n--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		form, err := ParseForm("multipart/form-data; boundary=b", raw)
		if err != nil {
			return
		}
		parts := form.Parts()
		again, err := form.With(parts)
		if err != nil || !bytes.Equal(again.raw, raw) || again.modelAt != form.modelAt {
			t.Errorf("%q becomes %q, %v", raw, again.raw, err)
		}
		if len(parts) == 0 {
			t.Errorf("no part in %q", raw)
		}
	})
}
