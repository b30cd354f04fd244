package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/policy/guard"
	"jarvis-gateway/proxy/wire"
)

// script is a provider's stream.
type script struct {
	io.Reader
	closed  int
	failure error
}

func (s *script) Close() error      { s.closed++; return nil }
func (s *script) Usage() wire.Usage { return wire.Usage{Prompt: 3, Completion: 4} }
func (s *script) Failure() error    { return s.failure }

func guards(t *testing.T, cfgs ...guard.Config) *guard.Chain {
	t.Helper()
	c, err := guard.New(cfgs)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// heard adds up what the events of a stream say: the strings of deltas, by where they stand.
func heard(t *testing.T, kind wire.Kind, stream []byte) (texts map[string]string, events int) {
	t.Helper()
	texts = map[string]string{}
	begun := 0
	for len(stream) > 0 {
		n, _ := wire.EventEnd(stream, 0)
		if n == 0 {
			t.Fatalf("half an event: %q", stream)
		}
		data := wire.EventData(stream[:n])
		stream = stream[n:]
		if data == nil || wire.IsDone(data) {
			continue
		}
		events++
		e := gjson.ParseBytes(data)
		if e.Get("type").Str == "message_start" {
			begun++ // one recording has two
		}
		switch kind {
		case wire.Chat, wire.Completion:
			for _, choice := range e.Get("choices").Array() {
				add(texts, choice.Get("index").Raw+" ", choice.Get("delta"))
				texts[choice.Get("index").Raw+" text"] += choice.Get("text").Str
			}
		case wire.Message:
			if e.Get("type").Str == "content_block_delta" {
				add(texts, fmt.Sprint(begun, " ", e.Get("index").Raw, " "), e.Get("delta"))
			}
		default:
			if strings.HasSuffix(e.Get("type").Str, ".delta") {
				texts[fmt.Sprint(e.Get("type"), e.Get("item_id"), e.Get("content_index"), e.Get("summary_index"))] += e.Get("delta").Str
			}
		}
	}
	return texts, events
}

func add(texts map[string]string, at string, v gjson.Result) {
	switch {
	case v.IsObject():
		v.ForEach(func(k, v gjson.Result) bool {
			switch k.Str {
			case "type", "role", "id", "name", "signature", "obfuscation", "citation":
			default:
				add(texts, at+"."+k.Str, v)
			}
			return true
		})
	case v.IsArray():
		for i, v := range v.Array() {
			add(texts, at+"."+cmp.Or(v.Get("index").Raw, fmt.Sprint(i)), v)
		}
	case v.Type == gjson.String:
		texts[at] += v.Str
	}
}

// whole is a text as the guards leave it when they see it at once.
func whole(t *testing.T, c *guard.Chain, v *guard.Vault, at, text string) string {
	t.Helper()
	field := "content"
	if strings.Contains(at, "arguments") || strings.Contains(at, "partial_json") {
		field = "arguments"
	}
	body := append(wire.AppendString([]byte(`{"`+field+`":`), text), '}')
	out, _, err := c.Answer(body, wire.Chat, v)
	if err != nil {
		t.Fatal(err)
	}
	return gjson.GetBytes(out, field).Str
}

// Recorded streams of all dialects say, however the provider's bytes are cut, what their texts become as wholes.
func TestGuardedRecordings(t *testing.T) {
	data := filepath.Join(cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "shared")), "data")
	if _, err := os.Stat(data); err != nil {
		t.Skipf("no recorded traffic: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	personal := guards(t, guard.Config{Kind: "pii"})
	words := guards(t, guard.Config{Kind: "pii"}, guard.Config{Kind: "deny", Name: "word", Action: "mask", Patterns: []string{`(?i)\b(?:the|a|san|[a-z]+ing)\b`, `\d\d+`, `[aeiou]n\W`, `weather.{0,20}in`, `的.?`}})
	n := 0
	for dir, load := range map[string]func(string) ([]fakellm.Exchange, error){
		"openai-cassettes": fakellm.LoadCassettes, "openai-sse": fakellm.LoadSSE, "provider-fixtures/openai": fakellm.LoadFixtures,
		"provider-fixtures/azure": fakellm.LoadFixtures, "provider-fixtures/anthropic": fakellm.LoadFixtures,
	} {
		all, err := load(filepath.Join(data, dir))
		if err != nil || len(all) == 0 {
			t.Fatalf("%s: %d recordings, %v", dir, len(all), err)
		}
		for _, ex := range all {
			kind := wire.Chat
			switch {
			case strings.HasSuffix(ex.Path, "/responses"):
				kind = wire.Response
			case dir == "provider-fixtures/anthropic":
				kind = wire.Message
			case strings.HasSuffix(ex.Path, "/completions") && !strings.HasSuffix(ex.Path, "chat/completions"):
				kind = wire.Completion
			}
			if !ex.Stream || bytes.Contains(ex.Body, []byte("event: error")) {
				continue
			}
			body := ex.Body
			if end, _ := wire.EventEnd(body[max(0, len(body)-4):], 0); end == 0 {
				body = append(bytes.TrimRight(body, "\r\n"), "\n\n"...)
			}
			n++
			texts, events := heard(t, kind, body)
			for _, c := range []*guard.Chain{personal, words} {
				first := ""
				for name, r := range map[string]io.Reader{
					"at once": bytes.NewReader(body), "byte by byte": iotest.OneByteReader(bytes.NewReader(body)), "at random": &pieces{body, rand.New(rand.NewPCG(1, uint64(n)))},
				} {
					s, err := guardStream(&script{Reader: r}, kind, c, nil)
					if err != nil {
						t.Fatalf("%s/%s: %v", dir, ex.Name, err)
					}
					out, err := io.ReadAll(iotest.HalfReader(s))
					if err != nil {
						t.Fatalf("%s/%s %s: %v", dir, ex.Name, name, err)
					}
					if first == "" {
						first = string(out)
					} else if string(out) != first {
						t.Fatalf("%s/%s %s: other bytes than at once", dir, ex.Name, name)
					}
				}
				got, now := heard(t, kind, []byte(first))
				if now < events || now > events+len(texts) {
					t.Errorf("%s/%s: %d events became %d", dir, ex.Name, events, now)
				}
				for at, text := range texts {
					want := whole(t, c, nil, at, text)
					if got[at] != want {
						t.Errorf("%s/%s %s:\n got %q\nwant %q", dir, ex.Name, at, got[at], want)
					}
				}
			}
		}
	}
	t.Logf("%d recorded streams", n)
}

// pieces gives bytes in reads of random lengths.
type pieces struct {
	left   []byte
	random *rand.Rand
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), 1+p.random.IntN(200))], p.left)
	p.left = p.left[n:]
	return n, nil
}

func chunk(text string) string {
	return `data: {"id":"c","choices":[{"index":0,"delta":{"content":` + string(wire.AppendString(nil, text)) + `},"finish_reason":null}]}` + "\n\n"
}

func TestGuardedRefusal(t *testing.T) {
	c := guards(t, guard.Config{Kind: "deny", Patterns: []string{`secret-\d+`}})
	in := &script{Reader: strings.NewReader(chunk("the secret-12 is"))}
	s, err := guardStream(in, wire.Chat, c, nil)
	var e *wire.Error
	if s != wire.Stream(in) || !errors.As(err, &e) || e.Status != 400 || e.Code != "content_policy_violation" || in.closed == 0 {
		t.Fatal(s, err, in.closed)
	}
	in = &script{Reader: iotest.OneByteReader(strings.NewReader(chunk("hello, ") + chunk("the sec") + chunk("ret-1") + chunk("2 is")))}
	if s, err = guardStream(in, wire.Chat, c, nil); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(s)
	if !errors.As(err, &e) || e.Code != "content_policy_violation" || in.closed == 0 || s.Usage() != in.Usage() {
		t.Fatal(err, in.closed)
	}
	if texts, _ := heard(t, wire.Chat, out); texts["0 .content"] != "hello, the " {
		t.Errorf("%q", texts)
	}
}

func TestGuardedEnds(t *testing.T) {
	c := guards(t, guard.Config{Kind: "pii"})
	broken := errors.New("cut")
	for name, tc := range map[string]struct {
		r    io.Reader
		want string
		err  error
	}{
		"clean":               {strings.NewReader(chunk("call 1380") + chunk("0138000") + "data: [DONE]\n\n"), "call <PHONE>", nil},
		"without an end mark": {strings.NewReader(chunk("call 138")), "call 138", nil},
		"cut":                 {io.MultiReader(strings.NewReader(chunk("call 1380013800")), iotest.ErrReader(broken)), "call ", broken},
		"comments":            {strings.NewReader(": ping\r\n\r\n" + chunk("a@b.") + "\n: x\n\n" + chunk("com")), "<EMAIL>", nil},
		"no blank line":       {strings.NewReader(strings.TrimSpace(chunk("a@b.com"))), "<EMAIL>", nil},
	} {
		in := &script{Reader: tc.r, failure: io.ErrNoProgress}
		s, err := guardStream(in, wire.Chat, c, nil)
		if err != nil {
			t.Fatal(name, err)
		}
		out, err := io.ReadAll(s)
		if texts, _ := heard(t, wire.Chat, append(out, '\n', '\n')); err != tc.err || texts["0 .content"] != tc.want {
			t.Errorf("%s: %q, %v", name, texts, err)
		}
		if told := s.(interface{ Failure() error }).Failure(); told != io.ErrNoProgress {
			t.Errorf("%s: the stream's own failure is lost: %v", name, told)
		}
		if s.Close(); in.closed == 0 {
			t.Errorf("%s: not closed", name)
		}
		if n, err := s.Read(make([]byte, 9)); n > 0 || err == nil {
			t.Errorf("%s: goes on behind its end", name)
		}
	}
}

func TestUnguarded(t *testing.T) {
	in := &script{}
	for _, c := range []*guard.Chain{nil, guards(t, guard.Config{Kind: "pii", On: []string{"request"}})} {
		_, v, _, err := c.Request([]byte(`{"messages":[{"role":"user","content":"hi"}]}`), wire.Chat)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := guardStream(in, wire.Chat, c, v); s != wire.Stream(in) || err != nil {
			t.Errorf("a stream that nothing is done to is wrapped: %v, %v", s, err)
		}
	}
}

// What was taken out of the request comes back in the stream, and what is noted can be asked for.
func TestGuardedRestores(t *testing.T) {
	c := guards(t, guard.Config{Kind: "pii", On: []string{"request"}}, guard.Config{Kind: "deny", Name: "hm", Action: "flag", On: []string{"answer"}, Patterns: []string{"sure"}})
	_, v, _, err := c.Request([]byte(`{"messages":[{"role":"user","content":"I am me@home.org"}]}`), wire.Chat)
	if err != nil {
		t.Fatal(err)
	}
	var in string
	for _, r := range "Sure, sure: <EMAIL_1>, <email_1> or EMAIL_1" {
		in += chunk(string(r))
	}
	s, err := guardStream(&script{Reader: strings.NewReader(in)}, wire.Chat, c, v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(s)
	if texts, _ := heard(t, wire.Chat, out); err != nil || texts["0 .content"] != "Sure, sure: me@home.org, me@home.org or me@home.org" {
		t.Errorf("%q %v", texts, err)
	}
	if f := s.(*guarded).check.Flags(); len(f) != 1 || f[0] != "hm" {
		t.Error(f)
	}
}
