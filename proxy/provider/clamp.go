package provider

import (
	"strings"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// capped is the call's body with its bound on the answer lowered to MaxTokens, if it is not as low already, and what is still to
// be added to it for that.
func (c *Client) capped(call *Call) (*wire.Body, wire.Cap, error) {
	if call.MaxTokens == 0 || call.Count || call.Kind == wire.Plain {
		return call.Body, wire.Cap{}, nil
	}
	name := c.capName(call)
	if add := call.Body.AddsCap(call.Kind, call.MaxTokens, name); add.Name != "" {
		return call.Body, add, nil
	}
	most, _, err := call.Body.Cap(call.Kind)
	if err == nil && most > 0 && most <= call.MaxTokens {
		return call.Body, wire.Cap{}, nil
	}
	set, err := call.Body.SetCap(call.Kind, call.MaxTokens, name)
	return &set, wire.Cap{}, err
}

// capName is the field by which a server knows the bound on an answer that has none yet.
func (c *Client) capName(call *Call) string {
	switch call.Kind {
	case wire.Response:
		return "max_output_tokens"
	case wire.Completion, wire.Message:
		return "max_tokens"
	}
	switch {
	case c.cfg.Kind == "vllm", c.cfg.APIVersion != "" && c.cfg.APIVersion < "2024-09": // azure's versions are dates
		return "max_tokens"
	case c.cfg.Kind == "openai" && !strings.HasSuffix(c.host.base.Hostname(), "openai.com"):
		return dialect.CapName(call.Model)
	}
	return "max_completion_tokens"
}

// lessened is the request in the middle form with its bound on the answer lowered to MaxTokens, if it is not as low already.
// A budget of thoughts must be less than the bound.
func (call *Call) lessened() *dialect.Request {
	r := call.request
	if call.MaxTokens == 0 || r.MaxTokens > 0 && r.MaxTokens <= call.MaxTokens || call.Count {
		return r
	}
	less := *r // the request itself is for the next attempt, too
	if less.MaxTokens = call.MaxTokens; less.Reasoning.Budget >= less.MaxTokens {
		less.Reasoning.Budget = less.MaxTokens - 1
	}
	return &less
}
