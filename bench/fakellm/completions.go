package fakellm

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// completion is a legacy text completion request.
type completion struct {
	prompts []string // token arrays as their JSON
	n       int
	limit   int
	echo    bool
	probs   bool
	usage   bool
	running bool
	options bool
}

var completionRules = map[string]rule{
	"model": is(str), "prompt": is(str | arr | null), "best_of": between(whole|null, 0, 20), "echo": is(flag | null),
	"frequency_penalty": between(num|null, -2, 2), "presence_penalty": between(num|null, -2, 2), "logit_bias": is(obj | null),
	"logprobs": between(whole|null, 0, 5), "max_tokens": between(whole|null, 0, 1<<30), "n": between(whole|null, 1, 128),
	"seed": is(whole | null), "stop": is(str | arr | null), "stream": is(flag | null), "stream_options": is(obj | null),
	"suffix": is(str | null), "temperature": between(num|null, 0, 2), "top_p": between(num|null, 0, 1), "user": is(str),
}

func readCompletion(x *exchange) (render, *apiError) {
	c := &completion{n: 1, limit: -1}
	var prompt gjson.Result
	err := x.object(completionRules, func(key string, v gjson.Result) {
		if key == "prompt" {
			prompt = v
		} else {
			c.field(key, v)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := x.wantModel(); err != nil {
		return nil, err
	}
	if c.options && !x.stream {
		return nil, invalid("stream_options", "", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	c.usage = c.usage || c.options && x.shape.usageByDefault
	c.prompts, x.bill.Prompt = inputs(prompt)
	if c.prompts == nil {
		return nil, invalid("prompt", "missing_required_parameter", "Missing required parameter: 'prompt'.")
	}
	return c.answer, nil
}

func (c *completion) field(key string, v gjson.Result) {
	switch key {
	case "n":
		c.n = max(1, int(v.Int()))
	case "max_tokens":
		if v.Type == gjson.Number {
			c.limit = int(v.Int())
		}
	case "echo":
		c.echo = v.Bool()
	case "logprobs":
		c.probs = v.Type == gjson.Number
	case "stream_options":
		c.options = v.IsObject()
		c.usage = v.Get("include_usage").Bool()
		c.running = v.Get("continuous_usage_stats").Bool()
	}
}

// inputs are the texts of a string, an array of strings, a token array or an array of token arrays, and their tokens. Token arrays
// become their JSON. Nil when v is none of these or empty.
func inputs(v gjson.Result) ([]string, int) {
	if v.Type == gjson.String {
		return []string{v.Str}, tokensOf(v.Str)
	}
	all := v.Array()
	if !v.IsArray() || len(all) == 0 {
		return nil, 0
	}
	if all[0].Type == gjson.Number {
		return []string{v.Raw}, len(all)
	}
	texts, tokens := make([]string, 0, len(all)), 0
	for _, one := range all {
		switch {
		case one.Type == gjson.String:
			texts, tokens = append(texts, one.Str), tokens+tokensOf(one.Str)
		case one.IsArray():
			texts, tokens = append(texts, one.Raw), tokens+len(one.Array())
		default:
			return nil, 0
		}
	}
	return texts, tokens
}

func (c *completion) answer(x *exchange) (answer, *apiError) {
	texts := make([]pieces, 0, len(c.prompts)*c.n)
	for _, prompt := range c.prompts {
		for range c.n {
			texts = append(texts, x.say(len(texts), prompt, c.limit))
		}
	}
	x.bill.Cached = min(x.plan.Cached, x.bill.Prompt)
	if x.stream {
		return c.events(x, texts).stream(0), nil
	}
	for i := range texts {
		x.bill.Completion += texts[i].n
	}
	b := append(x.topOf([]byte{'{'}, "cmpl-", "text_completion"), `,"choices":[`...)
	for i := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.choice(b, x, i, &texts[i])
	}
	b = x.shape.usage(append(b, `],"usage":`...), x.bill)
	return answer{ctype: jsonType, body: append(b, '}')}, nil
}

func (c *completion) choice(b []byte, x *exchange, i int, p *pieces) []byte {
	text := p.whole()
	if c.echo {
		text = c.prompts[i/c.n] + text
	}
	b = quote(append(b, `{"text":`...), text)
	b = append(append(b, `,"index":`...), strconv.Itoa(i)...)
	b = c.logprobs(append(b, `,"logprobs":`...), p, 0, p.n)
	b = append(b, `,"finish_reason":"`+finishOf(p)+`"`...)
	return append(append(b, x.shape.text...), '}')
}

func finishOf(p *pieces) string {
	if p.short {
		return "length"
	}
	return "stop"
}

// logprobs are in the legacy form: parallel arrays.
func (c *completion) logprobs(b []byte, p *pieces, from, to int) []byte {
	if !c.probs {
		return append(b, "null"...)
	}
	arrays := [4][]byte{}
	offset := 0
	for i := range to {
		if i >= from {
			arrays[0] = append(quote(arrays[0], p.at(i)), ',')
			arrays[1] = append(arrays[1], "-0.125,"...)
			arrays[2] = append(append(quote(append(arrays[2], '{'), p.at(i)), ":-0.125}"...), ',')
			arrays[3] = append(appendInt(arrays[3], offset), ',')
		}
		offset += len(p.at(i))
	}
	for i, name := range []string{`{"tokens":[`, `],"token_logprobs":[`, `],"top_logprobs":[`, `],"text_offset":[`} {
		b = append(append(b, name...), arrays[i][:max(0, len(arrays[i])-1)]...)
	}
	return append(b, "]}"...)
}

func (c *completion) events(x *exchange, texts []pieces) *listed {
	s := &listed{}
	u := x.bill
	for i := range texts {
		for j := range texts[i].n {
			u.Completion++
			b := c.chunk(x, i, texts[i].at(j))
			b = c.logprobs(b, &texts[i], j, j+1)
			s.add(content, "", c.seal(append(b, `,"finish_reason":null}]`...), x, u, false))
		}
		b := append(c.chunk(x, i, ""), `null,"finish_reason":"`+finishOf(&texts[i])+`"`...)
		b = append(append(b, x.shape.text...), "}]"...)
		s.add(frame, "", c.seal(b, x, u, false))
	}
	if c.usage {
		b := append(x.topOf([]byte{'{'}, "cmpl-", "text_completion"), `,"choices":[]`...)
		s.add(frame, "", c.seal(b, x, u, true))
	}
	s.add(terminal, "", []byte("[DONE]"))
	return s
}

// chunk is an event up to the value of logprobs.
func (c *completion) chunk(x *exchange, i int, text string) []byte {
	b := append(x.topOf([]byte{'{'}, "cmpl-", "text_completion"), `,"choices":[{"text":`...)
	b = append(quote(b, text), `,"index":`...)
	return append(appendInt(b, i), `,"logprobs":`...)
}

func (c *completion) seal(b []byte, x *exchange, u Usage, last bool) []byte {
	switch {
	case last || c.running:
		b = x.shape.usage(append(b, `,"usage":`...), u)
	case c.usage && x.shape.obfuscation:
		b = append(b, `,"usage":null`...)
	}
	return append(b, '}')
}
