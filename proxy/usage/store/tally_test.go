package store

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Percentiles are exact up to a bound, and within a thousandth beyond it.
func TestNearest(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, exact := range []int{0, mostExact} { // how many there are already
		p := pool{exact: exact}
		var v values
		var list []int64
		for range 5 * leastExact {
			us := random.Int64N(1 << random.IntN(40))
			list = append(list, us)
			v.add(us, &p)
		}
		slices.Sort(list)
		for _, percent := range []int64{1, 50, 95, 99, 100} {
			want := list[(int64(len(list))*percent+99)/100-1]
			got := v.nearest(percent)
			if exact == 0 && got != want || got > want || float64(got) < float64(want)*0.998 {
				t.Errorf("%d of %d exact: %d%% is %d, want %d", exact, mostExact, percent, got, want)
			}
		}
		if kept := len(v.list) + len(v.coarse); exact > 0 && kept >= len(list) {
			t.Errorf("%d values are kept of %d", kept, len(list))
		}
	}
	if none := (&values{}); none.nearest(50) != -1 {
		t.Error("a median of nothing")
	}
}
