package proxy

import (
	"testing"
	"time"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// mirrored has copies of the stadium's requests sent to another model.
func (s *stadium) mirrored(t *testing.T) {
	t.Helper()
	target := []router.TargetConfig{{Provider: "one", Model: "fake"}}
	routes, err := router.New(router.Setup{Models: map[string]router.Model{"chat": {Targets: target, Rollout: router.Rollout{To: "next", Percent: new(100.0), Shadow: true, Sticky: "user"}},
		"next": {Targets: target}}, Providers: []string{"one", "two"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.x.g = NewGateway(s.x.g.Gate, routes, s.x.g.Providers, s.x.g.Prices)
	s.x.route, s.x.model = routes.Find("chat")
}

// A copy shares no memory with its request, whose connection serves the next one meanwhile.
func TestMirrorOutlivesItsRequest(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	s.mirrored(t)
	raw := []byte(`{"model":"chat","user":"ann","messages":[{"role":"user","content":"Hello"}]}`)
	want := string(raw)
	var err error
	if s.x.body, err = wire.Parse(raw); err != nil {
		t.Fatal(err)
	}
	m := s.x.mirror()
	for i := range raw {
		raw[i] = '*'
	}
	if m == nil || m.query.User != "ann" || string(m.body.Raw()) != want {
		t.Fatalf("%+v", m)
	}
}

// A bug in a copy leaves nothing behind.
func TestMirrorMeetsBug(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	s.mirrored(t)
	m := s.x.mirror()
	s.x.g.tariffs = nil // which panics once it is answered
	before := counted(t, panics.WithLabelValues())
	m.run()
	for _, at := range s.x.g.Router.Standings(time.Now()) {
		if at.InFlight != 0 {
			t.Errorf("%s: %d attempts are under way", at.Route, at.InFlight)
		}
	}
	if counted(t, panics.WithLabelValues()) != before+1 {
		t.Error("there was no bug")
	}
}

// What a copy would do again is not copied.
func TestMirrorIsHarmless(t *testing.T) {
	s := newStadium(t, fakellm.Plan{}, fakellm.Plan{})
	s.mirrored(t)
	for body, want := range map[string]bool{
		`{"model":"chat","messages":[]}`:                                        true,
		`{"model":"chat","messages":[],"store":true}`:                           false,
		`{"model":"chat","messages":[],"tools":[{"type":"mcp"}]}`:               false,
		`{"model":"chat","messages":[],"mcp_servers":[{"url":"u"}]}`:            false,
		`{"model":"chat","messages":[],"api_base":"https://elsewhere.example"}`: false,
	} {
		var err error
		if s.x.body, err = wire.Parse([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if got := s.x.mirror() != nil; got != want {
			t.Errorf("%s: %t", body, got)
		}
	}
	s.x.ep = posts["/v1/images/generations"]
	if s.x.mirror() != nil {
		t.Error("an image is made twice")
	}
}
