package usage

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"jarvis-gateway/proxy/wire"
)

// Quote is the price of a model as people read it.
type Quote struct {
	Provider  string    `json:"provider,omitempty"`
	Region    string    `json:"region,omitempty"`
	Model     string    `json:"model"`
	Known     bool      `json:"known"`
	Source    string    `json:"source"` // where the price comes from
	MaxOutput int64     `json:"max_output,omitempty"`
	Sections  []Section `json:"sections,omitempty"`
}

// Section is what is paid in a service tier, by prompts of more than so many tokens.
type Section struct {
	Tier  string                 `json:"tier"`
	Above int64                  `json:"above"`
	Rates map[string]json.Number `json:"usd_per_million"` // by the words of price files: tokens, requests, images, seconds, characters
}

// Listed names the models of the built-in list, sorted.
func (p *Prices) Listed() []string { return slices.Sorted(maps.Keys(p.list)) }

// Quote is the price that Find finds, and why it is this one.
func (p *Prices) Quote(at Place, model string) Quote {
	price, from := p.trace(at, model)
	q := Quote{Provider: at.Provider, Region: at.Region, Model: model, Known: from.why != unknown, Source: p.source(price, from, at, model), MaxOutput: price.longest}
	if !q.Known {
		return q
	}
	q.Sections = price.sections(nil, "standard")
	for i, served := range price.served {
		if served != nil {
			q.Sections = served.sections(q.Sections, tierNames[i])
		}
	}
	return q
}

func (p *Prices) source(price *Price, from origin, at Place, model string) string {
	switch from.why {
	case ofFile:
		text := fmt.Sprintf("prices.file, line %d: %s", from.file.line, from.file.name)
		switch {
		case from.file.hourly:
			text += ", by the hour"
		case price == free:
			text += ", free"
		}
		return text
	case ofList:
		text := "built-in list of " + dated(listText)
		if from.line.name != model {
			text += ", as " + from.line.name
		}
		if price == from.line.regional {
			text += ", dearer in a region"
		}
		return text
	case own:
		return "free: of kind " + at.Kind
	case assumed:
		return "not known: assumed by prices.unknown"
	case gratis:
		return "not known: free by prices.unknown"
	}
	if p.unknown.Action == "reject" {
		return "not known: refused"
	}
	return "not known: refused where money is limited, else free"
}

// sections adds the sections of one service tier.
func (p *Price) sections(list []Section, tierName string) []Section {
	list = append(list, p.section(tierName, 0, &p.base))
	for i := range p.long {
		list = append(list, p.section(tierName, p.long[i].above, &p.long[i].rates))
	}
	return list
}

func (p *Price) section(tierName string, above int64, r *rates) Section {
	s := Section{Tier: tierName, Above: above, Rates: map[string]json.Number{}}
	for i, name := range rateNames {
		s.Rates[name] = dollars(r[i], int64(wire.Dollar))
	}
	for i, name := range eachNames {
		switch rate := p.each[i]; {
		case rate == 0:
		case i == second: // it is kept by the millisecond
			s.Rates[name] = dollars(rate, int64(wire.Dollar)/1000)
		default:
			s.Rates[name] = dollars(rate, int64(wire.Dollar))
		}
	}
	return s
}

// dollars writes n parts of a dollar exactly, without needless zeros.
func dollars(n, parts int64) json.Number {
	r := big.NewRat(n, parts)
	digits, _ := r.FloatPrec() // parts is a power of ten: it ends
	return json.Number(r.FloatString(digits))
}

// Own are the rates that cannot be told from the input's and the output's, in the order of price files.
func (s Section) Own() (list []string) {
	base := map[string]string{"cached": "input", "write": "input", "write_1h": "write", "audio_in": "input", "image_in": "input", "audio_out": "output", "reasoning": "output"}
	for _, name := range slices.Concat(rateNames[:], eachNames[:]) {
		rate, ok := s.Rates[name]
		if like := base[name]; ok && name != "input" && name != "output" && (like == "" || rate != s.Rates[like]) {
			list = append(list, name+" "+string(rate))
		}
	}
	return list
}

// Prompts says how long the prompts are that the section is for.
func (s Section) Prompts() string {
	switch {
	case s.Above == 0:
		return ""
	case s.Above%1000 == 0:
		return "> " + strconv.FormatInt(s.Above/1000, 10) + "k"
	}
	return "> " + strconv.FormatInt(s.Above, 10)
}
