package fakellm

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// anthropicDialect is api.anthropic.com.
func anthropicDialect() dialect {
	return dialect{
		shape: &shape{reasoning: "thinking"}, errorType: jsonType, streamType: sseType, splits: true,
		route: anthropicRoute, admit: anthropicAdmit, fail: anthropicFail, broken: anthropicBroken, stock: anthropicStock, header: anthropicHeader,
		garbage: anthropicGarbage, split: splitSSE,
	}
}

func anthropicRoute(x *exchange) (endpoint, *apiError) {
	rest, ok := strings.CutPrefix(x.path, "/v1/")
	first, id, _ := strings.Cut(rest, "/")
	switch {
	case ok && rest == "messages":
		x.endpoint = rest
		return anthropicMethod(x, http.MethodPost, readMessages)
	case ok && rest == "messages/count_tokens":
		x.endpoint = rest
		return anthropicMethod(x, http.MethodPost, readCountTokens)
	case ok && first == "models":
		x.endpoint, x.params.id = first, unescape(id)
		return anthropicMethod(x, http.MethodGet, readAnthropicModels)
	}
	return nil, &apiError{status: 404, kind: "not_found_error", message: "Not Found"}
}

func anthropicMethod(x *exchange, want string, read endpoint) (endpoint, *apiError) {
	if string(x.ctx.Method()) != want {
		return nil, &apiError{status: 405, kind: "invalid_request_error", message: "Method Not Allowed"}
	}
	return read, nil
}

func anthropicAdmit(x *exchange) *apiError {
	want := x.s.o.APIKey
	e := &apiError{status: 401, kind: "authentication_error", message: "invalid x-api-key"}
	switch {
	case want == "" || x.apiKey == want:
		return nil
	case x.apiKey == "":
		e.message = "x-api-key header is required"
	}
	return e
}

func anthropicFail(x *exchange, e *apiError) []byte {
	return append(x.anthropicError(nil, e), '}')
}

// anthropicError is an error's object; its brace stays open.
func (x *exchange) anthropicError(b []byte, e *apiError) []byte {
	b = quote(append(b, `{"type":"error","error":{"type":`...), e.kind)
	b = quote(append(b, `,"message":`...), e.message)
	b = append(b, `},"request_id":"`...)
	return append(x.anthropicID(b), '"')
}

func (x *exchange) anthropicID(b []byte) []byte {
	return fmt.Appendf(b, "req_011CSFake%012d", x.number)
}

// anthropicBroken is one error event after which the stream ends.
func anthropicBroken(x *exchange, e *apiError) [][]byte {
	b := x.anthropicError([]byte("event: error\ndata: "), e)
	return [][]byte{append(b, "}\n\n"...)}
}

func anthropicGarbage() [][]byte {
	return [][]byte{
		[]byte("event: message_start\ndata: <html>upstream hiccup</html>\n\n"),
		[]byte("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"ind\n\n"),
		[]byte("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
	}
}

func anthropicStock(x *exchange, status int) *apiError {
	e := &apiError{status: status, kind: "invalid_request_error", message: "Invalid request"}
	switch status {
	case 401:
		e.kind, e.message = "authentication_error", "invalid x-api-key"
	case 402:
		e.kind, e.message = "billing_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
	case 403:
		e.kind, e.message = "permission_error", "Your API key does not have permission to use the specified resource."
	case 404:
		model, _, _ := strings.Cut(x.model, "?")
		e.kind, e.message = "not_found_error", "model: "+model
	case 413:
		e.kind, e.message = "request_too_large", "Request exceeds the maximum size"
	case 429:
		e.kind = "rate_limit_error"
		e.message = "This request would exceed your organization's rate limit of 50 requests per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits."
	case 504:
		e.kind, e.message = "timeout_error", "Request timed out"
	case 529:
		e.kind, e.message = "overloaded_error", "Overloaded"
	default:
		if status >= 500 {
			e.kind, e.message = "api_error", "Internal server error"
		}
	}
	return e
}

// anthropicHeader has a retry-after on some good answers too, as the real one.
func anthropicHeader(x *exchange, h *fasthttp.ResponseHeader) {
	h.SetCanonical([]byte("request-id"), x.anthropicID(nil))
	h.SetCanonical([]byte("anthropic-organization-id"), []byte("00000000-0000-4000-8000-000000000000"))
	reset := []byte(x.s.now().Add(time.Minute).UTC().Format(time.RFC3339))
	for _, limit := range []struct{ name, size, left string }{
		{"requests", "50", "49"}, {"tokens", "60000", "59000"}, {"input-tokens", "50000", "49000"}, {"output-tokens", "10000", "10000"},
	} {
		prefix := "anthropic-ratelimit-" + limit.name
		h.SetCanonical([]byte(prefix+"-limit"), []byte(limit.size))
		h.SetCanonical([]byte(prefix+"-remaining"), []byte(limit.left))
		h.SetCanonical([]byte(prefix+"-reset"), reset)
	}
	if x.status == 200 && x.seed%2 == 0 {
		h.SetCanonical([]byte("retry-after"), []byte("41"))
	}
	if x.status == 529 || x.status >= 500 {
		h.SetCanonical([]byte("x-should-retry"), []byte("true"))
	}
	h.SetServer("cloudflare")
}

func readAnthropicModels(x *exchange) (render, *apiError) {
	if err := x.versioned(); err != nil {
		return nil, err
	}
	x.model = x.params.id
	if x.model != "" && !x.s.serves(x.model) {
		return nil, anthropicStock(x, 404)
	}
	return anthropicModels, nil
}

func anthropicModels(x *exchange) (answer, *apiError) {
	if x.model != "" {
		return answer{ctype: jsonType, body: x.anthropicModel(nil, x.model)}, nil
	}
	all := x.s.o.Models
	if all == nil {
		all = []string{"fake", "fake-echo", "claude-sonnet-4-5-20250929"}
	}
	all, more := paged(all, x.ctx.QueryArgs())
	b := []byte(`{"data":[`)
	for i, name := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = x.anthropicModel(b, name)
	}
	first, last := "", ""
	if len(all) > 0 {
		first, last = all[0], all[len(all)-1]
	}
	b = strconv.AppendBool(append(b, `],"has_more":`...), more)
	b = quoteOrNull(append(b, `,"first_id":`...), first)
	return answer{ctype: jsonType, body: append(quoteOrNull(append(b, `,"last_id":`...), last), '}')}, nil
}

func (x *exchange) anthropicModel(b []byte, name string) []byte {
	b = quote(append(b, `{"type":"model","id":`...), name)
	b = quote(append(b, `,"display_name":`...), name)
	return fmt.Appendf(b, `,"created_at":"%s"}`, x.s.now().UTC().Format(time.RFC3339))
}

// paged is the page of names that limit and after_id ask for, and whether there are more.
func paged(names []string, query *fasthttp.Args) ([]string, bool) {
	for i, name := range names {
		if name == string(query.Peek("after_id")) {
			names = names[i+1:]
			break
		}
	}
	limit := query.GetUintOrZero("limit")
	if limit == 0 {
		limit = 20
	}
	if limit < len(names) {
		return names[:limit], true
	}
	return names, false
}
