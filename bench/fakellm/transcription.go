package fakellm

import (
	"fmt"
	"slices"
	"strings"
)

// transcription is a request to write speech down, in the same language or in English.
type transcription struct {
	format      string
	translation bool
	seconds     int
	probs       bool
}

func readAudioForm(x *exchange) (render, *apiError) {
	t := &transcription{translation: x.endpoint == "audio/translations"}
	fields := []string{"model", "prompt", "response_format", "temperature"}
	if !t.translation {
		fields = append(fields, "language", "stream", "chunking_strategy", "include", "include[]", "timestamp_granularities[]",
			"known_speaker_names[]", "known_speaker_references[]", "keywords[]", "languages[]")
	}
	f, err := x.form(fields, []string{"file"})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	if len(f.files["file"]) != 1 {
		return nil, invalid("file", "missing_required_parameter", "Missing required parameter: 'file'.")
	}
	t.seconds = (len(f.files["file"][0]) + 15_999) / 16_000
	t.probs = slices.Contains(append(f.fields["include[]"], f.fields["include"]...), "logprobs")
	if t.format = f.get("response_format"); t.format == "" {
		t.format = "json"
	}
	if !slices.Contains([]string{"json", "text", "srt", "vtt", "verbose_json", "diarized_json"}, t.format) {
		return nil, invalid("response_format", "invalid_value", "Invalid value: '%s'. Supported values are: 'json', 'text', 'srt', 'verbose_json', 'vtt', and 'diarized_json'.", t.format)
	}
	x.stream = x.stream && !t.byTime(x) // whisper-1 takes no notice of stream
	return t.answer, nil
}

// byTime reports whether the model bills seconds instead of tokens.
func (t *transcription) byTime(x *exchange) bool {
	return strings.HasPrefix(x.model, "whisper") || t.translation
}

func (t *transcription) answer(x *exchange) (answer, *apiError) {
	p := x.say(0, "", -1)
	x.bill.Seconds = t.seconds
	if !t.byTime(x) {
		x.bill.Prompt, x.bill.Completion = 10*t.seconds, p.n
	}
	if x.stream {
		return t.events(x, &p), nil
	}
	text := quote(nil, p.whole())
	task := map[bool]string{false: "transcribe", true: "translate"}[t.translation]
	switch t.format {
	case "text":
		return answer{ctype: "text/plain; charset=utf-8", body: append([]byte(p.whole()), '\n')}, nil
	case "srt":
		return answer{ctype: "text/plain; charset=utf-8", body: fmt.Appendf(nil, "1\n00:00:00,000 --> 00:00:01,000\n%s\n\n", p.whole())}, nil
	case "vtt":
		return answer{ctype: "text/plain; charset=utf-8", body: fmt.Appendf(nil, "WEBVTT\n\n00:00.000 --> 00:01.000\n%s\n\n", p.whole())}, nil
	case "verbose_json", "diarized_json":
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"task":"%s","language":"english","duration":%d.0,"text":%s,"segments":[{"id":0,"seek":0,"start":0.0,"end":%d.0,"text":%s,"tokens":[1,2],"temperature":0.0,"avg_logprob":-0.25,"compression_ratio":1.2,"no_speech_prob":0.01,"speaker":"A","type":"transcript.text.segment"}],"usage":{"type":"duration","seconds":%d}}`,
			task, t.seconds, text, t.seconds, text, t.seconds)}, nil
	}
	if t.translation {
		return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"text":%s}`, text)}, nil
	}
	return answer{ctype: jsonType, body: fmt.Appendf(nil, `{"text":%s,"usage":%s}`, text, t.usage(x))}, nil
}

func (t *transcription) usage(x *exchange) []byte {
	if t.byTime(x) {
		return fmt.Appendf(nil, `{"type":"duration","seconds":%d}`, t.seconds)
	}
	u := x.bill
	return fmt.Appendf(nil, `{"type":"tokens","input_tokens":%d,"input_token_details":{"text_tokens":0,"audio_tokens":%d},"output_tokens":%d,"total_tokens":%d}`,
		u.Prompt, u.Prompt, u.Completion, u.Prompt+u.Completion)
}

func (t *transcription) events(x *exchange, p *pieces) answer {
	s := &listed{}
	for i := range p.n {
		b := p.quoted([]byte(`{"type":"transcript.text.delta","delta":`), p.at(i))
		if t.probs {
			b = append(prob(append(b, `,"logprobs":[`...), p.at(i), -0.125), "}]"...)
		}
		s.add(content, "", append(b, '}'))
	}
	b := p.quoted([]byte(`{"type":"transcript.text.done","text":`), p.whole())
	s.add(terminal, "", fmt.Appendf(b, `,"usage":%s}`, t.usage(x)))
	return s.stream(0)
}
