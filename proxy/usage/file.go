package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds a price file.
const maxFile = 16 << 20

// readFile reads the user's prices.
func (p *Prices) readFile(cfg Config) error {
	name, text := cfg.File, cfg.Text
	if text == nil {
		var err error
		if text, err = readBounded(name); err != nil {
			return fmt.Errorf("prices.file: %w", err)
		}
	}
	p.version += "+" + digest(text)
	models, err := parseFile(text)
	if err != nil {
		return inFile(name, err)
	}
	p.file = map[string]*priced{}
	var errs []error
	for i := 0; i+1 < len(models); i += 2 {
		key := models[i].Value
		price, err := readPrice(models[i+1])
		if err == nil {
			err = p.add(priced{name: key, price: price, line: models[i].Line, hourly: rented(models[i+1])})
		}
		for _, e := range leaves(err) {
			errs = append(errs, fmt.Errorf("line %d: %s: %w", models[i].Line, key, e))
		}
	}
	sortPatterns(p.patterns)
	return inFile(name, errors.Join(errs...))
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: larger than %d MiB", name, maxFile>>20)
	}
	return text, err
}

// parseFile returns the file's mapping as pairs of nodes.
func parseFile(text []byte) ([]*yaml.Node, error) {
	var document yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("expected models with their prices, such as gpt-4o: {input: $2.50/M, output: $10/M}")
	}
	return root.Content, nil
}

func inFile(name string, err error) error {
	var errs []error
	for _, e := range leaves(err) {
		errs = append(errs, fmt.Errorf("prices.file: %s: %w", name, e))
	}
	return errors.Join(errs...)
}

func leaves(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}

func (p *Prices) add(entry priced) error {
	switch key := entry.name; {
	case key == "":
		return errors.New("empty name")
	case strings.Count(key, "*") > 1:
		return errors.New("more than one * in the name")
	case strings.Contains(key, "*"):
		if slices.ContainsFunc(p.patterns, func(q priced) bool { return q.name == key }) {
			return errors.New("the name stands twice")
		}
		p.patterns = append(p.patterns, entry)
	case p.file[key] != nil:
		return errors.New("the name stands twice")
	default:
		p.file[key] = &entry
	}
	return nil
}

// readPrice reads a model's price: free, or what it costs by unit.
func readPrice(n *yaml.Node) (*Price, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "free":
		return free, nil
	case n.Kind != yaml.MappingNode:
		return nil, errors.New("expected a price such as {input: $2.50/M, output: $10/M}, or free")
	}
	if rented(n) {
		return readHourly(n)
	}
	var s sheet
	var err error
	if s.main, err = s.read(n, "", true); err != nil {
		return nil, err
	}
	_, priced := s.main[rateNames[input]]
	for name := range s.main {
		priced = priced || slices.Contains(eachNames[:], name)
	}
	if !priced {
		return nil, errors.New("input: must be set (expected a price such as {input: $2.50/M, output: $10/M}, or free)")
	}
	return s.price(), nil
}

// read reads the rates of one section, and has the sections inside of it added to the sheet.
func (s *sheet) read(n *yaml.Node, tierName string, main bool) (map[string]int64, error) {
	named := map[string]int64{}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		var err error
		switch {
		case seen[key]:
			err = errors.New("stands twice")
		case key == "above":
			err = s.readAbove(value, tierName)
		case main && key == "max_output":
			s.longest, err = readLength(value)
		case main && slices.Contains(tierNames[:], key):
			err = s.readTier(value, key)
		case slices.Contains(rateNames[:], key) || main && slices.Contains(eachNames[:], key):
			named[key], err = readRate(key, value)
		default:
			err = fmt.Errorf("unknown key (choices: %s)", strings.Join(choices(main), ", "))
		}
		seen[key] = true
		for _, e := range leaves(err) {
			errs = append(errs, fmt.Errorf("%s: %w", key, e))
		}
	}
	return named, errors.Join(errs...)
}

func choices(main bool) []string {
	list := append(slices.Clone(rateNames[:]), "above")
	if main {
		list = slices.Concat(list, tierNames[:], eachNames[:], []string{"max_output"})
	}
	return list
}

func readRate(name string, n *yaml.Node) (int64, error) {
	if n.Kind != yaml.ScalarNode {
		return 0, errors.New("expected a price such as $2.50/M")
	}
	return parseRate(name, n.Value)
}

// readLength reads how long an answer may become: 16384.
func readLength(n *yaml.Node) (int64, error) {
	if n.Kind != yaml.ScalarNode {
		return 0, errors.New("expected a number of tokens such as 16384")
	}
	return parseLength(n.Value)
}

func (s *sheet) readTier(n *yaml.Node, name string) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("expected prices such as {input: $1.25/M, output: $5/M}")
	}
	named, err := s.read(n, name, false)
	s.sections = append(s.sections, section{tier: name, rates: named})
	return err
}

// readAbove reads the prices of longer prompts, by their length.
func (s *sheet) readAbove(n *yaml.Node, tierName string) error {
	if n.Kind != yaml.MappingNode {
		return errors.New("expected lengths with prices, such as 200k: {input: $4/M, output: $18/M}")
	}
	var errs []error
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		above, err := parseLength(key)
		var named map[string]int64
		switch {
		case err != nil:
		case value.Kind != yaml.MappingNode:
			err = errors.New("expected prices such as {input: $4/M, output: $18/M}")
		case slices.ContainsFunc(s.sections, func(sec section) bool { return sec.tier == tierName && sec.above == above }):
			err = errors.New("stands twice")
		default:
			named, err = readRates(value)
		}
		for _, e := range leaves(err) {
			errs = append(errs, fmt.Errorf("%s: %w", key, e))
		}
		s.sections = append(s.sections, section{tier: tierName, above: above, rates: named})
	}
	return errors.Join(errs...)
}

// readRates reads a section that has none inside.
func readRates(n *yaml.Node) (map[string]int64, error) {
	var inner sheet
	named, err := inner.read(n, "", false)
	if len(inner.sections) > 0 && err == nil {
		err = errors.New("above: cannot stand inside another")
	}
	return named, err
}
