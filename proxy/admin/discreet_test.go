package admin

import (
	"fmt"
	"strings"
	"testing"

	"jarvis-gateway/policy"
)

// An URL whose path may be a secret is whole for super admins alone, and nowhere in the audit log; it stays when it comes back as
// it was shown.
func TestURLsAreHidden(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme","alerts":{"webhook":"https://hooks.test/services/CANARY"},"guards":[{"kind":"pii"},{"kind":"http","url":"https://guard.test/?k=CANARY"}]}`)
	admin := s.newKey("acme", "admin", policy.TenantAdmin)
	for _, path := range []string{"/tenants", "/tenants/acme"} {
		if a := s.owner("GET", path, ""); strings.Count(a.body, "CANARY") != 2 {
			t.Errorf("a super admin sees %s", a.body)
		}
		if a := s.as(admin, "GET", prefix+path, ""); strings.Contains(a.body, "CANARY") || !strings.Contains(a.body, "https://hooks.test/***") || !strings.Contains(a.body, "https://guard.test/***") {
			t.Errorf("the tenant's admin sees %s", a.body)
		}
	}
	if a := s.as("jv-filed-head-0123456789", "GET", prefix+"/tenants/filed", ""); strings.Contains(a.body, "/hook") {
		t.Errorf("%s", a.body)
	}
	a := s.as(admin, "PATCH", prefix+"/tenants/acme", `{"alerts":{"webhook":"https://hooks.test/***","at":["50%"]}}`)
	if a.status != 200 || strings.Contains(a.body, "CANARY") || a.get("alerts.at.0") != "50%" {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.must("PATCH", "/tenants/acme", `{"guards":[{"kind":"pii","action":"refuse"},{"kind":"http","url":"https://guard.test/***"}]}`)
	if a := s.owner("GET", "/tenants/acme", ""); strings.Count(a.body, "CANARY") != 2 {
		t.Errorf("what came back as it was shown has changed: %s", a.body)
	}
	s.want(s.as(admin, "PATCH", prefix+"/tenants/acme", `{"alerts":{"webhook":"https://elsewhere.test/***"}}`), 400, "", "alerts.webhook")
	s.want(s.owner("PATCH", "/tenants/acme", `{"guards":[{"kind":"http","url":"https://guard.test/***"}]}`), 400, "", "guards[0].url")
	s.must("DELETE", "/tenants/acme", "")
	if all := s.must("GET", "/audit", ""); strings.Contains(all.body, "CANARY") || strings.Count(all.body, "https://hooks.test/***") != 6 {
		t.Errorf("the audit log has %s", all.body)
	}
}

// There is an end to what a tenant may hold.
func TestBounds(t *testing.T) {
	s := newStage(t)
	s.must("POST", "/tenants", `{"name":"acme"}`)
	s.want(s.owner("PATCH", "/tenants/acme", `{"guards":[{"kind":"deny","patterns":["`+strings.Repeat("x", maxTenant)+`"]}]}`), 400, "", "")
	s.must("PATCH", "/tenants/acme", `{"models":["openai/*"]}`)
	var limits []string
	for i := range 30 {
		limits = append(limits, fmt.Sprintf(`{"limit":"1/d","models":["openai/%d%s"]}`, i, strings.Repeat("x", maxKeyLimits/30)))
	}
	body := func(n int) string {
		return `{"name":"x","limits":{"requests":[` + strings.Join(limits[:n], ",") + `]}}`
	}
	s.want(s.owner("POST", "/tenants/acme/keys", body(30)), 400, "", "limits")
	s.must("POST", "/tenants/acme/keys", body(20))
	s.want(s.owner("POST", "/tenants", `{"name":"x","limits":{"queue":{"max":10001}}}`), 400, "", "limits.queue.max")
	s.want(s.owner("POST", "/tenants", `{"name":"x","limits":{"queue":{"wait":"87600h"}}}`), 400, "", "limits.queue.wait")
}
