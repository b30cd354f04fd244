package provider

import (
	"strconv"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// countHere counts a prompt's tokens for a provider that has no call for it: with OpenAI's vocabulary, and the framing that
// OpenAI documents for chat. Of other models it is an estimate.
func (c *Client) countHere(call *Call, reply *wire.Reply) error {
	*reply = wire.Reply{Status: 200, ContentType: typeJSON, Header: reply.Header[:0], Length: -1}
	reply.Body = append(strconv.AppendInt([]byte(`{"input_tokens":`), int64(promptTokens(call.request)), 10), '}')
	return nil
}

const (
	framing     = 3   // tokens around each message, and to begin the answer
	imageTokens = 765 // of a picture of 1024 x 1024 at high detail
)

func promptTokens(r *dialect.Request) int {
	n := framing
	if len(r.System) > 0 {
		n += framing + blockTokens(r.System)
	}
	for _, t := range r.Turns {
		n += framing + blockTokens(t.Blocks)
	}
	for _, t := range r.Tools {
		n += tokens.Count(t.Name) + tokens.Count(t.Description) + tokens.Count(t.Schema)
	}
	return n
}

func blockTokens(blocks []dialect.Block) (n int) {
	for i := range blocks {
		b := &blocks[i]
		switch b.Kind {
		case dialect.Image:
			n += imageTokens
		case dialect.Document, dialect.Audio:
			if b.Media != nil {
				n += tokens.Count(b.Media.Text) + len(b.Media.Data)/8
			}
		case dialect.ToolUse:
			n += tokens.Count(b.Name) + tokens.Count(b.Input)
		case dialect.ToolResult:
			n += blockTokens(b.Content)
		case dialect.Text, dialect.Refusal, dialect.Thinking, dialect.Other:
			n += tokens.Count(b.Text)
		}
	}
	return n
}
