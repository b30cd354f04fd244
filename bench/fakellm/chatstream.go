package fakellm

// chatScript yields a chat completion as OpenAI streams it: the role of each choice, their deltas in turn, their finish reasons,
// the usage if asked for, [DONE].
type chatScript struct {
	x       *exchange
	c       *chat
	choices []choice
	head    []byte // of every event up to the choices
	tail    []byte // after the choices
	step    int    // 0 first, 1 roles, 2 deltas, 3 finishes, 4 usage, 5 done, 6 end
	at      int    // choice in that step
	delta   int    // delta of each choice in step 2
	events  int
}

func newChatScript(x *exchange, c *chat, choices []choice) *chatScript {
	s := &chatScript{x: x, c: c, choices: choices}
	top := x.topOf(nil, "chatcmpl-", "chat.completion.chunk")
	top = append(top, x.shape.chunk...)
	s.head = append(s.head, "data: {"...)
	if x.shape.choicesFirst {
		s.tail = append(append(s.tail, ','), top...)
	} else {
		s.head = append(append(s.head, top...), ',')
	}
	s.head = append(s.head, `"choices":[`...)
	return s
}

func (s *chatScript) next(b []byte) ([]byte, part) {
	for {
		switch s.step {
		case 0:
			s.step = 1
			if s.x.shape.first != "" {
				return append(append(append(b, "data: "...), s.x.shape.first...), "\n\n"...), frame
			}
		case 1:
			if i, ok := s.turn(2); ok {
				return s.role(b, i), frame
			}
		case 2:
			if ev, ok := s.nextDelta(b); ok {
				return ev, content
			}
		case 3:
			if i, ok := s.turn(4); ok {
				return s.finish(b, i), frame
			}
		case 4:
			s.step = 5
			if s.c.usage {
				return s.usage(b), frame
			}
		case 5:
			s.step = 6
			return append(b, "data: [DONE]\n\n"...), terminal
		default:
			return b, end
		}
	}
}

// turn is the next choice of this step; after the last one the step becomes then.
func (s *chatScript) turn(then int) (int, bool) {
	if s.at < len(s.choices) {
		s.at++
		return s.at - 1, true
	}
	s.step, s.at = then, 0
	return 0, false
}

// nextDelta goes round the choices that still have something to say.
func (s *chatScript) nextDelta(b []byte) ([]byte, bool) {
	for left := true; left; s.at, s.delta = 0, s.delta+1 {
		left = false
		for s.at < len(s.choices) {
			i := s.at
			s.at++
			if s.delta < s.choices[i].deltas {
				return s.deltaEvent(b, i), true
			}
		}
		for i := range s.choices {
			left = left || s.delta+1 < s.choices[i].deltas
		}
	}
	s.step, s.at = 3, 0
	return b, false
}

func (s *chatScript) open(b []byte, i int) []byte {
	b = append(b, s.head...)
	b = append(b, `{"index":`...)
	b = appendInt(b, i)
	return append(b, `,"delta":{`...)
}

// close ends an event whose choice has come to its logprobs; end is the rest of the choice.
func (s *chatScript) close(b []byte, finish, end string) []byte {
	b = append(b, `,"finish_reason":`...)
	b = quoteOrNull(b, finish)
	b = append(b, end...)
	return s.seal(append(b, "}]"...), false)
}

// seal ends an event after its choices.
func (s *chatScript) seal(b []byte, last bool) []byte {
	b = append(b, s.tail...)
	u := s.x.bill
	switch {
	case last || s.c.running:
		b = append(b, `,"usage":`...)
		b = s.x.shape.usage(b, u)
	case s.c.usage && s.x.shape.obfuscation:
		b = append(b, `,"usage":null`...)
	}
	if s.x.shape.obfuscation && s.c.obfuscate {
		b = padding(b, s.events)
	}
	s.events++
	return append(b, "}\n\n"...)
}

func (s *chatScript) role(b []byte, i int) []byte {
	b = s.open(b, i)
	b = append(b, `"role":"assistant","content":`...)
	if ch := &s.choices[i]; ch.calls != nil && ch.text.n == 0 {
		b = append(b, `null`...)
	} else {
		b = append(b, `""`...)
	}
	if s.x.shape.obfuscation {
		b = append(b, `,"refusal":null`...)
	}
	return s.close(append(b, `},"logprobs":null`...), "", s.x.shape.frame)
}

func (s *chatScript) finish(b []byte, i int) []byte {
	b = append(s.open(b, i), `},"logprobs":null`...)
	return s.close(b, s.choices[i].finish, s.x.shape.frame)
}

func (s *chatScript) usage(b []byte) []byte {
	return s.seal(append(append(b, s.head...), ']'), true)
}

// deltaEvent is the current delta of choice i. It is billed once it is sent, so running usage counts it in advance.
func (s *chatScript) deltaEvent(b []byte, i int) []byte {
	ch, d := &s.choices[i], s.delta
	s.x.bill.Completion++
	defer func() { s.x.bill.Completion-- }()
	b = s.open(b, i)
	if d < ch.thought.n {
		b = append(b, `"`+s.x.shape.reasoning+`":`...)
		b = ch.thought.quoted(b, ch.thought.at(d))
		return s.close(append(b, `},"logprobs":null`...), "", s.x.shape.delta)
	}
	d -= ch.thought.n
	if d >= ch.text.n {
		b = s.callDelta(b, i, d-ch.text.n)
		return s.close(append(b, `},"logprobs":null`...), "", s.x.shape.delta)
	}
	b = append(b, `"content":`...)
	b = ch.text.quoted(b, ch.text.at(d))
	b = append(b, `},"logprobs":`...)
	b = s.c.probs(b, &ch.text, d, d+1)
	return s.close(b, "", s.x.shape.delta)
}

// callDelta is the d-th delta of the tool calls of choice i: id and name first, then the arguments piece by piece.
func (s *chatScript) callDelta(b []byte, i, d int) []byte {
	calls := s.choices[i].calls
	j := 0
	for d > calls[j].args.n {
		d -= 1 + calls[j].args.n
		j++
	}
	b = append(b, `"tool_calls":[{"index":`...)
	b = appendInt(b, j)
	b = append(b, ',')
	if d == 0 {
		return append(append(b, calls[j].append(nil, s.x, i, j, "")[1:]...), ']')
	}
	kind := `"function":{"arguments":`
	if calls[j].custom {
		kind = `"custom":{"input":`
	}
	b = append(b, kind...)
	b = quote(b, calls[j].args.at(d-1))
	return append(b, "}}]"...)
}
