package wire

import "bytes"

// Server-sent events as providers send them: lines ended by LF or CRLF, an event ended by a blank line.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

// EventEnd finds the end of the first event in b: the number of bytes up to and including its blank line, or 0 when b
// does not hold a whole event. from is where the search starts; an earlier call on a shorter b may pass its second
// result, so that an event arriving in many reads is searched once.
func EventEnd(b []byte, from int) (end, resume int) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, len(b)
		}
		lf := i + n
		switch rest := b[lf+1:]; {
		case len(rest) >= 1 && rest[0] == '\n':
			return lf + 2, 0
		case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
			return lf + 3, 0
		case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
			return 0, lf
		}
		i = lf + 1
	}
}

// EventData returns the data of one event. Data on one line, which is all that providers send, is a slice of ev; data
// on several lines is joined with LF in a new slice. It is nil for an event without data, such as a comment.
func EventData(ev []byte) []byte {
	var data []byte
	for found := false; len(ev) > 0; {
		line, rest := cutLine(ev)
		ev = rest
		value, ok := fieldValue(line, dataField)
		switch {
		case !ok:
		case !found:
			data, found = value, true
		default:
			joined := make([]byte, 0, len(data)+1+len(value)+len(rest))
			data = append(append(append(joined, data...), '\n'), value...)
		}
	}
	return data
}

var dataField = []byte("data")

func cutLine(b []byte) (line, rest []byte) {
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		return bytes.TrimSuffix(b, cr), nil
	}
	return bytes.TrimSuffix(b[:n], cr), b[n+1:]
}

var cr = []byte{'\r'}

func fieldValue(line, field []byte) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(line, field)
	if !ok {
		return nil, false
	}
	if len(rest) == 0 {
		return rest, true
	}
	if rest[0] != ':' {
		return nil, false
	}
	return bytes.TrimPrefix(rest[1:], space), true
}

var space = []byte{' '}

// IsDone tells whether data is the end mark of chat and completion streams.
func IsDone(data []byte) bool { return string(data) == "[DONE]" }
