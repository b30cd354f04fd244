package policy

import (
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// endless is a tariff of a model whose longest answer nobody knows.
type endless struct{ perToken }

func (endless) Longest() int64 { return 0 }

// However ample a budget is, an answer that cannot be cut may not become longer than what is held for it.
func TestUnknownLengthIsBounded(t *testing.T) {
	known := long{perToken{in: 1, out: 1}}
	open := endless{perToken{in: 1, out: 1}}
	body := []byte(`{"model":"chat","messages":[{"role":"user","content":"` + strings.Repeat("How much does it cost? ", 11) + `"}]}`)
	budget := func(text string) Tenant { return Tenant{Limits: Limits{Tokens: rates(t, text)}} }
	for name, row := range map[string]struct {
		tenant Tenant
		ask    Ask
		want   int64
	}{
		"an ample budget":            {budget("1M/d"), Ask{Tariff: open, Prompt: 100, Answers: true}, longest},
		"beside which all is little": {budget("1G/d"), Ask{Tariff: open, Raw: body, Answers: true}, longest},
		"no tariff":                  {budget("1M/d"), Ask{Prompt: 100, Answers: true}, longest},
		"several answers":            {budget("1M/d"), Ask{Tariff: open, Prompt: 100, Answers: true, N: 3}, longest},
		"a stream with thoughts":     {budget("1M/d"), Ask{Tariff: open, Prompt: 100, Answers: true, Cuttable: true, Hidden: true}, longest},
		"a stream":                   {budget("1M/d"), Ask{Tariff: open, Prompt: 100, Answers: true, Cuttable: true}, 0},
		"the client's own bound":     {budget("1M/d"), Ask{Tariff: open, Prompt: 100, Answers: true, Cap: 20_000}, 0},
		"a model that is known":      {budget("1M/d"), Ask{Tariff: known, Prompt: 100, Answers: true}, 0},
		"a rate":                     {budget("1M/m"), Ask{Tariff: open, Prompt: 100, Answers: true}, 0},
		"no answer":                  {budget("1M/d"), Ask{Tariff: open, Prompt: 100}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g, c := counting(t, row.tenant, Limits{})
			for range 50 { // some are measured, most not
				row.ask.Model = "chat"
				r := admitted(t, g, c, row.ask)
				if most, _ := r.Cap(); most != row.want {
					t.Fatalf("max_tokens is %d, want %d", most, row.want)
				}
				if most, _ := r.Cap(); most > 0 && r.output < most*max(row.ask.N, 1) {
					t.Fatalf("%d tokens are held, and %d may come", r.output, most*max(row.ask.N, 1))
				}
				r.Settle(wire.Usage{}, 0, false)
			}
		})
	}
}

// A bound that no answer comes near tells nothing against what answers are: they are learnt from.
func TestLengthIsLearntUnderABound(t *testing.T) {
	g, c := counting(t, Tenant{Limits: Limits{Tokens: rates(t, "1M/d")}}, Limits{})
	a := Ask{Model: "chat", Habit: "chat", Tariff: endless{perToken{in: 1, out: 1}}, Prompt: 100, Answers: true}
	for range 30 {
		admitted(t, g, c, a).Settle(wire.Usage{Prompt: 100, Completion: 40}, 0, true)
	}
	if r := admitted(t, g, c, a); r.likely > 100 {
		t.Errorf("after 30 answers of 40 tokens %d are expected", r.likely)
	}
	admitted(t, g, c, a).Settle(wire.Usage{Prompt: 100, Completion: longest}, 0, true)
	if r := admitted(t, g, c, a); r.likely > 100 {
		t.Errorf("one that was cut short counts: %d are expected", r.likely)
	}
}
