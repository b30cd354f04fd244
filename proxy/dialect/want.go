package dialect

import (
	"math"
	"strconv"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// What a request's member must be. path names it as the client wrote it: an error is a 400 that says what was expected.

func wantString(path string, v gjson.Result) (string, error) {
	if v.Type != gjson.String {
		return "", wanted(path, "a string", v)
	}
	return v.Str, nil
}

// wantName wants a string that is not empty: what does not name anything cannot be told from the next one.
func wantName(path string, v gjson.Result) (string, error) {
	s, err := wantString(path, v)
	if err == nil && s == "" {
		err = wanted(path, "a string that is not empty", v)
	}
	return s, err
}

func wantBool(path string, v gjson.Result) (bool, error) {
	if v.Type != gjson.True && v.Type != gjson.False {
		return false, wanted(path, "true or false", v)
	}
	return v.Type == gjson.True, nil
}

func wantFloat(path string, v gjson.Result, least, most float64) (*float64, error) { //nolint:unparam // least says what most is for
	if v.Type != gjson.Number || !(v.Num >= least && v.Num <= most) {
		return nil, wanted(path, "a number from "+strconv.FormatFloat(least, 'g', -1, 64)+" to "+strconv.FormatFloat(most, 'g', -1, 64), v)
	}
	return &v.Num, nil
}

func wantInt(path string, v gjson.Result, least int64) (int64, error) {
	if v.Type != gjson.Number || v.Num != math.Trunc(v.Num) || math.Abs(v.Num) > 1<<53 || v.Int() < least {
		return 0, wanted(path, "a whole number of at least "+strconv.FormatInt(least, 10), v)
	}
	return v.Int(), nil
}

func wantObject(path string, v gjson.Result) error {
	if !v.IsObject() {
		return wanted(path, "an object", v)
	}
	return nil
}

func wantList(path string, v gjson.Result) error {
	if !v.IsArray() {
		return wanted(path, "a list", v)
	}
	return nil
}

// wanted is the error of a value of the wrong type.
func wanted(path, what string, got gjson.Result) error {
	if !got.Exists() {
		return wire.Invalid(path, "%s is missing: it must be %s.", path, what)
	}
	return wire.Invalid(path, "%s must be %s, not %s.", path, what, described(got))
}

// described tells what a value is, without the bytes of what may be a secret or a megabyte long.
func described(v gjson.Result) string {
	switch {
	case v.IsObject():
		return "an object"
	case v.IsArray():
		return "a list"
	case v.Type == gjson.String && len(v.Str) > 40:
		return "this string"
	}
	return v.Raw[:min(len(v.Raw), 60)]
}

// at is the path of a list's element: "messages[3]".
func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// service reads the members that both of OpenAI's dialects have of the client's end user and the service.
func (r *Request) service(name string, v gjson.Result) error {
	said, err := wantString(name, v)
	switch {
	case name == "service_tier":
		r.Tier = said
	case name == "safety_identifier" || r.User == "": // the newer name counts
		r.User = said
	}
	return err
}
