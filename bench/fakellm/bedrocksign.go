package fakellm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Credentials are those of an AWS account. SessionToken is empty for long-lived ones.
type Credentials struct{ AccessKeyID, SecretAccessKey, SessionToken string }

const (
	signTime   = "20060102T150405Z"
	signSkew   = 5 * time.Minute
	signMethod = "AWS4-HMAC-SHA256"
)

// signature is an Authorization header of Signature Version 4, with what else of the request it depends on.
type signature struct {
	keyID, date, region, service string
	headers                      []string // signed ones, as listed
	value                        string
	at                           string // x-amz-date
}

// bedrockAdmit checks the bearer token or the signature.
func bedrockAdmit(x *exchange) *apiError {
	o := &x.s.o
	switch {
	case o.APIKey == "" && o.AWS == (Credentials{}):
		return nil
	case strings.HasPrefix(x.authorization, "Bearer ") && o.APIKey != "":
		if x.authorization == "Bearer "+o.APIKey {
			return nil
		}
		return refusedBy("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
	case x.authorization == "":
		return refusedBy("MissingAuthenticationTokenException", "Missing Authentication Token")
	case o.AWS == (Credentials{}):
		return refusedBy("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	return x.verify()
}

func refusedBy(kind, format string, args ...any) *apiError {
	return &apiError{status: 403, kind: kind, message: fmt.Sprintf(format, args...)}
}

// verify computes the signature of the request as it came over the wire, and compares.
func (x *exchange) verify() *apiError {
	fields := x.fields()
	s, err := signatureIn(x.authorization)
	if err != nil {
		return err
	}
	s.at = strings.Join(fields["x-amz-date"], ",")
	if err := s.trusted(&x.s.o.AWS, fields); err != nil {
		return err
	}
	if err := s.fresh(x.signingTime()); err != nil {
		return err
	}
	sum := sha256.Sum256(x.body)
	hash := hex.EncodeToString(sum[:])
	if given := fields["x-amz-content-sha256"]; given != nil && given[0] != hash {
		return mismatch()
	}
	want := s.sign(x.s.o.AWS.SecretAccessKey, s.canonical(string(x.ctx.Method()), x.path, x.query, fields, hash))
	if !hmac.Equal([]byte(want), []byte(s.value)) {
		return mismatch()
	}
	return nil
}

func mismatch() *apiError {
	return refusedBy("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

func (x *exchange) signingTime() time.Time {
	if x.s.o.Clock != nil {
		return x.s.o.Clock()
	}
	return time.Now()
}

// fields are the header fields by their lower-case names.
func (x *exchange) fields() map[string][]string {
	all := map[string][]string{}
	for line := range strings.SplitSeq(string(x.ctx.Request.Header.RawHeaders()), "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			name = strings.ToLower(name)
			all[name] = append(all[name], strings.Join(strings.Fields(value), " "))
		}
	}
	return all
}

// signatureIn takes an Authorization header apart.
func signatureIn(authorization string) (*signature, *apiError) {
	rest, ok := strings.CutPrefix(authorization, signMethod+" ")
	if !ok {
		return nil, refusedBy("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	part := map[string]string{}
	for p := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		part[key] = value
	}
	for _, key := range []string{"Credential", "Signature", "SignedHeaders"} {
		if part[key] == "" {
			return nil, refusedBy("IncompleteSignatureException", "Authorization header requires '%s' parameter. Authorization=%s", key, signMethod)
		}
	}
	scope := strings.Split(part["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return nil, refusedBy("IncompleteSignatureException", "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", part["Credential"])
	}
	return &signature{keyID: scope[0], date: scope[1], region: scope[2], service: scope[3],
		headers: strings.Split(part["SignedHeaders"], ";"), value: part["Signature"]}, nil
}

// trusted checks who signed, for what, and that all that matters is signed.
func (s *signature) trusted(c *Credentials, fields map[string][]string) *apiError {
	switch token := strings.Join(fields["x-amz-security-token"], ","); {
	case s.keyID != c.AccessKeyID || token != c.SessionToken:
		return refusedBy("UnrecognizedClientException", "The security token included in the request is invalid.")
	case s.service != "bedrock":
		return refusedBy("InvalidSignatureException", "Credential should be scoped to correct service: 'bedrock'. ")
	case s.region == "":
		return refusedBy("InvalidSignatureException", "Credential should be scoped to a valid region. ")
	case !slices.Contains(s.headers, "host"):
		return refusedBy("InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	case !slices.IsSorted(s.headers):
		return mismatch()
	}
	for name := range fields {
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(s.headers, name) {
			return refusedBy("InvalidSignatureException", "'%s' must be a 'SignedHeader' in the AWS Authorization.", name)
		}
	}
	return nil
}

// fresh checks that the signature is of about now.
func (s *signature) fresh(now time.Time) *apiError {
	at, err := time.Parse(signTime, s.at)
	if err != nil {
		return refusedBy("IncompleteSignatureException", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=%s", signMethod)
	}
	show := func(t time.Time) string { return t.UTC().Format(signTime) }
	switch {
	case !strings.HasPrefix(s.at, s.date):
		return refusedBy("InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.", s.date, s.at[:8], s.at)
	case at.Before(now.Add(-signSkew)):
		return refusedBy("InvalidSignatureException", "Signature expired: %s is now earlier than %s (%s - 5 min.)", s.at, show(now.Add(-signSkew)), show(now))
	case at.After(now.Add(signSkew)):
		return refusedBy("InvalidSignatureException", "Signature not yet current: %s is still later than %s (%s + 5 min.)", s.at, show(now.Add(signSkew)), show(now))
	}
	return nil
}

// canonical is the request in the form that is signed. The path is escaped once more than on the wire.
func (s *signature) canonical(method, path, query string, fields map[string][]string, hash string) string {
	var b strings.Builder
	b.WriteString(method + "\n" + escaped(path, "/") + "\n" + sortedQuery(query) + "\n")
	for _, name := range s.headers {
		b.WriteString(name + ":" + strings.Join(fields[name], ",") + "\n")
	}
	b.WriteString("\n" + strings.Join(s.headers, ";") + "\n" + hash)
	return b.String()
}

// escaped percent-encodes all but unreserved characters and those in keep.
func escaped(s, keep string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~"+keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func sortedQuery(query string) string {
	if query == "" {
		return ""
	}
	pairs := strings.Split(query, "&")
	for i, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		pairs[i] = escaped(queryText(key), "") + "=" + escaped(queryText(value), "")
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

func queryText(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func (s *signature) sign(secret, canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = keyed(key, part)
	}
	return hex.EncodeToString(keyed(key, signMethod+"\n"+s.at+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
}

func keyed(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}
