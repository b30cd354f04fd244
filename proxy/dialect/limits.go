package dialect

import (
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/wire"
)

// The limits of what a request may list: far more than any client needs, and so few that what is made of an element, which
// may be a hundred times as large as the two bytes that it takes in JSON, does not add up to gigabytes.
const (
	mostParts  = 100_000 // messages, items and what they are made of, over the whole request
	mostTools  = 10_000
	mostListed = 1_000 // of lists of names and words
)

// each calls read with each element of a list and its path, until one fails. It is an error if there are more than most.
func each(path string, list gjson.Result, most int, read func(path string, v gjson.Result) error) (err error) {
	i := 0
	list.ForEach(func(_, v gjson.Result) bool {
		if i == most {
			err = wire.Invalid(path, "%s must have at most %d elements.", path, most)
		} else {
			err = read(at(path, i), v)
		}
		i++
		return err == nil
	})
	return err
}

// eachPart is each for what conversations are made of: how many there may be is counted over the whole request.
func (r *Request) eachPart(path string, list gjson.Result, read func(path string, v gjson.Result) error) error {
	return each(path, list, mostParts, func(path string, v gjson.Result) error {
		if r.parts++; r.parts > mostParts {
			return wire.Invalid(path, "%s: the request has more than %d messages and parts.", path, mostParts)
		}
		return read(path, v)
	})
}
