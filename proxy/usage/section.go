package usage

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"jarvis-gateway/proxy/wire"
)

// sheet is a price as it is written: a main section, and others for longer prompts and service tiers.
type sheet struct {
	main     map[string]int64 // by the names of rates and of what is paid for each
	sections []section
	longest  int64 // answer, in tokens; 0: not said
}

type section struct {
	tier  string // "" : the standard one
	above int64  // 0: prompts of all lengths
	rates map[string]int64
}

// price fills in what the sheet does not name.
func (s *sheet) price() *Price {
	p := s.standard(s.main, nil, "")
	for i, name := range tierNames {
		j := slices.IndexFunc(s.sections, func(sec section) bool { return sec.tier == name && sec.above == 0 })
		if j >= 0 {
			p.served[i] = s.standard(s.sections[j].rates, p, name)
			p.served[i].main = p
		}
	}
	return p
}

// standard is the price in a service tier; base is that outside of tiers, which a tier's sections are derived from where
// they are missing.
func (s *sheet) standard(main map[string]int64, base *Price, tierName string) *Price {
	p := &Price{longest: s.longest}
	if base == nil {
		p.base = fill(main, nil)
	} else {
		p.base = fill(main, &base.base)
	}
	for i, name := range eachNames {
		p.each[i] = s.main[name]
	}
	for _, sec := range s.sections {
		if sec.tier == tierName && sec.above > 0 {
			p.long = append(p.long, tier{sec.above, fill(sec.rates, &p.base)})
		}
	}
	if base != nil && len(p.long) == 0 {
		for _, l := range base.long {
			p.long = append(p.long, tier{l.above, fill(map[string]int64{
				"input":  scale(l.rates[input], p.base[input], base.base[input]),
				"output": scale(l.rates[output], p.base[output], base.base[output]),
			}, &p.base)})
		}
	}
	slices.SortFunc(p.long, func(a, b tier) int { return cmp.Compare(a.above, b.above) })
	return p
}

// fill makes rates of what a section names. The rest goes up or down with the input or the output; in the main section it
// costs as much.
func fill(named map[string]int64, base *rates) (r rates) {
	like := [...]int{input, output, input, input, write, input, input, output, output}
	for i, name := range rateNames {
		switch rate, ok := named[name]; {
		case ok:
			r[i] = rate
		case base == nil && like[i] != i:
			r[i] = r[like[i]]
		case base != nil && like[i] == i:
			r[i] = base[i]
		case base != nil:
			r[i] = scale(base[i], r[like[i]], base[like[i]])
		}
	}
	return r
}

// scale is n*num/den, rounded up and bounded; where den is nothing it is num.
func scale(n, num, den int64) int64 {
	if den == 0 {
		return num
	}
	hi, lo := bits.Mul64(uint64(n), uint64(num)) //nolint:gosec // rates are not negative
	if hi >= uint64(den) {                       //nolint:gosec // rates are not negative
		return maxRate
	}
	q, rest := bits.Div64(hi, lo, uint64(den)) //nolint:gosec // rates are not negative
	if rest > 0 {
		q++
	}
	return int64(min(q, uint64(maxRate))) //nolint:gosec // it fits
}

// times is the price made dearer by num/den.
func (p *Price) times(num, den int64) *Price {
	q := *p
	for i := range q.base {
		q.base[i] = scale(q.base[i], num, den)
	}
	q.long = slices.Clone(p.long)
	for i := range q.long {
		for j := range q.long[i].rates {
			q.long[i].rates[j] = scale(q.long[i].rates[j], num, den)
		}
	}
	for i, t := range p.served {
		if t != nil {
			q.served[i] = t.times(num, den)
			q.served[i].main = &q
		}
	}
	return &q
}

// parseRate reads a price like $2.50/M or $0.003/k; where each is set also $0.04, for one. It is in nano-dollars per
// million, but of milliseconds for seconds.
func parseRate(name, text string) (int64, error) {
	each := slices.Contains(eachNames[:], name)
	amount, per, _ := strings.Cut(strings.TrimSpace(text), "/")
	scale := int64(wire.Dollar)
	switch {
	case per == "M":
	case per == "k":
		scale *= 1_000
	case per == "" && each && !strings.Contains(text, "/"):
		scale *= million
	case each:
		return 0, fmt.Errorf("%q is no price (expected one like $0.04, or $15/M for a million)", text)
	default:
		return 0, fmt.Errorf("%q is no price of tokens (expected one like $2.50/M or $0.0025/k)", text)
	}
	return toRate(name, text, strings.TrimPrefix(strings.TrimSpace(amount), "$"), scale)
}

func toRate(name, text, number string, scale int64) (int64, error) {
	if name == eachNames[second] {
		scale /= 1_000
	}
	n, err := wire.ParseAmount(number, scale)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no price (expected dollars like $2.50/M, not finer than a nano-dollar per million)", text)
	case n > maxRate:
		return 0, fmt.Errorf("%q is too much (a thousand dollars for each at most)", text)
	}
	return n, nil
}

// maxLength is far above what any model takes or gives, and far below where a sum of lengths would overflow.
const maxLength = 1_000_000_000

// parseLength reads the length of a prompt or an answer: 200k.
func parseLength(text string) (int64, error) {
	n, err := wire.ParseAmount(text, 1)
	switch {
	case err != nil || n < 1:
		return 0, fmt.Errorf("%s is no number of tokens (expected one like 200k)", strconv.Quote(text))
	case n > maxLength:
		return 0, fmt.Errorf("%s is too much (a thousand million tokens at most)", strconv.Quote(text))
	}
	return n, nil
}
