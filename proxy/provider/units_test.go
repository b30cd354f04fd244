package provider

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
)

// What is not paid by the token is counted by what it is paid by.
func TestUnits(t *testing.T) {
	_, c := upstream(t, fakellm.OpenAI)
	for _, row := range []struct {
		path, body string
		form       []string
		want       wire.Usage
	}{
		{path: "/images/generations", body: `{"model":"dall-e-3","prompt":"a cat","n":2,"response_format":"url"}`, want: wire.Usage{Images: 2}},
		{path: "/audio/speech", body: `{"model":"tts-1","voice":"alloy","input":"h\u00e9llo 你好"}`, want: wire.Usage{Characters: 8}},
		{path: "/audio/transcriptions", form: []string{"model", "whisper-1", "response_format", "verbose_json"}, want: wire.Usage{Millis: 2000}},
		{path: "/audio/transcriptions", form: []string{"model", "whisper-1", "response_format", "text"}, want: wire.Usage{Millis: 2000, Estimated: true}},
		{path: "/embeddings", body: `{"model":"text-embedding-3-small","input":"data"}`, want: wire.Usage{Prompt: 1}},
	} {
		call := &Call{Method: "POST", Path: row.path, Kind: wire.Plain, Header: &fasthttp.RequestHeader{}, Model: "m", Abort: &Abort{}, Begun: time.Now()}
		call.Timeout.Connect, call.Timeout.FirstToken, call.Timeout.Idle, call.Timeout.Total = time.Minute, time.Minute, time.Minute, time.Minute
		if row.form != nil {
			call.Form = sound(t, row.form)
			call.Model = call.Form.Model()
		} else {
			b, err := wire.Parse([]byte(row.body))
			if err != nil {
				t.Fatal(err)
			}
			call.Body, call.Model = &b, b.Model()
		}
		var reply wire.Reply
		if err := c.Do(call, &reply); err != nil {
			t.Errorf("%s %s: %v", row.path, row.body, err)
			continue
		}
		got := reply.Usage
		if reply.Stream != nil {
			if _, err := io.Copy(io.Discard, reply.Stream); err != nil {
				t.Error(err)
			}
			got = reply.Stream.Usage()
		}
		if near := got.Millis - row.want.Millis; near >= -10 && near <= 40 {
			got.Millis = row.want.Millis
		}
		if got != row.want {
			t.Errorf("%s %s: %+v, want %+v; %s", row.path, row.body, got, row.want, reply.Body)
		}
		reply.Close()
	}
}

// sound is a form with 32,000 bytes of a file.
func sound(t *testing.T, fields []string) *wire.Form {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := w.CreateFormFile("file", "a.mp3")
	if err == nil {
		_, err = io.WriteString(file, strings.Repeat("x", 32_000))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := wire.ParseForm(w.FormDataContentType(), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}
