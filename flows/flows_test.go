package flows

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

var update = flag.Bool("update", false, "write the expected messages anew")

var someModels = Models{Names: []string{"chat", "small"}, Known: func(name string) bool { return name == "chat" || name == "small" }}

// Every bad file is told with all that is wrong, by file, line and path.
func TestBadFlows(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad.*.yml")
	if len(files) < 5 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := "no problem\n"
		if _, err := parse(filepath.Base(file), text, someModels); err != nil {
			got = err.Error() + "\n"
		}
		golden := strings.TrimSuffix(file, ".yml") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s is told as\n%swant\n%s", file, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	const text = "name: %s\nversion: 1.0.0\nsteps: [{id: a, set: input}]\noutput: x\n"
	for file, name := range map[string]string{"a.yml": "one", "b.yaml": "two", ".c.yml": "three", "d.txt": "four"} {
		if err := os.WriteFile(filepath.Join(dir, file), fmt.Appendf(nil, text, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Load(Config{Dir: dir}, someModels)
	if err != nil || !slices.Equal(l.Names(), []string{"one", "two"}) || l.Find("one").Title() != "one@1.0.0" || l.Find("three") != nil {
		t.Fatalf("%v, %v", l, err)
	}
	if got := len(Files(dir)); got != 2 {
		t.Errorf("%d files to watch", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "e.yml"), fmt.Appendf(nil, text, "two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Load(Config{Dir: dir}, someModels); err == nil || !strings.Contains(err.Error(), "e.yml: name: two is the name of ") {
		t.Errorf("two of a name: %v", err)
	}
	if _, err = Load(Config{Dir: filepath.Join(dir, "none")}, someModels); err == nil || !strings.HasPrefix(err.Error(), "flows.dir: ") {
		t.Errorf("no folder: %v", err)
	}
	if l, err = Load(Config{}, someModels); l != nil || err != nil || l.Find("one") != nil || l.Names() != nil {
		t.Errorf("nothing configured: %v, %v", l, err)
	}
}

func flowOf(t testing.TB, steps, output string) *Flow {
	t.Helper()
	quoted, _ := json.Marshal(output)
	f, err := parse("f.yml", []byte("name: f\nversion: 1.0.0\ntimeout: 1s\nsteps:\n"+steps+"output: "+string(quoted)+"\n"), someModels)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// saying is a host whose model says what the user says after "say ", and fails with what he says after "fail ".
type saying struct {
	mu     sync.Mutex
	bodies []string
	told   []string
}

func (s *saying) host() Host {
	return Host{Ask: s.ask, Begin: func(step *Step) func(Outcome, error) {
		return func(o Outcome, err error) { s.told = append(s.told, step.ID+" "+string(o)) }
	}}
}

func (s *saying) ask(ctx context.Context, c Call) (Answer, error) {
	s.mu.Lock()
	s.bodies = append(s.bodies, string(c.Body))
	s.mu.Unlock()
	var body struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return Answer{}, err
	}
	text := body.Messages[len(body.Messages)-1].Content
	if why, fails := strings.CutPrefix(text, "fail "); fails {
		return Answer{}, &wire.Error{Status: 502, Type: wire.TypeServer, Code: why, Message: "It failed.", Raw: []byte(`{}`)}
	}
	if text == "hang" {
		<-ctx.Done()
		return Answer{}, ctx.Err()
	}
	return Answer{Text: strings.TrimPrefix(text, "say "), Finish: "stop"}, nil
}

func TestRun(t *testing.T) {
	const ask = "  - {id: a, ask: {model: small, user: '{{ input }}'}}\n"
	for _, c := range []struct{ name, steps, output, input, want, asked string }{
		{"a text", ask, "<{{ steps.a }}|{{ steps.a.text }}|{{ steps.a.finish }}|{{ steps.a.skipped }}>", "say 茶", "<茶|茶|stop|false>", `{"model":"small","messages":[{"role":"user","content":"say 茶"}]}`},
		{"what would break JSON", ask, "{{ steps.a }}", `say "}],"model":"evil` + "\n\x00", `"}],"model":"evil` + "\n\x00", ""},
		{"an answer in JSON", ask, "{{ steps.a.json.list[1] }} {{ steps.a.json }}", "say {\"list\":[1,\"<b>\"]}", `<b> {"list":[1,"<b>"]}`, ""},
		{"an answer in JSON between fences", ask, "{{ steps.a.json.n }}", "say ```json\n{\"n\":1.5}\n```", "1.5", ""},
		{"an answer that is no JSON", ask, "{{ steps.a.json == nil }}", "say {", "true", ""},
		{"braces in an expression's text", ask, `{{ "}}" + '{{' }}`, "say x", "}}{{", ""},
		{"a condition that does not hold", "  - {id: a, if: 'input == \"x\"', set: input}\n", "{{ steps.a.skipped }} {{ steps.a.text ?? 'none' }} {{ steps.a.text == nil }} [{{ steps.a }}{{ steps.a.text + '!' }}]", "y", "true none true [!]", ""},
		{"a value", "  - {id: a, set: len(input) * 2}\n  - {id: b, set: steps.a.json + 1}\n  - {id: c, set: steps.b}\n", "{{ steps.a }} {{ steps.b.json }} {{ steps.c.json + 1 }}", "abc", "6 7 8", ""},
		{"messages as they are", "  - {id: a, ask: {model: small, messages: '{{ messages }}', stop: ['{{ tenant }}', \"x{{ vars.k }}\"], seed: 7, temperature: 0.5, metadata: {}, top_p: null, store: false}}\n",
			"{{ steps.a }}{{ vars.unknown }}", "say hi", "m", `{"model":"small","messages":[{"content":"m"}],"stop":["acme","xv"],"seed":7,"temperature":0.5,"metadata":{},"top_p":null,"store":false}`},
		{"a list, in order", "  - id: a\n    each: {of: 'split(input, \" \")', parallel: 4, ask: {model: small, user: 'say {{ item }}'}}\n", "{{ steps.a }}|{{ steps.a.json }}|{{ len(steps.a.items) }}|{{ steps.a.items[0].finish }}", "c b a", "c\nb\na|[\"c\",\"b\",\"a\"]|3|stop", ""},
		{"an empty list", "  - id: a\n    each: {of: '[]', ask: {model: small, user: 'say {{ item }}'}}\n", "[{{ steps.a }}]{{ len(steps.a.items) }}", "", "[]0", ""},
		{"going on", "  - {id: a, on_error: continue, ask: {model: small, user: fail x}}\n  - {id: b, if: steps.a.error != nil, set: steps.a.error.code}\n", "{{ steps.b }} {{ steps.a.error.status }} {{ steps.a.error.message }}", "", "x 502 Flow f@1.0.0, step a: It failed.", ""},
	} {
		s := &saying{}
		in := Input{Text: c.input, Messages: json.RawMessage(`[{"content":"m"}]`), Vars: map[string]string{"k": "v"}, Tenant: "acme", Scene: "mail"}
		got, err := flowOf(t, c.steps, c.output).Run(t.Context(), in, s.host())
		if err != nil || got != c.want || c.asked != "" && !slices.Equal(s.bodies, []string{c.asked}) {
			t.Errorf("%s: %q, %v, want %q; asked %v", c.name, got, err, c.want, s.bodies)
		}
	}
}

func TestRunFails(t *testing.T) {
	long := strings.Repeat("x", mostText)
	for _, c := range []struct{ name, steps, input, want, told string }{
		{"a call", "  - {id: a, ask: {model: small, user: fail x}}\n  - {id: b, set: input}\n", "", "502 x: Flow f@1.0.0, step a: It failed.", "a failed"},
		{"an item", "  - id: a\n    each: {of: 'split(input, \",\")', ask: {model: small, user: '{{ item }}'}}\n", "say a,fail y,say b", "502 y: Flow f@1.0.0, step a: It failed.", "a failed"},
		{"what another item ends", "  - id: a\n    each: {of: 'split(input, \",\")', parallel: 2, ask: {model: small, user: '{{ item }}'}}\n", "hang,fail y", "502 y: Flow f@1.0.0, step a: It failed.", "a failed"},
		{"no list", "  - id: a\n    each: {of: input, ask: {model: small, user: x}}\n", "x", "500 flow_failed: Flow f@1.0.0, step a: each.of input makes no list.", "a failed"},
		{"a text that is too long", "  - {id: a, set: input + 'x'}\n", long, "500 flow_failed: Flow f@1.0.0, step a: the text is longer than 1 MiB.", "a failed"},
		{"a request that is too long", "  - {id: a, ask: {model: small, user: '{{ input }}x'}}\n", long, "500 flow_failed: Flow f@1.0.0, step a: the text is longer than 1 MiB.", "a failed"},
		{"an input that is too long", "  - {id: a, set: input}\n", long + "x", "400 invalid_request_error: Flow f@1.0.0: the last message of the user is longer than 1 MiB.", ""},
		{"a condition that is none", "  - {id: a, if: 'messages[0].x', set: input}\n", "", "500 flow_failed: Flow f@1.0.0, step a: the expression messages[0].x came to nothing: invalid operation: bool(float64).", "a failed"},
	} {
		s := &saying{}
		_, err := flowOf(t, c.steps, "x").Run(t.Context(), Input{Text: c.input, Messages: []byte(`[{"x":1}]`)}, s.host())
		e, ok := errors.AsType[*wire.Error](err)
		if !ok {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fmt.Sprintf("%d %s: %s", e.Status, e.Reason(), e.Message); got != c.want || e.Raw != nil || strings.Join(s.told, ", ") != c.told {
			t.Errorf("%s: %s, want %s; told %v", c.name, got, c.want, s.told)
		}
	}
}

// Time that is over ends a run wherever it is, whatever a step says of errors.
func TestRunTime(t *testing.T) {
	for _, steps := range []string{"  - {id: a, on_error: continue, ask: {model: small, user: hang}}\n  - {id: b, ask: {model: small, user: hang}}\n",
		"  - id: a\n    on_error: continue\n    each: {of: '[1, 2, 3]', parallel: 2, ask: {model: small, user: hang}}\n"} {
		synctest.Test(t, func(t *testing.T) {
			f, s, begun := flowOf(t, steps, "x"), &saying{}, time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), f.Timeout)
			defer cancel()
			_, err := f.Run(ctx, Input{}, s.host())
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second || len(s.bodies) > 2 {
				t.Errorf("%v after %s, asked %d", err, time.Since(begun), len(s.bodies))
			}
		})
	}
}

// A flow of which nothing is to run asks nobody.
func TestSkippedCostsNothing(t *testing.T) {
	var steps strings.Builder
	for i := range mostSteps {
		fmt.Fprintf(&steps, "  - {id: s%d, if: input == 'never', ask: {model: small, user: x}}\n", i)
	}
	s := &saying{}
	out, err := flowOf(t, steps.String(), "{{ input }}").Run(t.Context(), Input{Text: "x"}, s.host())
	if out != "x" || err != nil || len(s.bodies) != 0 || len(s.told) != mostSteps || s.told[7] != "s7 skipped" {
		t.Errorf("%q, %v, asked %d", out, err, len(s.bodies))
	}
}

// No file makes the reader panic, and a flow that it takes runs or says why not.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad.*.yml")
	good, _ := filepath.Glob("../configs/flows/*.yml")
	for _, file := range append(files, good...) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		flow, err := parse("f.yml", text, Models{})
		if err != nil {
			return
		}
		if flow.Title() == "@" || len(flow.Steps) == 0 || len(flow.Steps) > mostSteps {
			t.Fatalf("%q was taken", text)
		}
		_, err = flow.Run(t.Context(), Input{Text: "a,b", Messages: []byte("[]")}, Host{Ask: func(_ context.Context, c Call) (Answer, error) {
			if _, err := wire.Parse(c.Body); err != nil && !json.Valid(c.Body) {
				t.Fatalf("%q asks %q", text, c.Body)
			}
			return Answer{Text: "x", Finish: "stop"}, nil
		}})
		if e, ok := errors.AsType[*wire.Error](err); err != nil && (!ok || e.Message == "") {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// Whatever a template is, what it makes of a text is a valid request, and holds the text as it is.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{{ input }}", "a {{ input }} b", "{{", "}}", `{{ "}}" }}`, "{{ input + '}}' }}", "{{ vars['x'] }}", "{{ [input] }}"} {
		f.Add(seed, `he said "hi"`)
	}
	f.Fuzz(func(t *testing.T, text, input string) {
		s := &scope{}
		made, err := s.split(text)
		if err != nil {
			return
		}
		env := map[string]any{"input": input, "messages": []any{}, "vars": map[string]string{}, "tenant": "", "scene": "", "steps": map[string]any{}}
		raw, err := (&ask{pieces: []piece{{raw: []byte(`{"user":`)}, {text: made}, {raw: []byte("}")}}}).body(env)
		if err != nil {
			return
		}
		var read struct{ User string }
		if err = json.Unmarshal(raw, &read); err != nil {
			t.Fatalf("%q makes %q: %v", text, raw, err)
		}
		if text == "{{ input }}" && read.User != input && utf8.ValidString(input) {
			t.Fatalf("%q became %q", input, read.User)
		}
	})
}

// What is small until it is written out, or read, is refused before that: neither memory nor time goes with it.
func TestBounds(t *testing.T) {
	long := strings.Repeat("y", 4000)
	for name, set := range map[string]string{
		"a text between":            `join(split(input, ""), "` + long + `")`,
		"a text between in between": `len(join(split(input, ""), "` + long + `"))`,
		"one text many times":       `map(take(split(input, ""), 90000), "` + long + `")`,
	} {
		flow, err := parse("f.yml", []byte("name: f\nversion: 1.0.0\nsteps: [{id: a, set: '"+set+"'}]\noutput: x\n"), Models{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = flow.Run(t.Context(), Input{Text: strings.Repeat("x", 100_000)}, Host{})
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "the text is longer than 1 MiB") {
			t.Errorf("%s: %v", name, err)
		}
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 {
			t.Errorf("%s took %d MiB", name, took)
		}
	}
	for pattern, fits := range map[string]bool{"^(yes|no)[.!]?$": true, "[0-9]{4}-[0-9]{2}": true, "(.{1,1000}){1}z": false, "a{1000}": false} {
		_, err := (&scope{}).compile(`input matches "` + pattern + `"`)
		if (err == nil) != fits || !fits && !strings.Contains(err.Error(), "the pattern is too large") {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	joined, err := (&scope{}).compile(`join(split(input, ","), "-") + join(["a", "b"])`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := joined.run(map[string]any{"input": "x,y,z"}); got != "x-y-zab" || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}
