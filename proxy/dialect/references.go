package dialect

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Resolve puts the items of earlier answers into a request of the Responses API in the place of references to them, as
// clients send them for what they believe to be stored. find returns the output items of a response, nil when the gateway
// does not keep it. References that are not found stay. It returns nil when nothing was to be changed, and refuses an input
// that grows to more than most bytes: a reference is short, and what it stands for may be long.
func Resolve(body []byte, most int, find func(response string) ([]byte, error)) ([]byte, error) {
	if !bytes.Contains(body, []byte(`"item_reference"`)) {
		return nil, nil
	}
	var found bool
	var failure error
	known := map[string]map[string]string{}
	items := []byte{'['}
	parse(body).Get("input").ForEach(func(_, item gjson.Result) bool {
		raw := item.Raw
		if id := item.Get("id").Str; item.Get("type").Str == "item_reference" {
			var stored string
			if stored, failure = lookUp(id, known, find); stored != "" {
				raw, found = stored, true
			}
		}
		if len(items)+len(raw) > most {
			failure = wire.Invalid("input", "input is larger than %d bytes with the items that it refers to.", most)
		}
		if failure == nil {
			items = append(comma(items), raw...)
		}
		return failure == nil
	})
	if failure != nil || !found {
		return nil, failure
	}
	return withInput(nil, body, append(items, ']'), ""), nil
}

// mostResponses is how many responses the references of one request may lead to: each costs a question to the store.
const mostResponses = 64

// lookUp finds an item by its id, which tells the response that it is of: see itemID. known are the items of the responses
// that were asked for.
func lookUp(id string, known map[string]map[string]string, find func(string) ([]byte, error)) (raw string, err error) {
	_, rest, _ := strings.Cut(id, "_")
	end := strings.LastIndexByte(rest, '_')
	if end <= 0 {
		return "", nil
	}
	response := "resp_" + rest[:end]
	items, ok := known[response]
	switch {
	case ok:
		return items[id], nil
	case len(known) == mostResponses:
		return "", wire.Invalid("input", "input refers to items of more than %d responses: use previous_response_id.", mostResponses)
	}
	output, err := find(response)
	if err != nil {
		return "", err
	}
	items = map[string]string{}
	parse(output).ForEach(func(_, item gjson.Result) bool {
		items[item.Get("id").Str] = item.Raw
		return true
	})
	known[response] = items
	return items[id], nil
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
