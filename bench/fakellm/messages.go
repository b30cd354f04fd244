package fakellm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// messages checks the conversation and counts it.
func (c *chat) messages(x *exchange, all gjson.Result) *apiError {
	if !all.Exists() {
		return invalid("messages", "missing_required_parameter", "Missing required parameter: 'messages'.")
	}
	var err *apiError
	i := 0
	all.ForEach(func(_, m gjson.Result) bool {
		err = c.message(x, i, m)
		i++
		return err == nil
	})
	switch {
	case err != nil:
		return err
	case i == 0:
		return invalid("messages", "empty_array", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	case len(c.owed) > 0:
		return unanswered(c.owed)
	}
	return nil
}

// settleCalls follows tool calls: those of an assistant message must all be answered by the tool messages right after it.
func (c *chat) settleCalls(i int, m *message) *apiError {
	if m.role == "tool" {
		at := slices.Index(c.owed, m.callID)
		if at < 0 {
			return invalid(fmt.Sprintf("messages.[%d].role", i), "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.") //nolint:misspell // OpenAI's own words
		}
		c.owed = slices.Delete(c.owed, at, at+1)
		return nil
	}
	if len(c.owed) > 0 {
		return unanswered(c.owed)
	}
	m.calls.ForEach(func(_, call gjson.Result) bool {
		c.owed = append(c.owed, call.Get("id").Str)
		return true
	})
	return nil
}

func unanswered(owed []string) *apiError {
	return invalid("messages", "", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s", strings.Join(owed, ", "))
}

// message is what matters of one message.
type message struct {
	role, callID string
	content      gjson.Result
	calls        gjson.Result
	other        bool // holds something else that makes up for a missing content
}

func (c *chat) message(x *exchange, i int, v gjson.Result) *apiError {
	if !v.IsObject() {
		return invalid(fmt.Sprintf("messages[%d]", i), "invalid_type", "Invalid type for 'messages[%d]': expected an object, but got %s instead.", i, typesOf(v))
	}
	var keys names
	var m message
	v.ForEach(func(k, v gjson.Result) bool {
		if keys.repeats(k.Str) {
			x.violation("repeated key %q in messages[%d]", k.Str, i)
		}
		m.field(k.Str, v)
		return true
	})
	switch m.role {
	case "system", "developer", "user", "assistant", "tool", "function":
	case "":
		return invalid(fmt.Sprintf("messages[%d].role", i), "missing_required_parameter", "Missing required parameter: 'messages[%d].role'.", i)
	default:
		return invalid(fmt.Sprintf("messages[%d].role", i), "invalid_value", "Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.role)
	}
	if err := c.content(x, i, &m); err != nil {
		return err
	}
	return c.settleCalls(i, &m)
}

func (m *message) field(key string, v gjson.Result) {
	switch key {
	case "role":
		m.role = v.Str
	case "content":
		m.content = v
	case "tool_call_id":
		m.callID = v.Str
	case "tool_calls":
		m.calls, m.other = v, v.IsArray()
	case "function_call", "refusal", "audio":
		m.other = m.other || v.Type != gjson.Null
	}
}

// content counts one message and remembers the last text.
func (c *chat) content(x *exchange, i int, m *message) *apiError {
	x.bill.Prompt += 3
	c.lastRole, c.last = m.role, ""
	switch body := m.content; {
	case body.Type == gjson.String:
		x.bill.Prompt += tokensOf(body.Str)
		c.last = body.Str
	case body.IsArray():
		if err := c.contentParts(x, i, body); err != nil {
			return err
		}
	case body.Type != gjson.Null:
		return invalid(fmt.Sprintf("messages[%d].content", i), "invalid_type", "Invalid type for 'messages[%d].content': expected one of an array of objects or string, but got %s instead.", i, typesOf(body))
	case m.role == "function", m.role == "assistant" && m.other:
	default:
		return invalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
	}
	m.calls.ForEach(func(_, call gjson.Result) bool {
		x.bill.Prompt += tokensOf(call.Get("function.name").Str + call.Get("function.arguments").Str)
		return true
	})
	if m.role == "tool" && m.callID == "" {
		return invalid(fmt.Sprintf("messages.[%d].tool_call_id", i), "missing_required_parameter", "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.")
	}
	return nil
}

// contentParts counts a content made of parts.
func (c *chat) contentParts(x *exchange, i int, body gjson.Result) *apiError {
	var err *apiError
	j := 0
	body.ForEach(func(_, part gjson.Result) bool {
		switch kind := part.Get("type").Str; kind {
		case "text", "refusal":
			text := part.Get(kind)
			if text.Type != gjson.String {
				err = invalid(fmt.Sprintf("messages[%d].content[%d].%s", i, j, kind), "missing_required_parameter", "Missing required parameter: 'messages[%d].content[%d].%s'.", i, j, kind)
				return false
			}
			x.bill.Prompt += tokensOf(text.Str)
			c.last += text.Str
		case "image_url", "video_url":
			x.bill.Prompt += 85
		case "input_audio", "audio_url", "file":
			x.bill.Prompt += 10
		default:
			err = invalid(fmt.Sprintf("messages[%d].content[%d].type", i, j), "invalid_value", "Invalid value: '%s'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', 'audio', and 'file'.", kind)
		}
		j++
		return err == nil
	})
	if j == 0 && err == nil {
		return invalid(fmt.Sprintf("messages[%d].content", i), "empty_array", "Invalid 'messages[%d].content': empty array. Expected an array with minimum length 1, but got an empty array instead.", i)
	}
	return err
}
