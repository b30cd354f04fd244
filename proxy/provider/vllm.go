package provider

import (
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// vllmRequest addresses one replica of a vLLM server. Replicas are written without the API's path, as vLLM prints them.
// https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
func vllmRequest(c *Client, h *host, call *Call, req *fasthttp.Request) error {
	prefix := h.prefix
	if prefix == "" {
		prefix = "/v1"
	}
	setURI(req, prefix, call.path, call.query)
	if c.bearer != "" {
		req.Header.SetCanonical([]byte(fasthttp.HeaderAuthorization), []byte(c.bearer))
	}
	return nil
}

// vllmFault reads vLLM's errors. A model that this replica does not serve is a 404 with the type NotFoundError: for the
// client that is OpenAI's model_not_found. All else differs from OpenAI in form only.
func vllmFault(c *Client, status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error {
	e := c.refused(status, head, body)
	if e.Status == fasthttp.StatusNotFound && e.Code == "" {
		e.Code, e.Param, e.Raw = "model_not_found", "model", nil
	}
	return e
}
