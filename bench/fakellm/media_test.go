package fakellm

import (
	"bytes"
	"encoding/base64"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// upload posts a form; fields named @x are files.
func upload(t *testing.T, s *Server, path string, fields ...string) reply {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		if file, ok := strings.CutPrefix(name, "@"); ok {
			part, err := w.CreateFormFile(file, "name.bin")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = part.Write([]byte(value)) // into memory
		} else if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return post(t, s, path, b.String(), "content-type: "+w.FormDataContentType())
}

func TestImages(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","quality":"low","n":2}`)
	want(t, "images", got.get("data.#").Int(), 2)
	raw, err := base64.StdEncoding.DecodeString(got.get("data.0.b64_json").Str)
	want(t, "base64", err, nil)
	want(t, "PNG", strings.HasPrefix(string(raw), "\x89PNG"), true)
	want(t, "usage", got.get("usage.output_tokens").Int(), 544)
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 2, Completion: 544, Total: 546, Images: 2})
	want(t, "no response_format", post(t, s, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a","response_format":"url"}`).get("error.code").Str, "unknown_parameter")

	linked := post(t, s, "/v1/images/generations", `{"model":"dall-e-3","prompt":"a cat"}`)
	picture := do(t, s, "GET", strings.TrimPrefix(linked.get("data.0.url").Str, s.URL()), "")
	want(t, "the link", strings.HasPrefix(picture.body, "\x89PNG"), true)
	want(t, "nothing there", do(t, s, "GET", "/_fake/pictures/x", "").status, 404)

	events := post(t, s, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","stream":true,"partial_images":2}`).events()
	want(t, "events", len(events), 3)
	want(t, "partial", gjson.Get(events[1], "partial_image_index").Int(), 1)
	want(t, "completed", gjson.Get(events[2], "usage.output_tokens").Int(), 1056)

	edited := upload(t, s, "/v1/images/edits", "model=gpt-image-1", "prompt=a hat", "@image[]=x", "@image[]=y", "@mask=z")
	want(t, "edit", edited.get("usage.input_tokens_details.image_tokens").Int(), 170)
	want(t, "edit without image", upload(t, s, "/v1/images/edits", "model=gpt-image-1", "prompt=a hat").status, 400)
	want(t, "unknown field", upload(t, s, "/v1/images/edits", "model=gpt-image-1", "prompt=a hat", "@image=x", "frob=1").get("error.param").Str, "frob")
	want(t, "variation", upload(t, s, "/v1/images/variations", "@image=x", "n=2").get("data.#").Int(), 2)
	want(t, "not a form", post(t, s, "/v1/images/edits", `{}`).status, 400)
}

func TestSpeech(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/audio/speech", `{"model":"tts-1","input":"hello there","voice":"alloy"}`)
	want(t, "type", got.header.Get("content-type"), "audio/mpeg")
	want(t, "bytes", len(got.body), 11*256)
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 3, Completion: 3, Total: 6, Characters: 11})
	wav := post(t, s, "/v1/audio/speech", `{"model":"tts-1","input":"hello there","voice":"alloy","response_format":"wav"}`)
	want(t, "wav", strings.HasPrefix(wav.body, "RIFF"), true)
	events := post(t, s, "/v1/audio/speech", `{"model":"tts-1","input":"hello there","voice":"alloy","stream_format":"sse"}`).events()
	want(t, "last", gjson.Get(events[len(events)-1], "usage.total_tokens").Int(), 6)
	for _, bad := range []string{`{"model":"a","input":"x"}`, `{"model":"a","voice":"b"}`, `{"model":"a","input":"x","voice":"b","response_format":"ogg"}`} {
		want(t, bad, post(t, s, "/v1/audio/speech", bad).status, 400)
	}
	if cut := post(t, s, "/v1/audio/speech", `{"model":"tts-1?fault=cut","input":"hello there","voice":"alloy"}`); cut.err == nil {
		t.Error("a cut recording came whole")
	}
}

func TestTranscription(t *testing.T) {
	s := start(t, Options{})
	file := "@file=" + strings.Repeat("x", 20_000)
	got := upload(t, s, "/v1/audio/transcriptions", "model=gpt-4o-transcribe", file)
	want(t, "tokens", got.get("usage.input_token_details.audio_tokens").Int(), 20)
	want(t, "billed", s.WaitDone(1, patience)[0].Billed, Usage{Prompt: 20, Completion: 16, Total: 36, Seconds: 2})
	want(t, "duration", upload(t, s, "/v1/audio/transcriptions", "model=whisper-1", file).get("usage.seconds").Int(), 2)
	plain := upload(t, s, "/v1/audio/transcriptions", "model=whisper-1", "response_format=text", file)
	want(t, "text", strings.TrimSuffix(plain.body, "\n"), got.get("text").Str)
	want(t, "verbose", upload(t, s, "/v1/audio/transcriptions", "model=whisper-1", "response_format=verbose_json", file).get("task").Str, "transcribe")
	events := upload(t, s, "/v1/audio/transcriptions", "model=gpt-4o-transcribe", "stream=true", "include[]=logprobs", file).events()
	want(t, "events", len(events), 17)
	want(t, "logprobs", gjson.Get(events[0], "logprobs.0.token").Exists(), true)
	want(t, "done", gjson.Get(events[16], "usage.total_tokens").Int(), 36)
	want(t, "translation", upload(t, s, "/v1/audio/translations", "model=whisper-1", file).get("text").Str, got.get("text").Str)
	want(t, "no stream in translations", upload(t, s, "/v1/audio/translations", "model=whisper-1", "stream=true", file).status, 400)
	want(t, "no file", upload(t, s, "/v1/audio/transcriptions", "model=whisper-1").status, 400)
}

func TestRerankAndModerations(t *testing.T) {
	s := start(t, Options{})
	got := post(t, s, "/v1/rerank", `{"model":"fake","query":"reset my password","documents":["weather in Paris",{"text":"how to reset a password"},"cats"],"top_n":2}`)
	want(t, "best", got.get("results.0.index").Int(), 1)
	want(t, "number", got.get("results.#").Int(), 2)
	want(t, "usage", got.get("usage.total_tokens").Int(), 15+4+6+1)
	flagged := post(t, s, "/v1/moderations", `{"input":["I will kill you","have a nice day"]}`)
	want(t, "flagged", flagged.get("results.#.flagged").Raw, "[true,false]")
	want(t, "category", flagged.get("results.0.categories.violence").Bool(), true)
	parts := post(t, s, "/v1/moderations", `{"input":[{"type":"text","text":"a bomb"},{"type":"image_url","image_url":{"url":"x"}}]}`)
	want(t, "parts", parts.get("results.#.flagged").Raw, "[true]")
}
