// Package ragplug finds passages of text files that help to answer a request, by the words that they share with it, and puts them
// into words for a model. A Corpus is read and indexed as a whole, and never changes then: a change of its files makes a new one.
package ragplug

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Config is one entry of `corpora`.
type Config struct {
	Files []string `yaml:"files" jsonschema:"required,minItems=1" jsonschema_description:"the documents: text files (.md, .txt; UTF-8), or patterns of them, where ** stands for folders of any depth, such as docs/**/*.md; relative to this file"`
	Chunk Chunk    `yaml:"chunk,omitempty"`

	Dir string `yaml:"-"` // which the files are relative to
}

// Chunk says how documents are cut into passages.
type Chunk struct {
	Tokens  int  `yaml:"tokens,omitempty" jsonschema:"minimum=50,maximum=2000" jsonschema_description:"the most of a passage; default 400"`
	Overlap *int `yaml:"overlap,omitempty" jsonschema:"minimum=0" jsonschema_description:"how much a passage repeats of the one before at most, up to half of tokens; default 60, or less where passages are short"`
}

// Bounds of a corpus, so that a wrong pattern cannot make the gateway hang or swell.
const (
	LongestFile = 4 << 20  // bytes
	LargestText = 64 << 20 // bytes of all files
	MostFiles   = 10_000
)

const (
	usualTokens  = 400
	usualOverlap = 60
	fewestTokens = 50
	mostTokens   = 2000
)

// size is what a passage may have, in tokens.
func (c Chunk) size() int {
	if c.Tokens == 0 {
		return usualTokens
	}
	return c.Tokens
}

func (c Chunk) overlap() int {
	if c.Overlap == nil {
		return min(usualOverlap, c.size()/4)
	}
	return *c.Overlap
}

// check words what is wrong as paths below at.
func (c *Config) check(at string) error {
	var errs []error
	if len(c.Files) == 0 {
		errs = append(errs, fmt.Errorf("%s.files: must be set", at))
	}
	if n := c.Chunk.size(); n < fewestTokens || n > mostTokens {
		errs = append(errs, fmt.Errorf("%s.chunk.tokens: expected %d to %d, got %d", at, fewestTokens, mostTokens, n))
	} else if over := c.Chunk.overlap(); over < 0 || over > n/2 {
		errs = append(errs, fmt.Errorf("%s.chunk.overlap: expected 0 to %d, half of a passage, got %d", at, n/2, over))
	}
	return errors.Join(errs...)
}

// checkName keeps out of headers, records and metrics what is no plain name.
func checkName(name string) error {
	const most = 64
	strange := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !slices.Contains([]rune("._-"), r)
	}
	if name == "" || len(name) > most || strings.ContainsFunc(name, strange) {
		return fmt.Errorf("a corpus's name has letters (a-z, A-Z), digits, dots, underscores and hyphens, %d at most", most)
	}
	return nil
}
