package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

const keyA, keyB = "jv-0123456789abcdefA", "jv-0123456789abcdefB"

var names = Names{Models: []string{"chat", "gpt-*", "llama/70b"}, Providers: []string{"openai", "gpu"}}

func gate(t *testing.T, tenants map[string]Tenant, limits Limits) *Gate {
	t.Helper()
	g, err := New(Setup{Tenants: tenants, Limits: limits, Names: names}, nil)
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
	refused := map[string]time.Time{"": now, "a.b.c": now, keyA + "x": now, keyA[:len(keyA)-1]: now, strings.ToUpper(keyA): now, keyA: now.Add(time.Second)}
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
	_, err := New(Setup{Tenants: map[string]Tenant{
		"acme": {Models: []string{"chat", "nope", "elsewhere/*", "a*b*"}, Limits: Limits{Concurrency: -1}, Keys: []Key{
			{Name: "a", Key: keyA}, {Name: "a", Key: keyB}, {Name: "c"}, {Name: "d", Key: "short"}, {Name: "e", Hash: "md5:00"},
			{Name: "f", Key: keyA, Hash: "sha256:00"}, {Key: "jv-0123456789abcdefC"}, {Name: "g", Key: "jv-0123456789abcdefD", Expires: "soon"},
			{Name: "h", Key: "jv-0123456789abcdefE", Role: "owner"}, {Name: "i", Key: "jv-0123 456789abcdefF"},
			{Name: "j/k", Key: "jv-0123456789abcdefG"}, {Name: "jwt:x", Key: "jv-0123456789abcdefH"}, {Name: "l", Key: "jv-0123456789abcdefI", Team: "ops"},
			{Name: "m", Key: "jv-0123456789abcdefJ", Limits: Limits{Timezone: "Nowhere"}},
		}, Teams: map[string]Team{"dev": {Models: []string{"nope"}, Limits: Limits{Algorithm: "x"}}, "a\nb": {}}, Priority: 11, Timezone: "Mars",
			UserLimits: Limits{Concurrency: -1}},
		"a/b": {}, " c": {}, "..": {}, strings.Repeat("n", 65): {}, "\xff": {}, "\u202e": {},
		"globex": {Keys: []Key{{Name: "a", Key: keyA}}},
	}, Limits: Limits{Concurrency: -2}, Names: names}, nil)
	for _, want := range []string{
		"limits.concurrency: ", "tenants.acme.limits.concurrency: ",
		`tenants.acme.models[1]: unknown model "nope" (have: chat, gpt-*, llama/70b; or provider/model with: openai, gpu)`,
		"tenants.acme.models[2]: ", "tenants.acme.models[3]: ", "tenants.acme.keys[1].name: ", "tenants.acme.keys[2].key: ",
		"tenants.acme.keys[3].key: ", "tenants.acme.keys[4].hash: ", "tenants.acme.keys[5].key: ", "tenants.acme.keys[6].name: ",
		"tenants.acme.keys[7].expires: ", "tenants.acme.keys[9].key: ",
		`tenants.acme.keys[8].role: unknown role "owner" (have: developer, operator, super_admin, tenant_admin, viewer)`,
		`tenants.acme.keys[10].name: the name "j/k" holds a slash`, `tenants.acme.keys[11].name: the name "jwt:x" begins like that of a token`,
		`tenants.acme.keys[12].team: unknown team "ops" (have: dev)`, `tenants.acme.keys[13].limits.timezone: "Nowhere"`,
		`tenants.acme.teams.dev.models[0]: unknown model "nope"`, "tenants.acme.teams.dev.limits.algorithm: ", `the name "a\nb" holds what cannot be printed`,
		"tenants.acme.priority: must be from 1 to 10", `tenants.acme.timezone: "Mars" is no time zone`, "tenants.acme.user_limits.concurrency: ",
		`tenants.a/b: the name "a/b" holds a slash`, `tenants. c: the name " c" begins or ends with a space`, "tenants...: ",
		": a name has at most 64 bytes", `the name "\xff" holds`, `the name "\u202e" holds`,
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

// Expiry is a moment: the day in UTC begins it, a time zone moves it.
func TestExpiry(t *testing.T) {
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for expires, works := range map[string]bool{
		"2026-07-31": false, "2026-08-01": false, "2026-08-02": true, "2026-08-01T12:00:00Z": false, "2026-08-01T12:00:01Z": true,
		"2026-08-01T13:00:00+01:00": false, "2026-08-01T13:30:00+01:00": true, "": true,
	} {
		g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA, Expires: expires}}}}, Limits{})
		if _, err := g.Identify([]byte(keyA), now); (err == nil) != works {
			t.Errorf("%q: %v", expires, err)
		}
	}
}
