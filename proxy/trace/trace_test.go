package trace

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const (
	someTrace  = "0af7651916cd43dd8448eb211c80319c"
	someParent = "b7ad6b7169203331"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func tracer(t *testing.T, c Config) *Tracer {
	t.Helper()
	c.OTLP = "http://collector.invalid"
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	e := NewExporter(quiet())
	t.Cleanup(func() { e.Close(t.Context()) })
	return e.Tracer(c)
}

// What W3C's own tests ask of a traceparent.
func TestTraceparent(t *testing.T) {
	tr := tracer(t, Config{Sample: Nothing})
	for _, c := range []struct {
		header      string
		ok, sampled bool
	}{
		{"00-" + someTrace + "-" + someParent + "-01", true, true},
		{"00-" + someTrace + "-" + someParent + "-00", true, false},
		{"00-" + someTrace + "-" + someParent + "-ff", true, true},
		{"00-" + someTrace + "-" + someParent + "-02", true, false},
		{"cc-" + someTrace + "-" + someParent + "-01", true, true},                 // a version to come
		{"cc-" + someTrace + "-" + someParent + "-01-what-the-future", true, true}, // may be longer
		{"cc-" + someTrace + "-" + someParent + "-01.what-the-future", false, false},
		{"00-" + someTrace + "-" + someParent + "-01-more", false, false},
		{"ff-" + someTrace + "-" + someParent + "-01", false, false},
		{"0-" + someTrace + "-" + someParent + "-01", false, false},
		{"00-" + strings.ToUpper(someTrace) + "-" + someParent + "-01", false, false},
		{"00-" + someTrace + "-" + strings.ToUpper(someParent) + "-01", false, false},
		{"00-00000000000000000000000000000000-" + someParent + "-01", false, false},
		{"00-" + someTrace + "-0000000000000000-01", false, false},
		{"00-" + someTrace[1:] + "-" + someParent + "-01", false, false},
		{"00-" + someTrace + "-" + someParent + "-1", false, false},
		{"00-" + someTrace + "-" + someParent + "-0g", false, false},
		{"00_" + someTrace + "-" + someParent + "-01", false, false},
		{" 00-" + someTrace + "-" + someParent + "-01", false, false},
		{"", false, false},
	} {
		got := tr.Begin([]byte(c.header))
		text := string(got.AppendParent(nil, got.Span))
		if took := text[3:35] == someTrace; took != c.ok || got.Remote() != c.ok || got.Sampled != c.sampled {
			t.Errorf("%q: begins %+v", c.header, got)
		}
		if c.ok && string(got.AppendParent(nil, got.Parent))[36:52] != someParent {
			t.Errorf("%q: the parent is %x", c.header, got.Parent)
		}
		again := tr.Begin([]byte(text))
		if again.Trace != got.Trace || again.Parent != got.Span || again.Sampled != got.Sampled || len(text) != ParentSize {
			t.Errorf("%q is read as %+v", text, again)
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + someTrace + "-" + someParent + "-01")
	f.Fuzz(func(t *testing.T, header string) {
		id, parent, sampled, ok := parse([]byte(header))
		c := Context{Trace: id, Sampled: sampled}
		if ok && (string(c.AppendParent(nil, parent))[3:52] != header[3:52] || !strings.Contains(header, "-")) {
			t.Errorf("%q is read as %x %x", header, id, parent)
		}
	})
}

func TestTracestate(t *testing.T) {
	for list, valid := range map[string]bool{
		"congo=t61rcWkgMzE":                    true,
		"rojo=00f067aa,congo=t61":              true,
		"a=1,\t b=2 ,,c=3":                     true,
		"fw529a3039@dt=FfFf":                   true,
		"1tenant@sys=x":                        true,
		"a/b*c_d-e=v v":                        true,
		"":                                     false,
		",,":                                   false,
		"a":                                    false,
		"a=":                                   false,
		"a=1,a=2":                              false,
		"A=1":                                  false,
		"1a=1":                                 false,
		"a@=1":                                 false,
		"@a=1":                                 false,
		"a@1b=1":                               false,
		"a=b=c":                                false,
		"a=\x01":                               false,
		"a=é":                                  false,
		strings.Repeat("a", 257) + "=1":        false,
		"a=" + strings.Repeat("v", 257):        false,
		strings.Repeat("a", 256) + "=1":        true,
		strings.Repeat("t", 241) + "@" + "s=1": true,
		"t@" + strings.Repeat("s", 15) + "=1":  false,
		strings.Repeat("x,", 1):                false,
		"a0=1,a1=1,a2=1,a3=1,a4=1,a5=1,a6=1,a7=1,a8=1,a9=1,b0=1,b1=1,b2=1,b3=1,b4=1,b5=1,b6=1,b7=1,b8=1,b9=1,c0=1,c1=1,c2=1,c3=1,c4=1,c5=1,c6=1,c7=1,c8=1,c9=1,d0=1,d1=1":      true,
		"a0=1,a1=1,a2=1,a3=1,a4=1,a5=1,a6=1,a7=1,a8=1,a9=1,b0=1,b1=1,b2=1,b3=1,b4=1,b5=1,b6=1,b7=1,b8=1,b9=1,c0=1,c1=1,c2=1,c3=1,c4=1,c5=1,c6=1,c7=1,c8=1,c9=1,d0=1,d1=1,d2=1": false,
	} {
		if ValidState(list) != valid {
			t.Errorf("%q is taken for valid: %v", list, !valid)
		}
	}
}

// The share that is sampled is that of the configuration.
func TestShare(t *testing.T) {
	const n = 100_000
	for share, most := range map[Share][2]int{Nothing: {0, 0}, 0.01: {800, 1200}, 0.5: {49_000, 51_000}, 1: {n, n}, 0: {800, 1200}} {
		tr, sampled := tracer(t, Config{Sample: share}), 0
		for range n {
			if c := tr.Begin(nil); c.Sampled {
				sampled++
			}
		}
		if sampled < most[0] || sampled > most[1] {
			t.Errorf("of %d traces %d are sampled at %v", n, sampled, share)
		}
	}
}

func TestShareText(t *testing.T) {
	for text, want := range map[string]string{"1%": "1%", "0%": "0%", "100%": "100%", "0.001 %": "0.001%", "1": "", "-1%": "", "101%": "", "NaN%": "", "": ""} {
		var s Share
		err := s.UnmarshalText([]byte(text))
		got, _ := s.MarshalText()
		if (err == nil) != (want != "") || err == nil && string(got) != want || err == nil && s == 0 {
			t.Errorf("%q is read as %q, %v", text, got, err)
		}
	}
}

func TestKeeps(t *testing.T) {
	tr := tracer(t, Config{Slow: time.Second})
	remote := SpanID{1}
	for _, c := range []struct {
		Context
		failed, stranger bool
		took             time.Duration
		want             bool
	}{
		{want: false},
		{took: time.Second, want: false},
		{took: time.Second + 1, want: true},
		{failed: true, want: true},
		{Context: Context{Sampled: true}, want: true},
		{Context: Context{Sampled: true}, stranger: true, want: true},                  // by chance
		{Context: Context{Sampled: true, Parent: remote}, want: true},                  // by his own word,
		{Context: Context{Sampled: true, Parent: remote}, stranger: true, want: false}, // which a stranger does not have
		{Context: Context{Parent: remote}, failed: true, want: true},
	} {
		if got := tr.Keeps(&c.Context, c.failed, c.stranger, c.took); got != c.want {
			t.Errorf("%+v: kept: %v", c, got)
		}
	}
}

func TestTells(t *testing.T) {
	for choice, want := range map[string][2]bool{"": {true, false}, Own: {true, false}, All: {true, true}, None: {false, false}} {
		tr := tracer(t, Config{Propagate: choice})
		if got := [2]bool{tr.Tells(true), tr.Tells(false)}; got != want {
			t.Errorf("%q tells %v", choice, got)
		}
	}
}

func BenchmarkBegin(b *testing.B) {
	e := NewExporter(quiet())
	defer e.Close(b.Context())
	tr := e.Tracer(Config{OTLP: "http://collector.invalid"})
	header := []byte("00-" + someTrace + "-" + someParent + "-00")
	b.ReportAllocs()
	for b.Loop() {
		tr.Begin(header)
	}
}
