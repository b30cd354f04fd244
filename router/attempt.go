package router

import (
	"errors"

	"jarvis-gateway/proxy/wire"
)

// Send asks one target. It returns once the first content is in hand.
type Send func(target *Target) error

// Do tries the route's targets in order until one answers, and returns the last one tried and how many were. Only
// failures that another target may mend go on to the next: a caller's mistake would only be made again.
func (r *Route) Do(send Send) (target *Target, attempts int, err error) {
	for _, target = range r.Targets {
		attempts++
		err = send(target)
		if err == nil || !mendable(err) {
			break
		}
	}
	return target, attempts, err
}

func mendable(err error) bool {
	var failure *wire.Error
	return errors.As(err, &failure) && failure.Failover
}
