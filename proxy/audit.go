package proxy

import (
	"strings"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// denials are the refusals that go into the audit log, and what they are called there. What repeats is counted there, not
// recorded: a flood of wrong keys must not fill a disk.
var denials = map[string]struct {
	kind   state.Kind
	action string
}{
	"invalid_api_key":          {state.Denial, "auth.refused"},
	"permission_denied":        {state.Denial, "permission.refused"},
	"content_policy_violation": {state.Security, "guard.refused"},
}

// audit records what security people want to know of a request.
func (x *exchange) audit(e *wire.Error) {
	if row, ok := denials[e.Code]; ok {
		if row.kind == state.Security && x.target != nil && !x.tally.came {
			return // a provider has a policy of its own, and refuses in the same word
		}
		cause := ""
		if e.Err != nil && row.kind == state.Security {
			cause = e.Err.Error() // a guard's name, never what it found
		}
		x.record(row.kind, row.action, cause)
	}
}

// auditFlags records what guards noted without refusing it.
func (x *exchange) auditFlags() {
	if noted := x.noted(); len(noted) > 0 {
		x.record(state.Security, "guard.noted", strings.Join(noted, ","))
	}
}

func (x *exchange) record(kind state.Kind, action, target string) {
	e := state.Entry{Kind: kind, Actor: "unknown", Action: action, Target: target, From: x.ctx.RemoteIP().String(), Request: string(x.id)}
	if x.caller != nil {
		e.Actor, e.Tenant = x.caller.Tenant+"/"+x.caller.Key, x.caller.Tenant
	}
	if x.ep != nil && target == "" {
		e.Target = x.ep.name
	}
	x.conn.server.state.Record(e)
}
