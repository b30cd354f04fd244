package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"jarvis-gateway/flows"
	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/trace"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// This file runs a flow while its client waits. Every call of a model in it is a request of its own, with all that belongs to one
// (flowed_ask.go); the client's request takes a place among running flows and nothing else, and has cost nothing itself.

// NewFlows reads the flows of a configuration. Without a router their models are not looked up.
func NewFlows(cfg flows.Config, models []string, r *router.Router, providers []string) (*flows.Library, error) {
	known := flows.Models{Names: models}
	if r != nil {
		known.Known = func(name string) bool {
			route, _ := r.Find(name)
			return route != nil
		}
	}
	library, err := flows.Load(cfg, known)
	if cfg.Dir == "" {
		return library, err
	}
	errs := []error{err}
	for _, name := range models {
		if strings.HasPrefix(name, flows.Prefix) {
			errs = append(errs, fmt.Errorf("models.%s: names that begin with %s are those of flows", name, flows.Prefix))
		}
	}
	for _, name := range providers {
		if name+"/" == flows.Prefix {
			errs = append(errs, fmt.Errorf("providers.%s: %sNAME is the name of a flow, so call the provider otherwise", name, flows.Prefix))
		}
	}
	return library, errors.Join(errs...)
}

// flowRun is a flow that runs for a request.
type flowRun struct {
	flow *flows.Flow
	x    *exchange
	bill
	below
	step    trace.SpanID // of the step under way
	steps   []stepTaken
	passed  []wire.Field // headers of the request that its calls have, too
	state   string       // the tracestate that they have
	ignored []byte       // fields of the request that say nothing to a flow
}

// stepTaken is a step as its span tells of it.
type stepTaken struct {
	*flows.Step
	span       trace.SpanID
	begun, end time.Time
	outcome    flows.Outcome
	err        error
}

// flow runs the flow that the request names as its model. It is false where it names none.
func (x *exchange) flow() (named bool, err error) {
	if x.g.Flows == nil || !strings.HasPrefix(x.asked, flows.Prefix) {
		return false, nil
	}
	f := x.g.Flows.Find(strings.TrimPrefix(x.asked, flows.Prefix))
	if f == nil || !x.caller.Allows(x.asked, false) {
		return true, modelNotFound(x.asked)
	}
	if !x.caller.May(policy.WorkflowExecute) {
		return true, policy.Denied(x.caller, policy.WorkflowExecute)
	}
	if x.ep.kind != wire.Chat {
		return true, wire.Invalid("model", "The model %s is a flow, which only /v1/chat/completions takes.", x.asked)
	}
	x.run = &flowRun{flow: f, x: x}
	in, err := x.run.input()
	if err != nil {
		return true, err
	}
	return true, x.run.run(in)
}

// run holds a place for the flow and runs it, until its time is over, the client leaves or the gateway ends.
func (r *flowRun) run(in flows.Input) error {
	x := r.x
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if x.abort.Hold(called(cancel)); x.abort.Fired() {
		return provider.ErrAborted
	}
	defer x.abort.LetGo()
	if left := x.left(); left > 0 {
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	x.phase(phaseAdmit)
	came := time.Now()
	place, err := x.g.Gate.StartRun(ctx, x.caller, x.endUser())
	x.queued = time.Since(came)
	if err != nil {
		return r.ended(ctx, 0, err)
	}
	defer place.End()
	x.phase("")
	ctx, cancel = context.WithTimeout(ctx, r.flow.Timeout)
	defer cancel()
	r.pass()
	begun, done := time.Now(), flowBegan(r.flow)
	err = errBug // unless it ends
	defer func() { done(err, time.Since(begun)) }()
	out, failure := r.flow.Run(ctx, in, flows.Host{Ask: r.ask, Begin: r.begin})
	if err = r.ended(ctx, r.flow.Timeout, failure); err == nil {
		r.answer(out)
	}
	return err
}

// called is a function that is called by who calls off what it belongs to.
type called func()

// Close calls it.
func (f called) Close() error { f(); return nil }

// ended tells how a run ended from how its last step did.
func (r *flowRun) ended(ctx context.Context, most time.Duration, err error) error {
	switch {
	case err == nil:
		return nil
	case r.x.abort.Fired():
		return provider.ErrAborted
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		if left := r.x.patience(); most == 0 || left > 0 && left < most {
			most = left
		}
		return &wire.Error{Status: 504, Type: wire.TypeServer, Code: "flow_timeout", Message: fmt.Sprintf("Flow %s did not end in %s.", r.flow.Title(), most)}
	}
	return err
}

// endUser is whose request it is beyond the key, for limits of end users.
func (x *exchange) endUser() string { return cmp.Or(x.note().user, x.body.User(x.ep.kind)) }

// harmless are values that say what is so without them.
func harmless(name string, v gjson.Result) bool {
	switch {
	case v.Type == gjson.Null, v.Type == gjson.False, v.Raw == "[]":
		return true
	case name == "n":
		return v.Raw == "1"
	case name == "response_format":
		return v.Get("type").Str == "text"
	case name == "modalities":
		return v.Get("@this|@ugly").Raw == `["text"]`
	}
	return false
}

// input is what the request gives to its flow. What would change the answer's form, and cannot, is refused; other fields are the
// business of the flow's own calls, and named in a header.
func (r *flowRun) input() (in flows.Input, err error) {
	x := r.x
	in = flows.Input{Text: x.body.LastUserText(), Tenant: x.caller.Tenant, Scene: x.note().scene, Vars: map[string]string{}}
	gjson.ParseBytes(x.body.Raw()).ForEach(func(key, v gjson.Result) bool {
		switch name := key.Str; name {
		case "model", "stream", "stream_options", "user", "safety_identifier":
		case "messages":
			if r.flow.NeedsMessages() {
				in.Messages = json.RawMessage(v.Raw)
			}
		case "metadata":
			err = vars(in.Vars, v)
		case "tools", "tool_choice", "functions", "function_call", "n", "audio", "modalities", "logprobs", "response_format", "prompt":
			if !harmless(name, v) {
				err = wire.Invalid(name, "%s: a flow answers with one text. Leave this field out.", name)
			}
		default:
			if v.Type != gjson.Null {
				r.ignore(name)
			}
		}
		return err == nil
	})
	return in, err
}

// ignore notes a field for the header that names what was left out.
func (r *flowRun) ignore(name string) {
	const most = 500
	switch {
	case len(r.ignored) == 0:
		r.ignored = append(r.ignored, "dropped: "...)
	case len(r.ignored)+len(name) > most || !fitID([]byte(name)):
		return
	default:
		r.ignored = append(r.ignored, ", "...)
	}
	r.ignored = append(r.ignored, name...)
}

// Bounds of the request's metadata, which are OpenAI's.
const (
	mostVars   = 16
	longestKey = 64 // letters
	longestVar = 512
)

// vars reads metadata. https://platform.openai.com/docs/api-reference/chat/create
func vars(into map[string]string, object gjson.Result) (err error) {
	switch {
	case object.Type == gjson.Null:
		return nil
	case !object.IsObject():
		return wire.Invalid("metadata", "metadata must be an object.")
	}
	object.ForEach(func(key, v gjson.Result) bool {
		switch {
		case v.Type != gjson.String:
			err = wire.Invalid("metadata", "metadata: the values must be strings.")
		case len(into) == mostVars || utf8.RuneCountInString(key.Str) > longestKey || utf8.RuneCountInString(v.Str) > longestVar:
			err = wire.Invalid("metadata", "metadata has at most %d pairs, with keys of %d and values of %d letters.", mostVars, longestKey, longestVar)
		default:
			into[key.Str] = v.Str
		}
		return err == nil
	})
	return err
}

// begin takes note of a step.
func (r *flowRun) begin(s *flows.Step) (end func(flows.Outcome, error)) {
	begun := time.Now()
	if r.x.trail != nil {
		r.step = trace.NewSpanID()
	}
	return func(outcome flows.Outcome, err error) {
		now := time.Now()
		if s.Kind != flows.KindSet {
			r.x.upstream += now.Sub(begun)
		}
		stepped(r.flow, s, outcome, now.Sub(begun))
		if r.x.trail != nil {
			r.steps = append(r.steps, stepTaken{s, r.step, begun, now, outcome, err})
		}
	}
}

// The names that the client finds what ran under.
var (
	headerFlow        = []byte("X-Jarvis-Flow")
	headerFlowWarning = []byte("X-Jarvis-Warning")
)

// flown is what a flow's request, or one of its calls, has in its record: name@version; "" for any other.
func (x *exchange) flown() string {
	if x.run != nil {
		return x.run.flow.Title()
	}
	if call, inside := x.conn.Conn.(*insideConn); inside {
		return call.run.flow.Title()
	}
	return ""
}

// ran tells that the request runs a flow, and as which model it counts.
func (x *exchange) ran() (model string, ok bool) {
	if x.run == nil {
		return "", false
	}
	return flows.Prefix + x.run.flow.Name, true
}
