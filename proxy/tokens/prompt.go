package tokens

import "bytes"

const (
	framing       = 3   // tokens around a message, and to begin the answer
	imageTokens   = 765 // of a picture of 1024 x 1024 at high detail
	mediaShare    = 32  // bytes of base64 per token of other media: a page of a PDF is some 50 KiB and some 1,500 tokens
	deepest       = 64  // objects and arrays within each other; what lies deeper is text
	longField     = 256 // bytes
	textsTogether = 64
)

// EstimateJSON is about how many tokens of o200k_base the prompt of a request has, of /v1/chat/completions, /v1/completions,
// /v1/embeddings, /v1/responses or /v1/messages: its texts as Estimate takes them, tools and schemas as they stand in the
// body, and the framing of messages. Of a picture the size says nothing; other media count by theirs. What is no such
// body counts as text.
func EstimateJSON(raw []byte) int {
	p := prompt{raw: raw}
	p.body()
	p.flush()
	return p.tokens + rounded(p.estimated)
}

// CountRequest is EstimateJSON with every text counted, by the model's vocabulary. For that it looks at each byte. Of plain
// texts it is what OpenAI bills; how tools, schemas and media are put into a prompt no provider publishes.
func CountRequest(raw []byte, model string) int {
	n, _ := CountFramed(raw, model)
	return n
}

// CountFramed is CountRequest, and how many messages there are if plain texts in messages are all that the prompt has and OpenAI
// publishes the vocabulary: by each of them the framing differs among its models by a token at most. Else it is 0.
func CountFramed(raw []byte, model string) (n, messages int) {
	t := For(model)
	p := prompt{raw: raw, exact: t.load()}
	p.body()
	if messages = p.messages; p.other || !t.Exact() {
		messages = 0
	}
	return t.Scale(p.tokens), messages
}

// prompt walks a request's body, and adds up tokens.
type prompt struct {
	raw    []byte
	at     int
	depth  int
	tokens int

	messages int
	other    bool // there is more than texts in messages

	exact     *vocabulary // nil to estimate
	waiting   queue
	estimated int   // tokens of texts that wait no more, in 256ths
	flushed   int   // how often none waited
	alike     queue // texts of elements of an array of which others are passed
	hopping   bool  // in such an array
}

// queue has texts that wait to be looked at as one.
type queue struct {
	texts   [textsTogether]span
	n, size int // how many wait, of how many bytes
}

func (q *queue) full() bool { return q.n == len(q.texts) }

func (q *queue) add(t span) {
	q.texts[q.n] = t
	q.n++
	q.size += t.end - t.start
}

// estimate is about how many tokens the texts have, in 256ths. None waits then.
func (q *queue) estimate(raw []byte, rough bool) (n int) {
	if q.size > 0 {
		s := estimator(true)
		s.rough = rough
		n = s.texts(raw, q.texts[:q.n], q.size)
	}
	q.n, q.size = 0, 0
	return n
}

// part says what a value is in a prompt.
type part uint8

const (
	silent  part = iota // not in the prompt
	said                // its texts, and numbers, which are tokens
	written             // as it stands: JSON that the model gets to see
	name                // said, at the cost of a token
	role                // a token, and a message around it
	picture             // an address, or data
	media               // data, or an address, or a text after all
	schema              // written if it is one
	extra               // written if it is long: fields that only some servers know
	system              // said, as a message
	turns               // said; after them the answer begins
)

// inBody is what the fields of a request are.
func inBody(key []byte) part {
	switch string(key) {
	case "messages":
		return turns
	case "input", "prompt", "suffix":
		return said
	case "system", "instructions":
		return system
	case "tools", "functions":
		return written
	case "response_format", "text", "output_format", "output_config":
		return schema
	case "model", "metadata", "user", "stop", "logit_bias":
		return silent
	}
	return extra
}

// inTurns is what the fields within messages and inputs are, in any dialect. What is not known is text.
func inTurns(key []byte) part {
	switch string(key) {
	case "type", "id", "call_id", "tool_call_id", "tool_use_id", "file_id", "item_id", "media_type", "mime_type", "format", "detail", "status",
		"cache_control", "signature", "encrypted_content", "object", "phase", "annotations", "logprobs", "citations", "is_error", "index":
		return silent
	case "role":
		return role
	case "name":
		return name
	case "input", "parameters", "action", "tools":
		return written
	case "image_url":
		return picture
	case "data", "file_data", "url", "file_url":
		return media
	}
	return said
}

// inPicture is what the fields of an address of a picture are.
func inPicture(key []byte) part {
	if string(key) == "url" {
		return picture
	}
	return silent
}

// body walks the body. Where it is not what it should be, the rest counts as text.
func (p *prompt) body() {
	p.space()
	if p.peek() == '{' && p.object(inBody) {
		p.space()
	}
	if p.at < len(p.raw) {
		p.other = true
		p.say(p.at, len(p.raw))
	}
}

// object walks the object at p.at, whose fields are what in says. It tells whether it could be read, as all of these do.
func (p *prompt) object(in func(key []byte) part) bool {
	for p.at++; ; {
		p.space()
		switch p.peek() {
		case '}':
			p.at++
			return true
		case ',':
			p.at++
			continue
		}
		key, ok := p.text()
		if !ok {
			return false
		}
		if p.space(); p.peek() != ':' {
			return false
		}
		p.at++
		if !p.value(in(p.raw[key.start:key.end])) {
			return false
		}
	}
}

func (p *prompt) value(is part) bool {
	p.space()
	switch is {
	case silent:
		return p.skip()
	case role:
		p.messages++
		p.tokens += framing + 1
		return p.skip()
	case name:
		p.other = true
		p.tokens++
	case system:
		p.messages++
		p.tokens += framing + 1
	case turns:
		p.tokens += framing
	case written, schema, extra:
		return p.whole(is)
	}
	if p.depth == deepest {
		return p.whole(written)
	}
	p.depth++
	ok := p.open(is)
	p.depth--
	return ok
}

// open walks a value that has texts.
func (p *prompt) open(is part) bool {
	switch c := p.peek(); {
	case c == '"':
		return p.string(is)
	case c == '{' && is == picture:
		return p.object(inPicture)
	case c == '{':
		return p.object(inTurns)
	case c == '[':
		return p.array(said)
	case numeric(c):
		p.tokens++
	}
	return p.skip()
}

func (p *prompt) array(of part) bool {
	if p.numbers() {
		return true
	}
	e := p.element()
	first, n, h := byte(0), 0, hops{from: e}
	for p.at++; ; {
		p.space()
		switch c := p.peek(); c {
		case ']':
			p.at++
			h.end(p)
			return true
		case ',':
			p.at++
			continue
		default:
			if n == 0 {
				first = c
			}
		}
		if !p.value(of) {
			h.end(p)
			return false
		}
		h.looked(p, e)
		if n++; n >= hopFrom && (n-hopFrom)%hopEach == 0 {
			h.hop(p, first)
		}
		e = p.element()
	}
}

// string adds a string.
func (p *prompt) string(is part) bool {
	t, ok := p.text()
	if !ok {
		return false
	}
	content := p.raw[t.start:t.end]
	switch {
	case is == picture:
		p.other = true
		p.tokens += imageTokens
	case is == media && isData(content):
		p.other = true
		p.media(t)
	default:
		p.say(t.start, t.end)
	}
	return true
}

// isData tells by its beginning whether a string is base64, a data URL or an address of media.
func isData(content []byte) bool {
	for _, prefix := range []string{"data:", "https://", "http://"} {
		if bytes.HasPrefix(content, []byte(prefix)) {
			return true
		}
	}
	const sure = 64 // no text has so long a word
	if len(content) < sure {
		return false
	}
	for _, c := range content[:min(len(content), 512)] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' && c != '=' {
			return false
		}
	}
	return true
}

// media adds data. Whether it is a picture is said near it, or in its head.
func (p *prompt) media(t span) {
	about := p.raw[max(0, t.start-200):min(len(p.raw), t.start+16)]
	if bytes.Contains(about, []byte("image")) {
		p.tokens += imageTokens
	} else {
		p.tokens += (t.end - t.start) / mediaShare
	}
}

// whole adds a value as it stands. A schema is one if there is any in it.
func (p *prompt) whole(is part) bool {
	start := p.at
	if !p.skip() {
		p.at = start
		return false
	}
	if is == schema && !bytes.Contains(p.raw[start:p.at], []byte(`"schema"`)) || is == extra && p.at-start < longField {
		return true
	}
	p.other = true
	if end := p.at; p.raw[start] == '"' {
		p.say(start+1, end-1)
	} else {
		p.say(start, end)
	}
	return true
}

// say adds a text.
func (p *prompt) say(start, end int) {
	if p.exact != nil {
		p.tokens += p.exact.count(unescape(nil, p.raw[start:end]))
		return
	}
	if p.waiting.full() {
		p.flush()
	}
	p.waiting.add(span{start, end})
}

// flush adds what the texts that wait are estimated to have.
func (p *prompt) flush() {
	p.estimated += p.waiting.estimate(p.raw, false)
	p.flushed++
}

func (p *prompt) space() {
	for p.at < len(p.raw) && p.raw[p.at] <= ' ' {
		p.at++
	}
}

// peek is the byte at p.at, 0 at the end.
func (p *prompt) peek() byte {
	if p.at < len(p.raw) {
		return p.raw[p.at]
	}
	return 0
}

// text reads the string at p.at, and is what lies between its quotes.
func (p *prompt) text() (t span, ok bool) {
	if p.peek() != '"' {
		return t, false
	}
	end := stringEnd(p.raw, p.at+1)
	if end < 0 {
		return t, false
	}
	t = span{p.at + 1, end}
	p.at = end + 1
	return t, true
}

// skip passes over the value at p.at, however deep.
func (p *prompt) skip() bool {
	for p.at < len(p.raw) {
		switch c := p.raw[p.at]; c {
		case '"':
			_, ok := p.text()
			return ok
		case '{', '[':
			n := closing(p.raw[p.at+1:], c)
			p.at += n + 2
			return n >= 0
		case '}', ']':
			return false
		case ',', ':', ' ', '\t', '\n', '\r':
			p.at++
		default:
			p.scalar()
			return true
		}
	}
	return false
}

// scalar passes over a number, true, false or null.
func (p *prompt) scalar() {
	for p.at < len(p.raw) {
		switch p.raw[p.at] {
		case ',', ':', ' ', '\t', '\n', '\r', '{', '}', '[', ']', '"':
			return
		}
		p.at++
	}
}
