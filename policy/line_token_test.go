package policy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Tokens of a rate that are held by requests in flight are waited for, and the limit cannot say when they come back: of a
// window, and of a bucket for one that needs more than it has.
func TestLineHeldTokens(t *testing.T) {
	for name, row := range map[string]struct {
		algorithm     string
		first, second int64
	}{
		"a window":                         {"", 600, 600},
		"a bucket":                         {"token_bucket", 600, 600},
		"a bucket, and more than it holds": {"token_bucket", 600, 5000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limit := rates(t, "1000/m")
				limit[0].Algorithm = row.algorithm
				g, c := counting(t, Tenant{Limits: Limits{Tokens: limit, OnExceed: OnExceed{Action: "queue"}, Queue: Queue{Max: 10, Wait: 3 * time.Second}}}, Limits{})
				var first, second Grant
				if err := g.Admit(c, &Ask{Model: "chat", Prompt: row.first, Tariff: perToken{1, 1}}, &first); err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(time.Second, func() { first.Settle(wire.Usage{}, 0, true) }) // it failed, and used nothing
				began := time.Now()
				if err := g.Admit(c, &Ask{Model: "chat", Prompt: row.second, Tariff: perToken{1, 1}}, &second); err != nil {
					t.Error(err)
				} else if waited := time.Since(began); waited != time.Second {
					t.Errorf("it waited %s", waited)
				}
				second.Settle(wire.Usage{}, 0, true)
			})
		})
	}
}

// What needs more than a window ever has does not wait, and is told so, whoever else holds what.
func TestLineTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := counting(t, Tenant{Limits: Limits{Tokens: rates(t, "1000/m"), OnExceed: OnExceed{Action: "queue"}}}, Limits{})
		var first, second Grant
		if err := g.Admit(c, &Ask{Model: "chat", Prompt: 600, Tariff: perToken{1, 1}}, &first); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			began := time.Now()
			err := g.Admit(c, &Ask{Model: "chat", Prompt: 5000, Tariff: perToken{1, 1}}, &second)
			if err == nil || !strings.Contains(err.Error(), ": Request too large: ") || time.Since(began) != 0 {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			first.Settle(wire.Usage{}, 0, true)
		}
	})
}
