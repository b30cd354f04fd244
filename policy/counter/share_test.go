package counter_test

import (
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// However long Redis is away, all replicas together let no more through than was left of a budget: a share that was used up
// does not come back with each look whether Redis is there again. And what was left is let through.
func TestShareIsNotNewWithEachLook(t *testing.T) {
	bubble(t, shareIsNotNewWithEachLook)
}

func shareIsNotNewWithEachLook(t *testing.T, w *wire) {
	month := counter.Spec{Name: "tenant/acme/spend/month", Algorithm: counter.Calendar, Period: counter.Month, Limit: 40}
	other := hourly(1 << 40)
	var all []*counter.Counters
	for range 2 {
		all = append(all, w.open(t, counter.Options{OnError: "local_share"}))
	}
	for range 5 {
		for _, c := range all {
			if s, ok := c.Take(one(c.Get(month), 1)); !ok {
				t.Fatalf("%+v", s)
			}

		}
	}
	await(t, "both know of ten", func() bool { return all[0].Get(month).State().Used == 10 && all[1].Get(month).State().Used == 10 })
	w.cut.Store(true)
	served := 0
	for began := time.Now(); time.Since(began) < 4*time.Second; time.Sleep(10 * time.Millisecond) {
		for _, c := range all {
			nudge(c, c.Get(other)) // has Redis looked at
			if _, ok := c.Take(one(c.Get(month), 1)); ok {
				served++
			}
		}
	}
	if served > 30 || served < 20 { // what one was about to give back as Redis went is nobody's
		t.Errorf("%d were let through of the 30 that were left", served)
	}
	w.cut.Store(false)
	await(t, "both know of all", func() bool {
		return all[0].Get(month).State().Used == int64(10+served) && all[1].Get(month).State().Used == int64(10+served)
	})
}
