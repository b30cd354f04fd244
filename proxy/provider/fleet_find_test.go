package provider

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// names stands for the DNS.
type names struct {
	addresses []string
	services  []*net.SRV
	err       error
}

func (n *names) LookupNetIP(_ context.Context, _, host string) (found []netip.Addr, err error) {
	if host != "vllm.internal" {
		return nil, errors.New("no such host " + host)
	}
	for _, a := range n.addresses {
		found = append(found, netip.MustParseAddr(a))
	}
	return found, n.err
}

func (n *names) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", n.services, n.err
}

// Each address of a name is a replica, known by it; what fails changes nothing.
func TestFindInTheDNS(t *testing.T) {
	dns := &names{addresses: []string{"10.0.0.2", "10.0.0.1", "::ffff:10.0.0.1", "fd00::1"}}
	f := &finder{from: Replicas{DNS: "https://vllm.internal/v1"}, names: dns}
	changed, err := f.find(t.Context())
	want := []place{
		{"https://10.0.0.1:443/v1", "https://vllm.internal/v1", "10.0.0.1:443"},
		{"https://10.0.0.2:443/v1", "https://vllm.internal/v1", "10.0.0.2:443"},
		{"https://[fd00::1]:443/v1", "https://vllm.internal/v1", "[fd00::1]:443"},
	}
	if !changed || err != nil || !reflect.DeepEqual(f.found, want) {
		t.Fatalf("%v %v %v", changed, err, f.found)
	}
	dns.addresses = []string{"fd00::1", "10.0.0.1", "10.0.0.2"}
	if changed, err := f.find(t.Context()); changed || err != nil {
		t.Errorf("in another order: %v %v", changed, err)
	}
	for _, broken := range []names{{err: errors.New("timeout")}, {}} {
		*dns = broken
		if changed, err := f.find(t.Context()); changed || err == nil || len(f.found) != 3 {
			t.Errorf("%v %v %v", changed, err, f.found)
		}
	}
	dns.err, dns.addresses = nil, []string{"10.0.0.9"}
	if changed, err := f.find(t.Context()); !changed || err != nil || len(f.found) != 1 {
		t.Errorf("%v %v %v", changed, err, f.found)
	}
}

func TestFindServices(t *testing.T) {
	f := &finder{from: Replicas{DNS: "http://_llm._tcp.internal"}, names: &names{services: []*net.SRV{{Target: "b.internal.", Port: 8001}, {Target: "a.internal.", Port: 8000}}}}
	_, err := f.find(t.Context())
	want := []place{{"http://a.internal:8000", "http://a.internal:8000", ""}, {"http://b.internal:8001", "http://b.internal:8001", ""}}
	if err != nil || !reflect.DeepEqual(f.found, want) {
		t.Errorf("%v %v", f.found, err)
	}
}

// A name's addresses come and go in the pool; the connections go to the addresses, the name stays in the requests.
func TestFleetFollowsTheDNS(t *testing.T) {
	clients, err := New(map[string]Config{"gpu": {Kind: "vllm", Replicas: Replicas{DNS: "http://vllm.internal:8000"}, Probe: Probe{Every: Off}, Scrape: Off}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := clients["gpu"]
	defer c.Close()
	dns := &names{addresses: []string{"10.0.0.1", "10.0.0.2"}}
	c.fleet.watched.names = dns
	c.fleet.watched.log = slog.New(slog.DiscardHandler)
	w := &c.fleet.watched
	for _, step := range []struct {
		addresses []string
		want      string
	}{
		{[]string{"10.0.0.1", "10.0.0.2"}, "http://10.0.0.1:8000 http://10.0.0.2:8000"},
		{[]string{"10.0.0.2", "10.0.0.3"}, "http://10.0.0.2:8000 http://10.0.0.3:8000"},
		{nil, "http://10.0.0.2:8000 http://10.0.0.3:8000"},
	} {
		dns.addresses = step.addresses
		if w.look(time.Now()) {
			w.set()
		}
		var got []string
		for _, r := range c.Pool().Replicas() {
			h := (*c.fleet.hosts.Load())[r.Address]
			if h == nil || h.base.Host != "vllm.internal:8000" || "http://"+h.pool.Addr != r.Address {
				t.Fatalf("%s: %+v", r.Address, h)
			}
			got = append(got, r.Address)
		}
		if strings.Join(got, " ") != step.want {
			t.Errorf("%v: %v", step.addresses, got)
		}
	}
	if !strings.Contains(string(c.redact([]byte("at http://10.0.0.3:8000 of vllm.internal"))), "[hidden]") || strings.Contains(string(c.redact([]byte("of vllm.internal"))), "internal") {
		t.Error("addresses are not hidden")
	}
}

// A client whose replicas change keeps what is known of those that stay.
func TestPoolOutlivesItsConfig(t *testing.T) {
	of := func(list ...string) map[string]Config {
		return map[string]Config{"gpu": {Kind: "vllm", Replicas: Replicas{List: list}, Probe: Probe{Every: Off}, Scrape: Off}}
	}
	first, err := New(of("http://a:1", "http://b:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	first["gpu"].Pool().Replicas()[1].Drain(time.Now(), true)
	second, err := New(of("http://b:1", "http://c:1"), first)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(first["gpu"].Pool().Replicas()); n != 2 || first["gpu"].Pool().Replicas()[0].Address != "http://a:1" {
		t.Error("a config that is only checked changes the pool")
	}
	second["gpu"].Watch(slog.New(slog.DiscardHandler))
	first["gpu"].Close()
	defer second["gpu"].Close()
	now := second["gpu"].Pool().Replicas()
	if len(now) != 2 || now[0].Address != "http://b:1" || now[0].State(time.Now()).String() != "draining" || now[1].State(time.Now()).String() != "fit" {
		t.Errorf("%v %v", now[0].View(time.Now()), now[1].View(time.Now()))
	}
}

func TestPoolConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Kind: "openai", Replicas: Replicas{List: []string{"http://a"}}}, "replicas: only for kind vllm"},
		{Config{Kind: "openai", MaxInFlight: 3}, "only for kind vllm"},
		{Config{Kind: "vllm", BaseURL: "http://a", Replicas: Replicas{List: []string{"http://a"}}}, "in place of base_url"},
		{Config{Kind: "vllm", BaseURL: "http://a", Queue: Queue{Max: 3}}, "nothing waits without max_in_flight"},
		{Config{Kind: "vllm", BaseURL: "http://a", Probe: Probe{Path: "health"}}, "probe.path: expected a path"},
		{Config{Kind: "vllm", Replicas: Replicas{File: "/nowhere/replicas.txt"}}, "replicas.file: "},
		{Config{Kind: "vllm", Replicas: Replicas{DNS: "vllm.internal:8000"}}, "replicas.dns: expected http"},
	} {
		_, err := New(map[string]Config{"gpu": c.cfg}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.cfg, err, c.want)
		}
	}
}
