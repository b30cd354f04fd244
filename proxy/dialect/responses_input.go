package dialect

import (
	"encoding/base64"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

func (r *responsesRequest) readInput(v gjson.Result) (err error) {
	switch {
	case v.Type == gjson.String && v.Exists():
		r.Turns = []Turn{{Role: RoleUser, Path: "input", Blocks: []Block{{Kind: Text, Text: v.Str, Path: "input"}}}}
		return nil
	case !v.IsArray():
		return wanted("input", "a string or a list of items", v)
	}
	err = r.eachPart("input", v, r.item)
	if err == nil && len(r.Turns) == 0 {
		return wire.Invalid("input", "input has no message of the user's.")
	}
	return err
}

func (r *responsesRequest) item(path string, v gjson.Result) error {
	if err := wantObject(path, v); err != nil {
		return err
	}
	kind := v.Get("type")
	if !kind.Exists() && v.Get("role").Exists() {
		kind = gjson.Result{Type: gjson.String, Str: "message"}
	}
	results := r.results
	r.results = false
	switch kind.Str {
	case "message":
		return r.message(path, v)
	case "function_call":
		return r.call(path, v)
	case "function_call_output":
		return r.result(path, v, results)
	case "reasoning":
		return r.thought(path, v)
	case "item_reference":
		return onlyOpenAI(path, "references to items that are kept at OpenAI, instead of the items themselves, are understood")
	case "":
		return wanted(path+".type", "message, function_call, function_call_output or reasoning", kind)
	}
	r.other(Block{Kind: Other, Raw: v.Raw, Path: path}, strings.HasSuffix(kind.Str, "_output"), results)
	return nil
}

// other keeps an item of OpenAI's own tools: the writers decide. output tells that it is what a tool answered, join that
// the turn before holds results too.
func (r *responsesRequest) other(b Block, output, join bool) {
	var turn *Turn
	if output {
		turn = r.answered(b.Path, join)
	} else {
		turn = r.assistant(b.Path, false)
	}
	turn.Blocks = append(turn.Blocks, b)
}

// answered is the turn that results of tools go to. join: the turn before holds results too.
func (r *responsesRequest) answered(path string, join bool) *Turn {
	if !join {
		r.Turns = append(r.Turns, Turn{Role: RoleUser, Path: path})
	}
	r.talked, r.results = true, true
	return &r.Turns[len(r.Turns)-1]
}

// assistant is the turn that what the model said goes to: it says it in several items. Each message has a turn of its own,
// as its text must not run into that of another.
func (r *responsesRequest) assistant(path string, message bool) *Turn {
	r.talked = true
	if n := len(r.Turns); n == 0 || r.Turns[n-1].Role != RoleAssistant || message && r.said {
		r.said = false
		r.Turns = append(r.Turns, Turn{Role: RoleAssistant, Path: path})
	}
	return &r.Turns[len(r.Turns)-1]
}

func (r *responsesRequest) message(path string, v gjson.Result) error {
	blocks, err := r.content(path+".content", v.Get("content"))
	if err != nil {
		return err
	}
	switch role := v.Get("role"); role.Str {
	case "user":
		r.Turns = append(r.Turns, Turn{Role: RoleUser, Blocks: blocks, Path: path})
		r.talked = true
	case "assistant":
		turn := r.assistant(path, true)
		turn.Blocks = append(turn.Blocks, blocks...)
		r.said = r.said || len(blocks) > 0
	case "system", "developer":
		if r.talked {
			r.Turns = append(r.Turns, Turn{Role: RoleSystem, Blocks: blocks, Path: path})
		} else {
			r.System = append(r.System, blocks...)
		}
	default:
		return wanted(path+".role", "user, assistant, system or developer", role)
	}
	r.rest(path, v, "type", "role", "content", "id", "status")
	return nil
}

// content reads a string or a list of parts.
func (r *responsesRequest) content(path string, v gjson.Result) (blocks []Block, err error) {
	switch {
	case v.Type == gjson.String:
		return []Block{{Kind: Text, Text: v.Str, Path: path}}, nil
	case !v.IsArray():
		return nil, wanted(path, "a string or a list of parts", v)
	}
	err = r.eachPart(path, v, func(path string, part gjson.Result) error {
		b := Block{Path: path}
		err := r.part(&b, part)
		blocks = append(blocks, b)
		return err
	})
	return blocks, err
}

func (r *responsesRequest) part(b *Block, v gjson.Result) (err error) {
	if err = wantObject(b.Path, v); err != nil {
		return err
	}
	switch kind := v.Get("type"); kind.Str {
	case "input_text", "output_text":
		b.Text, err = wantString(b.Path+".text", v.Get("text"))
		r.rest(b.Path, v, "type", "text", cacheBreakpoint)
	case "refusal":
		b.Kind = Refusal
		b.Text, err = wantString(b.Path+".refusal", v.Get("refusal"))
		r.rest(b.Path, v, "type", "refusal")
	case "input_image":
		b.Kind, b.Media = Image, &Media{}
		err = r.image(b, v)
	case "input_file":
		b.Kind, b.Media = Document, &Media{}
		err = r.file(b, v)
	default:
		return wanted(b.Path+".type", "input_text, input_image, input_file, output_text or refusal", kind)
	}
	if v.Get(cacheBreakpoint).IsObject() {
		b.Cache = `{"type":"ephemeral"}`
	}
	return err
}

const cacheBreakpoint = "prompt_cache_breakpoint"

func (r *responsesRequest) image(b *Block, v gjson.Result) (err error) {
	m := b.Media
	if m.FileID, err = optional(wantString, b.Path+".file_id", v.Get("file_id")); err != nil {
		return err
	}
	if detail := v.Get("detail"); detail.Str != "auto" {
		if m.Detail, err = optional(wantString, b.Path+".detail", detail); err != nil {
			return err
		}
	}
	if at, url := b.Path+".image_url", v.Get("image_url"); m.FileID == "" {
		var ok bool
		if m.Type, m.Data, ok = dataURL(url.Str); !ok {
			if !webURL(url.Str) {
				return wanted(at, "an http or https URL, or a data URL with base64", url)
			}
			m.URL = url.Str
		}
	}
	r.rest(b.Path, v, "type", "image_url", "file_id", "detail", cacheBreakpoint)
	return nil
}

func (r *responsesRequest) file(b *Block, v gjson.Result) (err error) {
	m := b.Media
	if m.Name, err = optional(wantString, b.Path+".filename", v.Get("filename")); err != nil {
		return err
	}
	data, url, id := v.Get("file_data"), v.Get("file_url"), v.Get("file_id")
	switch {
	case data.Type == gjson.String:
		var ok bool
		if m.Type, m.Data, ok = dataURL(data.Str); !ok {
			if m.Data, ok = base64Of(data.Str); !ok {
				return wanted(b.Path+".file_data", "base64, or a data URL with base64", data)
			}
		}
		if err = readData(b.Path+".file_data", data, b); err != nil {
			return err
		}
	case url.Type == gjson.String:
		if m.URL = url.Str; !webURL(m.URL) {
			return wanted(b.Path+".file_url", "an http or https URL", url)
		}
	default:
		if m.FileID, err = wantName(b.Path+".file_id", id); err != nil {
			return err
		}
	}
	r.rest(b.Path, v, "type", "filename", "file_data", "file_url", "file_id", cacheBreakpoint)
	return nil
}

func (r *responsesRequest) call(path string, v gjson.Result) (err error) {
	b := Block{Kind: ToolUse, Path: path}
	if b.ID, err = wantName(path+".call_id", v.Get("call_id")); err != nil {
		return err
	}
	if b.Name, err = wantName(path+".name", v.Get("name")); err != nil {
		return err
	}
	namespace, err := optional(wantString, path+".namespace", v.Get("namespace"))
	if err != nil {
		return err
	}
	b.Name = r.responses.join(namespace, b.Name)
	arguments := v.Get("arguments")
	if b.Input, err = wantString(path+".arguments", arguments); err != nil {
		return err
	}
	if strings.TrimSpace(b.Input) == "" {
		b.Input = "{}"
	}
	turn := r.assistant(path, false)
	turn.Blocks = append(turn.Blocks, b)
	r.rest(path, v, "type", "call_id", "namespace", "name", "arguments", "id", "status")
	return nil
}

// result reads what a tool answered. join: the turn before holds results too.
func (r *responsesRequest) result(path string, v gjson.Result, join bool) (err error) {
	b := Block{Kind: ToolResult, Path: path}
	if b.ID, err = wantName(path+".call_id", v.Get("call_id")); err != nil {
		return err
	}
	if b.Content, err = r.content(path+".output", v.Get("output")); err != nil {
		return err
	}
	turn := r.answered(path, join)
	turn.Blocks = append(turn.Blocks, b)
	r.rest(path, v, "type", "call_id", "output", "id", "status", "name", "namespace")
	return nil
}

// sealed begins the encrypted_content that this gateway writes: base64 of {"t":thought,"s":signature} or {"r":hidden
// thought}. Providers check their signatures themselves, so it need not be secret.
const sealed = "jarvis1."

func (r *responsesRequest) thought(path string, v gjson.Result) error {
	b := Block{Kind: Thinking, Path: path}
	secret, err := optional(wantString, path+".encrypted_content", v.Get("encrypted_content"))
	if err != nil {
		return err
	}
	r.restOfParts(path+".content", v.Get("content"))
	r.restOfParts(path+".summary", v.Get("summary"))
	if ours, ok := strings.CutPrefix(secret, sealed); ok {
		if !unseal(&b, ours) {
			return wire.Invalid(path+".encrypted_content", "%s.encrypted_content is not as this gateway wrote it.", path)
		}
	} else {
		if err := r.unsigned(&b, v); err != nil {
			return err
		}
		if secret != "" {
			r.Extra = append(r.Extra, Extra{Path: path + ".encrypted_content", Raw: v.Get("encrypted_content").Raw, Hint: true})
		}
	}
	if b.Text != "" || b.Redacted != "" || b.Signature != "" {
		turn := r.assistant(path, false)
		turn.Blocks = append(turn.Blocks, b)
	}
	r.rest(path, v, "type", "id", "summary", "content", "encrypted_content", "status")
	return nil
}

// restOfParts names what the parts of a thought have beside their text, which came with the answer.
func (r *responsesRequest) restOfParts(path string, list gjson.Result) {
	i := 0
	for part := range elements(list.Raw) {
		for name, value := range members(part) {
			if name != "type" && name != "text" && value != "null" {
				r.Extra = append(r.Extra, Extra{Path: at(path, i) + "." + name, Raw: value, Hint: true})
			}
		}
		i++
	}
}

// unsigned reads a thought from what may be read of it: its content, or else its summary.
func (r *responsesRequest) unsigned(b *Block, v gjson.Result) error {
	for _, from := range []string{"content", "summary"} {
		list := v.Get(from)
		if list.Type == gjson.Null || b.Text != "" {
			continue
		}
		if err := wantList(b.Path+"."+from, list); err != nil {
			return err
		}
		var texts []string
		err := r.eachPart(b.Path+"."+from, list, func(path string, part gjson.Result) error {
			text, err := wantString(path+".text", part.Get("text"))
			texts = append(texts, text)
			return err
		})
		if err != nil {
			return err
		}
		b.Text, b.Summary = strings.Join(texts, "\n\n"), from == "summary"
	}
	return nil
}

func unseal(b *Block, secret string) bool {
	plain, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || !valid(plain) {
		return false
	}
	v := parse(plain)
	b.Text, b.Signature, b.Redacted = v.Get("t").Str, v.Get("s").Str, v.Get("r").Str
	return v.IsObject()
}
