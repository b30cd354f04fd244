package wire

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tidwall/gjson"
)

func TestReadUsage(t *testing.T) {
	for object, want := range map[string]Usage{
		`{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}`: {Prompt: 7, Completion: 2},
		`{"completion_tokens":2,"prompt_tokens":7,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":1},
		  "completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":2,"accepted_prediction_tokens":9}}`: {Prompt: 7, Completion: 2, CachedPrompt: 4, Reasoning: 1, Audio: 3, AudioOut: 2},
		`{"input_tokens":7,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":3},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}`: {Prompt: 7, Completion: 2, CachedPrompt: 4, CacheWrite: 3, Reasoning: 1},
		`{"prompt_tokens":5,"total_tokens":5}`: {Prompt: 5},
		`{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":45,"total_tokens":59}`: {Prompt: 14, Audio: 10, Completion: 45},
		`{"total_tokens":56}`:                              {Prompt: 56},
		`{"prompt_tokens":5,"prompt_tokens_details":null}`: {Prompt: 5},
		`{"prompt_tokens":-5,"completion_tokens":-1}`:      {},
		`{"prompt_tokens":"5","completion_tokens":null}`:   {Prompt: 5},
		`{"prompt_tokens":{},"completion_tokens":[1]}`:     {},
		`{"type":"duration","seconds":3}`:                  {Millis: 3000},
		`{"type":"duration","seconds":2.5004}`:             {Millis: 2501},
		`{"type":"duration","seconds":-1e99}`:              {},
		`{"seconds":3}`:                                    {Millis: 3000},
		`{"input_tokens":9,"input_tokens_details":{"text_tokens":2,"image_tokens":7},"output_tokens":1}`: {Prompt: 9, ImageIn: 7, Completion: 1},
		`{"prompt_tokens":9223372036854775807,"completion_tokens":1e300}`:                                {Prompt: mostTokens, Completion: mostTokens},
		`{"prompt_tokens":1000000000,"completion_tokens":1000000001}`:                                    {Prompt: mostTokens, Completion: mostTokens},
		`{}`: {},
	} {
		if got := ReadUsage([]byte(object)); got != want {
			t.Errorf("%s: %+v, want %+v", object, got, want)
		}
	}
	var u Usage
	ReadMessageUsage([]byte(`{"input_tokens":9223372036854775807,"cache_read_input_tokens":9223372036854775807,"cache_creation_input_tokens":9223372036854775807}`), &u)
	if u.Prompt != 3*mostTokens {
		t.Errorf("a bug became %+v", u)
	}
	if n := (Usage{Prompt: 7, Completion: 2, Reasoning: 1}).Total(); n != 9 {
		t.Errorf("total %d", n)
	}
}

func TestFindUsage(t *testing.T) {
	for answer, want := range map[string]string{
		`{"choices":[],"usage":{"prompt_tokens":1}}`:                                           `{"prompt_tokens":1}`,
		`{"usage":{"prompt_tokens":1},"choices":[{"message":{"content":"}"}}],"x":"\"}"}`:      `{"prompt_tokens":1}`,
		`{"usage": {"a":{"b":[{}]}} , "service_tier":"x"}`:                                     `{"a":{"b":[{}]}}`,
		"{\"usage\" :\n{\"a\":1}\n}\n":                                                         `{"a":1}`,
		`{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":1}}}`:       `{"input_tokens":1}`,
		`{"type":"response.completed","response":{"usage":{"input_tokens":1},"x":[{}]},"n":1}`: `{"input_tokens":1}`,
		`{"usage":{"a":1},"choices":[{"usage":{"b":2}}]}`:                                      `{"a":1}`,
		`{"choices":[{"usage":{"b":2}}]}`:                                                      ``,
		`{"metadata":{"usage":{"b":2}}}`:                                                       ``,
		`{"usage":null}`:                                                                       ``,
		`{"usage": null,"choices":[{"delta":{"content":"\"usage\":{}"}}]}`:                     ``,
		`{"content":"usage","x":{"a":1}}`:                                                      ``,
		`{"usage":5}`:                                                                          ``,
		`{"usage":[{"a":1}]}`:                                                                  ``,
		`[DONE]`:                                                                               ``,
		``:                                                                                     ``,
	} {
		if got := string(FindUsage([]byte(answer))); got != want {
			t.Errorf("%s: %q, want %q", answer, got, want)
		}
		if got := FindLastUsage([]byte(answer)); string(got) != want {
			t.Errorf("from the back, %s: %q, want %q", answer, got, want)
		}
	}
}

// FuzzFindUsage compares the search from the end with reading everything.
func FuzzFindUsage(f *testing.F) {
	f.Add([]byte(`{"choices":[{"usage":{"b":2}}],"usage":{"prompt_tokens":1},"x":"\"usage\":{}"}`))
	f.Add([]byte(`{"response":{"usage":{"input_tokens":1},"x":"}"},"usage":null}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		got := FindUsage(answer)
		if !json.Valid(answer) || !gjson.ParseBytes(answer).IsObject() || bytes.Contains(answer, []byte(`\u`)) || repeats(gjson.ParseBytes(answer)) {
			return
		}
		want := gjson.GetBytes(answer, "usage")
		if !want.IsObject() {
			want = gjson.GetBytes(answer, "response.usage")
		}
		if !want.IsObject() {
			want.Raw = ""
		}
		if string(got) != want.Raw {
			t.Fatalf("%s: %q, want %q", answer, got, want.Raw)
		}
		if got := FindLastUsage(answer); string(got) != want.Raw {
			t.Fatalf("from the back, %s: %q, want %q", answer, got, want.Raw)
		}
	})
}

// repeats tells an object in which readers may find different things.
func repeats(object gjson.Result) bool {
	seen, twice := map[string]bool{}, false
	object.ForEach(func(k, v gjson.Result) bool {
		twice = twice || seen[k.Str] || v.IsObject() && k.Str == "response" && repeats(v)
		seen[k.Str] = true
		return true
	})
	return twice
}

// The quick reader says what the general one says, or nothing.
func TestPlainUsage(t *testing.T) {
	plain := 0
	for _, object := range []string{
		`{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":3,"audio_tokens":1},"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":2,"accepted_prediction_tokens":0}}`,
		`{ "input_tokens" : 7 , "input_tokens_details" : { "cached_tokens" : 5, "cache_write_tokens":6 } ,` + "\n" + `"output_tokens":8,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":15 }`,
		`{"total_tokens":44}`, `{}`, `{"prompt_tokens_details":{},"prompt_tokens":1}`,
		`{"prompt_tokens":1.5}`, `{"prompt_tokens":-5}`, `{"prompt_tokens":"7"}`, `{"prompt_tokens":1e3}`, `{"prompt_tokens":null,"completion_tokens":2}`,
		`{"prompt_tokens":99999999999999999999}`, `{"other":{"prompt_tokens":5},"prompt_tokens":1}`, `{"list":[1],"prompt_tokens":1}`,
		`{"prompt\u005ftokens":3}`, `{"prompt_tokens_details":{"more":{"cached_tokens":1}},"prompt_tokens":2}`, `{"prompt_tokens":1`, `{"prompt_tokens":1}}`,
	} {
		u, ok := readPlainUsage([]byte(object))
		if !ok {
			continue
		}
		plain++
		if want := ReadUsage([]byte(" " + object)); u != want { // the space makes the quick reader give up
			t.Errorf("%s: %+v, want %+v", object, u, want)
		}
	}
	if plain != 5 {
		t.Errorf("%d were plain", plain)
	}
}

// Calls of models that are not in the sum at the top cost too.
func TestMessageIterations(t *testing.T) {
	const top = `"input_tokens":10,"cache_read_input_tokens":3,"output_tokens":7`
	plain := Usage{Prompt: 13, CachedPrompt: 3, Completion: 7}
	for iterations, want := range map[string]Usage{
		`null`: plain, `[]`: plain, `{}`: plain, `[1,"x",null]`: plain,
		`[{"type":"message",` + top + `}]`: plain,
		`[{"type":"compaction","input_tokens":100,"output_tokens":20,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":4}},{"type":"message",` + top + `}]`: {
			Prompt: 122, CachedPrompt: 3, CacheWrite: 9, CacheWrite1h: 4, Completion: 27},
		`[{"type":"message","input_tokens":4,"output_tokens":3},{"type":"advisor_message","model":"m","input_tokens":50,"output_tokens":60},{"type":"message","input_tokens":6,"cache_read_input_tokens":3,"output_tokens":4}]`: {
			Prompt: 63, CachedPrompt: 3, Completion: 67},
		`[{"type":"message","model":"a","input_tokens":9,"output_tokens":0},{"type":"fallback_message","model":"b",` + top + `}]`: plain,
		`[{"type":"message","input_tokens":9,"output_tokens":0}]`:                                                                 plain,
		`[{"type":"message","input_tokens":1,"output_tokens":1}]`:                                                                 plain, // less than all
		`[{"iterations":[{"input_tokens":900,"output_tokens":900}],` + top + `}]`:                                                 plain,
	} {
		u := Usage{Prompt: 5, Completion: 1} // of the stream's beginning
		ReadMessageUsage([]byte(`{`+top+`,"iterations":`+iterations+`,"output_tokens_details":{"thinking_tokens":2}}`), &u)
		if want.Reasoning = 2; u != want {
			t.Errorf("%s: %+v, want %+v", iterations, u, want)
		}
	}
}

// What is written to the cache for an hour has a price of its own.
func TestMessageCacheWrites(t *testing.T) {
	var u Usage
	ReadMessageUsage([]byte(`{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":12,"ephemeral_1h_input_tokens":8},"output_tokens":2}`), &u)
	if want := (Usage{Prompt: 28, CachedPrompt: 5, CacheWrite: 20, CacheWrite1h: 8, Completion: 2}); u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
}
