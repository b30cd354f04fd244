package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

const keyA, keyB = "jv-0123456789abcdefA", "jv-0123456789abcdefB"

var names = Names{Models: []string{"chat", "gpt-*", "llama/70b"}, Providers: []string{"openai", "gpu"}}

func gate(t *testing.T, tenants map[string]Tenant, limits Limits) *Gate {
	t.Helper()
	g, err := New(tenants, limits, names, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestIdentify(t *testing.T) {
	digest := sha256.Sum256([]byte(keyB))
	g := gate(t, map[string]Tenant{
		"acme":   {Keys: []Key{{Name: "a", Key: keyA, Expires: "2027-01-01"}}},
		"globex": {Keys: []Key{{Name: "b", Hash: "sha256:" + hex.EncodeToString(digest[:])}}},
	}, Limits{})
	now := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	for key, want := range map[string]string{keyA: "acme/a", keyB: "globex/b"} {
		c, err := g.Identify([]byte(key), now)
		if err != nil || c.Tenant+"/"+c.Key != want {
			t.Errorf("%s: %v, %v, want %s", key, c, err, want)
		}
	}
	refused := map[string]time.Time{"": now, keyA + "x": now, keyA[:len(keyA)-1]: now, strings.ToUpper(keyA): now, keyA: now.Add(time.Second)}
	for key, at := range refused {
		_, err := g.Identify([]byte(key), at)
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 401 || e.Code != "invalid_api_key" || key != "" && strings.Contains(e.Error(), key) {
			t.Errorf("%q at %s: %v", key, at, err)
		}
	}
}

func TestAllows(t *testing.T) {
	for _, test := range []struct {
		models []string
		model  string
		direct bool
		want   bool
	}{
		{nil, "chat", false, true},
		{nil, "openai/gpt-4o", true, false},
		{[]string{}, "chat", false, false},
		{[]string{"chat"}, "chat", false, true},
		{[]string{"chat"}, "gpt-4o", false, false},
		{[]string{"gpt-4*"}, "gpt-4o", false, true},
		{[]string{"gpt-4*"}, "gpt-3", false, false},
		{[]string{"openai/*"}, "openai/gpt-4o", true, true},
		{[]string{"openai/*"}, "gpu/x", true, false},
		{[]string{"openai/gpt-4o"}, "openai/gpt-4o-mini", true, false},
		{[]string{"*"}, "gpu/x", true, true},
	} {
		g := gate(t, map[string]Tenant{"acme": {Models: test.models, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
		c, err := g.Identify([]byte(keyA), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Allows(test.model, test.direct); got != test.want {
			t.Errorf("%v allows %q: %t", test.models, test.model, got)
		}
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	_, err := New(map[string]Tenant{
		"acme": {Models: []string{"chat", "nope", "elsewhere/*", "a*b*"}, Limits: Limits{Concurrency: -1}, Keys: []Key{
			{Name: "a", Key: keyA}, {Name: "a", Key: keyB}, {Name: "c"}, {Name: "d", Key: "short"}, {Name: "e", Hash: "md5:00"},
			{Name: "f", Key: keyA, Hash: "sha256:00"}, {Key: "jv-0123456789abcdefC"}, {Name: "g", Key: "jv-0123456789abcdefD", Expires: "soon"},
			{Name: "h", Key: "jv-0123456789abcdefE", Role: "owner"}, {Name: "i", Key: "jv-0123 456789abcdefF"},
		}},
		"globex": {Keys: []Key{{Name: "a", Key: keyA}}},
	}, Limits{Concurrency: -2}, names, nil)
	for _, want := range []string{
		"limits.concurrency: ", "tenants.acme.limits.concurrency: ",
		`tenants.acme.models[1]: unknown model "nope" (have: chat, gpt-*, llama/70b; or provider/model with: openai, gpu)`,
		"tenants.acme.models[2]: ", "tenants.acme.models[3]: ", "tenants.acme.keys[1].name: ", "tenants.acme.keys[2].key: ",
		"tenants.acme.keys[3].key: ", "tenants.acme.keys[4].hash: ", "tenants.acme.keys[5].key: ", "tenants.acme.keys[6].name: ",
		"tenants.acme.keys[7].expires: ", "tenants.acme.keys[8].role: ", "tenants.acme.keys[9].key: ",
		`tenants.globex.keys[0]: the same key as "a" of tenant "acme"`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	for _, secret := range []string{keyA, keyB, "short"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the message shows a key: %v", err)
		}
	}
}

// The limit is reached and never passed, and a place that is free is given.
func TestConcurrency(t *testing.T) {
	const limit, callers, turns = 7, 16, 2000
	g := gate(t, map[string]Tenant{
		"acme":   {Limits: Limits{Concurrency: limit}, Keys: []Key{{Name: "a", Key: keyA}}},
		"globex": {Keys: []Key{{Name: "b", Key: keyB}}},
	}, Limits{Concurrency: limit + 2})
	acme, _ := g.Identify([]byte(keyA), time.Now())
	globex, _ := g.Identify([]byte(keyB), time.Now())

	var inside, most, served atomic.Int64
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range turns {
				grant, err := g.Admit(acme)
				if err != nil {
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				served.Add(1)
				inside.Add(-1)
				grant.Settle()
				grant.Settle() // once is enough, twice does no harm
			}
		})
	}
	wait.Wait()
	if most.Load() > limit || served.Load() == 0 {
		t.Errorf("%d at once of %d, %d served", most.Load(), limit, served.Load())
	}

	var held []Grant
	for range limit {
		grant, err := g.Admit(acme)
		if err != nil {
			t.Fatalf("place %d of %d: %v", len(held)+1, limit, err)
		}
		held = append(held, grant)
	}
	_, err := g.Admit(acme)
	var e *wire.Error
	if !errors.As(err, &e) || e.Status != 429 || e.Code != "rate_limit_exceeded" || e.Retry <= 0 {
		t.Errorf("over the tenant's limit: %v", err)
	}
	for range 2 { // what acme was refused took no place of the gateway's
		if _, err := g.Admit(globex); err != nil {
			t.Errorf("another tenant is held up: %v", err)
		}
	}
	if _, err := g.Admit(globex); err == nil {
		t.Error("the gateway's limit was passed")
	}

	next, err := New(map[string]Tenant{"acme": {Limits: Limits{Concurrency: limit}, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{}, names, g)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := next.Identify([]byte(keyA), time.Now())
	if _, err := next.Admit(again); err == nil {
		t.Error("a reload forgot the requests in flight")
	}
	held[0].Settle()
	if _, err := next.Admit(again); err != nil {
		t.Errorf("a place given back before the reload is lost: %v", err)
	}
}
