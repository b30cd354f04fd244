package guard

import "strings"

// mode is what a request holds.
type mode uint8

const (
	textMode mode = 1 << iota
	imageMode
	audioMode
	videoMode
	fileMode
	strangeMode // a part of a type that nobody has heard of
)

var modeNames = map[string]mode{"text": textMode, "image": imageMode, "audio": audioMode, "video": videoMode, "file": fileMode}

// partModes are the types of parts. https://platform.openai.com/docs/api-reference and https://docs.anthropic.com/en/api/messages
var partModes = map[string]mode{
	"text": 0, "input_text": 0, "output_text": 0, "refusal": 0, "thinking": 0, "redacted_thinking": 0, "reasoning_text": 0, "summary_text": 0,
	"tool_use": 0, "tool_result": 0, "server_tool_use": 0, "mcp_tool_use": 0, "mcp_tool_result": 0, "search_result": 0,
	"web_search_tool_result": 0, "web_fetch_tool_result": 0, "code_execution_tool_result": 0, "tool_reference": 0, "compaction": 0,
	"image": imageMode, "image_url": imageMode, "input_image": imageMode, "image_file": imageMode, "computer_screenshot": imageMode,
	"audio": audioMode, "input_audio": audioMode, "output_audio": audioMode, "audio_url": audioMode,
	"video": videoMode, "video_url": videoMode, "input_video": videoMode,
	"file": fileMode, "input_file": fileMode, "document": fileMode, "container_upload": fileMode,
}

// fieldModes are members that hold something, whatever type they say they are.
var fieldModes = map[string]mode{
	"image_url": imageMode, "input_audio": audioMode, "video_url": videoMode, "file_data": fileMode, "file_url": fileMode,
	"audio_url": audioMode, "image_file": imageMode,
}

// uses are the members whose strings are no speech.
var uses = func() map[string]use {
	all := map[string]use{"name": naming}
	for s, list := range map[use]string{
		term: `type role id object call_id tool_call_id tool_use_id item_id response_id previous_response_id conversation
			file_id container container_id finish_reason native_finish_reason stop_reason stop_sequence status param detail format media_type
			mime_type service_tier system_fingerprint voice language quality size style truncation effort reasoning_effort verbosity
			server_label connector_id require_approval output_format phase encoding_format prompt_cache_retention event event_id created_at
			vector_store_ids include $ref $schema`,
		content: `b64_json partial_image_b64 file_data image_url url file_url audio_url video_url image audio video`,
		sealed:  `model signature thought_signature encrypted_content encrypted_index obfuscation`,
	} {
		for _, n := range strings.Fields(list) {
			all[n] = s
		}
	}
	return all
}()

// skipped are the members of answers that hold no text at all.
var skipped = names(`logit_bias cache_control usage usage_metadata embedding prompt_filter_results content_filter_results
	content_filter_result token_ids prompt_token_ids prompt_logprobs kv_transfer_params cache_creation stream_options`)

// schemaUses are the members of a schema that say how, not what.
var schemaUses = map[string]use{"type": term, "format": term, "$schema": term, "$ref": naming, "$id": naming, "pattern": naming, "required": naming,
	"name": naming, "strict": term}

// schemaPlaces are those whose values are no schemas.
var schemaPlaces = map[string]zone{"properties": schemas, "patternProperties": schemas, "$defs": schemas, "definitions": schemas,
	"dependentSchemas": schemas, "enum": data, "const": data, "default": data, "example": data, "examples": data}

// kindRoles are the kinds of items, and of parts, that tell whose they are.
var kindRoles = func() map[string]role {
	all := map[string]role{}
	for r, list := range map[role]string{
		tool: `tool_result mcp_tool_result web_search_tool_result web_fetch_tool_result code_execution_tool_result
			bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result
			function_call_output custom_tool_call_output computer_call_output local_shell_call_output shell_call_output
			apply_patch_call_output tool_search_output`,
		assistant: `reasoning function_call custom_tool_call computer_call file_search_call web_search_call image_generation_call
			code_interpreter_call local_shell_call shell_call apply_patch_call mcp_call tool_search_call`,
	} {
		for _, n := range strings.Fields(list) {
			all[n] = r
		}
	}
	return all
}()

func names(list string) map[string]bool {
	set := map[string]bool{}
	for _, n := range strings.Fields(list) {
		set[n] = true
	}
	return set
}

// fields are the members of a request: who speaks in them.
var fields = map[string]place{
	"messages":          {role: user, turn: true},
	"input":             {role: user, turn: true, codes: true},
	"prompt":            {role: user, codes: true},
	"prompt_token_ids":  {role: user, codes: true},
	"prompt_embeds":     {role: user, use: sealed},
	"query":             {role: user},
	"documents":         {role: user},
	"contents":          {role: user},
	"suffix":            {role: user},
	"system":            {role: system, parts: true},
	"instructions":      {role: system},
	"tools":             {role: system},
	"functions":         {role: system},
	"response_format":   {role: system},
	"text":              {role: system},
	"prediction":        {role: assistant},
	"user":              {role: other},
	"safety_identifier": {role: other},
	"metadata":          {role: other, zone: data},
	"modalities":        {role: other, use: term},
}

// inside is the place of the value at, of the member of that name; skip is true when nothing is said in it.
func (w *walker) inside(name []byte, at, opened int, p place) (in place, skip bool) {
	in = place{zone: p.zone, role: p.role, form: prose}
	switch p.zone {
	case data:
		return in, false // a string within is one like any other
	case schema:
		in.use = schemaUses[string(name)]
		if z, ok := schemaPlaces[string(name)]; ok {
			in.zone = z
		}
		return in, false
	case schemas:
		in.zone = schema
		return in, false
	case top:
		if f, ok := fields[string(name)]; ok {
			w.count(name, at)
			return f, false
		}
		in.zone, in.role = told, other
	}
	if w.answer && skipped[string(name)] {
		return in, true
	}
	in.form, in.use = w.plain(), uses[string(name)]
	if m := fieldModes[string(name)]; w.raw[at] != 'n' {
		w.modes |= m
	}
	w.named(name, at, opened, p, &in)
	return in, w.answer && (string(name) == "logprobs" || string(name) == "top_logprobs")
}

// plain is the form of a text that nothing more is known of.
func (w *walker) plain() form {
	if w.answer {
		return either
	}
	return prose
}

// named reads the member as its name tells.
func (w *walker) named(name []byte, at, opened int, p place, in *place) {
	switch string(name) {
	case "text":
		in.group = p.group
	case "type":
		w.part(str(w.raw, at), p)
	case "content", "output", "parts", "reasoning_details":
		in.parts = true
		if string(name) == "output" && !w.answer {
			in.role = tool
		}
	case "tool_calls", "choices":
		in.parts = w.tracks // its elements have an index
	case "thinking":
		in.exact = true
	case "arguments", "partial_json":
		in.form, in.zone = nested, data
	case "input", "metadata", "variables", "env":
		in.zone = data
	case "parameters", "input_schema", "output_schema", "schema", "json_schema":
		in.zone = schema
	case "data":
		in.use = w.bytes(at, opened)
	case "logprobs", "top_logprobs":
		if end := valueEnd(w.raw, at); end > 0 {
			w.probs = append(w.probs, said{start: at, end: end})
		}
	}
}

// part notes what a part of a message is.
func (w *walker) part(kind string, p place) {
	if m, ok := partModes[kind]; ok {
		w.modes |= m
	} else if p.group > 0 {
		w.modes |= strangeMode
	}
}

// bytes tells what the member data is, of the object that was opened there: base64, or the text of a document.
func (w *walker) bytes(at, opened int) use {
	if w.raw[at] != '"' {
		return speech
	}
	switch str(w.raw, w.headOf(opened).kind) {
	case "base64", "redacted_thinking":
		return content
	case "text", "content":
		return speech
	}
	const enough = 64
	end := stringEnd(w.raw, at)
	if end < at+enough+2 || !isBase64(w.raw[at+1:at+1+enough]) {
		return speech
	}
	return content
}

func isBase64(raw []byte) bool {
	for _, c := range raw {
		if !is(c, letter|digit) && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// count counts what size rules bound, and sees whether audio is asked for and whether there are texts that no one can read.
func (w *walker) count(name []byte, at int) {
	switch string(name) {
	case "tools", "functions":
		for range elements(w.raw, at) {
			w.tools++
		}
	case "modalities":
		for at := range elements(w.raw, at) {
			w.modes |= modeNames[str(w.raw, at)]
		}
	case "prompt_embeds":
		w.numbered = w.numbered || w.raw[at] != 'n'
	}
}
