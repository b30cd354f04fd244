package dialect

import (
	"slices"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// converseRequest is a request that is being written for Bedrock's Converse, or ConverseStream: the two have one form.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
type converseRequest struct {
	*Translation
	model     traits
	family    bedrockFamily
	thought   thought // of Claude
	maxTokens int64
	native    bool        // the model can be bound to the JSON schema that is asked for
	strict    *strictness // of what has been written
	tools     []Tool      // that can be sent

	choice    Choice // what is left of the client's
	called    bool   // the conversation has calls of tools or results: then Bedrock wants to be told of tools
	mute      bool   // it is told of tools, but must not call any
	message   converseMessage
	documents map[string]int // names that are taken, with the number that the next document of the name gets
}

// bedrockFamily is whose model it is: what Converse has no member for, each family has its own for.
type bedrockFamily uint8

const (
	otherFamily  bedrockFamily = iota
	hiddenFamily               // an ARN that does not tell: of an application's inference profile, of one's own model
	claudeFamily
	novaFamily
	nova2Family
	gptOSSFamily
	openaiFamily
)

func bedrockFamilyOf(model string, m traits) bedrockFamily {
	name := strings.ToLower(model)
	switch {
	case m.claude:
		return claudeFamily
	case strings.Contains(name, "nova-2"):
		return nova2Family
	case strings.Contains(name, "nova-"):
		return novaFamily
	case strings.Contains(name, "gpt-oss"):
		return gptOSSFamily
	case strings.Contains(name, "openai."):
		return openaiFamily
	case strings.HasPrefix(name, "arn:") && !strings.Contains(name, ":foundation-model/") && !strings.Contains(name, ":inference-profile/"):
		return hiddenFamily
	}
	return otherFamily
}

// is reports whether the model is, or for all that its name tells may be, of one of the families.
func (c *converseRequest) is(families ...bedrockFamily) bool {
	return c.family == hiddenFamily || slices.Contains(families, c.family)
}

func (t *Translation) appendConverse(dst []byte) ([]byte, error) {
	c, err := t.converseRequest()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '{')
	for _, part := range []func([]byte) ([]byte, error){
		c.appendMessages, c.appendSystem, c.appendTools, c.appendInference, c.appendOutput, c.appendAdditional, c.appendExtras,
	} {
		if dst, err = part(dst); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// converseRequest decides what depends on several members of the request.
func (t *Translation) converseRequest() (*converseRequest, error) {
	m := traitsOf(t.Model)
	c := &converseRequest{Translation: t, model: m, family: bedrockFamilyOf(t.Model, m), documents: map[string]int{}, strict: &strictness{}}
	for _, turn := range t.Request.Turns {
		c.called = c.called || slices.ContainsFunc(turn.Blocks, func(b Block) bool { return b.Kind == ToolUse || b.Kind == ToolResult })
	}
	if c.maxTokens = t.Request.MaxTokens; c.maxTokens == 0 {
		c.maxTokens = m.maxTokens
	}
	if err := c.decideTools(); err != nil {
		return nil, err
	}
	if c.is(claudeFamily, novaFamily, nova2Family) {
		t.limitMarkers(c.is(claudeFamily) && (c.callable() || c.called), c.sends)
	}
	if c.family != claudeFamily {
		return c, nil
	}
	var err error
	if c.thought, err = t.thought(m, c.maxTokens, c.forced()); err == nil && c.thought.thinks() && c.prefilled() {
		c.note(c.reasoningPath()) // Claude refuses both together, as it does a forced tool
		c.thought = thought{kind: m.off}
	}
	return c, err
}

// prefilled reports whether the answer is to go on from a beginning.
func (c *converseRequest) prefilled() bool {
	turns := c.Request.Turns
	return len(turns) > 0 && turns[len(turns)-1].Role == RoleAssistant && !c.model.noPrefill
}

// appendSystem writes the instructions, the client's and then the gateway's own.
func (c *converseRequest) appendSystem(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(key(dst, "system"), '[')
	empty := len(dst)
	for i := range c.Request.System {
		b := &c.Request.System[i]
		switch {
		case b.Kind != Text:
			if err := c.refuse(b.Path, "instructions can only be text"); err != nil {
				return nil, err
			}
			continue
		case blank(b.Text):
			continue
		}
		dst = appendConverseText(dst, b.Text)
		dst = c.appendMarker(dst, b)
	}
	if f := c.Request.Format; f != nil && f.Schema == "" {
		dst = appendConverseText(dst, "Answer with one JSON object and nothing else: no text around it and no code fence.")
	}
	if anyTool, _ := c.forces(); c.schema != "" && !anyTool {
		dst = appendConverseText(dst, "You must call the tool "+c.schema+" to give your final answer.")
	}
	if c.mute && c.family != claudeFamily {
		dst = appendConverseText(dst, "Do not call any tool now. Answer with text.")
	}
	if len(dst) == empty {
		return dst[:start], nil
	}
	return append(dst, ']'), nil
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// appendConverseText appends a block of text. Bedrock refuses those without letters.
func appendConverseText(dst []byte, text string) []byte {
	dst = field(append(comma(dst), '{'), "text", text)
	return append(dst, '}')
}

// appendCache appends the block that says: the prompt up to here is to be cached, as the client marked b.
func (c *converseRequest) appendCache(dst []byte, b *Block) []byte {
	if !c.is(claudeFamily, novaFamily, nova2Family) {
		c.note(c.markerPath(b))
		return dst
	}
	dst = append(comma(dst), `{"cachePoint":{"type":"default"`...)
	if ttl := parse([]byte(b.Cache)).Get("ttl").Str; ttl == "5m" || ttl == "1h" {
		if c.is(claudeFamily) {
			dst = field(dst, "ttl", ttl)
		} else if ttl == "1h" {
			c.note(c.markerPath(b) + ".ttl")
		}
	}
	return append(dst, '}', '}')
}

// where is the path of a member by the name that it has in the client's dialect.
func (c *converseRequest) where(chat, messages, responses string) string {
	switch c.Request.From {
	case wire.Message:
		return messages
	case wire.Response:
		return responses
	}
	return chat
}
