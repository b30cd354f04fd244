package store

import (
	"strconv"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
)

// EventVersion is that of the events that Events writes. Fields may come without a new one; none goes or changes.
const EventVersion = 1

// Events writes records as JSON objects: the columns of their tables, with version and type before them. Of a request, attempts is
// the list of its attempts with their own columns, not how many there were. Prompts and answers are not in it.
type Events struct {
	requests []column[*usage.Record]
	attempts []column[attempt]
	feedback []column[*usage.Feedback]
}

// NewEvents is for one goroutine or many.
func NewEvents() *Events {
	return &Events{requestsTable().columns, attemptsTable().columns, feedbackTable().columns}
}

// AppendRequest appends the event of a request.
func (e *Events) AppendRequest(dst []byte, r *usage.Record) []byte {
	dst = appendHead(dst, "request")
	for _, c := range e.requests {
		if c.name != "attempts" {
			dst = appendField(append(dst, ','), c, r)
		}
	}
	dst = append(dst, `,"attempts":[`...)
	for i := range r.Attempts {
		if i > 0 {
			dst = append(dst, ',')
		}
		for j, c := range e.attempts {
			dst = append(dst, "{,"[min(j, 1)])
			dst = appendField(dst, c, attempt{r, &r.Attempts[i], i + 1})
		}
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// AppendFeedback appends the event of feedback.
func (e *Events) AppendFeedback(dst []byte, f *usage.Feedback) []byte {
	dst = appendHead(dst, "feedback")
	for _, c := range e.feedback {
		dst = appendField(append(dst, ','), c, f)
	}
	return append(dst, '}')
}

func appendHead(dst []byte, kind string) []byte {
	dst = strconv.AppendInt(append(dst, `{"version":`...), EventVersion, 10)
	return wire.AppendString(append(dst, `,"type":`...), kind)
}

func appendField[R any](dst []byte, c column[R], r R) []byte {
	dst = append(wire.AppendString(dst, c.name), ':')
	switch v := c.one(r).(type) {
	case string:
		if kindOf[c.house] == List {
			return append(dst, v...)
		}
		return wire.AppendString(dst, v)
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	case uint16:
		return strconv.AppendUint(dst, uint64(v), 10)
	case int64:
		if kindOf[c.house] == Instant {
			return append(time.UnixMicro(v).UTC().AppendFormat(append(dst, '"'), instantLayout), '"')
		}
		return strconv.AppendInt(dst, v, 10)
	}
	panic("BUG: " + c.name + " is no value of a column")
}

// instantLayout is RFC 3339 with microseconds, always as long.
const instantLayout = "2006-01-02T15:04:05.000000Z"
