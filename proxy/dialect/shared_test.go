package dialect

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared is a folder of the data that lies beside the repository; without it the test is skipped.
func shared(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("JARVIS_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	root = filepath.Join(root, "data", path)
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no recorded data here: %v", err)
	}
	return root
}

// recording is one answer that a provider really gave: whole, or the events of a stream.
type recording struct {
	name   string
	whole  []byte
	events []recorded
}

type recorded struct {
	name string // the event's type where it stands outside of data (Converse)
	data []byte
}

// recordings reads what a provider answered in its own protocol: folder is anthropic, amazon-bedrock or openai/chat.
// A file with several streams behind one another gives several recordings.
func recordings(t testing.TB, folder string) (list []recording) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(shared(t, "provider-fixtures"), folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		raw, err := os.ReadFile(file)
		switch {
		case err != nil: // a folder
		case strings.HasSuffix(name, ".chunks.txt"):
			list = append(list, streamsIn(t, strings.TrimSuffix(name, ".chunks.txt"), raw)...)
		case strings.HasSuffix(name, ".json"):
			list = append(list, recording{name: name, whole: raw})
		}
	}
	if len(list) < 4 {
		t.Fatalf("%d recordings in %s", len(list), folder)
	}
	return list
}

func streamsIn(t testing.TB, name string, raw []byte) (list []recording) {
	t.Helper()
	now := recording{name: name}
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		var data json.RawMessage
		err := dec.Decode(&data)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ev := recorded{data: slices.Clone(data)}
		var wrapped map[string]json.RawMessage
		if json.Unmarshal(data, &wrapped) == nil && len(wrapped) == 1 {
			for k, v := range wrapped {
				ev = recorded{name: k, data: v}
			}
			if ev.name == "type" {
				ev = recorded{data: slices.Clone(data)}
			}
		}
		now.events = append(now.events, ev)
		if bytes.Contains(data, []byte(`"type":"message_stop"`)) {
			list = append(list, now)
			now = recording{name: name + "+"}
		}
	}
	if len(now.events) > 0 {
		list = append(list, now)
	}
	return list
}

// play reads a stream's events as the gateway does and checks that they keep the order that Event promises.
func play(t testing.TB, r Reader, events []recorded) ([]Event, error) {
	t.Helper()
	var all []Event
	for _, ev := range events {
		data := slices.Clone(ev.data)
		list, err := r.Event(ev.name, data, nil)
		for _, e := range list {
			e.ID, e.Name, e.Text, e.Redacted = strings.Clone(e.ID), strings.Clone(e.Name), strings.Clone(e.Text), strings.Clone(e.Redacted)
			e.Raw, e.Sequence, e.Cite.Raw = strings.Clone(e.Raw), strings.Clone(e.Sequence), strings.Clone(e.Cite.Raw)
			e.Cite.URL, e.Cite.Title, e.Cite.Cited = strings.Clone(e.Cite.URL), strings.Clone(e.Cite.Title), strings.Clone(e.Cite.Cited)
			all = append(all, e)
		}
		clear(data) // strings must not be used beyond their event
		if err != nil {
			return all, err
		}
	}
	checkOrder(t, all)
	return all, nil
}

func checkOrder(t testing.TB, events []Event) {
	t.Helper()
	open, next, begun, stopped := map[int]Kind{}, 0, false, false
	for i, e := range events {
		_, isOpen := open[e.Index]
		switch e.Type {
		case Start:
			if begun {
				t.Errorf("event %d: a second start", i)
			}
			begun = true
		case Open:
			if e.Index != next || !begun || stopped {
				t.Errorf("event %d: block %d opens, expected block %d (begun %t, stopped %t)", i, e.Index, next, begun, stopped)
			}
			open[e.Index], next = e.Kind, e.Index+1
		case Delta, Signed, Cited:
			if !isOpen {
				t.Errorf("event %d: block %d is not open", i, e.Index)
			}
			if e.Type != Cited && !json.Valid([]byte(e.Text)) || e.Type != Cited && e.Text[0] != '"' {
				t.Errorf("event %d: not a JSON string: %s", i, e.Text)
			}
		case Shut:
			if !isOpen {
				t.Errorf("event %d: block %d shuts, but is not open", i, e.Index)
			}
			delete(open, e.Index)
		case Stopped:
			if len(open) > 0 || stopped {
				t.Errorf("event %d: stopped with %d blocks open, stopped before: %t", i, len(open), stopped)
			}
			stopped = true
		case Billed, Ping:
		}
	}
	if !stopped {
		t.Error("the stream never stopped")
	}
}

// gather is the answer that events add up to: blocks with their texts.
func gather(t testing.TB, events []Event) *Answer {
	t.Helper()
	a := &Answer{}
	for _, e := range events {
		var text string
		if e.Type == Delta || e.Type == Signed {
			if err := json.Unmarshal([]byte(e.Text), &text); err != nil {
				t.Fatal(err)
			}
		}
		switch e.Type {
		case Start:
			a.ID, a.Model = e.ID, e.Name
		case Open:
			a.Blocks = append(a.Blocks, Block{Kind: e.Kind, ID: e.ID, Name: e.Name, Redacted: e.Redacted, Raw: e.Raw})
		case Delta:
			if b := &a.Blocks[e.Index]; b.Kind == ToolUse {
				b.Input += text
			} else {
				b.Text += text
			}
		case Signed:
			a.Blocks[e.Index].Signature += text
		case Cited:
			a.Blocks[e.Index].Citations = append(a.Blocks[e.Index].Citations, e.Cite)
		case Stopped:
			a.Stop, a.Sequence = e.Stop, e.Sequence
		case Billed:
			a.Usage = e.Usage
		case Shut, Ping:
		}
	}
	return a
}
