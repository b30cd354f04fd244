package provider

// Beside is a call for the same request, which may be made at the same time: what is asked is taken over, the working of the
// attempt is its own. The client's header is not safe for two, and the abort and the place in the trace are each attempt's: the caller sets others.
func (call *Call) Beside() *Call {
	return &Call{Method: call.Method, Path: call.Path, Query: call.Query, Kind: call.Kind, Header: call.Header, Credential: call.Credential, ID: call.ID,
		Body: call.Body, Form: call.Form, Model: call.Model, AnswerAs: call.AnswerAs, Stream: call.Stream, Timeout: call.Timeout, Begun: call.Begun,
		Abort: call.Abort, Count: call.Count, Previous: call.Previous, Keep: call.Keep, MaxTokens: call.MaxTokens, Meter: call.Meter, Prompt: call.Prompt,
		Prefix: call.Prefix, Hasty: call.Hasty, Trace: call.Trace}
}

// After is Beside for a call that follows this one, which has ended: of several equal servers it asks those first that this one has
// not been at.
func (call *Call) After() *Call {
	next := call.Beside()
	if v := call.visit; v != nil && v.spent > 0 {
		stay := next.stay()
		stay.tried, stay.spent = v.tried, v.spent
	}
	return next
}
