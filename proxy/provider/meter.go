package provider

import (
	"bytes"
	"math"
	"strings"

	"jarvis-gateway/proxy/tokens"
	"jarvis-gateway/proxy/wire"
)

// Meter bounds a stream while it runs. It is asked before the stream begins, and then each time as many tokens were given
// as it had allowed.
type Meter interface {
	// More is told how many tokens of answer were given, and returns how many may be given in all: math.MaxInt64 for no
	// bound. If that is not more than were given, the stream ends there.
	More(given int64) (allowed int64)
	// Prompt is how many tokens the prompt most probably has, where the provider has not said it yet; 0: nobody knows.
	Prompt() int64
}

// Cuttable tells whether a stream of a kind ends as soon as its Meter allows no more. One of the Responses API that goes
// through as it comes does not: its end would have to repeat all of the answer. What such an answer may cost must be held
// before it begins, and bounded by Call.MaxTokens.
func (c *Client) Cuttable(kind wire.Kind) bool {
	switch kind {
	case wire.Chat, wire.Completion, wire.Message:
		return true
	case wire.Response:
		return !c.Native(kind)
	}
	return false
}

// gauge counts the tokens of a stream: roughly as long as nothing bounds them, else each.
type gauge struct {
	meter   Meter // nil: nothing bounds it
	model   string
	vocab   tokens.Tokenizer // of the model, where each token is counted
	allowed int64
	tokens  int64 // given so far
	plain   int64 // tokens of another vocabulary among them, which the model's are estimated by
	letters int64 // bytes of text, of providers that send several tokens in an event
	cut     bool  // the stream was ended at its bound
	text    []byte
	shape   shape
}

// newGauge makes a gauge in the space of an earlier one.
func newGauge(call *Call, m Meter, old gauge) gauge {
	g := gauge{meter: m, model: call.Model, text: old.text[:0], shape: shape{buf: old.shape.buf[:0]}}
	if m != nil {
		g.ask()
	}
	if g.bounded() {
		g.vocab = call.vocabulary()
	}
	return g
}

// vocabulary is that of the model, which is mostly the last request's too.
func (call *Call) vocabulary() tokens.Tokenizer {
	if call.vocab.Name() == "" || call.vocabOf != call.Model {
		call.vocab, call.vocabOf = tokens.For(call.Model), call.Model
	}
	return call.vocab
}

// ask asks how many tokens may be given.
func (g *gauge) ask() {
	if g.allowed = g.meter.More(g.tokens); g.allowed == math.MaxInt64 {
		g.meter = nil
	}
}

// forget lets go of what is large: a connection that waits for the next request must hold nothing of it.
func (g *gauge) forget() {
	if cap(g.text) > mostText {
		g.text = nil
	}
	if g.shape.head = 0; cap(g.shape.buf) > mostText {
		g.shape.buf = nil
	}
}

const mostText = 4 << 10

func (g *gauge) bounded() bool { return g.meter != nil }

// add counts tokens that the client is given, and tells whether they are the last.
func (g *gauge) add(n int64) (last bool) {
	if g.tokens += n; g.tokens < g.allowed {
		return false
	}
	g.ask()
	return g.tokens >= g.allowed
}

// seen is about how many tokens were given.
func (g *gauge) seen() int64 {
	if g.letters/lettersPerToken <= g.tokens {
		return g.tokens
	}
	return max(g.tokens, scaled(tokens.For(g.model), g.letters/lettersPerToken))
}

const lettersPerToken = 4

func scaled(t tokens.Tokenizer, n int64) int64 { return int64(t.Scale(int(n))) }

// literal counts the tokens of a text, given as a JSON string without its quotes: of the model's own vocabulary where that
// is published, else of one that weigh makes the model's of.
func (g *gauge) literal(inner string) int64 {
	if strings.IndexByte(inner, '\\') >= 0 {
		g.text = wire.AppendUnquoted(g.text[:0], inner)
		inner = aliasOf(g.text)
	}
	if g.vocab.Exact() {
		return int64(g.vocab.Count(inner))
	}
	return int64(tokens.Count(inner))
}

// weigh makes tokens of the model of what was counted in an event, which counts as one at least. What is lost by rounding
// in one comes with the next.
func (g *gauge) weigh(n int64) int64 {
	before := scaled(g.vocab, g.plain)
	g.plain += max(n, 1)
	return scaled(g.vocab, g.plain) - before
}

// texts counts the tokens of what an event says. It looks for the members that hold text, however deep, and reads nothing
// else: an event has some hundred bytes.
func (g *gauge) texts(kind wire.Kind, data []byte) int64 { return spoken(kind, data, g.literal) }

// spoken adds up what each text of an event counts.
func spoken(kind wire.Kind, data []byte, literal func(inner string) int64) (n int64) {
	start := choicesKey
	if kind == wire.Message {
		start = deltaKey
	}
	if at := bytes.Index(data, start); at >= 0 { // what stands before it says nothing
		data = data[at:]
	}
	var name []byte
	thoughts := int64(0)
	for {
		quote := bytes.IndexByte(data, '"')
		if quote < 0 {
			return n + thoughts
		}
		inner := untilQuote(data[quote+1:])
		if inner == nil {
			return n + thoughts
		}
		data = data[quote+len(inner)+2:]
		switch rest := bytes.TrimLeft(data, " \t\r\n"); {
		case len(rest) > 0 && rest[0] == ':':
			name = inner
			continue
		case kind == wire.Chat && (string(name) == "reasoning" || string(name) == "reasoning_content"):
			thoughts = max(thoughts, literal(aliasOf(inner))) // some servers send both, with the same text
		case holdsText(kind, name):
			n += literal(aliasOf(inner))
		}
		name = nil
	}
}

var deltaKey = []byte(`"delta"`)

// untilQuote is what a JSON string holds whose opening quote is passed; nil when it does not end.
func untilQuote(b []byte) []byte {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[:i:i]
		}
	}
	return nil
}

// holdsText tells the members of an event whose value the model wrote.
func holdsText(kind wire.Kind, name []byte) bool {
	switch kind {
	case wire.Chat:
		switch string(name) {
		case "content", "refusal", "arguments":
			return true
		}
	case wire.Completion:
		return string(name) == "text"
	case wire.Message:
		switch string(name) {
		case "text", "thinking", "partial_json":
			return true
		}
	}
	return false
}
