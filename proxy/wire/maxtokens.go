package wire

import (
	"encoding/json"
	"fmt"
)

// bounds is where the fields lie that bound an answer, and that say for whom it is. They are read only where limits apply.
type bounds struct {
	maxTokens, maxCompletion, maxOutput, n, bestOf, prompt, user, safety, metadata, tier span
}

// note takes note of a field of the request.
func (f *bounds) note(name []byte, at span) {
	switch string(name) {
	case "max_tokens":
		f.maxTokens = at
	case "max_completion_tokens":
		f.maxCompletion = at
	case "max_output_tokens":
		f.maxOutput = at
	case "n":
		f.n = at
	case "best_of":
		f.bestOf = at
	case "prompt":
		f.prompt = at
	case "user":
		f.user = at
	case "safety_identifier":
		f.safety = at
	case "metadata":
		f.metadata = at
	case "service_tier":
		f.tier = at
	}
}

// Cap reads how many tokens the client wants of each answer at most, 0 if it does not say, and how many answers: of
// /completions for each of several prompts, and best_of of which most are thrown away. Where both of chat's fields stand the
// larger counts, as servers differ in which one they obey. A value that is no whole number is an error, since a server might
// read it all the same.
func (b *Body) Cap(kind Kind) (tokens, n int64, err error) {
	for _, f := range b.capFields(kind) {
		most, err := b.whole(f)
		if err != nil {
			return 0, 1, err
		}
		tokens = max(tokens, most)
	}
	if kind == Response || kind == Message {
		return tokens, 1, nil
	}
	n = 1
	for _, f := range [...]bound{{"n", b.bounds.n}, {"best_of", b.bounds.bestOf}} {
		answers, err := b.whole(f)
		if err != nil {
			return 0, 1, err
		}
		n = max(n, min(answers, mostAnswers))
	}
	if kind == Completion {
		n = min(n*b.prompts(), mostAnswers)
	}
	return tokens, n, nil
}

// mostAnswers bounds what counts of n, so that no product of it overflows: no server gives a fraction of it.
const mostAnswers = 1 << 20

type bound struct {
	name string
	at   span
}

// capFields are the fields that bound the answer in a dialect, present or not.
func (b *Body) capFields(kind Kind) [2]bound {
	switch kind {
	case Chat:
		return [2]bound{{"max_completion_tokens", b.bounds.maxCompletion}, {"max_tokens", b.bounds.maxTokens}}
	case Completion, Message:
		return [2]bound{{"max_tokens", b.bounds.maxTokens}}
	case Response:
		return [2]bound{{"max_output_tokens", b.bounds.maxOutput}}
	}
	return [2]bound{}
}

// whole is the number at, 0 if there is none. Zero itself counts as one.
func (b *Body) whole(f bound) (int64, error) {
	if f.at.end == 0 || b.raw[f.at.start] == 'n' {
		return 0, nil
	}
	var n int64
	text := b.raw[f.at.start:f.at.end]
	for _, c := range text {
		if c < '0' || c > '9' || len(text) > 15 {
			return 0, Invalid(f.name, "%s must be a whole number of at least 1, not %s", f.name, shown(text))
		}
		n = n*10 + int64(c-'0')
	}
	return max(n, 1), nil
}

// prompts is how many prompts /completions has: a list of texts, or of lists of tokens, has one in each element.
func (b *Body) prompts() int64 {
	if !b.is('[', b.bounds.prompt) {
		return 1
	}
	n := int64(0)
	for at := range elements(b.raw, b.bounds.prompt.start) {
		if c := b.raw[at.start]; c != '"' && c != '[' {
			return 1 // one prompt, as tokens
		}
		if n++; n == mostAnswers {
			break
		}
	}
	return max(n, 1)
}

// leastCap is the smallest bound that OpenAI takes on an answer of this kind.
func (k Kind) leastCap() int64 {
	if k == Response {
		return 16
	}
	return 1
}

// Cap is a field that bounds the answer. None has no name.
type Cap struct {
	Name   string
	Tokens int64
}

// AddsCap is what SetCap would add, where it would change nothing else: an Edit does so for less. Else it is none.
func (b *Body) AddsCap(kind Kind, tokens int64, absent string) Cap {
	for _, f := range b.capFields(kind) {
		if f.at.end > 0 {
			return Cap{}
		}
	}
	if kind == Message || minTokensKey.index(b.raw, 0) >= 0 {
		return Cap{} // what must not be more than the bound may have to be lowered with it
	}
	return Cap{absent, max(tokens, kind.leastCap())}
}

// SetCap returns the body with the bound on the answer set: in the fields that are there, or in the one named absent, which
// for chat depends on the server and else is always the same. A field that is null is not there: a server may know it by
// name only to refuse it. What must not be more than the bound is lowered with it: vLLM's least length of an answer, and
// Anthropic's budget of thoughts, which are left out where less than its least would remain.
func (b *Body) SetCap(kind Kind, tokens int64, absent string) (Body, error) {
	tokens = max(tokens, kind.leastCap())
	names := make([]string, 0, 3)
	for _, f := range b.capFields(kind) {
		if f.at.end > 0 && b.raw[f.at.start] != 'n' {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		names = append(names, absent)
	}
	if (kind == Chat || kind == Completion) && b.Get("min_tokens").Int() > tokens {
		names = append(names, "min_tokens")
	}
	set := *b
	var err error
	for _, name := range names {
		if set, err = set.Set(name, tokens); err != nil {
			return Body{}, fmt.Errorf("a bound on the answer: %w", err)
		}
	}
	if kind != Message {
		return set, nil
	}
	thinking := set.Get("thinking")
	switch budget := thinking.Get("budget_tokens"); {
	case thinking.Get("type").Str != "enabled" || budget.Int() < tokens:
		return set, nil
	case tokens > leastThoughts:
		return set.Set("thinking.budget_tokens", tokens-1)
	}
	return set.Set("thinking", json.RawMessage(`{"type":"disabled"}`))
}

const leastThoughts = 1024 // Anthropic refuses less

// User is the client's end user: safety_identifier or the older user, of Messages metadata.user_id; "" if there is none.
// It may share its bytes with Raw.
func (b *Body) User(kind Kind) string {
	if kind == Message {
		return b.text(b.field(b.bounds.metadata, "user_id"))
	}
	if id := b.text(b.bounds.safety); id != "" {
		return id
	}
	return b.text(b.bounds.user)
}

// Tier is the service tier asked for, "" if there is none: flex and priority have prices of their own. It may share its
// bytes with Raw.
func (b *Body) Tier() string { return b.text(b.bounds.tier) }
