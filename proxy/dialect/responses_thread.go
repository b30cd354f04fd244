package dialect

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Past is an earlier turn of a conversation that the gateway keeps: lists of items, as InputItems and Stored return them.
type Past struct{ Input, Output []byte }

// Expand turns a request that goes on from an earlier response into one that stands alone: its input begins with all that
// was said before, the oldest first, and previous_response_id is gone. The instructions of earlier turns are not carried
// over, as OpenAI documents it. A conversation of more than most bytes is refused.
func Expand(thread []Past, body []byte, most int) ([]byte, error) {
	size := len(body)
	for _, past := range thread {
		size += len(past.Input) + len(past.Output) + 2
	}
	if size > most {
		return nil, wire.Invalid("previous_response_id", "The conversation is larger than %d bytes: start a new one with the parts that matter.", most)
	}
	items, err := append(make([]byte, 0, size), '['), error(nil)
	for i, past := range thread {
		for _, list := range [][]byte{past.Input, past.Output} {
			if items, err = appendItems(items, list); err != nil {
				return nil, fmt.Errorf("turn %d of a stored conversation: %w", i, err)
			}
		}
	}
	switch own := parse(body).Get("input"); {
	case own.IsArray():
		items, err = appendItems(items, []byte(own.Raw))
	case own.Type == gjson.String:
		items = append(appendUserMessage(comma(items), own), '}')
	default:
		err = wanted("input", "a string or a list of items", own)
	}
	if err != nil {
		return nil, err
	}
	return withInput(make([]byte, 0, size), body, append(items, ']'), "previous_response_id"), nil
}

// appendItems appends the elements of a list.
func appendItems(dst, list []byte) ([]byte, error) {
	if list = bytes.TrimSpace(list); len(list) == 0 {
		return dst, nil
	}
	if list[0] != '[' || list[len(list)-1] != ']' {
		return nil, fmt.Errorf("not a list of items: %.40q", list)
	}
	if list = bytes.TrimSpace(list[1 : len(list)-1]); len(list) > 0 {
		dst = append(comma(dst), list...)
	}
	return dst, nil
}

func appendUserMessage(dst []byte, text gjson.Result) []byte {
	dst = append(dst, `{"type":"message","role":"user","content":[{"type":"input_text","text":`...)
	return append(append(dst, text.Raw...), "}]"...)
}

// withInput appends a request with another input, and without the member that is named.
func withInput(dst, body, input []byte, without string) []byte {
	return withMember(dst, body, "input", input, without)
}

func withMember(dst, body []byte, name string, value []byte, without string) []byte {
	dst = append(dst, '{')
	parse(body).ForEach(func(k, v gjson.Result) bool {
		if k.Str != name && k.Str != without {
			dst = append(append(append(comma(dst), k.Raw...), ':'), v.Raw...)
		}
		return true
	})
	return append(append(key(dst, name), value...), '}')
}

// Unsealed is a request for OpenAI's own Responses API: without the thoughts that this gateway has sealed for another
// provider, which OpenAI would refuse. It is body itself when there are none.
func Unsealed(body []byte) []byte {
	if !bytes.Contains(body, []byte(`"`+sealed)) {
		return body
	}
	items := []byte{'['}
	input := parse(body).Get("input")
	if !input.IsArray() {
		return body
	}
	input.ForEach(func(_, item gjson.Result) bool {
		if item.Get("type").Str != "reasoning" || !strings.HasPrefix(item.Get("encrypted_content").Str, sealed) {
			items = append(comma(items), item.Raw...)
		}
		return true
	})
	return withInput(nil, body, append(items, ']'), "")
}

// InputItems is a request's own input as a list of items, each with an id: a string becomes a message of the user's.
func InputItems(body []byte) []byte {
	out := []byte{'['}
	switch input := parse(body).Get("input"); {
	case input.Type == gjson.String:
		out = appendUserMessage(out, input)
		out = append(field(field(out, "id", newItemID("msg")), "status", completed), '}')
	case input.IsArray():
		input.ForEach(func(_, item gjson.Result) bool {
			out = append(comma(out), inputItem(item)...)
			return true
		})
	}
	return append(out, ']')
}

func newItemID(prefix string) string { return prefix + "_" + strings.ToLower(rand.Text()) }

// inputItem is an item with the members that the API always tells of one.
func inputItem(item gjson.Result) string {
	switch kind := item.Get("type").Str; {
	case kind == "message" || kind == "" && item.Get("role").Exists():
		defaults := field([]byte(`{"type":"message"`), "id", newItemID("msg"))
		raw := withContent(item)
		return withDefaults(raw, string(append(field(defaults, "status", completed), '}')))
	case kind == "function_call":
		return withDefaults(item.Raw, `{"id":"`+newItemID("fc")+`","status":"completed"}`)
	case kind == "function_call_output":
		return withDefaults(item.Raw, `{"id":"`+newItemID("fco")+`","status":"completed"}`)
	case kind == "reasoning":
		return withDefaults(item.Raw, `{"id":"`+newItemID("rs")+`","summary":[]}`)
	}
	return item.Raw
}

// withContent writes the content of a message as the list of parts that a string is short for.
func withContent(message gjson.Result) string {
	content, kind := message.Get("content"), "input_text"
	if message.Get("role").Str == "assistant" {
		kind = "output_text"
	}
	parts := []byte{'['}
	if content.Type == gjson.String {
		parts = append(parts, inputPart(gjson.Parse(`{"type":"`+kind+`","text":`+content.Raw+`}`))...)
	}
	if content.IsArray() {
		content.ForEach(func(_, part gjson.Result) bool {
			parts = append(comma(parts), inputPart(part)...)
			return true
		})
	}
	out := []byte{'{'}
	message.ForEach(func(k, v gjson.Result) bool {
		if k.Str != "content" {
			out = append(append(append(comma(out), k.Raw...), ':'), v.Raw...)
		}
		return true
	})
	return string(append(append(append(key(out, "content"), parts...), ']'), '}'))
}

func inputPart(part gjson.Result) string {
	switch part.Get("type").Str {
	case "output_text":
		return withDefaults(part.Raw, `{"annotations":[],"logprobs":[]}`)
	case "input_image":
		return withDefaults(part.Raw, `{"detail":"auto"}`)
	}
	return part.Raw
}

// Page is which of a list's items are asked for.
type Page struct {
	Limit int    // 1 to 100, 0 for 20
	Order string // asc or desc, "" for desc: the newest first
	After string // the id of the item before the first
}

// AppendItemList appends a page of items as GET /v1/responses/{id}/input_items answers it. An error is a *wire.Error.
func AppendItemList(dst, items []byte, p Page) ([]byte, error) {
	if p.Limit == 0 {
		p.Limit = 20
	}
	if p.Limit < 1 || p.Limit > 100 {
		return dst, wire.Invalid("limit", "limit must be from 1 to 100.")
	}
	list := parse(items).Array()
	switch p.Order {
	case "asc":
	case "", "desc":
		slices.Reverse(list)
	default:
		return dst, wire.Invalid("order", "order must be asc or desc.")
	}
	if p.After != "" {
		at := slices.IndexFunc(list, func(item gjson.Result) bool { return item.Get("id").Str == p.After })
		if at < 0 {
			return dst, wire.Invalid("after", "after is not the id of one of the items.")
		}
		list = list[at+1:]
	}
	more := len(list) > p.Limit
	return appendList(dst, list[:min(len(list), p.Limit)], more), nil
}

func appendList(dst []byte, list []gjson.Result, more bool) []byte {
	first, last := "", ""
	dst = append(dst, `{"object":"list","data":[`...)
	for i, item := range list {
		if i == 0 {
			first = item.Get("id").Str
		}
		last = item.Get("id").Str
		dst = append(comma(dst), item.Raw...)
	}
	dst = field(append(dst, ']'), "first_id", first)
	dst = boolField(field(dst, "last_id", last), "has_more", more)
	return append(dst, '}')
}
