package usage

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed prices.txt
var listText string

// listed is a line of the built-in list.
type listed struct {
	name     string // the first of its names
	price    *Price
	regional *Price // where it is processed in one region; nil: the same
	zonal    bool   // that is so on Azure alone
}

// dated is the day of the built-in list, which its first line ends with.
func dated(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first[strings.LastIndexByte(first, ' ')+1:]
}

// readList reads the built-in list. It is part of the binary, so an error in it is a bug.
func readList(text string) map[string]*listed {
	list := map[string]*listed{}
	for line := range strings.Lines(text) {
		names, prices, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		s, where, err := parseLine(prices)
		if err != nil {
			panic(fmt.Sprintf("BUG: prices.txt: %s: %v", names, err))
		}
		entry := &listed{name: strings.Fields(names)[0], price: s.price(), zonal: where == "zonal"}
		if where != "" {
			entry.regional = entry.price.times(11, 10)
		}
		for name := range strings.FieldsSeq(names) {
			if _, twice := list[name]; twice {
				panic("BUG: prices.txt has " + name + " twice")
			}
			list[name] = entry
		}
	}
	return list
}

// parseLine reads the prices of a line; where is the word for it to be dearer in a region, if there is one.
func parseLine(line string) (s sheet, where string, err error) {
	for i, text := range strings.Split(line, " | ") {
		words := strings.Fields(text)
		if cut := len(words) - 1; i == 0 && (words[cut] == "regional" || words[cut] == "zonal") {
			words, where = words[:cut], words[cut]
		}
		if at := slices.Index(words, "max"); i == 0 && at >= 0 {
			if s.longest, err = parseLength(words[at+1]); err != nil {
				return s, "", err
			}
			words = slices.Delete(words, at, at+2)
		}
		var sec section
		if slices.Contains(tierNames[:], words[0]) {
			sec.tier, words = words[0], words[1:]
		}
		if words[0] == "above" {
			if sec.above, err = parseLength(words[1]); err != nil {
				return s, "", err
			}
			words = words[2:]
		}
		if sec.rates, err = parseWords(append([]string{"input", words[0], "output"}, words[1:]...)); err != nil {
			return s, "", err
		}
		if i == 0 {
			s.main = sec.rates
		} else {
			s.sections = append(s.sections, sec)
		}
	}
	return s, where, nil
}

// parseWords reads names, each with its dollars per million.
func parseWords(words []string) (map[string]int64, error) {
	named := map[string]int64{}
	for i := 0; i+1 < len(words); i += 2 {
		name := words[i]
		if !slices.Contains(rateNames[:], name) && !slices.Contains(eachNames[:], name) {
			return nil, fmt.Errorf("unknown word %q", name)
		}
		rate, err := parseRate(name, "$"+words[i+1]+"/M")
		if err != nil {
			return nil, err
		}
		named[name] = rate
	}
	return named, nil
}

// find looks a model up by the name that its provider knows it by: as it is, as Bedrock's ids and ARNs stand for it, and
// without its date. It allocates nothing.
func find(list map[string]*listed, at Place, model string) (*Price, *listed) {
	name, prefixed := bare(model)
	line := list[name]
	if line == nil {
		line = list[undated(name)]
	}
	switch {
	case line == nil:
		return nil, nil
	case line.regional != nil && (prefixed || line.dearer(at)):
		return line.regional, line
	}
	return line.price, line
}

// dearer tells whether the place is a region that makes the line's models dearer. On Bedrock the model's id tells.
func (l *listed) dearer(at Place) bool {
	return at.Region != "" && at.Region != "global" && (at.Kind == "azure" || at.Kind == "openai" && !l.zonal)
}

// bare takes from an id of Bedrock's what does not belong to the model's name: the ARN, the region, Anthropic's name and
// the version.
func bare(model string) (name string, regional bool) {
	name = model
	if strings.HasPrefix(name, "arn:") {
		at := strings.LastIndexByte(name, '/')
		if kind := name[strings.LastIndexByte(name[:max(at, 0)], ':')+1 : max(at, 0)]; kind != "foundation-model" && kind != "inference-profile" {
			return "", false // of somebody's own: the name says nothing
		}
		name = name[at+1:]
	}
	if prefix, rest, ok := strings.Cut(name, "."); ok && slices.Contains([]string{"us", "eu", "apac", "jp", "au", "ca", "us-gov", "global"}, prefix) {
		name, regional = rest, prefix != "global"
	}
	name, claude := strings.CutPrefix(name, "anthropic.")
	if claude || strings.HasPrefix(name, "amazon.") || strings.HasPrefix(name, "claude-") {
		name = unversioned(name)
	}
	return name, regional
}

// unversioned is a name without Bedrock's version: -v1, -v1:0, -v1:0:200k.
func unversioned(name string) string {
	at := strings.LastIndex(name, "-v")
	if at < 0 || strings.Trim(name[at+2:], "0123456789:k") != "" || at+2 == len(name) {
		return name
	}
	return name[:at]
}

// undated is a name without the date that it ends with: -2024-08-06, -20250514, or -latest.
func undated(name string) string {
	if cut, ok := strings.CutSuffix(name, "-latest"); ok {
		return cut
	}
	for _, form := range []string{"-0000-00-00", "-00000000"} {
		at := len(name) - len(form)
		if at > 0 && shaped(name[at:], form) {
			return name[:at]
		}
	}
	return name
}

// shaped tells whether text has digits where form has a 0, and else the same bytes.
func shaped(text, form string) bool {
	for i := range len(form) {
		digit := text[i] >= '0' && text[i] <= '9'
		if digit != (form[i] == '0') || !digit && text[i] != form[i] {
			return false
		}
	}
	return true
}
