package usage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"jarvis-gateway/proxy/wire"
)

// Config is the section `prices`.
type Config struct {
	File    string  `yaml:"file,omitempty" jsonschema_description:"YAML file with prices that come before the built-in ones: a model, provider/model or pattern with one *, and what it costs, such as {input: $2.50/M, output: $10/M, cached: $1.25/M, max_output: 16384}, or free; max_output is the longest answer in tokens, which bounds what a request that does not say its own bound may use"`
	Text    []byte  `yaml:"-"` // the file's content, where it has been read already; nil: it has not
	Unknown Unknown `yaml:"unknown,omitempty" jsonschema_description:"a model without a known price: reject it, take it as free, or assume a price, such as {assume: {input: $5/M, output: $15/M}}; by default it is rejected where money is limited, and else free"`
}

// Unknown says what becomes of a request for a model whose price is not known.
type Unknown struct {
	Action  string // reject, free, assume; "" where nothing was said
	assumed *Price
	written any // of assume, as it was written
}

// UnmarshalYAML reads reject, free or {assume: {input: $5/M, output: $15/M}}.
func (u *Unknown) UnmarshalYAML(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.ScalarNode && (n.Value == "reject" || n.Value == "free"):
		*u = Unknown{Action: n.Value}
		return nil
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "assume":
		*u = Unknown{Action: "assume"}
		var err error
		if u.assumed, err = readPrice(n.Content[1]); err != nil {
			return fmt.Errorf("assume: %w", err)
		}
		return n.Content[1].Decode(&u.written)
	case n.Kind == yaml.ScalarNode:
		return fmt.Errorf("unknown choice %q (choices: reject, free, {assume: {input: $5/M, output: $15/M}})", n.Value)
	}
	return errors.New("expected reject, free or {assume: {input: $5/M, output: $15/M}}")
}

// MarshalYAML writes what UnmarshalYAML reads.
func (u Unknown) MarshalYAML() (any, error) {
	if u.Action == "assume" {
		return map[string]any{"assume": u.written}, nil
	}
	return u.Action, nil
}

// IsZero tells that nothing was said.
func (u Unknown) IsZero() bool { return u.Action == "" }

// Prices knows what every model costs. It never changes, and may be shared.
type Prices struct {
	file     map[string]*Price // by model or provider/model
	patterns []priced          // of the file, the most exact first
	list     map[string]listed
	unknown  Unknown
	version  string
}

type priced struct {
	pattern string
	price   *Price
}

// New reads the price file, if there is one. The error joins all that is wrong.
func New(cfg Config) (*Prices, error) {
	p := &Prices{list: readList(listText), unknown: cfg.Unknown, version: listVersion}
	if cfg.File == "" {
		return p, nil
	}
	if err := p.readFile(cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// listVersion is of when the built-in list is.
const listVersion = "2026-07"

// Version names the prices: of when the built-in list is, and the file's digest where there is one, such as 2026-07+1f3a9c04.
func (p *Prices) Version() string { return p.version }

var free = &Price{}

// Find returns the price to count with, never nil. It is false where none is known and the configuration does not say
// what to take instead: then the price is nothing, and Refuses tells whether the request may be sent at all.
//
// What the file says of provider/model comes first, then of the model, then its patterns. Models of one's own servers
// (kinds vllm and simulated) are free unless the file says otherwise. The built-in list knows models by their public
// names, without their dates and in the forms of Bedrock's ids: an Azure deployment with a name of its own, a fine-tuned
// model or a custom profile must stand in the file. Find allocates nothing.
func (p *Prices) Find(provider, kind, model string) (*Price, bool) {
	if price := p.ofFile(provider, model); price != nil {
		return price, true
	}
	if kind == "vllm" || kind == "simulated" {
		return free, true
	}
	if price := find(p.list, model); price != nil {
		return price, true
	}
	switch p.unknown.Action {
	case "assume":
		return p.unknown.assumed, true
	case "free":
		return free, true
	}
	return free, false
}

func (p *Prices) ofFile(provider, model string) *Price {
	if len(p.file) == 0 && len(p.patterns) == 0 {
		return nil
	}
	var space [256]byte
	full := append(append(append(space[:0], provider...), '/'), model...)
	if price := p.file[string(full)]; price != nil {
		return price
	}
	if price := p.file[model]; price != nil {
		return price
	}
	for i := range p.patterns {
		if fits(p.patterns[i].pattern, full) || wire.MatchModel(p.patterns[i].pattern, model) {
			return p.patterns[i].price
		}
	}
	return nil
}

// fits is wire.MatchModel for a name in a buffer.
func fits(pattern string, name []byte) bool {
	before, after, _ := strings.Cut(pattern, "*")
	return len(name) >= len(before)+len(after) && string(name[:len(before)]) == before && string(name[len(name)-len(after):]) == after
}

// Refuses tells whether a model of which Find knows no price may not be asked. limited says that money limits the caller:
// an answer whose price nobody knows would pass every limit.
func (p *Prices) Refuses(limited bool) bool { return limited || p.unknown.Action == "reject" }

// Unpriced is the error of a request for a model that Refuses is about. Another target of the same name may have a price.
func Unpriced(model string) *wire.Error {
	e := wire.Invalid("model", "The price of the model `%s` is not known, so it cannot be asked under a limit on spending. The operator can set one in `prices`.", model)
	e.Code, e.Failover = "price_unknown", true
	return e
}

// sortPatterns puts the pattern that says most of the name first.
func sortPatterns(list []priced) {
	slices.SortFunc(list, func(a, b priced) int {
		if n := len(b.pattern) - len(a.pattern); n != 0 {
			return n
		}
		return strings.Compare(a.pattern, b.pattern)
	})
}
