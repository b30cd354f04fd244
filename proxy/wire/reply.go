package wire

import "io"

// Reply is a provider's answer in OpenAI form: whole in Body, or still coming in Stream. Whoever holds a Reply closes
// it; its bytes are valid until then.
type Reply struct {
	Status      int
	ID          string // of an answer of the Responses API
	ContentType []byte
	Header      []Field // what else the client may see of the provider's headers
	Body        []byte
	Stream      Stream // nil when Body is the answer
	Length      int    // bytes of Stream where known, else -1
	Usage       Usage  // of Body; a Stream has its own
	Release     func() // gives back what Body and Header lie in; may be nil
}

// Field is one header.
type Field struct{ Name, Value []byte }

// Stream is an answer that is pulled by the client's connection. Every Read of an event stream gives whole events.
// Close stops the provider and may be called at any time, also twice.
type Stream interface {
	io.ReadCloser
	// Usage is what the answer has cost so far, complete once Read has given io.EOF.
	Usage() Usage
}

// Close gives back whatever the reply holds.
func (r *Reply) Close() {
	if r.Stream != nil {
		_ = r.Stream.Close() // nothing to save: the stream is over either way
	}
	if r.Release != nil {
		r.Release()
	}
	*r = Reply{Header: r.Header[:0]}
}
