package dialect

import (
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// readText reads what may be a string or blocks of text: system, and the instructions in the middle of a conversation.
func (r messagesRequest) readText(path string, v gjson.Result) ([]Block, error) {
	blocks, err := r.readContent(path, v)
	for _, b := range blocks {
		if b.Kind != Text && err == nil {
			err = wire.Invalid(b.Path, "%s must be a block of type text.", b.Path)
		}
	}
	return blocks, err
}

func (r messagesRequest) readTurns(v gjson.Result) error {
	if err := wantList("messages", v); err != nil {
		return err
	}
	read := r.parts
	err := r.eachPart("messages", v, r.readTurn)
	if err == nil && r.parts == read {
		return wire.Invalid("messages", "messages must have at least one message.")
	}
	return err
}

func (r messagesRequest) readTurn(path string, v gjson.Result) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	turn := Turn{Path: path}
	read := r.readContent
	switch role := v.Get("role"); role.Str {
	case "user":
	case "assistant":
		turn.Role = RoleAssistant
	case "system": // since Claude Opus 4.8
		turn.Role, read = RoleSystem, r.readText
	default:
		return wanted(path+".role", "user, assistant or system", role)
	}
	content := v.Get("content")
	if content.Type == gjson.Null {
		return wanted(path+".content", "a string or a list of blocks", content)
	}
	blocks, err := read(path+".content", content)
	if err != nil {
		return err
	}
	turn.Blocks = blocks
	r.keepRest(path, v, false, "role", "content")
	if len(turn.Blocks) > 0 || turn.Role == RoleUser { // the answer is to follow even a user's turn that says nothing
		r.Turns = append(r.Turns, turn)
	}
	return nil
}

// readContent reads a string or a list of blocks. Empty text says nothing and is left out.
func (r messagesRequest) readContent(path string, v gjson.Result) (blocks []Block, err error) {
	if v.Type == gjson.String {
		return textBlocks(path, v.Str), nil
	}
	if !v.IsArray() {
		return nil, wanted(path, "a string or a list of blocks", v)
	}
	err = r.eachPart(path, v, func(path string, block gjson.Result) error {
		b, err := r.readBlock(path, block)
		if b.Kind != Text || b.Text != "" {
			blocks = append(blocks, b)
		}
		return err
	})
	return blocks, err
}

func (r messagesRequest) readBlock(path string, v gjson.Result) (b Block, err error) {
	if err = wantObject(path, v); err != nil {
		return b, err
	}
	kind, err := wantString(path+".type", v.Get("type"))
	if err != nil {
		return b, err
	}
	b.Path = path
	if cache := v.Get("cache_control"); cache.Exists() && cache.Type != gjson.Null {
		b.Cache = cache.Raw
		if err = wantObject(path+".cache_control", cache); err != nil {
			return b, err
		}
	}
	switch kind {
	case "text":
		b.Text, err = wantString(path+".text", v.Get("text"))
	case "image":
		b.Kind = Image
		err = r.readSource(path+".source", v.Get("source"), &b)
	case "document":
		err = r.readDocument(path, v, &b)
	case "thinking":
		b.Kind, b.Signature = Thinking, signature(v.Get("signature").Str)
		b.Text, err = wantString(path+".thinking", v.Get("thinking"))
	case "redacted_thinking":
		b.Kind = Thinking
		b.Redacted, err = wantString(path+".data", v.Get("data"))
	case "tool_use":
		err = r.readToolUse(path, v, &b)
	case "tool_result":
		err = r.readToolResult(path, v, &b)
	case "tool_reference":
		b.Kind, b.Raw = Other, v.Raw
		_, err = wantName(path+".tool_name", v.Get("tool_name"))
		r.keepRest(path, v, false, "type", "cache_control", "tool_name")
	default: // server tools, search results, and what is yet to come
		b.Kind, b.Raw = Other, v.Raw
	}
	if b.Kind != Other {
		r.keepRest(path, v, b.Kind == Thinking || b.Kind == ToolUse, blockMembers[kind]...)
	}
	return b, err
}

// blockMembers are the members of a block that have a place.
var blockMembers = map[string][]string{
	"text":              {"type", "cache_control", "text"},
	"image":             {"type", "cache_control", "source"},
	"document":          {"type", "cache_control", "source", "title", "context", "citations"},
	"thinking":          {"type", "cache_control", "thinking", "signature"},
	"redacted_thinking": {"type", "cache_control", "data"},
	"tool_use":          {"type", "cache_control", "id", "name", "input", "caller"},
	"tool_result":       {"type", "cache_control", "tool_use_id", "content", "is_error"},
}

// readSource reads the source of an image or a document.
func (r messagesRequest) readSource(path string, v gjson.Result, b *Block) (err error) {
	if err = wantObject(path, v); err != nil {
		return err
	}
	r.keepRest(path, v, false, "type", "media_type", "data", "url", "file_id")
	m := &Media{}
	b.Media = m
	switch kind := v.Get("type"); kind.Str {
	case "base64":
		if m.Type, err = wantString(path+".media_type", v.Get("media_type")); err != nil {
			return err
		}
		m.Type = mimeType(m.Type)
		data, ok := base64Of(v.Get("data").Str)
		if !ok {
			return wanted(path+".data", "base64", v.Get("data"))
		}
		if m.Data = data; b.Kind == Document && m.Type == "text/plain" {
			return plainText(path+".data", v.Get("data"), m)
		}
	case "url":
		m.URL, err = wantString(path+".url", v.Get("url"))
		if err == nil && !webURL(m.URL) {
			err = wanted(path+".url", "an http or https URL", v.Get("url"))
		}
	case "file":
		m.FileID, err = wantName(path+".file_id", v.Get("file_id"))
	case "text":
		m.Type = "text/plain"
		m.Text, err = wantName(path+".data", v.Get("data"))
	default:
		err = wanted(path+".type", "base64, url, file or, for documents, text or content", kind)
	}
	return err
}

// readDocument reads a document. What its dialect has beside the source and the title, context and citations, is in Raw.
func (r messagesRequest) readDocument(path string, v gjson.Result, b *Block) (err error) {
	b.Kind = Document
	source := v.Get("source")
	if source.Get("type").Str == "content" {
		content := source.Get("content")
		text, ok, err := r.plainContent(path+".source.content", content)
		switch {
		case err != nil:
			return err
		case !ok:
			b.Kind, b.Raw = Other, v.Raw
			return nil
		case text == "":
			return wanted(path+".source.content", "text that is not empty", content)
		}
		b.Media = &Media{Type: "text/plain", Text: text}
		r.keepRest(path+".source", source, false, "type", "content")
	} else if err = r.readSource(path+".source", source, b); err != nil {
		return err
	}
	if b.Media.Name, err = optional(wantString, path+".title", v.Get("title")); err != nil {
		return err
	}
	if b.Media.Type == "" && b.Media.URL != "" {
		b.Media.Type = "application/pdf" // the only kind that Anthropic fetches
	}
	options := []byte{'{'}
	if about := v.Get("context"); about.Type == gjson.String && about.Str != "" {
		options = rawField(options, "context", about.Raw)
	}
	if cites := v.Get("citations"); cites.Get("enabled").Bool() {
		options = rawField(options, "citations", cites.Raw)
	}
	r.keepRest(path+".citations", v.Get("citations"), false, "enabled")
	if len(options) > 1 {
		b.Raw = string(append(options, '}'))
	}
	return nil
}

// plainContent joins the text of a document that is made of blocks; it is not ok when some are no text.
func (r messagesRequest) plainContent(path string, v gjson.Result) (text string, ok bool, err error) {
	if v.Type == gjson.String {
		return v.Str, true, nil
	}
	if !v.IsArray() {
		return "", false, nil
	}
	var parts []string
	ok = true
	err = r.eachPart(path, v, func(path string, block gjson.Result) error {
		if ok = ok && block.Get("type").Str == "text"; ok {
			r.keepRest(path, block, false, "type", "text", "cache_control")
			r.keep(path+".cache_control", block.Get("cache_control"), true)
			parts = append(parts, block.Get("text").Str)
		}
		return nil
	})
	return strings.Join(parts, "\n"), ok && len(parts) > 0, err
}

func (r messagesRequest) readToolUse(path string, v gjson.Result, b *Block) (err error) {
	b.Kind = ToolUse
	if b.ID, err = wantName(path+".id", v.Get("id")); err != nil {
		return err
	}
	if b.Name, err = wantName(path+".name", v.Get("name")); err != nil {
		return err
	}
	if caller := v.Get("caller"); caller.Get("type").Str == "direct" { // the model itself, not a program of its
		r.keepRest(path+".caller", caller, true, "type")
	} else {
		r.keep(path+".caller", caller, false)
	}
	input := v.Get("input")
	b.Input = input.Raw
	return wantObject(path+".input", input)
}

func (r messagesRequest) readToolResult(path string, v gjson.Result, b *Block) (err error) {
	b.Kind = ToolResult
	if b.ID, err = wantName(path+".tool_use_id", v.Get("tool_use_id")); err != nil {
		return err
	}
	if failed := v.Get("is_error"); failed.Exists() && failed.Type != gjson.Null {
		if b.IsError, err = wantBool(path+".is_error", failed); err != nil {
			return err
		}
	}
	if content := v.Get("content"); content.Type != gjson.Null {
		b.Content, err = r.readContent(path+".content", content)
	}
	return err
}
