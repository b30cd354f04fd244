package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"jarvis-gateway/proxy/wire"
)

// Input is what a run begins with.
type Input struct {
	Text     string          // the last that the user said
	Messages json.RawMessage // the request's; nil where the flow does not look at them
	Vars     map[string]string
	Tenant   string
	Scene    string
}

// Call is one call of a model.
type Call struct {
	Step *Step
	Item int    // of each, from 0; -1 elsewhere
	Body []byte // a chat completion's request
}

// Answer is what a model said.
type Answer struct {
	Text   string
	Finish string // why it ended
}

// Host is who runs flows.
type Host struct {
	// Ask asks a model. Its error may be a *wire.Error, which the run ends with. With parallel it is called from several goroutines.
	Ask func(ctx context.Context, call Call) (Answer, error)
	// Begin is told that a step begins, and the function that it gives that it ended. Nil: nobody is.
	Begin func(step *Step) (end func(Outcome, error))
}

// Outcome is what became of a step.
type Outcome string

// The outcomes of steps.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// result is a step as expressions see it.
type result map[string]any

// run is a flow that runs.
type run struct {
	flow  *Flow
	host  Host
	env   map[string]any
	steps map[string]any
}

// Run runs the flow to its end and returns its output. What a client may know of an error is a *wire.Error.
func (f *Flow) Run(ctx context.Context, in Input, host Host) (string, error) {
	r := &run{flow: f, host: host, steps: map[string]any{}}
	if len(in.Text) > mostText {
		return "", wire.Invalid("messages", "Flow %s: the last message of the user is longer than %d MiB.", f.title, mostText>>20)
	}
	var messages []any
	if in.Messages != nil && json.Unmarshal(in.Messages, &messages) != nil {
		return "", wire.Invalid("messages", "Flow %s: messages must be an array.", f.title)
	}
	r.env = map[string]any{"input": in.Text, "messages": messages, "vars": in.Vars, "tenant": in.Tenant, "scene": in.Scene, "steps": r.steps}
	for _, s := range f.Steps {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := r.step(ctx, s); err != nil {
			return "", err
		}
	}
	out, err := f.output.text(r.env)
	if err != nil {
		return "", f.failed("output", err)
	}
	return out, nil
}

// step runs one step.
func (r *run) step(ctx context.Context, s *Step) error {
	end := func(Outcome, error) {}
	if r.host.Begin != nil {
		end = r.host.Begin(s)
	}
	outcome, err := r.try(ctx, s)
	if err != nil {
		err = r.flow.failed("step "+s.ID, err)
	}
	end(outcome, err)
	if err != nil && s.goesOn && ctx.Err() == nil {
		if r.steps[s.ID] == nil {
			r.steps[s.ID] = unanswered(err)
		}
		return nil
	}
	return err
}

func (r *run) try(ctx context.Context, s *Step) (Outcome, error) {
	if s.when != nil {
		v, err := s.when.run(r.env)
		if err != nil {
			return Failed, err
		}
		if fits, _ := v.(bool); !fits { // it is compiled to be one
			r.steps[s.ID] = result{"skipped": true}
			return Skipped, nil
		}
	}
	var done result
	var err error
	switch s.Kind {
	case KindAsk:
		done, err = r.ask(ctx, s, s.ask, r.env, -1)
	case KindEach:
		done, err = r.each(ctx, s)
	case KindSet:
		done, err = r.set(s)
	}
	if done != nil {
		r.steps[s.ID] = done
	}
	if err != nil {
		return Failed, err
	}
	return OK, nil
}

func (r *run) set(s *Step) (result, error) {
	v, err := s.set.run(r.env)
	if err != nil {
		return nil, err
	}
	text, err := textOf(v)
	if err != nil {
		return nil, err
	}
	if len(text) > mostText {
		return nil, errTooLong
	}
	if step, ok := v.(result); ok {
		v = step["json"]
	}
	return result{"text": text, "json": v, "skipped": false}, nil
}

func (r *run) ask(ctx context.Context, s *Step, a *ask, env map[string]any, item int) (result, error) {
	body, err := a.body(env)
	if err != nil {
		return nil, err
	}
	answer, err := r.host.Ask(ctx, Call{Step: s, Item: item, Body: body})
	if err != nil {
		return nil, err
	}
	if len(answer.Text) > mostText {
		return nil, errTooLong
	}
	return result{"text": answer.Text, "finish": answer.Finish, "json": parsed(answer.Text), "skipped": false}, nil
}

// parsed is a text as JSON, nil where it is none. Models put it between fences.
func parsed(text string) (v any) {
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "```"); ok {
		_, rest, _ = strings.Cut(rest, "\n")
		text = strings.TrimSuffix(rest, "```")
	}
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil
	}
	return v
}

// unanswered is a step, or an item of one, that failed.
func unanswered(err error) result {
	told := map[string]any{"code": "flow_failed", "status": 500, "message": err.Error()}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		told["code"], told["status"], told["message"] = e.Reason(), e.Status, e.Message
	}
	return result{"error": told, "skipped": false}
}

// each asks for every item, several at once, and keeps the answers in order. Unless the flow goes on after errors, the first one
// ends the others.
func (r *run) each(ctx context.Context, s *Step) (result, error) {
	v, err := s.each.of.run(r.env)
	if err != nil {
		return nil, err
	}
	list, ok := listOf(v)
	switch {
	case !ok:
		return nil, fmt.Errorf("each.of %s makes no list", shorten(s.each.of.text))
	case len(list) > s.each.atMost:
		return nil, fmt.Errorf("%d items are more than at_most, %d", len(list), s.each.atMost)
	}
	items, err := r.all(ctx, s, list)
	if err != nil && !s.goesOn {
		return nil, err
	}
	texts := make([]string, len(items))
	values := make([]any, len(items))
	size := 0
	for i, item := range items {
		text, _ := item.(result)["text"].(string)
		if texts[i], values[i] = text, text; size+len(text) > mostText {
			return nil, errTooLong
		}
		size += len(text) + 1
	}
	done := result{"text": strings.Join(texts, "\n"), "json": values, "items": items, "skipped": false}
	if err != nil {
		done["error"] = unanswered(r.flow.failed("step "+s.ID, err))["error"]
	}
	return done, err
}

// all asks for all items. The error is that of the first item that failed by itself.
func (r *run) all(ctx context.Context, s *Step, list []any) ([]any, error) {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &pack{items: make([]any, len(list)), errs: make([]error, len(list))}
	places := make(chan struct{}, s.each.parallel)
	var under sync.WaitGroup
	for i := range list {
		places <- struct{}{}
		if within.Err() != nil {
			break
		}
		under.Go(func() {
			defer func() { <-places }()
			defer p.guard()
			env := maps.Clone(r.env)
			env[s.each.as] = list[i]
			done, err := r.ask(within, s, s.each.ask, env, i)
			if p.keep(i, done, err); err != nil && !s.goesOn {
				cancel()
			}
		})
	}
	under.Wait()
	switch {
	case p.bug != nil:
		panic(p.bug) // where the request's own guard sees it
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case p.first != nil && !s.goesOn:
		return nil, p.first
	}
	for _, err := range p.errs { // in order, however they came
		if err != nil {
			return p.items, err
		}
	}
	return p.items, nil
}

// pack is what became of the items of a list.
type pack struct {
	items []any
	errs  []error

	mu    sync.Mutex
	first error // that came; others may only be what it ended
	bug   any
}

func (p *pack) keep(i int, done result, err error) {
	if err != nil {
		done = unanswered(err)
	}
	p.items[i], p.errs[i] = done, err
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.first = err
	}
}

// guard keeps a bug from ending the process: it is one of the request's.
func (p *pack) guard() {
	if bug := recover(); bug != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bug = bug
	}
}

// listOf is a value as a list.
func listOf(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []string:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = item
		}
		return list, true
	}
	return nil, false
}

// failed says where in the flow something went wrong. What ended the run from outside stays what it is.
func (f *Flow) failed(where string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	where = "Flow " + f.title + ", " + where + ": "
	if e, ok := errors.AsType[*wire.Error](err); ok {
		told := *e
		told.Message, told.Raw = where+e.Message, nil
		return &told
	}
	return &wire.Error{Status: 500, Type: wire.TypeServer, Code: "flow_failed", Message: where + err.Error() + "."}
}
