package counter_test

import (
	"testing"
	"time"

	"jarvis-gateway/policy/counter"
)

// TestReloadKeepsTheCount: when a limit counts in another way from now on, what all replicas used of it stays used, and once.
func TestReloadKeepsTheCount(t *testing.T) {
	addr := startRedis(t)
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	var all [2]*counter.Counters
	for i := range all {
		all[i] = open(t, counter.Options{URL: "redis://" + addr + "/0"})
	}
	changes := map[string]func(*counter.Spec){
		"zone":    func(s *counter.Spec) { s.Location = zone },
		"period":  func(s *counter.Spec) { s.Period = counter.Day },
		"sliding": func(s *counter.Spec) { s.Algorithm, s.Window = counter.Sliding, time.Hour },
		"bucket":  func(s *counter.Spec) { s.Algorithm, s.Window = counter.Token, 1000*time.Hour },
	}
	specs, used := map[string]counter.Spec{}, map[string]int{}
	for name, change := range changes {
		s := counter.Spec{Name: name, Algorithm: counter.Calendar, Limit: 100, Period: counter.Month}
		for i, c := range all {
			await(t, "it is spent", func() bool { _, ok := c.Take(one(c.Get(s), int64(60-30*i))); return ok })
			c.Report()
		}
		change(&s)
		specs[name], used[name] = s, 90
		for _, c := range all {
			c.Get(s)
		}
	}
	enough := func() bool {
		for _, n := range used {
			if n < 100 {
				return false
			}
		}
		return true
	}
	keepOn(4*time.Second, 10*time.Millisecond, enough, func() {
		for name, s := range specs {
			for _, c := range all {
				if _, ok := c.Take(one(c.Get(s), 1)); ok {
					used[name]++
				}
			}
		}
	})
	for name, n := range used {
		if n != 100 {
			t.Errorf("%s: %d of 100 spent; %+v", name, n, all[0].Get(specs[name]).State())
		}
	}
}
