package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"jarvis-gateway/proxy/wire"
)

const (
	renewEvery  = 10 * time.Minute // a key that the issuer has withdrawn is trusted no longer than this
	renewPause  = 10 * time.Second // between fetches that strangers can cause, with tokens of unknown keys
	retryPause  = time.Second      // after a fetch that failed, doubled up to renewEvery
	fetchTime   = 5 * time.Second
	maxKeySet   = 1 << 20 // bytes
	maxKeys     = 64
	minRSA      = 2048 // bits
	maxRedirect = 3
	mostTried   = 4 // keys for one token: each costs a verification, and anyone can send tokens
)

// keySet is an issuer's public keys. One goroutine fetches them, again and again; what was fetched last stays good while the
// issuer cannot be reached.
type keySet struct {
	url    string
	pem    string // the authorities to trust, "" for the system's
	client *http.Client
	log    *slog.Logger
	keys   atomic.Pointer[[]publicKey] // nil until a fetch succeeds
	pause  time.Duration
	stop   context.CancelFunc
	done   chan struct{}
	wake   chan struct{}

	mu     sync.Mutex
	busy   bool          // a fetch is under way or about to be
	ended  time.Time     // when the last one was over
	failed bool          // the last one
	round  chan struct{} // closed at the end of the fetch under way, or of the next one
}

type publicKey struct {
	id        string
	algorithm string // "": any that suits
	key       any
}

// startKeySet begins to fetch. close ends it.
func startKeySet(address, pem string, log *slog.Logger) *keySet {
	ctx, stop := context.WithCancel(context.Background())
	k := &keySet{url: address, pem: pem, log: log, client: keyClient(pem), pause: renewPause, stop: stop,
		done: make(chan struct{}), wake: make(chan struct{}, 1), round: make(chan struct{}), busy: true}
	k.wake <- struct{}{}
	go k.run(ctx)
	return k
}

// close ends the fetching and waits for it.
func (k *keySet) close() {
	k.stop()
	<-k.done
}

// keyClient keeps no connection open: it asks once in ten minutes.
func keyClient(pem string) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 64 << 10, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if pem != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(pem))
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: transport, Timeout: fetchTime, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirect {
			return errors.New("too many redirects")
		}
		return checkKeyURL(r.URL)
	}}
}

// plainURL is an URL without what may be a secret.
func plainURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return wire.Masked
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// checkKeyURL refuses what others on the way could answer.
func checkKeyURL(u *url.URL) error {
	ip := net.ParseIP(u.Hostname())
	here := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !here) {
		return errors.New("expected https://host/path (http only on this machine), without user or fragment")
	}
	return nil
}

// run fetches when the time has come, or a token asks for a key that is not there.
func (k *keySet) run(ctx context.Context) {
	defer close(k.done)
	again := time.NewTimer(renewEvery)
	defer again.Stop()
	retry := retryPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-again.C:
		}
		k.mu.Lock()
		k.busy = true
		k.mu.Unlock()
		err := k.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			k.log.Warn("the keys of the identity provider could not be fetched", "url", plainURL(k.url), "cause", withoutURL(err).Error(), "have_older", k.keys.Load() != nil)
			again.Reset(retry)
			retry = min(2*retry, renewEvery)
		} else {
			again.Reset(renewEvery)
			retry = retryPause
		}
		k.over(err)
	}
}

// over tells those who wait that a fetch has ended.
func (k *keySet) over(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy, k.failed, k.ended = false, err != nil, time.Now()
	select {
	case <-k.wake: // asked for while it was under way: this was it
	default:
	}
	close(k.round)
	k.round = make(chan struct{})
}

func (k *keySet) fetch(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("answered with status %d", res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return err
	}
	keys, err := readKeySet(text)
	if err != nil {
		return err
	}
	k.keys.Store(&keys)
	return nil
}

// readKeySet reads a JSON Web Key Set. Keys that sign nothing we accept are left out.
func readKeySet(text []byte) ([]publicKey, error) {
	if len(text) > maxKeySet {
		return nil, errors.New("the key set is too large")
	}
	var set struct {
		Keys []jwkset.JWKMarshal `json:"keys"`
	}
	if json.Unmarshal(text, &set) != nil { // its message would quote the answer
		return nil, errors.New("answered with something else than a key set")
	}
	var keys []publicKey
	for _, m := range set.Keys {
		if key, ok := readKey(m); ok && len(keys) < maxKeys {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no key that can be used")
	}
	return keys, nil
}

func readKey(m jwkset.JWKMarshal) (publicKey, bool) {
	k := publicKey{id: m.KID, algorithm: string(m.ALG)}
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return k, false
	}
	bare := jwkset.JWKMarshal{KTY: m.KTY, KID: m.KID, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E} // no certificates, nothing private
	made, err := jwkset.NewJWKFromMarshal(bare, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return k, false
	}
	k.key = made.Key()
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return k, key.N.BitLen() >= minRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return k, true
	}
	return k, false
}

// verifies tells whether the key is one for an algorithm: a token must not choose how its key is used.
func (k *publicKey) verifies(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

var (
	errNoKeys     = errors.New("the keys of the identity provider cannot be fetched")
	errUnknownKey = errors.New("signed with an unknown key")
)

// find looks up the keys that may have signed a token, by its kid; one without can be told only among few keys. One that is unknown may be new: then the set is fetched again, but not
// more often than every pause.
func (k *keySet) find(id, algorithm string) (jwt.VerificationKeySet, error) {
	if found := k.lookup(id, algorithm); len(found.Keys) > 0 {
		return found, nil
	}
	failed := k.renew()
	found := k.lookup(id, algorithm)
	switch {
	case len(found.Keys) > 0:
		return found, nil
	case failed:
		return found, errNoKeys // it may be a good one
	}
	return found, errUnknownKey
}

func (k *keySet) lookup(id, algorithm string) (found jwt.VerificationKeySet) {
	keys := k.keys.Load()
	if keys == nil {
		return found
	}
	for i := range *keys {
		if key := &(*keys)[i]; (id == "" || key.id == id) && key.verifies(algorithm) {
			found.Keys = append(found.Keys, key.key)
		}
	}
	if len(found.Keys) > mostTried {
		return jwt.VerificationKeySet{}
	}
	return found
}

// renew waits for the fetch under way, or for one of its own if the last is long enough ago. It tells whether the last failed.
func (k *keySet) renew() (failed bool) {
	k.mu.Lock()
	pause := k.pause
	if k.failed {
		pause = min(pause, retryPause)
	}
	if !k.busy && time.Since(k.ended) < pause {
		defer k.mu.Unlock()
		return k.failed
	}
	if !k.busy {
		k.busy = true
		k.wake <- struct{}{}
	}
	round := k.round
	k.mu.Unlock()
	patience := time.NewTimer(fetchTime)
	defer patience.Stop()
	select {
	case <-round:
	case <-patience.C:
		return true
	case <-k.done:
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}
