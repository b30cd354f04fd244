package cache

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Entry is an answer that is kept: as the provider gave it, before anybody looked at it. It never changes.
type Entry struct {
	Scope
	Stored      time.Time
	TTL         time.Duration
	Stream      bool // Body is an event stream
	ContentType string
	Header      []Field
	Body        []byte
	Usage       wire.Usage // of who asked for it
	Finish      string     // why it ended
	By          Giver
}

// Field is a header of the answer's.
type Field struct{ Name, Value string }

// Giver is who gave an answer.
type Giver struct {
	Provider, Kind, Region string
	Model                  string // as the provider calls it
}

// fresh tells an entry that has not had its time, nor is older than ttl.
func (e *Entry) fresh(now time.Time, ttl time.Duration) bool {
	return now.Before(e.Stored.Add(min(e.TTL, ttl)))
}

// around is what an entry takes beside its parts.
const around = 512

func (e *Entry) size() int64 {
	n := len(e.Body) + len(e.ContentType) + around
	for _, f := range e.Header {
		n += len(f.Name) + len(f.Value) + 32
	}
	return int64(n)
}

// text writes the entry: the lengths of all but the body and of that, the one as JSON, the other.
func (e *Entry) text() ([]byte, error) {
	head := *e
	head.Body = nil
	b, err := json.Marshal(&head)
	if err != nil {
		return nil, err
	}
	dst := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(b))), uint64(len(e.Body)))
	return append(append(dst, b...), e.Body...), nil
}

// readEntry reads what text wrote; nil where that is something else, or not all of it.
func readEntry(text []byte) *Entry {
	n, skip := binary.Uvarint(text)
	if skip <= 0 {
		return nil
	}
	text = text[skip:]
	m, skip := binary.Uvarint(text)
	if skip <= 0 {
		return nil
	}
	if text = text[skip:]; n > uint64(len(text)) || m != uint64(len(text))-n {
		return nil
	}
	head, body := text[:n], text[n:]
	e := &Entry{}
	if json.Unmarshal(head, e) != nil || e.TTL <= 0 || e.Stored.IsZero() {
		return nil
	}
	e.Body = bytes.Clone(body) // the rest is not kept with it
	return e
}
