package provider_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/bench/fakellm"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
)

// asking is a call that is made again and again with the same memory, as a connection does.
func asking(t testing.TB, c *provider.Client) (ask func() error) {
	t.Helper()
	body, err := wire.Parse([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	call := provider.Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{}, Model: "m", Timeout: patient, Abort: &provider.Abort{}}
	var reply wire.Reply
	return func() error {
		call.Body, call.Begun = &body, time.Now()
		err := c.Do(&call, &reply)
		if err == nil {
			reply.Close()
		}
		call.Forget()
		return err
	}
}

// Choosing a replica allocates nothing.
func TestPoolsCostNoAllocation(t *testing.T) {
	s, err := fakellm.Start(fakellm.Options{Kind: fakellm.VLLM, Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	clients, err := provider.New(map[string]provider.Config{
		"plain": {Kind: "openai", BaseURL: s.URL() + "/v1"},
		"pool":  {Kind: "vllm", Replicas: provider.Replicas{List: []string{s.URL(), s.URL() + "/"}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	allocations := func(name string) float64 {
		defer clients[name].Close()
		ask := asking(t, clients[name])
		return testing.AllocsPerRun(200, func() {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		})
	}
	plain, pool := allocations("plain"), allocations("pool")
	if pool > plain && !raced { // the race detector drops some of what pools keep
		t.Errorf("%v allocations with a pool, %v without", pool, plain)
	}
}

// A reload gives the pool other replicas while the gateway before still takes calls: these are answered too, also where no
// replica is left that the config before knew. What the watch before finds changes the pool no more.
func TestPoolsAreHandedOn(t *testing.T) {
	before, after := start(t, fakellm.Options{Kind: fakellm.VLLM}), start(t, fakellm.Options{Kind: fakellm.VLLM})
	dir := t.TempDir()
	of := func(name, url string, prev map[string]*provider.Client) map[string]*provider.Client {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		clients, err := provider.New(map[string]provider.Config{"pool": {Kind: "vllm", Replicas: provider.Replicas{File: file}, Probe: provider.Probe{Every: provider.Off}, Scrape: provider.Off}}, prev)
		if err != nil {
			t.Fatal(err)
		}
		return clients
	}
	log := slog.New(slog.DiscardHandler)
	first := of("first", before.URL(), nil)
	first["pool"].Watch(log)
	defer first["pool"].Close()
	ask := asking(t, first["pool"])
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	second := of("second", after.URL(), first)
	defer second["pool"].Close()
	if err := ask(); err != nil {
		t.Errorf("while another config is checked: %v", err)
	}
	second["pool"].Watch(log)
	if err := ask(); err != nil {
		t.Errorf("of the config before, which goes on until the end of the reload: %v", err)
	}
	third := of("third", before.URL(), second)
	defer third["pool"].Close()
	third["pool"].Watch(log)
	if err := ask(); err != nil {
		t.Errorf("after another reload: %v", err)
	}
	if got := third["pool"].Pool().Replicas(); len(got) != 1 || got[0].Address != before.URL() {
		t.Errorf("%v", got)
	}
}

// heldPlace counts how often it was given back.
type heldPlace int

func (p *heldPlace) Leave() { *p++ }

// A place is given back once, whatever becomes of the call.
func TestPlacesAreGivenBack(t *testing.T) {
	s := start(t, fakellm.Options{Kind: fakellm.VLLM})
	clients, err := provider.New(map[string]provider.Config{"pool": {Kind: "vllm", BaseURL: s.URL()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := clients["pool"]
	defer c.Close()
	body, err := wire.Parse([]byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		stream bool
		plan   fakellm.Plan
		abort  bool
	}{
		{name: "whole"},
		{name: "a stream", stream: true},
		{name: "refused", plan: fakellm.Plan{Status: 503}},
		{name: "cut before its content", stream: true, plan: fakellm.Plan{Fault: fakellm.ResetBeforeHeaders}},
		{name: "cut in its content", stream: true, plan: fakellm.Plan{Fault: fakellm.CutMidStream}},
		{name: "the client left before", abort: true},
	} {
		s.SetPlan(func(*fakellm.Seen) fakellm.Plan { return test.plan })
		call := provider.Call{Method: "POST", Path: "/chat/completions", Kind: wire.Chat, Header: &fasthttp.RequestHeader{}, Body: &body, Model: "m",
			Stream: test.stream, Timeout: patient, Begun: time.Now(), Abort: &provider.Abort{}}
		var place heldPlace
		call.Hold(&place)
		if test.abort {
			call.Abort.Fire()
		}
		var reply wire.Reply
		if err := c.Do(&call, &reply); err == nil {
			if place != 0 && test.stream {
				t.Errorf("%s: given back before its end", test.name)
			}
			if reply.Stream != nil {
				for b := make([]byte, 4096); err == nil; _, err = reply.Stream.Read(b) {
				}
			}
			reply.Close()
		}
		call.Forget()
		if place != 1 {
			t.Errorf("%s: given back %d times", test.name, place)
		}
		if n := c.Pool().Load(time.Now()).InFlight; n != 0 {
			t.Errorf("%s: %d in flight", test.name, n)
		}
	}
}
