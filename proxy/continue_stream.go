package proxy

import (
	"errors"
	"io"
	"strconv"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// continued is a chat stream that others go on with when it breaks off. What the first provider sends passes as it is, and is
// looked at; what others send is made to look like more of the same.
type continued struct {
	x     *exchange
	inner wire.Stream // of the provider that is being read

	text     []byte // said so far, of the only choice
	unfit    bool   // the answer is more than plain text, or longer than is kept
	thinking bool   // it has not come to the text yet, or is back at thoughts
	over     bool   // it is complete
	id       string // of the first chunk, as JSON, as are
	created  string
	model    string
	object   string
	spent    wire.Usage // of the parts that broke off
	seam     *seam      // where the rest begins, until that is found

	in     []byte // read, but not whole
	sought int    // where the search for the end of the rest's unfinished event goes on
	out    []byte // of the rest, to be given on
	given  int    // of out
	err    error  // sticky
}

const (
	maxContinued = 256 << 10 // bytes of text that are gone on with
	chunkObject  = `"chat.completion.chunk"`
)

// Read gives on what comes, and when that breaks off what comes instead.
func (c *continued) Read(p []byte) (int, error) {
	for {
		if c.given < len(c.out) {
			n := copy(p, c.out[c.given:])
			c.given += n
			return n, nil
		}
		if c.err != nil {
			return 0, c.err
		}
		if c.x.resumed > 0 {
			c.fill()
			continue
		}
		n, err := c.inner.Read(p)
		c.watch(p[:n])
		if err != nil && err != io.EOF {
			c.broke(err)
		} else if err != nil {
			c.err = err
		}
		if n > 0 {
			return n, nil
		}
	}
}

// broke has somebody go on, or keeps the error.
func (c *continued) broke(err error) {
	if c.seam != nil {
		c.settle()
	}
	c.err = err
	if e, ok := errors.AsType[*wire.Error](err); ok {
		c.err = c.x.resume(c, e)
	}
}

// watch looks at what the client is given.
func (c *continued) watch(b []byte) {
	if c.unfit {
		return
	}
	if len(c.in) > 0 { // only where one read does not hold an event
		c.in = append(c.in, b...)
		b = c.in
	}
	for {
		end, _ := wire.EventEnd(b, 0)
		if end == 0 {
			break
		}
		c.see(wire.EventData(b[:end]))
		b = b[end:]
	}
	c.in = append(c.in[:0], b...)
	if len(c.in) > maxContinued {
		c.drop()
	}
}

// drop stops looking: the answer cannot be gone on with.
func (c *continued) drop() { c.unfit, c.text, c.in = true, nil, nil }

// see takes in one event.
func (c *continued) see(data []byte) {
	if data == nil || c.unfit {
		return
	}
	if wire.IsDone(data) {
		c.over = true
		return
	}
	chunk := gjson.ParseBytes(data)
	if c.id == "" {
		c.id, c.created, c.model = chunk.Get("id").Raw, chunk.Get("created").Raw, chunk.Get("model").Raw
	}
	chunk.Get("choices").ForEach(func(_, choice gjson.Result) bool {
		c.seeChoice(choice)
		return !c.unfit
	})
	if c.unfit || len(c.text) > maxContinued {
		c.drop()
	}
}

func (c *continued) seeChoice(choice gjson.Result) {
	c.over = c.over || choice.Get("finish_reason").Type == gjson.String
	c.unfit = choice.Get("index").Int() != 0 || choice.Get("logprobs").IsObject()
	choice.Get("delta").ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "role":
		case "content":
			if c.unfit = c.unfit || v.Type != gjson.String && v.Type != gjson.Null; v.Str != "" {
				c.text, c.thinking = append(c.text, v.Str...), false
			}
		case "reasoning_content", "reasoning":
			c.thinking = c.thinking || says(v)
		default:
			c.unfit = c.unfit || says(v)
		}
		return !c.unfit
	})
}

// says tells a value from one that only fills its place.
func says(v gjson.Result) bool {
	return v.Type != gjson.Null && v.Raw != `""` && v.Raw != `[]` && v.Raw != `{}`
}

// goOn reads the rest from another provider's stream, and tells the client so.
func (c *continued) goOn(rest wire.Stream, target *router.Target, exact bool) {
	c.inner, c.in, c.sought, c.err = rest, c.in[:0], 0, nil
	c.seam = newSeam(c.text, exact)
	if c.given == len(c.out) {
		c.out, c.given = c.out[:0], 0
	}
	c.out = append(c.appendHead(c.out), `,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":null}],"jarvis":{"continued":{"provider":`...)
	c.out = append(wire.AppendString(c.out, target.Provider), `,"model":`...)
	c.out = append(wire.AppendString(c.out, provider.ShownModel(c.x.modelOf(target))), `,"attempt":`...)
	c.out = append(strconv.AppendInt(c.out, int64(c.x.tries), 10), "}}}\n\n"...)
}

// fill reads once from the provider and passes on the events that are whole.
func (c *continued) fill() {
	c.out, c.given = c.out[:0], 0
	if len(c.in) == cap(c.in) {
		if len(c.in) >= maxGuarded {
			c.err = wire.Server(502, "upstream_error", "The provider sent an event that is too large.", nil)
			return
		}
		c.in = append(c.in, make([]byte, 4<<10)...)[:len(c.in)]
	}
	n, err := c.inner.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	at := 0
	for {
		end, resume := wire.EventEnd(c.in[at:], c.sought)
		if c.sought = resume; end == 0 {
			break
		}
		c.pass(c.in[at : at+end])
		at += end
	}
	c.in = c.in[:copy(c.in, c.in[at:])]
	switch {
	case err == io.EOF:
		c.settle()
		c.err = err
	case err != nil:
		c.in = c.in[:0] // the client was given none of it
		c.broke(err)
	}
}

// pass makes an event of the rest one of the answer.
func (c *continued) pass(event []byte) {
	data := wire.EventData(event)
	if wire.IsDone(data) || data != nil && !gjson.ValidBytes(data) {
		c.settle()
	}
	if data == nil || wire.IsDone(data) || !gjson.ValidBytes(data) {
		c.see(data)
		c.out = append(c.out, event...)
		return
	}
	chunk := gjson.ParseBytes(data)
	text := chunk.Get("choices.0.delta.content")
	held := c.seam != nil && text.Str != ""
	if held {
		c.say(c.seam.add(text.Str))
	}
	if c.seam != nil && (c.seam.found || chunk.Get("choices.0.finish_reason").Type == gjson.String) {
		c.settle()
	}
	if c.bare(chunk, held) {
		return
	}
	start := len(c.out)
	c.out = c.appendChunk(c.out, chunk, held)
	c.see(wire.EventData(c.out[start:]))
}

// bare tells a chunk of which nothing is left: the answer's role was told, and text that is held comes later.
func (c *continued) bare(chunk gjson.Result, held bool) bool {
	choices := chunk.Get("choices")
	if choices.Get("#").Int() != 1 || chunk.Get("usage").IsObject() || choices.Get("0.finish_reason").Type == gjson.String {
		return false
	}
	bare := true
	choices.Get("0.delta").ForEach(func(k, v gjson.Result) bool {
		bare = k.Str == "role" || k.Str == "content" && held || !says(v)
		return bare
	})
	return bare
}

// settle says what the seam still holds.
func (c *continued) settle() {
	if c.seam == nil {
		return
	}
	rest := c.seam.rest()
	c.seam = nil
	c.say(rest)
}

// say gives the client text.
func (c *continued) say(text string) {
	if text == "" {
		return
	}
	b := append(c.appendHead(c.out), `,"choices":[{"index":0,"delta":{"content":`...)
	c.out = append(wire.AppendString(b, text), "},\"logprobs\":null,\"finish_reason\":null}]}\n\n"...)
	if !c.unfit {
		c.text = append(c.text, text...)
	}
}

// appendHead appends a chunk up to its choices, as the first provider's.
func (c *continued) appendHead(dst []byte) []byte {
	dst = append(append(dst, `data: {"object":`...), c.object...)
	for _, member := range [...][2]string{{"id", c.id}, {"created", c.created}, {"model", c.model}} {
		if member[1] != "" {
			dst = append(append(append(append(dst, `,"`...), member[0]...), `":`...), member[1]...)
		}
	}
	return dst
}

// appendChunk appends a chunk of the rest. It has the first one's id, and the usage of all.
func (c *continued) appendChunk(dst []byte, chunk gjson.Result, held bool) []byte {
	dst = c.appendHead(dst)
	chunk.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "object":
			return true
		case "id", "created", "model":
			if c.id != "" {
				return true
			}
		}
		dst = append(append(append(dst, ','), k.Raw...), ':')
		switch {
		case k.Str == "choices":
			dst = appendChoices(dst, v, held)
		case k.Str == "usage" && v.IsObject():
			dst = appendUsage(dst, wire.ReadUsage([]byte(v.Raw)).Plus(c.spent))
		default:
			dst = append(dst, v.Raw...)
		}
		return true
	})
	return append(dst, "}\n\n"...)
}

// appendChoices appends them without the role, which clients that add up what they get would have twice, and without text that
// was taken out of them.
func appendChoices(dst []byte, choices gjson.Result, held bool) []byte {
	return appendMembers(dst, '[', choices, func(_, choice gjson.Result, dst []byte) []byte {
		return appendMembers(dst, '{', choice, func(name, v gjson.Result, dst []byte) []byte {
			if name.Str != "delta" {
				return append(dst, v.Raw...)
			}
			return appendMembers(dst, '{', v, func(name, v gjson.Result, dst []byte) []byte {
				if name.Str == "role" || name.Str == "content" && held {
					return nil
				}
				return append(dst, v.Raw...)
			})
		})
	})
}

// appendMembers appends an object or a list, its values as value writes them; nil leaves one out.
func appendMembers(dst []byte, open byte, of gjson.Result, value func(name, v gjson.Result, dst []byte) []byte) []byte {
	dst = append(dst, open)
	empty := len(dst)
	of.ForEach(func(name, v gjson.Result) bool {
		with := dst
		if len(with) > empty {
			with = append(with, ',')
		}
		if open == '{' {
			with = append(append(with, name.Raw...), ':')
		}
		if with = value(name, v, with); with != nil {
			dst = with
		}
		return true
	})
	return append(dst, open+2) // ] and } come two after [ and {
}

// appendUsage writes a usage object of chat streams.
func appendUsage(dst []byte, u wire.Usage) []byte {
	for _, part := range [...]struct {
		before string
		n      int64
	}{
		{`{"prompt_tokens":`, u.Prompt}, {`,"completion_tokens":`, u.Completion}, {`,"total_tokens":`, u.Total()},
		{`,"prompt_tokens_details":{"cached_tokens":`, u.CachedPrompt}, {`},"completion_tokens_details":{"reasoning_tokens":`, u.Reasoning},
	} {
		dst = strconv.AppendInt(append(dst, part.before...), part.n, 10)
	}
	return append(dst, "}}"...)
}

// Usage is that of the part that is being read: those that broke off are counted as they do.
func (c *continued) Usage() wire.Usage { return c.inner.Usage() }

// Close stops the provider.
func (c *continued) Close() error {
	c.text, c.in, c.out, c.given = nil, nil, nil, 0
	if c.err == nil {
		c.err = io.ErrClosedPipe
	}
	return c.inner.Close()
}
