package provider

import "bytes"

// Tells tells whether a client's header may be part of what a provider is asked. Those of the transport, of who asks and of
// traces are not: the first never go on, the others change no answer.
func Tells(name []byte) bool {
	switch string(name) {
	case "Accept", "Accept-Language", "Cache-Control", "Content-Type", "Idempotency-Key", "Pragma", "Priority", "Traceparent", "Tracestate", "User-Agent":
		return false
	}
	return !keepsToItself(name) && !bytes.HasPrefix(name, xStainless)
}

var xStainless = []byte("X-Stainless-") // OpenAI's and Anthropic's own clients tell what machine they are on
