package provider

import (
	"errors"
	"testing"

	"github.com/valyala/fasthttp"
)

// Only what is said of the key gives a target up at once: 402 and 403 are also said of a single request.
func TestRefusedKeys(t *testing.T) {
	for _, row := range []struct {
		kind, body string
		status     int
		key        bool
	}{
		{"openai", `{"error":{"message":"m","type":"invalid_request_error","code":"invalid_api_key"}}`, 401, true},
		{"openai", ``, 407, true},
		{"openai", `{"error":{"message":"m","code":"invalid_api_key"}}`, 403, true},
		{"openai", `{"error":{"message":"the input was flagged","code":403}}`, 403, false},
		{"openai", `{"error":{"message":"no access","code":"model_not_available"}}`, 403, false},
		{"openai", `{"error":{"message":"This request requires more credits, or fewer max_tokens","code":402}}`, 402, false},
		{"openai", `<html>`, 403, false},
		{"anthropic", `{"type":"error","error":{"type":"authentication_error","message":"m"}}`, 401, true},
		{"anthropic", `{"type":"error","error":{"type":"permission_error","message":"m"}}`, 403, false},
		{"anthropic", `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`, 400, true},
		{"bedrock", `{"__type":"ExpiredTokenException","message":"m"}`, 403, true},
		{"bedrock", `{"__type":"UnrecognizedClientException","message":"m"}`, 403, true},
		{"bedrock", `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"m"}`, 403, true},
		{"bedrock", `{"__type":"AccessDeniedException","message":"You don't have access to the model"}`, 403, false},
	} {
		c := clientOf(t, "sk-secret", nil)
		var head fasthttp.ResponseHeader
		e := c.refused(row.status, &head, []byte(row.body))
		switch row.kind {
		case "anthropic":
			e = anthropicFault(c, row.status, &head, []byte(row.body))
		case "bedrock":
			e = bedrockFault(c, row.status, &head, []byte(row.body))
		}
		if e.Key != row.key || e.Code != "upstream_auth" || !e.Failover {
			t.Errorf("%s: %d %s: of the key: %v, %s", row.kind, row.status, row.body, e.Key, e.Code)
		}
	}
	if e := failed(fasthttp.ErrNoFreeConns); !e.Own || failed(errors.New("reset")).Own {
		t.Error("what was never sent is not known as the gateway's own")
	}
}
