package admin

import (
	"strings"
	"testing"
)

func TestPrices(t *testing.T) {
	s := newStage(t)
	a := s.must("GET", "/prices?model=gpt-4o&model=nobody-knows", "")
	for path, want := range map[string]string{
		"data.#": "2", "data.0.model": "gpt-4o", "data.0.known": "true", "data.0.max_output": "16384", "data.0.sections.0.tier": "standard",
		"data.0.sections.0.usd_per_million.cached": "1.25", "data.0.sections.#(tier==batch).usd_per_million.output": "5",
		"data.1.known": "false", "data.1.sections.#": "",
	} {
		if got := a.get(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if !strings.HasPrefix(a.get("data.0.source"), "built-in list of ") || !strings.HasPrefix(a.get("version"), "20") {
		t.Error(a.body)
	}
	s.want(s.owner("GET", "/prices?"+strings.Repeat("model=m&", 101), ""), 400, "", "model")
}
