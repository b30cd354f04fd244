package provider

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/valyala/fasthttp"
)

// signer signs requests to one service of AWS in one region, with Signature Version 4.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
type signer struct {
	service, region string
	key             atomic.Pointer[signingKey]
}

// signingKey is derived from a secret for a day.
type signingKey struct {
	secret, day string
	key         []byte
}

// signedHeader is a header that the signature covers. The name is in lower case.
type signedHeader struct{ name, value string }

const (
	signAlgorithm = "AWS4-HMAC-SHA256"
	signTime      = "20060102T150405Z"
	signDay       = len("20060102")
)

var (
	headerAmzDate       = []byte("X-Amz-Date")
	headerAmzToken      = []byte("X-Amz-Security-Token")
	headerAuthorization = []byte(fasthttp.HeaderAuthorization)
)

// sign dates and signs a request that is otherwise complete. It covers no header that a proxy on the way may change.
func (s *signer) sign(req *fasthttp.Request, creds *aws.Credentials, now time.Time) {
	var space [2048]byte
	date := string(now.UTC().AppendFormat(space[:0], signTime))
	head := &req.Header
	head.SetCanonical(headerAmzDate, []byte(date))
	list := [4]signedHeader{{"content-type", string(head.ContentType())}, {"host", string(head.Host())}, {"x-amz-date", date}}
	headers := list[:3]
	if creds.SessionToken != "" {
		head.SetCanonical(headerAmzToken, []byte(creds.SessionToken))
		headers = append(headers, signedHeader{"x-amz-security-token", creds.SessionToken})
	}
	if headers[0].value == "" { // of a request without a body
		headers = headers[1:]
	}
	target, query, _ := bytes.Cut(head.RequestURI(), []byte{'?'})
	canonical := appendCanonical(space[:0], string(head.Method()), string(target), string(query), headers, sha256.Sum256(req.Body()))
	text := s.appendStringToSign(nil, date, sha256.Sum256(canonical))
	head.SetCanonical(headerAuthorization, s.appendAuthorization(space[:0], creds, date, headers, text))
}

// appendCanonical appends the canonical request. target and query are as they go over the wire: what is escaped there is
// escaped once more in the path, as of all services but S3, and brought into one spelling in the query. headers are in
// order of their names.
func appendCanonical(dst []byte, method, target, query string, headers []signedHeader, body [sha256.Size]byte) []byte {
	dst = append(append(dst, method...), '\n')
	dst = append(appendEscaped(dst, cleanPath(target), '/'), '\n')
	dst = append(appendQuery(dst, query), '\n')
	for i, h := range headers {
		if i > 0 && headers[i-1].name == h.name {
			dst[len(dst)-1] = ','
		} else {
			dst = append(append(dst, h.name...), ':')
		}
		dst = append(appendFolded(dst, h.value), '\n')
	}
	dst = append(appendNames(append(dst, '\n'), headers), '\n')
	return hex.AppendEncode(dst, body[:])
}

func (s *signer) appendStringToSign(dst []byte, date string, canonical [sha256.Size]byte) []byte {
	dst = append(append(dst, signAlgorithm+"\n"...), date...)
	dst = append(s.appendScope(append(dst, '\n'), date), '\n')
	return hex.AppendEncode(dst, canonical[:])
}

func (s *signer) appendAuthorization(dst []byte, creds *aws.Credentials, date string, headers []signedHeader, text []byte) []byte {
	dst = append(append(dst, signAlgorithm+" Credential="...), creds.AccessKeyID...)
	dst = s.appendScope(append(dst, '/'), date)
	dst = appendNames(append(dst, ", SignedHeaders="...), headers)
	dst = append(dst, ", Signature="...)
	return hex.AppendEncode(dst, hmacSHA256(s.keyOf(creds.SecretAccessKey, date[:signDay]), text))
}

func (s *signer) appendScope(dst []byte, date string) []byte {
	dst = append(append(dst, date[:signDay]...), '/')
	dst = append(append(dst, s.region...), '/')
	dst = append(append(dst, s.service...), '/')
	return append(dst, "aws4_request"...)
}

// keyOf derives the key of a secret for a day, unless it is the last one.
func (s *signer) keyOf(secret, day string) []byte {
	if k := s.key.Load(); k != nil && k.day == day && k.secret == secret {
		return k.key
	}
	key := hmacSHA256([]byte("AWS4"+secret), []byte(day))
	for _, part := range []string{s.region, s.service, "aws4_request"} {
		key = hmacSHA256(key, []byte(part))
	}
	s.key.Store(&signingKey{secret: secret, day: day, key: key})
	return key
}

func hmacSHA256(key, text []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return mac.Sum(nil)
}

func appendNames(dst []byte, headers []signedHeader) []byte {
	for i, h := range headers {
		if i > 0 && headers[i-1].name == h.name {
			continue
		}
		if i > 0 {
			dst = append(dst, ';')
		}
		dst = append(dst, h.name...)
	}
	return dst
}

// appendFolded appends a header's value with white space at its ends removed and that inside made one space.
func appendFolded(dst []byte, value string) []byte {
	first := true
	for word := range strings.FieldsSeq(value) {
		if !first {
			dst = append(dst, ' ')
		}
		dst, first = append(dst, word...), false
	}
	return dst
}

// cleanPath takes out empty and dotted segments. A slash at the end stays.
func cleanPath(target string) string {
	if !strings.Contains(target, "//") && !strings.Contains(target, "/.") {
		return cmp.Or(target, "/")
	}
	clean := path.Clean(target)
	if strings.HasSuffix(target, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// appendQuery appends a query's parameters in order of their escaped names and values.
func appendQuery(dst []byte, query string) []byte {
	if query == "" {
		return dst
	}
	var pairs [][2]string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		pairs = append(pairs, [2]string{reescaped(name), reescaped(value)})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	for i, pair := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(append(append(dst, pair[0]...), '='), pair[1]...)
	}
	return dst
}

// reescaped is a part of a query with each escape in the one spelling that is signed.
func reescaped(s string) string {
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if b, err := hex.AppendDecode(plain, []byte(s[i+1:i+3])); err == nil {
				plain, i = b, i+2
				continue
			}
		}
		plain = append(plain, s[i])
	}
	return string(appendEscaped(nil, string(plain), 0))
}

// appendEscaped escapes all but RFC 3986's unreserved characters and keep.
func appendEscaped(dst []byte, s string, keep byte) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~', c == keep && c != 0:
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
