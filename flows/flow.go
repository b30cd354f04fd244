// Package flows runs declarative flows of model calls while a client waits. A flow is a YAML file: steps in order, each a call
// of a model, one for each item of a list, or a value. It knows no HTTP: whoever runs a flow gives it a way to ask a model.
package flows

import "time"

// Prefix begins the names of models that are flows.
const Prefix = "flow/"

// Bounds of a flow, so that no file, and no request for one, can make the gateway hang or swell.
const (
	mostSteps    = 50
	mostItems    = 100
	mostParallel = 16
	mostText     = 1 << 20 // bytes of one text: an input, an answer, what an expression makes
	mostBody     = 4 << 20 // bytes of one request for a model

	defaultTimeout = 2 * time.Minute
	mostTimeout    = 30 * time.Minute
	defaultItems   = 20
)

// Config is the section `flows`.
type Config struct {
	Dir string `yaml:"dir,omitempty" jsonschema_description:"the folder of the flows, each a file: NAME.yml"`
}

// Flow is one file, checked and compiled. It never changes, and may run many times at once.
type Flow struct {
	Name        string
	Version     string
	Description string
	Timeout     time.Duration // of a whole run
	Steps       []*Step

	file, title string
	output      *template
	looks       bool // at the request's messages
}

// Title is name@version.
func (f *Flow) Title() string { return f.title }

// NeedsMessages tells that expressions look at the request's messages.
func (f *Flow) NeedsMessages() bool { return f.looks }

// Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	KindAsk  Kind = "ask"
	KindEach Kind = "each"
	KindSet  Kind = "set"
)

// Step is one step of a flow: exactly one of ask, each and set is there.
type Step struct {
	ID   string
	Kind Kind

	when   *expression // nil: always
	goesOn bool        // on_error: continue
	ask    *ask
	each   *each
	set    *expression
}

// Model is the model that the step asks; "" for a step that asks none.
func (s *Step) Model() string {
	switch {
	case s.ask != nil:
		return s.ask.model
	case s.each != nil:
		return s.each.ask.model
	}
	return ""
}

// ask is a call of a model: the body of a chat completion, in pieces.
type ask struct {
	model  string
	pieces []piece
}

// each is a call for every item of a list.
type each struct {
	of       *expression
	as       string
	atMost   int
	parallel int
	ask      *ask
}

// Library is all flows, by name. Nil has none.
type Library struct {
	flows map[string]*Flow
	names []string
}

// Names are those of all flows, in order.
func (l *Library) Names() []string {
	if l == nil {
		return nil
	}
	return l.names
}

// Find is the flow of a name, nil where there is none.
func (l *Library) Find(name string) *Flow {
	if l == nil {
		return nil
	}
	return l.flows[name]
}
