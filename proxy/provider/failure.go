package provider

import (
	"bytes"
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// What a provider's failure becomes for the client. The table is in README.md, "Errors".

// failed turns a failure of the round trip into what the client sees: nothing of hosts and causes.
func failed(err error) *wire.Error {
	var known *wire.Error
	switch {
	case errors.As(err, &known):
		return known
	case isTimeout(err):
		e := wire.Server(fasthttp.StatusGatewayTimeout, "timeout", "The model provider did not answer in time.", err)
		e.Failover = true
		return e
	case errors.Is(err, fasthttp.ErrNoFreeConns):
		e := wire.Server(fasthttp.StatusServiceUnavailable, "upstream_unavailable", "All connections to the model provider are in use.", err)
		e.Failover, e.Own, e.Retry = true, true, time.Second
		return e
	}
	return upstreamError(err)
}

func upstreamError(cause error) *wire.Error {
	e := wire.Server(fasthttp.StatusBadGateway, "upstream_error", "The model provider failed to answer.", cause)
	e.Failover = true
	return e
}

// refused turns a provider's answer of a status other than 2xx into what the client sees.
func (c *Client) refused(status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error {
	cause := c.refusalOf(status, body)
	switch {
	case status == 401 || status == 402 || status == 403 || status == 407:
		return c.notLetIn(status, cause)
	case status == 429:
		e := rateLimited(retryAfter(head), cause)
		e.Final = unwanted(head)
		return e
	case status == 408 || status == 504:
		return failed(&timeoutError{cause})
	case status >= 400 && status < 500 && status != 424 && status != 425:
		return c.callersFault(status, body, cause)
	}
	e := upstreamError(cause)
	e.Retry, e.Final = retryAfter(head), unwanted(head)
	return e
}

// notLetIn is the failure to be let in, or to be let do this: a provider says 402 and 403 also of a request that is flagged, of a
// model that the account has no access to, and of an answer that costs more than there is left.
func (c *Client) notLetIn(status int, cause error) *wire.Error {
	e := authRefused(cause)
	known, _ := errors.AsType[*refusal](cause)
	e.Key = status == fasthttp.StatusUnauthorized || status == fasthttp.StatusProxyAuthRequired || known != nil && (ofKey(known.kind) || ofKey(known.code))
	return e
}

// ofKey tells the words that are said of a key, or of a signature made with it.
func ofKey(word string) bool {
	switch strings.TrimSuffix(strings.ToLower(word), "exception") {
	case "invalid_api_key", "invalid_authentication", "authentication_error", "account_deactivated",
		"unrecognizedclient", "expiredtoken", "invalidsignature", "signaturedoesnotmatch", "incompletesignature",
		"missingauthenticationtoken", "invalidclienttokenid", "requestexpired":
		return true
	}
	return false
}

// unwanted tells that the provider asks not to be tried again.
func unwanted(head *fasthttp.ResponseHeader) bool {
	return string(head.Peek("X-Should-Retry")) == "false"
}

func rateLimited(after time.Duration, cause error) *wire.Error {
	return &wire.Error{Status: 429, Type: wire.TypeRateLimit, Code: "upstream_rate_limited", Failover: true, Retry: after, Err: cause,
		Message: "The model provider is limiting the rate of requests. Please try again later."}
}

type timeoutError struct{ error }

func (*timeoutError) Timeout() bool { return true }

// refusal is a provider's error answer, for the log.
type refusal struct {
	status     int
	kind, code string // in the provider's words
}

// refusalOf reads which failure it was, but none of the provider's sentences: they may repeat the prompt.
func (c *Client) refusalOf(status int, body []byte) *refusal {
	fields := gjson.ParseBytes(wire.ErrorIn(c.redact(body[:min(len(body), 16*maxErrorText)])))
	return &refusal{status: status, kind: fields.Get("type").String(), code: fields.Get("code").String()}
}

func (r *refusal) Error() string {
	text := "provider answered " + strconv.Itoa(r.status)
	for _, word := range [...]string{r.kind, r.code} {
		if isWord(word) {
			text += " " + word
		}
	}
	return text
}

// isWord tells a name such as invalid_request_error from a sentence, and from what may be a key.
func isWord(s string) bool {
	return s != "" && len(s) <= maxWord && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") == ""
}

const maxWord = 48

const maxErrorText = 4 << 10

// hide is the start of an error text without what must not be seen. It is cut after that: a secret cut in two is not
// found.
func (c *Client) hide(text []byte) []byte {
	return clip(c.redact(text[:min(len(text), 16*maxErrorText)]))
}

func clip(b []byte) []byte { return b[:min(len(b), maxErrorText)] }

// callersFault passes a provider's complaint about the request on. An error object in OpenAI's form goes as it is,
// unknown members included; other forms are put into it.
func (c *Client) callersFault(status int, body []byte, cause error) *wire.Error {
	e := &wire.Error{Status: status, Type: wire.TypeInvalid, Err: cause}
	if len(body) > maxErrorText*16 || !gjson.ValidBytes(body) {
		body = nil
	}
	object := wire.ErrorIn(body)
	if object == nil {
		e.Message = cmp.Or(string(c.hide(detail(body))), refusedText)
		return e
	}
	object = c.redactJSON(object)
	fields := gjson.ParseBytes(object)
	if isOpenAIError(fields) {
		e.Raw = object
	}
	e.Message = cmp.Or(fields.Get("message").String(), refusedText)
	if t := fields.Get("type"); t.Type == gjson.String && e.Raw != nil {
		e.Type = t.Str
	}
	if code := fields.Get("code"); code.Type == gjson.String {
		e.Code = code.Str
	}
	if param := fields.Get("param"); param.Type == gjson.String {
		e.Param = param.Str
	}
	return e
}

const refusedText = "The model provider refused the request."

// isOpenAIError tells an error object that OpenAI's clients read without surprise. vLLM's has a number as code and a
// class name as type; DeepSeek's and others' leave members out, which is fine.
func isOpenAIError(e gjson.Result) bool {
	text := func(v gjson.Result) bool { return !v.Exists() || v.Type == gjson.Null || v.Type == gjson.String }
	return e.Get("message").Type == gjson.String && !e.Get("object").Exists() &&
		text(e.Get("type")) && text(e.Get("code")) && text(e.Get("param")) && !pythonClass(e.Get("type").Str)
}

// pythonClass tells type names such as BadRequestError or NotFoundError, which are not OpenAI's.
func pythonClass(s string) bool { return s != "" && s[0] >= 'A' && s[0] <= 'Z' }

// detail reads FastAPI's validation errors, {"detail": "..."} or {"detail": [{"loc": [...], "msg": "..."}]}.
func detail(body []byte) []byte {
	d := gjson.GetBytes(body, "detail")
	if d.Type == gjson.String {
		return []byte(d.Str)
	}
	var text []byte
	d.ForEach(func(_, item gjson.Result) bool {
		if len(text) > 0 {
			text = append(text, "; "...)
		}
		item.Get("loc").ForEach(func(_, part gjson.Result) bool {
			text = append(append(text, part.String()...), '.')
			return true
		})
		text = append(bytes.TrimSuffix(text, []byte{'.'}), ": "...)
		text = append(text, item.Get("msg").String()...)
		return true
	})
	return text
}

// inStream turns an error event into what the client would have got for it as an ordinary error.
func (c *Client) inStream(data []byte) *wire.Error {
	cause := c.refusalOf(fasthttp.StatusOK, data)
	object := wire.ErrorIn(data)
	fields := gjson.ParseBytes(object)
	status := int(fields.Get("code").Int())
	if status < 400 || status > 599 {
		status = statusOf(fields.Get("type").String(), fields.Get("code").String())
	}
	switch {
	case status == 429:
		return rateLimited(0, cause)
	case status == 401 || status == 403 || status >= 500:
		return upstreamError(cause)
	}
	return c.callersFault(status, data, cause)
}

// statusOf finds the status that an error of this type and code has outside of a stream.
func statusOf(kind, code string) int {
	switch {
	case code == "rate_limit_exceeded" || code == "insufficient_quota" || kind == "rate_limit_error" || kind == "insufficient_quota" ||
		kind == "tokens" || kind == "requests":
		return 429
	case kind == "not_found_error" || code == "model_not_found":
		return 404
	case kind == "invalid_request_error" || code == "invalid_prompt" || code == "context_length_exceeded" ||
		code == "content_filter" || code == "image_content_policy_violation" || kind == "BadRequestError":
		return 400
	}
	return 502
}

// retryAfter reads how long a provider asks to be left alone: retry-after-ms, or Retry-After in seconds or as a date
// (RFC 9110, 10.2.3).
func retryAfter(head *fasthttp.ResponseHeader) time.Duration {
	if ms, err := strconv.ParseFloat(string(head.Peek("Retry-After-Ms")), 64); err == nil && ms >= 0 && ms < 1e9 {
		return time.Duration(ms * float64(time.Millisecond))
	}
	v := string(head.Peek("Retry-After"))
	if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second))
	}
	if at, err := fasthttp.ParseHTTPDate([]byte(v)); err == nil {
		return min(max(0, time.Until(at)), 24*time.Hour)
	}
	return 0
}
