package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// issuer is an identity provider with a real server of its keys.
type issuer struct {
	t      testing.TB
	server *httptest.Server
	asked  atomic.Int64

	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) // in place of the keys
	public []jwkset.JWKMarshal
}

// The keys of every issuer: made once, as RSA takes its time.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	rsaOther, _ := rsa.GenerateKey(rand.Reader, 2048)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"rsa": rsaKey, "new": rsaOther, "p256": p256, "p384": p384, "ed": ed}
})

func newIssuer(t testing.TB, keys ...string) *issuer {
	i := &issuer{t: t}
	i.publish(keys...)
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		i.serve(w)
	}))
	t.Cleanup(i.server.Close)
	return i
}

func (i *issuer) publish(ids ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.public = nil
	for _, id := range ids {
		key, err := jwkset.NewJWKFromKey(signers()[id].Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id, USE: jwkset.UseSig}})
		if err != nil {
			i.t.Fatal(err)
		}
		i.public = append(i.public, key.Marshal())
	}
}

func (i *issuer) serve(w http.ResponseWriter) {
	i.mu.Lock()
	defer i.mu.Unlock()
	_ = json.NewEncoder(w).Encode(jwkset.JWKSMarshal{Keys: i.public})
}

// instead answers something else than the keys; nil ends that.
func (i *issuer) instead(answer func(w http.ResponseWriter, r *http.Request)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }

func (i *issuer) config() *JWT {
	return &JWT{Issuer: "https://id.example.com", JWKS: i.server.URL, Audience: "jarvis", TenantClaim: "org", RoleClaim: "role", TeamClaim: "team", UserClaim: "email"}
}

var day = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// claimsWith is what a good token says, with changes; nil takes a claim away.
func claimsWith(changes jwt.MapClaims) jwt.MapClaims {
	claims := jwt.MapClaims{"iss": "https://id.example.com", "aud": "jarvis", "sub": "ann", "org": "acme", "iat": day.Unix(), "exp": day.Add(time.Hour).Unix()}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

func sign(t testing.TB, method jwt.SigningMethod, id string, key any, claims jwt.Claims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = id
	if id == "" {
		delete(token.Header, "kid")
	}
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// good is a token that is right but for the changes.
func good(t testing.TB, changes jwt.MapClaims) string {
	t.Helper()
	return sign(t, jwt.SigningMethodRS256, "rsa", signers()["rsa"], claimsWith(changes), nil)
}

func tokenGate(t testing.TB, cfg *JWT, prev *Gate) *Gate {
	t.Helper()
	g, err := New(Setup{JWT: cfg, Names: names, Counters: &counter.Counters{}, Roles: map[string]Role{"support": {Permissions: []string{"chat:read"}}},
		Tenants: map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}, Teams: map[string]Team{"dev": {}}}}}, prev)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(nil) })
	return g
}

// hasty lets a gate fetch keys at every token with an unknown key.
func hasty(g *Gate) *Gate {
	g.tokens.keys.mu.Lock()
	defer g.tokens.keys.mu.Unlock()
	g.tokens.keys.pause = 0
	return g
}

func unavailable(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Status == 503 && e.Code == "auth_unavailable" && e.Retry > 0
}
