package state

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
)

func TestForced(t *testing.T) { both(t, testForced) }

// Decisions come in one order, whichever gateway made them; one about a whole target takes the place of those about its models.
func testForced(t *testing.T, url string) {
	s, other := opened(t, url), opened(t, url)
	force := func(s *Store, served, state string) Forced {
		t.Helper()
		f, err := s.Force(t.Context(), Forced{Model: "gpt-*", Provider: "a", Served: served, State: state, Turn: 99})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	holds := func(want ...Forced) {
		t.Helper()
		for _, from := range []*Store{s, other} {
			list, err := from.Forced(t.Context())
			if err != nil || len(list) != len(want) || len(want) > 0 && !reflect.DeepEqual(list, want) {
				t.Errorf("%+v, %v; want %+v", list, err, want)
			}
		}
	}
	holds()
	first, second := force(s, "gpt-5", "open"), force(other, "gpt-6", "closed")
	if first.Turn != 1 || second.Turn != 2 {
		t.Errorf("%+v, %+v", first, second)
	}
	holds(first, second)
	again := force(other, "gpt-5", "")
	holds(second, again)
	elsewhere, err := s.Force(t.Context(), Forced{Model: "gpt-*", Provider: "b", State: "open"})
	if err != nil {
		t.Fatal(err)
	}
	all := force(s, "", "open")
	holds(elsewhere, all)
	if last := force(s, "", ""); last.Turn != 6 {
		t.Errorf("%+v", last)
	}
	var wg sync.WaitGroup
	turns := make(chan int64, 10)
	for i := range 10 {
		wg.Go(func() {
			f, err := []*Store{s, other}[i%2].Force(t.Context(), Forced{Model: "chat", Provider: fmt.Sprint(i), State: "open"})
			if err != nil {
				t.Error(err)
			}
			turns <- f.Turn
		})
	}
	wg.Wait()
	close(turns)
	seen := map[int64]bool{}
	for turn := range turns {
		if seen[turn] || turn < 7 || turn > 16 {
			t.Errorf("turn %d", turn)
		}
		seen[turn] = true
	}
}
