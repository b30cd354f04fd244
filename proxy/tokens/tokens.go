// Package tokens counts the tokens of texts.
package tokens

import (
	"sync"

	"github.com/tiktoken-go/tokenizer"
)

// o200k is the vocabulary of OpenAI's models since GPT-4o. It takes some megabytes, so it is made when first needed.
var o200k = sync.OnceValue(func() tokenizer.Codec {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		panic("BUG: " + err.Error()) // it is part of the binary
	}
	return codec
})

// Count is how many tokens of o200k_base a text has: that of OpenAI's models since GPT-4o, and within a few in a hundred of
// what other vocabularies of that size give.
func Count(text string) int {
	if text == "" {
		return 0
	}
	n, err := o200k().Count(text)
	if err != nil {
		return (len(text) + 3) / 4
	}
	return n
}
