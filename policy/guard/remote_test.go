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
	"strings"
	"testing"
	"time"

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
	return Config{Kind: "http", Name: "judge", URL: url, Private: true, Secret: "shh", Action: action, On: []string{"request", "answer"}, Timeout: 5 * time.Second}
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
			if cfg.Timeout = time.Second; name == "silent" {
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
