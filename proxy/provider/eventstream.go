package provider

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// frame is one message of AWS's binary event stream, application/vnd.amazon.eventstream. All of it are parts of the bytes
// that it was read from. https://smithy.io/2.0/aws/amazon-eventstream.html
type frame struct {
	messageType   []byte // event, exception or error
	eventType     []byte // of an event
	exceptionType []byte // of an exception: the shape's name
	errorCode     []byte // of an error: one that the service's model does not know
	errorMessage  []byte
	contentType   []byte
	payload       []byte
}

// A frame is: its length, the length of its headers, a checksum of the two; headers; payload; a checksum of all before.
const (
	preludeLen = 12
	tailLen    = 4

	maxFrameHeaders = 128 << 10 // by the specification
	maxFramePayload = 16 << 20
	maxFrame        = preludeLen + maxFrameHeaders + maxFramePayload + tailLen
)

// readFrame reads the frame that b begins with. n is its length, 0 when b does not hold all of it yet. After an error
// the stream cannot go on: where the next frame would begin is not known.
func readFrame(b []byte) (f frame, n int, err error) {
	if len(b) < preludeLen {
		return frame{}, 0, nil
	}
	if crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return frame{}, 0, errors.New("event stream: the prelude's checksum is wrong")
	}
	total, headers := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	switch {
	case total > maxFrame:
		return frame{}, 0, fmt.Errorf("event stream: a frame of %d bytes is too large", total)
	case total < preludeLen+tailLen:
		return frame{}, 0, fmt.Errorf("event stream: a frame cannot have %d bytes", total)
	case headers > total-preludeLen-tailLen:
		return frame{}, 0, fmt.Errorf("event stream: %d bytes of headers in a frame of %d", headers, total)
	case uint64(len(b)) < uint64(total):
		return frame{}, 0, nil
	}
	body, tail := b[:total-tailLen], b[total-tailLen:total]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(tail) {
		return frame{}, 0, errors.New("event stream: the message's checksum is wrong")
	}
	f.payload = body[preludeLen+headers:]
	if err := f.readHeaders(body[preludeLen : preludeLen+headers]); err != nil {
		return frame{}, 0, err
	}
	return f, int(total), nil
}

// readHeaders takes the headers that matter and skips the others.
func (f *frame) readHeaders(b []byte) error {
	for len(b) > 0 {
		size := int(b[0])
		if size == 0 || len(b) < 1+size+1 {
			return errors.New("event stream: a header's name does not fit its frame")
		}
		name, kind := b[1:1+size], b[1+size]
		value, rest, ok := headerValue(kind, b[1+size+1:])
		if !ok {
			return fmt.Errorf("event stream: header %q: a value of type %d does not fit its frame, or there is no such type", name, kind)
		}
		if to := f.header(name); to != nil {
			if kind != headerString {
				return fmt.Errorf("event stream: header %q must be a string, not of type %d", name, kind)
			}
			*to = value
		}
		b = rest
	}
	return nil
}

// header is where the value of a header goes, nil for one that does not matter.
func (f *frame) header(name []byte) *[]byte {
	switch string(name) {
	case ":message-type":
		return &f.messageType
	case ":event-type":
		return &f.eventType
	case ":exception-type":
		return &f.exceptionType
	case ":error-code":
		return &f.errorCode
	case ":error-message":
		return &f.errorMessage
	case ":content-type":
		return &f.contentType
	}
	return nil
}

// The types of header values whose length stands before them.
const (
	headerBytes  = 6
	headerString = 7
)

// headerSizes are the lengths of the other types: true, false, byte, short, int, long, -, -, timestamp, uuid.
var headerSizes = [...]int{0, 0, 1, 2, 4, 8, 0, 0, 8, 16}

// headerValue splits b into a value of the given type and what follows it.
func headerValue(kind byte, b []byte) (value, rest []byte, ok bool) {
	if int(kind) >= len(headerSizes) {
		return nil, nil, false
	}
	size := headerSizes[kind]
	if kind == headerBytes || kind == headerString {
		if len(b) < 2 {
			return nil, nil, false
		}
		size = int(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) < size {
		return nil, nil, false
	}
	return b[:size], b[size:], true
}
