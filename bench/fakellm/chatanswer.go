package fakellm

// choice is one of the n answers to a chat: reasoning, then text or tool calls, or both where the plan says so.
type choice struct {
	thought pieces // shown reasoning
	text    pieces
	calls   []call
	finish  string
	deltas  int // events that carry it
}

// call is a tool call; it is streamed as its head and then its arguments in pieces.
type call struct {
	tool
	id   string // generated when empty
	args pieces
}

func (c *chat) answer(x *exchange) (answer, *apiError) {
	choices := c.one[:]
	if c.n > 1 {
		choices = make([]choice, c.n)
	}
	hidden, deltas, thought := 0, 0, 0
	for i := range choices {
		choices[i] = c.choice(x, i)
		deltas += choices[i].deltas
		hidden += c.hidden(x)
		thought += choices[i].thought.n
	}
	x.bill.Completion = hidden + deltas
	x.bill.Reasoning = hidden + thought
	x.bill.Cached = min(x.plan.Cached+x.s.engine.cached(c.prompt), x.bill.Prompt)
	if x.stream {
		return answer{ctype: sseType, script: newChatScript(x, c, choices), parts: deltas, hidden: hidden}, nil
	}
	return answer{ctype: jsonType, body: c.whole(x, choices)}, nil
}

// hidden is the reasoning of one choice that the provider bills but does not show.
func (c *chat) hidden(x *exchange) int {
	if x.shape.reasoning != "" {
		return 0
	}
	return x.plan.Reasoning
}

func (c *chat) choice(x *exchange, i int) choice {
	out := choice{finish: "stop", thought: c.thought(x)}
	limit := c.limit
	if limit >= 0 {
		limit = max(0, limit-c.hidden(x)-out.thought.n)
	}
	switch {
	case x.plan.Tools != nil:
		out.calls, out.finish = c.planned(x.plan.Tools), "tool_calls"
		out.text = cutText(x.plan.Text, limit)
	case c.calls != nil:
		out.calls, out.finish = c.calling(), "tool_calls"
	case c.format == "json_object":
		out.text = cutText(`{"answer":"fake"}`, limit)
	case c.format == "json_schema":
		out.text = cutText(string(example(c.schema.Get("schema"))), limit)
	default:
		out.text = x.say(i, c.last, limit)
	}
	if out.text.short {
		out.finish, out.calls = "length", nil
	}
	out.deltas = out.thought.n + out.text.n
	for _, call := range out.calls {
		out.deltas += 1 + call.args.n
	}
	return out
}

// thought is the reasoning that the provider shows.
func (c *chat) thought(x *exchange) pieces {
	switch p := &x.plan; {
	case x.shape.reasoning == "":
	case p.Thinking != "":
		return cutText(p.Thinking, -1)
	case p.Reasoning > 0:
		return pieces{n: p.Reasoning, from: 11, plain: true}
	case c.thinks:
		return pieces{n: 8, from: 11, plain: true}
	}
	return pieces{}
}

// planned are the calls that a plan asks for, also of tools that are not on offer.
func (c *chat) planned(all []Call) []call {
	calls := make([]call, len(all))
	for i, p := range all {
		t := tool{name: p.Name}
		if known := c.named(p.Name); known != nil {
			t = *known
		}
		if p.Input == "" {
			p.Input = string(example(t.schema))
		}
		calls[i] = call{tool: t, id: p.ID, args: cutText(p.Input, -1)}
	}
	return calls
}

func (c *chat) calling() []call {
	calls := make([]call, len(c.calls))
	for i, t := range c.calls {
		args := "fake input"
		if !t.custom {
			args = string(example(t.schema))
		}
		calls[i] = call{tool: t, args: cutText(args, -1)}
	}
	return calls
}

func (c *chat) whole(x *exchange, choices []choice) []byte {
	b := x.c.scratch[:0]
	b = append(b, '{')
	b = x.topOf(b, "chatcmpl-", "chat.completion")
	b = append(b, `,"choices":[`...)
	for i := range choices {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.wholeChoice(b, x, i, &choices[i])
	}
	b = append(b, `],"usage":`...)
	b = x.shape.usage(b, x.bill)
	b = append(b, x.shape.whole...)
	b = c.extras(b, x)
	b = append(b, '}')
	x.c.scratch = b
	return b
}

func (c *chat) wholeChoice(b []byte, x *exchange, i int, ch *choice) []byte {
	b = append(b, `{"index":`...)
	b = appendInt(b, i)
	b = append(b, `,"message":{"role":"assistant","content":`...)
	if ch.calls == nil || ch.text.n > 0 {
		b = ch.text.quoted(b, ch.text.whole())
	} else {
		b = append(b, "null"...)
	}
	if ch.calls != nil {
		b = append(b, `,"tool_calls":[`...)
		for j := range ch.calls {
			if j > 0 {
				b = append(b, ',')
			}
			b = ch.calls[j].append(b, x, i, j, ch.calls[j].args.whole())
		}
		b = append(b, ']')
	} else {
		b = append(b, x.shape.noCalls...)
	}
	if ch.thought.n > 0 {
		b = append(b, `,"`+x.shape.reasoning+`":`...)
		b = ch.thought.quoted(b, ch.thought.whole())
	} else {
		b = append(b, x.shape.mute...)
	}
	b = append(b, x.shape.message...)
	b = append(b, `},"logprobs":`...)
	b = c.probs(b, &ch.text, 0, ch.text.n)
	b = append(b, `,"finish_reason":"`...)
	b = append(b, ch.finish...)
	b = append(b, '"')
	b = append(b, x.shape.choice...)
	return append(b, '}')
}

// append writes the call with the given arguments, without an index.
func (cl *call) append(b []byte, x *exchange, choice, at int, args string) []byte {
	b = cl.callID(append(b, `{"id":`...), x, "call_", choice*100+at)
	kind, field := "function", "arguments"
	if cl.custom {
		kind, field = "custom", "input"
	}
	b = append(b, `,"type":"`+kind+`","`+kind+`":{"name":`...)
	b = quote(b, cl.name)
	b = append(b, `,"`+field+`":`...)
	b = quote(b, args)
	return append(b, "}}"...)
}

// callID appends the id of the at-th call as a JSON string.
func (cl *call) callID(b []byte, x *exchange, prefix string, at int) []byte {
	if cl.id != "" {
		return quote(b, cl.id)
	}
	return append(x.id(append(b, '"'), prefix, 1+at), '"')
}

// probs appends the log probabilities of pieces from to to, or null when they were not asked for.
func (c *chat) probs(b []byte, p *pieces, from, to int) []byte {
	if !c.logprobs {
		return append(b, "null"...)
	}
	b = append(b, `{"content":[`...)
	for i := from; i < to; i++ {
		if i > from {
			b = append(b, ',')
		}
		b = prob(b, p.at(i), -0.125)
		b = append(b, `,"top_logprobs":[`...)
		for j := range c.top {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(prob(b, p.at(i)[:max(1, len(p.at(i))-j)], -0.125-float64(j)), '}')
		}
		b = append(b, "]}"...)
	}
	return append(b, `],"refusal":null}`...)
}

// prob appends a token with its probability; the object stays open.
func prob(b []byte, token string, logprob float64) []byte {
	b = append(b, `{"token":`...)
	b = quote(b, token)
	b = append(b, `,"logprob":`...)
	b = appendFloat(b, logprob)
	b = append(b, `,"bytes":[`...)
	for i := range len(token) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(b, int(token[i]))
	}
	return append(b, ']')
}

// extras are the vLLM fields that depend on the request.
func (c *chat) extras(b []byte, x *exchange) []byte {
	if x.s.o.Kind != VLLM {
		return b
	}
	b = append(b, `,"prompt_logprobs":`...)
	b = promptProbs(b, c.promptProbs)
	b = append(b, `,"prompt_token_ids":`...)
	b = promptIDs(b, x, c.tokenIDs)
	b = append(b, `,"kv_transfer_params":`...)
	if c.transfer == "" {
		return append(b, "null"...)
	}
	return append(b, c.transfer...)
}
