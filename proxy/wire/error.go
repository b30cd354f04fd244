package wire

import (
	"fmt"
	"strconv"
	"time"
)

// Error is the one kind of error that a client may see. Everything a client must not see (hosts, keys, causes) goes
// into Err, which only the log prints. The vocabulary of Type and Code is OpenAI's:
// https://platform.openai.com/docs/guides/error-codes
type Error struct {
	Status  int    // HTTP status
	Type    string // "invalid_request_error", "rate_limit_error", "server_error", ...
	Code    string // "" is written as null
	Param   string // the request field at fault, "" is written as null
	Message string

	// Retry is what Retry-After says; 0 leaves the header out.
	Retry time.Duration
	// Final tells the official SDKs not to retry (x-should-retry: false).
	Final bool
	// Failover is true when another target may succeed where this one failed.
	Failover bool
	// Own is true of what failed before the provider was asked: it says nothing of it.
	Own bool
	// Key is true where it was the gateway's key that the provider refused, whatever the request.
	Key bool
	// Raw is a provider's own error object, already redacted, written in place of the fields above.
	Raw []byte
	// Details is what else Anthropic's clients are told, a JSON object; nil for nothing.
	Details []byte
	// Err is the cause, for the log only.
	Err error
}

// The types of the errors that the gateway itself makes.
const (
	TypeInvalid    = "invalid_request_error"
	TypePermission = "permission_error"
	TypeRateLimit  = "rate_limit_error"
	TypeQuota      = "insufficient_quota"
	TypeServer     = "server_error"
)

// Invalid is a 400: the request is the caller's to mend. param names the field, "" when there is none.
func Invalid(param, format string, args ...any) *Error {
	return &Error{Status: 400, Type: TypeInvalid, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Server is a failure that is not the caller's: 500, 502, 503 or 504.
func Server(status int, code, message string, cause error) *Error {
	return &Error{Status: status, Type: TypeServer, Code: code, Message: message, Err: cause}
}

func (e *Error) Error() string {
	s := strconv.Itoa(e.Status) + " " + e.Reason() + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Reason is a short stable word for metrics and logs: the code, or the type where there is no code.
func (e *Error) Reason() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Type
}

// AppendJSON appends the OpenAI error body, {"error":{"message","type","param","code"}}.
func (e *Error) AppendJSON(dst []byte) []byte {
	if len(e.Raw) > 0 {
		dst = append(dst, `{"error":`...)
		dst = append(dst, e.Raw...)
		return append(dst, '}')
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = AppendString(dst, e.Message)
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, e.Type)
	dst = append(dst, `,"param":`...)
	dst = appendOrNull(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendOrNull(dst, e.Code)
	return append(dst, '}', '}')
}

func appendOrNull(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}
