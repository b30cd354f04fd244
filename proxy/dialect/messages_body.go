package dialect

import (
	"cmp"
	"slices"

	"jarvis-gateway/proxy/wire"
)

// messagesBody is a request on its way into the form of Anthropic's Messages API: what is decided before any of it is
// written. https://docs.anthropic.com/en/api/messages
type messagesBody struct {
	*Translation
	r      *Request
	traits traits
	limit  int64 // max_tokens
	system []Block
	stops  []string
	turns  []Turn

	choice Choice
	tools  []Tool  // with the one that stands for a schema
	format *Format // that output_config.format says

	thought  thought
	sampling sampling
}

func (t *Translation) appendMessages(dst []byte) ([]byte, error) {
	b := &messagesBody{Translation: t, r: t.Request, traits: traitsOf(t.Model)}
	b.limit = cmp.Or(b.r.MaxTokens, b.traits.maxTokens, safeMaxTokens)
	decisions := []func() error{b.readTurns, b.decideTools, b.decideFormat, b.decideThinking, b.decideSampling, b.decideRest}
	for _, decide := range decisions {
		if err := decide(); err != nil {
			return dst, err
		}
	}
	t.limitMarkers(true, func(block *Block, _ Role) bool { return !t.noted[block.Path] })
	dst = field(append(dst, '{'), "model", t.Model)
	dst = intField(dst, "max_tokens", b.limit)
	dst = b.appendSystem(dst)
	dst = b.appendTurns(dst)
	dst = b.appendTools(dst)
	dst = b.appendThinking(dst)
	dst = b.appendSampling(dst)
	dst = b.appendRest(dst)
	return append(dst, '}'), nil
}

// safeMaxTokens is the limit for a model of which nothing is known: Anthropic's API wants one.
const safeMaxTokens = 8192

// path is what a client of this request's dialect calls a thing.
func (b *messagesBody) path(chat, responses string) string {
	if b.r.From == wire.Response {
		return responses
	}
	return chat
}

// decideThinking finds how the model is asked to think. A prefilled answer takes precedence over thoughts, as a forced
// tool does: Anthropic refuses them together.
func (b *messagesBody) decideThinking() (err error) {
	if b.thought, err = b.Translation.thought(b.traits, b.limit, b.forced()); err == nil && b.thought.thinks() && b.prefilled() {
		b.note(b.reasoningPath())
		b.thought = thought{kind: b.traits.off}
	}
	return err
}

func (b *messagesBody) decideSampling() (err error) {
	b.sampling, err = b.Translation.sampling(b.traits, b.thought.thinks())
	return err
}

// forced reports whether the model must call a tool.
func (b *messagesBody) forced() bool {
	return b.choice.Mode == ChoiceRequired || b.choice.Mode == ChoiceNamed
}

// prefilled reports whether the answer is to go on from a beginning.
func (b *messagesBody) prefilled() bool { return b.turns[len(b.turns)-1].Role == RoleAssistant }

func (b *messagesBody) appendSampling(dst []byte) []byte {
	if b.sampling.temperature != nil {
		dst = floatField(dst, "temperature", *b.sampling.temperature)
	}
	if b.sampling.topP != nil {
		dst = floatField(dst, "top_p", *b.sampling.topP)
	}
	if b.sampling.topK != nil {
		dst = intField(dst, "top_k", *b.sampling.topK)
	}
	return dst
}

// appendThinking appends thinking and output_config. The newest models keep their thoughts to themselves unless asked.
func (b *messagesBody) appendThinking(dst []byte) []byte {
	if b.thought.kind != "" {
		dst = field(append(key(dst, "thinking"), '{'), "type", b.thought.kind)
		if b.thought.kind == "enabled" {
			dst = intField(dst, "budget_tokens", b.thought.budget)
		}
		switch {
		case b.thought.kind != "adaptive":
		case b.r.Reasoning.Hidden || b.r.From == wire.Response && b.r.Reasoning.Summary == "":
			dst = field(dst, "display", "omitted")
		case b.traits.thinking == thinksFreely:
			dst = field(dst, "display", "summarized")
		}
		dst = append(dst, '}')
	}
	if b.thought.effort == "" && b.format == nil {
		return dst
	}
	dst = append(key(dst, "output_config"), '{')
	if b.thought.effort != "" {
		dst = field(dst, "effort", b.thought.effort)
	}
	if b.format != nil {
		dst = append(key(dst, "format"), `{"type":"json_schema"`...)
		dst = append(rawField(dst, "schema", b.format.Schema), '}')
	}
	return append(dst, '}')
}

// messagesOwn are members that clients of other dialects may send for Anthropic, as extensions.
var messagesOwn = []string{"cache_control", "container", "context_management", "inference_geo", "mcp_servers", "speed"}

// decideRest refuses what Anthropic's API has no place for.
func (b *messagesBody) decideRest() error {
	switch b.r.Tier {
	case "", "auto", "default", "priority":
	default:
		if err := b.refuse("service_tier", "Anthropic has no tier of this name"); err != nil {
			return err
		}
	}
	var err error
	if b.stops, err = b.refuseBlankStops("Anthropic takes no stop sequence of white space alone"); err != nil {
		return err
	}
	for _, extra := range b.r.Extra {
		switch {
		case slices.Contains(messagesOwn, extra.Path):
		case extra.Hint:
			b.note(extra.Path)
		default:
			if err := b.refuse(extra.Path, "Anthropic's Messages API has no such parameter"); err != nil {
				return err
			}
		}
	}
	if len(b.r.User) > mostUser {
		b.note(b.userPath())
	}
	return nil
}

// mostUser is the longest metadata.user_id.
const mostUser = 256

func (b *messagesBody) appendRest(dst []byte) []byte {
	if len(b.stops) > 0 {
		dst = appendStrings(key(dst, "stop_sequences"), b.stops)
	}
	if b.r.User != "" && len(b.r.User) <= mostUser {
		dst = append(field(append(key(dst, "metadata"), '{'), "user_id", b.r.User), '}')
	}
	switch b.r.Tier {
	case "default":
		dst = field(dst, "service_tier", "standard_only")
	case "priority":
		dst = field(dst, "service_tier", "auto")
	}
	for _, extra := range b.r.Extra {
		if slices.Contains(messagesOwn, extra.Path) {
			dst = rawField(dst, extra.Path, extra.Raw)
		}
	}
	if b.r.Stream {
		dst = boolField(dst, "stream", true)
	}
	return dst
}
