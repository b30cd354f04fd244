package policy

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"jarvis-gateway/proxy/wire"
)

func TestTokensThatWork(t *testing.T) {
	i := newIssuer(t, "rsa", "p256", "p384", "ed")
	g := tokenGate(t, i.config(), nil)
	long := strings.Repeat("é", 40)
	for name, test := range map[string]struct{ token, want string }{
		"RS256":          {good(t, nil), "acme//jwt:ann/developer/"},
		"PS384":          {sign(t, jwt.SigningMethodPS384, "rsa", signers()["rsa"], claimsWith(nil), nil), "acme//jwt:ann/developer/"},
		"ES256":          {sign(t, jwt.SigningMethodES256, "p256", signers()["p256"], claimsWith(nil), nil), "acme//jwt:ann/developer/"},
		"ES384":          {sign(t, jwt.SigningMethodES384, "p384", signers()["p384"], claimsWith(nil), nil), "acme//jwt:ann/developer/"},
		"EdDSA":          {sign(t, jwt.SigningMethodEdDSA, "ed", signers()["ed"], claimsWith(nil), nil), "acme//jwt:ann/developer/"},
		"no kid":         {sign(t, jwt.SigningMethodRS256, "", signers()["rsa"], claimsWith(nil), nil), "acme//jwt:ann/developer/"},
		"a key inside":   {sign(t, jwt.SigningMethodRS256, "rsa", signers()["rsa"], claimsWith(nil), map[string]any{"jku": "https://evil.example"}), "acme//jwt:ann/developer/"},
		"everything":     {good(t, jwt.MapClaims{"role": "viewer", "team": "dev", "email": "ann@acme.example"}), "acme/dev/jwt:ann/viewer/ann@acme.example"},
		"custom role":    {good(t, jwt.MapClaims{"role": "support"}), "acme//jwt:ann/support/"},
		"one of roles":   {good(t, jwt.MapClaims{"role": []string{"offline_access", "viewer", "developer"}}), "acme//jwt:ann/viewer/"},
		"audiences":      {good(t, jwt.MapClaims{"aud": []string{"other", "jarvis"}}), "acme//jwt:ann/developer/"},
		"just expired":   {good(t, jwt.MapClaims{"exp": day.Add(-59 * time.Second).Unix()}), "acme//jwt:ann/developer/"},
		"not yet, quite": {good(t, jwt.MapClaims{"nbf": day.Add(59 * time.Second).Unix(), "iat": day.Add(59 * time.Second).Unix()}), "acme//jwt:ann/developer/"},
		"no subject":     {good(t, jwt.MapClaims{"sub": nil}), "acme//jwt:/developer/"},
		"bad subject":    {good(t, jwt.MapClaims{"sub": "a\nb\x00\u202e\"c"}), `acme//jwt:a_b__"c/developer/`},
		"long subject":   {good(t, jwt.MapClaims{"sub": long}), "acme//jwt:" + long[:64] + "/developer/"},
		"odd subject":    {good(t, jwt.MapClaims{"sub": "x" + long}), "acme//jwt:x" + long[:62] + "/developer/"},
	} {
		for range 2 { // verified, then remembered
			c, err := g.Identify([]byte(test.token), day)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := strings.Join([]string{c.Tenant, c.Team, c.Key, c.Role, c.User}, "/"); got != test.want {
				t.Errorf("%s: %s, want %s", name, got, test.want)
			}
		}
	}
	if identifyAt(t, g, keyA, day).Key != "a" {
		t.Error("keys no longer work")
	}
}

func identifyAt(t testing.TB, g *Gate, credential string, now time.Time) *Caller {
	t.Helper()
	c, err := g.Identify([]byte(credential), now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Every token that does not work gets the answer that a wrong key gets. The log's word for it tells nothing of the token.
func TestTokensThatDoNot(t *testing.T) {
	i := newIssuer(t, "rsa", "p256", "ed")
	g := tokenGate(t, i.config(), nil)
	works(t, g, good(t, nil), day) // the keys are there
	der, _ := x509.MarshalPKIXPublicKey(signers()["rsa"].Public())
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	fine := good(t, nil)
	parts := strings.Split(fine, ".")
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	small, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, test := range map[string]struct{ token, cause string }{
		"expired":                 {good(t, jwt.MapClaims{"exp": day.Add(-61 * time.Second).Unix()}), "the token has expired"},
		"no exp":                  {good(t, jwt.MapClaims{"exp": nil}), "the token has no exp, iss or aud"},
		"exp is text":             {good(t, jwt.MapClaims{"exp": "tomorrow"}), errMalformed.Error()},
		"not yet":                 {good(t, jwt.MapClaims{"nbf": day.Add(61 * time.Second).Unix()}), "the token is not valid yet"},
		"issued in the future":    {good(t, jwt.MapClaims{"iat": day.Add(61 * time.Second).Unix()}), "the token was issued in the future"},
		"another issuer":          {good(t, jwt.MapClaims{"iss": "https://id.example.com/"}), "the token is another issuer's"},
		"no issuer":               {good(t, jwt.MapClaims{"iss": nil}), "the token has no exp, iss or aud"},
		"another audience":        {good(t, jwt.MapClaims{"aud": []string{"jarvis2"}}), "the token is for another audience"},
		"no audience":             {good(t, jwt.MapClaims{"aud": nil}), "the token has no exp, iss or aud"},
		"unknown tenant":          {good(t, jwt.MapClaims{"org": "canary-tenant"}), "the token names no tenant that is known"},
		"no tenant":               {good(t, jwt.MapClaims{"org": nil}), errClaims.Error()},
		"empty tenant":            {good(t, jwt.MapClaims{"org": ""}), errClaims.Error()},
		"tenants":                 {good(t, jwt.MapClaims{"org": []string{"acme"}}), errClaims.Error()},
		"unknown role":            {good(t, jwt.MapClaims{"role": "canary-role"}), "the token names no role that is known"},
		"no known role":           {good(t, jwt.MapClaims{"role": []any{"x", 3}}), "the token names no role that is known"},
		"no role at all":          {good(t, jwt.MapClaims{"role": []string{}}), "the token names no role that is known"},
		"role is a number":        {good(t, jwt.MapClaims{"role": 7}), errClaims.Error()},
		"super admin":             {good(t, jwt.MapClaims{"role": SuperAdmin}), "the token's role is super_admin, which auth.jwt.super_admin does not allow"},
		"unknown team":            {good(t, jwt.MapClaims{"team": "canary-team"}), "the token names no team that is known"},
		"team is a number":        {good(t, jwt.MapClaims{"team": 7}), errClaims.Error()},
		"unknown key":             {sign(t, jwt.SigningMethodRS256, "gone", signers()["rsa"], claimsWith(nil), nil), errUnknownKey.Error()},
		"another's signature":     {sign(t, jwt.SigningMethodRS256, "rsa", small, claimsWith(nil), nil), "the token's signature is wrong"},
		"another's, no kid":       {sign(t, jwt.SigningMethodRS256, "", small, claimsWith(nil), nil), "the token's signature is wrong"},
		"no signature":            {parts[0] + "." + parts[1] + ".", "the token's signature is wrong"},
		"none":                    {sign(t, jwt.SigningMethodNone, "rsa", jwt.UnsafeAllowNoneSignatureType, claimsWith(nil), nil), "the token's signature is wrong"},
		"HMAC of the public key":  {sign(t, jwt.SigningMethodHS256, "rsa", publicPEM, claimsWith(nil), nil), "the token's signature is wrong"},
		"EC key, RSA algorithm":   {sign(t, jwt.SigningMethodRS256, "p256", signers()["rsa"], claimsWith(nil), nil), errUnknownKey.Error()},
		"RSA key, EdDSA":          {sign(t, jwt.SigningMethodEdDSA, "rsa", signers()["ed"], claimsWith(nil), nil), errUnknownKey.Error()},
		"extension":               {sign(t, jwt.SigningMethodRS256, "rsa", signers()["rsa"], claimsWith(nil), map[string]any{"crit": []string{"b64"}, "b64": false}), errMalformed.Error()},
		"claims of another":       {parts[0] + "." + part(`{"iss":"https://id.example.com","aud":"jarvis","org":"acme","exp":1999999999}`) + "." + parts[2], "the token's signature is wrong"},
		"dots":                    {"a.b.c", errMalformed.Error()},
		"no JSON":                 {part("{") + "." + part("{}") + "." + part("x"), errMalformed.Error()},
		"nothing":                 {"..", errMalformed.Error()},
		"padding":                 {parts[0] + "." + parts[1] + "." + parts[2] + "=", errMalformed.Error()},
		"four parts":              {fine + ".x", ""},
		"huge":                    {strings.Repeat("a", maxToken) + fine, ""},
		"an algorithm of canary ": {part(`{"alg":"canary"}`) + "." + parts[1] + "." + parts[2], errMalformed.Error()},
	} {
		if works(t, g, test.token, day) {
			t.Errorf("%s: works", name)
			continue
		}
		_, err := g.Identify([]byte(test.token), day)
		cause, text := errors.Unwrap(err), ""
		if cause != nil {
			text = cause.Error()
		}
		if text != test.cause || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", name, err, test.cause)
		}
	}
}

// A super admin by token is a choice of the config's.
func TestSuperAdminByToken(t *testing.T) {
	cfg := newIssuer(t, "rsa").config()
	cfg.SuperAdmin = true
	if c := identifyAt(t, tokenGate(t, cfg, nil), good(t, jwt.MapClaims{"role": SuperAdmin}), day); !c.Super() || !c.MayIn("globex", AdminConfig) {
		t.Errorf("%+v", c)
	}
}

func TestClaim(t *testing.T) {
	claims := map[string]any{"org": "a", "https://acme.example/org": "b", "realm": map[string]any{"org": "c", "x.y": "d", "deep": map[string]any{"org": "e"}}, "flat": "f"}
	for path, want := range map[string]any{"org": "a", "https://acme.example/org": "b", "realm.org": "c", "realm.x.y": "d", "realm.deep.org": "e",
		"flat.org": nil, "realm.none": nil, "none": nil, "": nil, ".": nil} {
		if got := claim(claims, path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// A token that was verified is not verified again at once, but its time and its tenant count at every request.
func TestTokensAreRemembered(t *testing.T) {
	g := hasty(tokenGate(t, newIssuer(t, "rsa").config(), nil))
	text := good(t, jwt.MapClaims{"exp": day.Add(2 * time.Minute).Unix()})
	long := good(t, nil)
	first := identifyAt(t, g, text, day)
	identifyAt(t, g, long, day)
	g.tokens.keys.keys.Store(&[]publicKey{}) // nothing can be verified any more
	g.tokens.keys.mu.Lock()
	g.tokens.keys.pause = time.Hour
	g.tokens.keys.mu.Unlock()
	if identifyAt(t, g, text, day.Add(time.Minute)) != first {
		t.Error("verified again")
	}
	if !works(t, g, text, day.Add(3*time.Minute-time.Second)) || works(t, g, text, day.Add(3*time.Minute)) {
		t.Error("the token's own end is not kept")
	}
	if !works(t, g, long, day.Add(trustFor-time.Second)) || works(t, g, long, day.Add(trustFor)) {
		t.Error("a token is trusted for too long, or not long enough")
	}
}

// A tenant that goes takes its tokens along at once; the signature is not looked at again.
func TestTokensFollowTheDirectory(t *testing.T) {
	g := tokenGate(t, newIssuer(t, "rsa").config(), nil)
	text := good(t, jwt.MapClaims{"org": "initech"})
	if works(t, g, text, day) {
		t.Error("before the tenant is there")
	}
	s := Stored{Tenants: map[string]StoredTenant{"initech": {Tenant: Tenant{Models: []string{"chat"}}}}}
	for range 3 {
		if err := g.Learn(s); err != nil || !works(t, g, text, day) {
			t.Fatal("the tenant's tokens do not work", err)
		}
		if err := g.Learn(Stored{}); err != nil || works(t, g, text, day) {
			t.Fatal("a tenant that is gone still has tokens", err)
		}
	}
	changed := Stored{Tenants: map[string]StoredTenant{"initech": {Tenant: Tenant{Models: []string{}}}}}
	if err := errors.Join(g.Learn(s), g.Learn(changed)); err != nil || identifyAt(t, g, text, day).Allows("chat", false) {
		t.Error("a token has its tenant's old models")
	}
}

func TestConfigOfTokens(t *testing.T) {
	_, err := New(Setup{JWT: &JWT{JWKS: "http://id.example.com/keys", Leeway: -1, Algorithms: []string{"RS256", "HS256", "none"}, CA: "/nowhere"}}, nil)
	for _, want := range []string{"auth.jwt.issuer: must be set", "auth.jwt.audience: must be set", "auth.jwt.tenant_claim: must be set", "auth.jwt.jwks: expected https://",
		"auth.jwt.leeway: ", `auth.jwt.algorithms[1]: unknown choice "HS256"`, `auth.jwt.algorithms[2]: unknown choice "none"`, "auth.jwt.ca: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	for address, fine := range map[string]bool{"https://id.example.com/keys": true, "https://id.example.com/keys?p=1": true, "http://127.0.0.1:9/keys": true, "http://localhost/keys": true,
		"http://[::1]/keys": true, "http://10.0.0.1/keys": false, "https://user:pass@id.example.com/keys": false, "ftp://id.example.com": false, "id.example.com": false,
		"http://localhost.example.com/": false, "https://": false, "https:///keys": false, "https://id.example.com/#x": false} {
		_, errs := newVerifier(JWT{Issuer: "i", JWKS: address, Audience: "a", TenantClaim: "t"})
		if (len(errs) == 0) != fine {
			t.Errorf("%s: %v", address, errs)
		}
	}
}

// Tokens beside Learn and a reload, for the race detector and for whom they stand.
func TestTokensBesideLearn(t *testing.T) {
	g := tokenGate(t, newIssuer(t, "rsa").config(), nil)
	texts := []string{good(t, jwt.MapClaims{"sub": "a"}), good(t, jwt.MapClaims{"sub": "b"}), good(t, jwt.MapClaims{"sub": "c"})}
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for _, text := range texts {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := g.Identify([]byte(text), day); err != nil || c.Tenant != "acme" {
					t.Errorf("%v, %v", c, err)
					return
				}
			}
		})
	}
	for range 300 {
		if err := g.Learn(many(20, Limits{})); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	crowd.Wait()
}

// Whatever comes as a credential, nobody is let in who cannot sign.
func FuzzCredential(f *testing.F) {
	i := newIssuer(f, "rsa", "ed")
	g := tokenGate(f, i.config(), nil)
	fine := good(f, nil)
	for _, seed := range []string{fine, fine[:len(fine)-1], "..", "a.b.c", keyA, "", good(f, jwt.MapClaims{"role": SuperAdmin}), "eyJhbGciOiJub25lIn0.e30."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, credential []byte) {
		c, err := g.Identify(credential, day)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if err == nil && string(credential) != keyA && string(credential) != fine {
			t.Errorf("let in: %q", credential)
		}
	})
}

// Whatever an issuer signs, who it stands for is one that the directory knows, with a name that is fit to be logged.
func FuzzClaims(f *testing.F) {
	i := newIssuer(f, "ed")
	g := tokenGate(f, i.config(), nil)
	for _, changes := range []jwt.MapClaims{nil, {"role": "viewer", "team": "dev"}, {"sub": "\xff\u0000"}, {"role": []any{1, nil, "support"}}, {"exp": 1e300}, {"exp": -1}, {"aud": []any{nil}}, {"org": map[string]any{}}} {
		text, err := json.Marshal(claimsWith(changes))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":"ed"}`))
	f.Fuzz(func(t *testing.T, claims []byte) {
		signed := head + "." + base64.RawURLEncoding.EncodeToString(claims)
		signature, err := signers()["ed"].Sign(rand.Reader, []byte(signed), crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		c, err := g.Identify([]byte(signed+"."+base64.RawURLEncoding.EncodeToString(signature)), day)
		if err != nil {
			var e *wire.Error
			if !errors.As(err, &e) || e.Status != 401 {
				t.Errorf("%v", err)
			}
			return
		}
		if !json.Valid(claims) || c.Tenant != "acme" || c.Super() || g.roles[c.Role] == 0 || c.Team != "" && c.Team != "dev" ||
			len(c.Key) > len(tokenPrefix)+maxName || !utf8.ValidString(c.Key) || strings.ContainsAny(c.Key, "\n\r\x00\x1b") {
			t.Errorf("%s stands for %+v", claims, c)
		}
	})
}

func BenchmarkIdentifyToken(b *testing.B) {
	g := tokenGate(b, newIssuer(b, "rsa").config(), nil)
	credential := []byte(good(b, nil))
	identifyAt(b, g, string(credential), day)
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := g.Identify(credential, day); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verified", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.tokens.seen.Purge()
			if _, err := g.Identify(credential, day); err != nil {
				b.Fatal(err)
			}
		}
	})
}
