package fakellm

import (
	"encoding/base64"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// speech is a request to read a text aloud.
type speech struct {
	input, format string
	sse           bool
}

var speechRules = map[string]rule{
	"input": is(str), "instructions": is(str), "model": is(str), "response_format": is(str), "speed": between(num, 0.25, 4),
	"stream_format": is(str), "voice": is(str | obj),
}

func readSpeech(x *exchange) (render, *apiError) {
	s := &speech{format: "mp3"}
	voice := false
	err := x.object(speechRules, func(key string, v gjson.Result) {
		switch key {
		case "input":
			s.input = v.Str
		case "response_format":
			s.format = v.Str
		case "stream_format":
			s.sse = v.Str == "sse"
		case "voice":
			voice = true
		}
	})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	x.stream = s.sse
	switch {
	case s.input == "":
		return nil, invalid("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	case !voice:
		return nil, invalid("voice", "missing_required_parameter", "Missing required parameter: 'voice'.")
	case !slices.Contains([]string{"mp3", "opus", "aac", "flac", "wav", "pcm"}, s.format):
		return nil, invalid("response_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'mp3', 'opus', 'aac', 'flac', 'wav', and 'pcm'.", s.format)
	}
	x.bill.Prompt = tokensOf(s.input)
	return s.answer, nil
}

// sound is the size of an HTTP chunk or event of audio, and costs one token.
const sound = 1024

func (s *speech) answer(x *exchange) (answer, *apiError) {
	x.bill.Characters = utf8.RuneCountInString(s.input)
	all := slices.Collect(slices.Chunk(s.audio(x), sound))
	x.bill.Completion = len(all)
	if !s.sse {
		kind := map[string]string{"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}
		return answer{ctype: kind[s.format], script: &chunks{all: all}, parts: len(all)}, nil
	}
	events := &listed{}
	for _, part := range all {
		events.add(content, "", fmt.Appendf(nil, `{"type":"speech.audio.delta","audio":"%s"}`, base64.StdEncoding.EncodeToString(part)))
	}
	events.add(terminal, "", fmt.Appendf(nil, `{"type":"speech.audio.done","usage":{"input_tokens":%d,"output_tokens":%d,"total_tokens":%d}}`,
		x.bill.Prompt, len(all), x.bill.Prompt+len(all)))
	return events.stream(0), nil
}

// audio is noise that follows from the request, behind the magic bytes of its format; Plan.Size bytes, or 256 a character.
func (s *speech) audio(x *exchange) []byte {
	n := x.plan.Size
	if n == 0 {
		n = 256 * len(s.input)
	}
	magic := map[string]string{"mp3": "ID3\x04", "opus": "OggS", "aac": "\xff\xf1", "flac": "fLaC", "wav": "RIFF\xff\xff\xff\xffWAVEfmt "}
	b := []byte(magic[s.format])
	for z := uint64(x.seed); len(b) < n; {
		z = z*6364136223846793005 + 1442695040888963407
		b = append(b, byte(z>>56), byte(z>>48), byte(z>>40), byte(z>>32))
	}
	return b[:n]
}
