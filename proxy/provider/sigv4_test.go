package provider

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/valyala/fasthttp"
)

// exampleKeys are those of AWS's test suite.
var exampleKeys = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}

// vector is one request of the suite.
type vector struct {
	method, target, query string
	headers               []signedHeader
	body                  []byte
}

func readVector(t *testing.T, raw []byte) (v vector) {
	t.Helper()
	head, body, _ := bytes.Cut(raw, []byte("\n\n"))
	v.body = bytes.TrimSuffix(body, []byte("\n"))
	lines := strings.Split(strings.TrimSuffix(string(head), "\n"), "\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	rest = strings.TrimSuffix(rest, " HTTP/1.1")
	v.method = method
	v.target, v.query, _ = strings.Cut(rest, "?")
	for _, line := range lines[1:] {
		if line[0] == ' ' { // a folded header goes on
			v.headers[len(v.headers)-1].value += line
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		v.headers = append(v.headers, signedHeader{strings.ToLower(name), value})
	}
	slices.SortStableFunc(v.headers, func(a, b signedHeader) int { return cmp.Compare(a.name, b.name) })
	return v
}

// header is the first value of a header in a raw request.
func headerIn(raw []byte, name string) string {
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// AWS's test suite: each canonical request, string to sign and signature.
func TestSigV4Suite(t *testing.T) {
	dir := filepath.Join(cmp.Or(os.Getenv("JARVIS_SHARED"), filepath.Join("..", "..", "..", "shared")), "data", "sigv4-testsuite")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no test suite: %v (JARVIS_SHARED names the folder that holds data/)", err)
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".req") {
			return err
		}
		n++
		t.Run(filepath.Base(path), func(t *testing.T) { signVector(t, strings.TrimSuffix(path, ".req")) })
		return nil
	})
	if err != nil || n < 26 {
		t.Fatalf("%d vectors, %v", n, err)
	}
}

func signVector(t *testing.T, stem string) {
	read := func(kind string) []byte {
		raw, err := os.ReadFile(stem + kind)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	v, creds := readVector(t, read(".req")), exampleKeys
	if wanted := string(read(".creq")); strings.Contains(wanted, "x-amz-security-token:") && !strings.Contains(string(read(".req")), "X-Amz-Security-Token") {
		v.headers = append(v.headers, signedHeader{"x-amz-security-token", headerIn(read(".sreq"), "x-amz-security-token")})
	}
	s := &signer{service: "service", region: "us-east-1"}
	const date = "20150830T123600Z"
	canonical := appendCanonical(nil, v.method, v.target, v.query, v.headers, sha256.Sum256(v.body))
	if want := read(".creq"); !bytes.Equal(canonical, want) {
		t.Fatalf("canonical request\n%s\nwant\n%s", canonical, want)
	}
	text := s.appendStringToSign(nil, date, sha256.Sum256(canonical))
	if want := read(".sts"); !bytes.Equal(text, want) {
		t.Fatalf("string to sign\n%s\nwant\n%s", text, want)
	}
	if got, want := s.appendAuthorization(nil, &creds, date, v.headers, text), read(".authz"); !bytes.Equal(got, want) {
		t.Fatalf("authorization\n%s\nwant\n%s", got, want)
	}
}

// awsSigns is the Authorization that AWS's own library makes for a request.
func awsSigns(t *testing.T, req *fasthttp.Request, creds aws.Credentials, region string, now time.Time) string {
	t.Helper()
	body := sha256.Sum256(req.Body())
	theirs, err := http.NewRequestWithContext(context.Background(), string(req.Header.Method()), "https://"+string(req.Header.Host())+string(req.Header.RequestURI()), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if ct := string(req.Header.ContentType()); ct != "" {
		theirs.Header.Set("Content-Type", ct)
	}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, theirs, hex.EncodeToString(body[:]), "bedrock", region, now); err != nil {
		t.Fatal(err)
	}
	return theirs.Header.Get("Authorization")
}

func bedrockCallOf(model string, stream bool) *Call {
	call := &Call{Method: "POST", Model: model, Stream: stream, Header: &fasthttp.RequestHeader{}, Abort: &Abort{}, Begun: time.Now()}
	call.Timeout.Total, call.Timeout.FirstToken = time.Minute, time.Minute
	return call
}

// Bedrock's paths hold names with escapes, and sign to the same as with AWS's library, also on a later day and with
// another secret.
func TestSignAsAWS(t *testing.T) {
	s := &signer{service: "bedrock", region: "eu-central-1"}
	long := exampleKeys
	long.SecretAccessKey, long.SessionToken = "another/secret", strings.Repeat("FwoGZXIvYXdzE//+=", 90)
	begin := time.Date(2026, 7, 1, 23, 59, 59, 0, time.FixedZone("CEST", 2*3600))
	for _, model := range []string{
		"anthropic.claude-sonnet-4-5-20250929-v1:0", "eu.amazon.nova-pro-v1:0", "a b+c%2Fd~é",
		"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
		"arn:aws-cn:bedrock:cn-north-1:123456789012:provisioned-model/abc/def",
	} {
		for day, creds := range []aws.Credentials{exampleKeys, long, exampleKeys} {
			now := begin.Add(time.Duration(day) * 24 * time.Hour)
			for _, body := range []string{"", `{"messages":[]}`} {
				var req fasthttp.Request
				req.Header.SetMethod("POST")
				req.Header.SetHost("bedrock-runtime.eu-central-1.amazonaws.com")
				req.Header.SetRequestURIBytes(append(appendEscaped([]byte("/prefix/model/"), model, 0), "/converse"...))
				req.SetBodyString(body)
				if body != "" {
					req.Header.SetContentType("application/json")
				}
				s.sign(&req, &creds, now)
				if got, want := string(req.Header.Peek("Authorization")), awsSigns(t, &req, creds, "eu-central-1", now); got != want {
					t.Errorf("%s:\n%s, want\n%s", model, got, want)
				}
				if string(req.Header.Peek("X-Amz-Security-Token")) != creds.SessionToken {
					t.Errorf("%s: token %q", model, req.Header.Peek("X-Amz-Security-Token"))
				}
			}
		}
	}
}

func TestSigningKeyIsKept(t *testing.T) {
	s := &signer{service: "bedrock", region: "us-east-1"}
	one := s.keyOf("secret", "20260701")
	if again := s.keyOf("secret", "20260701"); &again[0] != &one[0] {
		t.Error("derived twice")
	}
	if bytes.Equal(s.keyOf("secret", "20260702"), one) || bytes.Equal(s.keyOf("other", "20260701"), one) {
		t.Error("one key for all")
	}
}

func TestSignAllocations(t *testing.T) {
	s, now := &signer{service: "bedrock", region: "us-east-1"}, time.Unix(1e9, 0)
	var req fasthttp.Request
	req.Header.SetMethod("POST")
	req.Header.SetHost("bedrock-runtime.us-east-1.amazonaws.com")
	req.Header.SetRequestURI("/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream")
	req.Header.SetContentType("application/json")
	req.SetBodyString(`{"messages":[]}`)
	if n := testing.AllocsPerRun(100, func() { s.sign(&req, &exampleKeys, now) }); n > 20 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkSign(b *testing.B) {
	s, now := &signer{service: "bedrock", region: "us-east-1"}, time.Unix(1e9, 0)
	var req fasthttp.Request
	req.Header.SetMethod("POST")
	req.Header.SetHost("bedrock-runtime.us-east-1.amazonaws.com")
	req.Header.SetRequestURI("/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream")
	req.Header.SetContentType("application/json")
	req.SetBodyString(strings.Repeat("x", 4096))
	b.ReportAllocs()
	for b.Loop() {
		s.sign(&req, &exampleKeys, now)
	}
}
