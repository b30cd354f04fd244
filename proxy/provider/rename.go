package provider

import (
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// Answers name the model that served. Where the configuration says `answer_model: asked`, they name the one that the
// client asked for; only then is an answer rewritten.

// rename returns the answer with its model's name replaced: the top-level "model", or that of the response object in an
// event of the Responses API. Every other byte stays.
func rename(answer, asked []byte) []byte {
	for _, path := range []string{"model", "response.model", "message.model"} {
		if v := gjson.GetBytes(answer, path); v.Type == gjson.String {
			out := make([]byte, 0, len(answer)+len(asked)+2)
			out = append(out, answer[:v.Index]...)
			out = wire.AppendString(out, string(asked))
			return append(out, answer[v.Index+len(v.Raw):]...)
		}
	}
	return answer
}

// renameEvents returns b with the model renamed in the whole events b[from:from+kept], and what follows from+rest behind
// them.
func renameEvents(b []byte, from, kept, rest int, asked []byte) []byte {
	out := append(make([]byte, 0, len(b)+64), b[:from]...)
	for evs := b[from : from+kept]; len(evs) > 0; {
		end, _ := wire.EventEnd(evs, 0)
		if end == 0 {
			end = len(evs)
		}
		ev := evs[:end]
		evs = evs[end:]
		data := wire.EventData(ev)
		// Data on one line is a slice of the event: the capacities tell where it starts.
		at := cap(ev) - cap(data)
		if len(data) == 0 || at < 0 || at+len(data) > len(ev) || &ev[at] != &data[0] {
			out = append(out, ev...)
			continue
		}
		out = append(out, ev[:at]...)
		out = append(out, rename(data, asked)...)
		out = append(out, ev[at+len(data):]...)
	}
	return append(out, b[from+rest:]...)
}
