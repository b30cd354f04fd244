package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/wire"
)

// practised has a caller's tenant make experience with a model, unlike what is guessed at first.
func practised(t *testing.T, g *Gate, c *Caller) {
	t.Helper()
	for range 30 {
		r := admitted(t, g, c, Ask{Model: "chat", Habit: "chat", Prompt: 1000, Answers: true, Cap: 5000})
		r.Settle(wire.Usage{Prompt: 3000, Completion: 2000}, 0, true)
	}
}

// expects is what is held of a prompt and an answer, with the experience there is.
func expects(t *testing.T, g *Gate, c *Caller) (prompt, likely int64) {
	t.Helper()
	r := admitted(t, g, c, Ask{Model: "chat", Habit: "chat", Prompt: 1000, Answers: true, Cap: 5000})
	defer r.Settle(wire.Usage{}, 0, false)
	return r.prompt, r.likely
}

// What was learnt of a tenant is his: it stays while he does, whatever is said of him anew, and whoever has his name next
// begins with nothing.
func TestHabitsEndWithTheTenant(t *testing.T) {
	budget := Limits{Tokens: rates(t, "1M/d")}
	file := func(models []string) map[string]Tenant {
		return map[string]Tenant{"acme": {Models: models, Limits: budget, Keys: []Key{{Name: "a", Key: keyA}}}}
	}
	store := func(created time.Time, priority int) Stored {
		return Stored{Keys: []StoredKey{storedKey("initech", "main", "k1")}, Tenants: map[string]StoredTenant{
			"initech": {Tenant: Tenant{Limits: budget, Priority: priority}, Created: created}}}
	}
	var g *Gate
	reload := func(tenants map[string]Tenant) {
		t.Helper()
		setup := Setup{Tenants: tenants, Names: names, Counters: counters(t)}
		if g != nil {
			setup.Counters = g.setup.Counters
		}
		next, err := New(setup, g)
		if err != nil {
			t.Fatal(err)
		}
		if g != nil {
			g.Close(next)
		}
		g = next
	}
	learn := func(s Stored) {
		t.Helper()
		if err := g.Learn(s); err != nil {
			t.Fatal(err)
		}
	}
	reload(file(nil))
	learn(store(made, 0))
	freshPrompt, freshAnswer := expects(t, g, identify(t, g, keyA))
	check := func(when, key string, experienced bool) {
		t.Helper()
		prompt, likely := expects(t, g, identify(t, g, key))
		if experienced != (prompt > freshPrompt) || experienced != (likely > freshAnswer) {
			t.Errorf("%s: %d tokens of prompt and %d of answer are expected, without experience %d and %d", when, prompt, likely, freshPrompt, freshAnswer)
		}
	}
	for _, key := range []string{keyA, "k1"} {
		check("at first", key, false)
		practised(t, g, identify(t, g, key))
		check("with experience", key, true)
	}

	reload(file([]string{"chat"}))
	learn(store(made, 7))
	check("changed in the file", keyA, true)
	check("changed in the store", "k1", true)

	learn(store(made.Add(time.Second), 7)) // deleted and made again, between two looks at the store
	check("made again", "k1", false)
	practised(t, g, identify(t, g, "k1"))
	learn(Stored{})
	learn(store(made.Add(time.Minute), 7))
	check("made again later", "k1", false)

	gone := identify(t, g, keyA)
	reload(nil)
	practised(t, g, gone) // of who is gone requests may still be under way
	reload(file(nil))
	check("back in the file", keyA, false)
}

// What a provider counts as it documents is held as it is counted, as long as it has never reported anything else.
func TestPlainMessagesAreHeldAsCounted(t *testing.T) {
	tariff := perToken{in: 1000, out: 1000}
	g, c := counting(t, Tenant{Limits: Limits{Spend: spends(t, "$0.001/d")}}, Limits{}) // 1,000 tokens
	held := func(served, more string, off int64) (beyond int64) {
		t.Helper()
		body := fmt.Sprintf(`{"messages":[{"role":"user","content":%q}]%s}`, strings.Repeat("a word, ", 10), more)
		r := admitted(t, g, c, Ask{Model: "chat", Habit: served + more, Served: served, Tariff: tariff, Raw: []byte(body), Answers: true, Cap: 20})
		beyond = r.prompt - r.exact
		r.Settle(wire.Usage{Prompt: r.exact + off}, 0, true)
		return beyond
	}
	const tools = `,"tools":[{"type":"function","function":{"name":"look"}}]`
	for _, row := range []struct {
		served, more string
		off, first   int64 // what is reported beyond what is counted, and held before that
		then         func(beyond int64) bool
	}{
		{"gpt-4o", "", 0, 16, func(n int64) bool { return n == 1 }},
		{"gpt-4.1", "", 1, 16, func(n int64) bool { return n == 1 }},
		{"gpt-5", "", 2, 16, func(n int64) bool { return n > 8 }},
		{"gpt-4o", tools, 0, 16, func(n int64) bool { return n > 8 }},
		{"claude", "", 0, 16, func(n int64) bool { return n > 8 }},
	} {
		if n := held(row.served, row.more, row.off); n < row.first {
			t.Errorf("%s%s: %d tokens are held beyond a first prompt", row.served, row.more, n)
		}
		if n := held(row.served, row.more, 0); !row.then(n) {
			t.Errorf("%s%s: %d tokens are held beyond a second prompt", row.served, row.more, n)
		}
		if held(row.served, row.more, 3); held(row.served, row.more, 0) < 3 {
			t.Errorf("%s%s: it was reported otherwise, and is held as it is counted", row.served, row.more)
		}
	}
}
