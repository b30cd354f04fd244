package dialect

import (
	"slices"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Where a client wrote what a request's readers keep without its path. It is only looked up for what is refused or named.

// refuseBlankStops is the stop sequences without those of white space alone, which Claude does not take.
func (t *Translation) refuseBlankStops(why string) ([]string, error) {
	if !slices.ContainsFunc(t.Request.Stop, blank) {
		return t.Request.Stop, nil
	}
	var kept []string
	paths := t.stopPaths()
	for i, s := range t.Request.Stop {
		if !blank(s) {
			kept = append(kept, s)
		} else if err := t.refuse(paths[i], why); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// stopPaths are where the client wrote each of the stop sequences: empty ones are not among these.
func (t *Translation) stopPaths() (paths []string) {
	path := "stop"
	if t.Request.From == wire.Message {
		path = "stop_sequences"
	}
	n := 0
	for one := range elements(parse(t.Request.Raw).Get(path).Raw) {
		if one != `""` {
			paths = append(paths, at(path, n))
		}
		n++
	}
	for len(paths) < len(t.Request.Stop) {
		paths = append(paths, path) // one string
	}
	return paths
}

// userPath is where the client named its end user.
func (t *Translation) userPath() string {
	switch {
	case t.Request.From == wire.Message:
		return "metadata.user_id"
	case parse(t.Request.Raw).Get("safety_identifier").Type == gjson.String:
		return "safety_identifier"
	}
	return "user"
}
