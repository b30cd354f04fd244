package proxy

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
	"jarvis-gateway/router/prompt"
)

// Prompts are the templates that requests and models refer to. The nil Prompts has none.
type Prompts struct {
	library *prompt.Library
	pins    map[string]*prompt.Pin // by the entry of models
}

// NewPrompts reads the templates, and checks what models say of them. The error joins all that is wrong.
func NewPrompts(cfg prompt.Config, models map[string]router.Model) (*Prompts, error) {
	library, err := prompt.Load(cfg)
	if err != nil {
		return nil, err
	}
	p := &Prompts{library: library, pins: map[string]*prompt.Pin{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(models)) {
		pin, err := library.Pin("models."+name+".prompt", models[name].Prompt)
		if pin != nil {
			p.pins[name] = pin
		}
		errs = append(errs, err)
	}
	return p, errors.Join(errs...)
}

// suggest is the model that the request's template is for, where the request names none.
func (x *exchange) suggest() (err error) {
	if x.asked != "" || x.call.Body == nil || x.g.Prompts == nil {
		return nil
	}
	x.asked, err = x.g.Prompts.library.Model(&x.body, x.ep.kind, x.who())
	return err
}

// prompted puts the template in front of the request that it names, or that its model has.
func (x *exchange) prompted() error {
	p := x.g.Prompts
	if p == nil || x.call.Body == nil || x.call.Count && x.body.Len() == 0 {
		return nil
	}
	pin := p.pins[x.route.Name]
	if x.detour != nil && len(*x.detour) > 0 {
		if asked := p.pins[(*x.detour)[0].From]; asked != nil {
			pin = asked // it belongs to the model that was asked for
		}
	}
	if pin == nil && len(x.body.PromptObject()) == 0 {
		return nil
	}
	body, used, err := p.library.Apply(x.body, x.ep.kind, pin, x.who())
	if err != nil {
		return err
	}
	if x.body = body; used.Name != "" {
		x.prompt = &used
	}
	if x.query != nil {
		x.query.Known &^= router.NeedsBody // it is another one now
	}
	return nil
}

var headerPrompt = []byte("X-Jarvis-Prompt") // the template that was put in front: support@1.2.0

// who asks, for templates that are rolled out.
func (x *exchange) who() prompt.Who {
	note := x.note()
	w := prompt.Who{Tenant: x.caller.Tenant, Scene: note.scene, User: cmp.Or(x.caller.User, note.user), Request: string(x.id)}
	if w.User == "" {
		w.User = x.body.User(x.ep.kind)
	}
	return w
}

// checkPrompt refuses prompts that are stored in the provider's account, where another tenant may have made them.
func (x *exchange) checkPrompt() error {
	if x.body.Get("prompt").IsObject() && !x.g.Gate.Single() {
		return wire.Invalid("prompt", "Prompts that are stored at the provider are not supported. Ask for a template of this gateway.")
	}
	return nil
}
