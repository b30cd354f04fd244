package wire

import (
	"bytes"
	"math"

	"github.com/tidwall/gjson"
)

// Usage is what one answer cost in tokens. CachedPrompt, CacheWrite and the audio part of Audio are parts of Prompt,
// Reasoning and the rest of Audio are parts of Completion, as in OpenAI's usage object.
type Usage struct {
	Prompt, Completion, CachedPrompt, CacheWrite, Reasoning, Audio int64
	Estimated                                                      bool // not reported by the provider
	Tier                                                           Tier // that the answer was served in

	// Parts of the parts, where they have prices of their own: of CacheWrite what is kept for an hour, of Prompt the tokens
	// of pictures, of Audio what is part of Completion.
	CacheWrite1h, ImageIn, AudioOut int64
	// What is not paid by the token: pictures made, sound read, text spoken.
	Images, Millis, Characters int64
}

// Total is prompt and completion together.
func (u Usage) Total() int64 { return u.Prompt + u.Completion }

// Plus is the use of two attempts together. It has no tier: what each cost is told by its own.
func (u Usage) Plus(more Usage) Usage {
	return Usage{
		Prompt: u.Prompt + more.Prompt, Completion: u.Completion + more.Completion, CachedPrompt: u.CachedPrompt + more.CachedPrompt,
		CacheWrite: u.CacheWrite + more.CacheWrite, Reasoning: u.Reasoning + more.Reasoning, Audio: u.Audio + more.Audio,
		Estimated:    u.Estimated || more.Estimated,
		CacheWrite1h: u.CacheWrite1h + more.CacheWrite1h, ImageIn: u.ImageIn + more.ImageIn, AudioOut: u.AudioOut + more.AudioOut,
		Images: u.Images + more.Images, Millis: u.Millis + more.Millis, Characters: u.Characters + more.Characters,
	}
}

// ReadUsage reads a usage object in any of the spellings of the OpenAI endpoints: prompt_tokens and completion_tokens
// (chat, completions, embeddings), input_tokens and output_tokens (responses, images, transcriptions), or total_tokens
// alone (rerank).
func ReadUsage(object []byte) Usage {
	if u, plain := readPlainUsage(object); plain {
		return u
	}
	var u Usage
	var total int64
	gjson.Parse(alias(object)).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "prompt_tokens", "input_tokens":
			u.Prompt = Tokens(v)
		case "completion_tokens", "output_tokens":
			u.Completion = Tokens(v)
		case "total_tokens":
			total = Tokens(v)
		case "prompt_tokens_details", "input_tokens_details", "input_token_details": // the last of transcriptions
			u.CachedPrompt = Tokens(v.Get("cached_tokens"))
			u.CacheWrite = Tokens(v.Get("cache_write_tokens"))
			u.ImageIn = Tokens(v.Get("image_tokens"))
			u.Audio += Tokens(v.Get("audio_tokens"))
		case "completion_tokens_details", "output_tokens_details":
			u.Reasoning = Tokens(v.Get("reasoning_tokens"))
			u.AudioOut = Tokens(v.Get("audio_tokens"))
			u.Audio += u.AudioOut
		case "seconds": // of a transcription that is paid by its length
			u.Millis = int64(math.Ceil(min(max(v.Float(), 0), 1e9) * 1000))
		}
		return true
	})
	if u.Prompt == 0 && u.Completion == 0 {
		u.Prompt = total
	}
	return u
}

// mostTokens is more than any answer has: a provider's bug must not use up all budgets, nor make sums overflow.
const mostTokens = 1_000_000_000

// Tokens is a number of tokens that a provider tells. It never goes below zero: a provider's bug must not become a refund.
func Tokens(v gjson.Result) int64 { return min(max(0, v.Int()), mostTokens) }

// FindUsage returns the raw usage object of a JSON answer: the top-level "usage", or that of the response object inside
// an event of the Responses API. It is nil when there is none or it is null.
func FindUsage(answer []byte) []byte {
	at := lastUsage(answer)
	if at < 0 {
		return nil
	}
	// The member nearly always stands near the end: then reading from there on is enough.
	if n := outermost(answer[at:]); n > 0 {
		return answer[at : at+n]
	}
	v := gjson.Get(alias(answer), "usage")
	if !v.IsObject() {
		v = gjson.Get(alias(answer), "response.usage")
	}
	if !v.IsObject() {
		return nil
	}
	return answer[v.Index : v.Index+len(v.Raw)]
}

// HasUsage tells whether a usage object may stand in an answer, or in a part of one.
func HasUsage(answer []byte) bool { return lastUsage(answer) >= 0 }

// FindLastUsage is FindUsage for a whole answer, where the member nearly always stands near the end: it looks there first,
// from the back, and has not read the rest.
func FindLastUsage(answer []byte) []byte {
	if at := usageKey.last(answer); at >= 0 {
		value := usageKey.value(answer, at)
		if n := outermost(value); n > 0 {
			return value[:n]
		}
	}
	return FindUsage(answer)
}

// outermost returns the length of the object that value begins with, if what follows it ends exactly one object more, so
// that the value is a member of the outermost; else 0.
func outermost(value []byte) int {
	if len(value) == 0 || value[0] != '{' {
		return 0
	}
	depth := 0
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				if closes(value[i+1:], "}") {
					return i + 1
				}
				return 0
			}
		case '"':
			n := stringEnd(value[i+1:])
			if n < 0 {
				return 0
			}
			i += n
		}
	}
	return 0
}

// lastUsage finds where the value of the last member "usage" begins that is not null, -1 when there is none.
func lastUsage(answer []byte) int {
	last := -1
	for at := usageKey.index(answer, 0); at >= 0; at = usageKey.index(answer, at+len(usageKey.name)) {
		value := usageKey.value(answer, at)
		if len(value) > 0 && value[0] == '{' {
			last = len(answer) - len(value)
		}
	}
	return last
}

// closes tells whether what follows a member ends exactly the objects and arrays that closers name, the innermost first, so that the
// outermost is the whole text.
func closes(rest []byte, closers string) bool {
	depth := 0
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth >= 0 {
				continue
			}
			if rest[i] != closers[0] {
				return false
			}
			if closers = closers[1:]; closers == "" {
				return len(bytes.TrimSpace(rest[i+1:])) == 0
			}
			depth = 0
		case '"':
			n := stringEnd(rest[i+1:])
			if n < 0 {
				return false
			}
			i += n
		}
	}
	return false
}

// stringEnd is the length of a JSON string whose opening quote is passed, closing quote included; -1: it does not end.
func stringEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// FindMessageUsage returns the raw usage object of an event of Anthropic's Messages API, nil when there is none.
func FindMessageUsage(event []byte) []byte {
	if lastUsage(event) < 0 {
		return nil
	}
	v := gjson.Get(alias(event), "usage")
	if !v.IsObject() {
		v = gjson.Get(alias(event), "message.usage")
	}
	if !v.IsObject() {
		return nil
	}
	return event[v.Index : v.Index+len(v.Raw)]
}

// ReadMessageUsage reads a usage object of Anthropic's Messages API into u, which may hold what an earlier event of the
// same answer said: members that are missing or null leave it as it is. There, input_tokens leaves out what was read from
// or written to the cache. https://docs.anthropic.com/en/api/messages#response-usage
//
// An answer that took several calls of models lists them all in iterations. The other members leave out calls that compact the
// conversation, and those of advisors. One that was declined before it said a word costs nothing.
func ReadMessageUsage(object []byte, u *Usage) {
	calls := readMessageTokens(gjson.Parse(alias(object)), u)
	if !calls.IsArray() {
		return
	}
	all := Usage{Reasoning: u.Reasoning, Tier: u.Tier, Estimated: u.Estimated}
	calls.ForEach(func(_, call gjson.Result) bool {
		var one Usage
		readMessageTokens(call, &one)
		if one.Completion > 0 {
			all.addMessage(one)
		}
		return true
	})
	if all.Total() > u.Total() {
		*u = all
	}
}

func (u *Usage) addMessage(one Usage) {
	u.Prompt += one.Prompt
	u.Completion += one.Completion
	u.CachedPrompt += one.CachedPrompt
	u.CacheWrite += one.CacheWrite
	u.CacheWrite1h += one.CacheWrite1h
}

// readMessageTokens reads all but the iterations, which it returns.
func readMessageTokens(object gjson.Result, u *Usage) (calls gjson.Result) {
	fresh := u.Prompt - u.CachedPrompt - u.CacheWrite
	object.ForEach(func(k, v gjson.Result) bool {
		if v.Type == gjson.Null {
			return true
		}
		switch k.Str {
		case "input_tokens":
			fresh = Tokens(v)
		case "cache_read_input_tokens":
			u.CachedPrompt = Tokens(v)
		case "cache_creation_input_tokens":
			u.CacheWrite = Tokens(v)
		case "cache_creation":
			u.CacheWrite1h = Tokens(v.Get("ephemeral_1h_input_tokens"))
		case "output_tokens":
			u.Completion = Tokens(v)
		case "output_tokens_details":
			u.Reasoning = Tokens(v.Get("thinking_tokens"))
		case "iterations":
			calls = v
		}
		return true
	})
	u.Prompt = fresh + u.CachedPrompt + u.CacheWrite
	return calls
}
