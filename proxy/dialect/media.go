package dialect

import (
	"path"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// dataURL takes a base64 data URL (RFC 2397) apart: "data:image/png;base64,iVBO...". mime is in lower case, without
// parameters, and "" when the URL names none. It is not ok for any other URL, and for data that is not base64.
func dataURL(s string) (mime, base64 string, ok bool) {
	if len(s) < 5 || !strings.EqualFold(s[:5], "data:") {
		return "", "", false
	}
	head, data, found := strings.Cut(s[5:], ",")
	head, isBase64 := cutSuffixFold(head, ";base64")
	if !found || !isBase64 {
		return "", "", false
	}
	mime, _, _ = strings.Cut(head, ";")
	data, ok = base64Of(data)
	return mimeType(mime), data, ok
}

func cutSuffixFold(s, suffix string) (string, bool) {
	if n := len(s) - len(suffix); n >= 0 && strings.EqualFold(s[n:], suffix) {
		return s[:n], true
	}
	return s, false
}

// appendDataURL appends a data URL as a JSON string. data is base64, as base64Of returns it.
func appendDataURL(dst []byte, mime, data string) []byte {
	dst = wire.AppendString(dst, "data:"+mime+";base64,")
	dst = append(dst[:len(dst)-1], data...)
	return append(dst, '"')
}

// webURL reports whether s is a URL that a provider could fetch.
func webURL(s string) bool {
	scheme, rest, ok := strings.Cut(s, "://")
	return ok && rest != "" && (strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "http"))
}

// base64Of returns s if it is base64 of the standard alphabet and not empty; line breaks, as some encoders make them, are
// taken out. Only the alphabet is checked: no byte of it needs an escape in JSON.
func base64Of(s string) (string, bool) {
	s = strings.TrimRight(s, "\r\n")
	body := strings.TrimRight(s, "=")
	if len(s)-len(body) > 2 {
		return "", false
	}
	for i := range len(body) {
		if isBase64[body[i]] {
			continue
		}
		if body[i] != '\n' && body[i] != '\r' {
			return "", false
		}
		return base64Of(strings.NewReplacer("\r", "", "\n", "").Replace(s))
	}
	return s, body != ""
}

var isBase64 = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = true
	}
	return table
}()

// mimeType is a MIME type in the spelling that the providers know.
func mimeType(s string) string {
	switch s = strings.ToLower(strings.TrimSpace(s)); s {
	case "image/jpg":
		return "image/jpeg"
	case "audio/mp3":
		return "audio/mpeg"
	case "audio/wave", "audio/x-wav", "audio/vnd.wave":
		return "audio/wav"
	}
	return s
}

// formats are the short names that Converse has for documents and OpenAI for sounds, which are file extensions too.
var formats = []struct{ format, mime string }{
	{"pdf", "application/pdf"},
	{"csv", "text/csv"},
	{"doc", "application/msword"},
	{"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
	{"xls", "application/vnd.ms-excel"},
	{"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
	{"html", "text/html"},
	{"txt", "text/plain"},
	{"md", "text/markdown"},
	{"mp3", "audio/mpeg"},
	{"wav", "audio/wav"},
	{"flac", "audio/flac"},
	{"ogg", "audio/ogg"},
	{"webm", "audio/webm"},
	{"m4a", "audio/mp4"},
}

// mimeOf is the MIME type of a format ("pdf", "mp3"), "" when it is not known.
func mimeOf(format string) string {
	for _, f := range formats {
		if strings.EqualFold(f.format, format) {
			return f.mime
		}
	}
	return ""
}

// formatOf is the format of a MIME type: "pdf" of "application/pdf", "" when it is not known.
func formatOf(mime string) string {
	for _, f := range formats {
		if f.mime == mime {
			return f.format
		}
	}
	return ""
}

// mimeByName is the MIME type that a file's name speaks for, "" when none.
func mimeByName(name string) string { return mimeOf(strings.TrimPrefix(path.Ext(name), ".")) }
