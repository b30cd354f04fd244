package dialect

import (
	"slices"

	"jarvis-gateway/proxy/wire"
)

// How Claude is asked to think and to sample, by Anthropic and by Bedrock alike.
// https://platform.claude.com/docs/en/build-with-claude/extended-thinking and /adaptive-thinking

// thought is what a request says about thinking.
type thought struct {
	kind   string // thinking.type: enabled, adaptive, disabled or between_tools; "": nothing is said
	budget int64  // of enabled
	effort string // output_config.effort, "" when nothing is said
}

// thinks reports whether it asks for thoughts, with which a model takes less of other things.
func (th thought) thinks() bool { return th.kind == "enabled" || th.kind == "adaptive" }

// display is what a model that thinks freely is to show of its thoughts, "" when nothing needs to be said: the newest keep
// them to themselves unless asked.
func (t *Translation) display(m traits, th thought) string {
	r := t.Request
	switch {
	case th.kind != "adaptive":
		return ""
	case r.Reasoning.Hidden || r.From == wire.Response && r.Reasoning.Summary == "":
		return "omitted"
	case m.thinking == thinksFreely:
		return "summarized"
	}
	return ""
}

const leastBudget = 1024 // Anthropic refuses less

// budgets are what the levels of effort are for models that count tokens.
var budgets = []struct {
	effort string
	tokens int64
}{{"minimal", 1024}, {"low", 2048}, {"medium", 8192}, {"high", 16384}, {"xhigh", 32768}, {"max", 49152}}

// thought decides how a Claude is asked to think. maxTokens is the limit that the request will have, forced tells that it
// will force a tool.
func (t *Translation) thought(m traits, maxTokens int64, forced bool) (thought, error) {
	r := &t.Request.Reasoning
	path := t.reasoningPath()
	asked := r.Effort != "" && r.Effort != "none" || r.Budget > 0 || r.Adaptive
	switch {
	case r.Off || r.Effort == "none":
		if m.restless && m.off == "" {
			t.note(path) // nothing keeps it from thinking
		}
		return thought{kind: m.off}, nil
	case !asked:
		if forced && m.restless {
			return thought{kind: m.off}, nil // it would not think and call in one
		}
		return thought{}, nil
	case t.Request.From == wire.Message && r.Budget == 0 && !r.Adaptive:
		return thought{effort: t.effort(m, path)}, nil // there, effort alone is no wish for thoughts
	case m.thinking == thinksNever:
		t.note(path) // clients such as Claude Code ask every model to think
		return thought{}, nil
	}
	if t.Request.From == wire.Message && r.Budget >= maxTokens && m.thinking == thinksBudget {
		return thought{}, wire.Invalid("thinking.budget_tokens", "thinking.budget_tokens must be less than max_tokens, which is %d.", maxTokens)
	}
	th := t.wanted(m, maxTokens, path)
	switch {
	case forced, th.kind == "enabled" && (th.budget < leastBudget || t.unsigned()):
		t.note(path)
		return thought{kind: m.off}, nil
	}
	return th, nil
}

func (t *Translation) wanted(m traits, maxTokens int64, path string) thought {
	r := &t.Request.Reasoning
	if m.thinking == thinksFreely || m.thinking == thinksBoth && r.Budget == 0 {
		return thought{kind: "adaptive", effort: t.effort(m, path)}
	}
	th := thought{kind: "enabled", budget: r.Budget}
	if t.Request.From == wire.Message && r.Effort != "" {
		th.effort = t.effort(m, path)
	}
	if th.budget == 0 { // half of the answer at most is thoughts that nobody put a number to
		th.budget = min(budgetOf(r.Effort), max(maxTokens/2, leastBudget))
	}
	th.budget = min(max(th.budget, leastBudget), maxTokens-1)
	return th
}

func budgetOf(effort string) int64 {
	for _, b := range budgets {
		if b.effort == effort {
			return b.tokens
		}
	}
	return 8192
}

// effort is the level of effort that the model has for what the client asked for: the same or the nearest below, else above.
func (t *Translation) effort(m traits, path string) string {
	asked := t.Request.Reasoning.Effort
	if asked == "" && t.Request.Reasoning.Budget == 0 || m.hasEffort(asked) {
		return asked
	}
	if m.efforts == "" {
		t.note(path)
		return ""
	}
	tokens, nearest := t.Request.Reasoning.Budget, ""
	if asked != "" {
		tokens = budgetOf(asked)
	}
	for _, b := range budgets {
		if m.hasEffort(b.effort) && (nearest == "" || b.tokens <= tokens) {
			nearest = b.effort
		}
	}
	return nearest
}

// unsigned reports whether the model is in the middle of calls that it began without thoughts, or with thoughts that are
// not its own: then it must not be asked for a budget of thoughts, as it wants to see those before the first of the calls.
func (t *Translation) unsigned() bool {
	called, between, results := false, true, false // of the user's turns after the one at hand: there are some; with results
	for _, turn := range slices.Backward(t.Request.Turns) {
		if turn.Role != RoleAssistant {
			between = true
			results = results || slices.ContainsFunc(turn.Blocks, func(b Block) bool { return b.Kind == ToolResult })
			continue
		}
		if between && !results {
			break
		}
		between, results = false, false
		for _, b := range turn.Blocks {
			if b.Kind == Thinking && (b.Signature != "" || b.Redacted != "") {
				return false
			}
			called = called || b.Kind == ToolUse
		}
	}
	return called
}

// reasoningPath is where clients say how much to think.
func (t *Translation) reasoningPath() string {
	switch r := &t.Request.Reasoning; {
	case t.Request.From == wire.Message && r.Effort != "" && r.Budget == 0 && !r.Adaptive:
		return "output_config.effort"
	case t.Request.From == wire.Message:
		return "thinking"
	case t.Request.From == wire.Response:
		return "reasoning"
	case r.Effort == "" && (r.Budget > 0 || r.Adaptive):
		return "thinking"
	}
	return "reasoning_effort"
}

// sampling is what a model gets of the parameters of the same names.
type sampling struct {
	temperature, topP *float64
	topK              *int64
}

// sampling decides what Claude gets: it counts temperatures from 0 to 1, and newer models take less and less.
func (t *Translation) sampling(m traits, thinks bool) (sampling, error) {
	r := t.Request
	s := sampling{r.Temperature, r.TopP, r.TopK}
	if s.temperature != nil && *s.temperature > 1 {
		if err := t.refuse("temperature", "must be 0 to 1 for this model"); err != nil {
			return s, err
		}
		one := 1.0
		s.temperature = &one
	}
	var why string
	switch {
	case m.noSampling:
		why = "the model takes no sampling parameters"
	case thinks:
		why = "the model takes none while it thinks"
	default:
		return s, t.one(m, &s)
	}
	if s.temperature != nil && *s.temperature != 1 {
		if err := t.refuse("temperature", why); err != nil {
			return s, err
		}
	}
	kept := sampling{}
	switch {
	case s.topP == nil || *s.topP == 1:
	case *s.topP >= 0.95 && !m.noSampling:
		kept.topP = s.topP // as much as a model that thinks takes
	default:
		if err := t.refuse("top_p", why); err != nil {
			return s, err
		}
	}
	if s.topK != nil {
		if err := t.refuse("top_k", why); err != nil {
			return s, err
		}
	}
	return kept, nil
}

// one leaves one of temperature and top_p for a model that does not take both: 1 is what they are anyway.
func (t *Translation) one(m traits, s *sampling) error {
	if !m.oneSampler || s.temperature == nil || s.topP == nil {
		return nil
	}
	switch {
	case *s.topP == 1:
		s.topP = nil
	case *s.temperature == 1:
		s.temperature = nil
	default:
		s.topP = nil
		return t.refuse("top_p", "the model takes temperature or top_p, not both")
	}
	return nil
}
