package proxy

import (
	"slices"
	"testing"
)

// notes are such as clients may send, and whether the quick reader can read them.
var notes = map[string]bool{
	noteOfMost: true,
	` { "scene" : "a" , "tags" : [ "x" , "y" ] , "other" : "z" } `: true,
	`{"user":"a","user":"b","tags":["x"],"tags":["y"]}`:            true,
	`{"user":"","tags":[""]}`:                                      true,
	`{"user":"你好"}`:                                                true,
	`{"us\u0065r":"a","scene":"b\n"}`:                              false,
	`{}`:                                                           false,
	`{"tags":]}`:                                                   false,
	`{"tags":["x"}`:                                                false,
	`{"tags":[]}`:                                                  false,
	`{"tags":"x"}`:                                                 false,
	`{"tags":{"a":"x","b":"y"}}`:                                   false,
	`{"tags":["x",1,null,["y"]]}`:                                  false,
	`{"user":7,"scene":["a"],"other":{"user":"b"}}`:                false,
	`{"tags":["x"],"user":"a"`:                                     false,
	`{"tags":["x",],"user":"a"}`:                                   false,
	`{"user":"a",}`:                                                false,
	`{"user":"a"}}`:                                                false,
	`{"user":"a"} {"user":"b"}`:                                    false,
	`{"user" "a"}`:                                                 false,
	`{"user":"a` + "\x01" + `"}`:                                   false,
	`["user","a"]`:                                                 false,
	`"user"`:                                                       false,
	``:                                                             false,
}

const noteOfMost = `{"user":"ann","scene":"support","tags":["beta","eu"]}`

// compared reads a note both ways. It fails unless the quick reader says what the other one does, where it says anything.
func compared(t *testing.T, text string) (quick bool) {
	var a, b note
	quick = a.plain(text)
	if b.any(text); quick && (a.user != b.user || a.scene != b.scene || !slices.Equal(a.tags, b.tags) || a.said != b.said) {
		t.Errorf("%q: %+v, not %+v", text, a, b)
	}
	return quick
}

func TestNotesAreReadAlike(t *testing.T) {
	for text, want := range notes {
		if quick := compared(t, text); quick != want {
			t.Errorf("%q: %v", text, quick)
		}
	}
	var n note
	if n.plain(`{"user":"ann","tags":["x",1]}`); n.user != "ann" || len(n.tags) != 1 {
		t.Fatalf("%+v", n) // the next is about what it leaves behind
	}
	if n.any(`{"scene":"a","tags":["y"]}`); n.user != "" || n.scene != "a" || !slices.Equal(n.tags, []string{"y"}) || !n.said {
		t.Errorf("%+v", n)
	}
}

func FuzzNote(f *testing.F) {
	for text := range notes {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { compared(t, text) })
}

func BenchmarkNote(b *testing.B) {
	var n note
	for name, read := range map[string]func(){"plain": func() { n.plain(noteOfMost) }, "any": func() { n.any(noteOfMost) }} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n.tags = n.tags[:0]
				read()
			}
		})
	}
}
