package policy

import (
	"testing"

	"jarvis-gateway/proxy/wire"
)

// A stream goes on as long as there is budget, however much one event gives, and although a race of two attempts, which is over
// with its first events given, has made what is held fit the one that is left.
func TestMoreForManyTokensAtOnce(t *testing.T) {
	g := limiting(t, map[string]Tenant{"acme": {Limits: Limits{Tokens: []Rate{{Amount: 1_000_000_000, Per: "d"}}}, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
	c := identify(t, g, keyA)
	price := perToken{in: 1, out: 2}
	for name, before := range map[string]func(r *Grant) int64{
		"one event": func(r *Grant) int64 { return r.More(0) + 5000 },
		"a race": func(r *Grant) int64 {
			given := r.More(0)
			if !r.Beside(price, "", true) {
				t.Fatal("no second attempt")
			}
			for range 20 {
				given = r.More(given) + 1
			}
			r.Lost(101, 103)
			if err := r.Aim(price, "", true); err != nil {
				t.Fatal(err)
			}
			return given
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r Grant
			if err := g.Admit(c, &Ask{Model: "chat", Habit: name, Tariff: price, Prompt: 100, Answers: true, Cuttable: true}, &r); err != nil {
				t.Fatal(err)
			}
			if !r.Meter() {
				t.Fatal("not metered")
			}
			given := before(&r)
			if allowed := r.More(given); allowed <= given {
				t.Errorf("it ends at %d tokens, of which %d are given, with a budget for more", allowed, given)
			}
			r.Settle(wire.Usage{Prompt: 100, Completion: given}, 0, true)
			if at := g.Preview(c, &Ask{Model: "chat"}).Limits; len(at) > 0 && at[0].Held != 0 {
				t.Errorf("%d are still held", at[0].Held)
			}
		})
	}
}
