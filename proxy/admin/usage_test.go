package admin

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// usageNow is by when records are made, and what the API takes for the time.
var usageNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// withUsage gives a stage a store of usage, empty but for records.
func withUsage(t testing.TB, records ...*usage.Record) func(*Setup) {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "usage.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var feedback []*usage.Feedback
	if len(records) > 0 {
		feedback = []*usage.Feedback{{UID: usage.NewUID(usageNow), Time: usageNow, Of: records[0].UID, Tenant: records[0].Tenant, Score: 0.5}}
	}
	if err := s.Write(t.Context(), "all", records, feedback); err != nil {
		t.Fatal(err)
	}
	return func(setup *Setup) { setup.Usage = s }
}

// used is a request of two attempts, an hour before usageNow.
func used(tenant, team, key string, cost wire.Money) *usage.Record {
	at := usageNow.Add(-time.Hour)
	return &usage.Record{UID: usage.NewUID(at), Time: at, ID: "req_" + key, Tenant: tenant, Team: team, Key: key, Model: "=chat", Provider: "openai", Replica: "http://10.0.0.1",
		Cost: cost, Total: 1500 * time.Microsecond, Outcome: "ok", Status: 200, Tags: []string{"x"},
		Attempts: []usage.Attempt{{Kind: "first", Provider: "azure", Replica: "http://10.0.0.2", Result: "timeout"}, {Kind: "retry", Provider: "openai", Result: "ok", Cost: cost}}}
}

func TestUsage(t *testing.T) {
	s := newStage(t, withUsage(t, used("acme", "ops", "ci", 1_250_000_001), used("acme", "", "main", 7), used("globex", "", "main", 3*wire.Dollar)),
		func(setup *Setup) {
			setup.Now = func() time.Time { return usageNow }
			setup.Limits = func(_ context.Context, tenant string) ([]Standing, error) {
				return []Standing{{ID: "1", Tenant: tenant, Unit: "spend", Text: "$50/month", Limit: 50e9, Used: 1e9, Free: 49e9},
					{ID: "2", Tenant: tenant, Team: "ops", Unit: "spend", Text: "$5/month", Limit: 5e9}, {ID: "3", Tenant: tenant, Unit: "tokens"}}, nil
			}
		})
	day := s.must("GET", "/usage?by=tenant,model,day&since=7d&timezone=Asia/Shanghai", "")
	for path, want := range map[string]string{
		"data.#": "2", "data.0.group.tenant": "globex", "data.0.group.day": "2026-11-20", "data.1.cost_usd": "1.250000008", "data.1.requests": "2", "data.1.fallbacks": "2",
		"data.1.retries": "2", "data.1.total_p95_ms": "1.5", "data.1.first_token_p50_ms": "", "data.1.score": "0.5", "data.0.score": "", "total.cost_usd": "4.250000008",
		"by.1": "model", "has_more": "false", "since": "2026-11-13T12:00:00Z",
	} {
		if got := day.get(path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if got := s.must("GET", "/usage?by=key&where.tenant=acme&where.team=ops&where.team=&order=key&limit=1", ""); got.get("data.0.group.key") != "ci" || got.get("has_more") != "true" || got.get("total.requests") != "2" {
		t.Error(got.body)
	}
	sheet := s.must("GET", "/usage?by=model&format=csv&where.tenant=globex", "")
	if want := "model,requests,errors,error_rate,"; !strings.HasPrefix(sheet.body, want) || !strings.Contains(sheet.body, "\n'=chat,1,0,0,") || sheet.header.Get("Content-Type") != "text/csv" {
		t.Errorf("%v %s", sheet.header, sheet.body)
	}
	if got := s.must("GET", "/usage/forecast?by=tenant", ""); got.get("data.0.spent_usd") != "3" || got.get("data.0.method") != "pace" || got.get("data.1.budgets.#") != "1" || got.get("data.1.budgets.0.free") != "49" {
		t.Error(got.body)
	}
	if got := s.must("GET", "/usage/forecast?where.tenant=acme&where.team=ops", ""); got.get("data.0.budgets.0.id") != "2" || got.get("data.0.group") != "{}" {
		t.Error(got.body)
	}
	list := s.must("GET", "/usage/requests?limit=2", "")
	if list.get("data.#") != "2" || list.get("has_more") != "true" || list.get("data.0.attempts.0.replica") != "http://10.0.0.2" {
		t.Error(list.body)
	}
	rest := s.must("GET", "/usage/requests?limit=2&after="+list.get("last_id"), "")
	if seen := list.body + rest.body; rest.get("data.#") != "1" || strings.Count(seen, `"uid"`) != 3 || strings.Count(seen, `"req_ci"`) != 1 {
		t.Errorf("%s\n%s", list.body, rest.body)
	}
	if got := s.must("GET", "/usage/requests?id=req_ci&until=2027-03-01", ""); got.get("data.#") != "1" || got.get("data.0.cost_usd") != "1.250000001" || got.get("data.0.score") != "0.5" {
		t.Error(got.body)
	} else if again := s.must("GET", "/usage/requests?uid="+got.get("data.0.uid"), ""); again.get("data.0.request_id") != "req_ci" {
		t.Error(again.body)
	}
}

// What the parameters say wrong is refused by name.
func TestUsageRefusals(t *testing.T) {
	s := newStage(t, withUsage(t))
	for query, param := range map[string]string{
		"by=uid": "by", "by=a;b": "by", "tenant=acme": "tenant", "where.uid=x": "where.uid", "since=yesterday": "since", "until=-1h": "until", "timezone=Mars": "timezone",
		"timezone=Local": "timezone", "limit=0": "limit", "limit=99999": "limit", "order=1": "order", "desc=1": "desc", "format=xml": "format", "by=day&by=hour": "by", "since=9999999d": "since",
		"timezone=../../etc/passwd": "timezone",
	} {
		s.want(s.owner("GET", "/usage?"+strings.ReplaceAll(query, ";", "%3B"), ""), 400, "", param)
	}
	s.want(s.owner("GET", "/usage/anomalies?unit=week", ""), 400, "", "unit")
	s.want(s.owner("GET", "/usage/requests?after=x", ""), 400, "", "after")
	s.want(s.owner("GET", "/usage/requests?uid=x", ""), 400, "", "uid")
	s.want(s.owner("GET", "/usage/requests?format=csv", ""), 400, "", "format")
	none := newStage(t)
	for _, path := range []string{"/usage", "/usage/forecast", "/usage/anomalies", "/usage/requests"} {
		none.want(none.owner("GET", path, ""), 404, "usage_off", "")
	}
}

// Everyone sees what is his, and cannot tell whether there is anything else.
func TestUsageOfOthers(t *testing.T) {
	records := []*usage.Record{used("acme", "ops", "lead", 1), used("acme", "ops", "dev", 2), used("acme", "", "admin", 4), used("globex", "", "main", 8)}
	for _, r := range records {
		r.Time = time.Now().Add(time.Minute)
	}
	earlier := used("acme", "ops", "dev", 16) // of another tenant, which had the name before
	earlier.Time = time.Now().Add(-time.Minute)
	s := newStage(t, withUsage(t, append(records, earlier)...), func(setup *Setup) {
		setup.Now = func() time.Time { return time.Now().Add(time.Hour) }
	})
	s.must("POST", "/tenants", `{"name":"acme","teams":{"ops":{}}}`)
	s.must("POST", "/tenants", `{"name":"globex"}`)
	keys := map[string]string{"admin": s.newKey("acme", "admin", policy.TenantAdmin), "watcher": s.newKey("acme", "watcher", policy.Viewer)}
	for name, role := range map[string]string{"lead": policy.TenantAdmin, "dev": policy.Developer} {
		keys[name] = s.must("POST", "/tenants/acme/keys", `{"name":"`+name+`","team":"ops","role":"`+role+`"}`).get("key")
	}
	for name, want := range map[string]struct{ sum, keys string }{
		"admin": {"0.000000007", "admin dev lead"}, "watcher": {"0.000000007", "admin dev lead"}, "lead": {"0.000000003", "dev lead"}, "dev": {"0.000000002", "dev"},
	} {
		got := s.as(keys[name], "GET", prefix+"/usage?by=key&order=key", "")
		if names := strings.Join(texts(got.body, "data.#.group.key"), " "); got.get("total.cost_usd") != want.sum || names != want.keys {
			t.Errorf("%s sees %s", name, got.body)
		}
		list := s.as(keys[name], "GET", prefix+"/usage/requests", "")
		if list.get("data.#") != gjson.Get(got.body, "total.requests").String() || strings.Contains(list.body, "10.0.0") {
			t.Errorf("%s sees %s", name, list.body)
		}
		for _, path := range []string{"/usage?by=key&", "/usage/forecast?", "/usage/anomalies?", "/usage/requests?"} {
			s.want(s.as(keys[name], "GET", prefix+path+"where.tenant=globex", ""), 404, "not_found", "")
			s.want(s.as(keys[name], "GET", prefix+path+"where.tenant=acme&where.tenant=nobody", ""), 404, "not_found", "")
			s.want(s.as(keys[name], "GET", prefix+path+"where.replica=http://10.0.0.1", ""), 403, "permission_denied", "where.replica")
		}
		s.want(s.as(keys[name], "GET", prefix+"/usage?by=replica", ""), 403, "permission_denied", "by")
	}
	s.want(s.as(keys["lead"], "GET", prefix+"/usage?where.team=dev", ""), 404, "not_found", "")
	s.want(s.as(keys["dev"], "GET", prefix+"/usage?where.key=lead", ""), 404, "not_found", "")
	if got := s.as(keys["dev"], "GET", prefix+"/usage/forecast?where.tenant=acme", ""); got.get("data.0.budgets.#") != "0" {
		t.Errorf("limits are told to who may not see them: %s", got.body)
	}
	if got := s.must("GET", "/usage?where.tenant=acme", ""); got.get("total.cost_usd") != "0.000000023" {
		t.Errorf("a super admin sees %s", got.body)
	}
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.must("GET", "/audit?kind=denial&tenant=acme", ""); !strings.Contains(got.body, "/usage/forecast") {
		t.Error("denials are not recorded")
	}
}

func texts(body, path string) (list []string) {
	for _, v := range gjson.Get(body, path).Array() {
		list = append(list, v.String())
	}
	return list
}
