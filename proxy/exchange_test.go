package proxy

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000", 999 * time.Nanosecond: "0.000", time.Microsecond: "0.001", 12345 * time.Microsecond: "12.345", 70 * time.Microsecond: "0.070",
		time.Hour: "3600000.000", -time.Second: "0.000",
	} {
		if got := string(appendMillis([]byte("x"), d)); got != "x"+want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "req_1-2.3:4": true, strings.Repeat("a", 128): true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a\"b": false, "a\nb": false, "é": false, "a/b": false, "%0a": false,
	} {
		if fitID([]byte(id)) != want {
			t.Errorf("%q: %t", id, !want)
		}
	}
	seen := map[string]bool{}
	for range 10_000 {
		id := string(appendID(nil))
		if !fitID([]byte(id)) || len(id) != 28 || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}

func TestKeyOf(t *testing.T) {
	for headers, want := range map[string]string{
		"Authorization: Bearer k":                  "k",
		"authorization: bearer k":                  "k",
		"AUTHORIZATION: BEARER   k  ":              "k",
		"X-Api-Key: k":                             "k",
		"api-key: k":                               "k",
		"X-Api-Key: a|Api-Key: b":                  "a",
		"Authorization: Bearer k|X-Api-Key: other": "k",
		"Authorization: Basic k|X-Api-Key: other":  "",
		"Authorization: k":                         "",
		"Authorization: Bearerk":                   "",
		"Authorization: Bearer":                    "",
		"Cookie: key=k":                            "",
	} {
		var h fasthttp.RequestHeader
		for field := range strings.SplitSeq(headers, "|") {
			name, value, _ := strings.Cut(field, ": ")
			h.Set(name, value)
		}
		if got := string(key(&h)); got != want {
			t.Errorf("%s: %q", headers, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"1": 1, "512KiB": 512 << 10, "32MiB": 32 << 20, "1GiB": 1 << 30, "10MB": 10e6, "5 KB": 5000, "7B": 7, "1024": 1024,
		"": 0, "0": 0, "-1": 0, "1TiB": 0, "1.5MiB": 0, "KiB": 0, "1 000": 0, "99999999999GiB": 0, "9223372036854775807": 0, "1e3": 0,
	} {
		var s Size
		err := s.UnmarshalText([]byte(text))
		if s != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", text, s, err)
		}
		if err != nil {
			continue
		}
		written, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again Size
		if err := again.UnmarshalText(written); err != nil || again != s {
			t.Errorf("%q is written %s and read %d, %v", text, written, again, err)
		}
	}
	if b, _ := Size(32 << 20).MarshalText(); string(b) != "32MiB" {
		t.Errorf("%s", b)
	}
}

func TestServerCheck(t *testing.T) {
	for want, c := range map[string]Config{
		"": {},
		"server.listen: expected host:port, such as 127.0.0.1:8080 or :8080":                       {Listen: "8080"},
		"server.admin: expected host:port, such as 127.0.0.1:8080 or :8080":                        {Admin: "localhost"},
		"server.admin: an address that others can reach needs server.admin_key (or use 127.0.0.1)": {Admin: ":8081"},
		"server.max_body: at most 1GiB, as bodies are held in memory":                              {MaxBody: 1<<30 + 1},
		"server.drain: must be at least 1ms\nserver.timeout.write: must be at least 1ms":           {Drain: -1, Timeout: ClientTimeout{Write: 1}},
	} {
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for admin, private := range map[string]bool{"127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true, "0.0.0.0:1": false, "10.0.0.1:1": false, "host:1": false, "[::]:1": false} {
		if err := (Config{Admin: admin}).Check(); (err == nil) != private {
			t.Errorf("%s: %v", admin, err)
		}
		if err := (Config{Admin: admin, AdminKey: "k"}).Check(); err != nil {
			t.Errorf("%s with a key: %v", admin, err)
		}
	}
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "short": "short", strings.Repeat("a", 200): strings.Repeat("a", 200), strings.Repeat("a", 201): strings.Repeat("a", 200) + "...",
		strings.Repeat("a", 199) + "éé": strings.Repeat("a", 199) + "...",
	} {
		if got := shorten(in); got != want {
			t.Errorf("%s: %s", strconv.Quote(in), strconv.Quote(got))
		}
	}
}

// The log has a word for why a request failed. What a provider says in the place of one is not it.
func TestReason(t *testing.T) {
	for want, e := range map[string]*wire.Error{
		"context_length_exceeded": {Type: "invalid_request_error", Code: "context_length_exceeded"},
		"invalid_request_error":   {Type: "invalid_request_error"},
		"refused":                 {Type: "invalid_request_error", Code: "you asked me about a secret"},
	} {
		if got := reason(e); got != want {
			t.Errorf("%+v: %s, want %s", e, got, want)
		}
	}
}
