package router

import (
	"errors"

	"jarvis-gateway/proxy/wire"
)

// Send asks one target. It returns once the first content is in hand.
type Send func(target *Target) error

// Do tries the route's targets in order until one answers, and returns the last one tried and how many were. Only
// failures that another target may mend go on to the next: a caller's mistake would only be made again. When none is left,
// a failure that time may mend is the request's, and its target returned: a later target's saying that it cannot serve such
// requests at all would keep the client from trying again.
func (r *Route) Do(send Send) (target *Target, attempts int, err error) {
	var passing error
	var where *Target
	for _, target = range r.Targets {
		attempts++
		if err = send(target); err == nil {
			return target, attempts, nil
		}
		failure := mendable(err)
		if failure == nil {
			return target, attempts, err
		}
		if passing == nil && (failure.Status == 429 || failure.Status >= 500) {
			passing, where = err, target
		}
	}
	if failure := mendable(err); passing != nil && failure != nil && failure.Status < 500 && failure.Status != 429 {
		return where, attempts, passing
	}
	return target, attempts, err
}

// mendable is the failure that another target may mend, nil for any other error.
func mendable(err error) *wire.Error {
	var failure *wire.Error
	if errors.As(err, &failure) && failure.Failover {
		return failure
	}
	return nil
}
