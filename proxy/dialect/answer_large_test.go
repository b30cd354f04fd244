package dialect

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// flooded writes an answer that has no end, up to a few times of what may be kept, and throws away what is written.
func flooded(w Writer, open Event, more ...Event) (full bool) {
	var dst []byte
	literal := `"` + strings.Repeat("words ", 200_000) + `"`
	for _, e := range []Event{{Type: Start, ID: "x", Name: "m"}, open} {
		dst = w.Event(dst[:0], &e)
	}
	for range 4 * mostHeld / len(literal) {
		for _, e := range more {
			if e.Text == "" {
				e.Text = literal
			}
			dst = w.Event(dst[:0], &e)
		}
	}
	f, is := w.(interface{ Full() bool })
	return is && f.Full()
}

// TestTooLarge: an answer that a writer cannot keep ends as a failure, with nothing of it in memory.
func TestTooLarge(t *testing.T) {
	cite := Event{Type: Cited, Cite: Citation{URL: "https://a.example/" + strings.Repeat("a", 1<<20), Start: -1, End: -1}}
	calls := func() Writer { return responsesTo(t, responsesAll) }
	chat := func() Writer { return chatTranslation(Messages).Writer() }
	for name, c := range map[string]struct {
		writer func() Writer
		open   Event
		more   []Event
		failed string
	}{
		"text":              {calls, Event{Type: Open, Kind: Text}, []Event{{Type: Delta}}, `"status":"failed"`},
		"arguments":         {calls, Event{Type: Open, Kind: ToolUse, ID: "i", Name: "f"}, []Event{{Type: Delta}}, `"status":"failed"`},
		"thought":           {calls, Event{Type: Open, Kind: Thinking}, []Event{{Type: Delta}}, `"status":"failed"`},
		"signature":         {calls, Event{Type: Open, Kind: Thinking}, []Event{{Type: Signed}}, `"status":"failed"`},
		"sources":           {calls, Event{Type: Open, Kind: Text}, []Event{cite}, `"status":"failed"`},
		"thought in chat":   {chat, Event{Type: Open, Kind: Thinking}, []Event{{Type: Delta}}, `{"error":`},
		"signature in chat": {chat, Event{Type: Open, Kind: Thinking}, []Event{{Type: Signed}}, `{"error":`},
		"sources in chat":   {chat, Event{Type: Open, Kind: Text}, []Event{cite}, `{"error":`},
	} {
		t.Run(name, func(t *testing.T) {
			w := c.writer()
			if !flooded(w, c.open, c.more...) {
				t.Fatal("not full")
			}
			var m runtime.MemStats
			runtime.GC()
			if runtime.ReadMemStats(&m); m.HeapAlloc > mostHeld/2 {
				t.Errorf("%d MB are still held", m.HeapAlloc>>20)
			}
			if out := w.Event(nil, &Event{Type: Delta, Text: `"x"`}); len(out) > 0 {
				t.Errorf("goes on: %s", out)
			}
			out := w.End(nil)
			if !bytes.Contains(out, []byte(c.failed)) || !bytes.Contains(out, []byte("too large")) || bytes.Contains(out, []byte("[DONE]")) || len(out) > 64<<10 {
				t.Errorf("ends with %.2000s", out)
			}
			if _, _, ok := Stored(w); ok {
				t.Error("is to be kept")
			}
		})
	}
}

// TestLargeIsNotTooLarge: what is only passed on has no bound, nor have thoughts that are complete.
func TestLargeIsNotTooLarge(t *testing.T) {
	for name, more := range map[string][]Event{
		"text":     {{Type: Open, Kind: Text}, {Type: Delta}, {Type: Shut}},
		"thoughts": {{Type: Open, Kind: Thinking}, {Type: Delta}, {Type: Signed, Text: `"s"`}, {Type: Shut}},
	} {
		if flooded(chatTranslation(Messages).Writer(), Event{Type: Ping}, more...) {
			t.Errorf("%s: full", name)
		}
	}
}

func TestTooLargeWhole(t *testing.T) {
	w := responsesTo(t, responsesAll)
	text := strings.Repeat("words ", mostHeld/4/6)
	a := &Answer{}
	for range 5 {
		a.Blocks = append(a.Blocks, Block{Kind: Text, Text: text})
	}
	out := w.Whole(nil, a)
	if object := gjson.ParseBytes(out); !w.Full() || object.Get("status").Str != "failed" || !strings.Contains(object.Get("error.message").Str, "too large") || len(out) > 64<<10 {
		t.Errorf("full: %t, %.2000s", w.Full(), out)
	}
	if _, _, ok := Stored(w); ok {
		t.Error("is to be kept")
	}
}

// TestResponsesLetsGo: nothing of an answer is held once it was written and stored.
func TestResponsesLetsGo(t *testing.T) {
	for body, stored := range map[string]bool{`{"model":"m","input":"hi"}`: true, `{"model":"m","input":"hi","store":false}`: false} {
		w := responsesTo(t, body)
		written(w, thoughtful)
		if _, _, ok := Stored(w); ok != stored {
			t.Errorf("%s: stored: %t", body, ok)
		}
		if len(w.items) > 0 {
			t.Errorf("%s: %d items are held", body, len(w.items))
		}
		w = responsesTo(t, body)
		w.Whole(nil, gather(t, thoughtful))
		Stored(w)
		if len(w.items) > 0 {
			t.Errorf("%s: %d items of a whole answer are held", body, len(w.items))
		}
		w = responsesTo(t, body)
		w.Fail(w.Event(nil, &Event{Type: Open}), &wire.Error{Status: 502})
		if len(w.items) > 0 {
			t.Errorf("%s: %d items of a failed answer are held", body, len(w.items))
		}
	}
}
