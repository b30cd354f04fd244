package policy

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"jarvis-gateway/proxy/wire"
)

const (
	trustFor      = 5 * time.Minute // after which a token is verified again
	tokensKept    = 8192
	maxToken      = 16 << 10
	maxLeeway     = 10 * time.Minute
	defaultLeeway = time.Minute
)

var signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// verifier knows the tokens of one issuer.
type verifier struct {
	cfg  JWT
	pem  string
	keys *keySet // nil where the setup is only checked
	seen *lru.Cache[[sha256.Size]byte, *token]
}

// token is what a verified token says.
type token struct {
	subject, user string
	tenant, team  string
	roles         []string  // of which the first known one counts; none: developer
	until         time.Time // when it must be verified again
	caller        atomic.Pointer[tokenCaller]
}

// tokenCaller is whom a token stands for in one directory.
type tokenCaller struct {
	version *version
	caller  *Caller // nil: nobody
	cause   error
}

// newVerifier checks the section auth.jwt. The errors are worded as paths.
func newVerifier(cfg JWT) (*verifier, []error) {
	var errs []error
	bad := func(path string, err error) { errs = append(errs, fmt.Errorf("auth.jwt.%s: %w", path, err)) }
	for _, must := range [...][2]string{{"issuer", cfg.Issuer}, {"jwks", cfg.JWKS}, {"audience", cfg.Audience}, {"tenant_claim", cfg.TenantClaim}} {
		path, value := must[0], must[1]
		if value == "" {
			bad(path, errors.New("must be set"))
		}
	}
	if u, err := url.Parse(cfg.JWKS); cfg.JWKS != "" && (err != nil || checkKeyURL(u) != nil) {
		bad("jwks", errors.New("expected https://host/path (http only on this machine), without user or fragment"))
	}
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		bad("leeway", fmt.Errorf("must be more than 0 and at most %s", maxLeeway))
	}
	for i, a := range cfg.Algorithms {
		if !slices.Contains(signatures, a) {
			bad(fmt.Sprintf("algorithms[%d]", i), fmt.Errorf("unknown choice %q (choices: %s)", a, strings.Join(signatures, ", ")))
		}
	}
	if cfg.Algorithms == nil {
		cfg.Algorithms = signatures
	}
	v := &verifier{cfg: cfg}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("no certificate in this file")
		}
		if err != nil {
			bad("ca", err)
		}
		v.pem = string(pem)
	}
	return v, errs
}

// start begins to fetch keys, or goes on with those of prev, which may be nil, and with the tokens it knows.
func (v *verifier) start(prev *verifier, log *slog.Logger) *verifier {
	if prev != nil && prev.keys != nil && prev.keys.url == v.cfg.JWKS && prev.pem == v.pem {
		if reflect.DeepEqual(prev.cfg, v.cfg) {
			return prev
		}
		v.keys = prev.keys
	} else {
		v.keys = startKeySet(v.cfg.JWKS, v.pem, log)
	}
	var err error
	if v.seen, err = lru.New[[sha256.Size]byte, *token](tokensKept); err != nil {
		panic("BUG: " + err.Error()) // its size is a constant
	}
	return v
}

// isToken tells a token from a key, which has no two dots.
func isToken(credential []byte) bool {
	return len(credential) <= maxToken && bytes.Count(credential, []byte{'.'}) == 2
}

// find verifies a token, unless it did so a short while ago.
func (v *verifier) find(credential []byte, digest *[sha256.Size]byte, now time.Time) (*token, error) {
	if v.keys == nil {
		return nil, errNoKeys
	}
	if t, ok := v.seen.Get(*digest); ok && now.Before(t.until) {
		return t, nil
	}
	t, err := v.verify(string(credential), now)
	if err != nil {
		return nil, err
	}
	v.seen.Add(*digest, t)
	return t, nil
}

// verify checks the signature, then the claims. The errors are words of our own: nothing of a token goes into the log.
func (v *verifier) verify(text string, now time.Time) (*token, error) {
	parser := jwt.NewParser(jwt.WithValidMethods(v.cfg.Algorithms), jwt.WithIssuer(v.cfg.Issuer), jwt.WithAudience(v.cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(v.cfg.Leeway), jwt.WithStrictDecoding(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	claims := jwt.MapClaims{}
	if _, err := parser.ParseWithClaims(text, claims, v.key); err != nil {
		return nil, reason(err)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, errMalformed
	}
	t := &token{until: expires.Add(v.cfg.Leeway)}
	if most := now.Add(trustFor); t.until.After(most) {
		t.until = most
	}
	return t, v.read(claims, t)
}

// key finds the keys that a token may be signed with.
func (v *verifier) key(t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical { // extensions that must be understood: none is
		return nil, errMalformed
	}
	id, _ := t.Header["kid"].(string)
	return v.keys.find(id, t.Method.Alg())
}

var (
	errMalformed = errors.New("not a token that can be read")
	errClaims    = errors.New("a claim of the token is missing or not a string")
)

// reasons are why a token is refused, in the order in which they are looked for.
var reasons = []struct{ known, word error }{
	{errNoKeys, errNoKeys},
	{errUnknownKey, errUnknownKey},
	{jwt.ErrTokenSignatureInvalid, errors.New("the token's signature is wrong")},
	{jwt.ErrTokenInvalidIssuer, errors.New("the token is another issuer's")},
	{jwt.ErrTokenInvalidAudience, errors.New("the token is for another audience")},
	{jwt.ErrTokenExpired, errors.New("the token has expired")},
	{jwt.ErrTokenNotValidYet, errors.New("the token is not valid yet")},
	{jwt.ErrTokenUsedBeforeIssued, errors.New("the token was issued in the future")},
	{jwt.ErrTokenRequiredClaimMissing, errors.New("the token has no exp, iss or aud")},
}

// reason words why a token was refused.
func reason(err error) error {
	for _, r := range reasons {
		if errors.Is(err, r.known) {
			return r.word
		}
	}
	return errMalformed
}

// read takes what the config names from the claims.
func (v *verifier) read(claims jwt.MapClaims, t *token) error {
	t.subject, _ = claims["sub"].(string)
	texts := []struct {
		claim string
		into  *string
	}{{v.cfg.TenantClaim, &t.tenant}, {v.cfg.TeamClaim, &t.team}, {v.cfg.UserClaim, &t.user}}
	for i, want := range texts {
		value := claim(claims, want.claim)
		text, ok := value.(string)
		if value != nil && !ok || i == 0 && text == "" {
			return errClaims
		}
		*want.into = text
	}
	switch value := claim(claims, v.cfg.RoleClaim).(type) {
	case nil:
	case string:
		t.roles = []string{value}
	case []any:
		t.roles = []string{}
		for _, entry := range value {
			if role, ok := entry.(string); ok {
				t.roles = append(t.roles, role)
			}
		}
	default:
		return errClaims
	}
	return nil
}

// claim finds a claim by its name, which may have dots as URLs do, or by a path of names with dots between.
func claim(claims map[string]any, path string) any {
	if value, ok := claims[path]; ok {
		return value
	}
	first, rest, nested := strings.Cut(path, ".")
	inner, ok := claims[first].(map[string]any)
	if !nested || !ok {
		return nil
	}
	return claim(inner, rest)
}

// byToken finds whose token this is.
func (g *Gate) byToken(d *directory, credential []byte, digest *[sha256.Size]byte, now time.Time) (*Caller, error) {
	t, err := g.tokens.find(credential, digest, now)
	if errors.Is(err, errNoKeys) {
		return nil, &wire.Error{Status: 503, Type: wire.TypeServer, Code: "auth_unavailable", Retry: time.Second, Err: err,
			Message: "Tokens cannot be checked at the moment. Please try again."}
	}
	if err != nil {
		return nil, stranger(err)
	}
	who := t.caller.Load()
	if who == nil || who.version != d.version {
		who = &tokenCaller{version: d.version}
		who.caller, who.cause = g.holder(d, t)
		t.caller.Store(who)
	}
	if who.caller == nil {
		return nil, stranger(who.cause)
	}
	return who.caller, nil
}

// holder is whom a token stands for.
func (g *Gate) holder(d *directory, t *token) (*Caller, error) {
	in := d.tenants[t.tenant]
	if in == nil {
		return nil, errors.New("the token names no tenant that is known")
	}
	role := Developer
	if t.roles != nil {
		i := slices.IndexFunc(t.roles, func(name string) bool { return g.roles[name] != 0 })
		if i < 0 {
			return nil, errors.New("the token names no role that is known")
		}
		role = t.roles[i]
	}
	if g.roles[role].Has(everywhere) && !g.setup.JWT.SuperAdmin {
		return nil, errors.New("the token's role is super_admin, which auth.jwt.super_admin does not allow")
	}
	if t.team != "" && in.teams[t.team] == nil {
		return nil, errors.New("the token names no team that is known")
	}
	b := &builder{roles: g.roles}
	c := b.member("", in, t.team, role)
	c.Key, c.User = tokenPrefix+plain(t.subject), t.user
	return c, nil
}

// plain makes a subject fit for logs.
func plain(subject string) string {
	subject = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, subject)
	if len(subject) <= maxName {
		return subject
	}
	cut := maxName
	for !utf8.RuneStart(subject[cut]) {
		cut--
	}
	return subject[:cut]
}
