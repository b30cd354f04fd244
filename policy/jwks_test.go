package policy

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"jarvis-gateway/policy/counter"
)

// A key that appears is found by the first token that it signed; one that disappears is no longer trusted.
func TestRotation(t *testing.T) {
	i := newIssuer(t, "rsa")
	g := hasty(tokenGate(t, i.config(), nil))
	identifyAt(t, g, good(t, nil), day)
	later := sign(t, jwt.SigningMethodRS256, "new", signers()["new"], claimsWith(nil), nil)
	if works(t, g, later, day) {
		t.Error("signed by a key that nobody has published")
	}
	i.publish("rsa", "new")
	identifyAt(t, g, later, day)
	i.publish("new")
	if works(t, g, sign(t, jwt.SigningMethodRS256, "other", signers()["new"], claimsWith(nil), nil), day) { // has the set fetched
		t.Error("an unknown key")
	}
	if works(t, g, good(t, jwt.MapClaims{"sub": "bob"}), day) {
		t.Error("a key that was withdrawn is trusted")
	}
}

// Strangers with tokens of unknown keys cannot make the gateway hammer the issuer.
func TestUnknownKeysAreRateLimited(t *testing.T) {
	i := newIssuer(t, "rsa")
	g := tokenGate(t, i.config(), nil)
	identifyAt(t, g, good(t, nil), day)
	var crowd sync.WaitGroup
	for n := range 50 {
		text := sign(t, jwt.SigningMethodEdDSA, "kid-"+string(rune('A'+n)), signers()["ed"], claimsWith(nil), nil)
		crowd.Go(func() { works(t, g, text, day) })
	}
	crowd.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// Without the issuer's keys it is the gateway that cannot tell, not the client who is wrong.
func TestIssuerDownAtStart(t *testing.T) {
	i := newIssuer(t, "rsa")
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"broken": broken,
		"no set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no keys": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"}]}`))
		},
		"too long": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxKeySet+1)) },
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://id.example.com/keys", http.StatusFound)
		},
		"a circle": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"nobody": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = c.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			i.instead(answer)
			g := hasty(tokenGate(t, i.config(), nil))
			if _, err := g.Identify([]byte(good(t, nil)), day); !unavailable(err) {
				t.Errorf("%v", err)
			}
			if !works(t, g, keyA, day) || works(t, g, "no token", day) || !g.Open() {
				t.Error("keys do not work")
			}
			i.instead(nil)
			identifyAt(t, g, good(t, nil), day)
		})
	}
}

// Once the keys are there, they outlive the issuer's failures.
func TestIssuerDownLater(t *testing.T) {
	i := newIssuer(t, "rsa")
	g := hasty(tokenGate(t, i.config(), nil))
	identifyAt(t, g, good(t, nil), day)
	i.instead(broken)
	later := sign(t, jwt.SigningMethodRS256, "new", signers()["new"], claimsWith(nil), nil)
	if _, err := g.Identify([]byte(later), day); !unavailable(err) {
		t.Errorf("whether the key is new cannot be told: %v", err)
	}
	identifyAt(t, g, good(t, jwt.MapClaims{"sub": "bob"}), day)
	i.publish("new")
	i.instead(nil)
	identifyAt(t, g, later, day)
}

// Checking a config asks nobody.
func TestCheckAsksNobody(t *testing.T) {
	i := newIssuer(t, "rsa")
	g, err := New(Setup{JWT: i.config(), Tenants: map[string]Tenant{"acme": {}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Identify([]byte(good(t, nil)), day); !unavailable(err) || i.asked.Load() != 0 {
		t.Errorf("%v, asked %d times", err, i.asked.Load())
	}
	g.Close(nil)
}

// A reload with the same section goes on with keys and tokens; a changed one with the keys alone; another issuer with nothing.
func TestReloadKeepsKeys(t *testing.T) {
	i := newIssuer(t, "rsa")
	g := tokenGate(t, i.config(), nil)
	text := good(t, nil)
	identifyAt(t, g, text, day)

	same := tokenGate(t, i.config(), g)
	g.Close(same)
	if same.tokens != g.tokens || !works(t, same, text, day) {
		t.Error("the same section was begun anew")
	}
	cfg := i.config()
	cfg.Audience = "other"
	changed := tokenGate(t, cfg, same)
	same.Close(changed)
	if changed.tokens.keys != same.tokens.keys || works(t, changed, text, day) || !works(t, changed, good(t, jwt.MapClaims{"aud": "other"}), day) || i.asked.Load() != 1 {
		t.Errorf("the keys were fetched %d times, or a token for the old audience works", i.asked.Load())
	}
	other := newIssuer(t, "new")
	moved := tokenGate(t, other.config(), changed)
	moved.Close(changed) // it is not used after all
	identifyAt(t, changed, good(t, jwt.MapClaims{"aud": "other", "sub": "bob"}), day)
	without, err := New(Setup{Tenants: map[string]Tenant{"acme": {}}, Counters: &counter.Counters{}}, changed)
	if err != nil || works(t, without, text, day) {
		t.Errorf("tokens work without the section: %v", err)
	}
	changed.Close(without)
	for name, g := range map[string]*Gate{"changed": changed, "moved": moved} {
		select {
		case <-g.tokens.keys.done:
		default:
			t.Errorf("%s: the keys' goroutine goes on", name)
		}
	}
}

// Close does not wait for an issuer that does not answer.
func TestCloseWhileFetching(t *testing.T) {
	i := newIssuer(t, "rsa")
	begun, hang := make(chan struct{}), make(chan struct{})
	defer close(hang)
	i.instead(func(http.ResponseWriter, *http.Request) { close(begun); <-hang })
	g := tokenGate(t, i.config(), nil)
	<-begun
	waiting := make(chan error)
	go func() {
		_, err := g.Identify([]byte(good(t, nil)), day)
		waiting <- err
	}()
	g.Close(nil)
	if err := <-waiting; !unavailable(err) {
		t.Errorf("%v", err)
	}
}

// The config's authorities count for the issuer's server, and only with them.
func TestAuthorities(t *testing.T) {
	i := newIssuer(t, "rsa")
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { i.serve(w) }))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // of the handshake that fails
	secure.StartTLS()
	defer secure.Close()
	cfg := i.config()
	cfg.JWKS = secure.URL
	if _, err := tokenGate(t, cfg, nil).Identify([]byte(good(t, nil)), day); !unavailable(err) {
		t.Errorf("an unknown authority: %v", err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := *cfg
	trusting.CA = file
	identifyAt(t, tokenGate(t, &trusting, nil), good(t, nil), day)
}

// A key set may hold anything; what is taken from it can verify.
func FuzzKeySet(f *testing.F) {
	i := newIssuer(f, "rsa", "p256", "ed")
	text, _ := json.Marshal(jwkset.JWKSMarshal{Keys: i.public})
	for _, seed := range []string{string(text), `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`, `{"keys":[{"kty":"RSA","n":"","e":"AAAA","use":"enc"}]}`, `[]`,
		`{"keys":[{"kty":"OKP","crv":"X25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`} {
		f.Add([]byte(seed))
	}
	digest := sha256.Sum256(nil)
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := readKeySet(text)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			for _, algorithm := range append(signatures, "none", "HS256", "") {
				if k.verifies(algorithm) && jwt.GetSigningMethod(algorithm).Verify("x", digest[:], k.key) == nil {
					t.Errorf("%s: anything is signed", algorithm)
				}
			}
		}
	})
}

// A token without kid is tried with few keys; where there are more it needs one.
func TestTokensWithoutKeyID(t *testing.T) {
	bare := sign(t, jwt.SigningMethodRS256, "", signers()["rsa"], claimsWith(nil), nil)
	for n, want := range map[int]bool{1: true, mostTried: true, mostTried + 1: false} {
		i := newIssuer(t, slices.Repeat([]string{"new"}, n-1)...)
		i.publish(append(slices.Repeat([]string{"new"}, n-1), "rsa", "p256", "ed")...) // of other kinds there may be more
		g := tokenGate(t, i.config(), nil)
		identifyAt(t, g, good(t, nil), day)
		if works(t, g, bare, day) != want {
			t.Errorf("of %d keys that suit: %t", n, !want)
		}
	}
}

// What goes wrong with the issuer is told without what may be a secret of its URL, or of those that it leads to.
func TestKeyURLsInTheLog(t *testing.T) {
	for name, location := range map[string]string{
		"refused": "http://user:CANARY@id.example.com/CANARY?x=CANARY", "broken": "https://user:CANARY@id.example.com:CANARY/", "nowhere": "https://127.0.0.1:1/a?CANARY",
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, "rsa")
			i.instead(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", location)
				w.WriteHeader(http.StatusFound)
			})
			log := &told{lines: make(chan string, 16)}
			k := startKeySet(i.server.URL+"/keys?p=CANARY", "", slog.New(slog.NewTextHandler(log, nil)))
			defer k.close()
			if line := <-log.lines; strings.Contains(line, "CANARY") || !strings.Contains(line, i.server.URL+"/keys") || !strings.Contains(line, "cause=") {
				t.Error(line)
			}
		})
	}
}

// told is a log whose lines can be waited for.
type told struct{ lines chan string }

func (l *told) Write(p []byte) (int, error) {
	select {
	case l.lines <- string(p):
	default:
	}
	return len(p), nil
}
