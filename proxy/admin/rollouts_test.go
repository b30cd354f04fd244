package admin

import (
	"strings"
	"testing"
	"time"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/router"
)

// A rollout is shown with both of its models, changed by hand, and called off; the state store has it for other gateways.
func TestRollouts(t *testing.T) {
	s := newStage(t)
	routes := s.setup.Router()
	chat, _ := routes.Find("chat")
	for i := range 40 {
		q := router.Query{Request: strings.Repeat("x", i), Now: time.Now()}
		to, _ := routes.Resolve(chat, func(router.Needs) *router.Query { return &q })
		q.Trial.End(time.Now(), i != 7, 100*time.Millisecond, map[string]int64{"chat": 3_000_000, "lab": 500}[to.Name], 10)
	}
	list := s.must("GET", "/rollouts", "")
	one := func(path string) string { return list.get("data.0." + path) }
	if one("model") != "chat" || one("to") != "lab" || one("percent") != "10" || one("by_hand") != "false" || one("steps") != "[10,50,100]" || one("next_step_at") == "" {
		t.Fatal(list.body)
	}
	if one("arms.0.model") != "chat" || one("arms.1.model") != "lab" || one("arms.0.calls") == "0" || one("arms.1.calls") == "0" || one("arms.0.cost_per_call_usd") != "0.003" || one("arms.1.cost_per_call_usd") != "0.0000005" || one("arms.0.first_token_p95_ms") == "" {
		t.Error(list.body)
	}
	set := s.must("POST", "/rollouts/set", `{"model":"chat","percent":62.5}`)
	if set.get("percent") != "62.5" || set.get("by_hand") != "true" || set.get("next_step_at") != "" || set.get("halted") != "" {
		t.Error(set.body)
	}
	off := s.must("POST", "/rollouts/set", `{"model":"chat","halt":true,"reason":"it is rude"}`)
	if off.get("percent") != "0" || off.get("halted") != "it is rude" {
		t.Error(off.body)
	}
	if off = s.must("POST", "/rollouts/set", `{"model":"chat","halt":true}`); off.get("halted") != "by admin_key" {
		t.Error(off.body)
	}
	kept, err := s.setup.Store.Rollouts(t.Context())
	if err != nil || len(kept) != 1 || kept[0].Model != "chat" || kept[0].Halted != "by admin_key" || kept[0].Turn != 3 || kept[0].Percent != 62.5 {
		t.Errorf("%+v, %v", kept, err)
	}
	if next, err := s.setup.Store.SetRollout(t.Context(), state.Rollout{Model: "chat", Spec: kept[0].Spec, Turn: 1}); err != nil || next.Turn != 4 {
		t.Errorf("%+v, %v", next, err)
	}
	audit := s.must("GET", "/audit", "").body
	for _, want := range []string{`"rollout.set"`, `{"percent":10,"to":"lab"}`, `{"percent":62.5,"to":"lab"}`, `"rollout.halt"`, `{"halted":"it is rude","percent":0,"to":"lab"}`} {
		if !strings.Contains(audit, want) {
			t.Errorf("%s is not in %s", want, audit)
		}
	}
}

func TestRolloutMistakes(t *testing.T) {
	s := newStage(t)
	for _, try := range []struct {
		body   string
		status int
		param  string
	}{
		{`{"percent":5}`, 400, "model"}, {`{"model":"chat"}`, 400, "percent"}, {`{"model":"chat","percent":5,"halt":true}`, 400, "percent"},
		{`{"model":"chat","percent":101}`, 400, "percent"}, {`{"model":"chat","percent":-1}`, 400, "percent"}, {`{"model":"chat","percent":"5"}`, 400, "percent"},
		{`{"model":"chat","percent":1e999}`, 400, "percent"}, {`{"model":"chat","percent":null}`, 400, "percent"},
		{`{"model":"chat","halt":false}`, 400, "halt"}, {`{"model":7,"percent":5}`, 400, "model"}, {`{"model":"chat","percent":5,"for":"1h"}`, 400, "for"},
		{`{"model":"chat","percent":5,"reason":"x"}`, 400, "reason"}, {`{"model":"chat","halt":true,"reason":"` + strings.Repeat("x", 201) + `"}`, 400, "reason"},
		{`{"model":"lab","percent":5}`, 404, ""}, {`{"model":"none","halt":true}`, 404, ""},
	} {
		if got := s.owner("POST", "/rollouts/set", try.body); got.status != try.status || got.get("error.param") != try.param {
			t.Errorf("%s: %d %s", try.body, got.status, got.body)
		}
	}
	if got := s.must("GET", "/rollouts", ""); got.get("data.0.by_hand") != "false" {
		t.Error(got.body)
	}
}
