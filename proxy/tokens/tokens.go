// Package tokens counts the tokens of texts and of requests: exactly, with OpenAI's vocabularies, or as an estimate that costs
// a microsecond or two whatever the length.
package tokens

import (
	"strings"
	"unsafe"
)

// Count is how many tokens of o200k_base a text has: that of OpenAI's models since GPT-4o.
func Count(text string) int { return o200k().count(bytesOf(text)) }

// Tokenizer counts the tokens of a model's texts. What that takes (some megabytes, some milliseconds) is made when it first
// counts, not before.
type Tokenizer struct {
	name    string
	load    func() *vocabulary
	percent int // of what the vocabulary gives
}

// For is the tokenizer of a model: OpenAI's by the vocabularies that they publish, others by o200k_base times a factor. The
// model may be named as any provider does: behind a path (openai/gpt-4o), a region (us.anthropic.claude-...), or in the
// name of a deployment (gpt-4o-prod).
//
// The factors are, where a vocabulary is published, what it takes of the acceptance vectors (English, Chinese, code and
// JSON, by their bytes) in percent of o200k_base:
//
//	family                                 all   English  Chinese  code  JSON   factor
//	Claude 2                               113   101      135      103   107
//	Claude 3 and later: not published                                           120
//	Gemini, Gemma 3                        107   100      91       119   115    107
//	Llama 3 and later                      101   101      105      100   99     101
//	Qwen 3                                 101   101      88       103   109    101
//	DeepSeek 3                             98    99       80       104   107    98
//	Mistral since Nemo                     112   101      118      106   115    112
//	Mistral before, Llama 2 (32k tokens)   129   110      140      128   128    129
//	Nova, Command, Grok and others: not published, or not measured              110
//
// Claude's newer vocabularies are known to take more than that of Claude 2. What an estimate was off is settled by the usage
// that the provider reports.
func For(model string) Tokenizer {
	name := strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	switch {
	case has(name, "claude"):
		return Tokenizer{"claude", o200k, 120}
	case has(name, "gemini", "gemma"):
		return Tokenizer{"gemini", o200k, 107}
	case has(name, "llama-2", "llama2", "mistral-7b", "mixtral", "codestral", "mistral-large-24", "vicuna"):
		return Tokenizer{"32k", o200k, 129}
	case has(name, "llama"):
		return Tokenizer{"llama", o200k, 101}
	case has(name, "qwen", "qwq"):
		return Tokenizer{"qwen", o200k, 101}
	case has(name, "deepseek"):
		return Tokenizer{"deepseek", o200k, 98}
	case has(name, "mistral", "ministral", "pixtral", "magistral", "devstral", "voxtral"):
		return Tokenizer{"mistral", o200k, 112}
	case has(name, "gpt-oss", "gpt-4o", "gpt4o", "gpt-4.1", "gpt-41", "gpt-4.5", "gpt-45", "gpt-5", "gpt5", "gpt-realtime", "gpt-audio", "codex"),
		isReasoner(name):
		return Tokenizer{"o200k_base", o200k, 100}
	case has(name, "gpt-4", "gpt4", "gpt-3.5", "gpt-35", "text-embedding-3", "text-embedding-ada-002", "davinci-002", "babbage-002"):
		return Tokenizer{"cl100k_base", cl100k, 100}
	}
	return Tokenizer{"other", o200k, 110}
}

func has(name string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// isReasoner finds o1, o3 and o4 as a word of the name.
func isReasoner(name string) bool {
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r < '0' || r > 'z' || r == ':' || r == '_' }) {
		if word == "o1" || word == "o3" || word == "o4" {
			return true
		}
	}
	return false
}

// Name is the vocabulary's name, or that of the family of models.
func (t Tokenizer) Name() string { return t.name }

// Exact reports whether counts are what the model's provider counts, not an estimate by another's vocabulary.
func (t Tokenizer) Exact() bool { return t.percent == 100 }

// Count is how many tokens a text has. Its time grows as n log n at worst, and with n in practice.
func (t Tokenizer) Count(text string) int { return t.CountBytes(bytesOf(text)) }

// CountBytes is Count.
func (t Tokenizer) CountBytes(text []byte) int { return t.Scale(t.load().count(text)) }

// Scale makes of a count by o200k_base, or an estimate of one, that of a model which publishes no vocabulary. Of one that
// does it changes nothing.
func (t Tokenizer) Scale(n int) int { return (n*t.percent + 99) / 100 }

// bytesOf are the bytes of a text, which nothing here changes.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }
