package main

import (
	"strings"
	"testing"
)

// Of tenants that ask, what a flow and its calls were asked is kept as it is of any request: without what their guards hide.
func TestFlowContents(t *testing.T) {
	o := newOracle(t, echo)
	config, _ := flowConfig(t, o, `, log_prompts: true, guards: [{kind: deny, action: mask, name: plan, patterns: ["Phoenix"]}]`, triageFlow)
	dir := stateDir(t)
	g := start(t, "stores: {state: 'sqlite:"+dir+"/state.db', usage: 'sqlite:"+dir+"/usage.db'}\n"+config)
	a := g.ask(t, flowRequest("triage", "Phoenix, ann@example.com", "", "X-Request-Id: run"))
	if a.status != 200 || !strings.Contains(outputOf(a), "Phoenix, ann@example.com") {
		t.Fatal(a)
	}
	run := g.recorded(t, "run")
	g.recorded(t, "run.sort")
	if run.Get("overhead_ms").Float() <= 0 || run.Get("first_token_ms").Float() < run.Get("upstream_ms").Float() {
		t.Errorf("the run's times: %s", run.Raw)
	}
	rows := liteRows(t, dir+"/usage.db", liteContents+" ORDER BY id")
	if len(rows) != 2 {
		t.Fatalf("%v are kept", rows)
	}
	for _, row := range rows {
		both := row.Get("asked").Str + row.Get("answered").Str
		if strings.Contains(both, "Phoenix") || strings.Contains(both, "ann@") || strings.Count(both, "<PLAN_1>") != 2 || row.Get("answered").Str == "" {
			t.Errorf("%s", row.Raw)
		}
	}
}
