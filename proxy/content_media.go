package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"
)

// digest is what is kept of pictures, sounds and files: how large they are, and which.
type digest struct {
	kind string // of content; "": not known
	size int64
	sum  hash.Hash
}

func newDigest() *digest { return &digest{sum: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	return d.sum.Write(p)
}

// add adds what is written in base64; what is none is added as it is.
func (d *digest) add(text string) {
	piece, err := io.ReadAll(decoded(text))
	if err != nil {
		piece = []byte(text)
	}
	_, _ = d.Write(piece) // it cannot fail
}

func decoded(text string) io.Reader {
	coding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		coding = base64.RawURLEncoding
	}
	return base64.NewDecoder(coding, strings.NewReader(strings.TrimRight(text, "=\r\n")))
}

func (d *digest) String() string {
	kind := d.kind
	if kind != "" {
		kind += ", "
	}
	return "<" + kind + strconv.FormatInt(d.size, 10) + " bytes, sha256:" + hex.EncodeToString(d.sum.Sum(nil)) + ">"
}

// digestOf is that of a whole.
func digestOf(text string) string {
	d := newDigest()
	if _, err := io.Copy(d, decoded(text)); err != nil {
		d = newDigest()
		_, _ = io.WriteString(d, text)
	}
	return d.String()
}

const (
	fewLetters  = 16  // of base64 where some is expected
	manyLetters = 256 // that no text has in a row
	inlined     = ";base64,"
)

// encodes tells members that hold base64.
func encodes(name string) bool {
	switch name {
	case "data", "b64_json", "partial_image_b64", "file_data", "image", "mask", "audio", "result", "embedding", "encrypted_content":
		return true
	}
	return false
}

// withoutMedia puts the size and digest in the place of what is no text: of all that is written in base64, and of data: URLs in a text.
func withoutMedia(name, text string) string {
	if n := lettersIn(text); n == len(text) && (n >= manyLetters || n >= fewLetters && encodes(name)) {
		return digestOf(text)
	}
	at := strings.Index(text, inlined)
	if at < 0 {
		return text
	}
	var out strings.Builder
	for ; at >= 0; at = strings.Index(text, inlined) {
		at += len(inlined)
		out.WriteString(text[:at])
		n := lettersIn(text[at:])
		if data := strings.TrimRight(text[at:at+n], "\r\n"); n >= fewLetters {
			out.WriteString(digestOf(data))
			at += len(data)
		}
		text = text[at:]
	}
	out.WriteString(text)
	return out.String()
}

// lettersIn is how long the base64 is that a text begins with, in either alphabet, broken into lines or not.
func lettersIn(text string) int {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=', c == '\r', c == '\n':
		default:
			return i
		}
	}
	return len(text)
}
