package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Budgets are those limits that stand for money or tokens of a calendar's window, wherever they are; those of keys are left out.
func TestBudgets(t *testing.T) {
	spend := func(amount int64) Limits {
		return Limits{Spend: Spends{{Amount: amount, Per: "month", money: true}}, Requests: Rates{{Amount: 600, Per: "m"}}, Tokens: Rates{{Amount: 900, Per: "m"}, {Amount: 10_000, Per: "d", Models: []string{"chat"}}}}
	}
	key := func(name, team string) Key {
		return Key{Name: name, Key: wire.Secret("jv-" + name + "-0123456789abcdef"), Team: team, Limits: Limits{Spend: Spends{{Amount: 9, Per: "d"}}}}
	}
	g, err := New(Setup{Names: Names{Models: []string{"chat"}}, Counters: counters(t), Limits: spend(4e9), Tenants: map[string]Tenant{
		"acme": {Limits: spend(1e9), Teams: map[string]Team{"one": {Limits: spend(2e9)}}, Keys: []Key{key("plain", ""), key("teamed", "one")}},
		"beta": {Keys: []Key{{Name: "main", Key: "jv-beta-0123456789abcdef"}}},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close(nil)
	for _, b := range g.Budgets() {
		if b.Used != 0 {
			t.Errorf("%v before anything was used", b)
		}
	}
	c, err := g.Identify([]byte("jv-beta-0123456789abcdef"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var r Grant
	if err := g.Admit(c, &Ask{Model: "chat", Names: []string{"chat"}, Answers: true, N: 1, Cap: 10}, &r); err != nil {
		t.Fatal(err)
	}
	r.Settle(wire.Usage{Prompt: 2000, Completion: 500}, 1e9, true)
	var got []string
	for _, b := range g.Budgets() {
		got = append(got, fmt.Sprintf("%s/%s %s %.2f", b.Tenant, b.Team, b.Text, b.Used))
	}
	want := []string{
		"/ tokens 10000/d of chat 0.25", "/ spend $4/month 0.25",
		"acme/ tokens 10000/d of chat 0.00", "acme/ spend $1/month 0.00",
		"acme/one tokens 10000/d of chat 0.00", "acme/one spend $2/month 0.00",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
