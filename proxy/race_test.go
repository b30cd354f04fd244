package proxy

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// stadium is where races are held: an exchange whose two targets answer as planned.
type stadium struct {
	x        *exchange
	one, two *router.Target
	up       [2]*fakellm.Server
	log      syncText
}

func newStadium(t *testing.T, plans ...fakellm.Plan) *stadium {
	t.Helper()
	s := &stadium{}
	cfgs := map[string]provider.Config{}
	model := router.Model{Hedge: router.Hedge{After: router.After{Time: time.Millisecond}}}
	for i, name := range []string{"one", "two"} {
		up, err := fakellm.Start(fakellm.Options{Kind: fakellm.VLLM, Default: plans[i]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		s.up[i] = up
		cfgs[name] = provider.Config{Kind: "vllm", BaseURL: up.URL()}
		model.Targets = append(model.Targets, router.TargetConfig{Provider: name, Model: "fake"})
	}
	clients, err := provider.New(cfgs, nil)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := router.New(router.Setup{Models: map[string]router.Model{"chat": model}, Providers: []string{"one", "two"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := policy.New(policy.Setup{Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "main", Key: keyOf("main")}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	prices, err := usage.New(usage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		gate.Close(nil)
		for _, c := range clients {
			c.Close()
		}
	})
	c := &conn{server: &Server{log: slog.New(slog.NewTextHandler(&s.log, nil))}}
	s.x = &c.x
	s.x.recording = &recording{}
	s.x.conn, s.x.call, s.x.own.Abort, s.x.own.Keep = c, &s.x.own, &s.x.abort, s.x.keep
	s.x.g, s.x.ctx, s.x.start = NewGateway(gate, routes, clients, prices), &fasthttp.RequestCtx{}, time.Now()
	s.x.ep, s.x.asked = posts["/v1/chat/completions"], "chat"
	if s.x.caller, err = gate.Identify([]byte(keyOf("main")), s.x.start); err != nil {
		t.Fatal(err)
	}
	if s.x.body, err = wire.Parse([]byte(`{"model":"chat","messages":[{"role":"user","content":"Hello"}]}`)); err != nil {
		t.Fatal(err)
	}
	call := s.x.call
	call.Method, call.Path, call.Kind, call.Body, call.Header = "POST", "/chat/completions", wire.Chat, &s.x.body, &s.x.ctx.Request.Header
	s.x.route, s.x.model = routes.Find("chat")
	s.one, s.two = s.x.route.Targets[0], s.x.route.Targets[1]
	return s
}

const soon = 20 * time.Millisecond

// answers has the first target answer as planned once something has happened.
func (s *stadium) answers(p fakellm.Plan, after <-chan struct{}) {
	s.up[0].SetPlan(func(*fakellm.Seen) fakellm.Plan {
		select {
		case <-after:
		case <-time.After(time.Minute):
		}
		return p
	})
}

// A bug in the second attempt costs the request nothing.
func TestRaceMeetsBug(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Delay: 5 * soon, Text: "of the first"}, fakellm.Plan{})
	chosen := make(chan struct{})
	s.answers(fakellm.Plan{Delay: 5 * soon, Text: "of the first"}, chosen)
	before := counted(t, panics.WithLabelValues())
	f := s.x.Race(s.one, soon, func() *router.Target {
		close(chosen)
		panic("BUG: nobody is to be chosen")
	})
	if f.Second != nil || f.Won || f.FirstErr != nil || f.OtherErr != nil || !strings.Contains(string(s.x.reply.Body), "of the first") || s.x.tries != 1 {
		t.Errorf("%+v after %d attempts: %s", f, s.x.tries, s.x.reply.Body)
	}
	if counted(t, panics.WithLabelValues()) != before+1 || !strings.Contains(s.log.String(), "nobody is to be chosen") {
		t.Errorf("the bug is not told: %s", s.log.String())
	}
	s.x.reply.Close()
}

// One that is met while it is under way is its failure.
func TestRaceMeetsBugLater(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Delay: 5 * soon, Text: "of the first"}, fakellm.Plan{})
	working := s.x.g.Providers["two"]
	s.x.g.Providers["two"] = nil // which panics
	defer func() { s.x.g.Providers["two"] = working }()
	chosen := make(chan struct{})
	s.answers(fakellm.Plan{Delay: 5 * soon, Text: "of the first"}, chosen)
	f := s.x.Race(s.one, soon, func() *router.Target {
		close(chosen)
		return s.two
	})
	if f.Second != s.two || f.Won || f.FirstErr != nil || f.OtherErr == nil || errors.Is(f.OtherErr, router.ErrLost) {
		t.Errorf("%+v", f)
	}
	if x := s.x; x.target != s.one || x.tries != 2 || !strings.Contains(string(x.reply.Body), "of the first") {
		t.Errorf("%s after %d attempts: %s", x.target.Provider, x.tries, x.reply.Body)
	}
	s.x.reply.Close()
}

// Who chooses the second target reads a copy of the client's header: the first attempt has the header itself.
func TestRaceReadsItsOwnHeader(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Delay: 5 * soon}, fakellm.Plan{})
	s.x.ctx.Request.Header.Set("X-Scene", "live")
	read := ""
	chosen := make(chan struct{})
	s.answers(fakellm.Plan{Delay: 5 * soon}, chosen)
	s.x.Race(s.one, soon, func() *router.Target {
		defer close(chosen)
		s.x.race.header.Set("X-Scene", "copied")
		read = s.x.header("X-Scene")
		return nil
	})
	if again := s.x.header("X-Scene"); read != "copied" || again != "live" {
		t.Errorf("%q during the race, %q after it", read, again)
	}
	s.x.reply.Close()
}

// A bug in the first attempt ends the second, and is a bug as ever.
func TestRaceEndsWithBug(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Delay: 5 * soon}, fakellm.Plan{Delay: time.Hour})
	s.x.own.Keep = nil
	spare := func() *router.Target { return s.two }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		r := &race{x: s.x, done: make(chan struct{}, 1)}
		s.x.race = r
		if err := s.x.prepare(s.one); err != nil {
			t.Fatal(err)
		}
		r.begin(time.Millisecond, spare)
		defer r.end()
		s.up[1].Wait(1, time.Minute)
		panic("BUG")
	}()
	seen := s.up[1].WaitDone(1, time.Minute)
	if len(seen) != 1 || seen[0].ClosedByPeer.IsZero() {
		t.Errorf("the second attempt goes on: %+v", seen)
	}
	if r := s.x.race; r.on || r.rival != nil || r.spare != nil {
		t.Errorf("the race goes on: %+v", r.on)
	}
}

// A connection races again and again with the same memory, whoever wins.
func TestRaceAgain(t *testing.T) {
	s := newStadium(t, fakellm.Plan{Delay: 3 * soon, Text: "of the first"}, fakellm.Plan{Text: "of the second"})
	own := s.x.call
	for i := range 4 {
		after, spare, want := soon, func() *router.Target { return s.two }, s.two
		delay := map[bool]time.Duration{true: time.Hour, false: 3 * soon}[i%2 == 0] // of the first
		s.up[0].SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{Delay: delay, Text: "of the first"} })
		switch i {
		case 1: // nobody else
			spare, want = func() *router.Target { return nil }, s.one
		case 3: // not yet
			after, want = time.Hour, s.one
		}
		f := s.x.Race(s.one, after, spare)
		if f.Won != (want == s.two) || s.x.target != want || (s.x.hedged("") == "hedge") != f.Won || s.x.abort.Fired() {
			t.Errorf("%d: %+v, %s, %q", i, f, s.x.target.Provider, s.x.hedged("retry:x"))
		}
		if f.Won && (!errors.Is(f.FirstErr, router.ErrLost) || !strings.Contains(string(s.x.reply.Body), "of the second") || s.x.call == own) {
			t.Errorf("%d: %+v: %s", i, f, s.x.reply.Body)
		}
		s.x.reply.Close()
		s.x.retire()
		s.x.call.Forget()
		s.x.abort.Reset()
		if s.x.call != own || s.x.hedged("") != "" {
			t.Errorf("%d: the second attempt's memory is kept", i)
		}
	}
}

// What may be made twice.
func TestRepeatable(t *testing.T) {
	for body, want := range map[string]bool{
		`{}`:                                             true,
		`{"tools":[{"type":"function"}]}`:                true,
		`{"tools":[{"name":"f"}]}`:                       true,
		`{"tools":[{"type":"custom"}]}`:                  true,
		`{"tools":[{"type":"web_search"}]}`:              false,
		`{"tools":[{"type":"function"},{"type":"mcp"}]}`: false,
		`{"web_search_options":{}}`:                      false,
		`{"web_search_options":null}`:                    true,
		`{"store":true}`:                                 false,
		`{"store":false}`:                                true,
		`{"background":true}`:                            false,
		`{"background":false}`:                           true,
		`{"previous_response_id":"resp_1"}`:              false,
		`{"conversation":{"id":"c"}}`:                    false,
		`{"container":"c"}`:                              false,
		`{"mcp_servers":[{"url":"u"}]}`:                  false,
	} {
		parsed, err := wire.Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		x := &exchange{call: &provider.Call{Body: &parsed}, body: parsed, ep: posts["/v1/chat/completions"]}
		if got := x.repeatable(); got != want {
			t.Errorf("%s: %t", body, got)
		}
	}
	for path, want := range map[string]bool{"embeddings": true, "messages": true, "completions": true, "responses": true, "messages/count_tokens": false,
		"images/generations": false, "audio/speech": false, "moderations": false, "rerank": false} {
		body := wire.Body{}
		if x := (&exchange{call: &provider.Call{Body: &body}, ep: posts["/v1/"+path]}); x.repeatable() != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
