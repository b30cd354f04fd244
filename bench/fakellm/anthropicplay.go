package fakellm

import (
	"strings"
)

// told is an answer of Claude's: content blocks, and why they end.
type told struct {
	x      *exchange
	c      *claude
	blocks []toldBlock
	finish string // end_turn, max_tokens, stop_sequence, tool_use
	tokens int    // of all blocks
	hidden int    // of a thought whose text is left out
}

// toldBlock is a thought, a text or a tool call.
type toldBlock struct {
	kind string // thinking, text, tool_use
	text pieces // the arguments of a call
	call *call
}

// tell makes the answer's blocks, and the bill but for what is streamed.
func (c *claude) tell(x *exchange) *told {
	ch := c.choice(x, 0)
	c.stop(&ch)
	t := &told{x: x, c: c, finish: map[string]string{"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[ch.finish]}
	if c.stopped != "" {
		t.finish = "stop_sequence"
	}
	if ch.thought.n > 0 && c.omits(x.model) {
		t.hidden = ch.thought.n
		t.add(toldBlock{kind: "thinking"})
	} else if ch.thought.n > 0 {
		t.add(toldBlock{kind: "thinking", text: ch.thought})
	}
	if ch.text.n > 0 {
		t.add(toldBlock{kind: "text", text: ch.text})
	}
	for i := range ch.calls {
		t.tokens++ // the head of a call costs one
		t.add(toldBlock{kind: "tool_use", text: ch.calls[i].args, call: &ch.calls[i]})
	}
	x.bill.Completion, x.bill.Reasoning = t.tokens+t.hidden, ch.thought.n
	x.bill.Cached = min(x.plan.Cached+x.s.engine.cached(c.prompt), x.bill.Prompt)
	return t
}

func (t *told) add(b toldBlock) {
	t.blocks = append(t.blocks, b)
	t.tokens += b.text.n
}

// stop ends the text where a stop sequence begins.
func (c *claude) stop(ch *choice) {
	c.stopped = ""
	if len(c.stops) == 0 || ch.text.n == 0 {
		return
	}
	text, at := ch.text.whole(), -1
	for _, s := range c.stops {
		if i := strings.Index(text, s); i >= 0 && (at < 0 || i < at) {
			at, c.stopped = i, s
		}
	}
	if at >= 0 {
		ch.text, ch.calls = cutText(text[:at], -1), nil
	}
}

// written are the tokens that went into a cache, and fresh those that had nothing to do with one.
func (t *told) written() int { return min(t.x.plan.Written, t.x.bill.Prompt-t.x.bill.Cached) }
func (t *told) fresh() int   { return t.x.bill.Prompt - t.x.bill.Cached - t.written() }

// callID is the id of the i-th block's call as a JSON string.
func (t *told) callID(b []byte, i int, prefix string) []byte {
	return t.blocks[i].call.callID(b, t.x, prefix, i)
}

// blockEvents is how a provider streams blocks. Each method appends one event, or nothing when the provider has none there.
type blockEvents interface {
	open(b []byte, t *told) []byte
	start(b []byte, t *told, i int) []byte
	ping(b []byte) []byte // after the first start
	delta(b []byte, t *told, i int, piece string) []byte
	sign(b []byte, t *told, i int) []byte
	stop(b []byte, i int) []byte
	finish(b []byte, t *told) []byte
	last(b []byte, t *told) []byte
	ends() (finish, last part) // which of the two tells that the stream is whole
}

// blockScript yields the events of an answer.
type blockScript struct {
	t    *told
	form blockEvents
	step int // 0 open, 1 blocks, 2 finish, 3 last, 4 end
	i    int // block
	at   int // in the block: 0 start, 1 ping, 2 deltas, then the signature and the stop
}

func (t *told) stream(form blockEvents) answer {
	return answer{ctype: t.x.s.dialect.streamType, script: &blockScript{t: t, form: form}, parts: t.tokens, hidden: t.hidden}
}

func (s *blockScript) next(b []byte) ([]byte, part) {
	for {
		was := len(b)
		var kind part
		if b, kind = s.event(b); kind == end || len(b) > was {
			return b, kind
		}
	}
}

func (s *blockScript) event(b []byte) ([]byte, part) {
	finish, last := s.form.ends()
	switch s.step {
	case 0:
		s.step = 1
		return s.form.open(b, s.t), frame
	case 1:
		if s.i < len(s.t.blocks) {
			return s.block(b)
		}
		s.step = 2
		return b, frame
	case 2:
		s.step = 3
		return s.form.finish(b, s.t), finish
	case 3:
		s.step = 4
		return s.form.last(b, s.t), last
	}
	return b, end
}

// block yields the next event of the current block. The head of a call costs a token, as in a chat.
func (s *blockScript) block(b []byte) ([]byte, part) {
	block, at := &s.t.blocks[s.i], s.at
	s.at++
	switch at -= 2; {
	case at == -2 && block.call != nil:
		return s.form.start(b, s.t, s.i), content
	case at == -2:
		return s.form.start(b, s.t, s.i), frame
	case at == -1 && s.i == 0:
		return s.form.ping(b), frame
	case at == -1:
		return b, frame
	case at < block.text.n:
		return s.form.delta(b, s.t, s.i, block.text.at(at)), content
	case at == block.text.n && block.kind == "thinking":
		return s.form.sign(b, s.t, s.i), frame
	case at == block.text.n:
		return b, frame
	}
	s.i, s.at = s.i+1, 0
	return s.form.stop(b, s.i-1), frame
}
