package router

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	r, err := New(Setup{Models: map[string]Model{
		"chat":         {Targets: []TargetConfig{{Provider: "gpu", Model: "llama"}, {Provider: "openai"}}},
		"*":            {Targets: []TargetConfig{{Provider: "openai"}}},
		"gpt-4*":       {Targets: []TargetConfig{{Provider: "azure"}}},
		"openai/o3":    {Targets: []TargetConfig{{Provider: "azure", Model: "o3"}}},
		"meta/llama-*": {Targets: []TargetConfig{{Provider: "gpu"}}},
	}, Providers: []string{"azure", "gpu", "openai"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{
		"chat":          "chat gpu llama",
		"gpt-4o":        "gpt-4* azure gpt-4o",
		"gpt-3.5":       "* openai gpt-3.5",
		"openai/o3":     "openai/o3 azure o3",
		"openai/gpt-4o": "openai/* openai gpt-4o",
		"gpu/a/b":       "gpu/* gpu a/b",
		"openai/":       "* openai openai/",
		"meta/llama-3":  "meta/llama-* gpu meta/llama-3",
		"other/model":   "* openai other/model",
	} {
		route, model := r.Find(asked)
		if m := route.Targets[0].Model; m != "" {
			model = m
		}
		if got := route.Name + " " + route.Targets[0].Provider + " " + model; got != want {
			t.Errorf("%s: %s, want %s", asked, got, want)
		}
	}
	if second := r.exact["chat"].Targets[1]; second.Model != "chat" {
		t.Errorf("a target without a model is asked for %q", second.Model)
	}
	for i, target := range r.Targets() {
		if target.Index != i || target.Timeout != Defaults.Timeout {
			t.Errorf("target %d: index %d, %v", i, target.Index, target.Timeout)
		}
	}
	if got := r.Names(); !slices.Equal(got, []string{"*", "chat", "gpt-4*", "meta/llama-*", "openai/o3"}) {
		t.Errorf("names: %v", got)
	}
}

func TestFindNothing(t *testing.T) {
	r, err := New(Setup{Models: map[string]Model{"chat": {Targets: []TargetConfig{{Provider: "p"}}}}, Providers: []string{"p"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{"", "cha", "chat2", "q/chat", "p/"} {
		if route, _ := r.Find(asked); route != nil {
			t.Errorf("%q is served by %s", asked, route.Name)
		}
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	_, err := New(Setup{Models: map[string]Model{
		"100%":  {},
		"a*b*":  {Targets: []TargetConfig{{Provider: "p"}}},
		"chat":  {Targets: []TargetConfig{{Provider: "p"}, {Provider: "q"}}, Pick: "luck", AnswerModel: "x", Timeout: Timeout{Idle: -time.Second, Total: time.Nanosecond}},
		"right": {Targets: []TargetConfig{{Provider: "p"}}},
	}, Providers: []string{"p"}}, nil)
	for _, want := range []string{
		"models.100%.targets: at least one target", "models.a*b*: ", `models.chat.targets[1].provider: unknown provider "q" (have: p)`,
		`models.chat.pick: unknown way "luck" (have: in_order, `, `models.chat.answer_model: unknown value "x" (have: served, asked)`,
		"models.chat.timeout.idle: must be at least 1ms", "models.chat.timeout.total: must be at least 1ms",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "right") {
		t.Errorf("a right entry is blamed: %v", err)
	}
}
