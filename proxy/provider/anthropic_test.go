package provider

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

func TestAnthropicRequest(t *testing.T) {
	for _, row := range []struct {
		prefix, path, query string
		foreign, count      bool
		line                string
	}{
		{"", "/messages", "beta=true", false, false, "POST /v1/messages?beta=true HTTP/1.1"},
		{"/v1", "/messages", "", false, false, "POST /v1/messages HTTP/1.1"},
		{"/proxy/v1", "/messages/count_tokens", "", false, true, "POST /proxy/v1/messages/count_tokens HTTP/1.1"},
		{"/proxy", "/models", "limit=5", false, false, "POST /proxy/v1/models?limit=5 HTTP/1.1"},
		{"", "/messages", "", true, false, "POST /v1/messages HTTP/1.1"},
	} {
		for _, said := range []string{"", "2024-01-01"} {
			c := &Client{kind: kinds["anthropic"], cfg: Config{Kind: "anthropic", APIKey: "sk-ant", Headers: map[string]string{"X-Team": "ours"}}}
			call := &Call{Header: &fasthttp.RequestHeader{}, path: row.path, query: []byte(row.query), foreign: row.foreign, Count: row.count}
			for k, v := range map[string]string{"X-Api-Key": "client's", "Authorization": "Bearer client's", "X-Stainless-Lang": "js", "Anthropic-Version": said} {
				if v != "" {
					call.Header.Set(k, v)
				}
			}
			var req fasthttp.Request
			req.Header.SetMethod("POST")
			req.Header.SetHost("api.anthropic.com")
			c.headers(call, &req)
			if err := anthropicRequest(c, &host{prefix: row.prefix}, call, &req); err != nil {
				t.Fatal(err)
			}
			line, seen := onWire(t, &req)
			if line != row.line {
				t.Errorf("%s, want %s", line, row.line)
			}
			version, lang := said, "js"
			if said == "" || row.foreign {
				version = "2023-06-01"
			}
			if row.foreign {
				lang = ""
			}
			for k, want := range map[string]string{"X-Api-Key": "sk-ant", "Authorization": "", "Anthropic-Version": version, "X-Stainless-Lang": lang, "X-Team": "ours", "User-Agent": "jarvis-gateway"} {
				if got := string(seen.Peek(k)); got != want {
					t.Errorf("%s: %q, want %q", k, got, want)
				}
			}
		}
	}
}

func TestAnthropicFault(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	c.cfg.Kind = "anthropic"
	for _, row := range []faultRow{
		{400, "invalid_request_error", "messages: at least one of sk-secret is required", 400, "", false, "messages: at least one of [hidden] is required"},
		{400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", 400, "context_length_exceeded", false, "prompt is too long: 208310 tokens > 200000 maximum"},
		{400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 2", 400, "context_length_exceeded", false, "input length and `max_tokens` exceed context limit: 1 + 2 > 2"},
		{400, "invalid_request_error", "", 400, "", false, refusedText},
		{422, "invalid_request_error", "m", 422, "", false, "m"},
		{400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. theirs", 502, "upstream_auth", true, ""},
		{400, "invalid_request_error", "You have reached your specified API usage limits. theirs", 502, "upstream_auth", true, ""},
		{401, "authentication_error", "theirs", 502, "upstream_auth", true, ""},
		{402, "billing_error", "theirs", 502, "upstream_auth", true, ""},
		{403, "permission_error", "theirs", 502, "upstream_auth", true, ""},
		{404, "not_found_error", "model: claude-9", 404, "model_not_found", false, "model: claude-9"},
		{409, "conflict_error", "m", 409, "", false, "m"},
		{413, "request_too_large", "m", 413, "request_too_large", false, "m"},
		{429, "rate_limit_error", "theirs", 429, "upstream_rate_limited", true, ""},
		{500, "api_error", "theirs", 502, "upstream_error", true, ""},
		{504, "timeout_error", "theirs", 504, "timeout", true, ""},
		{529, "overloaded_error", "theirs", 503, "upstream_overloaded", true, ""},
		{503, "overloaded_error", "theirs", 503, "upstream_overloaded", true, ""},
		{500, "new_error", "theirs", 502, "upstream_error", true, ""},
	} {
		body := wire.AppendString([]byte(`{"type":"error","error":{"type":"`+row.name+`","message":`), row.body)
		body = append(body, `},"request_id":"req_1"}`...)
		var head fasthttp.ResponseHeader
		row.check(t, anthropicFault(c, row.status, &head, body))
		if row.status == 422 {
			continue
		}
		// Inside a stream the type says it all, whether the reader knows its status or not.
		row.check(t, c.translatedFailure(&dialect.Failure{Type: row.name, Message: row.body}))
		row.check(t, c.translatedFailure(&dialect.Failure{Status: row.status, Type: row.name, Message: row.body}))
	}
	for _, row := range []faultRow{
		{413, "", "<html>theirs</html>", 413, "request_too_large", false, refusedText},
		{529, "", "", 503, "upstream_overloaded", true, ""},
		{502, "", "<html>theirs</html>", 502, "upstream_error", true, ""},
		{403, "", "<html>theirs</html>", 502, "upstream_auth", true, ""},
		{301, "", "", 502, "upstream_error", true, ""},
	} {
		var head fasthttp.ResponseHeader
		row.check(t, anthropicFault(c, row.status, &head, []byte(row.body)))
	}
}

func TestAnthropicRetry(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	for _, status := range []int{429, 500, 529} {
		var head fasthttp.ResponseHeader
		if e := anthropicFault(c, status, &head, nil); e.Retry != 0 || e.Final {
			t.Errorf("%d: %+v", status, e)
		}
		head.Set("Retry-After", "12")
		head.Set("X-Should-Retry", "false")
		if e := anthropicFault(c, status, &head, nil); e.Retry != 12*time.Second || !e.Final {
			t.Errorf("%d: %+v", status, e)
		}
	}
}

// A provider of OpenAI's dialect fails inside a translated stream by its own words.
func TestChatStreamFailure(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	c.cfg.Kind = "vllm"
	for _, row := range []faultRow{
		{0, "rate_limit_error", "theirs", 429, "upstream_rate_limited", true, ""},
		{0, "invalid_request_error", "m", 400, "", false, "m"},
		{400, "BadRequestError", "maximum context length is 8", 400, "context_length_exceeded", false, "maximum context length is 8"},
		{0, "server_error", "theirs", 502, "upstream_error", true, ""},
		{500, "InternalServerError", "theirs", 502, "upstream_error", true, ""},
		{99999, "", "theirs", 502, "upstream_error", true, ""},
	} {
		row.check(t, c.translatedFailure(&dialect.Failure{Status: row.status, Type: row.name, Message: row.body}))
	}
}
