package fakellm

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// dialect is what makes a provider itself. A new provider is a new dialect and a line in dialectOf.
type dialect struct {
	shape      *shape // of OpenAI-like answers
	errorType  string // content type of errors
	streamType string // content type of streams
	splits     bool   // CutMidStream strikes within an event

	route  func(x *exchange) (endpoint, *apiError)       // finds the endpoint of a path
	admit  func(x *exchange) *apiError                   // checks the key
	fail   func(x *exchange, e *apiError) []byte         // an error as a body
	broken func(x *exchange, e *apiError) [][]byte       // an error as stream events
	stock  func(x *exchange, status int) *apiError       // what the provider says with that status
	header func(x *exchange, h *fasthttp.ResponseHeader) // its header fields

	garbage func() [][]byte                 // a stream whose events make no sense
	split   func(raw []byte) [][]byte       // a recorded stream as its events
	spoil   func(fault Fault, event []byte) // breaks an event as BadCRC and BadPrelude say; nil: these faults do nothing
}

func dialectOf(k Kind) (dialect, error) {
	switch k {
	case OpenAI:
		return openAIDialect(), nil
	case Azure:
		return azureDialect(), nil
	case VLLM:
		return vllmDialect(), nil
	case Anthropic:
		return anthropicDialect(), nil
	case Bedrock:
		return bedrockDialect(), nil
	}
	return dialect{}, fmt.Errorf("fakellm: unknown kind %q (have: %s, %s, %s, %s, %s)", k, OpenAI, Azure, VLLM, Anthropic, Bedrock)
}

// apiError is an error as the provider words it.
type apiError struct {
	status  int
	kind    string // type
	code    string // null when empty
	param   string // null when empty
	message string
}

func invalid(param, code, format string, args ...any) *apiError {
	return &apiError{status: 400, kind: "invalid_request_error", param: param, code: code, message: fmt.Sprintf(format, args...)}
}

// find looks up an OpenAI-like endpoint by the path after the version prefix.
func (x *exchange) find(rest string) (endpoint, *apiError) {
	first, id, _ := strings.Cut(rest, "/")
	switch first {
	case "models":
		x.endpoint = "models"
		return x.method(http.MethodGet, x.names(id))
	case "responses":
		x.endpoint = "responses"
		return x.findResponse(id)
	}
	read := endpointAt(rest)
	if read == nil {
		return nil, x.noSuchURL()
	}
	x.endpoint = rest
	return x.method(http.MethodPost, read)
}

func endpointAt(path string) endpoint {
	switch path {
	case "chat/completions":
		return readChat
	case "completions":
		return readCompletion
	case "embeddings":
		return readEmbeddings
	case "moderations":
		return readModeration
	case "images/generations":
		return readImage
	case "images/edits", "images/variations":
		return readImageForm
	case "audio/speech":
		return readSpeech
	case "audio/transcriptions", "audio/translations":
		return readAudioForm
	case "rerank":
		return readRerank
	}
	return nil
}

// names answers models and models/{id}; ids may hold slashes.
func (x *exchange) names(id string) endpoint {
	x.params.id = unescape(id)
	return readModels
}

func (x *exchange) method(want string, read endpoint) (endpoint, *apiError) {
	if got := string(x.ctx.Method()); got != want {
		return nil, &apiError{status: 405, kind: "invalid_request_error", code: "method_not_supported",
			message: fmt.Sprintf("Not allowed to %s on %s. (HINT: Perhaps you meant to use a different HTTP method?)", got, x.path)}
	}
	return read, nil
}

func (x *exchange) noSuchURL() *apiError {
	return &apiError{status: 404, kind: "invalid_request_error", message: fmt.Sprintf("Invalid URL (%s %s)", x.ctx.Method(), x.path)}
}

// serves reports whether there is such a model.
func (s *Server) serves(model string) bool {
	name, _, _ := strings.Cut(model, "?")
	if s.o.Models != nil {
		return slices.Contains(s.o.Models, name)
	}
	return !strings.HasPrefix(name, "unknown")
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// openAIDialect is api.openai.com.
func openAIDialect() dialect {
	return dialect{
		shape: openAIShape(), errorType: "application/json; charset=utf-8",
		route: openAIRoute, admit: openAIAdmit, fail: openAIFail, broken: openAIBroken, stock: openAIStock, header: openAIHeader,
		streamType: sseType, garbage: openAIGarbage, split: splitSSE,
	}
}

func openAIRoute(x *exchange) (endpoint, *apiError) {
	rest, ok := strings.CutPrefix(x.path, "/v1/")
	if !ok {
		return nil, x.noSuchURL()
	}
	return x.find(rest)
}

func openAIAdmit(x *exchange) *apiError {
	want := x.s.o.APIKey
	if want == "" {
		return nil
	}
	key, ok := strings.CutPrefix(x.authorization, "Bearer ")
	e := &apiError{status: 401, kind: "invalid_request_error"}
	switch {
	case !ok || key == "":
		e.message = "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from https://platform.openai.com/account/api-keys."
	case key != want:
		e.code = "invalid_api_key"
		e.message = "Incorrect API key provided: " + masked(key) + ". You can find your API key at https://platform.openai.com/account/api-keys."
	default:
		return nil
	}
	return e
}

func masked(key string) string {
	if len(key) < 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}

func openAIFail(_ *exchange, e *apiError) []byte {
	b := append([]byte(nil), "{\n    \"error\": {\n        \"message\": "...)
	b = quote(b, e.message)
	b = append(b, ",\n        \"type\": "...)
	b = quote(b, e.kind)
	b = append(b, ",\n        \"param\": "...)
	b = quoteOrNull(b, e.param)
	b = append(b, ",\n        \"code\": "...)
	b = quoteOrNull(b, e.code)
	return append(b, "\n    }\n}\n"...)
}

// openAIBroken is one error event after which the stream ends without [DONE]; in the Responses API it is two named events.
func openAIBroken(x *exchange, e *apiError) [][]byte {
	if x.endpoint == "responses" {
		return x.brokenResponse(e)
	}
	b := append([]byte(nil), `data: {"error":{"message":`...)
	b = quote(b, e.message)
	b = append(b, `,"type":`...)
	b = quote(b, e.kind)
	b = append(b, `,"param":null,"code":null}}`...)
	return [][]byte{append(b, "\n\n"...)}
}

func openAIGarbage() [][]byte {
	return [][]byte{[]byte("data: <html>upstream hiccup</html>\n\n"), []byte("data: {\"id\":\"chatcmpl-\n\n"), []byte("data: [DONE]\n\n")}
}

func openAIStock(x *exchange, status int) *apiError {
	e := &apiError{status: status, kind: "invalid_request_error"}
	switch status {
	case 400:
		e.message = "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)"
	case 401:
		e.code, e.message = "invalid_api_key", "Incorrect API key provided: sk-fake****. You can find your API key at https://platform.openai.com/account/api-keys."
	case 403:
		e.kind, e.code, e.message = "request_forbidden", "unsupported_country_region_territory", "Country, region, or territory not supported"
	case 404:
		return noSuchModel(x)
	case 413:
		e.message = "Request too large."
	case 429:
		e.kind, e.code = "requests", "rate_limit_exceeded"
		e.message = fmt.Sprintf("Rate limit reached for %s in organization org-fake on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in %s. Visit https://platform.openai.com/account/rate-limits to learn more.", x.model, x.plan.RetryAfter)
	case 503:
		e.kind, e.message = "server_error", "The engine is currently overloaded, please try again later"
	default:
		e.kind, e.message = "server_error", "The server had an error while processing your request. Sorry about that!"
	}
	return e
}

func noSuchModel(x *exchange) *apiError {
	name, _, _ := strings.Cut(x.model, "?")
	return &apiError{status: 404, kind: "invalid_request_error", code: "model_not_found",
		message: "The model `" + name + "` does not exist or you do not have access to it."}
}

func openAIHeader(x *exchange, h *fasthttp.ResponseHeader) {
	x.requestID(h)
	h.SetCanonical([]byte("openai-organization"), []byte("org-fake"))
	h.SetCanonical([]byte("openai-processing-ms"), []byte("7"))
	h.SetCanonical([]byte("openai-version"), []byte("2020-10-01"))
	h.SetCanonical([]byte("x-ratelimit-limit-requests"), []byte("500"))
	h.SetCanonical([]byte("x-ratelimit-remaining-requests"), []byte("499"))
	h.SetCanonical([]byte("x-ratelimit-reset-requests"), []byte("120ms"))
	h.SetServer("cloudflare")
}

// requestID is different for each request, unlike everything else.
func (x *exchange) requestID(h *fasthttp.ResponseHeader) {
	var buf [32]byte
	b := append(buf[:0], "req_fake"...)
	b = strconv.AppendInt(b, x.number, 10)
	h.SetCanonical([]byte("x-request-id"), b)
}
