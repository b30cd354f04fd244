package provider

import "github.com/valyala/fasthttp"

// openaiRequest addresses OpenAI itself and every server that speaks its API.
// https://platform.openai.com/docs/api-reference
func openaiRequest(c *Client, h *host, call *Call, req *fasthttp.Request) error {
	setURI(req, h.prefix, call.path, call.query)
	if c.bearer != "" {
		req.Header.SetCanonical([]byte(fasthttp.HeaderAuthorization), []byte(c.bearer))
	}
	return nil
}

// setURI writes the request target as it goes over the wire: fasthttp's own URI would unescape parts of the path.
func setURI(req *fasthttp.Request, prefix, path string, query []byte) {
	var space [256]byte
	uri := append(append(space[:0], prefix...), path...)
	if len(query) > 0 {
		uri = append(append(uri, '?'), query...)
	}
	req.Header.SetRequestURIBytes(uri)
}
