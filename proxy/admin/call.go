package admin

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime/debug"
	"strings"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

const (
	prefix    = "/admin/v1"
	requestID = "X-Request-Id"
)

// route is one thing that the admin API can do.
type route struct {
	method, path string
	needs        policy.Permission // 0: whoever is known
	owner        bool              // for super admins alone
	do           func(*call) error
}

// routes is the whole API. openapi.json describes it.
func (s *Server) routes() []route {
	return []route{
		{method: "GET", path: "/tenants", needs: policy.AdminUser, do: listTenants},
		{method: "POST", path: "/tenants", owner: true, do: createTenant},
		{method: "GET", path: "/tenants/{tenant}", needs: policy.AdminUser, do: showTenant},
		{method: "PATCH", path: "/tenants/{tenant}", needs: policy.AdminUser, do: changeTenant},
		{method: "DELETE", path: "/tenants/{tenant}", owner: true, do: deleteTenant},
		{method: "GET", path: "/tenants/{tenant}/keys", needs: policy.AdminUser, do: listKeys},
		{method: "POST", path: "/tenants/{tenant}/keys", needs: policy.AdminUser, do: createKey},
		{method: "GET", path: "/tenants/{tenant}/keys/{key}", needs: policy.AdminUser, do: showKey},
		{method: "PATCH", path: "/tenants/{tenant}/keys/{key}", needs: policy.AdminUser, do: expireKey},
		{method: "DELETE", path: "/tenants/{tenant}/keys/{key}", needs: policy.AdminUser, do: revokeKey},
		{method: "POST", path: "/tenants/{tenant}/keys/{key}/rotate", needs: policy.AdminUser, do: rotateKey},
		{method: "GET", path: "/limits", needs: policy.AdminQuota, do: listLimits},
		{method: "GET", path: "/audit", needs: policy.AdminUser, do: listAudit},
		{method: "GET", path: "/roles", needs: policy.AdminUser, do: listRoles},
		{method: "GET", path: "/whoami", do: whoami},
		{method: "GET", path: "/config", owner: true, do: showConfig},
		{method: "POST", path: "/config/reload", owner: true, do: reload},
		{method: "GET", path: "/config/versions", owner: true, do: listVersions},
		{method: "GET", path: "/config/versions/{version}", owner: true, do: showVersion},
		{method: "GET", path: "/config/diff", owner: true, do: diffVersions},
		{method: "POST", path: "/config/rollback", owner: true, do: rollback},
		{method: "POST", path: "/config/unpin", owner: true, do: unpin},
		{method: "GET", path: "/targets", owner: true, do: listTargets},
		{method: "POST", path: "/targets/force", owner: true, do: forceTarget},
		{method: "GET", path: "/pools", owner: true, do: listReplicas},
		{method: "POST", path: "/pools/drain", owner: true, do: drainReplica},
		{method: "POST", path: "/pools/undrain", owner: true, do: undrainReplica},
		{method: "GET", path: "/rollouts", owner: true, do: listRollouts},
		{method: "POST", path: "/rollouts/set", owner: true, do: setRollout},
		{method: "POST", path: "/route/explain", owner: true, do: explainRoute},
		{method: "GET", path: "/prices", owner: true, do: listPrices},
		{method: "DELETE", path: "/cache", owner: true, do: purgeCache},
		{method: "GET", path: "/usage", do: showUsage},
		{method: "GET", path: "/usage/forecast", do: forecastUsage},
		{method: "GET", path: "/usage/anomalies", do: findAnomalies},
		{method: "GET", path: "/usage/requests", do: listRequests},
		{method: "GET", path: "/openapi.json", do: showDocument},
	}
}

var nowhere = route{do: func(c *call) error {
	return &wire.Error{Status: 404, Type: wire.TypeInvalid, Code: "not_found",
		Message: "There is nothing at " + c.r.URL.Path + ". GET " + prefix + "/openapi.json tells what there is."}
}}

func otherMethod(known []string) route {
	return route{do: func(c *call) error {
		c.w.Header().Set("Allow", strings.Join(known, ", "))
		return &wire.Error{Status: 405, Type: wire.TypeInvalid, Code: "method_not_allowed",
			Message: "This path does not answer " + c.r.Method + ", only " + strings.Join(known, ", ") + "."}
	}}
}

// call is one request of someone who may make it.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	who *who
}

func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{Server: s, w: w, r: r, who: &who{}}
		w.Header().Set(requestID, identity(r))
		defer c.recover()
		err := c.enter(rt)
		if err == nil {
			err = rt.do(c)
		}
		if err != nil {
			c.fail(err)
		}
	}
}

// enter finds out who asks, and whether he may.
func (c *call) enter(rt route) (err error) {
	if c.who, err = c.Server.who(c.r); err != nil {
		return err
	}
	switch {
	case rt.owner && !c.who.super():
		return denied("", "Only a super admin may do this; the role of your key is "+c.who.role()+".")
	case rt.needs != 0 && !c.who.may(rt.needs):
		return policy.Denied(c.who.caller, rt.needs)
	}
	return nil
}

// reach returns the tenant of the path, if its affairs are the caller's. Of the others he cannot tell whether they exist.
func (c *call) reach(p policy.Permission) (string, error) {
	name := c.r.PathValue("tenant")
	if !c.who.mayIn(name, p) {
		c.deny(http.StatusNotFound, "not_found")
		return "", notFound("tenant", name)
	}
	return name, nil
}

// fail answers with an error, and notes in the audit log who was refused.
func (c *call) fail(err error) {
	if e, ok := errors.AsType[*wire.Error](err); ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		c.deny(e.Status, e.Code)
	}
	fail(c.w, c.Log, err)
}

// deny notes a refusal. It concerns the tenant whose key it is, not the one that the path names: that may be invented, and if
// not, it is not to know of others' keys.
func (c *call) deny(status int, code string) {
	e := c.entry(c.action(), c.who.tenant(), c.r.URL.Path, nil, object{"status": status, "code": code})
	e.Kind = state.Denial
	c.Store.Record(e)
}

// action is what was asked for, in one of a few words, so that nobody fills the audit log with invented ones.
func (c *call) action() string {
	if strings.Contains(c.r.Pattern, " ") { // it names the method
		return c.r.Pattern
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return c.r.Method + " " + c.r.Pattern
	}
	return "other " + c.r.Pattern
}

// entry is a line of the audit log about this call.
func (c *call) entry(action, tenant, target string, before, after object) state.Entry {
	from, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		from = c.r.RemoteAddr
	}
	e := state.Entry{Kind: state.Operation, Actor: c.who.name, Action: action, Tenant: tenant, Target: c.keyless(target),
		From: from, Request: c.w.Header().Get(requestID)}
	for _, side := range []struct {
		said object
		into *json.RawMessage
	}{{before, &e.Before}, {after, &e.After}} {
		if side.said != nil {
			side.said.hideURLs()
			*side.into = side.said.encode()
		}
	}
	return e
}

// recover answers for a bug.
func (c *call) recover() {
	r := recover()
	if r == nil {
		return
	}
	if r == http.ErrAbortHandler {
		panic(r)
	}
	c.Log.Error("a request to the admin API met a bug", "request_id", c.w.Header().Get(requestID), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	fail(c.w, c.Log, fmt.Errorf("BUG: panic: %v", r))
}

// identity is the request's id: the client's own where it is fit to be logged, or a new one.
func identity(r *http.Request) string {
	id := r.Header.Get(requestID)
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"
	if id != "" && len(id) <= 128 && strings.Trim(id, letters) == "" {
		return id
	}
	return fmt.Sprintf("req_%016x%016x", rand.Uint64(), rand.Uint64())
}

//go:embed openapi.json
var document []byte

func showDocument(c *call) error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(document) // the client has gone; nobody to tell
	return nil
}
