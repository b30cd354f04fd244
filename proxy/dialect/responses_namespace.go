package dialect

import (
	"strings"

	"github.com/tidwall/gjson"
)

// Clients of the Responses API may put functions into namespaces, as Codex does with those of each MCP server. Nobody
// else has these: a function's name becomes that of both, and is taken apart again for the answer.

// spaced is the name of a function in a namespace.
type spaced struct{ namespace, name string }

// join is the name that a function has in Request. No two functions of namespaces have the same.
func (a *responsesAsk) join(namespace, name string) string {
	if namespace == "" {
		return name
	}
	function := spaced{namespace, name}
	joined := strings.TrimRight(namespace, "_") + "__" + name
	for {
		switch known, taken := a.spaced[joined]; {
		case known == function:
			return joined
		case taken:
			joined += "_"
			continue
		}
		if a.spaced == nil {
			a.spaced = map[string]spaced{}
		}
		a.spaced[joined] = function
		return joined
	}
}

// split is the name of a function as the client knows it.
func (a *responsesAsk) split(joined string) spaced {
	if function, ok := a.spaced[joined]; ok {
		return function
	}
	return spaced{name: joined}
}

// readNamespace reads the tools of a namespace. What describes them all has no place elsewhere: it is named as left out.
func (r *responsesRequest) readNamespace(path string, v gjson.Result) error {
	namespace, err := wantName(path+".name", v.Get("name"))
	if err != nil {
		return err
	}
	if about := v.Get("description"); about.Type == gjson.String && about.Str != "" {
		r.Extra = append(r.Extra, Extra{Path: path + ".description", Raw: about.Raw, Hint: true})
	}
	r.rest(path, v, "type", "name", "description", "tools")
	if err = wantList(path+".tools", v.Get("tools")); err != nil {
		return err
	}
	return each(path+".tools", v.Get("tools"), mostTools, func(path string, tool gjson.Result) error {
		if err := wantObject(path, tool); err != nil {
			return err
		}
		if tool.Get("type").Str != "function" {
			r.Tools = append(r.Tools, Tool{Raw: tool.Raw, Path: path})
			return nil
		}
		return r.readFunction(path, tool, namespace)
	})
}
