package dialect

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

func (r *chatRequest) readMessages(v gjson.Result) error {
	if err := wantList("messages", v); err != nil {
		return err
	}
	err := r.eachPart("messages", v, r.readMessage)
	if err == nil && r.parts == 0 {
		return wire.Invalid("messages", "messages must have at least one message.")
	}
	return err
}

// readMessage reads one message.
func (r *chatRequest) readMessage(path string, v gjson.Result) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	turn, role := Turn{Path: path}, v.Get("role")
	var err error
	switch role.Str {
	case "system", "developer":
		turn.Role = RoleSystem
		turn.Blocks, err = r.readContent(path, v, "role")
	case "user":
		turn.Blocks, err = r.readContent(path, v, "role")
	case "assistant":
		turn.Role = RoleAssistant
		turn.Blocks, err = r.readAssistant(path, v)
	case "tool":
		turn.Blocks, err = r.readToolResult(path, v)
	case "function":
		turn.Blocks, err = r.readFunctionResult(path, v)
	default:
		return wanted(path+".role", "system, developer, user, assistant, tool or function", role)
	}
	if name := v.Get("name"); err == nil && name.Exists() && name.Type != gjson.Null && role.Str != "function" {
		turn.Name, err = wantString(path+".name", name)
	}
	if err != nil {
		return err
	}
	if cache := v.Get("cache_control"); cache.IsObject() && len(turn.Blocks) > 0 {
		marked := &turn.Blocks[len(turn.Blocks)-1]
		marked.Cache, marked.CachePath = cache.Raw, path+".cache_control"
	}
	r.add(turn)
	return nil
}

func (r *chatRequest) add(turn Turn) {
	if turn.Role == RoleSystem && !r.talked {
		r.System = append(r.System, turn.Blocks...)
		if turn.Name != "" {
			r.Extra = append(r.Extra, Extra{Path: turn.Path + ".name", Raw: strconv.Quote(turn.Name), Hint: true})
		}
		return
	}
	r.talked = true
	if len(turn.Blocks) > 0 || turn.Role == RoleUser { // the answer is to follow even a user's turn that says nothing
		r.Turns = append(r.Turns, turn)
	}
}

// readContent reads a message's content, which must be there, and keeps what else the message has beside read.
func (r *chatRequest) readContent(path string, v gjson.Result, read ...string) ([]Block, error) {
	r.keepRest(path, v, false, append(read, "content", "name", "cache_control")...)
	content := v.Get("content")
	if content.Type == gjson.Null {
		return nil, wanted(path+".content", "a string or a list of parts", content)
	}
	return r.readParts(path+".content", content, false)
}

// readParts reads content: a string, a list of parts, or null. echoed tells that it comes from an answer: what is unknown
// in it the client did not ask for.
func (r *chatRequest) readParts(path string, v gjson.Result, echoed bool) (blocks []Block, err error) {
	switch {
	case v.Type == gjson.Null:
		return nil, nil
	case v.Type == gjson.String:
		return textBlocks(path, v.Str), nil
	case !v.IsArray():
		return nil, wanted(path, "a string or a list of parts", v)
	}
	err = r.eachPart(path, v, func(path string, part gjson.Result) error {
		b, err := r.readPart(path, part, echoed)
		if b.Kind != Text || b.Text != "" {
			blocks = append(blocks, b)
		}
		return err
	})
	return blocks, err
}

// textBlocks is a block of text, or none: providers refuse empty ones.
func textBlocks(path, text string) []Block {
	if text == "" {
		return nil
	}
	return []Block{{Kind: Text, Text: text, Path: path}}
}

// partMembers are the members of the object that a part has beside its type.
var partMembers = map[string][]string{
	"image_url":   {"url", "detail"},
	"input_audio": {"data", "format"},
	"file":        {"file_data", "filename", "file_id"},
}

func (r *chatRequest) readPart(path string, v gjson.Result, echoed bool) (b Block, err error) {
	if v.Type == gjson.String { // some clients put strings into the list
		return Block{Kind: Text, Text: v.Str, Path: path}, nil
	}
	if err := wantObject(path, v); err != nil {
		return b, err
	}
	kind, err := wantString(path+".type", v.Get("type"))
	if err != nil {
		return b, err
	}
	b.Path = path
	if cache := v.Get("cache_control"); cache.IsObject() {
		b.Cache = cache.Raw
	}
	if v.Get(cacheBreakpoint).IsObject() && b.Cache == "" {
		b.Cache, b.CachePath = `{"type":"ephemeral"}`, path+"."+cacheBreakpoint
	}
	switch kind {
	case "text", "input_text", "output_text":
		kind = "text"
		b.Text, err = wantString(path+".text", v.Get("text"))
	case "refusal":
		b.Kind = Refusal
		b.Text, err = wantString(path+".refusal", v.Get("refusal"))
	case "image_url":
		err = readImage(path+".image_url", v.Get("image_url"), &b)
	case "input_audio":
		err = readAudio(path+".input_audio", v.Get("input_audio"), &b)
	case "file":
		err = readFile(path+".file", v.Get("file"), &b)
	default:
		b.Kind, b.Raw = Other, v.Raw
		return b, nil
	}
	r.keepRest(path, v, echoed, "type", "cache_control", cacheBreakpoint, kind)
	r.keepRest(path+"."+kind, v.Get(kind), echoed, partMembers[kind]...)
	return b, err
}

// readImage reads {url, detail}, or the URL alone as older clients write it.
func readImage(path string, v gjson.Result, b *Block) (err error) {
	b.Kind, b.Media = Image, &Media{}
	url := v
	if v.Type != gjson.String {
		if err = wantObject(path, v); err != nil {
			return err
		}
		url, path = v.Get("url"), path+".url"
		b.Media.Detail = v.Get("detail").Str
	}
	s, err := wantString(path, url)
	if err != nil {
		return err
	}
	if webURL(s) {
		b.Media.URL = s
		return nil
	}
	mime, data, ok := dataURL(s)
	if !ok || !strings.HasPrefix(mime, "image/") {
		return wanted(path, "an http or https URL, or a data URL such as data:image/png;base64,...", url)
	}
	b.Media.Type, b.Media.Data = mime, data
	return nil
}

func readAudio(path string, v gjson.Result, b *Block) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	data, ok := base64Of(v.Get("data").Str)
	if !ok {
		return wanted(path+".data", "base64", v.Get("data"))
	}
	mime := mimeOf(v.Get("format").Str)
	if mime == "" {
		return wanted(path+".format", "wav or mp3", v.Get("format"))
	}
	b.Kind, b.Media = Audio, &Media{Type: mime, Data: data}
	return nil
}

// readFile reads {file_id}, or {file_data, filename} where the data is a data URL, plain base64 or, an extension, the
// file's address.
func readFile(path string, v gjson.Result, b *Block) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	b.Kind, b.Media = Document, &Media{Name: v.Get("filename").Str, FileID: v.Get("file_id").Str}
	data := v.Get("file_data")
	if b.Media.FileID != "" && !data.Exists() {
		return nil
	}
	b.Media.FileID = ""
	s, err := wantString(path+".file_data", data)
	if err != nil {
		return err
	}
	if webURL(s) {
		b.Media.URL = s
		return nil
	}
	mime, encoded, ok := dataURL(s)
	if !ok {
		encoded, ok = base64Of(s)
	}
	if !ok {
		return wanted(path+".file_data", "a data URL such as data:application/pdf;base64,...", data)
	}
	b.Media.Type, b.Media.Data = mime, encoded
	return readData(path+".file_data", data, b)
}

// readData finds what a file that is given by its data is.
func readData(path string, v gjson.Result, b *Block) error {
	m := b.Media
	if m.Type == "" || m.Type == "application/octet-stream" {
		m.Type = mimeByName(m.Name)
	}
	switch {
	case m.Type == "" && strings.HasPrefix(m.Data, "JVBERi0"): // %PDF-
		m.Type = "application/pdf"
	case strings.HasPrefix(m.Type, "image/"):
		b.Kind = Image
	case strings.HasPrefix(m.Type, "audio/"):
		b.Kind = Audio
	case m.Type == "text/plain":
		return plainText(path, v, m)
	}
	return nil
}

// plainText decodes a document of plain text: that much every protocol can carry.
func plainText(path string, v gjson.Result, m *Media) error {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(m.Data, "="))
	if err != nil {
		return wanted(path, "base64", v)
	}
	m.Text, m.Data = strings.ToValidUTF8(string(text), "\uFFFD"), ""
	return nil
}

// readAssistant reads the thoughts, the text and the calls of an answer that the client sends back. What else it has the
// client has got with the answer: none of it is lost.
func (r *chatRequest) readAssistant(path string, v gjson.Result) ([]Block, error) {
	r.keep(path+".audio", v.Get("audio"), false)
	r.keepRest(path, v, true, "role", "content", "name", "cache_control", "refusal", "tool_calls", "function_call",
		"audio", "reasoning", "reasoning_content", "reasoning_details", "thinking_blocks")
	blocks, err := r.readThoughts(path, v)
	if err != nil {
		return nil, err
	}
	content, err := r.readParts(path+".content", v.Get("content"), true)
	if err != nil {
		return nil, err
	}
	blocks = append(blocks, content...)
	if refusal := v.Get("refusal"); refusal.Type == gjson.String && refusal.Str != "" {
		blocks = append(blocks, Block{Kind: Refusal, Text: refusal.Str, Path: path + ".refusal"})
	}
	calls, err := r.readCalls(path, v)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 && len(calls) == 0 && !v.Get("content").Exists() && !v.Get("audio").Exists() {
		return nil, wanted(path+".content", "a string or a list of parts where there are no tool_calls", gjson.Result{})
	}
	return append(blocks, calls...), nil
}

func (r *chatRequest) readCalls(path string, v gjson.Result) (blocks []Block, err error) {
	if old := v.Get("function_call"); old.Exists() && old.Type != gjson.Null {
		r.called = "call_" + strconv.Itoa(len(r.Turns))
		b, err := r.readCall(path+".function_call", old)
		if err != nil {
			return nil, err
		}
		b.ID, b.Path = r.called, path+".function_call"
		blocks = append(blocks, b)
	}
	calls := v.Get("tool_calls")
	if calls.Type == gjson.Null {
		return blocks, nil
	}
	if err := wantList(path+".tool_calls", calls); err != nil {
		return nil, err
	}
	err = r.eachPart(path+".tool_calls", calls, func(path string, call gjson.Result) error {
		b, err := r.readToolCall(path, call)
		blocks = append(blocks, b)
		return err
	})
	return blocks, err
}

func (r *chatRequest) readToolCall(path string, v gjson.Result) (b Block, err error) {
	if err = wantObject(path, v); err != nil {
		return b, err
	}
	if kind := v.Get("type"); kind.Type == gjson.String && kind.Str != "function" {
		return Block{Kind: Other, Raw: v.Raw, Path: path}, nil
	}
	if b, err = r.readCall(path+".function", v.Get("function")); err != nil {
		return b, err
	}
	b.Path = path
	if cache := v.Get("cache_control"); cache.IsObject() {
		b.Cache = cache.Raw
	}
	b.ID, err = wantName(path+".id", v.Get("id"))
	r.keepRest(path, v, true, "id", "type", "function", "index", "cache_control")
	return b, err
}

// readCall reads {name, arguments}. Models that call without arguments make them "".
func (r *chatRequest) readCall(path string, v gjson.Result) (b Block, err error) {
	if err = wantObject(path, v); err != nil {
		return b, err
	}
	r.keepRest(path, v, true, "name", "arguments")
	b.Kind, b.Input = ToolUse, "{}"
	if b.Name, err = wantName(path+".name", v.Get("name")); err != nil {
		return b, err
	}
	args := v.Get("arguments")
	if args.Type == gjson.Null || args.Type == gjson.String && strings.TrimSpace(args.Str) == "" {
		return b, nil
	}
	b.Input, err = wantString(path+".arguments", args)
	return b, err
}

func (r *chatRequest) readToolResult(path string, v gjson.Result) ([]Block, error) {
	id, err := wantName(path+".tool_call_id", v.Get("tool_call_id"))
	if err != nil {
		return nil, err
	}
	content, err := r.readContent(path, v, "role", "tool_call_id")
	return []Block{{Kind: ToolResult, ID: id, Content: content, Path: path}}, err
}

// readFunctionResult reads the result of the last function_call.
func (r *chatRequest) readFunctionResult(path string, v gjson.Result) ([]Block, error) {
	if r.called == "" {
		return nil, wire.Invalid(path, "%s is a function's result, but no message before it has a function_call.", path)
	}
	content, err := r.readContent(path, v, "role")
	return []Block{{Kind: ToolResult, ID: r.called, Content: content, Path: path}}, err
}
