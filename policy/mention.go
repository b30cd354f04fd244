package policy

import "bytes"

// mention is what a request's body says, beside its texts, that matters for what it may cost.
type mention struct {
	elsewhere int64 // tokens of the prompt that do not stand in it: earlier turns, files and pictures that it only names
	hidden    bool  // tokens are asked for that a stream does not show: thoughts, of which little is shown, or sound
	hour      bool  // the prompt may be kept in the provider's cache for an hour, which is dearer
}

// What is named and not there has so many tokens at most, until providers' reports tell more.
const (
	document = 20_000
	picture  = 2_000
)

// mentions are names and values in requests of all dialects, by what they begin with.
var mentions = ['z' + 1][]struct {
	text   string
	tokens int64
	hidden bool
	hour   bool
	opens  string // what must follow the colon; "": anything
}{
	'1': {{text: `1h"`, hour: true}},
	'a': {{text: `audio"`, hidden: true}},
	'c': {{text: `conversation"`, tokens: document}},
	'd': {{text: `document"`, tokens: document}},
	'e': {{text: `effort"`, hidden: true}},
	'f': {{text: `file_id"`, tokens: document}, {text: `file_url"`, tokens: document}, {text: `file_data"`, tokens: document}},
	'i': {{text: `image_url"`, tokens: picture}, {text: `input_image"`, tokens: picture}, {text: `image"`, tokens: picture}, {text: `input_audio"`, tokens: picture}},
	'p': {{text: `previous_response_id"`, tokens: document, opens: `"`}, {text: `prompt"`, tokens: document, opens: `{`}},
	'r': {{text: `reasoning`, hidden: true}},
	't': {{text: `thinking"`, hidden: true}},
	'v': {{text: `vector_store_ids"`, tokens: document}},
}

// scan goes from quote to quote: the texts between them are passed over at the speed of memory.
func scan(raw []byte) (m mention) {
	for {
		quote := bytes.IndexByte(raw, '"')
		if quote < 0 || quote+1 == len(raw) {
			return m
		}
		raw = raw[quote+1:]
		if int(raw[0]) >= len(mentions) {
			continue
		}
		for _, row := range mentions[raw[0]] {
			if len(raw) < len(row.text) || string(raw[:len(row.text)]) != row.text {
				continue
			}
			if row.opens != "" && !bytes.HasPrefix(bytes.TrimLeft(raw[len(row.text):], ": \t\r\n"), []byte(row.opens)) {
				continue
			}
			m.elsewhere += row.tokens
			m.hidden, m.hour = m.hidden || row.hidden, m.hour || row.hour
		}
	}
}
