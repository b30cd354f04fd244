package policy

import (
	"errors"
	"strings"
	"testing"
)

var custom = map[string]Role{
	"support": {Permissions: []string{"chat:read", "admin:quota"}},
	"lead":    {Permissions: []string{"admin:user"}, Inherits: "support"},
	"archive": {Permissions: []string{"documents:*"}},
	"auditor": {Inherits: Viewer},
	"all":     {Permissions: []string{"*"}},
	"ops":     {Permissions: []string{"admin:*"}},
	"支持":      {Permissions: []string{"chat:*"}, Inherits: TenantAdmin},
}

func rolesOf(t *testing.T, custom map[string]Role) Roles {
	t.Helper()
	roles, errs := newRoles(custom)
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	return roles
}

// Each role's permissions, one by one: a change here is a change of who may do what.
func TestPermissionsOfRoles(t *testing.T) {
	const work = "documents:read documents:write documents:delete chat:create chat:read workflow:create workflow:execute workflow:read"
	want := map[string]string{
		SuperAdmin:  work + " admin:user admin:quota admin:config",
		TenantAdmin: work + " admin:user admin:quota",
		Developer:   work,
		Operator:    "documents:read chat:create chat:read workflow:execute workflow:read",
		Viewer:      "documents:read chat:read workflow:read",
		"support":   "chat:read admin:quota",
		"lead":      "chat:read admin:user admin:quota",
		"archive":   "documents:read documents:write documents:delete",
		"auditor":   "documents:read chat:read workflow:read",
		"all":       work,
		"ops":       "admin:user admin:quota",
		"支持":        work + " admin:user admin:quota",
	}
	for role, set := range rolesOf(t, custom) {
		if got := strings.Join(set.Names(), " "); got != want[role] {
			t.Errorf("%s: %s, want %s", role, got, want[role])
		}
		if set.Has(everywhere) != (role == SuperAdmin) {
			t.Errorf("%s reaches other tenants: %t", role, role != SuperAdmin)
		}
		delete(want, role)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestCovers(t *testing.T) {
	roles := rolesOf(t, custom)
	for creator, covered := range map[string]string{
		SuperAdmin:  "super_admin tenant_admin developer operator viewer support lead archive auditor all ops 支持",
		TenantAdmin: "tenant_admin developer operator viewer support lead archive auditor all ops 支持",
		Developer:   "developer operator viewer archive auditor all",
		Operator:    "operator viewer auditor",
		Viewer:      "viewer auditor",
		"support":   "support",
		"lead":      "lead support ops",
		"nobody":    "",
	} {
		may := map[string]bool{}
		for _, role := range strings.Fields(covered) {
			may[role] = true
		}
		for role := range roles {
			if got := roles.Covers(creator, role); got != may[role] {
				t.Errorf("%s gives %s away: %t", creator, role, got)
			}
		}
		if roles.Covers(creator, "nobody") || roles.Covers(creator, "") {
			t.Errorf("%s gives away what does not exist", creator)
		}
	}
}

func TestRolesNameEveryMistake(t *testing.T) {
	_, errs := newRoles(map[string]Role{
		"viewer": {Permissions: []string{"*"}}, "a": {Inherits: "b"}, "b": {Inherits: "a"}, "c": {}, "d": {Inherits: "nobody"},
		"e": {Permissions: []string{"chat:read", "chat:delete", "", ":*", "chat:", "admin"}}, "f": {Inherits: SuperAdmin}, "g/h": {Permissions: []string{"*"}},
		"i": {Inherits: "i"}, "j\n": {Permissions: []string{"*"}}, "k": {Permissions: []string{"admin:user", "admin:config"}},
	})
	err := errors.Join(errs...)
	for _, want := range []string{
		"roles.viewer: this role is always there", "a circle: a -> b -> a", "roles.c: must have permissions",
		`roles.d.inherits: unknown role "nobody" (have: "j\n", a, b, c, d, developer, e, f, g/h, i, k, operator`, `roles.e.permissions[1]: unknown permission "chat:delete" (choices: documents:read, `,
		"roles.e.permissions[2]: ", "roles.e.permissions[3]: ", "roles.e.permissions[4]: ", "roles.e.permissions[5]: ",
		"roles.f.inherits: super_admin cannot", "roles.k.permissions[1]: admin:config is for super_admin alone", `roles.g/h: the name "g/h" holds a slash`, "a circle: i -> i", `roles."j\n": the name "j\n" holds`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

// A super admin acts everywhere, a tenant's admin at home.
func TestMayIn(t *testing.T) {
	keys := []Key{{Name: "super", Key: "jv-super-0123456789", Role: SuperAdmin}, {Name: "admin", Key: "jv-admin-0123456789", Role: TenantAdmin}, {Name: "none", Key: "jv-none-0123456789"}}
	g := gate(t, map[string]Tenant{"acme": {Keys: keys}, "globex": {}}, Limits{})
	for _, test := range []struct {
		key, tenant string
		p           Permission
		want        bool
	}{
		{"super", "acme", AdminUser, true}, {"super", "globex", AdminUser, true}, {"super", "", AdminConfig, true},
		{"admin", "acme", AdminUser, true}, {"admin", "globex", AdminUser, false}, {"admin", "acme", AdminConfig, false}, {"admin", "", AdminQuota, false},
		{"none", "acme", AdminUser, false}, {"none", "acme", ChatCreate, true}, {"none", "globex", ChatCreate, false},
		{"super", "acme", 0, false}, {"none", "acme", 0, false},
	} {
		c := identify(t, g, "jv-"+test.key+"-0123456789")
		if got := c.MayIn(test.tenant, test.p); got != test.want {
			t.Errorf("%s in %q, %s: %t", test.key, test.tenant, test.p, got)
		}
	}
	if c := identify(t, g, "jv-none-0123456789"); c.Role != Developer || c.Super() || c.May(0) || !c.May(ChatRead) || c.May(ChatRead|AdminUser) {
		t.Errorf("%+v", c)
	}
}
