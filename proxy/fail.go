package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file is the only place where an error becomes a response or an event of a stream.

var (
	errDraining = &wire.Error{Status: 503, Type: wire.TypeServer, Code: "shutting_down", Message: "The gateway is shutting down.", Retry: time.Second}
	errBug      = wire.Server(500, "internal_error", "The gateway met an internal error.", nil) // which says nothing of a target
	errNotReady = &wire.Error{Status: 503, Type: wire.TypeServer, Code: "not_ready", Message: "The gateway has no model or no key to serve."}
)

// How a request ended, for metrics and the access line.
const (
	outcomeOK       = "ok"
	outcomeGone     = "client_gone"
	outcomeClient   = "client_error"   // the caller's mistake
	outcomeLimited  = "rate_limited"   // by the gateway or the provider
	outcomeTimeout  = "timeout"        // the provider was too slow
	outcomeProvider = "provider_error" // anything else that went wrong upstream
	outcomeInternal = "internal_error"

	outcomeInterrupted = "interrupted" // the gateway's process ended first; only records say so

	outcomeUnavailable = "unavailable" // the gateway had no room, or could not check or keep what it must
)

// statusGone stands in logs for a client that left before its answer; nothing is sent.
const statusGone = 499

// fault turns any error into what the client may know of it.
func fault(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, provider.ErrAborted) || errors.Is(err, router.ErrLeft) {
		return &wire.Error{Status: statusGone, Type: wire.TypeServer, Code: outcomeGone, Message: "The client left.", Err: err}
	}
	return wire.Server(500, "internal_error", "The gateway met an internal error. Please report it with the request id.", err)
}

func outcomeOf(e *wire.Error) string {
	switch {
	case e == nil:
		return outcomeOK
	case e.Status == statusGone:
		return outcomeGone
	case e.Status == 429:
		return outcomeLimited
	case e.Status == 504:
		return outcomeTimeout
	case e.Status < 500:
		return outcomeClient
	case e.Code == "internal_error", e.Code == "flow_failed":
		return outcomeInternal
	}
	switch e.Code {
	case "auth_unavailable", "guard_unavailable", "limits_unavailable", "state_unavailable", "usage_unavailable", "overloaded", "shutting_down", "not_ready":
		return outcomeUnavailable
	}
	return outcomeProvider
}

// resultOf names the result of an attempt for a metric: never by a word of the provider's own.
func resultOf(e *wire.Error) string {
	switch {
	case e.Failover || e.Status == statusGone || e.Code == "internal_error":
		return e.Reason()
	case e == errDraining:
		return "aborted"
	}
	return "refused"
}

// statusOverloaded is Anthropic's word for a provider that has too much to do.
const statusOverloaded = 529

// writeError makes the response of an error, in the form of the API that was called: Anthropic's or OpenAI's.
func writeError(res *fasthttp.Response, kind wire.Kind, e *wire.Error, id []byte) {
	res.SetStatusCode(e.Status)
	if kind == wire.Message && e.Code == "upstream_overloaded" {
		res.SetStatusCode(statusOverloaded)
	}
	res.Header.SetContentTypeBytes(typeJSON)
	if e.Retry > 0 {
		// The SDKs read the milliseconds; everyone else reads whole seconds, rounded up so as not to come too early.
		res.Header.SetCanonical(headerRetryAfter, strconv.AppendInt(nil, int64((e.Retry+time.Second-1)/time.Second), 10))
		res.Header.SetCanonical(headerRetryAfterMs, strconv.AppendInt(nil, e.Retry.Milliseconds(), 10))
	}
	if e.Final {
		res.Header.SetCanonical(headerShouldRetry, []byte("false"))
	}
	if e.Status == 401 {
		res.Header.SetCanonical([]byte(fasthttp.HeaderWWWAuthenticate), []byte("Bearer"))
	}
	if kind == wire.Message {
		res.SetBodyRaw(dialect.AppendMessageError(nil, e, string(id)))
		return
	}
	res.SetBodyRaw(e.AppendJSON(nil))
}

// errorEvent is how a stream that has begun tells of its failure; no end mark follows it.
func errorEvent(kind wire.Kind, e *wire.Error, id []byte) []byte {
	if kind == wire.Message {
		return append(dialect.AppendMessageError([]byte("event: error\ndata: "), e, string(id)), "\n\n"...)
	}
	if kind == wire.Response {
		b := wire.AppendString([]byte("event: error\ndata: {\"type\":\"error\",\"code\":"), e.Reason())
		b = wire.AppendString(append(b, `,"message":`...), e.Message)
		return append(b, ",\"param\":null}\n\n"...)
	}
	line := bytes.NewBufferString("data: ")
	if json.Compact(line, e.AppendJSON(nil)) != nil { // a provider's own error object may stand on several lines
		own := *e
		own.Raw = nil
		line.Write(own.AppendJSON(nil))
	}
	return append(line.Bytes(), '\n', '\n')
}

var (
	headerRequestID    = []byte("X-Request-Id")
	headerMessageID    = []byte("Request-Id") // which Anthropic's clients show
	headerVersion      = []byte("Anthropic-Version")
	headerRetryAfter   = []byte("Retry-After")
	headerRetryAfterMs = []byte("Retry-After-Ms")
	headerShouldRetry  = []byte("X-Should-Retry")
	headerProvider     = []byte("X-Jarvis-Provider")
	headerModel        = []byte("X-Jarvis-Model")
	headerAttempts     = []byte("X-Jarvis-Attempts")
	headerOverhead     = []byte("X-Jarvis-Overhead-Ms")
	headerTimeout      = []byte("X-Jarvis-Timeout")
	headerMetadata     = []byte("X-Jarvis-Metadata")
	typeJSON           = []byte("application/json")
	typeEvents         = []byte("text/event-stream")
)
