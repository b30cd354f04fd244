package fakellm

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// vllmDialect is a vLLM server.
func vllmDialect() dialect {
	return dialect{
		shape: &shape{
			message:   `,"refusal":null,"annotations":null,"audio":null,"function_call":null`,
			noCalls:   `,"tool_calls":[]`,
			mute:      `,"reasoning_content":null`,
			choice:    `,"stop_reason":null,"token_ids":null`,
			whole:     `,"service_tier":null,"system_fingerprint":null`,
			delta:     `,"token_ids":null`,
			frame:     `,"stop_reason":null`,
			text:      `,"stop_reason":null,"prompt_logprobs":null`,
			reasoning: "reasoning_content", usageByDefault: true, usage: vllmUsage,
		},
		errorType: jsonType,
		route:     vllmRoute, admit: vllmAdmit, fail: vllmFail, broken: vllmBroken, stock: vllmStock, header: vllmHeader,
		streamType: sseType, garbage: openAIGarbage, split: splitSSE,
	}
}

func vllmRoute(x *exchange) (endpoint, *apiError) {
	switch x.path {
	case "/health", "/ping":
		return x.method(http.MethodGet, func(*exchange) (render, *apiError) {
			return func(*exchange) (answer, *apiError) { return answer{ctype: jsonType, body: []byte{}}, nil }, nil
		})
	case "/metrics":
		return x.method(http.MethodGet, readMetrics)
	case "/version":
		return x.method(http.MethodGet, func(*exchange) (render, *apiError) {
			return func(*exchange) (answer, *apiError) {
				return answer{ctype: jsonType, body: []byte(`{"version":"0.11.0"}`)}, nil
			}, nil
		})
	case "/tokenize":
		return x.method(http.MethodPost, readTokenize)
	case "/rerank", "/v2/rerank":
		x.endpoint = "rerank"
		return x.method(http.MethodPost, readRerank)
	}
	rest, ok := strings.CutPrefix(x.path, "/v1/")
	if !ok {
		return nil, x.noSuchURL()
	}
	return x.find(rest)
}

// vllmAdmit guards /v1 only, as vLLM does.
func vllmAdmit(x *exchange) *apiError {
	want := x.s.o.APIKey
	if want == "" || !strings.HasPrefix(x.path, "/v1") || x.authorization == "Bearer "+want {
		return nil
	}
	return vllmStock(x, 401)
}

func vllmFail(x *exchange, e *apiError) []byte {
	switch {
	case e.status == 401:
		return []byte(`{"error":"Unauthorized"}`)
	case e.status == 405 || e.status == 404 && x.endpoint == "":
		return []byte(`{"detail":"` + http.StatusText(e.status) + `"}`)
	case x.s.o.FlatErrors:
		return append(vllmError([]byte(`{"object":"error",`), e), '}')
	}
	return append(vllmError([]byte(`{"error":{`), e), "}}"...)
}

// vllmError appends the fields of an error; its code is a number.
func vllmError(b []byte, e *apiError) []byte {
	b = quote(append(b, `"message":`...), e.message)
	b = quote(append(b, `,"type":`...), vllmType(e.status))
	b = quoteOrNull(append(b, `,"param":`...), e.param)
	return append(append(b, `,"code":`...), strconv.Itoa(e.status)...)
}

func vllmType(status int) string {
	switch {
	case status == 404:
		return "NotFoundError"
	case status == 429:
		return "TooManyRequestsError"
	case status >= 500:
		return "InternalServerError"
	}
	return "BadRequestError"
}

// vllmBroken is how vLLM fails in a stream: an error event, then [DONE] as if all were well.
func vllmBroken(x *exchange, e *apiError) [][]byte {
	if x.endpoint == "responses" {
		return x.brokenResponse(e)
	}
	b := []byte(`data: {"error":{`)
	if x.s.o.FlatErrors {
		b = append(b, `"object":"error",`...)
	}
	b = append(vllmError(b, e), "}}\n\n"...)
	return [][]byte{b, []byte("data: [DONE]\n\n")}
}

func vllmStock(x *exchange, status int) *apiError {
	e := &apiError{status: status}
	switch status {
	case 400:
		e.message = "[{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error', 'input': {}, 'ctx': {'error': 'Expecting value'}}]"
	case 404:
		e.message = noSuchModel(x).message
	case 429:
		e.message = "Too many requests"
	case 503:
		e.message = "The engine is overloaded"
	default:
		e.message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
	}
	return e
}

func vllmHeader(_ *exchange, h *fasthttp.ResponseHeader) { h.SetServer("uvicorn") }

func vllmUsage(dst []byte, u Usage) []byte {
	dst = appendInt(append(dst, `{"prompt_tokens":`...), u.Prompt)
	dst = appendInt(append(dst, `,"total_tokens":`...), u.Prompt+u.Completion)
	dst = appendInt(append(dst, `,"completion_tokens":`...), u.Completion)
	if u.Cached == 0 {
		return append(dst, `,"prompt_tokens_details":null}`...)
	}
	dst = appendInt(append(dst, `,"prompt_tokens_details":{"cached_tokens":`...), u.Cached)
	return append(dst, "}}"...)
}

// promptProbs are n candidates for each of two pretended prompt tokens, the first of which has none.
func promptProbs(b []byte, n int) []byte {
	if n < 0 {
		return append(b, "null"...)
	}
	b = append(b, `[null,{`...)
	for i := range n + 1 {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendInt(append(b, '"'), 1000+i), `":{"logprob":`...)
		b = appendInt(append(appendFloat(b, -0.5-float64(i)), `,"rank":`...), i+1)
		b = append(b, `,"decoded_token":" the"}`...)
	}
	return append(b, "}]"...)
}

func promptIDs(b []byte, x *exchange, wanted bool) []byte {
	if !wanted {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range x.bill.Prompt {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInt(b, 1000+i)
	}
	return append(b, ']')
}

func readTokenize(x *exchange) (render, *apiError) {
	x.endpoint = "tokenize"
	var text string
	err := x.object(nil, func(key string, v gjson.Result) {
		if key == "prompt" {
			text = v.Str
		}
	})
	return func(x *exchange) (answer, *apiError) {
		n := tokensOf(text)
		b := appendInt([]byte(`{"count":`), n)
		b = append(b, `,"max_model_len":32768,"tokens":[`...)
		for i := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendInt(b, 1000+i)
		}
		return answer{ctype: jsonType, body: append(b, `],"token_strs":null}`...)}, nil
	}, err
}
