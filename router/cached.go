package router

import (
	"errors"
	"time"
)

// Cache says whose answers are kept for a while, to be given again.
type Cache struct {
	Exact time.Duration `yaml:"exact,omitempty" jsonschema_description:"for how long an answer serves requests of the same tenant that are the same to the byte, such as 10m; default: none is kept"`
}

func (c *Cache) check() error {
	if c.Exact < 0 || c.Exact > 0 && c.Exact < time.Second {
		return errors.New("exact: expected a time of at least 1s, such as 10m")
	}
	return nil
}

// Cached is for how long answers of the route are kept; 0: not at all.
func (r *Route) Cached() time.Duration { return r.cached }

// Meant are the targets that are for such requests, as bits. ask is called where that depends on the request.
func (r *Route) Meant(ask func(Needs) *Query) (set uint64) {
	var q *Query
	for i, t := range r.Targets {
		if t.when == nil {
			set |= 1 << i
			continue
		}
		if q == nil {
			q = ask(r.needs)
		}
		if t.when.fits(q) {
			set |= 1 << i
		}
	}
	return set
}
