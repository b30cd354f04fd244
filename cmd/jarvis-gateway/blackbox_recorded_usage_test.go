package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"jarvis-gateway/bench/fakellm"
)

// What is recorded of every answer that providers are known to have given is what they said of it themselves. The answers are read
// here with nothing but a JSON decoder.

// bill is what an answer says that it cost, and why it ended.
type bill struct {
	prompt, completion, cached, written, reasoning, audio int64
	said                                                  bool // the provider reported
	finish                                                string
}

// documents are the JSON documents of an answer: itself, or the events of a stream; broken tells that what says the cost is none.
func documents(ex *fakellm.Exchange) (list []map[string]any, broken bool) {
	raw := [][]byte{ex.Body}
	switch {
	case strings.HasPrefix(ex.ContentType, "application/vnd.amazon.eventstream"):
		raw = ex.Payloads
	case ex.Stream:
		raw = nil
		for line := range bytes.Lines(ex.Body) {
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				raw = append(raw, data)
			}
		}
	}
	for _, text := range raw {
		var doc map[string]any
		if json.Unmarshal(text, &doc) == nil {
			list = append(list, doc)
		} else if !bytes.Equal(bytes.TrimSpace(text), []byte("[DONE]")) && bytes.Contains(text, []byte(`"usage"`)) {
			broken = true
		}
	}
	return list, broken
}

// at is what stands at a path of members, nil where there is nothing.
func at(doc any, path ...string) any {
	for _, name := range path {
		members, _ := doc.(map[string]any)
		doc = members[name]
	}
	return doc
}

// billOf reads an answer: what a later event says of its cost takes the place of what an earlier one said.
func billOf(ex *fakellm.Exchange) (b bill, broken bool) {
	own := map[string]any{}
	docs, broken := documents(ex)
	for _, doc := range docs {
		for _, path := range [][]string{{"usage"}, {"response", "usage"}, {"message", "usage"}, {"metadata", "usage"}} {
			members, ok := at(doc, path...).(map[string]any)
			for name, value := range members {
				if value != nil {
					own[name] = value
				}
			}
			b.said = b.said || ok && len(members) > 0
		}
		if word := ended(doc); word != "" {
			b.finish = word
		}
	}
	first := func(paths ...string) int64 {
		for _, path := range paths {
			if n, ok := at(own, strings.Split(path, ".")...).(float64); ok {
				return int64(n)
			}
		}
		return 0
	}
	apart := first("cache_read_input_tokens", "cacheReadInputTokens") + first("cache_creation_input_tokens", "cacheWriteInputTokens")
	b.prompt = first("prompt_tokens", "input_tokens", "inputTokens") + apart
	b.completion = first("completion_tokens", "output_tokens", "outputTokens")
	if b.prompt+b.completion == 0 {
		b.prompt = first("total_tokens")
	}
	b.cached = first("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "cache_read_input_tokens", "cacheReadInputTokens")
	b.written = first("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens", "cache_creation_input_tokens", "cacheWriteInputTokens")
	b.reasoning = first("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "output_tokens_details.thinking_tokens")
	calls, _ := own["iterations"].([]any)
	if len(calls) > 0 { // all that a model was called for; what was declined costs nothing
		b.prompt, b.completion = 0, 0
	}
	for _, call := range calls {
		count := func(name string) int64 { n, _ := at(call, name).(float64); return int64(n) }
		if out := count("output_tokens"); out > 0 {
			b.prompt, b.completion = b.prompt+count("input_tokens")+count("cache_read_input_tokens")+count("cache_creation_input_tokens"), b.completion+out
		}
	}
	b.audio = first("prompt_tokens_details.audio_tokens", "input_tokens_details.audio_tokens", "input_token_details.audio_tokens") +
		first("completion_tokens_details.audio_tokens", "output_tokens_details.audio_tokens")
	return b, broken
}

// ended is why a document says that the answer ended, in the words that records have.
func ended(doc map[string]any) (word string) {
	choices, _ := doc["choices"].([]any)
	for _, choice := range choices { // of several the last one counts
		if s, ok := at(choice, "finish_reason").(string); ok && s != "" {
			word = s
		}
	}
	for _, path := range [][]string{{"stop_reason"}, {"delta", "stop_reason"}, {"stopReason"}, {"messageStop", "stopReason"}} {
		if s, ok := at(doc, path...).(string); ok {
			word = s
		}
	}
	response := any(doc)
	if inner, ok := doc["response"]; ok {
		response = inner
	}
	if at(response, "object") == "response" {
		switch status, _ := at(response, "status").(string); status {
		case "completed", "failed":
			word = status
		case "incomplete":
			word, _ = at(response, "incomplete_details", "reason").(string)
		}
	}
	for name, others := range map[string]string{"stop": "end_turn stop_sequence completed", "length": "max_tokens max_output_tokens", "tool_calls": "tool_use function_call", "content_filter": "refusal"} {
		if word != "" && strings.Contains(" "+others+" ", " "+word+" ") {
			return name
		}
	}
	return word
}

// billed is an answer that was replayed, and the id of the request that it was given to.
type billed struct {
	name, id string
	ex       *fakellm.Exchange
	hidden   bool // it broke off, or was two in one: what it says is not what it cost
}

func TestUsageOfRecordings(t *testing.T) {
	config := strings.NewReplacer("\nproviders:\n", "\nproviders:\n"+section(translatedConfig, "providers"), "\nmodels:\n", "\nmodels:\n"+section(translatedConfig, "models")).Replace(recordedConfig)
	g, u := withUpstream(t, config)
	var done []billed
	ask := func(name, request string, ex *fakellm.Exchange, hidden bool) {
		manners := []manner{{name: "whole"}, {name: "bytewise", bytewise: true}}
		if !ex.Stream {
			manners = manners[:1]
		}
		for _, m := range manners {
			u.scriptIn(m, (&recording{Exchange: *ex}).reply())
			c := g.dial(t)
			a := c.do(request)
			c.Close()
			done = append(done, billed{name + ", " + m.name, a.header.Get("X-Request-Id"), ex, hidden || a.status != 200})
		}
	}
	for _, r := range recordings(t) {
		ask(r.Name, r.request, &r.Exchange, r.fails() || r.Status >= 400)
	}
	for _, folder := range []string{"anthropic", "amazon-bedrock"} {
		all, err := fakellm.LoadFixtures(filepath.Join(sharedData(t), "provider-fixtures", folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, ex := range all {
			if strings.Contains(ex.Name, "/") {
				continue // other APIs
			}
			for endpoint, body := range map[string]string{"chat/completions": `"messages":[{"role":"user","content":"hi"}]`, "messages": `"max_tokens":99,"messages":[{"role":"user","content":"hi"}]`, "responses": `"input":"hi","store":false`} {
				request := rawPost(endpoint, "application/json", fmt.Sprintf(`{"model":"from-%s","stream":%t,%s}`, folder, ex.Stream, body))
				ask(folder+"/"+ex.Name+" for "+endpoint, request, &ex, strings.Contains(ex.Name, "spliced"))
			}
		}
	}
	eventually(t, "all records stored", func() bool { return len(g.bills(t)) >= len(done) })
	compareBills(t, g.bills(t), done)
}

// section is what stands below a word of a config.
func section(config, name string) string {
	_, rest, _ := strings.Cut(config, "\n"+name+":\n")
	var out strings.Builder
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, " ") {
			break
		}
		out.WriteString(line)
	}
	return out.String()
}

// stored is what the store has of a request.
type stored struct {
	bill
	estimated bool
}

// bills reads the store of records itself.
func (g *running) bills(t *testing.T) map[string]stored {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(filepath.Dir(g.path), "usage.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT id, prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, audio_tokens, estimated, finish FROM requests`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]stored{}
	for rows.Next() {
		var id string
		var s stored
		if err := rows.Scan(&id, &s.prompt, &s.completion, &s.cached, &s.written, &s.reasoning, &s.audio, &s.estimated, &s.finish); err != nil {
			t.Fatal(err)
		}
		s.said = !s.estimated
		all[id] = s
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func compareBills(t *testing.T, records map[string]stored, done []billed) {
	t.Helper()
	equal, silent, answers := 0, 0, map[string]bool{}
	for _, d := range done {
		got, ok := records[d.id]
		want, broken := billOf(d.ex)
		switch {
		case !ok:
			t.Errorf("%s is not recorded", d.name)
		case d.hidden, broken: // one fixture's last event has a brace too few: whether it says its cost is a matter of taste
		case !want.said:
			silent++
			if !got.estimated && got.prompt+got.completion > 0 || got.finish != want.finish {
				t.Errorf("%s: the provider said nothing of its cost; recorded is %+v, its end %q", d.name, got, want.finish)
			}
		case got.bill != want:
			t.Errorf("%s: recorded\n%+v, the provider said\n%+v", d.name, got.bill, want)
		default:
			equal++
			answers[d.ex.Name+d.ex.Path+fmt.Sprint(d.ex.Stream)] = true
		}
	}
	t.Logf("usage of %d recorded answers equals the providers' own, in %d replays; %d replays of answers that say nothing are estimated", len(answers), equal, silent)
	if len(answers) < 200 {
		t.Error("some of the recorded answers are missing")
	}
}
