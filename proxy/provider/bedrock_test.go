package provider

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/valyala/fasthttp"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

func TestNewBedrock(t *testing.T) {
	for name, row := range map[string]struct {
		cfg    Config
		env    map[string]string
		base   string // or the error
		bearer string
		region string // that is signed for
	}{
		"region":              {Config{Region: "us-west-2"}, nil, "https://bedrock-runtime.us-west-2.amazonaws.com", "", "us-west-2"},
		"China":               {Config{Region: "cn-north-1"}, nil, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "", "cn-north-1"},
		"Europe's own":        {Config{Region: "eusc-de-east-1"}, nil, "https://bedrock-runtime.eusc-de-east-1.amazonaws.eu", "", "eusc-de-east-1"},
		"government":          {Config{Region: "us-gov-west-1"}, nil, "https://bedrock-runtime.us-gov-west-1.amazonaws.com", "", "us-gov-west-1"},
		"environment":         {Config{}, map[string]string{"AWS_REGION": "eu-west-1"}, "https://bedrock-runtime.eu-west-1.amazonaws.com", "", "eu-west-1"},
		"profile":             {Config{Profile: "work"}, nil, "https://bedrock-runtime.eu-west-2.amazonaws.com", "", "eu-west-2"},
		"config first":        {Config{Region: "us-west-2"}, map[string]string{"AWS_REGION": "eu-west-1"}, "https://bedrock-runtime.us-west-2.amazonaws.com", "", "us-west-2"},
		"base URL":            {Config{BaseURL: "https://vpce-0a1-b2.bedrock-runtime.us-east-2.vpce.amazonaws.com"}, map[string]string{"AWS_REGION": "eu-west-1"}, "", "", "us-east-2"},
		"FIPS":                {Config{BaseURL: "https://bedrock-runtime-fips.us-east-1.amazonaws.com/"}, nil, "", "", "us-east-1"},
		"other base URL":      {Config{BaseURL: "http://127.0.0.1:8080/bedrock", Region: "us-east-1"}, nil, "", "", "us-east-1"},
		"key":                 {Config{APIKey: "k", Region: "us-east-1"}, nil, "https://bedrock-runtime.us-east-1.amazonaws.com", "k", ""},
		"key, no region":      {Config{APIKey: "k", BaseURL: "http://127.0.0.1:8080"}, nil, "", "k", ""},
		"key of environment":  {Config{Region: "us-east-1"}, map[string]string{"AWS_BEARER_TOKEN_BEDROCK": "e"}, "", "e", ""},
		"key first":           {Config{Region: "us-east-1", APIKey: "k"}, map[string]string{"AWS_BEARER_TOKEN_BEDROCK": "e"}, "", "k", ""},
		"profile, not key":    {Config{Profile: "work"}, map[string]string{"AWS_BEARER_TOKEN_BEDROCK": "e"}, "", "", "eu-west-2"},
		"no region":           {Config{}, nil, "region: must be set, here, in AWS_REGION or in the profile", "", ""},
		"no region to sign":   {Config{BaseURL: "http://127.0.0.1"}, nil, "region: must be set, here, in AWS_REGION or in the profile", "", ""},
		"no region for key":   {Config{APIKey: "k"}, nil, "region: must be set, here, in AWS_REGION or in the profile", "", ""},
		"odd region":          {Config{Region: "us-east-1.evil.com/"}, nil, `region: "us-east-1.evil.com/" is not a region, such as us-east-1`, "", ""},
		"key, no profile":     {Config{APIKey: "k", BaseURL: "http://127.0.0.1", Profile: "none"}, nil, "", "k", ""},
		"profile not there":   {Config{Profile: "none"}, nil, "profile: failed to get shared config profile, none", "", ""},
		"region of the files": {Config{}, map[string]string{"AWS_PROFILE": "work"}, "https://bedrock-runtime.eu-west-2.amazonaws.com", "", "eu-west-2"},
	} {
		t.Run(name, func(t *testing.T) {
			home := bareAWS(t)
			write(t, filepath.Join(home, "config"), "[profile work]\nregion=eu-west-2\n")
			for k, v := range row.env {
				t.Setenv(k, v)
			}
			b, err := newBedrock(row.cfg)
			if err != nil {
				if err.Error() != row.base {
					t.Error(err)
				}
				return
			}
			defer b.Close()
			if row.base != "" && b.base != row.base || b.bearer != row.bearer || b.signer.region != row.region || (b.credentials == nil) != (row.bearer != "") {
				t.Errorf("%s, bearer %q, region %q", b.base, b.bearer, b.signer.region)
			}
		})
	}
}

func bedrockOf(t *testing.T, cfg Config, creds aws.Credentials) (*Client, *host) {
	t.Helper()
	b := &bedrock{bearer: cfg.APIKey.Reveal()}
	if b.bearer == "" {
		b.signer.service, b.signer.region = "bedrock", "us-east-1"
		b.credentials = newAWSCredentials(func(context.Context) (aws.Credentials, error) { return creds, nil })
		t.Cleanup(b.Close)
	}
	base, _ := url.Parse("https://bedrock-runtime.us-east-1.amazonaws.com")
	cfg.Kind = "bedrock"
	return &Client{cfg: cfg, bedrock: b}, &host{base: base}
}

// onWire is a request as it goes out, and is read again by a server.
func onWire(t *testing.T, req *fasthttp.Request) (line string, seen *fasthttp.RequestHeader) {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := errors.Join(req.Write(w), w.Flush()); err != nil {
		t.Fatal(err)
	}
	line, _, _ = strings.Cut(out.String(), "\r\n")
	seen = &fasthttp.RequestHeader{}
	if err := seen.Read(bufio.NewReader(&out)); err != nil {
		t.Fatal(err)
	}
	return line, seen
}

func TestBedrockRequest(t *testing.T) {
	const arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2"
	signed := exampleKeys
	signed.SessionToken = "token"
	for _, row := range []struct {
		model, prefix, line string
		stream, count       bool
		key                 wire.Secret
	}{
		{"anthropic.claude-sonnet-4-5-20250929-v1:0", "", "POST /model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse HTTP/1.1", false, false, ""},
		{arn, "", "POST /model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2/converse-stream HTTP/1.1", true, false, ""},
		{"a/../b%2F c?d#é", "/via", "POST /via/model/a%2F..%2Fb%252F%20c%3Fd%23%C3%A9/converse HTTP/1.1", false, false, ""},
		{"m", "", "POST /model/m/count-tokens HTTP/1.1", false, true, ""},
		{"m", "", "POST /model/m/converse-stream HTTP/1.1", true, false, "bedrock-api-key"},
	} {
		c, h := bedrockOf(t, Config{APIKey: row.key, Headers: map[string]string{"x-team": "ours"}}, signed)
		h.prefix = row.prefix
		call := bedrockCallOf(row.model, row.stream)
		call.Count, call.Query, call.foreign = row.count, []byte("beta=true"), true
		for k, v := range map[string]string{"Anthropic-Beta": "b", "User-Agent": "sdk/1", "X-Stainless-Lang": "js", "X-Team": "theirs", "Accept": "text/html", "Content-Type": "text/plain"} {
			call.Header.Set(k, v)
		}
		var req fasthttp.Request
		req.Header.SetMethod("POST")
		c.headers(call, &req)
		req.Header.SetHost(h.base.Host)
		req.SetBodyString(`{"messages":[]}`)
		if err := bedrockRequest(c, h, call, &req); err != nil {
			t.Fatal(err)
		}
		line, seen := onWire(t, &req)
		if line != row.line {
			t.Errorf("%s, want %s", line, row.line)
		}
		authorization := "Bearer bedrock-api-key"
		if row.key == "" {
			at, err := time.Parse(signTime, string(seen.Peek("X-Amz-Date")))
			if err != nil || time.Since(at).Abs() > time.Minute {
				t.Errorf("dated %s", seen.Peek("X-Amz-Date"))
			}
			authorization = awsSigns(t, &req, signed, "us-east-1", at)
		}
		accept := "application/json"
		if row.stream {
			accept = "application/vnd.amazon.eventstream"
		}
		for k, want := range map[string]string{"Authorization": authorization, "Accept": accept, "Content-Type": "application/json", "User-Agent": "sdk/1",
			"X-Team": "ours", "Anthropic-Beta": "", "X-Stainless-Lang": "", "Host": h.base.Host} {
			if got := string(seen.Peek(k)); got != want {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
	}
}

// Waiting for credentials ends with the attempt's time, and when the client leaves.
func TestBedrockWaitsNoLongerThanTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, h := bedrockOf(t, Config{}, aws.Credentials{})
		s := &searches{took: time.Hour}
		c.bedrock.credentials = newAWSCredentials(s.load)
		defer c.bedrock.Close()
		ask := func(call *Call) error {
			var req fasthttp.Request
			return bedrockRequest(c, h, call, &req)
		}
		slow := bedrockCallOf("m", true)
		slow.Timeout.FirstToken = 3 * time.Second
		if err := ask(slow); failed(err).Status != 504 || time.Since(slow.Begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(slow.Begun))
		}
		left := bedrockCallOf("m", false)
		go func() {
			time.Sleep(time.Second)
			left.Abort.Fire()
		}()
		if err := ask(left); err != ErrAborted || time.Since(left.Begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(left.Begun))
		}
		if err := ask(left); err != ErrAborted {
			t.Errorf("%v of a call that was called off", err)
		}
	})
}

// faultRow is what one error of a provider becomes.
type faultRow struct {
	status     int
	name, body string
	want       int
	code       string
	failover   bool
	message    string // that the client sees, "" for one of the gateway's own
}

func (row faultRow) check(t *testing.T, e *wire.Error) {
	t.Helper()
	if e.Status != row.want || e.Code != row.code || e.Failover != row.failover || e.Raw != nil || e.Err == nil {
		t.Errorf("%d %s %s: %+v", row.status, row.name, row.body, e)
	}
	switch {
	case row.message != "" && (e.Message != row.message || e.Type != wire.TypeInvalid):
		t.Errorf("%d %s: %s %q, want %q", row.status, row.name, e.Type, e.Message, row.message)
	case row.message == "" && (strings.Contains(e.Message, "theirs") || e.Message == "" || e.Type == wire.TypeInvalid):
		t.Errorf("%d %s: %s %q", row.status, row.name, e.Type, e.Message)
	}
	if shown := string(e.AppendJSON(nil)); strings.Contains(shown, "123456789012") || strings.Contains(shown, "sk-secret") {
		t.Errorf("%d %s shows %s", row.status, row.name, shown)
	}
	if logged := e.Error(); strings.Contains(logged, "FwoG") || strings.Contains(logged, "sk-secret") {
		t.Errorf("%d %s logs %s", row.status, row.name, logged)
	}
}

func TestBedrockFault(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	c.cfg.Kind = "bedrock"
	for _, row := range []faultRow{
		{403, "AccessDeniedException", `{"Message":"theirs: User: arn:aws:iam::123456789012:user/x is not authorized"}`, 502, "upstream_auth", true, ""},
		{403, "AccessDeniedException", `{"message":"theirs: You don't have access to the model with the specified model ID."}`, 502, "upstream_auth", true, ""},
		{403, "UnrecognizedClientException", `{"message":"theirs"}`, 502, "upstream_auth", true, ""},
		{403, "ExpiredTokenException", `{"message":"theirs"}`, 502, "upstream_auth", true, ""},
		{403, "InvalidSignatureException", `{"message":"theirs\nx-amz-security-token:FwoG==\n"}`, 502, "upstream_auth", true, ""},
		{400, "IncompleteSignatureException", `{"message":"theirs"}`, 502, "upstream_auth", true, ""},
		{403, "MissingAuthenticationTokenException", `{"message":"theirs"}`, 502, "upstream_auth", true, ""},
		{404, "ResourceNotFoundException", `{"message":"no arn:aws:bedrock:us-east-1:123456789012:x/y"}`, 404, "model_not_found", false, "no [hidden]"},
		{404, "UnknownOperationException", `{"message":"theirs"}`, 502, "upstream_error", true, ""},
		{400, "ValidationException", `{"message":"maxTokens of account 123456789012 and sk-secret is too large"}`, 400, "", false, "maxTokens of account [hidden] and [hidden] is too large"},
		{400, "ValidationException", `{"message":"The model returned the following errors: Input is too long for requested model."}`, 400, "context_length_exceeded", false, "The model returned the following errors: Input is too long for requested model."},
		{400, "ValidationException", `{"message":"Invocation of model ID m with on-demand throughput isn’t supported. theirs"}`, 502, "upstream_config", true, ""},
		{400, "ValidationException", `{"message":"Retry with an inference profile theirs"}`, 502, "upstream_config", true, ""},
		{400, "ValidationException", `{"message":"The provided model identifier is invalid."}`, 404, "model_not_found", false, "The provided model identifier is invalid."},
		{400, "ValidationException", `{"message":"Operation not allowed theirs"}`, 502, "upstream_auth", true, ""},
		{400, "ValidationException", `{}`, 400, "", false, refusedText},
		{413, "", `too large`, 413, "request_too_large", false, refusedText},
		{429, "ThrottlingException", `{"message":"theirs"}`, 429, "upstream_rate_limited", true, ""},
		{400, "ThrottlingException", `{"message":"theirs"}`, 429, "upstream_rate_limited", true, ""},
		{400, "ServiceQuotaExceededException", `{"message":"theirs"}`, 429, "upstream_rate_limited", true, ""},
		{429, "ModelNotReadyException", `{"message":"theirs"}`, 503, "upstream_overloaded", true, ""},
		{408, "ModelTimeoutException", `{"message":"theirs"}`, 504, "timeout", true, ""},
		{424, "ModelErrorException", `{"message":"theirs","originalStatusCode":400}`, 502, "upstream_error", true, ""},
		{500, "InternalServerException", `{"message":"theirs"}`, 502, "upstream_error", true, ""},
		{503, "ServiceUnavailableException", `{"message":"theirs"}`, 502, "upstream_error", true, ""},
		{400, "ConflictException", `{"message":"m"}`, 409, "", false, "m"},
		{418, "NewException", `{"message":"m"}`, 418, "", false, "m"},
		{429, "NewException", `theirs`, 429, "upstream_rate_limited", true, ""},
		{403, "", `<html>theirs</html>`, 502, "upstream_auth", true, ""},
		{504, "", ``, 504, "timeout", true, ""},
		{302, "", `theirs`, 502, "upstream_error", true, ""},
	} {
		// The name comes in a header, with and without an address behind it, or in the body.
		for _, where := range []string{"header", "address", "body"} {
			var head fasthttp.ResponseHeader
			body := row.body
			switch {
			case where == "header":
				head.Set("x-amzn-ErrorType", row.name)
			case where == "address":
				head.Set("x-amzn-ErrorType", row.name+":http://internal.amazon.com/coral/com.amazon.bedrock/")
			case strings.HasPrefix(body, "{"):
				body = `{"__type":"com.amazon.coral.service#` + row.name + `",` + body[1:]
				body = strings.Replace(body, ",}", "}", 1)
			default:
				continue
			}
			row.check(t, bedrockFault(c, row.status, &head, []byte(body)))
		}
	}
	var head fasthttp.ResponseHeader
	head.Set("Retry-After", "7")
	if e := bedrockFault(c, 429, &head, nil); e.Retry != 7*time.Second {
		t.Errorf("%+v", e)
	}
}

// The same errors inside a stream have a name only, which begins in lower case.
func TestBedrockStreamFailure(t *testing.T) {
	c := clientOf(t, "sk-secret", nil)
	c.cfg.Kind = "bedrock"
	for _, row := range []faultRow{
		{0, "throttlingException", "theirs", 429, "upstream_rate_limited", true, ""},
		{429, "throttlingException", "theirs", 429, "upstream_rate_limited", true, ""},
		{0, "validationException", "m of 123456789012", 400, "", false, "m of [hidden]"},
		{400, "validationException", "prompt is too long: 9 > 8", 400, "context_length_exceeded", false, "prompt is too long: 9 > 8"},
		{424, "modelStreamErrorException", "theirs", 502, "upstream_error", true, ""},
		{0, "modelTimeoutException", "theirs", 504, "timeout", true, ""},
		{0, "internalServerException", "theirs", 502, "upstream_error", true, ""},
		{503, "serviceUnavailableException", "theirs", 502, "upstream_error", true, ""},
		{0, "", "theirs", 502, "upstream_error", true, ""},
		{200, "newException", "theirs", 502, "upstream_error", true, ""},
	} {
		row.check(t, c.translatedFailure(&dialect.Failure{Status: row.status, Type: row.name, Message: row.body}))
	}
}

// An answer that the credentials are of no use any more makes the next request look for others.
func TestBedrockRefusalRenewsCredentials(t *testing.T) {
	for name, renewed := range map[string]bool{"ExpiredTokenException": true, "UnrecognizedClientException": true, "InvalidSignatureException": true,
		"AccessDeniedException": false, "ThrottlingException": false} {
		c, _ := bedrockOf(t, Config{}, exampleKeys)
		now := time.Now()
		c.bedrock.credentials.now = func() time.Time { return now }
		if _, err := c.bedrock.credentials.get(t.Context()); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		var head fasthttp.ResponseHeader
		head.Set("x-amzn-ErrorType", name)
		bedrockFault(c, 403, &head, nil)
		if got := c.bedrock.credentials.ready() == nil; got != renewed {
			t.Errorf("%s: renewed %v", name, got)
		}
	}
}
