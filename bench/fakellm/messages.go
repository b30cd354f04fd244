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
	var owed []string // ids of tool calls that want an answer
	i := 0
	all.ForEach(func(_, m gjson.Result) bool {
		if err = c.message(x, i, m); err == nil {
			owed, err = settleCalls(owed, i, m)
		}
		i++
		return err == nil
	})
	switch {
	case err != nil:
		return err
	case i == 0:
		return invalid("messages", "empty_array", "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.")
	case len(owed) > 0:
		return unanswered(owed)
	}
	return nil
}

// settleCalls follows tool calls: those of an assistant message must all be answered by the tool messages right after it.
func settleCalls(owed []string, i int, m gjson.Result) ([]string, *apiError) {
	if m.Get("role").Str == "tool" {
		at := slices.Index(owed, m.Get("tool_call_id").Str)
		if at < 0 {
			return owed, invalid(fmt.Sprintf("messages.[%d].role", i), "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.")
		}
		return slices.Delete(owed, at, at+1), nil
	}
	if len(owed) > 0 {
		return owed, unanswered(owed)
	}
	m.Get("tool_calls").ForEach(func(_, call gjson.Result) bool {
		owed = append(owed, call.Get("id").Str)
		return true
	})
	return owed, nil
}

func unanswered(owed []string) *apiError {
	return invalid("messages", "", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: %s", strings.Join(owed, ", "))
}

func (c *chat) message(x *exchange, i int, m gjson.Result) *apiError {
	if !m.IsObject() {
		return invalid(fmt.Sprintf("messages[%d]", i), "invalid_type", "Invalid type for 'messages[%d]': expected an object, but got %s instead.", i, typesOf(m))
	}
	var keys names
	var body, role gjson.Result
	m.ForEach(func(k, v gjson.Result) bool {
		if keys.repeats(k.Str) {
			x.violation("repeated key %q in messages[%d]", k.Str, i)
		}
		switch k.Str {
		case "role":
			role = v
		case "content":
			body = v
		case "tool_calls":
			v.ForEach(func(_, call gjson.Result) bool {
				x.bill.Prompt += tokensOf(call.Get("function.name").Str + call.Get("function.arguments").Str)
				return true
			})
		}
		return true
	})
	switch role.Str {
	case "system", "developer", "user", "assistant", "tool", "function":
	case "":
		return invalid(fmt.Sprintf("messages[%d].role", i), "missing_required_parameter", "Missing required parameter: 'messages[%d].role'.", i)
	default:
		return invalid(fmt.Sprintf("messages[%d].role", i), "invalid_value", "Invalid value: '%s'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", role.Str)
	}
	return c.content(x, i, role.Str, body, m)
}

// content counts one message and remembers the last text.
func (c *chat) content(x *exchange, i int, role string, body, m gjson.Result) *apiError {
	x.bill.Prompt += 3
	c.lastRole, c.last = role, ""
	switch {
	case body.Type == gjson.String:
		x.bill.Prompt += tokensOf(body.Str)
		c.last = body.Str
	case body.IsArray():
		return c.contentParts(x, i, body)
	case body.Type == gjson.Null && role == "assistant" && emptyTurn(m):
		return invalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
	case body.Type == gjson.Null && role != "assistant" && role != "function":
		return invalid(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
	case body.Type != gjson.Null:
		return invalid(fmt.Sprintf("messages[%d].content", i), "invalid_type", "Invalid type for 'messages[%d].content': expected one of an array of objects or string, but got %s instead.", i, typesOf(body))
	}
	if role == "tool" && m.Get("tool_call_id").Str == "" {
		return invalid(fmt.Sprintf("messages.[%d].tool_call_id", i), "missing_required_parameter", "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.")
	}
	return nil
}

// emptyTurn reports whether an assistant message without content holds nothing else either.
func emptyTurn(m gjson.Result) bool {
	for _, key := range []string{"tool_calls", "function_call", "refusal", "audio"} {
		if v := m.Get(key); v.Exists() && v.Type != gjson.Null {
			return false
		}
	}
	return true
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
