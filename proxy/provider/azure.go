package provider

import (
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"
)

// azureRequest addresses Azure OpenAI. With an api_version, calls go to a deployment, which the target's model names;
// without one they go to the v1 API, which is OpenAI's under another path.
// https://learn.microsoft.com/azure/ai-foundry/openai/reference
func azureRequest(c *Client, h *host, call *Call, req *fasthttp.Request) error {
	req.Header.SetCanonical([]byte("Api-Key"), []byte(c.cfg.APIKey.Reveal()))
	if c.cfg.APIVersion == "" {
		setURI(req, azureRoot(h.prefix)+"/v1", call.path, call.query)
		return nil
	}
	query := []byte("api-version=" + url.QueryEscape(c.cfg.APIVersion))
	if len(call.query) > 0 {
		query = append(append(query, '&'), call.query...)
	}
	prefix := azureRoot(h.prefix)
	if byDeployment(call.path) {
		prefix += "/deployments/" + url.PathEscape(call.Model)
	}
	setURI(req, prefix, call.path, query)
	return nil
}

// azureRoot accepts base URLs with and without the API's own path.
func azureRoot(prefix string) string {
	prefix = strings.TrimSuffix(prefix, "/v1")
	if strings.HasSuffix(prefix, "/openai") {
		return prefix
	}
	return prefix + "/openai"
}

// byDeployment tells the calls that stand below a deployment from those of the whole resource.
func byDeployment(path string) bool {
	return !strings.HasPrefix(path, "/responses") && !strings.HasPrefix(path, "/models")
}
