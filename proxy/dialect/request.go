package dialect

import (
	"jarvis-gateway/proxy/wire"
)

// Request is what a client asks of a model, whatever its dialect.
type Request struct {
	From        wire.Kind
	Model       string
	System      []Block // text, and in what a client may put there too: see Kind
	Turns       []Turn  // in the client's order; neighbours may have the same role
	Tools       []Tool
	Choice      Choice
	Serial      bool // at most one tool call at a time
	MaxTokens   int64
	Temperature *float64 // 0..2 as OpenAI counts
	TopP        *float64
	TopK        *int64
	Stop        []string
	Stream      bool
	StreamUsage bool    // chat: the client asked for the usage chunk
	Format      *Format // nil: plain text
	Reasoning   Reasoning
	User        string // the client's end user: user, safety_identifier, metadata.user_id
	Tier        string // service tier in OpenAI's words: auto, default, flex, priority; "" when not said

	// Extra is every other member, with the path and the raw value that the client sent: for a writer of the same family
	// to carry, or to refuse.
	Extra []Extra
	// Raw is the client's body.
	Raw []byte

	// Of the Responses API:
	Store     bool   // the answer is to be kept
	Previous  string // the response that the input goes on from, set by who has expanded the input: the answer names it
	responses *responsesAsk

	parts int // read so far: messages, items and what they are made of
}

// Extra is a member of a request that has no place in Request.
type Extra struct {
	Path string // "logit_bias", "tools[2]"
	Raw  string // the JSON value
	Hint bool   // changes nothing of what the answer says: may be left out wherever it is not known
}

// Role is whose a turn is.
type Role uint8

// The roles. Instructions in the middle of a conversation stay where they are, as turns of RoleSystem: the writers decide.
const (
	RoleUser Role = iota
	RoleAssistant
	RoleSystem
)

// Turn is one message.
type Turn struct {
	Role   Role
	Blocks []Block
	Name   string // chat: the participant's name
	Path   string // "messages[3]"
}

// Kind is what a block holds.
type Kind uint8

// The kinds of blocks.
const (
	Text       Kind = iota // Text, Citations
	Image                  // Media
	Document               // Media
	Audio                  // Media
	Thinking               // Text and Signature, or Redacted
	ToolUse                // ID, Name, Input
	ToolResult             // ID, Content, IsError
	Refusal                // Text
	Other                  // Raw: a block of the provider's or client's dialect that has no common form
)

// Block is a part of a message.
type Block struct {
	Kind      Kind
	Text      string
	Signature string     // of Thinking: by which the provider knows its own; "" when the thought was not the provider's own
	Redacted  string     // of Thinking: the opaque data that stands for a hidden thought
	Summary   bool       // of Thinking: Text is a summary (Responses)
	Media     *Media     // of Image, Document, Audio
	ID        string     // of ToolUse and ToolResult
	Name      string     // of ToolUse
	Input     string     // of ToolUse: a JSON object, or what a model wrote in place of one
	Content   []Block    // of ToolResult: Text, Image, Document
	IsError   bool       // of ToolResult
	Citations []Citation // of Text in an answer
	Cache     string     // raw cache_control object: the prompt up to and with this block is to be cached; "" if not
	CachePath string     // where the client wrote it, if not in this block as its dialect has it
	Raw       string     // of Other; of Document and others the raw options a dialect has ("citations", "context")
	Path      string     // where the client wrote it: "messages[2].content[0]"
}

// Media is an image, a document or a sound: exactly one of Data, Text, URL and FileID is set.
type Media struct {
	Type   string // MIME type: "image/png"; "" when not known (a URL)
	Data   string // base64, standard alphabet
	Text   string // of a plain text document
	URL    string // http or https
	FileID string // of a file kept at the provider
	Name   string // file name or title
	Detail string // images: OpenAI's detail
}

// Citation is a source that an answer's text names.
type Citation struct {
	URL, Title, Cited string // of a web page; Cited is the quoted text
	Start, End        int64  // of the text cited in the answer's text, in characters; -1 when not known
	Raw               string // the provider's own object
}

// Linked lists the images and documents that are given by their URL.
func (r *Request) Linked() (list []*Block) {
	for i := range r.Turns {
		list = linked(list, r.Turns[i].Blocks)
	}
	return list
}

func linked(list []*Block, blocks []Block) []*Block {
	for i := range blocks {
		b := &blocks[i]
		if b.Media != nil && b.Media.URL != "" {
			list = append(list, b)
		}
		list = linked(list, b.Content)
	}
	return list
}

// Tool is a function that the model may call. Server tools and other kinds are Extra.
type Tool struct {
	Name, Description string
	Schema            string // JSON schema of its input, "" when the client gave none
	Strict            *bool
	Cache             string // raw cache_control object
	Path              string // "tools[1]"
	Raw               string // the client's own object, for a tool that is not a function: Name may be ""
}

// Choice says which tools the model may or must call.
type Choice struct {
	Mode ChoiceMode
	Name string // of ChoiceNamed
}

// ChoiceMode is how free the model is.
type ChoiceMode uint8

// The modes of choice.
const (
	ChoiceUnset    ChoiceMode = iota
	ChoiceAuto                // may call
	ChoiceNone                // must not call
	ChoiceRequired            // must call at least one
	ChoiceNamed               // must call the named one
)

// Format is the JSON that the answer's text must be.
type Format struct {
	Schema      string // JSON schema; "" for any JSON object
	Name        string
	Description string
	Strict      *bool
}

// Reasoning is how much the model should think.
type Reasoning struct {
	Effort   string // none, minimal, low, medium, high, xhigh, max; "" when not said
	Budget   int64  // tokens; 0 when not said
	Off      bool   // said to be off
	Adaptive bool   // as much as the model thinks fit
	Summary  string // Responses: auto, concise, detailed
	Hidden   bool   // thoughts are not to be shown
}
