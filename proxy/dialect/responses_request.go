package dialect

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// responsesAsk is what a request of the Responses API says about the form of the answer.
type responsesAsk struct {
	raw       map[string]string // the members as the client wrote them: answers repeat most of them
	encrypted bool              // thoughts are to stand in the answer in a form that can be sent back
	spaced    map[string]spaced // the tools of namespaces, by the names that they have in Request
}

// responsesRequest is a request of the Responses API that is being read:
// https://platform.openai.com/docs/api-reference/responses/create
type responsesRequest struct {
	*Request
	talked  bool // past the instructions that the input begins with
	results bool // the last turn holds results of tools, and takes more of them
	said    bool // the last turn of the assistant's has a message
}

func readResponses(body []byte) (*Request, error) {
	ask := &responsesAsk{raw: map[string]string{}}
	r := responsesRequest{Request: &Request{From: wire.Response, Raw: body, Store: true, responses: ask}}
	var input, choice gjson.Result
	var err error
	parse(body).ForEach(func(k, v gjson.Result) bool {
		switch {
		case v.Type == gjson.Null:
		case k.Str == "input":
			input = v
		case k.Str == "tool_choice":
			choice = v
			ask.raw[k.Str] = v.Raw
		default:
			ask.raw[k.Str] = v.Raw
			err = r.member(k.Str, v)
		}
		return err == nil
	})
	if err == nil {
		err = r.readInput(input)
	}
	if err == nil && choice.Exists() {
		err = r.readChoice(choice)
	}
	if err != nil {
		return nil, err
	}
	ask.encrypted = ask.encrypted || !r.Store
	return r.Request, nil
}

// member reads a member of the request that is not null. Input and tool_choice come after all others.
func (r *responsesRequest) member(name string, v gjson.Result) (err error) {
	switch name {
	case "model":
		r.Model, err = wantString(name, v)
	case "instructions":
		var text string
		text, err = wantString(name, v)
		r.System = append(r.System, textBlocks(name, text)...)
	case "tools":
		err = r.readTools(v)
	case "parallel_tool_calls":
		r.Serial, err = wantBool(name, v)
		r.Serial = !r.Serial
	case "max_output_tokens":
		r.MaxTokens, err = wantInt(name, v, 1)
	case "temperature":
		r.Temperature, err = wantFloat(name, v, 0, 2)
	case "top_p":
		r.TopP, err = wantFloat(name, v, 0, 1)
	case "stream":
		r.Stream, err = wantBool(name, v)
	case "store":
		r.Store, err = wantBool(name, v)
	case "text":
		err = r.readText(v)
	case "reasoning":
		err = r.readReasoning(v)
	case "include":
		err = r.readInclude(v)
	case "metadata":
		err = wantObject(name, v) // kept with the answer, which repeats it
	default:
		return r.option(name, v)
	}
	return err
}

// option reads what concerns the user, the service and what OpenAI keeps, and leaves the rest as it is.
func (r *responsesRequest) option(name string, v gjson.Result) (err error) {
	switch name {
	case "user", "safety_identifier", "service_tier":
		err = r.service(name, v)
	case "background":
		var background bool
		if background, err = wantBool(name, v); background {
			return onlyOpenAI(name, "answers in the background are made")
		}
	case "prompt":
		return onlyOpenAI(name, "stored prompts are known")
	case "conversation":
		return onlyOpenAI(name, "conversations are kept")
	case "previous_response_id":
		e := wire.Invalid(name, "%s: Previous response with id '%s' not found: it was not stored, or is kept at another provider than the one that this model is served by. Send the whole conversation as input.", name, v.Str)
		e.Code = "previous_response_not_found"
		return e
	case "stream_options":
		if err = wantObject(name, v); err == nil {
			r.rest(name, v)
		}
	default:
		r.extra(name, v)
	}
	return err
}

// onlyOpenAI is the error of what lives at OpenAI. Another target of the model may be there.
func onlyOpenAI(path, what string) error {
	e := wire.Invalid(path, "%s: %s only by OpenAI's own Responses API, and this model is served by another.", path, what)
	e.Code, e.Failover = "unsupported_parameter", true
	return e
}

// responsesHints, in any object of the request, change nothing of what the answer says.
var responsesHints = []string{
	"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "include_obfuscation", "phase", "annotations",
	"logprobs", "created_by", "detail", "obfuscation", "provider_specific_fields", "index",
	"max_tool_calls", // counts calls of OpenAI's own tools
	"client_metadata", "verbosity", "truncation", "transforms", "usage",
}

// extra keeps what has no place in Request, but for values that ask for what happens anyway.
func (r *responsesRequest) extra(path string, v gjson.Result) {
	switch v.Raw {
	case "", "null", "false", "0", `""`, "[]", "{}", `"auto"`:
		if path != "truncation" {
			return
		}
	case `"disabled"`, `"standard"`:
		return
	}
	if said := compact(v.Raw); said == `["direct"]` || said == `{"type":"direct"}` { // by the model itself: allowed_callers, caller
		return
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	r.Extra = append(r.Extra, Extra{Path: path, Raw: v.Raw, Hint: slices.Contains(responsesHints, name) || slices.Contains(toolHints, name)})
}

// rest keeps the members of an object that are not among those read.
func (r *responsesRequest) rest(path string, object gjson.Result, read ...string) {
	if !object.IsObject() {
		return
	}
	object.ForEach(func(k, v gjson.Result) bool {
		if !slices.Contains(read, k.Str) {
			r.extra(path+"."+k.Str, v)
		}
		return true
	})
}

// optional reads members of an object that may be missing or null.
func optional[T any](want func(string, gjson.Result) (T, error), path string, v gjson.Result) (value T, err error) {
	if v.Type == gjson.Null {
		return value, nil
	}
	return want(path, v)
}

func (r *responsesRequest) readText(v gjson.Result) (err error) {
	if err = wantObject("text", v); err != nil {
		return err
	}
	if format := v.Get("format"); format.Type != gjson.Null {
		if r.Format, err = r.readFormat(format); err != nil {
			return err
		}
	}
	if verbosity := v.Get("verbosity"); verbosity.Str != "medium" {
		r.extra("text.verbosity", verbosity)
	}
	r.rest("text", v, "format", "verbosity")
	return nil
}

func (r *responsesRequest) readFormat(v gjson.Result) (f *Format, err error) {
	const path = "text.format"
	if err = wantObject(path, v); err != nil {
		return nil, err
	}
	r.rest(path, v, "type", "name", "schema", "description", "strict")
	switch kind := v.Get("type"); kind.Str {
	case "text":
		return nil, nil
	case "json_object":
		return &Format{}, nil
	case "json_schema":
	default:
		return nil, wanted(path+".type", "text, json_object or json_schema", kind)
	}
	schema := v.Get("schema")
	if err = wantObject(path+".schema", schema); err != nil {
		return nil, err
	}
	f = &Format{Schema: schema.Raw}
	if f.Name, err = wantString(path+".name", v.Get("name")); err != nil {
		return nil, err
	}
	if f.Description, err = optional(wantString, path+".description", v.Get("description")); err != nil {
		return nil, err
	}
	f.Strict, err = optional(wantSwitch, path+".strict", v.Get("strict"))
	return f, err
}

func wantSwitch(path string, v gjson.Result) (*bool, error) {
	b, err := wantBool(path, v)
	return &b, err
}

func (r *responsesRequest) readReasoning(v gjson.Result) (err error) {
	if err = wantObject("reasoning", v); err != nil {
		return err
	}
	if r.Reasoning.Effort, err = optional(wantEffort, "reasoning.effort", v.Get("effort")); err != nil {
		return err
	}
	r.Reasoning.Off = r.Reasoning.Effort == "none"
	for _, name := range []string{"generate_summary", "summary"} { // the first is the name it had
		if summary := v.Get(name); summary.Type != gjson.Null {
			if r.Reasoning.Summary, err = wantString("reasoning."+name, summary); err != nil {
				return err
			}
		}
	}
	r.rest("reasoning", v, "effort", "summary", "generate_summary")
	return nil
}

// readInclude reads what else is to stand in the answer. Most of it is about OpenAI's own tools and has no effect without
// them.
func (r *responsesRequest) readInclude(v gjson.Result) error {
	if err := wantList("include", v); err != nil {
		return err
	}
	return each("include", v, mostListed, func(path string, one gjson.Result) error {
		name, err := wantString(path, one)
		switch {
		case err != nil:
			return err
		case name == "reasoning.encrypted_content":
			r.responses.encrypted = true
		case name == "message.input_image.image_url": // always told, with the items of the input
		default:
			r.Extra = append(r.Extra, Extra{Path: path, Raw: one.Raw, Hint: strings.Contains(name, "_call.") || strings.Contains(name, "_call_output.")})
		}
		return nil
	})
}

func (r *responsesRequest) readTools(v gjson.Result) error {
	if err := wantList("tools", v); err != nil {
		return err
	}
	return each("tools", v, mostTools, func(path string, tool gjson.Result) error {
		if err := wantObject(path, tool); err != nil {
			return err
		}
		kind, err := wantString(path+".type", tool.Get("type"))
		if err != nil {
			return err
		}
		switch kind {
		case "function":
			return r.readFunction(path, tool, "")
		case "namespace":
			return r.readNamespace(path, tool)
		}
		r.Tools = append(r.Tools, Tool{Raw: tool.Raw, Path: path})
		return nil
	})
}

func (r *responsesRequest) readFunction(path string, v gjson.Result, namespace string) (err error) {
	tool := Tool{Path: path}
	if tool.Name, err = wantName(path+".name", v.Get("name")); err != nil {
		return err
	}
	tool.Name = r.responses.join(namespace, tool.Name)
	if tool.Description, err = optional(wantString, path+".description", v.Get("description")); err != nil {
		return err
	}
	if schema := v.Get("parameters"); schema.Type != gjson.Null {
		tool.Schema = schema.Raw
		if err = wantObject(path+".parameters", schema); err != nil {
			return err
		}
	}
	if tool.Strict, err = optional(wantSwitch, path+".strict", v.Get("strict")); err != nil {
		return err
	}
	r.Tools = append(r.Tools, tool)
	r.rest(path, v, "type", "name", "description", "parameters", "strict")
	return nil
}

func (r *responsesRequest) readChoice(v gjson.Result) (err error) {
	const path = "tool_choice"
	switch kind := v.Get("type"); {
	case v.Type == gjson.String:
		r.Choice.Mode, err = choiceMode(path, v)
	case !v.IsObject():
		return wanted(path, "none, auto, required, or an object that names a tool", v)
	case kind.Str == "function":
		r.Choice.Mode = ChoiceNamed
		r.Choice.Name, err = wantName(path+".name", v.Get("name"))
		r.Choice.Name = r.responses.join(v.Get("namespace").Str, r.Choice.Name)
		r.rest(path, v, "type", "name", "namespace")
	case kind.Str == "allowed_tools":
		err = r.allow(path, v)
		r.rest(path, v, "type", "mode", "tools")
	case kind.Type == gjson.String:
		r.extra(path, v)
	default:
		return wanted(path+".type", "function or allowed_tools", kind)
	}
	return err
}

// allow reads a choice among some of the tools. The others are left out: a model calls no tool that it is not told of.
func (r *responsesRequest) allow(path string, v gjson.Result) (err error) {
	mode := v.Get("mode")
	if r.Choice.Mode, err = choiceMode(path+".mode", mode); err != nil || r.Choice.Mode == ChoiceNone {
		return wanted(path+".mode", "auto or required", mode)
	}
	if err = wantList(path+".tools", v.Get("tools")); err != nil {
		return err
	}
	known, allowed := map[chosen]bool{}, map[chosen]bool{}
	for i := range r.Tools {
		known[chosenTool(&r.Tools[i])] = true
	}
	err = each(path+".tools", v.Get("tools"), mostTools, func(path string, one gjson.Result) error {
		tool := chosen{kind: one.Get("type").Str}
		if tool.kind == "function" {
			tool.name = r.responses.join(one.Get("namespace").Str, one.Get("name").Str)
		}
		if !known[tool] {
			return wire.Invalid(path, "%s is not among the tools of the request.", path)
		}
		allowed[tool] = true
		r.rest(path, one, "type", "name", "namespace", "server_label")
		return nil
	})
	r.Tools = slices.DeleteFunc(r.Tools, func(t Tool) bool { return !allowed[chosenTool(&t)] })
	return err
}

// chosen is how a choice names a tool: a function by its name, another by what it is.
type chosen struct{ kind, name string }

func chosenTool(t *Tool) chosen {
	if t.Raw != "" {
		return chosen{kind: gjson.Get(t.Raw, "type").Str}
	}
	return chosen{"function", t.Name}
}
