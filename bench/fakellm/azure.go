package fakellm

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

const (
	safe   = `{"hate":{"filtered":false,"severity":"safe"},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}`
	prompt = `"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"},"jailbreak":{"filtered":false,"detected":false},"self_harm":{"filtered":false,"severity":"safe"},"sexual":{"filtered":false,"severity":"safe"},"violence":{"filtered":false,"severity":"safe"}}}]`
)

// azureDialect is an Azure OpenAI resource: /openai/deployments/{deployment}/... and other /openai/ paths with an api-version, and the
// newer /openai/v1/... where the model names the deployment.
func azureDialect() dialect {
	return dialect{
		shape: &shape{
			message: `,"refusal":null,"annotations":[]`, choice: `,"content_filter_results":` + safe,
			whole: `,"system_fingerprint":null,` + prompt, chunk: `,"system_fingerprint":null`,
			delta: `,"content_filter_results":` + safe, frame: `,"content_filter_results":{}`, text: `,"content_filter_results":` + safe,
			first:        `{"choices":[],"created":0,"id":"","model":"","object":"",` + prompt + `}`,
			choicesFirst: true, obfuscation: true, usage: appendUsage,
		},
		errorType: jsonType,
		route:     azureRoute, admit: azureAdmit, fail: azureFail, broken: openAIBroken, stock: azureStock, header: azureHeader,
		streamType: sseType, garbage: openAIGarbage, split: splitSSE,
	}
}

func azureRoute(x *exchange) (endpoint, *apiError) {
	rest, ok := strings.CutPrefix(x.path, "/openai/")
	if !ok {
		return nil, azureNotFound()
	}
	if v1, ok := strings.CutPrefix(rest, "v1/"); ok {
		return azureFind(x, v1)
	}
	query, err := url.ParseQuery(x.query)
	if err != nil || query.Get("api-version") == "" {
		return nil, azureNotFound()
	}
	below, ok := strings.CutPrefix(rest, "deployments/")
	if !ok {
		return azureFind(x, rest)
	}
	name, rest, _ := strings.Cut(below, "/")
	x.params.deployment = unescape(name)
	if !x.s.serves(x.params.deployment) {
		return nil, azureStock(x, 404)
	}
	return azureFind(x, rest)
}

func azureFind(x *exchange, rest string) (endpoint, *apiError) {
	read, err := x.find(rest)
	if err != nil && err.status == 404 && x.endpoint == "" {
		return nil, azureNotFound()
	}
	return read, err
}

func azureNotFound() *apiError {
	return &apiError{status: 404, code: "404", message: "Resource not found"}
}

func azureAdmit(x *exchange) *apiError {
	want := x.s.o.APIKey
	if want == "" || x.apiKey == want || x.authorization == "Bearer "+want {
		return nil
	}
	return azureStock(x, 401)
}

// azureFail has only code and message for what the platform refuses, and OpenAI's four fields for what the model refuses.
func azureFail(x *exchange, e *apiError) []byte {
	if e.kind != "" {
		return openAIFail(x, e)
	}
	b := quote([]byte(`{"error":{"code":`), e.code)
	b = quote(append(b, `,"message":`...), e.message)
	return append(b, "}}"...)
}

func azureStock(x *exchange, status int) *apiError {
	e := &apiError{status: status, code: strconv.Itoa(status)}
	switch status {
	case 401:
		e.message = "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."
	case 403:
		e.code, e.message = "AccessDenied", "Access denied due to Virtual Network/Firewall rules."
	case 404:
		e.code, e.message = "DeploymentNotFound", "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again."
	case 429:
		e.code = "RateLimitReached"
		e.message = fmt.Sprintf("Your requests to %s in East US have exceeded the call rate limit of your current OpenAI S0 pricing tier. Please retry after %d seconds.", x.model, int(x.plan.RetryAfter.Seconds()))
	case 500:
		e.code, e.message = "InternalServerError", "The server had an error while processing your request. Sorry about that!"
	case 503:
		e.code, e.message = "ServiceUnavailable", "The server is temporarily unable to process your request. Please try again later."
	case 504:
		e.code, e.message = "Timeout", "The operation was timeout."
	default:
		return openAIStock(x, status)
	}
	return e
}

func azureHeader(x *exchange, h *fasthttp.ResponseHeader) {
	x.requestID(h)
	h.Set("apim-request-id", "00000000-0000-4000-8000-000000000001")
	h.Set("x-ms-region", "East US")
	h.Set("x-ms-rai-invoked", "true")
	h.Set("x-ratelimit-remaining-requests", "99")
	h.Set("x-ratelimit-remaining-tokens", "99998")
	if d := x.params.deployment; d != "" {
		h.Set("x-ms-deployment-name", x.model)
	}
}
