package admin

import (
	"strings"
	"testing"
)

// A target is taken out of service by hand and put back, and the audit log tells who did it.
func TestForceTarget(t *testing.T) {
	s := newStage(t)
	if list := s.must("GET", "/targets", ""); list.get("data.#") != "3" || list.get("data.0.state") != "closed" || list.get("data.0.served") != "gpt" || list.get("data.1.provider") != "azure" {
		t.Fatal(list.body)
	}
	if page := s.must("GET", "/targets?limit=1", ""); page.get("has_more") != "true" || page.get("last_id") != "chat openai gpt" {
		t.Error(page.body)
	}
	if rest := s.must("GET", "/targets?limit=1&after=chat+openai+gpt", ""); rest.get("data.0.provider") != "azure" || rest.get("has_more") != "true" {
		t.Error(rest.body)
	}
	forced := s.must("POST", "/targets/force", `{"model":"chat","provider":"openai","served":"gpt","state":"open"}`)
	if forced.get("data.0.state") != "open" || forced.get("data.0.forced") != "open" || forced.get("data.0.cause") != "forced" {
		t.Error(forced.body)
	}
	if list := s.must("GET", "/targets", ""); list.get("data.0.forced") != "open" || list.get("data.1.forced") != "" {
		t.Error(list.body)
	}
	if back := s.must("POST", "/targets/force", `{"model":"chat","provider":"openai","state":"auto"}`); back.get("data.0.state") != "closed" || back.get("data.0.forced") != "" {
		t.Error(back.body)
	}
	audit := s.must("GET", "/audit", "").body
	for _, want := range []string{`"target.force"`, `"chat at openai/gpt"`, `{"forced":"","state":"closed"}`, `{"forced":"open","state":"open"}`} {
		if !strings.Contains(audit, want) {
			t.Errorf("%s is not in %s", want, audit)
		}
	}
	for _, try := range []struct {
		body   string
		status int
		param  string
	}{
		{`{"model":"chat","provider":"openai"}`, 400, "state"}, {`{"model":"chat","provider":"openai","state":"half"}`, 400, "state"},
		{`{"provider":"openai","state":"open"}`, 400, "model"}, {`{"model":"chat","state":"open"}`, 400, "model"}, {`{"model":7,"provider":"openai","state":"open"}`, 400, "model"},
		{`{"model":"chat","provider":"openai","state":"open","for":"1h"}`, 400, "for"},
		{`{"model":"chat","provider":"none","state":"open"}`, 404, ""}, {`{"model":"none","provider":"openai","state":"open"}`, 404, ""},
		{`{"model":"chat","provider":"openai","served":"other","state":"open"}`, 404, ""},
	} {
		got := s.owner("POST", "/targets/force", try.body)
		if got.status != try.status || got.get("error.param") != try.param {
			t.Errorf("%s: %d %s", try.body, got.status, got.body)
		}
	}
}
