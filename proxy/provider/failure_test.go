package provider

import (
	"errors"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

func clientOf(t *testing.T, key string, headers map[string]string, bases ...string) *Client {
	t.Helper()
	var parsed []*url.URL
	for _, b := range bases {
		u, err := url.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, u)
	}
	return &Client{secrets: secrets(Config{APIKey: wire.Secret(key), Headers: headers}, parsed)}
}

// What a status of the provider becomes: the client's status and code, and whether the next target is tried.
func TestRefused(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	for _, row := range []struct {
		statuses []int
		status   int
		code     string
		failover bool
	}{
		{[]int{400, 404, 405, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 426, 428, 431, 451}, 0, "", false},
		{[]int{401, 402, 403, 407}, 502, "upstream_auth", true},
		{[]int{429}, 429, "upstream_rate_limited", true},
		{[]int{408, 504}, 504, "timeout", true},
		{[]int{300, 301, 302, 307, 424, 425, 500, 501, 502, 503, 505, 520, 529, 599}, 502, "upstream_error", true},
	} {
		for _, status := range row.statuses {
			var head fasthttp.ResponseHeader
			e := c.refused(status, &head, []byte(`{"error":{"message":"m of sk-secret","type":"invalid_request_error","param":null,"code":null}}`))
			want := row.status
			if want == 0 {
				want = status
			}
			if e.Status != want || e.Code != row.code || e.Failover != row.failover || e.Final {
				t.Errorf("%d: %+v", status, e)
			}
			if shown := string(e.AppendJSON(nil)) + e.Error(); strings.Contains(shown, "sk-secret") {
				t.Errorf("%d: %s", status, shown)
			}
			if row.status != 0 && strings.Contains(string(e.AppendJSON(nil)), "m of") {
				t.Errorf("%d shows the provider's text: %s", status, e.AppendJSON(nil))
			}
		}
	}
}

func TestFailed(t *testing.T) {
	ours := wire.Invalid("n", "ours")
	for _, c := range []struct {
		err      error
		status   int
		code     string
		failover bool
	}{
		{ours, 400, "", false},
		{os.ErrDeadlineExceeded, 504, "timeout", true},
		{&dialError{os.ErrDeadlineExceeded}, 504, "timeout", true},
		{&dialError{io.EOF}, 502, "upstream_error", true},
		{&dialError{fasthttp.ErrNoFreeConns}, 503, "upstream_unavailable", true},
		{errNoReply, 502, "upstream_error", true},
		{errChunk, 502, "upstream_error", true},
	} {
		if e := failed(c.err); e.Status != c.status || e.Code != c.code || e.Failover != c.failover || !errors.Is(e, c.err) {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
}

func TestInStream(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	for data, want := range map[string]int{
		`{"error":{"message":"m","type":"invalid_request_error","code":"context_length_exceeded"}}`: 400,
		`{"error":{"message":"m","type":"invalid_request_error","code":"model_not_found"}}`:         404,
		`{"error":{"message":"m","type":"not_found_error"}}`:                                        404,
		`{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}`:                    429,
		`{"error":{"message":"m","type":"requests","code":null}}`:                                   429,
		`{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}`:         429,
		`{"error":{"message":"m","type":"server_error","code":null}}`:                               502,
		`{"error":{"message":"m"}}`: 502,
		`{"error":"m"}`:             502,
		`{"error":{"message":"m","type":"BadRequestError","code":400}}`:                                   400,
		`{"error":{"message":"m","type":"X","code":"422"}}`:                                               422,
		`{"error":{"message":"m","type":"InternalServerError","code":500}}`:                               502,
		`{"error":{"message":"m","type":"AuthenticationError","code":401}}`:                               502,
		`{"error":{"message":"m","type":"PermissionError","code":403}}`:                                   502,
		`{"error":{"message":"m","type":"RateLimitError","code":429}}`:                                    429,
		`{"error":{"message":"m","code":200}}`:                                                            502,
		`{"error":{"message":"m","code":40000000000}}`:                                                    502,
		`{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}`:               400,
		`{"type":"error","code":"rate_limit_exceeded","message":"m"}`:                                     429,
		`{"type":"error","error":{"type":"invalid_request_error","code":"invalid_prompt","message":"m"}}`: 400,
		`{"type":"response.failed","response":{"error":{"code":"server_error","message":"m"}}}`:           502,
		`{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"m"}}}`:         400,
		`{"type":"response.failed","response":{"error":null}}`:                                            502,
		`nonsense`: 502,
	} {
		if e := c.inStream([]byte(data)); e.Status != want {
			t.Errorf("%s: %+v, want %d", data, e, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		after, ms string
		want      time.Duration
	}{
		{"", "", 0}, {"7", "", 7 * time.Second}, {"0.5", "", 500 * time.Millisecond}, {"0", "", 0}, {"-1", "", 0}, {"x", "", 0},
		{"7", "1500", 1500 * time.Millisecond}, {"7", "x", 7 * time.Second}, {"7", "-5", 7 * time.Second}, {"1e300", "", 0}, {"NaN", "", 0}, {"", "NaN", 0},
		{"Wed, 21 Oct 2015 07:28:00 GMT", "", 0},
	} {
		var head fasthttp.ResponseHeader
		head.Set("Retry-After", c.after)
		head.Set("Retry-After-Ms", c.ms)
		if got := retryAfter(&head); got != c.want {
			t.Errorf("%q, %q: %v, want %v", c.after, c.ms, got, c.want)
		}
	}
	var head fasthttp.ResponseHeader
	head.Set("Retry-After", time.Now().Add(time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
	if got := retryAfter(&head); got < 50*time.Second || got > time.Minute {
		t.Errorf("in a minute: %v", got)
	}
}

func TestRedact(t *testing.T) {
	c := clientOf(t, "sk-a/b+c", map[string]string{"X-Team": "team-secret", "X-Short": "abc"}, "https://gpu-7.internal:8443/v1", "http://gpu-8.internal/v1")
	for in, want := range map[string]string{
		"key sk-a/b+c of team-secret":                      "key [hidden] of [hidden]",
		"at https://gpu-7.internal:8443/v1/chat":           "at [hidden]/chat",
		"at gpu-7.internal:8443, gpu-7.internal and so on": "at [hidden], [hidden] and so on",
		"http://gpu-8.internal":                            "http://[hidden]",
		"from 10.0.0.1:5000 to 192.168.1.20":               "from [hidden] to [hidden]",
		"abc, version 1.2.3 of 2026":                       "abc, version 1.2.3 of 2026",
	} {
		if got := string(c.redact([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		`{"b":"sk-a\/b\u002Bc","a":1.50}`: `{"a":1.50,"b":"[hidden]"}`,
		`{"b":"sk-a/b+c","a":"\u4f60"}`:   `{"a":"你","b":"[hidden]"}`,
		`{"b":"\u003cnothing\u003e"}`:     `{"b":"\u003cnothing\u003e"}`,
		`not JSON \u0073k-a/b+c`:          `not JSON \u0073k-a/b+c`,
	} {
		if got := string(c.redactJSON([]byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCallersFault(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	for body, want := range map[string]string{
		`{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null,"x":[1]}}`: `{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null,"x":[1]}}`,
		`{"error":{"message":"m"}}`: `{"error":{"message":"m"}}`,
		`{"error":{"message":"m","type":"BadRequestError","param":"n","code":400}}`: `{"error":{"message":"m","type":"invalid_request_error","param":"n","code":null}}`,
		`{"error":"m"}`:       `{"error":{"message":"m"}}`,
		`{"message":"m"}`:     `{"error":{"message":"m"}}`,
		`{"detail":"m"}`:      `{"error":{"message":"m","type":"invalid_request_error","param":null,"code":null}}`,
		`{"error":{}}`:        `{"error":{"message":"The model provider refused the request.","type":"invalid_request_error","param":null,"code":null}}`,
		`{}`:                  `{"error":{"message":"The model provider refused the request.","type":"invalid_request_error","param":null,"code":null}}`,
		``:                    `{"error":{"message":"The model provider refused the request.","type":"invalid_request_error","param":null,"code":null}}`,
		`<html>`:              `{"error":{"message":"The model provider refused the request.","type":"invalid_request_error","param":null,"code":null}}`,
		`{"error":{"message"`: `{"error":{"message":"The model provider refused the request.","type":"invalid_request_error","param":null,"code":null}}`,
	} {
		if got := string(c.callersFault(400, []byte(body), nil).AppendJSON(nil)); got != want {
			t.Errorf("%s:\n%s, want\n%s", body, got, want)
		}
	}
}

// The log says which failure it was in a word or two, never in the provider's sentences: they may repeat the prompt.
func TestCauses(t *testing.T) {
	c := clientOf(t, "sk_secret", nil)
	var head fasthttp.ResponseHeader
	const said = "what I was asked in confidence"
	for want, e := range map[string]*wire.Error{
		"provider answered 400 invalid_request_error string_above_max_length": c.refused(400, &head, []byte(`{"error":{"message":"`+said+`","type":"invalid_request_error","code":"string_above_max_length"}}`)),
		"provider answered 422":                     c.refused(422, &head, []byte(`{"detail":[{"loc":["body"],"msg":"m","input":"`+said+`"}]}`)),
		"provider answered 500":                     c.refused(500, &head, []byte(`<html>`+said+`</html>`)),
		"provider answered 503":                     c.refused(503, &head, []byte(`{"error":{"message":"m","type":"`+said+`","code":"`+said+`"}}`)),
		"provider answered 401":                     c.refused(401, &head, []byte(`{"error":{"message":"m","code":"sk_secret"}}`)),
		"provider answered 429 tokens":              c.refused(429, &head, []byte(`{"error":{"message":"`+said+`","type":"tokens","code":42}}`)),
		"provider answered 404 BadRequestError":     c.refused(404, &head, []byte(`{"object":"error","message":"`+said+`","type":"BadRequestError","code":400}`)),
		"provider answered 200 server_error":        c.inStream([]byte(`{"error":{"message":"` + said + `","type":"server_error"}}`)),
		"provider answered 200 rate_limit_exceeded": c.inStream([]byte(`{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"` + said + `"}}}`)),
		"provider answered 413 request_too_large":   anthropicFault(c, 413, &head, []byte(`{"type":"error","error":{"type":"request_too_large","message":"`+said+`"}}`)),
		"provider answered 200 overloaded_error":    c.messageFailure([]byte(`{"type":"error","error":{"type":"overloaded_error","message":"` + said + `"}}`)),
		"provider answered 400 ValidationException": bedrockFault(c, 400, &head, []byte(`{"__type":"com.amazon.coral.service#ValidationException:http://internal/","message":"`+said+`"}`)),
	} {
		if cause := e.Err; cause == nil || !strings.HasSuffix(cause.Error(), want) || strings.Contains(cause.Error(), said) {
			t.Errorf("%v, want %s", cause, want)
		}
	}
	name, data, n, err := nextFrame(appendFrame(nil, "{}", stringHeader(":message-type", "error"), stringHeader(":error-code", "InternalFailure"), stringHeader(":error-message", said)))
	if err == nil || err.Error() != "event stream: error InternalFailure" {
		t.Errorf("%s %s %d %v", name, data, n, err)
	}
}
