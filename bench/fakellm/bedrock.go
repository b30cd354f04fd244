package fakellm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/valyala/fasthttp"
)

// bedrockDialect is bedrock-runtime.{region}.amazonaws.com.
func bedrockDialect() dialect {
	return dialect{
		shape: &shape{reasoning: "reasoningContent"}, errorType: jsonType, streamType: eventStreamType, splits: true,
		route: bedrockRoute, admit: bedrockAdmit, fail: bedrockFail, broken: bedrockBroken, stock: bedrockStock, header: bedrockHeader,
		garbage: bedrockGarbage, split: splitFrames, spoil: spoilFrame,
	}
}

// bedrockRoute finds /model/{id}/{action}; the id is escaped, so that its slashes are not the path's.
func bedrockRoute(x *exchange) (endpoint, *apiError) {
	unknown := &apiError{status: 404, kind: "UnknownOperationException", message: "The requested operation is not recognized by the service."}
	rest, ok := strings.CutPrefix(x.path, "/model/")
	id, action, _ := strings.Cut(rest, "/")
	if !ok || id == "" {
		return nil, unknown
	}
	x.params.id = unescape(id)
	x.model = x.params.id
	var read endpoint
	switch action {
	case "converse":
		read = func(x *exchange) (render, *apiError) { return readConverse(x, "Converse") }
	case "converse-stream":
		x.stream = true
		read = func(x *exchange) (render, *apiError) { return readConverse(x, "ConverseStream") }
	case "count-tokens":
		read = readBedrockCount
	default:
		return nil, unknown
	}
	x.endpoint = action
	if string(x.ctx.Method()) != http.MethodPost {
		return nil, unknown
	}
	return read, nil
}

func bedrockFail(_ *exchange, e *apiError) []byte {
	return append(quote([]byte(`{"message":`), e.message), '}')
}

// bedrockBroken is an exception after which the stream ends. Not every error there is can happen in a stream.
func bedrockBroken(_ *exchange, e *apiError) [][]byte {
	kind := e.kind
	switch kind {
	case "ThrottlingException", "ValidationException", "ServiceUnavailableException", "InternalServerException":
	default:
		kind = "ModelStreamErrorException"
	}
	payload := quote([]byte(`{"message":`), e.message)
	if kind == "ModelStreamErrorException" {
		payload = fmt.Appendf(payload, `,"originalStatusCode":%d,"originalMessage":"The model failed."`, e.status)
	}
	return [][]byte{appendFrame(nil, "exception", strings.ToLower(kind[:1])+kind[1:], append(payload, '}'))}
}

// bedrockGarbage are good frames with payloads that make no sense.
func bedrockGarbage() [][]byte {
	return [][]byte{
		appendFrame(nil, "event", "messageStart", []byte("<html>upstream hiccup</html>")),
		appendFrame(nil, "event", "contentBlockDelta", []byte(`{"contentBlockIndex":0,"del`)),
		appendFrame(nil, "event", "messageStop", []byte(`{"stopReason":"end_turn"}`)),
	}
}

func bedrockStock(_ *exchange, status int) *apiError {
	e := &apiError{status: status}
	switch status {
	case 401, 403:
		e.kind, e.message = "AccessDeniedException", "You don't have access to the model with the specified model ID."
	case 404:
		e.kind, e.message = "ResourceNotFoundException", "This model version has reached the end of its life. Please refer to the AWS documentation for more details."
	case 408:
		e.kind, e.message = "ModelTimeoutException", "The request took too long to process. Processing time exceeded the model timeout length."
	case 424:
		e.kind, e.message = "ModelErrorException", "The request failed due to an error while processing the model."
	case 429:
		e.kind, e.message = "ThrottlingException", "Too many requests, please wait before trying again."
	case 503:
		e.kind, e.message = "ServiceUnavailableException", "Bedrock is unable to process your request."
	default:
		if e.kind, e.message = "ValidationException", "The model returned the following errors: Malformed input request, please reformat your input and try again."; status >= 500 {
			e.kind, e.message = "InternalServerException", "The system encountered an unexpected error during processing. Try your request again."
		}
	}
	return e
}

func bedrockHeader(x *exchange, h *fasthttp.ResponseHeader) {
	h.SetCanonical([]byte("x-amzn-RequestId"), fmt.Appendf(nil, "00000000-0000-4000-8000-%012d", x.number))
	if x.failure != nil {
		h.SetCanonical([]byte("x-amzn-ErrorType"), []byte(x.failure.kind+":http://internal.amazon.com/coral/com.amazon.bedrock/"))
	}
}
