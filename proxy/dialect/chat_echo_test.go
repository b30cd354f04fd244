package dialect

import (
	"encoding/json"
	"slices"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// TestChatEcho sends answers back as clients do, that of a stream put together from its pieces: the provider must get its
// thoughts and calls as it made them.
func TestChatEcho(t *testing.T) {
	proofs := 0
	for _, from := range []struct {
		folder string
		to     Protocol
	}{{"anthropic", Messages}, {"amazon-bedrock", Converse}} {
		for _, rec := range recordings(t, from.folder) {
			tr := &Translation{To: from.to, Request: &Request{From: wire.Chat}}
			want, err := readRecording(t, tr.Reader(), rec)
			if err != nil || want.Stop == StopRefusal {
				continue
			}
			message := echoed(t, tr, rec)
			body, err := json.Marshal(map[string]any{"model": "m", "messages": []any{map[string]any{"role": "user", "content": "x"}, message}})
			if err != nil {
				t.Fatal(err)
			}
			request, err := readChat(body)
			if err != nil {
				t.Errorf("%s: %v: %s", rec.name, err, body)
				continue
			}
			got := &Answer{}
			if len(request.Turns) > 1 {
				got.Blocks = request.Turns[1].Blocks
			}
			if signed(got) != signed(want) || simplyOf(got).Content != simplyOf(want).Content || !slices.Equal(simplyOf(got).Calls, calledWith(want)) {
				t.Errorf("%s: got\n%+v\nexpected\n%+v", rec.name, got.Blocks, want.Blocks)
			}
			if signed(want) != "" {
				proofs++
			}
		}
	}
	if proofs < 4 {
		t.Errorf("only %d answers with thoughts", proofs)
	}
}

// calledWith is what of calls must come back: clients send no input as an empty object.
func calledWith(a *Answer) []string {
	calls := simplyOf(a).Calls
	n := 0
	for _, b := range a.Blocks {
		if b.Kind == ToolUse {
			if b.Input == "" {
				calls[n] += "{}"
			}
			n++
		}
	}
	return calls
}

// echoed is the assistant's message that a client has of an answer.
func echoed(t *testing.T, tr *Translation, rec recording) map[string]any {
	t.Helper()
	r, w := tr.Reader(), tr.Writer()
	if rec.whole != nil {
		a, err := r.Whole(rec.whole)
		if err != nil {
			t.Fatal(err)
		}
		var completion struct {
			Choices []struct{ Message map[string]any }
		}
		if err := json.Unmarshal(w.Whole(nil, a), &completion); err != nil {
			t.Fatal(err)
		}
		return completion.Choices[0].Message
	}
	var sse []byte
	for _, ev := range rec.events {
		events, err := r.Event(ev.name, ev.data, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			sse = w.Event(sse, &events[i])
		}
	}
	message := map[string]any{}
	for _, ev := range chatStream(string(sse)) {
		var chunk struct {
			Choices []struct{ Delta map[string]any }
		}
		if err := json.Unmarshal(ev.data, &chunk); err != nil {
			t.Fatal(err)
		}
		merge(message, chunk.Choices[0].Delta)
	}
	return message
}

// merge adds a delta to a message as OpenAI's client libraries do: texts are joined, entries of lists by their index.
func merge(into, delta map[string]any) {
	for name, value := range delta {
		switch value := value.(type) {
		case string:
			old, _ := into[name].(string)
			if name == "id" || name == "type" || name == "role" || name == "format" {
				old = ""
			}
			into[name] = old + value
		case map[string]any:
			if into[name] == nil {
				into[name] = map[string]any{}
			}
			merge(into[name].(map[string]any), value)
		case []any:
			list, _ := into[name].([]any)
			for _, entry := range value {
				list = mergeEntry(list, entry.(map[string]any))
			}
			into[name] = list
		default:
			into[name] = value
		}
	}
}

func mergeEntry(list []any, entry map[string]any) []any {
	for _, old := range list {
		if at, ok := entry["index"]; ok && old.(map[string]any)["index"] == at {
			merge(old.(map[string]any), entry)
			return list
		}
	}
	return append(list, entry)
}
