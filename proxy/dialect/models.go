package dialect

import "strings"

// traits is what a model takes and what it refuses, as far as a request depends on it. Providers answer 400 for a parameter
// that a model no longer knows, so the writers have to know too.
type traits struct {
	claude     bool
	maxTokens  int64    // the most that the model writes: the limit where the client names none; 0: the provider knows
	jsonSchema bool     // the answer's text can be bound to a JSON schema (output_config.format, outputConfig.textFormat)
	thinking   thinking // how thinking is asked for
	restless   bool     // thinks unless told otherwise
	off        string   // of a restless one: the type of thinking that keeps it from thinking; "" when nothing does
	efforts    string   // the levels of output_config.effort, " low medium high "; "" when the model has no such thing
	oneSampler bool     // temperature or top_p, not both
	noSampling bool     // neither temperature nor top_p nor top_k
	noPrefill  bool     // the last turn must be the user's
	noForcing  bool     // a tool cannot be forced
}

// thinking is how a model is asked to think.
type thinking uint8

const (
	thinksNever  thinking = iota
	thinksBudget          // {type: enabled, budget_tokens}
	thinksBoth            // that, or {type: adaptive}
	thinksFreely          // {type: adaptive} only
)

const (
	efforts3 = " low medium high "
	efforts4 = " low medium high max "
	efforts5 = " low medium high xhigh max "
)

// What is known of Claude by a part of the model's name, as of November 2026; the first that fits counts, so that 4-5 goes
// before 4. Limits are those of model_prices_and_context_window.json of LiteLLM (July 2026) and Anthropic's overview of
// models; the rest is from
//
//	https://platform.claude.com/docs/en/build-with-claude/effort and /structured-outputs
//	https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking (4.6 deprecates budgets, 4.7 refuses them)
//	https://platform.claude.com/docs/en/models/sonnet-5/migration-guide (no sampling parameters), .../opus-5/migration-guide
//	https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5 (always thinks, no forced tool), likewise sonnet-5-5, fable-5-1, haiku-5-5
//	https://github.com/langfuse/langfuse/issues/9882 (temperature and top_p), langchain-ai/langchain#36611 (prefill)
var claudes = []struct {
	part string
	traits
}{
	{"claude-instant", traits{maxTokens: 4096}},
	{"claude-v2", traits{maxTokens: 4096}},
	{"claude-2", traits{maxTokens: 4096}},
	{"claude-3-7", traits{maxTokens: 64000, thinking: thinksBudget}},
	{"claude-3-5", traits{maxTokens: 8192}},
	{"claude-3", traits{maxTokens: 4096}},
	{"haiku-4-5", traits{maxTokens: 64000, thinking: thinksBudget, jsonSchema: true, oneSampler: true}},
	{"sonnet-4-5", traits{maxTokens: 64000, thinking: thinksBudget, jsonSchema: true, oneSampler: true}},
	{"sonnet-4-6", traits{maxTokens: 64000, thinking: thinksBoth, efforts: efforts4, jsonSchema: true, oneSampler: true, noPrefill: true}},
	{"sonnet-4", traits{maxTokens: 64000, thinking: thinksBudget}},
	{"4-sonnet", traits{maxTokens: 64000, thinking: thinksBudget}},
	{"opus-4-1", traits{maxTokens: 32000, thinking: thinksBudget, oneSampler: true}},
	{"opus-4-5", traits{maxTokens: 64000, thinking: thinksBudget, efforts: efforts3, jsonSchema: true, oneSampler: true}},
	{"opus-4-6", traits{maxTokens: 128000, thinking: thinksBoth, efforts: efforts4, jsonSchema: true, oneSampler: true, noPrefill: true}},
	{"opus-4-7", traits{maxTokens: 128000, thinking: thinksFreely, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"opus-4-8", traits{maxTokens: 128000, thinking: thinksFreely, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"opus-4", traits{maxTokens: 32000, thinking: thinksBudget}},
	{"4-opus", traits{maxTokens: 32000, thinking: thinksBudget}},
	{"mythos-preview", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts4, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"sonnet-5-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, off: "between_tools", efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true, noForcing: true}},
	{"haiku-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"opus-5-5", newest},
	{"fable-5-1", newest},
	{"fable-5-2", newest},
	{"mythos-5-1", newest},
	{"mythos-5-2", newest},
	{"opus-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, off: "disabled", efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"sonnet-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, off: "disabled", efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"fable-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
	{"mythos-5", traits{maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true}},
}

// newest is what Claude Opus 5.5 and Fable 5.1 have in common: also the best guess for a Claude that is not in the table,
// which was made before it.
var newest = traits{maxTokens: 128000, thinking: thinksFreely, restless: true, efforts: efforts5, jsonSchema: true, noSampling: true, noPrefill: true, noForcing: true}

// traitsOf tells what is known of a model by its name: Anthropic's, Bedrock's id, or an ARN or inference profile that holds
// one. Of a model that is not a Claude nothing is known: it gets no limit, no thinking and no schema, and may have both
// temperature and top_p.
func traitsOf(model string) traits {
	name := strings.ReplaceAll(strings.ToLower(model), ".", "-") // some write claude-opus-4.5
	if !strings.Contains(name, "claude") {
		return traits{}
	}
	found := newest
	for _, c := range claudes {
		if strings.Contains(name, c.part) {
			found = c.traits
			break
		}
	}
	found.claude = true
	return found
}

// hasEffort reports whether output_config.effort may be level.
func (t traits) hasEffort(level string) bool { return strings.Contains(t.efforts, " "+level+" ") }
