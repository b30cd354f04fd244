package provider

import (
	"cmp"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// userAgent names the gateway where a client's own name does not go on: some servers refuse requests without one.
const userAgent = "jarvis-gateway"

var (
	headerAPIKey           = []byte("X-Api-Key")
	headerAnthropicVersion = []byte("Anthropic-Version")
)

// anthropicVersion is the version of the API that the gateway speaks, for clients that do not name their own.
const anthropicVersion = "2023-06-01"

// anthropicRequest addresses Anthropic's API. https://docs.anthropic.com/en/api/overview
func anthropicRequest(c *Client, h *host, call *Call, req *fasthttp.Request) error {
	setURI(req, strings.TrimSuffix(h.prefix, "/v1")+"/v1", call.path, call.query)
	if key := c.cfg.APIKey.Reveal(); key != "" {
		req.Header.SetCanonical(headerAPIKey, []byte(key))
	}
	if len(req.Header.PeekBytes(headerAnthropicVersion)) == 0 {
		req.Header.SetCanonical(headerAnthropicVersion, []byte(anthropicVersion))
	}
	if len(req.Header.UserAgent()) == 0 {
		req.Header.SetUserAgent(userAgent)
	}
	return nil
}

// statusOverloaded is Anthropic's status for a service that is short of capacity.
const statusOverloaded = 529

// anthropicStatus is the status of Anthropic's errors by their types, which is all that an error inside a stream has.
// https://docs.anthropic.com/en/api/errors
var anthropicStatus = map[string]int{
	"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403, "not_found_error": 404,
	"conflict_error": 409, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504, "overloaded_error": statusOverloaded,
}

// anthropicFault reads an error answer of Anthropic: {"type":"error","error":{"type","message"}}.
func anthropicFault(c *Client, status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error {
	cause := c.refusalOf(status, body)
	var fields gjson.Result
	if len(body) <= maxErrorText*16 && gjson.ValidBytes(body) {
		fields = gjson.GetBytes(body, "error")
	}
	e := c.anthropicError(status, fields.Get("type").String(), fields.Get("message").String(), head, cause)
	if details := fields.Get("details"); details.IsObject() && e.Type == wire.TypeInvalid {
		e.Details = c.redactJSON([]byte(details.Raw))
	}
	return e
}

// anthropicError turns an error of this type into what the client sees. The type says more than the status, save that
// invalid_request_error stands for all kinds of them.
func (c *Client) anthropicError(status int, kind, message string, head *fasthttp.ResponseHeader, cause error) *wire.Error {
	invalid := kind == "invalid_request_error"
	if known := anthropicStatus[kind]; known != 0 && (!invalid || status < 400 || status > 499) {
		status = known
	}
	account := invalid && ofAccount(message)
	if account {
		status = 402
	}
	e := c.blame(status, message, head, cause)
	e.Key = e.Key || account // it holds for all requests, until the operator pays
	return e
}

// ofAccount tells complaints about the operator's account, which Anthropic words as errors of the request.
func ofAccount(message string) bool {
	return strings.Contains(message, "credit balance is too low") || strings.Contains(message, "API usage limits") ||
		strings.Contains(message, "organization has been disabled")
}

// blame turns an error that a provider of another dialect tells of into what the client sees: whose fault it is says the
// status that it has, or would have outside of a stream. It is refused for providers that do not speak OpenAI's dialect.
func (c *Client) blame(status int, message string, head *fasthttp.ResponseHeader, cause error) *wire.Error {
	var e *wire.Error
	switch {
	case status == 401 || status == 402 || status == 403 || status == 407:
		return c.notLetIn(status, cause)
	case status == 408 || status == 504:
		return failed(&timeoutError{cause})
	case status == 429:
		e = rateLimited(0, cause)
	case status == statusOverloaded:
		e = overloaded(cause)
	case status >= 400 && status < 500 && status != 424 && status != 425:
		return c.callersMistake(status, message, cause)
	default:
		e = upstreamError(cause)
	}
	if head != nil {
		e.Retry, e.Final = retryAfter(head), unwanted(head)
	}
	return e
}

func overloaded(cause error) *wire.Error {
	e := wire.Server(fasthttp.StatusServiceUnavailable, "upstream_overloaded", "The model provider is overloaded. Please try again later.", cause)
	e.Failover = true
	return e
}

// callersMistake passes a complaint about the request on, in a form that can be written in any client's dialect.
func (c *Client) callersMistake(status int, message string, cause error) *wire.Error {
	text := string(hideAccount(c.hide([]byte(message))))
	e := &wire.Error{Status: status, Type: wire.TypeInvalid, Message: cmp.Or(text, refusedText), Err: cause}
	switch {
	case status == 404:
		e.Code, e.Param = "model_not_found", "model"
	case status == 413:
		e.Code = "request_too_large"
	case tooLong(text):
		e.Code = "context_length_exceeded"
	}
	return e
}

// tooLong tells from its words the complaint that a prompt is longer than the model's context.
func tooLong(message string) bool {
	message = strings.ToLower(message)
	for _, words := range []string{"prompt is too long", "input is too long", "exceed context limit", "maximum context length", "context window", "input tokens exceed"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}

// translatedFailure turns an error that a provider tells of inside an answer of status 200 into what the client would have
// got for it as an ordinary error.
func (c *Client) translatedFailure(f *dialect.Failure) *wire.Error {
	status := f.Status
	if status < 400 || status > 599 {
		status = 0
	}
	cause := &refusal{status: fasthttp.StatusOK, kind: f.Type}
	switch c.cfg.Kind {
	case "bedrock":
		return c.bedrockError(status, f.Type, f.Message, nil, cause)
	case "anthropic":
		return c.anthropicError(status, f.Type, f.Message, nil, cause)
	}
	return c.blame(cmp.Or(status, statusOf(f.Type, f.Type)), f.Message, nil, cause)
}
