package admin

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
)

// Every change has its line in the audit log, and so has who was refused. A tenant's admin sees his own tenant's.
func TestAudit(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","limits":{"requests":"10/m"}}`, "X-Request-Id", "my-request")
	s.must("PATCH", "/tenants/acme", `{"limits":{"requests":"20/m"}}`)
	admin := s.newKey("acme", "admin", policy.TenantAdmin)
	s.newKey("filed", "other", "")
	s.as(admin, "POST", prefix+"/tenants/acme/keys", `{"name":"ci"}`)
	s.as(admin, "POST", prefix+"/tenants/acme/keys/ci/rotate", `{}`)
	s.as(admin, "PATCH", prefix+"/tenants/acme/keys/ci", `{"expires":"2099-01-01"}`)
	s.as(admin, "DELETE", prefix+"/tenants/acme/keys/ci", ``)
	s.as(admin, "GET", prefix+"/tenants/filed", ``)
	s.as(admin, "GET", prefix+"/config", ``)
	s.as("jv-wrong-0123456789abcdef", "GET", prefix+"/tenants", ``)
	s.must("DELETE", "/tenants/acme", "")
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := s.must("GET", "/audit", "")
	var got []string
	for _, e := range gjson.Get(all.body, "data").Array() {
		got = append(got, strings.Join([]string{e.Get("kind").String(), e.Get("actor").String(), e.Get("action").String(), e.Get("tenant").String(), e.Get("target").String()}, " "))
		if e.Get("from").String() != "127.0.0.1" || e.Get("request").String() == "" {
			t.Errorf("%s: from where?", e.Raw)
		}
	}
	want := []string{
		"operation admin_key tenant.create acme acme",
		"operation admin_key tenant.update acme acme",
		"operation admin_key key.create acme admin",
		"operation admin_key key.create filed other",
		"operation acme/admin key.create acme ci",
		"operation acme/admin key.rotate acme ci",
		"operation acme/admin key.expire acme ci",
		"operation acme/admin key.revoke acme ci",
		"operation acme/admin key.revoke acme ci",
		"denial acme/admin GET /admin/v1/tenants/{tenant} acme /admin/v1/tenants/filed",
		"denial acme/admin GET /admin/v1/config acme /admin/v1/config",
		"denial  GET /admin/v1/tenants  /admin/v1/tenants",
		"operation admin_key tenant.delete acme acme",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if all.get("data.0.request") != "my-request" || all.get("data.1.before.limits.requests.0") != "10/m" || all.get("data.1.after.limits.requests.0") != "20/m" || all.get("data.12.before.limits.requests.0") != "20/m" {
		t.Errorf("%s", all.body)
	}
	for query, n := range map[string]int{"actor=acme/admin": 7, "action=key.revoke": 2, "kind=denial": 3, "tenant=filed": 1, "since=2099-01-01": 0, "until=2099-01-01": 13} {
		if a := s.must("GET", "/audit?"+query, ""); a.get("data.#") != fmt.Sprint(n) {
			t.Errorf("%s: %s", query, a.body)
		}
	}
	for _, export := range []answer{s.must("GET", "/audit?format=jsonl", ""), s.must("GET", "/audit", "", "Accept", "application/x-ndjson")} {
		if n := strings.Count(export.body, "\n"); n != 13 || export.header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%d lines", n)
		}
	}
	head := s.as("jv-filed-head-0123456789", "GET", prefix+"/audit", "")
	if head.get("data.#") != "1" || strings.Contains(head.body, `"tenant":"acme"`) {
		t.Errorf("%s", head.body)
	}
}

// A team's admin sees what his team's keys did and what was done to them, and nothing of others.
func TestAuditOfATeam(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","teams":{"nlp":{},"ops":{}}}`)
	made := s.must("POST", "/tenants/acme/keys", `{"name":"head","role":"tenant_admin","team":"nlp"}`)
	other := s.must("POST", "/tenants/acme/keys", `{"name":"rival","role":"tenant_admin","team":"ops"}`)
	head := made.get("key")
	s.must("POST", "/tenants/acme/keys", `{"name":"one","team":"nlp"}`)
	s.must("POST", "/tenants/acme/keys", `{"name":"alone"}`)
	s.as(head, "DELETE", prefix+"/tenants/acme/keys/one", "")
	s.as(head, "GET", prefix+"/config", "")
	s.as(other.get("key"), "GET", prefix+"/config", "")
	s.must("PATCH", "/tenants/acme", `{"alerts":{"at":["50%"]}}`)
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?tenant=acme", "?format=jsonl"} {
		a := s.as(head, "GET", prefix+"/audit"+query, "")
		if a.status != 200 || strings.Count(a.body, `"kind"`) != 4 || strings.Count(a.body, "key.create") != 2 || !strings.Contains(a.body, "key.revoke") || !strings.Contains(a.body, "GET /admin/v1/config") {
			t.Errorf("%s: %s", query, a.body)
		}
		if strings.Contains(a.body, "rival") || strings.Contains(a.body, "alone") || strings.Contains(a.body, "tenant.") {
			t.Errorf("%s tells of others: %s", query, a.body)
		}
	}
	if a := s.as(head, "GET", prefix+"/audit?actor=acme/rival", ""); a.get("data.#") != "0" {
		t.Errorf("%s", a.body)
	}
}

// A tenant's admin sees nothing of what an earlier tenant of the name did.
func TestAuditOfAnEarlierTenant(t *testing.T) {
	s := newStage(t, inMemory(t))
	for _, key := range []string{"older", "newer"} {
		s.must("POST", "/tenants", `{"name":"acme"}`)
		admin := s.newKey("acme", key, policy.TenantAdmin)
		s.as(admin, "GET", prefix+"/config", "")
		if err := s.setup.Store.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{"", "?since=2001-01-01", "?format=jsonl"} {
			a := s.as(admin, "GET", prefix+"/audit"+query, "")
			if strings.Count(a.body, `"kind"`) != 3 || !strings.Contains(a.body, "tenant.create") || key == "newer" && strings.Contains(a.body, "older") {
				t.Errorf("%s sees %s", key, a.body)
			}
		}
		if a := s.as(admin, "GET", prefix+"/audit?since=2099-01-01", ""); a.get("data.#") != "0" {
			t.Errorf("%s", a.body)
		}
		s.must("DELETE", "/tenants/acme", "")
	}
	if a := s.must("GET", "/audit?tenant=acme", ""); !strings.Contains(a.body, "older") {
		t.Error("a super admin does not see all")
	}
}

// Who takes a key for its name, or sends one where it does not belong, has not written it into the audit log.
func TestAuditHoldsNoKeys(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	admin := s.newKey("acme", "admin", policy.TenantAdmin)
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
	for _, secret := range []string{admin, admin + "x", "jv-filed-main-0123456789", adminKey, token, "sk-ant-0123456789abcdef", strings.Repeat("0123456789abcdef", 4)} {
		for _, path := range []string{"/tenants/filed/keys/" + secret, "/tenants/" + secret, "/tenants/" + secret + "/keys/x/rotate", "/nothing/" + secret, "/config/x" + secret} {
			for _, key := range []string{admin, "", "jv-filed-main-0123456789"} {
				s.as(key, "DELETE", prefix+path, "")
				s.as(key, "GET", prefix+path, "")
			}
		}
	}
	s.must("POST", "/tenants/acme/keys", `{"name":"`+strings.Repeat("k", 50)+`"}`)
	if err := s.setup.Store.Close(); err != nil { // what was counted, too
		t.Fatal(err)
	}
	again := newStage(t, func(setup *Setup) { setup.Store = reopened(t, s) })
	all := again.must("GET", "/audit?limit=1000", "").body
	for _, secret := range []string{admin[3:20], "filed-main-0123", adminKey, token[:30], "sk-ant-0123456789", strings.Repeat("0123456789abcdef", 2)} {
		if strings.Contains(all, secret) {
			t.Errorf("%s is in the audit log:\n%s", secret, all)
		}
	}
	if !strings.Contains(all, "/admin/v1/tenants/filed/keys/..."+admin[len(admin)-4:]) {
		t.Errorf("which key it was is not told:\n%s", all)
	}
}

func reopened(t *testing.T, s *stage) *state.Store {
	t.Helper()
	store, err := state.Open(t.Context(), "sqlite:"+filepath.Join(s.dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// Of tenants and methods that somebody makes up only the first are told of, and they hide nobody else's refusals.
func TestInventions(t *testing.T) {
	s := newStage(t, inMemory(t))
	s.must("POST", "/tenants", `{"name":"acme"}`)
	loud, quiet := s.newKey("acme", "loud", policy.TenantAdmin), "jv-filed-head-0123456789"
	for i := range 200 {
		s.as(loud, "GET", fmt.Sprintf("%s/tenants/invented%d", prefix, i), "")
		s.as("", "GET", fmt.Sprintf("%s/tenants/invented%d", prefix, i), "")
		s.as("", fmt.Sprint("METHOD", i), prefix+"/tenants", "")
	}
	s.as(quiet, "GET", prefix+"/config", "")
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	denials := s.must("GET", "/audit?kind=denial", "")
	var got []string
	for _, e := range gjson.Get(denials.body, "data").Array() {
		got = append(got, strings.Join([]string{e.Get("actor").String(), e.Get("action").String(), e.Get("tenant").String()}, " "))
	}
	var want []string
	for range 4 {
		want = append(want, "acme/loud GET /admin/v1/tenants/{tenant} acme", " GET /admin/v1/tenants/{tenant} ")
		if len(want) == 2 {
			want = append(want, " other /admin/v1/tenants ")
		}
	}
	if want = append(want, "filed/head GET /admin/v1/config filed"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// An export of more than one page is whole.
func TestExport(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	const n = 2*largestPage + 1
	for i := 1; i < n; i++ {
		e := (&call{Server: New(s.setup), w: newRecorder(), r: newRequest(), who: &who{name: "test"}}).entry("key.create", "acme", "k", nil, nil)
		s.setup.Store.Record(e)
		if i%500 == 0 {
			if err := s.setup.Store.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.setup.Store.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(s.must("GET", "/audit?format=jsonl", "").body, "\n"); got != n {
		t.Errorf("%d lines of %d", got, n)
	}
}
