package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// Permission is one thing that a role may allow.
type Permission uint16

// The permissions.
const (
	DocumentsRead Permission = 1 << iota
	DocumentsWrite
	DocumentsDelete
	ChatCreate
	ChatRead
	WorkflowCreate
	WorkflowExecute
	WorkflowRead
	AdminUser
	AdminQuota
	AdminConfig
	everywhere // not only in the caller's own tenant; no role can list it
)

var permissionNames = []string{
	"documents:read", "documents:write", "documents:delete", "chat:create", "chat:read",
	"workflow:create", "workflow:execute", "workflow:read", "admin:user", "admin:quota", "admin:config",
}

// String is the permission as configs write it.
func (p Permission) String() string {
	for i, name := range permissionNames {
		if p == 1<<i {
			return name
		}
	}
	return fmt.Sprintf("permission %#x", uint16(p))
}

// Permissions is a set of permissions.
type Permissions Permission

// Has tells whether all of p are in the set.
func (s Permissions) Has(p Permission) bool { return s&Permissions(p) == Permissions(p) }

// Names lists the set as configs write it.
func (s Permissions) Names() []string {
	var names []string
	for i, name := range permissionNames {
		if s.Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// The roles that are always there.
const (
	SuperAdmin  = "super_admin"
	TenantAdmin = "tenant_admin"
	Developer   = "developer" // of a key or token without a role
	Operator    = "operator"
	Viewer      = "viewer"
)

const (
	reads      = Permissions(DocumentsRead | ChatRead | WorkflowRead)
	daily      = reads | Permissions(DocumentsWrite|DocumentsDelete|ChatCreate|WorkflowCreate|WorkflowExecute)
	everything = daily | Permissions(AdminUser|AdminQuota|AdminConfig|everywhere)
)

// Roles is every role that there is.
type Roles map[string]Permissions

// newRoles adds a config's roles to those that are always there. The errors are worded as paths.
func newRoles(custom map[string]Role) (Roles, []error) {
	r := &rolesReader{custom: custom, roles: Roles{
		SuperAdmin:  everything,
		TenantAdmin: everything &^ Permissions(AdminConfig|everywhere),
		Developer:   daily,
		Operator:    reads | Permissions(ChatCreate|WorkflowExecute), // runs what others made
		Viewer:      reads,
	}}
	builtin := maps.Clone(r.roles)
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		if _, taken := builtin[name]; taken {
			r.bad(name, errors.New("this role is always there and cannot be changed; choose another name"))
		} else if err := checkName(name); err != nil {
			r.bad(shown(name), err)
		} else {
			r.read(name, nil)
		}
	}
	return r.roles, r.errs
}

// rolesReader is one newRoles in progress.
type rolesReader struct {
	custom map[string]Role
	roles  Roles
	errs   []error
}

func (r *rolesReader) bad(path string, err error) {
	r.errs = append(r.errs, fmt.Errorf("roles.%s: %w", path, err))
}

// read adds a role after the one that it inherits from. within is the roles on the way here.
func (r *rolesReader) read(name string, within []string) Permissions {
	if set, known := r.roles[name]; known {
		return set
	}
	cfg := r.custom[name]
	var set Permissions
	for i, entry := range cfg.Permissions {
		found := permissionsOf(entry)
		at := fmt.Sprintf("%s.permissions[%d]", name, i)
		switch {
		case entry == AdminConfig.String(): // the configuration is every tenant's
			r.bad(at, errors.New("admin:config is for super_admin alone"))
		case found == 0:
			r.bad(at, fmt.Errorf("unknown permission %q (choices: %s, or such as documents:*)", entry, strings.Join(permissionNames[:len(permissionNames)-1], ", ")))
		}
		set |= found
	}
	within = append(within, name)
	_, builtin := r.roles[cfg.Inherits]
	_, custom := r.custom[cfg.Inherits]
	switch {
	case cfg.Inherits == "" && len(cfg.Permissions) == 0:
		r.bad(name, errors.New("must have permissions, or inherit some"))
	case cfg.Inherits == "":
	case cfg.Inherits == SuperAdmin:
		r.bad(name+".inherits", errors.New("super_admin cannot be inherited from"))
	case slices.Contains(within, cfg.Inherits):
		r.bad(name+".inherits", fmt.Errorf("a circle: %s", strings.Join(append(within, cfg.Inherits), " -> ")))
	case !builtin && !custom:
		r.bad(name+".inherits", fmt.Errorf("unknown role %q (have: %s)", cfg.Inherits, strings.Join(r.names(), ", ")))
	default:
		set |= r.read(cfg.Inherits, within)
	}
	r.roles[name] = set
	return set
}

func (r *rolesReader) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(r.custom)), maps.Keys(r.roles))
	for i, name := range names {
		names[i] = shown(name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// permissionsOf reads documents:read, documents:* or *, which does not reach admin; 0 is none. Of the gateway's configuration
// no role of a tenant's can be in charge: it is left out of admin:*.
func permissionsOf(entry string) Permissions {
	if entry == "*" {
		return daily
	}
	var set Permissions
	area, all := strings.CutSuffix(entry, ":*")
	for i, name := range permissionNames {
		if name == entry || all && area != "" && strings.HasPrefix(name, area+":") {
			set |= 1 << i
		}
	}
	return set &^ Permissions(AdminConfig)
}

// Covers tells whether someone with the role creator may give away role: nobody can make another mightier than himself.
func (r Roles) Covers(creator, role string) bool {
	own, known := r[creator]
	other, there := r[role]
	return known && there && own&other == other
}

// names lists the roles, for messages.
func (r Roles) names() string { return strings.Join(slices.Sorted(maps.Keys(r)), ", ") }

// Denied is the answer to a caller whose role does not allow what he asks for.
func Denied(c *Caller, p Permission) error {
	return &wire.Error{Status: 403, Type: wire.TypePermission, Code: "permission_denied", Final: true,
		Message: fmt.Sprintf("Your role %s does not include the permission %s, which this request needs.", c.Role, p)}
}
