// Package trace follows requests over the borders of processes: it reads and writes W3C trace context, decides which traces are
// kept once it is known how they ended, and gives those to a collector of OpenTelemetry's, over OTLP and HTTP.
package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// ID names a trace.
type ID [16]byte

// SpanID names a span of a trace. Zero names none.
type SpanID [8]byte

// Context is a request's place in a trace.
type Context struct {
	Trace   ID
	Span    SpanID // of the request itself
	Parent  SpanID // of who sent it; zero: it is where the trace begins
	Sampled bool   // it was chosen to be kept before it was known how it ends: by who sent it, else by chance
}

// Remote tells that the trace began elsewhere.
func (c *Context) Remote() bool { return c.Parent != SpanID{} }

// Tracer begins the traces of one configuration, and decides about them. Nil is a tracer that is off.
type Tracer struct {
	exporter *Exporter
	below    uint64 // ids that are, as numbers, are kept
	slow     time.Duration
	tells    string
}

// Begin takes over the trace that a valid traceparent tells of, or begins a new one.
func (t *Tracer) Begin(traceparent []byte) (c Context) {
	c.Span = NewSpanID()
	var ok bool
	if c.Trace, c.Parent, c.Sampled, ok = parse(traceparent); ok {
		return c
	}
	c.Trace, c.Parent = newID(), SpanID{}
	c.Sampled = binary.BigEndian.Uint64(c.Trace[8:])>>1 < t.below
	return c
}

// Keeps tells whether a request's spans are given away: because it was sampled, failed or took so long for its first content or
// its whole answer. A stranger cannot have himself sampled.
func (t *Tracer) Keeps(c *Context, failed, stranger bool, took time.Duration) bool {
	return failed || took > t.slow || c.Sampled && !(stranger && c.Remote())
}

// Tells whether a provider is told of the trace: own says that it is a server of the gateway's owner.
func (t *Tracer) Tells(own bool) bool { return t.tells == All || t.tells == Own && own }

// Export gives the spans of a request away. It never waits.
func (t *Tracer) Export(s *Spans) { t.exporter.add(s) }

// NewSpanID is a random one.
func NewSpanID() (id SpanID) {
	for id == (SpanID{}) {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

func newID() (id ID) {
	for id == (ID{}) {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}

// ParentSize is the length of a traceparent of version 00, the only one there is.
const ParentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2

// AppendParent writes the traceparent that a span's own children are told.
func (c *Context) AppendParent(dst []byte, span SpanID) []byte {
	dst = hex.AppendEncode(append(dst, "00-"...), c.Trace[:])
	dst = hex.AppendEncode(append(dst, '-'), span[:])
	if c.Sampled {
		return append(dst, "-01"...)
	}
	return append(dst, "-00"...)
}

// parse reads a traceparent. Of a version to come it reads what this one has. https://www.w3.org/TR/trace-context-1/
func parse(s []byte) (id ID, parent SpanID, sampled, ok bool) {
	if len(s) < ParentSize || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return id, parent, false, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], s[:2]) || !lowerHex(id[:], s[3:35]) || !lowerHex(parent[:], s[36:52]) || !lowerHex(flags[:], s[53:55]) {
		return id, parent, false, false
	}
	fits := version[0] == 0 && len(s) == ParentSize || version[0] != 0 && version[0] != 0xff && (len(s) == ParentSize || s[ParentSize] == '-')
	return id, parent, flags[0]&1 == 1, fits && id != ID{} && parent != SpanID{}
}

// lowerHex decodes digits, of which the standard has only small ones.
func lowerHex(dst, src []byte) bool {
	for _, c := range src {
		if c >= 'A' && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(dst, src)
	return err == nil
}
