package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/wire"
)

// bedrock is how a provider of kind bedrock is reached: with a bearer token, or by signing each request.
// https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
type bedrock struct {
	base        string // where it is when the config does not say
	region      string
	bearer      string // a Bedrock API key; "" to sign
	signer      signer
	credentials *awsCredentials // nil with a bearer token
}

// newBedrock finds the region and the means to be let in. The API key is cfg's or, unless a profile is named, that of the
// environment.
func newBedrock(cfg Config) (*bedrock, error) {
	b := &bedrock{bearer: cfg.APIKey.Reveal()}
	if b.bearer == "" && cfg.Profile == "" {
		b.bearer = os.Getenv("AWS_BEARER_TOKEN_BEDROCK")
	}
	region := cmp.Or(cfg.Region, regionIn(cfg.BaseURL))
	if region == "" && cfg.BaseURL != "" && b.bearer != "" { // nothing asks for it
		return b, nil
	}
	if region == "" {
		var err error
		if region, err = awsRegion(cfg.Profile); err != nil {
			return nil, err
		}
	}
	switch {
	case region == "":
		return nil, errors.New("region: must be set, here, in AWS_REGION or in the profile")
	case !regional(region):
		return nil, fmt.Errorf("region: %q is not a region, such as us-east-1", region)
	}
	b.region = region
	b.base = "https://bedrock-runtime." + region + awsDomain(region)
	if b.bearer == "" {
		b.signer.service, b.signer.region = "bedrock", region
		b.credentials = newAWSCredentials(awsChain(cfg.Profile, region))
	}
	return b, nil
}

// Close ends the search for credentials, if one is under way.
func (b *bedrock) Close() {
	if b.credentials != nil {
		b.credentials.Close()
	}
}

// regionIn finds the region in the name of one of Bedrock's own hosts: bedrock-runtime.us-east-1.amazonaws.com,
// vpce-0a1.bedrock-runtime.us-east-1.vpce.amazonaws.com.
func regionIn(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	_, after, found := strings.Cut(u.Hostname(), "bedrock-runtime")
	after = strings.TrimPrefix(after, "-fips")
	if !found || !strings.HasPrefix(after, ".") {
		return ""
	}
	region, _, _ := strings.Cut(after[1:], ".")
	return region
}

// awsDomain is the domain of a region's part of AWS.
func awsDomain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return ".amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return ".amazonaws.eu"
	}
	return ".amazonaws.com"
}

// bedrockRequest addresses the Converse API.
func bedrockRequest(c *Client, h *host, call *Call, req *fasthttp.Request) error {
	var space [256]byte
	target := append(append(space[:0], h.prefix...), "/model/"...)
	target = appendEscaped(target, call.Model, 0)
	accept := typeJSON
	switch {
	case call.Count:
		target = append(target, "/count-tokens"...)
	case call.Stream:
		target, accept = append(target, "/converse-stream"...), typeFrames
	default:
		target = append(target, "/converse"...)
	}
	req.Header.SetRequestURIBytes(target)
	req.Header.SetContentTypeBytes(typeJSON)
	req.Header.SetCanonical([]byte(fasthttp.HeaderAccept), accept)
	if len(req.Header.UserAgent()) == 0 {
		req.Header.SetUserAgent(userAgent)
	}
	return c.bedrock.authorise(call, req)
}

func (b *bedrock) authorise(call *Call, req *fasthttp.Request) error {
	if b.bearer != "" {
		req.Header.SetCanonical(headerAuthorization, []byte("Bearer "+b.bearer))
		return nil
	}
	creds := b.credentials.ready()
	if creds == nil {
		var err error
		if creds, err = b.await(call); err != nil {
			return err
		}
	}
	b.signer.sign(req, creds, time.Now())
	return nil
}

// await waits for credentials as long as the attempt may take, unless the client leaves.
func (b *bedrock) await(call *Call) (*aws.Credentials, error) {
	limit := call.Timeout.Total
	if call.Stream {
		limit = min(limit, call.Timeout.FirstToken)
	}
	ctx, cancel := context.WithDeadline(context.Background(), call.Begun.Add(limit))
	defer cancel()
	if !call.Abort.Hold(stop(cancel)) {
		return nil, ErrAborted
	}
	creds, err := b.credentials.get(ctx)
	if !call.Abort.LetGo() {
		return nil, ErrAborted
	}
	return creds, err
}

// bedrockStatus is the status of Bedrock's errors by their names in lower case, without "Exception". Where AWS's own
// differs, it is the one that says what to do: a model that is not ready is asked again, as an overloaded one.
var bedrockStatus = map[string]int{
	"accessdenied": 403, "unrecognizedclient": 403, "expiredtoken": 403, "invalidsignature": 403, "signaturedoesnotmatch": 403,
	"incompletesignature": 403, "missingauthenticationtoken": 403, "invalidclienttokenid": 403, "requestexpired": 403, "notauthorized": 403,
	"resourcenotfound": 404, "validation": 400, "conflict": 409,
	"throttling": 429, "toomanyrequests": 429, "servicequotaexceeded": 429, "modelnotready": statusOverloaded,
	"modeltimeout": 408, "modelerror": 424, "modelstreamerror": 424, "internalserver": 500, "internalfailure": 500, "serviceunavailable": 503,
	"unknownoperation": 502, // the base URL is wrong
}

// bedrockFault reads an error answer of Bedrock: the error's name is in a header or in the body.
func bedrockFault(c *Client, status int, head *fasthttp.ResponseHeader, body []byte) *wire.Error {
	var fields gjson.Result
	if len(body) <= maxErrorText*16 && gjson.ValidBytes(body) {
		fields = gjson.ParseBytes(body)
	}
	name := cmp.Or(string(head.Peek("X-Amzn-Errortype")), fields.Get("__type").String(), fields.Get("code").String())
	message := cmp.Or(fields.Get("message").String(), fields.Get("Message").String())
	kind, _, _ := strings.Cut(name[strings.LastIndexByte(name, '#')+1:], ":")
	return c.bedrockError(status, name, message, head, &refusal{status: status, kind: kind})
}

// bedrockError turns an error of this name into what the client sees.
func (c *Client) bedrockError(status int, name, message string, head *fasthttp.ResponseHeader, cause error) *wire.Error {
	// "ThrottlingException:http://internal.amazon.com/coral/...", "com.amazon.coral.service#ThrottlingException"
	name, _, _ = strings.Cut(name[strings.LastIndexByte(name, '#')+1:], ":")
	name = strings.TrimSuffix(strings.ToLower(name), "exception")
	if known := bedrockStatus[name]; known != 0 {
		status = known
	}
	switch name {
	case "unrecognizedclient", "expiredtoken", "invalidsignature", "invalidclienttokenid":
		if c.bedrock != nil && c.bedrock.credentials != nil {
			c.bedrock.credentials.refused()
		}
	case "validation":
		switch {
		case strings.Contains(message, "on-demand throughput") || strings.Contains(message, "inference profile"):
			return misconfigured(cause)
		case strings.Contains(message, "model identifier is invalid"):
			status = 404
		case strings.Contains(message, "Operation not allowed"): // the account may not use the model
			status = 403
		}
	}
	return c.blame(status, message, head, cause)
}

// misconfigured is for a model that can be had, but under another name.
func misconfigured(cause error) *wire.Error {
	e := wire.Server(fasthttp.StatusBadGateway, "upstream_config",
		"The model provider serves this model through an inference profile only: the operator must name one as the target's model.", cause)
	e.Failover = true
	return e
}
