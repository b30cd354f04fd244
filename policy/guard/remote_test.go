package guard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// server is an external guard that answers with what reply makes of a question.
func server(t *testing.T, reply func(q question) string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		sent := r.Header.Get("X-Jarvis-Signature")
		stamp, _, _ := strings.Cut(strings.TrimPrefix(sent, "t="), ",")
		mac := hmac.New(sha256.New, []byte("shh"))
		fmt.Fprintf(mac, "%s.%s", stamp, body)
		if sent != "t="+stamp+",v1="+hex.EncodeToString(mac.Sum(nil)) {
			t.Errorf("the signature is wrong: %q", sent)
		}
		var q question
		if err := json.Unmarshal(body, &q); err != nil {
			t.Error(err)
		}
		io.WriteString(w, reply(q))
	}))
	t.Cleanup(s.Close)
	return s
}

func httpGuard(url, action string) Config {
	return Config{Kind: "http", Name: "judge", URL: url, Private: true, Secret: "shh", Action: action, On: []string{"request", "answer"}, Timeout: 30 * time.Second}
}

func TestRemote(t *testing.T) {
	asked := 0
	s := server(t, func(q question) string {
		asked++
		for i, text := range q.Texts {
			if strings.Contains(text.Text, "bad") {
				return fmt.Sprintf(`{"verdict":"match","found":"rude.word","texts":[{"index":%d,"text":"a \"good\" one"}]}`, i)
			}
		}
		return `{"verdict":"pass"}`
	})
	body := `{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a \u0062ad one"}]}`
	c := chainOf(t, httpGuard(s.URL, ""))
	defer c.Close()
	_, _, _, err := c.Request([]byte(body), wire.Chat)
	if e := refused(t, err); !strings.Contains(e.Err.Error(), "rude.word") {
		t.Error(e.Err)
	}
	if _, _, _, err = c.Request([]byte(strings.Replace(body, "ad", "ed", 1)), wire.Chat); err != nil {
		t.Error(err)
	}
	c = chainOf(t, httpGuard(s.URL, "mask"))
	defer c.Close()
	out, v, _, err := c.Request([]byte(body), wire.Chat)
	if want := `{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a \"good\" one"}]}`; string(out) != want || err != nil {
		t.Errorf("%s %v", out, err)
	}
	out, _, err = c.Answer([]byte(`{"choices":[{"message":{"content":"bad"}}]}`), wire.Chat, v)
	if want := `{"choices":[{"message":{"content":"a \"good\" one"}}]}`; string(out) != want || err != nil {
		t.Errorf("%s %v", out, err)
	}
	asked = 0
	d := &dialects[7] // says its text four times
	if text, _, err := d.hear(c, nil, d.events([]string{"a b", "ad", " thing"})); text != `a "good" one` || err != nil || asked != 1 {
		t.Errorf("%q %v, asked %d times", text, err, asked)
	}
	c = chainOf(t, httpGuard(s.URL, "flag"))
	defer c.Close()
	if _, _, flags, err := c.Request([]byte(body), wire.Chat); len(flags) != 1 || flags[0] != "judge" || err != nil {
		t.Error(flags, err)
	}
}

func TestRemoteFails(t *testing.T) {
	slow := make(chan struct{})
	defer close(slow)
	for name, answer := range map[string]func(question) string{
		"silent": func(question) string { <-slow; return "" }, "garbage": func(question) string { return "<html>" }, "unsure": func(question) string { return `{"verdict":"maybe"}` },
		"endless": func(question) string { return `{"verdict":"pass","x":"` + strings.Repeat("x", maxRemote) + `"}` },
	} {
		s := server(t, answer)
		for _, open := range []bool{false, true} {
			cfg := httpGuard(s.URL, "")
			if cfg.Timeout = 30 * time.Second; name == "silent" {
				cfg.Timeout = 20 * time.Millisecond
			}
			if open {
				cfg.OnError = "open"
			}
			c := chainOf(t, cfg)
			_, _, flags, err := c.Request([]byte(`{"prompt":"canary-text"}`), wire.Completion)
			c.Close()
			var e *wire.Error
			if open && (err != nil || len(flags) != 1 || flags[0] != "judge.unavailable") {
				t.Errorf("%s, open: %v %v", name, flags, err)
			}
			if !open && (!errors.As(err, &e) || e.Status != 503 || e.Code != "guard_unavailable" || strings.Contains(e.Error(), "canary")) {
				t.Errorf("%s, closed: %v", name, err)
			}
		}
	}
}

// A guard that is not private reaches no private address, whatever its name resolves to.
func TestRemoteReachesNoPrivateAddress(t *testing.T) {
	s := server(t, func(question) string { t.Error("it was asked"); return `{"verdict":"pass"}` })
	c := chainOf(t, Config{Kind: "http", URL: strings.Replace(s.URL, "http://127.0.0.1", "https://localhost", 1)})
	defer c.Close()
	if _, _, _, err := c.Request([]byte(`{"prompt":"x"}`), wire.Completion); err == nil || !strings.Contains(err.Error(), "may not reach") {
		t.Error(err)
	}
}

// What the log says of a server that does not answer names its host, and nothing else of its address.
func TestRemoteAddressIsNotLogged(t *testing.T) {
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://%zz"+r.URL.String())
		w.WriteHeader(http.StatusFound)
	}))
	defer odd.Close()
	slow := make(chan struct{})
	defer close(slow)
	silent := server(t, func(question) string { <-slow; return "" })
	for url, want := range map[string]string{
		"http://127.0.0.1:1/canary/x?token=canary": "connection refused", odd.URL + "/canary?token=canary": "no answer", silent.URL + "/canary?token=canary": "no answer in time",
	} {
		cfg := httpGuard(url, "")
		cfg.Timeout = 50 * time.Millisecond
		c := chainOf(t, cfg)
		_, _, _, err := c.Request([]byte(`{"prompt":"x"}`), wire.Completion)
		c.Close()
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "guards[0] judge: 127.0.0.1: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want: %s", err, want)
		}
	}
}

func TestReachable(t *testing.T) {
	for address, want := range map[string]string{
		"8.8.8.8": "public", "2606:4700:4700::1111": "public", "127.0.0.1": "private", "10.1.2.3": "private", "::1": "private", "fd00::1": "private", "::ffff:192.168.1.1": "private",
		"100.64.0.1": "", "0.1.2.3": "", "0.0.0.0": "", "168.63.129.16": "", "64:ff9b::a9fe:a9fe": "", "2002:7f00:1::": "", "169.254.169.254": "", "fe80::1": "", "224.0.0.1": "", "::ffff:169.254.169.254": "",
	} {
		ip := netip.MustParseAddr(address)
		if reachable(ip, false) != (want == "public") || reachable(ip, true) != (want == "private") {
			t.Errorf("%s should be %q", address, want)
		}
	}
}

// A server may mask texts, not names.
func TestRemoteMasksNoNames(t *testing.T) {
	s := server(t, func(q question) string {
		return fmt.Sprintf(`{"verdict":"match","texts":[{"index":%d,"text":"x"}]}`, len(q.Texts)-1)
	})
	c := chainOf(t, httpGuard(s.URL, "mask"))
	defer c.Close()
	_, _, _, err := c.Request([]byte(`{"messages":[{"role":"user","content":"hi","name":"Jo Doe"}]}`), wire.Chat)
	refused(t, err)
	out, _, _, err := c.Request([]byte(`{"messages":[{"role":"user","name":"jo","content":[{"type":"file","file":{"file_data":"data:text/plain;base64,aGk="}}]}]}`), wire.Chat)
	if want := `{"messages":[{"role":"user","name":"jo","content":[{"type":"file","file":{"file_data":"data:text/plain;base64,eA=="}}]}]}`; string(out) != want || err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The server is told all that a pattern would look at: names and addresses too, and texts that come in parts also as one.
func TestRemoteIsToldAll(t *testing.T) {
	var told []string
	s := server(t, func(q question) string {
		for _, text := range q.Texts {
			told = append(told, text.Role+": "+text.Text)
			if strings.Contains(text.Text, "BADWORD") {
				return `{"verdict":"match","found":"a-word"}`
			}
		}
		return `{"verdict":"pass"}`
	})
	for name, body := range map[string]string{
		"a person's name": `{"messages":[{"role":"user","name":"BADWORD","content":"x"}]}`,
		"a picture":       `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/BADWORD"}}]}]}`,
		"a tool":          `{"tools":[{"type":"function","function":{"name":"BADWORD"}}]}`,
		"a property":      `{"tools":[{"input_schema":{"properties":{"BADWORD":{}}}}]}`,
		"parts":           `{"messages":[{"role":"user","content":[{"type":"text","text":"a BAD"},{"type":"text","text":"WORD b"}]}]}`,
		"three parts":     `{"messages":[{"role":"user","content":[{"type":"text","text":"BA"},{"type":"text","text":"\u0044W"},{"type":"text","text":"ORD"}]}]}`,
		"a part between":  `{"messages":[{"role":"user","content":[{"type":"text","text":"BAD"},{"type":"image_url","image_url":{"url":"https://x.example/y"}},{"type":"text","text":"WORD"}]}]}`,
		"an odd key":      `{"messages":[{"role":"user","content":[{"type":"text","text":"BAD"},{"an odd key":1,"type":"text","text":"WORD"}]}]}`,
		"a system's":      `{"system":[{"type":"text","text":"BAD"},{"type":"text","text":"WORD"}]}`,
	} {
		for guard, c := range map[string]*Chain{"http": chainOf(t, httpGuard(s.URL, "")), "deny": chainOf(t, Config{Kind: "deny", Patterns: []string{"BADWORD"}})} {
			if _, _, _, err := c.Request([]byte(body), wire.Chat); err == nil {
				t.Errorf("%s: %s lets it pass", name, guard)
			}
			c.Close()
		}
		c := chainOf(t, httpGuard(s.URL, "flag"))
		if _, _, flags, err := c.Request([]byte(body), wire.Chat); len(flags) != 1 || err != nil {
			t.Errorf("%s: %v %v", name, flags, err)
		}
		c.Close()
	}
	told = nil
	c := chainOf(t, httpGuard(s.URL, ""))
	defer c.Close()
	if _, _, _, err := c.Request([]byte(`{"messages":[{"role":"system","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]},{"role":"user","content":[{"type":"text","text":"d"}]}]}`), wire.Chat); err != nil {
		t.Error(err)
	}
	if want := "system: a,user: b,user: c,user: d,user: bc"; strings.Join(told, ",") != want {
		t.Errorf("it is told %q", told)
	}
}

// What lies across parts is masked where it stands; what the server leaves as it is stays in its part.
func TestRemoteMasksAcrossParts(t *testing.T) {
	s := server(t, func(q question) string {
		var texts []string
		for i, text := range q.Texts {
			if put := strings.NewReplacer("BADWORD", "<é>", "RUDE", "<r>", "ODD", "!ODD").Replace(text.Text); put != text.Text {
				texts = append(texts, fmt.Sprintf(`{"index":%d,"text":%q}`, i, put))
			}
		}
		if len(texts) == 0 {
			return `{"verdict":"pass"}`
		}
		return `{"verdict":"match","texts":[` + strings.Join(texts, ",") + `]}`
	})
	c := chainOf(t, httpGuard(s.URL, "mask"))
	defer c.Close()
	for parts, want := range map[string]string{
		`"a BAD","WORD b"`:          `"a <é>"," b"`,
		`"RUDE BAD","WORD b"`:       `"<r> <é>"," b"`,
		`"RUDE","x"`:                `"<r>","x"`,
		`"é\u00e9 BA","DW","ORD é"`: `"é\u00e9 <é>",""," é"`,
		`"BAD","WORD BAD","WORD"`:   `"<é> <é>","",""`,
		`"O","DD"`:                  `"!O","DD"`,
		`"aO","DD"`:                 `"a!O","DD"`,
		`"x","y"`:                   `"x","y"`,
	} {
		texts := strings.Split(parts, ",")
		body := func(texts []string) string {
			return `{"messages":[{"role":"user","content":[{"type":"text","text":` + strings.Join(texts, `},{"type":"text","text":`) + `}]}]}`
		}
		out, _, _, err := c.Request([]byte(body(texts)), wire.Chat)
		if string(out) != body(strings.Split(want, ",")) || err != nil {
			t.Errorf("%v\n got %s\nwant %s", err, out, body(strings.Split(want, ",")))
		}
	}
}

func TestChange(t *testing.T) {
	texts := []string{"", "a", "é", "è", "aé", "éa", "aéa", "aèa", "aa", "aaa", "中文", "中文", "中", "x中文y", "xy"}
	for _, old := range texts {
		for _, text := range texts {
			from, to, put := change(old, text)
			if got := old[:from] + put + old[to:]; got != text || !utf8.ValidString(old[:from]) || !utf8.ValidString(old[to:]) || !utf8.ValidString(put) {
				t.Errorf("%q, %q: [%d:%d] %q", old, text, from, to, put)
			}
		}
	}
}
