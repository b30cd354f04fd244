package policy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

func identify(t *testing.T, g *Gate, key string) *Caller {
	t.Helper()
	c, err := g.Identify([]byte(key), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// works tells whether a credential is let in; one that is not must get the one answer there is.
func works(t *testing.T, g *Gate, key string, now time.Time) bool {
	t.Helper()
	_, err := g.Identify([]byte(key), now)
	if err == nil {
		return true
	}
	var e *wire.Error
	const answer = `{"error":{"message":"Incorrect API key provided. It is unknown, revoked or expired.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`
	if !errors.As(err, &e) || e.Status != 401 || string(e.AppendJSON(nil)) != answer {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), key) {
		t.Errorf("the key is told: %v", err)
	}
	return false
}

func storedKey(tenant, name, key string) StoredKey {
	return StoredKey{ID: tenant + "/" + name, Tenant: tenant, Name: name, Digest: sha256.Sum256([]byte(key)), Created: made}
}

var made = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

func TestLearn(t *testing.T) {
	now := made.Add(time.Hour)
	g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}, Teams: map[string]Team{"dev": {}}}}, Limits{})
	if !g.Single() || g.Keys() != 1 || works(t, g, "jv-stored", now) {
		t.Error("before")
	}
	expiring, revoked, fading, member, own := storedKey("acme", "expiring", "k1"), storedKey("acme", "revoked", "k2"), storedKey("acme", "a", "k3"),
		storedKey("acme", "member", "k4"), storedKey("initech", "own", "k5")
	expiring.Expires, revoked.Revoked = now.Add(time.Minute), now.Add(-time.Minute)
	fading.Expires, fading.Revoked = now.Add(time.Hour), now.Add(time.Minute) // rotated, so that its name is free
	member.Team, member.Role = "dev", Viewer
	s := Stored{Tenants: map[string]StoredTenant{"initech": {Created: made}}, Keys: []StoredKey{expiring, revoked, fading, member, own}}
	if err := g.Learn(s); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{keyA: true, "k1": true, "k2": false, "k3": true, "k4": true, "k5": true} {
		if got := works(t, g, key, now); got != want {
			t.Errorf("%s works: %t", key, got)
		}
	}
	if works(t, g, "k1", now.Add(time.Minute)) || works(t, g, "k3", now.Add(time.Minute)) || !works(t, g, "k4", now.Add(time.Minute)) {
		t.Error("a minute later")
	}
	if c := identify(t, g, "k4"); c.Team != "dev" || c.Role != Viewer || c.Tenant != "acme" || c.Key != "member" {
		t.Errorf("%+v", c)
	}
	if g.Single() || g.Keys() != 6 {
		t.Errorf("%d keys", g.Keys())
	}
	if err := g.Learn(Stored{}); err != nil || works(t, g, "k4", now) || works(t, g, "k5", now) || !works(t, g, keyA, now) {
		t.Errorf("what is gone still works: %v", err)
	}
}

// What has not changed stays the very same, so that its counters are not looked up again.
func TestLearnKeepsWhatStays(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{Concurrency: 100})
	limited := storedKey("acme", "limited", "k1")
	limited.Limits.Concurrency = 3
	stored := func() Stored { // all anew, as it is read from the store
		return Stored{Keys: []StoredKey{limited, storedKey("initech", "own", "k2")}, Tenants: map[string]StoredTenant{
			"initech": {Tenant: Tenant{Models: []string{"chat"}, Limits: Limits{Concurrency: 5}}, Created: made}}}
	}
	learn := func(s Stored) {
		t.Helper()
		if err := g.Learn(s); err != nil {
			t.Fatal(err)
		}
	}
	learn(stored())
	a, k1, k2 := identify(t, g, keyA), identify(t, g, "k1"), identify(t, g, "k2")
	learn(stored())
	if identify(t, g, keyA) != a || identify(t, g, "k1") != k1 || identify(t, g, "k2") != k2 {
		t.Error("what stayed was made anew")
	}
	limited.Limits.Concurrency = 4
	s := stored()
	s.Tenants["initech"] = StoredTenant{Tenant: Tenant{Models: []string{"chat"}, Limits: Limits{Concurrency: 6}}, Created: made}
	learn(s)
	if got := identify(t, g, "k1"); got == k1 || got.scopes[0].limits[0].rate.Amount != 4 || got.scopes[1] != k1.scopes[1] {
		t.Error("the key's new limit is not in force, or the gateway's was made anew")
	}
	if got := identify(t, g, "k2"); got == k2 || got.scopes[0].limits[0].rate.Amount != 6 {
		t.Error("the tenant's new limit is not in force")
	}
	limited.Limits, limited.Role = Limits{}, Viewer
	learn(stored())
	if got := identify(t, g, "k1"); got.May(ChatCreate) || len(got.scopes) != 1 {
		t.Errorf("%+v", got)
	}
}

// Whose limits hold, narrow to wide.
func TestScopes(t *testing.T) {
	one := Limits{Concurrency: 1}
	g := gate(t, map[string]Tenant{
		"acme": {Limits: one, UserLimits: one, Timezone: "Asia/Shanghai", Priority: 7, Teams: map[string]Team{"dev": {Limits: one}, "free": {}}, Keys: []Key{
			{Name: "a", Key: "jv-0123456789abc-a", Limits: one, Team: "dev"}, {Name: "b", Key: "jv-0123456789abc-b", Team: "free"}, {Name: "c", Key: "jv-0123456789abc-c", Limits: one}}},
		"globex": {Keys: []Key{{Name: "d", Key: "jv-0123456789abc-d"}}},
	}, one)
	for key, want := range map[string]string{
		"a": "tenant/acme/key/a/concurrency tenant/acme/team/dev/concurrency tenant/acme/concurrency gateway/concurrency",
		"b": "tenant/acme/concurrency gateway/concurrency",
		"c": "tenant/acme/key/c/concurrency tenant/acme/concurrency gateway/concurrency",
		"d": "gateway/concurrency",
	} {
		var got []string
		c := identify(t, g, "jv-0123456789abc-"+key)
		for _, s := range c.scopes {
			got = append(got, s.limits[0].spec.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
	acme, globex := identify(t, g, "jv-0123456789abc-a").tenant, identify(t, g, "jv-0123456789abc-d").tenant
	if acme.users == nil || acme.users.limits[0].counter != nil || acme.priority != 7 || globex.users != nil || globex.priority != 5 {
		t.Errorf("%+v, %+v", acme, globex)
	}
}

func TestTeamsNarrowModels(t *testing.T) {
	g := gate(t, map[string]Tenant{
		"acme": {Models: []string{"chat", "openai/*"}, Teams: map[string]Team{"dev": {Models: []string{"gpt-*", "chat"}}, "any": {}, "none": {Models: []string{}}}, Keys: []Key{
			{Name: "dev", Key: "jv-0123456789abc-dev", Team: "dev"}, {Name: "any", Key: "jv-0123456789abc-any", Team: "any"}, {Name: "none", Key: "jv-0123456789abc-none", Team: "none"}}},
		"free": {Teams: map[string]Team{"dev": {Models: []string{"chat", "openai/*"}}}, Keys: []Key{{Name: "dev", Key: "jv-0123456789abc-free", Team: "dev"}}},
	}, Limits{})
	for key, want := range map[string]string{"dev": "chat", "any": "chat openai/gpt-4o", "none": "", "free": "chat"} {
		var got []string
		c := identify(t, g, "jv-0123456789abc-"+key)
		for _, model := range []string{"chat", "gpt-4o", "llama/70b", "openai/gpt-4o"} {
			if c.Allows(model, strings.HasPrefix(model, "openai/")) {
				got = append(got, model)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", key, got, want)
		}
	}
}

// What stands on both sides is told. The configuration's stays in force, and so does all that has nothing to do with it.
func TestConflicts(t *testing.T) {
	tenants := map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}}, "globex": {}}
	g := gate(t, tenants, Limits{})
	s := Stored{
		Tenants: map[string]StoredTenant{"acme": {Tenant: Tenant{Models: []string{}}, Created: made}},
		Keys: []StoredKey{storedKey("acme", "b", "k1"), storedKey("globex", "same", keyA), storedKey("globex", "twice", "k2"),
			storedKey("globex", "again", "k2"), storedKey("globex", "good", "k3")},
	}
	err := g.Learn(s)
	var conflict Conflict
	for _, want := range []string{
		"tenants.acme: stands in the configuration and in the state store (made 2026-11-23); delete one: jarvis-gateway tenant delete acme",
		`tenants.globex.keys: "same" of the state store is the same key as "a" of tenant "acme"`,
		`tenants.globex.keys: "again" of the state store is the same key as "twice" of tenant "globex"`,
	} {
		if !errors.As(err, &conflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	now := made.Add(time.Hour)
	if c := identify(t, g, keyA); c.Tenant != "acme" || !c.Allows("chat", false) {
		t.Error("the configuration's tenant is not in force")
	}
	if works(t, g, "k1", now) || !works(t, g, "k2", now) || !works(t, g, "k3", now) {
		t.Error("more or less was left out than what cannot be told apart")
	}

	named := storedKey("acme", "a", "k4")
	if err := g.Learn(Stored{Keys: []StoredKey{named}}); err == nil || err.Error() !=
		`tenants.acme.keys: "a" stands in the configuration and in the state store (made 2026-11-23); revoke one: jarvis-gateway key revoke acme a` {
		t.Errorf("%v", err)
	}
	if !g.Configured("acme") || g.Configured("initech") || !g.ConfiguredKey("acme", "a") || g.ConfiguredKey("acme", "b") || g.ConfiguredKey("initech", "a") {
		t.Error("what stands in the configuration is not known")
	}
}

// A reload that brings a conflict changes nothing; one that does not keeps what was learnt.
func TestReloadAndStored(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
	s := Stored{Tenants: map[string]StoredTenant{"initech": {Created: made}}, Keys: []StoredKey{storedKey("initech", "own", "k1"), storedKey("acme", "b", "k2")}}
	if err := g.Learn(s); err != nil {
		t.Fatal(err)
	}
	for want, tenants := range map[string]map[string]Tenant{
		"tenants.initech: stands in":                {"acme": {}, "initech": {}},
		`tenants.acme.keys: "b" stands in the`:      {"acme": {Keys: []Key{{Name: "b", Key: keyB}}}},
		`tenants.acme.keys: "b" of the state store`: {"acme": {Keys: []Key{{Name: "c", Hash: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("k2")))}}}},
	} {
		if _, err := New(Setup{Tenants: tenants, Names: names}, g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	next, err := New(Setup{Tenants: map[string]Tenant{"acme": {}}, Names: names}, g)
	if err != nil {
		t.Fatal(err)
	}
	if works(t, next, keyA, made) || !works(t, next, "k1", made) || !works(t, next, "k2", made) || !works(t, g, keyA, made) {
		t.Error("the reload lost what was learnt, or kept what the config no longer has")
	}
	last, err := New(Setup{Tenants: map[string]Tenant{"globex": {}}, Names: names}, next) // k2's tenant is gone: no conflict, but nobody's key
	if err != nil || works(t, last, "k2", made) || !works(t, last, "k1", made) {
		t.Errorf("%v", err)
	}
	if err := last.Learn(s); err == nil || !strings.Contains(err.Error(), `tenants.acme: unknown, but the state store has its key "b"`) {
		t.Errorf("%v", err)
	}
}

// One bad row keeps nothing else from being learnt: a revocation above all.
func TestLearnLeavesOutWhatMakesNoSense(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {}}, Limits{})
	role, team, limits, good := storedKey("acme", "role", "k1"), storedKey("acme", "team", "k2"), storedKey("acme", "limits", "k3"), storedKey("acme", "good", "k4")
	role.Role, team.Team, limits.Limits.Timezone = "gone", "gone", "Nowhere"
	limits.Limits.Concurrency = 1
	s := Stored{Keys: []StoredKey{role, team, limits, good, storedKey("bad", "of", "k5")}, Tenants: map[string]StoredTenant{
		"bad": {Tenant: Tenant{Limits: Limits{Concurrency: -1}}}, "old": {Tenant: Tenant{Models: []string{"gone", "chat"}}}}}
	err := g.Learn(s)
	for _, want := range []string{`tenants.acme.keys.role.role: unknown role "gone"`, `tenants.acme.keys.team.team: unknown team "gone"`,
		"tenants.acme.keys.limits.limits.timezone: ", "tenants.bad.limits.concurrency: ", "tenants.bad: unknown, but"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if errors.As(err, new(Conflict)) || strings.Contains(err.Error(), "old") {
		t.Errorf("%v", err)
	}
	for key, want := range map[string]bool{"k1": false, "k2": false, "k3": false, "k4": true, "k5": false} {
		if works(t, g, key, made) != want {
			t.Errorf("%s works: %t", key, !want)
		}
	}
}

func TestCheckForTheStore(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {Teams: map[string]Team{"dev": {}}}}, Limits{})
	for want, err := range map[string]error{
		`name: the name "a/b" holds a slash`: g.CheckTenant("a/b", Tenant{}),
		`models[0]: unknown model "gone"`:    g.CheckTenant("a", Tenant{Models: []string{"gone"}}),
		"limits.concurrency: ":               g.CheckTenant("a", Tenant{Limits: Limits{Concurrency: -1}}),
		"teams.x.limits.concurrency: ":       g.CheckTenant("a", Tenant{Teams: map[string]Team{"x": {Limits: Limits{Concurrency: -1}}}}),
		"keys: are made one by one":          g.CheckTenant("a", Tenant{Keys: []Key{}}),
		`tenant: unknown tenant "nobody"`:    g.CheckKey(storedKey("nobody", "k", "k")),
		"name: looks like a key":             g.CheckKey(storedKey("acme", "x jv-"+strings.Repeat("a", 38), "k")),
		`name: the name "jwt:x" begins`:      g.CheckKey(storedKey("acme", "jwt:x", "k")),
		`role: unknown role "x"`:             g.CheckKey(StoredKey{Tenant: "acme", Name: "k", Role: "x"}),
		`team: unknown team "x" (have: dev)`: g.CheckKey(StoredKey{Tenant: "acme", Name: "k", Team: "x"}),
		"limits.timezone: ":                  g.CheckKey(StoredKey{Tenant: "acme", Name: "k", Limits: Limits{Timezone: "x"}}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := errors.Join(g.CheckTenant("北京", Tenant{Models: []string{"chat"}}), g.CheckKey(StoredKey{Tenant: "acme", Name: "后端 1", Team: "dev", Role: Viewer})); err != nil {
		t.Error(err)
	}
}

// A digest whose first bytes are another's too is found behind it.
func TestDigestsThatBeginAlike(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {}}, Limits{})
	var s Stored
	for i := range 50 {
		k := StoredKey{ID: fmt.Sprint(i), Tenant: "acme", Name: fmt.Sprint("k", i)}
		k.Digest[0], k.Digest[31] = byte(i%3), byte(i)
		s.Keys = append(s.Keys, k)
	}
	if err := g.Learn(s); err != nil || g.Keys() != 50 {
		t.Fatal(err)
	}
	for _, k := range s.Keys {
		if c := g.directory.Load().find(&k.Digest); c == nil || c.Key != k.Name {
			t.Errorf("%s: %v", k.Name, c)
		}
		k.Digest[15] = 1
		if c := g.directory.Load().find(&k.Digest); c != nil {
			t.Errorf("%v", c)
		}
	}
}

// Identify beside Learn: a key that stays always works, one that is revoked never does again.
func TestIdentifyBesideLearn(t *testing.T) {
	g := gate(t, map[string]Tenant{"acme": {Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
	if err := g.Learn(Stored{Keys: []StoredKey{storedKey("acme", "stays", "stays")}}); err != nil {
		t.Fatal(err)
	}
	var gone atomic.Bool
	var crowd sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				identify(t, g, keyA)
				identify(t, g, "stays")
				late := gone.Load()
				if _, err := g.Identify([]byte("goes"), made); late && err == nil {
					t.Error("a revoked key works")
					return
				}
			}
		})
	}
	defer crowd.Wait()
	defer close(stop)
	for i := range 200 {
		s := Stored{Keys: []StoredKey{storedKey("acme", "stays", "stays")}}
		if i < 100 {
			s.Keys = append(s.Keys, storedKey("acme", "goes", "goes"))
		}
		if err := g.Learn(s); err != nil {
			t.Error(err)
		}
		if i == 100 {
			gone.Store(true)
		}
	}
}

// many is so many keys of ten tenants.
func many(n int, limits Limits) Stored {
	s := Stored{Tenants: map[string]StoredTenant{}}
	for i := range 10 {
		s.Tenants[fmt.Sprint("tenant-", i)] = StoredTenant{Created: made}
	}
	for i := range n {
		k := storedKey(fmt.Sprint("tenant-", i%10), fmt.Sprint("key-", i), fmt.Sprint("jv-", i))
		k.Limits = limits
		s.Keys = append(s.Keys, k)
	}
	return s
}

func BenchmarkIdentify(b *testing.B) {
	g, err := New(Setup{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := g.Learn(many(10_000, Limits{})); err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for name, key := range map[string]string{"known": "jv-4711", "unknown": "jv-0123456789abcdef"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			credential := []byte(key)
			for b.Loop() {
				if _, err := g.Identify(credential, now); (err == nil) != (name == "known") {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLearn(b *testing.B) {
	for name, limits := range map[string]Limits{"plain": {}, "limited": {Requests: Rates{{Amount: 600, Per: "m"}}, Concurrency: 50}} {
		s, again := many(100_000, limits), many(100_000, limits)
		b.Run(name+"/first", func(b *testing.B) {
			for b.Loop() {
				g, _ := New(Setup{}, nil)
				if err := g.Learn(s); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			g, _ := New(Setup{}, nil)
			if err := g.Learn(s); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := g.Learn(again); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
