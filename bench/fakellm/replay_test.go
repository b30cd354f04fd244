package fakellm

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func load(t *testing.T, folder string, from func(string) ([]Exchange, error)) []Exchange {
	t.Helper()
	all, err := from(filepath.Join(sharedData(t), folder))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func named(t *testing.T, all []Exchange, name string) Exchange {
	t.Helper()
	i := slices.IndexFunc(all, func(ex Exchange) bool { return ex.Name == name })
	if i < 0 {
		t.Fatalf("no recording %q", name)
	}
	return all[i]
}

func TestLoadCassettes(t *testing.T) {
	all := load(t, "openai-cassettes", LoadCassettes)
	if len(all) < 40 {
		t.Errorf("only %d recordings", len(all))
	}
	chat := named(t, all, "chat-basic")
	want(t, "path", chat.Path, "/v1/chat/completions")
	want(t, "request", gjson.GetBytes(chat.RequestBody, "messages.0.content").Str, "Hello!")
	want(t, "usage", chat.Usage, Usage{Prompt: 8, Completion: 377, Reasoning: 320, Total: 385})
	want(t, "azure path", named(t, all, "azure-chat-basic").Path, "/openai/deployments/gpt-5-nano/chat/completions?api-version=2024-12-01-preview")
	stream := named(t, all, "chat-streaming-detailed-usage")
	want(t, "stream", stream.Stream, true)
	want(t, "stream usage", stream.Usage, Usage{Prompt: 12, Completion: 100, Reasoning: 100, Total: 112})
	want(t, "whole stream", bytes.HasSuffix(stream.Body, []byte("data: [DONE]\n\n")), true)
	want(t, "error", named(t, all, "chat-unknown-model").Status, 404)
	want(t, "form", named(t, all, "audio-transcription-basic").RequestBody == nil, true)
}

func TestLoadSSE(t *testing.T) {
	all := load(t, "openai-sse", LoadSSE)
	want(t, "recordings", len(all), 12)
	for _, ex := range all {
		if ex.Usage.Total == 0 || !bytes.HasSuffix(ex.Body, []byte("data: [DONE]\n\n")) {
			t.Errorf("%s: %+v", ex.Name, ex.Usage)
		}
	}
}

func TestLoadFixtures(t *testing.T) {
	all := load(t, "provider-fixtures", LoadFixtures)
	text := named(t, all, "azure/azure-text.1")
	want(t, "azure", text.Path, "/openai/v1/responses")
	want(t, "usage", text.Usage, Usage{Prompt: 11, Completion: 11, Total: 22})
	i := slices.IndexFunc(all, func(ex Exchange) bool { return ex.Name == "azure/azure-text.1" && ex.Stream })
	want(t, "events are named", bytes.HasPrefix(all[i].Body, []byte("event: response.created\ndata: {\"type\":\"response.created\"")), true)
	want(t, "stream usage", all[i].Usage, text.Usage)
	chat := slices.IndexFunc(all, func(ex Exchange) bool { return ex.Name == "openai/chat/openai-text" && ex.Stream })
	want(t, "chat ends", bytes.HasSuffix(all[chat].Body, []byte("data: [DONE]\n\n")), true)
	want(t, "chat usage", all[chat].Usage, Usage{Prompt: 16, Completion: 300, Total: 316})
	want(t, "quota", named(t, all, "openai/responses/openai-error.1").Status, 429)
	want(t, "bad request", named(t, all, "openai/image/gpt-image-response-format-error").Status, 400)
	want(t, "anthropic", named(t, all, "anthropic/anthropic-text").Usage.Total > 0, true)
	part := load(t, "provider-fixtures/openai/chat", LoadFixtures)
	want(t, "a part of the fixtures", part[0].Path, "/v1/chat/completions")
	bedrock := slices.IndexFunc(all, func(ex Exchange) bool { return ex.Name == "amazon-bedrock/amazon-bedrock-text" && ex.Stream })
	want(t, "bedrock", all[bedrock].Usage.Total > 0, true)
}

// TestReplay plays every recording of OpenAI's through a server, and compares bytes and bill.
func TestReplay(t *testing.T) {
	all := append(load(t, "openai-cassettes", LoadCassettes), load(t, "openai-sse", LoadSSE)...)
	all = append(all, load(t, "provider-fixtures/openai/chat", LoadFixtures)...)
	s := start(t, Options{})
	for _, ex := range all {
		s.Reset()
		s.SetPlan(func(*Seen) Plan { return Replay(ex) })
		got := do(t, s, "POST", "/v1/chat/completions", `{"model":"x","messages":[]}`)
		want(t, ex.Name+" error", got.err, nil)
		want(t, ex.Name+" status", got.status, ex.Status)
		want(t, ex.Name+" body", got.body, string(ex.Body))
		want(t, ex.Name+" type", got.header.Get("content-type"), ex.ContentType)
		seen := s.WaitDone(1, patience)[0]
		want(t, ex.Name+" billed", seen.Billed, ex.Usage)
		if ex.Stream {
			want(t, ex.Name+" events", seen.Events, strings.Count(got.body, "\n\n"))
		}
	}
}
