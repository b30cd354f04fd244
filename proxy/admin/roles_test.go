package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"jarvis-gateway/policy"
)

// who may do what: y with his own tenant, Y with every tenant, n not at all.
var mayTable = strings.TrimSpace(`
                                              super_admin tenant_admin developer operator viewer chief   quotas nobody
GET /tenants                                  Y           y            n         n        n      y       n      -
POST /tenants                                 Y           n            n         n        n      n       n      -
GET /tenants/{tenant}                         Y           y            n         n        n      y       n      -
PATCH /tenants/{tenant}                       Y           y            n         n        n      y       n      -
DELETE /tenants/{tenant}                      Y           n            n         n        n      n       n      -
GET /tenants/{tenant}/keys                    Y           y            n         n        n      y       n      -
POST /tenants/{tenant}/keys                   Y           y            n         n        n      y       n      -
GET /tenants/{tenant}/keys/{key}              Y           y            n         n        n      y       n      -
PATCH /tenants/{tenant}/keys/{key}            Y           y            n         n        n      y       n      -
DELETE /tenants/{tenant}/keys/{key}           Y           y            n         n        n      y       n      -
POST /tenants/{tenant}/keys/{key}/rotate      Y           y            n         n        n      y       n      -
GET /limits                                   Y           y            n         n        n      y       y      -
GET /audit                                    Y           y            n         n        n      y       n      -
GET /roles                                    Y           y            n         n        n      y       n      -
GET /whoami                                   Y           Y            Y         Y        Y      Y       Y      -
GET /config                                   Y           n            n         n        n      n       n      -
POST /config/reload                           Y           n            n         n        n      n       n      -
GET /config/versions                          Y           n            n         n        n      n       n      -
GET /config/versions/{version}                Y           n            n         n        n      n       n      -
GET /config/diff                              Y           n            n         n        n      n       n      -
POST /config/rollback                         Y           n            n         n        n      n       n      -
POST /config/unpin                            Y           n            n         n        n      n       n      -
GET /targets                                  Y           n            n         n        n      n       n      -
POST /targets/force                           Y           n            n         n        n      n       n      -
GET /pools                                    Y           n            n         n        n      n       n      -
POST /pools/drain                             Y           n            n         n        n      n       n      -
POST /pools/undrain                           Y           n            n         n        n      n       n      -
GET /rollouts                                 Y           n            n         n        n      n       n      -
POST /rollouts/set                            Y           n            n         n        n      n       n      -
POST /route/explain                           Y           n            n         n        n      n       n      -
GET /prices                                   Y           n            n         n        n      n       n      -
DELETE /cache                                 Y           n            n         n        n      n       n      -
GET /usage                                    Y           y            y         y        y      y       y      -
GET /usage/forecast                           Y           y            y         y        y      y       y      -
GET /usage/anomalies                          Y           y            y         y        y      y       y      -
GET /usage/requests                           Y           y            y         y        y      y       y      -
GET /openapi.json                             Y           Y            Y         Y        Y      Y       Y      -
GET /metrics                                  Y           n            n         n        n      n       n      -
GET /debug/pprof/symbol                       Y           n            n         n        n      n       n      -
GET /debug/pprof/goroutine                    Y           n            n         n        n      n       n      -
`)

var mayBodies = map[string]string{
	"POST /tenants":                            `{"name":"fresh"}`,
	"PATCH /tenants/{tenant}":                  `{"alerts":{"at":["50%"]}}`,
	"POST /tenants/{tenant}/keys":              `{"name":"fresh"}`,
	"PATCH /tenants/{tenant}/keys/{key}":       `{"expires":"2099-01-01"}`,
	"POST /tenants/{tenant}/keys/{key}/rotate": `{}`,
	"POST /config/rollback":                    `{"version":1}`,
	"POST /targets/force":                      `{"model":"chat","provider":"openai","state":"auto"}`,
	"POST /pools/drain":                        `{"provider":"gpu","replica":"http://10.0.0.1:8000"}`,
	"POST /pools/undrain":                      `{"provider":"gpu","replica":"http://10.0.0.1:8000"}`,
	"POST /rollouts/set":                       `{"model":"chat","percent":20}`,
	"POST /route/explain":                      `{"body":{"model":"chat"}}`,
}

// Every role at every route, with the role's own tenant and with another. A route without a row fails.
func TestRolesAndRoutes(t *testing.T) {
	lines := strings.Split(mayTable, "\n")
	roles := strings.Fields(lines[0])
	rows := map[string][]string{}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		rows[cells[0]+" "+cells[1]] = cells[2:]
	}
	for _, r := range new(Server).routes() {
		if rows[r.method+" "+r.path] == nil {
			t.Errorf("%s %s has no row", r.method, r.path)
		}
	}
	keys, s := map[string]string{}, newStage(t, inMemory(t), withUsage(t))
	s.must("POST", "/tenants", `{"name":"own"}`)
	s.keepVersions()
	for _, role := range roles[:len(roles)-1] {
		keys[role] = s.newKey("own", role, role)
	}
	n := 0
	for row, cells := range rows {
		for i, may := range cells {
			for _, tenant := range []string{"own", fmt.Sprintf("other%d", n)} {
				n++
				s.cell(row, may, keys[roles[i]], tenant, n)
			}
		}
	}
	if custom := slices.Sorted(func(yield func(string) bool) {
		for name := range s.gate.Roles() {
			if !yield(name) {
				return
			}
		}
	}); len(custom) != len(roles)-1 {
		t.Errorf("the table has %v, the gateway %v", roles, custom)
	}
}

// cell tries one request of the table, upon a tenant that is made for it, unless it is the one of the keys.
func (s *stage) cell(row, may, key, tenant string, n int) {
	s.Helper()
	method, path, _ := strings.Cut(row, " ")
	body := strings.Replace(mayBodies[row], "fresh", fmt.Sprintf("fresh%d", n), 1)
	victim := fmt.Sprintf("victim%d", n)
	if row == "DELETE /tenants/{tenant}" && tenant == "own" && may == "Y" {
		return // it would be the end of the table
	}
	if tenant != "own" {
		s.must("POST", "/tenants", `{"name":"`+tenant+`"}`)
	}
	if strings.Contains(path, "{key}") {
		s.newKey(tenant, victim, "developer")
	}
	query := ""
	if row == "GET /limits" || row == "GET /audit" {
		query = "?tenant=" + tenant
	}
	if strings.HasPrefix(row, "GET /usage") {
		query = "?where.tenant=" + tenant
	}
	if strings.HasPrefix(path, "/metrics") || strings.HasPrefix(path, "/debug") {
		path = strings.TrimPrefix(path, prefix)
	} else {
		path = prefix + path
	}
	got := s.as(key, method, strings.NewReplacer("{tenant}", tenant, "{key}", victim, "{version}", "1").Replace(path)+query, body)
	names := strings.Contains(path, "{tenant}") || query != ""
	want := map[string]int{"-": 401, "n": 403, "y": 200, "Y": 200}[may]
	if may == "y" && names && tenant != "own" {
		want = 404
	}
	if got.status != want && !(want == 200 && got.status == 201) {
		s.Errorf("%s of %s by %s: %d %s, want %d", row, tenant, may, got.status, got.body, want)
	}
	if victimWorks := row != "DELETE /tenants/{tenant}/keys/{key}" || want != 200; strings.Contains(row, "{key}") && victimWorks != (s.must("GET", "/tenants/"+tenant+"/keys/"+victim, "").get("status") == "active") {
		s.Errorf("%s of %s: refused, but done, or the other way round", row, tenant)
	}
	if tenant != "own" {
		s.owner("DELETE", "/tenants/"+tenant, "") // the fewer there are, the faster
	}
}

// Nobody can make himself, or another, mightier than he is.
func TestNoClimbing(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","models":["chat"],"limits":{"requests":"10/m"},"user_limits":{"requests":"5/m"},"teams":{"ops":{"limits":{"requests":"1/m"}}}}`)
	admin := s.newKey("acme", "admin", policy.TenantAdmin)
	super := s.newKey("acme", "super", policy.SuperAdmin)
	for _, try := range []struct{ method, path, body, param string }{
		{"POST", "/tenants/acme/keys", `{"name":"x","role":"super_admin"}`, "role"},
		{"POST", "/tenants/acme/keys/super/rotate", `{}`, "role"},
		{"PATCH", "/tenants/acme/keys/super", `{"expires":null}`, "role"},
		{"DELETE", "/tenants/acme/keys/super", ``, "role"},
		{"PATCH", "/tenants/acme", `{"limits":{"requests":"1000/m"}}`, "limits"},
		{"PATCH", "/tenants/acme", `{"limits":null}`, "limits"},
		{"PATCH", "/tenants/acme", `{"models":null}`, "models"},
		{"PATCH", "/tenants/acme", `{"guards":[]}`, "guards"},
		{"PATCH", "/tenants/acme", `{"priority":10}`, "priority"},
		{"PATCH", "/tenants/acme", `{"user_limits":null}`, "user_limits"},
		{"PATCH", "/tenants/acme", `{"user_limits":{"requests":"1/m"}}`, "user_limits"},
		{"PATCH", "/tenants/acme", `{"teams":{"ops":{"limits":null}}}`, "teams"},
		{"PATCH", "/tenants/acme", `{"alerts":{"at":["50%"]},"teams":{"new":{}}}`, "teams"},
		{"PATCH", "/tenants/acme", `{"timezone":"Asia/Tokyo"}`, "timezone"},
	} {
		s.want(s.as(admin, try.method, prefix+try.path, try.body), 403, "permission_denied", try.param)
	}
	if now := s.must("GET", "/tenants/acme", ""); !s.works(super) || now.get("limits.requests.0") != "10/m" || now.get("user_limits.requests.0") != "5/m" || now.get("teams.ops.limits.requests.0") != "1/m" {
		t.Error("a refused change was made")
	}
	for _, try := range []struct{ method, path, body string }{
		{"POST", "/tenants/acme/keys", `{"name":"peer","role":"tenant_admin","limits":{"spend":"$1/d"}}`},
		{"PATCH", "/tenants/acme", `{"alerts":{"webhook":"https://hook.test/"}}`},
		{"DELETE", "/tenants/acme/keys/peer", ``},
	} {
		if a := s.as(admin, try.method, prefix+try.path, try.body); a.status >= 300 {
			t.Errorf("%s %s %s: %d %s", try.method, try.path, try.body, a.status, a.body)
		}
	}
	if list := s.as(admin, "GET", prefix+"/tenants", ""); list.get("data.#") != "1" || list.get("data.0.name") != "acme" {
		t.Errorf("its own tenants: %s", list.body)
	}
}

// Whoever belongs to a team has to do with that team's keys alone.
func TestTeamLeads(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","teams":{"ops":{"limits":{"requests":"1/m"}},"dev":{}}}`)
	lead := s.must("POST", "/tenants/acme/keys", `{"name":"lead","role":"tenant_admin","team":"ops"}`).get("key")
	s.must("POST", "/tenants/acme/keys", `{"name":"other","team":"dev"}`)
	s.must("POST", "/tenants/acme/keys", `{"name":"free"}`)
	for _, try := range []struct{ method, path, body, param string }{
		{"POST", "/tenants/acme/keys", `{"name":"x"}`, "team"},
		{"POST", "/tenants/acme/keys", `{"name":"x","team":null}`, "team"},
		{"POST", "/tenants/acme/keys", `{"name":"x","team":"dev"}`, "team"},
		{"PATCH", "/tenants/acme", `{"alerts":{"at":["50%"]}}`, "alerts"},
		{"PATCH", "/tenants/acme", `{"teams":{"ops":{"limits":null}}}`, "teams"},
	} {
		s.want(s.as(lead, try.method, prefix+try.path, try.body), 403, "permission_denied", try.param)
	}
	for _, name := range []string{"other", "free"} {
		for _, try := range []struct{ method, path, body string }{
			{"GET", "", ""}, {"DELETE", "", ""}, {"PATCH", "", `{"expires":"2099-01-01"}`}, {"POST", "/rotate", `{}`},
		} {
			s.want(s.as(lead, try.method, prefix+"/tenants/acme/keys/"+name+try.path, try.body), 404, "not_found", "")
		}
	}
	if a := s.as(lead, "POST", prefix+"/tenants/acme/keys", `{"name":"ci","team":"ops"}`); a.status != 201 || !s.works(a.get("key")) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if list := s.as(lead, "GET", prefix+"/tenants/acme/keys", ""); list.get("data.#") != "2" || strings.Contains(list.body, "other") {
		t.Errorf("%s", list.body)
	}
	if a := s.as(lead, "DELETE", prefix+"/tenants/acme/keys/ci", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What is told to a tenant's own admin names no model, and no provider, of others.
func TestModelsOfOthersAreNotTold(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","models":["chat"]}`)
	admin := s.newKey("acme", "admin", policy.TenantAdmin)
	for _, try := range []struct{ method, path, body, param string }{
		{"POST", "/keys", `{"name":"x","limits":{"requests":{"limit":"1/d","on_exceed":{"downgrade":"embed"}}}}`, "limits.requests[0].on_exceed.downgrade"},
		{"POST", "/keys", `{"name":"x","limits":{"requests":{"limit":"1/d","on_exceed":{"downgrade":"openai/any"}}}}`, "limits.requests[0].on_exceed.downgrade"},
		{"POST", "/keys", `{"name":"x","limits":{"on_exceed":"downgrade: nope"}}`, "limits.on_exceed.downgrade"},
		{"POST", "/keys", `{"name":"x","limits":{"requests":{"limit":"1/d","models":["nope"]}}}`, "limits.requests[0].models"},
		{"PATCH", "", `{"alerts":{"at":["500%"]}}`, "alerts.at[0]"},
	} {
		a := s.as(admin, try.method, prefix+"/tenants/acme"+try.path, try.body)
		s.want(a, 400, "", try.param)
		if message := strings.ReplaceAll(a.get("error.message"), `"openai/any"`, ""); strings.Contains(message, "openai") || strings.Contains(message, "chat, embed") {
			t.Errorf("%s", a.body)
		}
	}
}
