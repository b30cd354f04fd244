package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/policy/guard"
)

func over(model string) Limits {
	return Limits{Requests: Rates{{Amount: 1, Per: "d", OnExceed: OnExceed{Action: "downgrade", Model: model}}}}
}

// A limit sends nobody to a model that he may not ask for himself, whoever's limit it is.
func TestDowngradesStayWithinTheModels(t *testing.T) {
	dev := func(models []string, limits Limits) map[string]Team {
		return map[string]Team{"dev": {Models: models, Limits: limits}}
	}
	for _, test := range []struct {
		tenant Tenant
		want   string // of the error; "" for none
	}{
		{Tenant{Models: []string{"chat"}, Limits: over("chat")}, ""},
		{Tenant{Models: []string{"gpt-4*"}, Limits: over("gpt-4o")}, ""},
		{Tenant{Models: []string{"openai/*"}, Limits: over("openai/o3")}, ""},
		{Tenant{Limits: over("gpt-4o")}, ""},
		{Tenant{Limits: Limits{OnExceed: OnExceed{Action: "downgrade", Model: "chat"}}}, ""},
		{Tenant{Models: []string{"chat"}, Teams: dev(nil, over("chat"))}, ""},
		{Tenant{Models: []string{"chat"}, Limits: over("gpt-4o")}, `limits.requests[0].on_exceed.downgrade: "gpt-4o" is no model that may be asked for here (choices: chat)`},
		{Tenant{Models: []string{"chat", "gpu/*"}, Limits: over("openai/o3")}, "limits.requests[0].on_exceed.downgrade: \"openai/o3\" is no model that may be asked for here (choices: chat, gpu/*)"},
		{Tenant{Models: []string{}, Limits: over("chat")}, "limits.requests[0].on_exceed.downgrade: "},
		{Tenant{Models: []string{"*"}, Limits: over("nope")}, "limits.requests[0].on_exceed.downgrade: "},
		{Tenant{Limits: over("openai/o3")}, `limits.requests[0].on_exceed.downgrade: "openai/o3" is no model that may be asked for here (choices: chat, gpt-*, llama/70b)`},
		{Tenant{Limits: over("gpt-*")}, "limits.requests[0].on_exceed.downgrade: "},
		{Tenant{Models: []string{"chat"}, Limits: Limits{OnExceed: OnExceed{Action: "downgrade", Model: "gpt-4o"}}}, "limits.on_exceed.downgrade: "},
		{Tenant{Models: []string{"chat"}, UserLimits: over("gpt-4o")}, "user_limits.requests[0].on_exceed.downgrade: "},
		{Tenant{Models: []string{"chat"}, Teams: dev(nil, over("gpt-4o"))}, "teams.dev.limits.requests[0].on_exceed.downgrade: "},
		{Tenant{Models: []string{"chat", "gpt-4o"}, Teams: dev([]string{"gpt-4o"}, over("chat"))}, `teams.dev.limits.requests[0].on_exceed.downgrade: "chat" is no model that may be asked for here (choices: gpt-4o)`},
	} {
		g := gate(t, nil, Limits{})
		_, err := New(Setup{Tenants: map[string]Tenant{"acme": test.tenant}, Names: names}, nil)
		for at, err := range map[string]error{"tenants.acme.": err, "": g.CheckTenant("acme", test.tenant)} {
			if (err == nil) != (test.want == "") || err != nil && (!strings.HasPrefix(err.Error(), at+test.want) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%+v: %v, want %s", test.tenant, err, at+test.want)
			}
		}
		if err := g.Learn(Stored{Tenants: map[string]StoredTenant{"acme": {Tenant: test.tenant}}}); err != nil {
			t.Errorf("what was stored earlier is left out: %v", err)
		}
	}
	if _, err := New(Setup{Limits: over("openai/o3"), Names: names}, nil); err != nil {
		t.Errorf("the gateway's own limits: %v", err)
	}
}

// What is told of a key, which a tenant's own admin makes, is no way to find out what models others have.
func TestKeysAndTheModelsOfOthers(t *testing.T) {
	tenants := map[string]Tenant{"acme": {Models: []string{"chat", "gpt-4o"}, Teams: map[string]Team{"dev": {Models: []string{"chat"}}}}}
	g := gate(t, tenants, Limits{})
	of := func(models ...string) Limits { return Limits{Requests: Rates{{Amount: 1, Per: "d", Models: models}}} }
	for _, test := range []struct {
		key  StoredKey
		want string
	}{
		{StoredKey{Limits: over("gpt-4o")}, ""},
		{StoredKey{Limits: of("gpt-4o", "gpt-*")}, ""},
		{StoredKey{Limits: over("chat"), Team: "dev"}, ""},
		{StoredKey{Limits: over("gpt-4o"), Team: "dev"}, `limits.requests[0].on_exceed.downgrade: "gpt-4o" is no model that may be asked for here (choices: chat)`},
		{StoredKey{Limits: over("llama/70b")}, `limits.requests[0].on_exceed.downgrade: "llama/70b" is no model that may be asked for here (choices: chat, gpt-4o)`},
		{StoredKey{Limits: over("nobody")}, `limits.requests[0].on_exceed.downgrade: "nobody" is no model that may be asked for here (choices: chat, gpt-4o)`},
		{StoredKey{Limits: of("llama/70b")}, `limits.requests[0].models: unknown model "llama/70b" (have: chat, gpt-4o)`},
		{StoredKey{Limits: of("openai/o3")}, `limits.requests[0].models: unknown model "openai/o3" (have: chat, gpt-4o)`},
	} {
		test.key.Tenant, test.key.Name = "acme", "k"
		if err := g.CheckKey(test.key); fmt.Sprint(err) != test.want && (err != nil || test.want != "") {
			t.Errorf("%+v: %v, want %s", test.key.Limits, err, test.want)
		}
	}
	tenants["acme"] = Tenant{Models: []string{"chat"}, Keys: []Key{{Name: "a", Key: keyA, Limits: over("gpt-4o")}}}
	if _, err := New(Setup{Tenants: tenants, Names: names}, nil); err == nil || !strings.HasPrefix(err.Error(), "tenants.acme.keys[0].limits.requests[0].on_exceed.downgrade: ") {
		t.Errorf("%v", err)
	}
}

// There is an end to what a tenant may hold, told once and at its place.
func TestBounds(t *testing.T) {
	rates := func(n, models int) Limits {
		var l Limits
		for i := range n {
			l.Requests = append(l.Requests, Rate{Amount: 1, Per: "m", Models: slices.Repeat([]string{"chat"}, min(i+1, models))})
		}
		return l
	}
	many := func(n int) (list []string) { return slices.Repeat([]string{"chat"}, n) }
	teams := func(n int) map[string]Team {
		m := map[string]Team{}
		for i := range n {
			m[fmt.Sprint("t", i)] = Team{}
		}
		return m
	}
	guards := func(n int) []guard.Config { return slices.Repeat([]guard.Config{{Kind: "pii"}}, n) }
	wait := func(q Queue) Tenant { return Tenant{Limits: Limits{Queue: q}} }
	full := rates(maxLimits-1, maxModels)
	full.Concurrency = 1
	fuller := full
	fuller.Vectors = 1
	for _, test := range []struct {
		tenant Tenant
		want   string // of the one error; "" for none
	}{
		{Tenant{Limits: full, UserLimits: full, Models: many(maxTenantModels), Teams: teams(maxTeams), Guards: guards(maxGuards)}, ""},
		{Tenant{Limits: rates(maxLimits+1, 9999)}, "limits: at most 32 limits in one place, not 33"},
		{Tenant{UserLimits: fuller}, "user_limits: at most 32 limits in one place, not 33"},
		{Tenant{Teams: map[string]Team{"x": {Limits: fuller}}}, "teams.x.limits: at most 32 limits in one place, not 33"},
		{Tenant{Limits: Limits{Tokens: Rates{{Amount: 1, Per: "d", Models: many(maxModels + 1)}}}}, "limits.tokens[0].models: at most 64 models, not 65"},
		{Tenant{Models: many(maxTenantModels + 1)}, "models: at most 1000, not 1001"},
		{Tenant{Teams: map[string]Team{"x": {Models: many(maxTenantModels + 1)}}}, "teams.x.models: at most 1000, not 1001"},
		{Tenant{Teams: teams(maxTeams + 1)}, "teams: at most 256, not 257"},
		{Tenant{Guards: guards(maxGuards + 1)}, "guards: at most 64, not 65"},
		{wait(Queue{Max: maxPlaces, Wait: maxWait}), ""},
		{wait(Queue{Max: maxPlaces + 1}), "limits.queue.max: must be from 1 to 10000"},
		{wait(Queue{Max: -1}), "limits.queue.max: must be from 1 to 10000"},
		{wait(Queue{Wait: maxWait + time.Second}), "limits.queue.wait: must be more than 0 and at most 10m"},
		{wait(Queue{Wait: -time.Second}), "limits.queue.wait: must be more than 0 and at most 10m"},
	} {
		_, err := New(Setup{Tenants: map[string]Tenant{"acme": test.tenant}, Names: names}, nil)
		for at, err := range map[string]error{"tenants.acme.": err, "": gate(t, nil, Limits{}).CheckTenant("acme", test.tenant)} {
			if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != at+test.want) {
				t.Errorf("%.200s, want %s%s", fmt.Sprint(err), at, test.want)
			}
		}
	}
	g := gate(t, map[string]Tenant{"acme": {}}, Limits{})
	for want, limits := range map[string]Limits{"limits: at most 32": fuller, "limits.queue.wait: ": {Queue: Queue{Wait: time.Hour}}} {
		if err := g.CheckKey(StoredKey{Tenant: "acme", Name: "k", Limits: limits}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := New(Setup{Tenants: map[string]Tenant{"acme": {Keys: make([]Key, maxKeysHeld+1)}}}, nil)
	if err == nil || err.Error() != "tenants.acme.keys: at most 10000, not 10001" {
		t.Errorf("%.200s", fmt.Sprint(err))
	}
}

// A tenant that is made anew under the name of one that is gone has used nothing yet, also when it looks the same.
func TestTenantMadeAnew(t *testing.T) {
	g := limiting(t, map[string]Tenant{"filed": {}}, Limits{})
	one := Limits{Requests: Rates{{Amount: 1, Per: "d"}}}
	learn := func(created time.Time, limits Limits) {
		t.Helper()
		key := storedKey("acme", "k", "jv-a-key")
		key.Limits = one
		own := StoredTenant{Tenant: Tenant{Limits: limits, UserLimits: one, Teams: map[string]Team{"dev": {Limits: one}}}, Created: created}
		key.Team = "dev"
		if err := g.Learn(Stored{Tenants: map[string]StoredTenant{"acme": own}, Keys: []StoredKey{key}}); err != nil {
			t.Fatal(err)
		}
	}
	used := func() bool {
		t.Helper()
		_, err := admit(g, identify(t, g, "jv-a-key"))
		return err != nil
	}
	if learn(made, one); used() || !used() {
		t.Error("before")
	}
	changed := one
	changed.Concurrency = 5
	if learn(made, changed); !used() {
		t.Error("a tenant that was changed has forgotten what it used")
	}
	if learn(made.Add(time.Second), changed); used() || !used() {
		t.Error("a tenant that was made anew goes on with what another has used")
	}
}
