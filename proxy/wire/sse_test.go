package wire

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestEventEnd(t *testing.T) {
	for in, want := range map[string]int{
		"":                            0,
		"data: x":                     0,
		"data: x\n":                   0,
		"data: x\r\n":                 0,
		"data: x\n\r":                 0,
		"data: x\r\n\r":               0,
		"data: x\n\n":                 9,
		"data: x\r\n\r\n":             11,
		"data: x\n\r\n":               10,
		"data: x\r\n\n":               10,
		"data: x\n\ndata: y\n\n":      9,
		"data: x\ndata: y\n\n":        17,
		"\n\n":                        2,
		"\ndata: x\n\n":               10,
		"data: x\r\r":                 0, // a bare CR ends no line here; no provider sends it
		": comment\n\n":               11,
		"event: a\r\ndata: b\r\n\r\n": 21,
	} {
		if got, _ := EventEnd([]byte(in), 0); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestEventData(t *testing.T) {
	for in, want := range map[string]string{
		"data: x\n\n":                            "x",
		"data:x\n\n":                             "x",
		"data:  x \n\n":                          " x ",
		"data\n\n":                               "",
		"data:\n\n":                              "",
		"data: a\ndata: b\n\n":                   "a\nb",
		"data: a\r\ndata\r\ndata: c\r\n\r\n":     "a\n\nc",
		"id: 1\nevent: e\ndata: x\nretry: 5\n\n": "x",
		"data: [DONE]":                           "[DONE]",
		": comment\n\n":                          "none",
		"event: x\n\n":                           "none",
		"database: x\n\n":                        "none",
		" data: x\n\n":                           "none",
		"\n\n":                                   "none",
	} {
		data := EventData([]byte(in))
		if got := string(data); data == nil && want != "none" || data != nil && got != want {
			t.Errorf("%q: %q (nil: %t), want %q", in, got, data == nil, want)
		}
	}
	ev := []byte("id: 1\ndata: on one line\n\n")
	if data := EventData(ev); &data[0] != &ev[12] {
		t.Error("data on one line is copied")
	}
}

func TestIsDone(t *testing.T) {
	for in, want := range map[string]bool{"[DONE]": true, "[done]": false, "[DONE] ": false, "": false, `"[DONE]"`: false} {
		if IsDone([]byte(in)) != want {
			t.Errorf("%q: %t", in, !want)
		}
	}
}

// slowEvents is the plainest reading of a stream.
func slowEvents(b []byte) (events []string) {
	for start, end := 0, 1; end <= len(b); end++ {
		if ev := b[start:end]; bytes.HasSuffix(ev, []byte("\n\n")) || bytes.HasSuffix(ev, []byte("\n\r\n")) {
			events = append(events, string(ev))
			start = end
		}
	}
	return events
}

func slowData(ev string) (data string, found bool) {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(ev, "\n"), "\n") {
		name, value, colon := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if name == "data" {
			if colon {
				value = strings.TrimPrefix(value, " ")
			}
			lines = append(lines, value)
		}
	}
	return strings.Join(lines, "\n"), lines != nil
}

// FuzzEvents splits a stream at any byte: the events are the same, and as the plainest reading has them.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: {\"a\":1}\n\n: c\r\n\r\nevent: x\ndata: y\ndata: z\r\n\ndata: [DONE]\n\n"), []byte{1, 9, 3})
	f.Add([]byte("data: x\r\n\r\ndata: y\n\r\n\n\n\r\n"), []byte{1})
	f.Fuzz(func(t *testing.T, stream, splits []byte) {
		want := slowEvents(stream)
		var got []string
		var buf []byte
		from := 0
		for n := 0; len(stream) > 0; n++ {
			size := len(stream)
			if len(splits) > 0 {
				size = min(size, int(splits[n%len(splits)])+1)
			}
			buf, stream = append(buf, stream[:size]...), stream[size:]
			for {
				end, resume := EventEnd(buf, from)
				if from = resume; end == 0 {
					break
				}
				got = append(got, string(buf[:end]))
				buf = buf[end:]
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for _, ev := range want {
			data := EventData([]byte(ev))
			if plain, found := slowData(ev); string(data) != plain || found != (data != nil) {
				t.Fatalf("%q has the data %q, want %q", ev, data, plain)
			}
		}
	})
}
