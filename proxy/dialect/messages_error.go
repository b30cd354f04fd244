package dialect

import (
	"strings"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// The types of Anthropic's errors and their statuses: https://docs.anthropic.com/en/api/errors
var messageErrors = []struct {
	status int
	kind   string
}{
	{400, "invalid_request_error"},
	{401, "authentication_error"},
	{402, "billing_error"},
	{403, "permission_error"},
	{404, "not_found_error"},
	{413, "request_too_large"},
	{429, "rate_limit_error"},
	{500, "api_error"},
	{504, "timeout_error"},
	{529, "overloaded_error"},
}

// messagesFailure reads an error that the provider tells of inside an answer.
func messagesFailure(root gjson.Result) *Failure {
	f := &Failure{Type: strings.Clone(root.Get("error.type").String()), Message: strings.Clone(root.Get("error.message").String())}
	for _, e := range messageErrors {
		if e.kind == f.Type {
			f.Status = e.status
		}
	}
	return f
}

// messageStatus is the status that Anthropic would give for an error.
func messageStatus(e *wire.Error) int {
	if e.Code == "upstream_overloaded" {
		return 529
	}
	return e.Status
}

func messageErrorType(status int) string {
	for _, e := range messageErrors {
		if e.status == status {
			return e.kind
		}
	}
	if status > 400 && status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

// AppendMessageError appends the body that an error has for clients of the Messages API. requestID is left out when "".
func AppendMessageError(dst []byte, e *wire.Error, requestID string) []byte {
	dst = appendMessageFault(append(dst, `{"type":"error","error":`...), e)
	if requestID != "" {
		dst = field(dst, "request_id", requestID)
	}
	return append(dst, '}')
}

// appendMessageFault appends the error object. Where the error quotes a provider's own object in Raw, its message is the
// one that says more.
func appendMessageFault(dst []byte, e *wire.Error) []byte {
	message := e.Message
	if len(e.Raw) > 0 {
		if said := gjson.GetBytes(e.Raw, "message"); said.Type == gjson.String && said.Str != "" {
			message = said.Str
		}
	}
	dst = field(append(dst, '{'), "type", messageErrorType(messageStatus(e)))
	dst = field(dst, "message", message)
	if len(e.Details) > 0 {
		dst = rawField(dst, "details", string(e.Details))
	}
	return append(dst, '}')
}
