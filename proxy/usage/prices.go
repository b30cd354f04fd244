package usage

import (
	"crypto/sha256"
	"encoding/hex"
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
	file     map[string]*priced // by model, provider/model or provider@region/model
	patterns []priced           // of the file, the most exact first
	list     map[string]*listed
	unknown  Unknown
	version  string
}

// priced is an entry of the file.
type priced struct {
	name   string // or pattern
	price  *Price
	line   int
	hourly bool
}

// New reads the price file, if there is one. The error joins all that is wrong.
func New(cfg Config) (*Prices, error) {
	p := &Prices{list: readList(listText), unknown: cfg.Unknown, version: dated(listText) + "." + digest([]byte(listText))}
	if cfg.File != "" {
		if err := p.readFile(cfg); err != nil {
			return nil, err
		}
	}
	switch cfg.Unknown.Action {
	case "assume":
		written, err := yaml.Marshal(cfg.Unknown)
		if err != nil {
			return nil, err
		}
		p.version += "~" + digest(written)
	case "free":
		p.version += "~free"
	}
	return p, nil
}

// digest tells texts apart.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// Version names the prices: the day and the digest of the built-in list, the file's digest where there is one, and that of what is
// assumed of models whose price nobody knows, such as 2026-07-24.5ab02c77+1f3a9c04~90ce1d12. No price changes while it stays.
func (p *Prices) Version() string { return p.version }

// Place is where a model is asked.
type Place struct {
	Provider, Kind string
	Region         string // of the cloud; "" for none
}

var free = &Price{}

// Find returns the price to count with, never nil. It is false where none is known and the configuration does not say
// what to take instead: then the price is nothing, and Refuses tells whether the request may be sent at all.
//
// What the file says of provider@region/model comes first, then of provider/model, of the model, and its patterns. Models of
// one's own servers (kinds vllm and simulated) are free unless the file says otherwise. The built-in list knows models by their
// public names, without their dates and in the forms of Bedrock's ids: an Azure deployment with a name of its own, a fine-tuned
// model or a custom profile must stand in the file. Find allocates nothing.
func (p *Prices) Find(at Place, model string) (*Price, bool) {
	price, from := p.trace(at, model)
	return price, from.why != unknown
}

// origin is where a price comes from.
type origin struct {
	why  reason
	file *priced // of the file
	line *listed // of the list
}

type reason int

const (
	unknown reason = iota
	ofFile
	ofList
	own
	assumed
	gratis
)

func (p *Prices) trace(at Place, model string) (*Price, origin) {
	if found := p.ofFile(at, model); found != nil {
		return found.price, origin{why: ofFile, file: found}
	}
	if at.Kind == "vllm" || at.Kind == "simulated" {
		return free, origin{why: own}
	}
	if price, line := find(p.list, at, model); price != nil {
		return price, origin{why: ofList, line: line}
	}
	switch p.unknown.Action {
	case "assume":
		return p.unknown.assumed, origin{why: assumed}
	case "free":
		return free, origin{why: gratis}
	}
	return free, origin{}
}

func (p *Prices) ofFile(at Place, model string) *priced {
	if len(p.file) == 0 && len(p.patterns) == 0 {
		return nil
	}
	var space, more [256]byte
	full := append(append(append(space[:0], at.Provider...), '/'), model...)
	there := full
	if at.Region != "" {
		there = append(append(append(more[:0], at.Provider...), '@'), at.Region...)
		there = append(append(there, '/'), model...)
	}
	if found := p.file[string(there)]; found != nil {
		return found
	}
	if found := p.file[string(full)]; found != nil {
		return found
	}
	if found := p.file[model]; found != nil {
		return found
	}
	for i := range p.patterns {
		if q := &p.patterns[i]; fits(q.name, there) || fits(q.name, full) || wire.MatchModel(q.name, model) {
			return q
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
		if n := len(b.name) - len(a.name); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
}
