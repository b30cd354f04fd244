package policy

import (
	"io"

	"jarvis-gateway/proxy/wire"
)

// Tariff tells what tokens cost. The nil Tariff costs nothing.
type Tariff interface {
	// Cost is what an answer costs.
	Cost(u wire.Usage) wire.Money
	// OutputRate is what a million tokens of answer cost, in nano-dollars, after a prompt of so many tokens.
	OutputRate(prompt int64) int64
	// Longest is the longest answer there is, in tokens; 0: not known.
	Longest() int64
}

// Ask is what a request wants. All but Model may be left out for a caller who is not Metered.
type Ask struct {
	Model    string     // the route's name
	Names    []string   // what limits by model may call it: as asked for, the route's name, provider/model
	Habit    string     // what experience is with: of a bounded set
	Served   string     // the provider's name of the model, for its tokenizer
	Tariff   Tariff     // of the target that is asked first
	Raw      []byte     // the JSON body; nil: Prompt is known
	Prompt   int64      // tokens of the prompt, where there is no JSON body
	Units    wire.Usage // what the answer costs beside tokens: pictures, sound, characters
	Free     bool       // it uses no tokens, as what only counts them
	Answers  bool       // the endpoint generates tokens
	Cap      int64      // the most tokens that the client wants of each answer; 0: not said
	N        int64      // answers asked for; 0: one
	Cuttable bool       // a stream that can be ended at any token
	Hidden   bool       // some of the answer's tokens are not seen: thoughts, sound
	User     string     // the end user

	Last    bool    // no downgrade: it has been to enough models
	Waiting Leaving // for requests that wait in line
}

// Leaving tells a request that waits when its client has left.
type Leaving interface {
	// Hold puts a closer at stake that is closed when the client leaves; it is false when the client has left.
	Hold(c io.Closer) bool
	// LetGo ends it, and is false when the client has left.
	LetGo() bool
}

// Limited tells whether any limit bounds the caller: for others there is nothing to admit.
func (c *Caller) Limited() bool { return len(c.scopes) > 0 || c.tenant.users != nil }

// Metered tells whether any limit on tokens or money bounds the caller, so that what a request will need must be known.
func (c *Caller) Metered() bool {
	for _, s := range c.scopes {
		if s.metered {
			return true
		}
	}
	return c.tenant.users != nil
}

// ByModel tells whether any limit bounds only some models, so that all names of what is asked must be known.
func (c *Caller) ByModel() bool {
	for _, s := range c.scopes {
		if s.byModel {
			return true
		}
	}
	return c.tenant.users != nil && c.tenant.users.byModel
}

// Pays tells whether any limit on money bounds the caller.
func (c *Caller) Pays() bool {
	for _, s := range c.scopes {
		if s.pays {
			return true
		}
	}
	return c.tenant.users != nil && c.tenant.users.pays
}

// Downgrade is the error of Admit when a limit says that a request over it goes to another model.
type Downgrade struct {
	Model string // to ask instead
	Limit string // why
}

func (d *Downgrade) Error() string { return "over " + d.Limit + ": downgraded to " + d.Model }
