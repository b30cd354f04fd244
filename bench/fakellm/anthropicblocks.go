package fakellm

import (
	"encoding/base64"
	"maps"
	"strings"

	"github.com/tidwall/gjson"
)

// What the members of a request to the Messages API may hold.

var (
	cacheMarker = orNull(tagged(map[string]check{
		"ephemeral": fieldsOf("", map[string]check{"type": nil, "ttl": orNull(oneOf("5m", "1h"))}),
	}))
	imageTypes = oneOf("image/jpeg", "image/png", "image/gif", "image/webp")
	cited      = orNull(fieldsOf("", map[string]check{"enabled": ofType(flag)}))

	textBlock   = fieldsOf("text", map[string]check{"type": nil, "text": ofType(str), "cache_control": cacheMarker, "citations": orNull(ofType(arr))})
	urlSource   = fieldsOf("url", map[string]check{"type": nil, "url": ofType(str)})
	fileSource  = fieldsOf("file_id", map[string]check{"type": nil, "file_id": ofType(str)})
	imageSource = tagged(map[string]check{
		"base64": fieldsOf("media_type data", map[string]check{"type": nil, "media_type": imageTypes, "data": base64Data}),
		"url":    urlSource, "file": fileSource,
	})
	imageBlock     = fieldsOf("source", map[string]check{"type": nil, "source": imageSource, "cache_control": cacheMarker})
	documentSource = tagged(map[string]check{
		"base64":  fieldsOf("media_type data", map[string]check{"type": nil, "media_type": oneOf("application/pdf"), "data": base64Data}),
		"text":    fieldsOf("media_type data", map[string]check{"type": nil, "media_type": oneOf("text/plain"), "data": ofType(str)}),
		"content": fieldsOf("content", map[string]check{"type": nil, "content": either(str, listOf(tagged(map[string]check{"text": textBlock, "image": imageBlock})))}),
		"url":     urlSource, "file": fileSource,
	})
	documentBlock = fieldsOf("source", map[string]check{"type": nil, "source": documentSource, "title": orNull(sized(1, 500)),
		"context": orNull(sized(1, 1<<20)), "citations": cited, "cache_control": cacheMarker})
	resultBlock = fieldsOf("source title content", map[string]check{"type": nil, "source": ofType(str), "title": ofType(str),
		"content": listOf(tagged(map[string]check{"text": textBlock})), "citations": cited, "cache_control": cacheMarker})
	toolID = matching(`^[a-zA-Z0-9_-]+$`)
	called = map[string]check{"type": nil, "id": toolID, "name": sized(1, 200), "input": ofType(obj), "cache_control": cacheMarker, "caller": nil}

	contentBlock = tagged(contentBlocks())
	systemPrompt = either(str, listOf(tagged(map[string]check{"text": textBlock})))
	anyMessage   = fieldsOf("role content", map[string]check{"role": messageRole, "content": either(str, listOf(contentBlock))})
)

func contentBlocks() map[string]check {
	inResult := tagged(map[string]check{"text": textBlock, "image": imageBlock, "document": documentBlock, "search_result": resultBlock,
		"tool_reference": fieldsOf("tool_name", map[string]check{"type": nil, "tool_name": ofType(str), "cache_control": cacheMarker})})
	all := map[string]check{
		"text": textBlock, "image": imageBlock, "document": documentBlock, "search_result": resultBlock,
		"thinking":          fieldsOf("thinking signature", map[string]check{"type": nil, "thinking": ofType(str), "signature": ofType(str)}),
		"redacted_thinking": fieldsOf("data", map[string]check{"type": nil, "data": ofType(str)}),
		"tool_use":          fieldsOf("id name input", called),
		"server_tool_use":   fieldsOf("id name input", called),
		"tool_result": fieldsOf("tool_use_id", map[string]check{"type": nil, "tool_use_id": toolID, "content": either(str|null, listOf(inResult)),
			"is_error": orNull(ofType(flag)), "cache_control": cacheMarker}),
	}
	// What the provider's own tools leave in an answer comes back as it was.
	for _, kind := range strings.Fields("web_search_tool_result web_fetch_tool_result code_execution_tool_result bash_code_execution_tool_result" +
		" text_editor_code_execution_tool_result tool_search_tool_result container_upload mcp_tool_use mcp_tool_result compaction" +
		" advisor_tool_result fallback") {
		all[kind] = nil
	}
	return all
}

func messageRole(_ *exchange, at string, v gjson.Result) string {
	switch v.Str {
	case "user", "assistant":
		return ""
	case "system":
		return "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
	}
	return at + ": Input should be 'user' or 'assistant'"
}

func base64Data(_ *exchange, at string, v gjson.Result) string {
	if v.Type != gjson.String {
		return at + ": Input should be a valid string"
	}
	if raw, err := base64.StdEncoding.DecodeString(v.Str); err != nil || len(raw) == 0 {
		return strings.TrimSuffix(at, ".data") + ": invalid base64 data"
	}
	return ""
}

var (
	toolFields = map[string]check{"type": nil, "name": matching(`^[a-zA-Z0-9_-]{1,128}$`), "description": orNull(ofType(str)), "input_schema": inputSchema,
		"cache_control": cacheMarker, "strict": orNull(ofType(flag)), "eager_input_streaming": orNull(ofType(flag)), "defer_loading": ofType(flag),
		"allowed_callers": ofType(arr), "input_examples": ofType(arr)}
	customTool  = fieldsOf("name input_schema", toolFields)
	inputSchema = func(_ *exchange, at string, v gjson.Result) string {
		switch kind := v.Get("type"); {
		case !v.IsObject():
			return at + ": Input should be an object"
		case !kind.Exists():
			return at + ".type: Field required"
		case kind.Str != "object":
			return at + ".type: Input should be 'object'"
		}
		return ""
	}
	toolChoices = tagged(map[string]check{
		"auto": fieldsOf("", map[string]check{"type": nil, "disable_parallel_tool_use": ofType(flag)}),
		"any":  fieldsOf("", map[string]check{"type": nil, "disable_parallel_tool_use": ofType(flag)}),
		"tool": fieldsOf("name", map[string]check{"type": nil, "name": ofType(str), "disable_parallel_tool_use": ofType(flag)}),
		"none": fieldsOf("", map[string]check{"type": nil}),
	})
	shown         = orNull(oneOf("summarized", "omitted"))
	thinkingModes = tagged(map[string]check{
		"enabled":  fieldsOf("budget_tokens", map[string]check{"type": nil, "budget_tokens": ranged(whole, 1024, 1<<30), "display": shown}),
		"adaptive": fieldsOf("", map[string]check{"type": nil, "display": shown}),
		"disabled": fieldsOf("", map[string]check{"type": nil}),
	})
	outputFormat = orNull(tagged(map[string]check{"json_schema": fieldsOf("schema", map[string]check{"type": nil, "schema": ofType(obj)})}))
	outputConfig = orNull(fieldsOf("", map[string]check{"format": outputFormat, "effort": orNull(oneOf("low", "medium", "high", "xhigh", "max")), "task_budget": nil}))
)

// anyTool is a tool of the client's, or one of the provider's own, whose types carry a date.
func anyTool(x *exchange, at string, v gjson.Result) string {
	switch kind := v.Get("type"); {
	case !v.IsObject():
		return at + ": Input should be an object"
	case kind.Type == gjson.Null, kind.Str == "custom":
		return customTool(x, at+".custom", v)
	default:
		for _, own := range strings.Fields("web_search_ web_fetch_ code_execution_ bash_ text_editor_ computer_ memory_ tool_search_tool_ advisor_ mcp_toolset") {
			if strings.HasPrefix(kind.Str, own) {
				return ""
			}
		}
		return at + ": Input tag '" + kind.Str + "' found using 'type' does not match any of the expected tags: 'bash_20250124', 'custom', 'web_search_20250305' and the provider's other tools"
	}
}

var (
	countFields = map[string]check{
		"model": sized(1, 4096), "messages": listOf(anyMessage), "system": systemPrompt, "tools": listOf(anyTool), "tool_choice": orNull(toolChoices),
		"thinking": orNull(thinkingModes), "cache_control": cacheMarker, "output_config": outputConfig,
		"output_format": beta(outputFormat), "context_management": beta(nil), "mcp_servers": beta(nil), "speed": beta(nil),
	}
	countRequest   = fieldsOf("model messages", countFields)
	messageRequest = fieldsOf("model messages max_tokens", messageFields())
)

func messageFields() map[string]check {
	all := maps.Clone(countFields)
	maps.Copy(all, map[string]check{
		"max_tokens": ranged(whole, 1, 1<<30), "metadata": orNull(fieldsOf("", map[string]check{"user_id": orNull(sized(0, 512))})),
		"stop_sequences": orNull(listOf(stopSequence)), "stream": orNull(ofType(flag)), "temperature": orNull(unitInterval("temperature")),
		"top_p": orNull(unitInterval("top_p")), "top_k": orNull(ranged(whole, 0, 1<<30)), "service_tier": orNull(oneOf("auto", "standard_only")),
		"inference_geo": orNull(ofType(str)), "container": beta(nil),
	})
	return all
}

// beta is a member that is not there without an anthropic-beta header.
func beta(c check) check {
	return func(x *exchange, at string, v gjson.Result) string {
		if x.beta == "" {
			return at + ": Extra inputs are not permitted"
		}
		return c.at(x, at, v)
	}
}

func unitInterval(name string) check {
	right := ofType(num)
	return func(x *exchange, at string, v gjson.Result) string {
		if wrong := right(x, at, v); wrong != "" {
			return wrong
		}
		if v.Num < 0 || v.Num > 1 {
			return name + ": range: 0..1"
		}
		return ""
	}
}

func stopSequence(x *exchange, at string, v gjson.Result) string {
	if wrong := ofType(str)(x, at, v); wrong != "" {
		return wrong
	}
	if strings.TrimSpace(v.Str) == "" {
		return "stop_sequences: each stop sequence must contain non-whitespace"
	}
	return ""
}
