package dialect

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// Resolve puts the items of earlier answers into a request of the Responses API in the place of references to them, as
// clients send them for what they believe to be stored. find returns the output items of a response, nil when the gateway
// does not keep it. References that are not found stay. It returns nil when nothing was to be changed.
func Resolve(body []byte, find func(response string) ([]byte, error)) ([]byte, error) {
	if !bytes.Contains(body, []byte(`"item_reference"`)) {
		return nil, nil
	}
	var found bool
	var failure error
	known := map[string]gjson.Result{}
	items := []byte{'['}
	parse(body).Get("input").ForEach(func(_, item gjson.Result) bool {
		raw := item.Raw
		if id := item.Get("id").Str; item.Get("type").Str == "item_reference" {
			var stored string
			if stored, failure = lookUp(id, known, find); stored != "" {
				raw, found = stored, true
			}
		}
		items = append(comma(items), raw...)
		return failure == nil
	})
	if failure != nil || !found {
		return nil, failure
	}
	return withInput(nil, body, append(items, ']'), ""), nil
}

// lookUp finds an item by its id, which tells the response that it is of: see itemID.
func lookUp(id string, known map[string]gjson.Result, find func(string) ([]byte, error)) (raw string, err error) {
	_, rest, _ := strings.Cut(id, "_")
	end := strings.LastIndexByte(rest, '_')
	if end <= 0 {
		return "", nil
	}
	response := "resp_" + rest[:end]
	output, ok := known[response]
	if !ok {
		items, err := find(response)
		if err != nil {
			return "", err
		}
		output = gjson.ParseBytes(items)
		known[response] = output
	}
	output.ForEach(func(_, item gjson.Result) bool {
		if item.Get("id").Str == id {
			raw = item.Raw
		}
		return raw == ""
	})
	return raw, nil
}

// Unsigned is a Messages request for Anthropic itself: without the thoughts that came from another provider, under a
// signature of this gateway's, which Anthropic would refuse. It is body itself when there are none.
func Unsigned(body []byte) []byte {
	if !bytes.Contains(body, []byte(`"`+ownSignature)) {
		return body
	}
	messages := []byte{'['}
	parse(body).Get("messages").ForEach(func(_, message gjson.Result) bool {
		if content := gjson.Get(message.Raw, "content"); content.IsArray() {
			if kept, changed := ownThoughtsOut(content); changed {
				if kept != "[]" {
					messages = append(comma(messages), message.Raw[:content.Index]...)
					messages = append(append(messages, kept...), message.Raw[content.Index+len(content.Raw):]...)
				}
				return true
			}
		}
		messages = append(comma(messages), message.Raw...)
		return true
	})
	return withMember(nil, body, "messages", append(messages, ']'), "")
}

func ownThoughtsOut(content gjson.Result) (kept string, changed bool) {
	blocks := []byte{'['}
	content.ForEach(func(_, block gjson.Result) bool {
		if block.Get("type").Str == "thinking" && strings.HasPrefix(block.Get("signature").Str, ownSignature) {
			changed = true
		} else {
			blocks = append(comma(blocks), block.Raw...)
		}
		return true
	})
	return string(append(blocks, ']')), changed
}
