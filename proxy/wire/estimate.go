package wire

import "bytes"

const (
	bytesPerToken = 4
	imageTokens   = 765 // of a picture of 1024 x 1024 at high detail
	mediaShare    = 32  // bytes of base64 per token of other media: a page of a PDF is some 50 KiB and some 1,500 tokens
	looksLong     = 1 << 10
)

// PromptTokens is a cheap estimate of a request's prompt, for answers whose provider did not count it: a token per four
// bytes, save that what is base64 is no text. Of a picture the size says nothing.
func (b *Body) PromptTokens() int64 {
	raw, text, media := b.raw, len(b.raw), int64(0)
	for at := 0; ; {
		quote := bytes.IndexByte(raw[at:], '"')
		if quote < 0 {
			break
		}
		start := at + quote + 1
		n := stringEnd(raw[start:])
		if n < 0 {
			break
		}
		if content := raw[start : start+n-1]; len(content) >= looksLong && isBase64(content) {
			text -= len(content)
			if about := raw[max(0, start-200):min(len(raw), start+16)]; bytes.Contains(about, []byte("image")) {
				media += imageTokens
			} else {
				media += int64(len(content)) / mediaShare
			}
		}
		at = start + n
	}
	return int64(text+bytesPerToken-1)/bytesPerToken + media
}

// isBase64 tells by its beginning whether a long string is data, or a data URL of such.
func isBase64(content []byte) bool {
	if bytes.HasPrefix(content, []byte("data:")) {
		return bytes.Contains(content[:256], []byte(";base64,"))
	}
	for _, c := range content[:512] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}
