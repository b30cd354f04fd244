package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"jarvis-gateway/proxy/state"
	"jarvis-gateway/proxy/wire"
)

// shelves is a store in memory.
func shelves(t testing.TB) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), "sqlite::memory:")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// storing is a gate whose limits count, also what is stored. prev may be nil.
func storing(t testing.TB, stock Stock, tenants map[string]Tenant, limits Limits, prev *Gate) *Gate {
	t.Helper()
	s := Setup{Tenants: tenants, Limits: limits, Names: names, Stock: stock}
	if prev != nil {
		s.Counters = prev.setup.Counters
	} else {
		s.Counters = counters(t)
	}
	g, err := New(s, prev)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const keyC, keyD = "jv-0123456789abcdefC", "jv-0123456789abcdefD"

// placed is acme, whose keys a and c are in the team ops and d is not, and globex with key b. limits are in one place of it.
func placed(level string, limits Limits) (map[string]Tenant, Limits) {
	acme := Tenant{Teams: map[string]Team{"ops": {}}, Keys: []Key{{Name: "a", Key: keyA, Team: "ops"}, {Name: "c", Key: keyC, Team: "ops"}, {Name: "d", Key: keyD}}}
	var whole Limits
	switch level {
	case "end user":
		acme.UserLimits = limits
	case "key a":
		acme.Keys[0].Limits = limits
	case "team ops":
		acme.Teams["ops"] = Team{Limits: limits}
	case "tenant acme":
		acme.Limits = limits
	case "the gateway":
		whole = limits
	}
	return map[string]Tenant{"acme": acme, "globex": {Keys: []Key{{Name: "b", Key: keyB}}}}, whole
}

// Each unit is bounded at each level: two of it there may be, and a third of the same is refused, and nobody else's.
func TestEveryUnitAtEveryLevel(t *testing.T) {
	tariff := perToken{in: 1_000_000}
	ask := func(g *Gate, c *Caller, user string) (*Grant, error) {
		r := &Grant{}
		return r, g.Admit(c, &Ask{Model: "chat", Tariff: tariff, Prompt: 400, User: user}, r)
	}
	used := func(g *Gate, c *Caller, user string) error {
		r, err := ask(g, c, user)
		u := wire.Usage{Prompt: 500}
		if err != nil {
			u = wire.Usage{}
		}
		r.Settle(u, tariff.Cost(u), false)
		return err
	}
	units := []struct {
		unit   Unit
		limits Limits
		use    func(g *Gate, c *Caller, user string) error
	}{
		{Requests, Limits{Requests: rates(t, "2/d")}, used},
		{Tokens, Limits{Tokens: rates(t, "1000/d")}, used},
		{Spend, Limits{Spend: spends(t, "$1/d")}, used},
		{Concurrency, Limits{Concurrency: 2, OnExceed: OnExceed{Action: "reject"}}, func(g *Gate, c *Caller, user string) error {
			_, err := ask(g, c, user)
			return err
		}},
		{Documents, Limits{Documents: 2}, func(g *Gate, c *Caller, user string) error {
			_, err := g.Store(t.Context(), c, user, 1, 100)
			return err
		}},
		{Vectors, Limits{Vectors: 200}, func(g *Gate, c *Caller, user string) error {
			_, err := g.Store(t.Context(), c, user, 1, 100)
			return err
		}},
		{FlowRuns, Limits{FlowRuns: 2}, func(g *Gate, c *Caller, user string) error {
			_, err := g.StartRun(t.Context(), c, user)
			return err
		}},
	}
	type person struct{ key, user string }
	levels := []struct {
		name         string
		same, others []person
	}{
		{"end user", []person{{keyA, "ann"}, {keyC, "ann"}, {keyD, "ann"}}, []person{{keyA, "bob"}, {keyA, ""}, {keyB, "ann"}}},
		{"key a", []person{{keyA, "ann"}, {keyA, "bob"}, {keyA, ""}}, []person{{keyC, "ann"}, {keyD, ""}, {keyB, ""}}},
		{"team ops", []person{{keyA, "ann"}, {keyC, "bob"}, {keyA, ""}}, []person{{keyD, "ann"}, {keyB, ""}}},
		{"tenant acme", []person{{keyA, "ann"}, {keyC, "bob"}, {keyD, ""}}, []person{{keyB, "ann"}}},
		{"the gateway", []person{{keyA, "ann"}, {keyB, "bob"}, {keyD, ""}}, nil},
	}
	for _, unit := range units {
		for _, level := range levels {
			t.Run(unit.unit.String()+"/"+level.name, func(t *testing.T) {
				tenants, whole := placed(level.name, unit.limits)
				g := storing(t, shelves(t), tenants, whole, nil)
				use := func(p person) error { return unit.use(g, identify(t, g, p.key), p.user) }
				for _, p := range level.same[:2] {
					if err := use(p); err != nil {
						t.Fatalf("%v: %v", p, err)
					}
				}
				var e *wire.Error
				if err := use(level.same[2]); !errors.As(err, &e) || e.Status != 429 || !strings.Contains(e.Message, level.name) {
					t.Errorf("a third: %v", err)
				}
				for _, p := range level.others {
					if err := use(p); err != nil {
						t.Errorf("%v is held up: %v", p, err)
					}
				}
			})
		}
	}
}

// there is what is counted, by scope and unit.
func there(t *testing.T, s *state.Store, scopes ...string) string {
	t.Helper()
	list, err := s.CountStock(t.Context(), scopes)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]int64{}
	for _, one := range list {
		m[one.Scope+" "+one.Unit] = one.N
	}
	var b strings.Builder
	for _, at := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s %d\n", at, m[at])
	}
	return b.String()
}

func TestStoreAndRemove(t *testing.T) {
	stock := shelves(t)
	tenants, _ := placed("", Limits{})
	g := storing(t, stock, tenants, Limits{}, nil)
	ann := endUser("ann")
	if len(ann) != 24 || strings.Contains(ann, "ann") || endUser("") != "-" || endUser("bob") == ann {
		t.Errorf("%q stands for ann", ann)
	}
	scopes := []string{wholeID, "tenant/acme", "tenant/acme/team/ops", "tenant/acme/key/a", "tenant/acme/key/d", "tenant/acme/user/" + ann, "tenant/acme/user/-"}
	first, err := g.Store(t.Context(), identify(t, g, keyA), "ann", 1, 40)
	if err != nil {
		t.Fatal(err)
	}
	second, err := g.Store(t.Context(), identify(t, g, keyD), "", 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	want := "gateway documents 3\ngateway vectors 45\ntenant/acme documents 3\ntenant/acme vectors 45\n" +
		"tenant/acme/key/a documents 1\ntenant/acme/key/a vectors 40\ntenant/acme/key/d documents 2\ntenant/acme/key/d vectors 5\n" +
		"tenant/acme/team/ops documents 1\ntenant/acme/team/ops vectors 40\n" +
		"tenant/acme/user/- documents 2\ntenant/acme/user/- vectors 5\ntenant/acme/user/" + ann + " documents 1\ntenant/acme/user/" + ann + " vectors 40\n"
	if got := there(t, stock, scopes...); got != want {
		t.Errorf("stored:\n%s", got)
	}
	// Whoever removes it, it was the other's.
	if err := g.Remove(t.Context(), first, 1, 39); err != nil {
		t.Fatal(err)
	}
	want = "gateway documents 2\ngateway vectors 6\ntenant/acme documents 2\ntenant/acme vectors 6\n" +
		"tenant/acme/key/a vectors 1\ntenant/acme/key/d documents 2\ntenant/acme/key/d vectors 5\ntenant/acme/team/ops vectors 1\n" +
		"tenant/acme/user/- documents 2\ntenant/acme/user/- vectors 5\ntenant/acme/user/" + ann + " vectors 1\n"
	if got := there(t, stock, scopes...); got != want {
		t.Errorf("after the removal:\n%s", got)
	}
	for range 2 { // once more takes nothing from others below nothing
		if err := errors.Join(g.Remove(t.Context(), first, 0, 1), g.Remove(t.Context(), second, 2, 5)); err != nil {
			t.Fatal(err)
		}
	}
	if got := there(t, stock, scopes...); got != "" {
		t.Errorf("in the end:\n%s", got)
	}
}

// Of tokens there is no key's scope, which would be one for everyone who ever came; and a token's word of the end user counts.
func TestStoreByToken(t *testing.T) {
	stock := shelves(t)
	tenants, _ := placed("end user", Limits{Documents: 1})
	g := storing(t, stock, tenants, Limits{}, nil)
	c, err := g.holder(g.directory.Load(), &token{tenant: "acme", subject: "s", user: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := g.Store(t.Context(), c, "bob", 1, 0)
	if want := "tenant/acme/user/" + endUser("ann") + "\ntenant/acme\ngateway"; err != nil || string(owner) != want {
		t.Errorf("%q, %v", owner, err)
	}
	_, err = g.Store(t.Context(), c, "carl", 1, 0)
	turnedDown(t, err, "insufficient_quota", "Limit reached for end user: documents 1, of which 0 are left; this request needs 1. Please remove some first.")
}

// A limit that comes later knows what there is. One that is lower than that refuses more and removes nothing.
func TestLimitsOfWhatIsStored(t *testing.T) {
	stock := shelves(t)
	config := func(limits, whole Limits, prev *Gate) *Gate {
		return storing(t, stock, map[string]Tenant{"acme": {Limits: limits, Keys: []Key{{Name: "a", Key: keyA}}}}, whole, prev)
	}
	g := config(Limits{}, Limits{}, nil)
	owner, err := g.Store(t.Context(), identify(t, g, keyA), "", 10, 1000)
	if err != nil {
		t.Fatal(err)
	}
	g = config(Limits{Documents: 12, Vectors: 1005}, Limits{Vectors: 500}, g)
	c := identify(t, g, keyA)
	store := func(documents, vectors int64) error {
		_, err := g.Store(t.Context(), c, "", documents, vectors)
		return err
	}
	// The narrowest is told of, and the request's amount, for it may need less.
	err = store(3, 6)
	turnedDown(t, err, "insufficient_quota", "Limit reached for tenant acme: documents 12, of which 2 are left; this request needs 3. Please remove some first.")
	var e *wire.Error
	if errors.As(err, &e); e.Status != 429 || e.Type != wire.TypeQuota || !e.Final || e.Retry != 0 {
		t.Errorf("%+v", e)
	}
	turnedDown(t, store(2, 6), "insufficient_quota", "Limit reached for tenant acme: vectors 1005, of which 5 are left; this request needs 6.")
	turnedDown(t, store(2, 5), "insufficient_quota", "Limit reached for the gateway: vectors 500, of which 0 are left; this request needs 5.")
	if err := store(2, 0); err != nil {
		t.Errorf("what needs none of what is short: %v", err)
	}
	if got := there(t, stock, "gateway"); got != "gateway documents 12\ngateway vectors 1000\n" {
		t.Errorf("what was refused left something: %s", got)
	}
	if err := g.Remove(t.Context(), owner, 1, 600); err != nil {
		t.Fatal(err)
	}
	if err := store(1, 100); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	turnedDown(t, store(0, 1), "insufficient_quota", "Limit reached for the gateway: vectors 500, of which 0 are left")
}

// Many at once, of two gates on one store: as many get in as there is room for.
func TestStoreRace(t *testing.T) {
	stock := shelves(t)
	var gates []*Gate
	for range 2 {
		tenants, whole := placed("team ops", Limits{Documents: 20})
		gates = append(gates, storing(t, stock, tenants, whole, nil))
	}
	var got atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		g := gates[i%2]
		c := identify(t, g, []string{keyA, keyC}[i/2%2])
		wg.Go(func() {
			_, err := g.Store(context.Background(), c, fmt.Sprint("user", i%7), 1, 3)
			if err == nil {
				got.Add(1)
				return
			}
			turnedDown(t, err, "insufficient_quota", "Limit reached for team ops: documents 20, of which 0 are left; this request needs 1.")
		})
	}
	wg.Wait()
	if want := "tenant/acme/team/ops documents 20\ntenant/acme/team/ops vectors 60\n"; got.Load() != 20 || there(t, stock, "tenant/acme/team/ops") != want {
		t.Errorf("%d got in, %s", got.Load(), there(t, stock, "tenant/acme/team/ops"))
	}
}

// silent is a store that does not answer.
type silent struct{}

var errSilent = errors.New("secret host does not answer")

func (silent) AddStock(context.Context, []Stocked) (int, int64, error) { return -1, 0, errSilent }

func (silent) CountStock(context.Context, []string) ([]Stocked, error) { return nil, errSilent }

// Where nobody can count, nothing is let in, and nothing is made up.
func TestStoreWithoutAnAnswer(t *testing.T) {
	tenants, whole := placed("tenant acme", Limits{Documents: 20})
	g := storing(t, silent{}, tenants, whole, nil)
	_, err := g.Store(t.Context(), identify(t, g, keyA), "", 1, 1)
	_, standings := g.Standings(t.Context(), "acme")
	for _, err := range []error{err, g.Remove(t.Context(), "gateway", 1, 1), standings} {
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 503 || e.Code != "state_unavailable" || strings.Contains(e.Message, "secret") || !errors.Is(err, errSilent) {
			t.Errorf("%v", err)
		}
	}
	if list, err := g.Standings(t.Context(), "globex"); err != nil || len(list) > 0 {
		t.Errorf("%v, %v: nothing had to be asked", list, err)
	}
}

// Who leaves while it is counted leaves no count that nobody knows of.
func TestStoreOfOneWhoLeaves(t *testing.T) {
	stock := shelves(t)
	tenants, whole := placed("", Limits{})
	g := storing(t, stock, tenants, whole, nil)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	owner, err := g.Store(ctx, identify(t, g, keyB), "", 1, 1)
	if err != nil || there(t, stock, "gateway") == "" {
		t.Fatalf("not counted: %v", err)
	}
	if err := g.Remove(ctx, owner, 1, 1); err != nil || there(t, stock, "gateway") != "" {
		t.Errorf("not removed: %v", err)
	}
}

func TestStandingsOfWhatIsStored(t *testing.T) {
	limits := Limits{Documents: 10, Vectors: 100, FlowRuns: 3, Concurrency: 7}
	tenants, _ := placed("tenant acme", limits)
	tenants["acme"].Keys[0].Limits = Limits{Documents: 4}
	tenants["acme"].Teams["ops"] = Team{Limits: Limits{Vectors: 30}}
	stock := shelves(t)
	g := storing(t, stock, tenants, Limits{Documents: 1000}, nil)
	if _, err := g.Store(t.Context(), identify(t, g, keyA), "ann", 3, 25); err != nil {
		t.Fatal(err)
	}
	run, err := g.StartRun(t.Context(), identify(t, g, keyD), "")
	if err != nil {
		t.Fatal(err)
	}
	defer run.End()
	// A limit that was lowered shows what there is, and that nothing is free.
	lower := maps.Clone(tenants)
	acme := lower["acme"]
	acme.Limits.Vectors = 20
	lower["acme"] = acme
	g = storing(t, stock, lower, Limits{Documents: 1000}, g)
	for tenant, want := range map[string]string{
		"acme": "tenant/acme/concurrency 7 0 0 7\ntenant/acme/documents 10 3 0 7\ntenant/acme/flow_runs 3 0 1 2\n" +
			"tenant/acme/key/a/documents 4 3 0 1\ntenant/acme/team/ops/vectors 30 25 0 5\ntenant/acme/vectors 20 25 0 0\n",
		"": "gateway/documents 1000 3 0 997\n",
	} {
		list, err := g.Standings(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		var rows []string
		for _, h := range list {
			rows = append(rows, fmt.Sprintln(h.ID, h.State.Limit, h.State.Used, h.State.Held, h.Free))
		}
		slices.Sort(rows)
		if got := strings.Join(rows, ""); got != want {
			t.Errorf("%q stands at\n%s, want\n%s", tenant, got, want)
		}
	}
}

func TestStoreOfNonsense(t *testing.T) {
	tenants, whole := placed("", Limits{})
	g := storing(t, shelves(t), tenants, whole, nil)
	for _, n := range [][2]int64{{-1, 0}, {0, -1}} {
		for name, call := range map[string]func(){
			"store":  func() { _, _ = g.Store(t.Context(), identify(t, g, keyB), "", n[0], n[1]) },
			"remove": func() { _ = g.Remove(t.Context(), "gateway", n[0], n[1]) },
		} {
			func() {
				defer func() {
					if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "BUG: ") {
						t.Errorf("%s of %v: %s", name, n, text)
					}
				}()
				call()
			}()
		}
	}
}
