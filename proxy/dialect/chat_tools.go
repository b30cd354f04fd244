package dialect

import (
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

func (r *chatRequest) readTools(v gjson.Result) error {
	if err := wantList("tools", v); err != nil {
		return err
	}
	return each("tools", v, mostTools, func(path string, tool gjson.Result) error {
		if err := wantObject(path, tool); err != nil {
			return err
		}
		function, kind := tool.Get("function"), tool.Get("type")
		if !kind.Exists() && function.Exists() {
			kind.Str = "function"
		} else if _, err := wantString(path+".type", kind); err != nil {
			return err
		}
		if kind.Str != "function" {
			r.Tools = append(r.Tools, Tool{Raw: tool.Raw, Path: path})
			return nil
		}
		if err := r.readFunction(path, path+".function", function); err != nil {
			return err
		}
		last := &r.Tools[len(r.Tools)-1]
		if cache := tool.Get("cache_control"); cache.IsObject() {
			last.Cache = cache.Raw
		}
		r.keepRest(path, tool, false, "type", "function", "cache_control")
		return nil
	})
}

// readFunctions reads the form that tools had until 2023.
func (r *chatRequest) readFunctions(v gjson.Result) error {
	if err := wantList("functions", v); err != nil {
		return err
	}
	return each("functions", v, mostTools, func(path string, function gjson.Result) error {
		return r.readFunction(path, path, function)
	})
}

// readFunction reads a tool that lies at path, whose function lies at within.
func (r *chatRequest) readFunction(path, within string, v gjson.Result) error {
	if err := wantObject(within, v); err != nil {
		return err
	}
	tool, err := Tool{Path: path}, error(nil)
	if tool.Name, err = wantName(within+".name", v.Get("name")); err != nil {
		return err
	}
	v.ForEach(func(k, v gjson.Result) bool {
		switch path := within + "." + k.Str; {
		case v.Type == gjson.Null || k.Str == "name":
		case k.Str == "description":
			tool.Description, err = wantString(path, v)
		case k.Str == "parameters":
			tool.Schema, err = v.Raw, wantObject(path, v)
		case k.Str == "strict":
			tool.Strict = new(bool)
			*tool.Strict, err = wantBool(path, v)
		case k.Str == "cache_control":
			tool.Cache, err = v.Raw, wantObject(path, v)
		default:
			r.keep(path, v, slices.Contains(toolHints, k.Str))
		}
		return err == nil
	})
	r.Tools = append(r.Tools, tool)
	return err
}

// readChoice reads tool_choice, or the function_call that it was until 2023.
func (r *chatRequest) readChoice(path string, v gjson.Result) (err error) {
	switch kind := v.Get("type"); {
	case v.Type == gjson.String:
		r.Choice.Mode, err = choiceMode(path, v)
	case v.IsObject() && path == "function_call":
		r.Choice.Mode = ChoiceNamed
		r.Choice.Name, err = wantName(path+".name", v.Get("name"))
		r.keepRest(path, v, false, "name")
	case kind.Str == "function":
		r.Choice.Mode = ChoiceNamed
		r.Choice.Name, err = wantName(path+".function.name", v.Get("function.name"))
		r.keepRest(path, v, false, "type", "function")
		r.keepRest(path+".function", v.Get("function"), false, "name")
	case kind.Str == "allowed_tools":
		err = r.readAllowed(path+".allowed_tools", v.Get("allowed_tools"))
		r.keepRest(path, v, false, "type", "allowed_tools")
		r.keepRest(path+".allowed_tools", v.Get("allowed_tools"), false, "mode", "tools")
	case kind.Str == "custom":
		r.keep(path, v, false)
	case v.IsObject():
		return wanted(path+".type", "function, allowed_tools or custom", kind)
	default:
		return wanted(path, "none, auto, required, or an object that names a function", v)
	}
	return err
}

func choiceMode(path string, v gjson.Result) (ChoiceMode, error) {
	switch v.Str {
	case "none":
		return ChoiceNone, nil
	case "auto":
		return ChoiceAuto, nil
	case "required":
		return ChoiceRequired, nil
	}
	return ChoiceUnset, wanted(path, "none, auto or required", v)
}

// readAllowed reads a choice among some of the tools. No other protocol has it, so that the others are left out: the model
// can call no tool that it is not told of.
func (r *chatRequest) readAllowed(path string, v gjson.Result) (err error) {
	if err = wantObject(path, v); err != nil {
		return err
	}
	mode := v.Get("mode")
	if r.Choice.Mode, err = choiceMode(path+".mode", mode); err != nil || r.Choice.Mode == ChoiceNone {
		return wanted(path+".mode", "auto or required", mode)
	}
	list := v.Get("tools")
	if err = wantList(path+".tools", list); err != nil {
		return err
	}
	r.allowed = []string{}
	return each(path+".tools", list, mostTools, func(path string, tool gjson.Result) error {
		name, err := wantName(path+".function.name", tool.Get("function.name"))
		if err != nil {
			return err
		}
		r.keepRest(path, tool, false, "type", "function")
		r.keepRest(path+".function", tool.Get("function"), false, "name")
		r.allowed = append(r.allowed, name)
		return nil
	})
}

func (r *chatRequest) keepAllowed() error {
	if r.allowed == nil {
		return nil
	}
	known, allowed := map[string]bool{}, map[string]bool{}
	for i := range r.Tools {
		known[r.Tools[i].Name] = true
	}
	for i, name := range r.allowed {
		allowed[name] = true
		if !known[name] {
			path := at("tool_choice.allowed_tools.tools", i)
			return wire.Invalid(path, "%s names %q, which is not among the tools.", path, name)
		}
	}
	r.Tools = slices.DeleteFunc(r.Tools, func(t Tool) bool { return !allowed[t.Name] })
	return nil
}
