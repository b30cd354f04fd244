package dialect

import (
	"slices"
	"strings"
)

// gpt is what a model of OpenAI takes and refuses in Chat Completions, as far as a request depends on it.
type gpt struct {
	openai      bool   // one that OpenAI itself serves: max_tokens is called max_completion_tokens there
	efforts     string // the levels of reasoning_effort, " low medium high "; "" for a model that has no such thing
	rests       bool   // does not reason unless told to
	breakpoints bool   // takes prompt_cache_breakpoint and prompt_cache_options
	noTools     bool   // does not reason where it has function tools: only the Responses API has both
}

// What is known of OpenAI's models by how their names begin, as of November 2026; the first that fits counts. From OpenAI's
// reasoning guide and the answers of the API:
//
//	https://github.com/anomalyco/opencode/issues/4451 (minimal ended with gpt-5.1), pydantic/pydantic-ai#7081 (gpt-5.6)
//	https://github.com/Kilo-Org/kilocode/pull/13022 (cache breakpoints from gpt-5.6 on)
//	https://github.com/openai/openai-openapi/issues/541, danny-avila/LibreChat#14231 (no reasoning with tools from gpt-5.4 on)
var gpts = []struct {
	prefix string
	gpt
}{
	{"gpt-oss", gpt{efforts: " low medium high "}},
	{"gpt-5-chat", gpt{openai: true}},
	{"gpt-5.1-chat", gpt{openai: true}},
	{"gpt-5.2-chat", gpt{openai: true}},
	{"gpt-5.3-chat", gpt{openai: true}},
	{"gpt-5-search", gpt{openai: true}},
	{"gpt-5-pro", gpt{openai: true, efforts: " high "}},
	{"gpt-5.1", gpt{openai: true, efforts: " none low medium high ", rests: true}},
	{"gpt-5.2", gpt{openai: true, efforts: " none low medium high xhigh ", rests: true}},
	{"gpt-5.3", gpt{openai: true, efforts: " low medium high xhigh "}},
	{"gpt-5.4", gpt{openai: true, efforts: " none low medium high xhigh ", rests: true, noTools: true}},
	{"gpt-5.5", gpt{openai: true, efforts: " none low medium high xhigh ", noTools: true}},
	{"gpt-5.", gpt{openai: true, efforts: " none low medium high xhigh max ", noTools: true, breakpoints: true}},
	{"gpt-5", gpt{openai: true, efforts: " minimal low medium high "}},
	{"gpt-6", gpt{openai: true, efforts: " low medium high ", noTools: true, breakpoints: true}},
	{"o1-mini", gpt{openai: true}},
	{"o1-preview", gpt{openai: true}},
	{"o1", gpt{openai: true, efforts: " low medium high "}},
	{"o3", gpt{openai: true, efforts: " low medium high "}},
	{"o4", gpt{openai: true, efforts: " low medium high "}},
	{"gpt-", gpt{openai: true}},
	{"chatgpt-", gpt{openai: true}},
}

// gptOf tells what is known of a model by its name. A name with a vendor before it, such as openai/gpt-5.2, is one of a
// reseller: it reasons as OpenAI's does, but is asked as the compatible servers are.
func gptOf(model string) gpt {
	name := strings.TrimPrefix(strings.ToLower(model), "ft:")
	vendor := strings.LastIndexByte(name, '/')
	for _, g := range gpts {
		if strings.HasPrefix(name[vendor+1:], g.prefix) {
			found := g.gpt
			if vendor >= 0 {
				found.openai, found.noTools, found.breakpoints = false, false, false
			}
			return found
		}
	}
	return gpt{}
}

// CapName is the field by which a server that is neither Azure nor vLLM knows the limit of tokens, as chatBody.limits has it.
func CapName(model string) string {
	if gptOf(model).openai {
		return "max_completion_tokens"
	}
	return "max_tokens"
}

// has reports whether reasoning_effort may be level.
func (g gpt) has(level string) bool { return strings.Contains(g.efforts, " "+level+" ") }

// nearest is the level that comes closest to one that the model may not have: towards the middle, else away from it.
func (g gpt) nearest(level string) string {
	order := effortWords
	at := slices.Index(order, level)
	step := 1
	if at > slices.Index(order, "medium") {
		step = -1
	}
	for i := at; i >= 0 && i < len(order); i += step {
		if g.has(order[i]) {
			return order[i]
		}
	}
	return ""
}

// level is the effort that a request asks for, "" when it leaves that to the model. A budget of tokens is the highest level
// whose own it reaches.
func (r Reasoning) level() string {
	switch {
	case r.Off:
		return "none"
	case r.Effort != "":
		return r.Effort
	case r.Budget == 0 && r.Adaptive:
		return "medium"
	case r.Budget == 0:
		return ""
	}
	level := "low"
	for _, b := range budgets {
		if b.tokens <= r.Budget && b.effort != "minimal" {
			level = b.effort
		}
	}
	return level
}
