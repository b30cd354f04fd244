package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Sample is one reply, read thoroughly: the measure for what a measurement's quick check must find.
type Sample struct {
	Text, Finish       string
	Prompt, Completion int64 // tokens of the usage object, if the reply has one
	Events             int   // of a stream, [DONE] not counted

	stream bool
	body   []byte
	usage  json.RawMessage
}

// Probe sends one request and decodes the reply.
func Probe(ctx context.Context, addr string, request []byte, stream bool) (*Sample, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer c.close()
	c.limit(time.Now().Add(10 * time.Second))
	defer context.AfterFunc(ctx, func() { c.limit(time.Now()) })()
	if _, err = c.net.Write(request); err != nil {
		return nil, err
	}
	h, _, err := c.receive() // the answer keeps a stream as it is, too
	if err != nil {
		return nil, err
	}
	if h.status != 200 {
		return nil, wrongf("status %d: %.300q", h.status, c.answer.body)
	}
	s := &Sample{stream: stream, body: c.answer.body}
	if stream {
		return s, s.readStream()
	}
	return s, s.read(s.body)
}

// completion has what a whole reply and a stream's event share.
type completion struct {
	Choices []struct {
		Message, Delta struct{ Content string }
		Finish         string `json:"finish_reason"`
	}
	Usage json.RawMessage
}

func (s *Sample) read(data []byte) error {
	var c completion
	if err := json.Unmarshal(data, &c); err != nil {
		return wrongf("%v in %.200q", err, data)
	}
	for _, ch := range c.Choices {
		s.Text += ch.Message.Content + ch.Delta.Content
		if ch.Finish != "" {
			s.Finish = ch.Finish
		}
	}
	if len(c.Usage) == 0 || string(c.Usage) == "null" {
		return nil
	}
	var u struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
	}
	s.usage = c.Usage
	err := json.Unmarshal(c.Usage, &u)
	s.Prompt, s.Completion = u.Prompt, u.Completion
	return err
}

func (s *Sample) readStream() error {
	done := false
	for l := range bytes.Lines(s.body) {
		data, ok := bytes.CutPrefix(bytes.TrimSpace(l), dataField)
		if !ok {
			continue
		}
		if done {
			return wrongf("event after [DONE]: %.200q", data)
		}
		if done = bytes.Equal(bytes.TrimSpace(data), doneMark); done {
			continue
		}
		s.Events++
		if err := s.read(data); err != nil {
			return err
		}
	}
	if !done {
		return wrongf("no [DONE] after %d events", s.Events)
	}
	return nil
}

// Differs tells in what two replies disagree that may not: ids, times and the model's name may.
func (s *Sample) Differs(o *Sample) error {
	show := func(x *Sample) string {
		return fmt.Sprintf("%d events, finish %q, %d + %d tokens, %d bytes of text", x.Events, x.Finish, x.Prompt, x.Completion, len(x.Text))
	}
	if a, b := show(s), show(o); a != b {
		return fmt.Errorf("%s; want %s", a, b)
	}
	if s.Text != o.Text {
		return fmt.Errorf("text differs: %.80q, want %.80q", s.Text, o.Text)
	}
	return nil
}

// Expect returns the quick check for replies like s. If another reply to the same request has the same bytes,
// all replies must have them; otherwise they must hold the same content and usage.
func (s *Sample) Expect(other *Sample) Expect {
	switch {
	case s.stream:
		return s.expectStream()
	case bytes.Equal(s.body, other.body):
		return Expect{Body: s.body}
	}
	text := append(append([]byte(nil), contentIs...), '"')
	text = append(append(text, content(s.body)...), '"')
	return Expect{Parts: [][]byte{text, s.usage}}
}

func (s *Sample) expectStream() Expect {
	var e events
	e.reset()
	e.part(s.body)
	return Expect{Stream: true, Events: e.n, Text: e.text}
}
