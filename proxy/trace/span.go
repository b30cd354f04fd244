package trace

import (
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is what a span is of.
type Kind uint64

// The kinds, by their numbers in OTLP.
const (
	Internal Kind = 1
	Server   Kind = 2
	Client   Kind = 3
)

// Span is a piece of work.
type Span struct {
	ID, Parent SpanID
	Name       string
	Kind       Kind
	Begin, End time.Time
	Failed     bool
	Message    string // why; "" where the attributes say it
	State      string // the tracestate that it came with, a valid one
	Attributes Attributes
}

// Spans are those of one request, as they go over the wire. What is added is copied.
type Spans struct {
	context Context
	n       int64
	text    []byte // the field `spans` of ScopeSpans, again and again
	one     []byte
}

// NewSpans has room for some spans of a trace.
func NewSpans(c Context) *Spans { return &Spans{context: c, text: make([]byte, 0, 2<<10)} }

// The fields of opentelemetry.proto.trace.v1.Span.
// https://github.com/open-telemetry/opentelemetry-proto/blob/v1.10.0/opentelemetry/proto/trace/v1/trace.proto
const (
	fieldTrace      protowire.Number = 1
	fieldID         protowire.Number = 2
	fieldState      protowire.Number = 3
	fieldParent     protowire.Number = 4
	fieldName       protowire.Number = 5
	fieldKind       protowire.Number = 6
	fieldBegin      protowire.Number = 7
	fieldEnd        protowire.Number = 8
	fieldAttributes protowire.Number = 9
	fieldStatus     protowire.Number = 15
	fieldFlags      protowire.Number = 16

	fieldStatusMessage protowire.Number = 2
	fieldStatusCode    protowire.Number = 3
	codeError                           = 2

	flagSampled      = 1
	flagKnowsRemote  = 0x100
	flagParentRemote = 0x200
)

// Add writes a span down.
func (s *Spans) Add(span *Span) {
	b := appendBytes(s.one[:0], fieldTrace, s.context.Trace[:])
	b = appendBytes(b, fieldID, span.ID[:])
	if span.State != "" {
		b = appendBytes(b, fieldState, []byte(span.State)) // whole, or it would not be one
	}
	if span.Parent != (SpanID{}) {
		b = appendBytes(b, fieldParent, span.Parent[:])
	}
	b = appendText(b, fieldName, span.Name)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldKind, protowire.VarintType), uint64(span.Kind))
	b = protowire.AppendFixed64(protowire.AppendTag(b, fieldBegin, protowire.Fixed64Type), uint64(span.Begin.UnixNano()))
	b = protowire.AppendFixed64(protowire.AppendTag(b, fieldEnd, protowire.Fixed64Type), uint64(max(span.End.UnixNano(), span.Begin.UnixNano())))
	b = append(b, span.Attributes...)
	if span.Failed {
		message := clean(span.Message)
		size := 2
		if message != "" {
			size += 1 + protowire.SizeBytes(len(message))
		}
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldStatus, protowire.BytesType), uint64(size))
		b = appendText(b, fieldStatusMessage, message)
		b = protowire.AppendVarint(protowire.AppendTag(b, fieldStatusCode, protowire.VarintType), codeError)
	}
	b = protowire.AppendFixed32(protowire.AppendTag(b, fieldFlags, protowire.Fixed32Type), s.flags(span))
	s.one = b
	s.text = appendBytes(s.text, fieldSpans, b)
	s.n++
}

func (s *Spans) flags(span *Span) uint32 {
	flags := uint32(flagKnowsRemote)
	if s.context.Sampled {
		flags |= flagSampled
	}
	if s.context.Remote() && span.ID == s.context.Span {
		flags |= flagParentRemote
	}
	return flags
}

// Attributes are what there is to know of a span, as they go over the wire.
type Attributes []byte

// The fields of opentelemetry.proto.common.v1: of KeyValue, AnyValue and ArrayValue.
const (
	fieldKey   protowire.Number = 1
	fieldValue protowire.Number = 2

	fieldString protowire.Number = 1
	fieldBool   protowire.Number = 2
	fieldInt    protowire.Number = 3
	fieldDouble protowire.Number = 4
	fieldArray  protowire.Number = 5

	fieldItems protowire.Number = 1
)

// Text adds a text, unless it is empty.
func (a *Attributes) Text(key, value string) {
	if value == "" {
		return
	}
	value = clean(value)
	a.key(key, 1+protowire.SizeBytes(len(value)))
	*a = protowire.AppendString(protowire.AppendTag(*a, fieldString, protowire.BytesType), value)
}

// Int adds a number.
func (a *Attributes) Int(key string, value int64) {
	a.key(key, 1+protowire.SizeVarint(uint64(value)))
	*a = protowire.AppendVarint(protowire.AppendTag(*a, fieldInt, protowire.VarintType), uint64(value))
}

// Count adds a number that is more than none.
func (a *Attributes) Count(key string, value int64) {
	if value > 0 {
		a.Int(key, value)
	}
}

// Float adds a number.
func (a *Attributes) Float(key string, value float64) {
	a.key(key, 1+8)
	*a = protowire.AppendFixed64(protowire.AppendTag(*a, fieldDouble, protowire.Fixed64Type), math.Float64bits(value))
}

// Seconds adds a time.
func (a *Attributes) Seconds(key string, d time.Duration) { a.Float(key, d.Seconds()) }

// True adds what is the case, and leaves out what is not.
func (a *Attributes) True(key string, value bool) {
	if !value {
		return
	}
	a.key(key, 1+1)
	*a = protowire.AppendVarint(protowire.AppendTag(*a, fieldBool, protowire.VarintType), 1)
}

// List adds a list of one text, unless that is empty.
func (a *Attributes) List(key, item string) {
	if item == "" {
		return
	}
	item = clean(item)
	value := 1 + protowire.SizeBytes(len(item))
	array := 1 + protowire.SizeBytes(value)
	a.key(key, 1+protowire.SizeBytes(array))
	*a = protowire.AppendVarint(protowire.AppendTag(*a, fieldArray, protowire.BytesType), uint64(array))
	*a = protowire.AppendVarint(protowire.AppendTag(*a, fieldItems, protowire.BytesType), uint64(value))
	*a = protowire.AppendString(protowire.AppendTag(*a, fieldString, protowire.BytesType), item)
}

// key begins an attribute whose value takes so many bytes.
func (a *Attributes) key(key string, size int) { *a = appendKey(*a, fieldAttributes, key, size) }

func appendKey(b []byte, field protowire.Number, key string, size int) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(key))+1+protowire.SizeBytes(size)))
	b = protowire.AppendString(protowire.AppendTag(b, fieldKey, protowire.BytesType), key)
	return protowire.AppendVarint(protowire.AppendTag(b, fieldValue, protowire.BytesType), uint64(size))
}

func appendBytes(b []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), value)
}

func appendText(b []byte, field protowire.Number, value string) []byte {
	if value == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), clean(value))
}

// mostText bounds what a client may have written into a span, in bytes.
const mostText = 512

// clean makes a text fit for protobuf, whose texts are UTF-8.
func clean(s string) string {
	if len(s) > mostText {
		s = s[:mostText]
	}
	return strings.ToValidUTF8(s, "")
}
