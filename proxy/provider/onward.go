package provider

import (
	"encoding/json"
	"errors"
	"strings"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// Onward makes of a chat request one for the rest of an answer of which so much was said. exact tells that the model goes on from
// the last letter that is no white space: the white space behind it comes again. Others are asked to go on in words, and may
// repeat what was said last.
func (c *Client) Onward(body *wire.Body, model, said string) (next wire.Body, exact bool, err error) {
	vllm := c.cfg.Kind == "vllm"
	if exact = vllm || c.kind.to != dialect.Chat && dialect.Prefills(model); exact {
		said = strings.TrimRight(said, Blank)
	}
	messages := body.Get("messages").Raw
	end := strings.LastIndexByte(messages, ']')
	if end < 0 {
		return wire.Body{}, false, errors.New("the request has no messages")
	}
	list := append([]byte(messages[:end]), `,{"role":"assistant","content":`...)
	list = append(wire.AppendString(list, said), '}')
	if !exact {
		list = append(wire.AppendString(append(list, `,{"role":"user","content":`...), goOn), '}')
	}
	if next, err = body.Set("messages", json.RawMessage(append(list, ']'))); err != nil || !vllm {
		return next, exact, err
	}
	// https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#chat-api
	if next, err = next.Set("continue_final_message", true); err == nil {
		next, err = next.Set("add_generation_prompt", false)
	}
	return next, exact, err
}

// Blank is white space that models are not shown at the end of what they go on with: Anthropic refuses it, and chat templates
// leave it out.
const Blank = " \t\r\n"

const goOn = "Your last message broke off. Go on exactly where it stopped, in the middle of a word if that is where it was. " +
	"Repeat nothing of it, and add nothing that does not belong to it."
