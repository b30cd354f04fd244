package provider

import (
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// units adds to an answer's usage what is not paid by the token: how many pictures it has, and how long the sound was that
// it is made of.
func (call *Call) units(u *wire.Usage, answer []byte) {
	switch {
	case strings.HasPrefix(call.Path, "/images/"):
		u.Images = gjson.GetBytes(answer, "data.#").Int()
	case strings.HasPrefix(call.Path, "/audio/") && u.Total() == 0 && u.Millis == 0:
		if seconds := gjson.GetBytes(answer, "duration").Float(); seconds > 0 && gjson.ValidBytes(answer) {
			u.Millis = int64(min(seconds, mostSeconds)*1000) + 1
		} else if call.Form != nil { // plain text and subtitles do not tell
			u.Millis, u.Estimated = int64(call.Form.Len())/soundRate, true
		}
	}
}

// Expected is what an answer is about to cost beside its tokens, as far as the request tells.
func (call *Call) Expected() (u wire.Usage) {
	switch {
	case strings.HasPrefix(call.Path, "/images/"):
		u.Images = 1
		if call.Body != nil {
			u.Images = min(max(call.Body.Get("n").Int(), 1), mostImages)
		} else if call.Form != nil {
			u.Images = min(max(call.Form.N(), 1), mostImages)
		}
	case call.Form != nil:
		u.Millis = int64(call.Form.Len()) / soundRate
	default:
		u.Characters = call.spoken()
	}
	return u
}

const mostImages = 1000 // so that no product overflows

const (
	soundRate   = 16 // bytes of a millisecond: MP3 of 128 kbit/s
	mostSeconds = 1e9
)

// spoken is how many characters an answer of sound was made of.
func (call *Call) spoken() int64 {
	if call.Path != "/audio/speech" || call.Body == nil {
		return 0
	}
	return int64(utf8.RuneCountInString(call.Body.Get("input").Str))
}
