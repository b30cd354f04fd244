package router

import (
	"errors"
	"fmt"
)

// RAG says what passages a model's requests get: those of a corpus that have most to do with what the user said last.
type RAG struct {
	Corpus string `yaml:"corpus" jsonschema:"required" jsonschema_description:"which of corpora"`
	TopK   int    `yaml:"top_k,omitempty" jsonschema:"minimum=1,maximum=50" jsonschema_description:"passages at most; default 5"`
	Tokens int    `yaml:"tokens,omitempty" jsonschema:"minimum=200,maximum=100000" jsonschema_description:"what passages, with the words around them, may add to a request at most; default 1500, or more where the corpus's passages are long"`
}

// IsZero tells that nothing was said.
func (r RAG) IsZero() bool { return r == RAG{} }

// Filled is the setting with its defaults, for a corpus whose passages have so many tokens at most.
func (r RAG) Filled(passage int) RAG {
	if r.TopK == 0 {
		r.TopK = 5
	}
	if r.Tokens == 0 {
		r.Tokens = max(1500, passage+aroundPassage)
	}
	return r
}

// aroundPassage is how many tokens may stand around one: what a model is told of it, its source and its title.
const aroundPassage = 200

// Check words what is wrong as paths below at.
func (r RAG) Check(at string, passage int) error {
	var errs []error
	if r.TopK < 0 || r.TopK > 50 {
		errs = append(errs, fmt.Errorf("%s.top_k: expected 1 to 50, got %d", at, r.TopK))
	}
	if least := passage + aroundPassage; r.Tokens != 0 && (r.Tokens < least || r.Tokens > 100_000) {
		errs = append(errs, fmt.Errorf("%s.tokens: expected %d to 100000, got %d: one passage of the corpus may have %d, and needs some words around it", at, least, r.Tokens, passage))
	}
	return errors.Join(errs...)
}
