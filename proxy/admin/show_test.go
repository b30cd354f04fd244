package admin

import (
	"context"
	"errors"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

// What is stored is shown as used, and where nobody can count it, nothing is made up.
func TestLimitsOfWhatIsStored(t *testing.T) {
	var away error
	s := newStage(t, func(setup *Setup) {
		setup.Limits = func(context.Context, string) ([]Standing, error) {
			return []Standing{
				{ID: "gateway/vectors", Unit: "vectors", Text: "1000000", Limit: 1_000_000, Used: 1_200_000},
				{ID: "gateway/documents", Unit: "documents", Text: "10", Limit: 10, Used: 3, Free: 7},
				{ID: "gateway/flow_runs", Unit: "flow_runs", Text: "5", Limit: 5, Held: 2, Free: 3},
			}, away
		}
	})
	a := s.must("GET", "/limits", "")
	var got []string
	for _, field := range []string{"data.#.unit", "data.#.used", "data.#.held", "data.#.free", "data.#.reset_at"} {
		got = append(got, a.get(field))
	}
	if want := `["documents","flow_runs","vectors"] [3,0,1200000] [0,2,0] [7,3,0] [null,null,null]`; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
	away = wire.Server(503, "state_unavailable", "It does not answer.", errors.New("secret host"))
	a = s.owner("GET", "/limits", "")
	if s.want(a, 503, "state_unavailable", ""); strings.Contains(a.body, "secret") || strings.Contains(a.body, "vectors") {
		t.Error(a.body)
	}
}
