package proxy

import "jarvis-gateway/policy"

// permit refuses a caller whose role does not allow the endpoint. It comes before the body is looked at, and one without a
// permission of its own is nobody's.
func (x *exchange) permit() error {
	if x.caller.May(x.ep.needs) {
		return nil
	}
	return policy.Denied(x.caller, x.ep.needs)
}
