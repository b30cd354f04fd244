// Package dialect translates requests and answers between the protocols that clients and providers speak: OpenAI's Chat
// Completions and Responses, Anthropic's Messages, and Bedrock's Converse. There is one form in the middle: a client's
// dialect is read into a Request and a provider's answer into Events or an Answer, and each is written in the other's
// dialect. So n dialects need n readers and n writers, not a translation for each pair.
//
// What a dialect cannot carry is refused with the path of the field, or dropped and named: never lost silently.
package dialect

import (
	"fmt"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Protocol is what a provider speaks.
type Protocol uint8

// The protocols that requests are translated to.
const (
	Chat     Protocol = iota // https://platform.openai.com/docs/api-reference/chat
	Messages                 // https://docs.anthropic.com/en/api/messages
	Converse                 // https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
)

// Read reads a client's request of a kind: wire.Chat, wire.Message or wire.Response. The body must be one that wire.Parse
// accepted, and must not change as long as the Request is in use: strings of the Request share its bytes. An error is a
// *wire.Error that names the field.
func Read(kind wire.Kind, body []byte) (*Request, error) {
	switch kind {
	case wire.Chat:
		return readChat(body)
	case wire.Message:
		return readMessages(body, false)
	case wire.Response:
		return readResponses(body)
	}
	panic(fmt.Sprintf("BUG: no dialect for kind %d", kind))
}

// ReadCount reads a request to count a prompt's tokens: of wire.Message, without max_tokens.
func ReadCount(body []byte) (*Request, error) { return readMessages(body, true) }

// Translation is one attempt: a request on its way to a provider of another dialect, and the answer's way back.
// The fields are set by who makes it; AppendRequest must be called before Reader and Writer.
type Translation struct {
	Request  *Request
	To       Protocol
	Provider string // the provider's kind in the configuration: "openai", "vllm", "anthropic", "bedrock", ...
	Model    string // the provider's name for the model
	Drop     bool   // leave out what the provider cannot carry, where else the request is refused

	// Of the answer:
	ID      string // of the object, "" to keep the provider's; the Responses API needs one
	Named   string // the model that the answer names; "": the provider's word for it
	Created int64  // unix seconds

	dropped  []string          // paths of what was left out
	noted    map[string]bool   // the same
	names    map[string]string // the client's names of tools by those that the provider is told; nil: all are the same
	fits     map[string]string // the other way round, for those that differ
	uncalled map[string]bool   // ids of calls that were left out: their results go too
	unmarked map[string]bool   // paths of blocks and tools whose cache markers are too many
	schema   string            // the tool that stands for a JSON schema; its input is the answer's text
	called   bool              // the answer calls a tool of the client's, too
}

// AppendRequest appends the request's body in the provider's dialect. An error is a *wire.Error of status 400.
func (t *Translation) AppendRequest(dst []byte) ([]byte, error) {
	switch t.To {
	case Chat:
		return t.appendChat(dst)
	case Messages:
		return t.appendMessages(dst)
	case Converse:
		return t.appendConverse(dst)
	}
	panic("BUG: no such protocol")
}

// Reader makes a reader of the provider's answer.
func (t *Translation) Reader() Reader {
	switch t.To {
	case Chat:
		return &chatReader{}
	case Messages:
		return &messagesReader{}
	case Converse:
		return &converseReader{}
	}
	panic("BUG: no such protocol")
}

// Writer makes a writer of the answer in the client's dialect.
func (t *Translation) Writer() Writer {
	switch t.Request.From {
	case wire.Chat:
		return newChatWriter(t)
	case wire.Message:
		return newMessagesWriter(t)
	case wire.Response:
		return newResponsesWriter(t)
	}
	panic("BUG: no such dialect")
}

// Dropped lists the paths of what was left out of the request, in the order of the request.
func (t *Translation) Dropped() []string { return t.dropped }

// refuse is for what the provider cannot carry: a 400, or with Drop a name in the list of what was left out. A caller
// that gets nil leaves the thing out.
func (t *Translation) refuse(path, why string) error {
	if t.Drop {
		t.note(path)
		return nil
	}
	e := wire.Invalid(path, "%s: %s (a provider of kind %s). Leave it out, or let the operator set `unsupported: drop` for the provider.", path, why, t.Provider)
	e.Code, e.Failover = "unsupported_parameter", true // another target may be able to
	return e
}

// Note names what is left out without an effect on what the answer says, such as cache keys.
func (t *Translation) Note(path string) { t.note(path) }

func (t *Translation) note(path string) {
	if t.noted[path] {
		return
	}
	if t.noted == nil {
		t.noted = map[string]bool{}
	}
	t.noted[path] = true
	t.dropped = append(t.dropped, path)
}

// Restore undoes in one event what the request's writer did: names of tools, and a tool in place of a JSON schema.
func (t *Translation) Restore(e *Event) {
	switch {
	case e.Type == Open && e.Kind == ToolUse:
		if t.schema != "" && e.Name == t.schema {
			e.Kind, e.ID, e.Name = Text, "", ""
		} else {
			e.Name, t.called = t.restoreName(e.Name), true
		}
	case e.Type == Stopped && e.Stop == StopTools && t.schema != "" && !t.called:
		e.Stop = StopEnd
	}
}

// RestoreAnswer is Restore for a whole answer.
func (t *Translation) RestoreAnswer(a *Answer) {
	for i := range a.Blocks {
		b := &a.Blocks[i]
		switch {
		case b.Kind != ToolUse:
		case t.schema != "" && b.Name == t.schema:
			*b = Block{Kind: Text, Text: b.Input}
		default:
			b.Name, t.called = t.restoreName(b.Name), true
		}
	}
	if t.schema != "" && a.Stop == StopTools && !t.called {
		a.Stop = StopEnd
	}
}

func (t *Translation) restoreName(name string) string {
	if original, ok := t.names[name]; ok {
		return original
	}
	return name
}

// Reader reads a provider's answer. It is used for one answer, either way.
type Reader interface {
	// Event reads one event of a stream and appends what it means. name is the event's type where that stands outside of
	// data (Converse), else "". Strings of the events share data's bytes. An error is a *Failure of the provider's, or
	// says why data makes no sense.
	Event(name string, data []byte, to []Event) ([]Event, error)
	// Whole reads an answer that does not stream. Its strings share body's bytes.
	Whole(body []byte) (*Answer, error)
}

// Writer writes an answer in the client's dialect. It is used for one answer, either way.
type Writer interface {
	// Event appends what the client sees of an event: whole server-sent events, or nothing.
	Event(dst []byte, e *Event) []byte
	// End appends what ends a complete stream.
	End(dst []byte) []byte
	// Fail appends what ends a stream that has begun and cannot go on.
	Fail(dst []byte, e *wire.Error) []byte
	// Whole appends the body of an answer that does not stream.
	Whole(dst []byte, a *Answer) []byte
}

// Failure is an error that the provider tells of inside an answer of status 200.
type Failure struct {
	Status  int    // that it has, or would have, outside of a stream; 0 when unknown
	Type    string // the provider's word
	Message string
}

func (f *Failure) Error() string { return strings.TrimSpace(f.Type + ": " + f.Message) }
