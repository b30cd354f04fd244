package admin

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// explained stands for the gateway: it knows a request by its model alone.
func explained(r *router.Router, q Question) (Explained, error) {
	route, _ := r.Find(gjson.GetBytes(q.Body, "model").Str)
	if route == nil {
		return Explained{}, wire.Invalid("model", "There is no such model.")
	}
	asked := router.Query{Tenant: q.Tenant, Key: q.Key, User: q.User, Price: func(*router.Target) int64 { return 1000 }}
	e, err := r.Explain(route, func(router.Needs) *router.Query { return &asked }, func(to *router.Route, _ router.Detour) (*router.Route, error) { return to, nil })
	return Explained{Explanation: e, Admission: policy.Preview{Verdict: policy.Admitted, Limits: []policy.LimitStand{}}, Guards: []policy.Finding{{At: "guards[0]", Guard: "pii", Kind: "pii", Does: "nothing"}}}, err
}

func TestExplainRoute(t *testing.T) {
	s := newStage(t)
	a := s.must("POST", "/route/explain", `{"tenant":"acme","key":"main","user":"ann","headers":{"X-Env":"prod"},"endpoint":"responses","body":{"model":"chat","input":"${HOME}"}}`)
	if a.get("object") != "route.explanation" || a.get("routes.0.targets.0.order") != "1" || a.get("routes.0.targets.1.provider") != "azure" || a.get("branches.0.kind") != "rollout" || a.get("request.user") != "ann" {
		t.Error(a.body)
	}
	for _, try := range []struct{ body, param, message string }{
		{`{}`, "body", "body: the request"}, {``, "", "not as it should be"}, {`{"body":{},"model":"x"}`, "", `unknown field`}, {`{"body":{}} {}`, "", "Something follows"},
		{`{"tenant":7,"body":{}}`, "tenant", "another type"}, {`{"headers":{"a":1},"body":{}}`, "headers", "another type"}, {`{"body":{"model":"none"}}`, "model", "no such model"},
	} {
		if got := s.owner("POST", "/route/explain", try.body); got.status != 400 || !strings.HasPrefix(got.get("error.param"), try.param) || !strings.Contains(got.get("error.message"), try.message) {
			t.Errorf("%s: %d %s", try.body, got.status, got.body)
		}
	}
}
