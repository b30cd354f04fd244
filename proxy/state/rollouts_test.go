package state

import (
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestRollouts(t *testing.T) { both(t, testRollouts) }

// What gateways keep of a rollout is the same in whatever order they keep it, and a decision by hand goes before it.
func testRollouts(t *testing.T, url string) {
	s := opened(t, url)
	at := time.UnixMilli(1_700_000_000_123).UTC()
	row := func(turn int64, step int, percent float64, halted string) Rollout {
		return Rollout{Model: "chat", Spec: "abc", Turn: turn, Step: step, Percent: percent, Since: at, Halted: halted}
	}
	only := func(what string, want Rollout) {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := s.Rollouts(t.Context())
		if err != nil || len(list) != 1 || !list[0].Since.Equal(want.Since) {
			t.Fatalf("%s: %+v, %v", what, list, err)
		}
		if list[0].Since = want.Since; !reflect.DeepEqual(list[0], want) {
			t.Errorf("%s: %+v, want %+v", what, list[0], want)
		}
	}
	if list, err := s.Rollouts(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("at first: %+v, %v", list, err)
	}
	s.KeepRollout(row(0, 1, 30, ""))
	s.KeepRollout(row(0, 0, 10, ""))
	only("an earlier step", row(0, 1, 30, ""))
	s.KeepRollout(row(0, 0, 10, "worse"))
	s.KeepRollout(row(0, 2, 50.5, ""))
	s.KeepRollout(row(0, 2, 50.5, "much worse"))
	only("called off", row(0, 0, 10, "worse"))
	set, err := s.SetRollout(t.Context(), row(1, 3, 12.5, ""))
	if err != nil || !reflect.DeepEqual(set, row(1, 3, 12.5, "")) {
		t.Errorf("%+v, %v", set, err)
	}
	s.KeepRollout(row(0, 2, 50.5, "worse"))
	only("by hand", set)
	var wg sync.WaitGroup
	for range 5 { // as many gateways that know of one decision
		wg.Go(func() {
			if _, err := s.SetRollout(t.Context(), row(2, 3, 40, "")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	only("all five", row(6, 3, 40, ""))
	other := row(0, 0, 5, "")
	other.Spec = "another"
	s.KeepRollout(other)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Rollouts(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("two rollouts of a model: %+v, %v", list, err)
	}
}
