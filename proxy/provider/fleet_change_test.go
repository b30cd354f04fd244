package provider

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// slowNames is a DNS that answers when it is told to, or whoever asks gives up.
type slowNames struct {
	answer  chan string
	lookups atomic.Int32
}

func (n *slowNames) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	n.lookups.Add(1)
	select {
	case a := <-n.answer:
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *slowNames) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, nil
}

// answering is a server that answers, and the call that asks it.
func answering(t *testing.T) (port string, ask func(c *Client) error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`))
	}))
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return port, askOnce
}

func inTheDNS(t *testing.T, port string, names resolver, prev map[string]*Client) map[string]*Client {
	t.Helper()
	clients, err := New(map[string]Config{"gpu": {Kind: "vllm", Replicas: Replicas{DNS: "http://vllm.internal:" + port}, Probe: Probe{Every: Off}, Scrape: Off}}, prev)
	if err != nil {
		t.Fatal(err)
	}
	clients["gpu"].fleet.watched.names = names
	return clients
}

// Nobody waits for a slow resolver but the calls that need what it says, and those get it.
func TestSlowDNS(t *testing.T) {
	port, ask := answering(t)
	names := &slowNames{answer: make(chan string)}
	c := inTheDNS(t, port, names, nil)["gpu"]
	begun := time.Now()
	c.Watch(slog.New(slog.DiscardHandler))
	if d := time.Since(begun); d > dnsWait/2 {
		t.Errorf("Watch took %s", d)
	}
	done := make(chan error)
	go func() { done <- ask(c) }()
	select {
	case err := <-done:
		t.Fatalf("a call ended before anything was found: %v", err)
	case names.answer <- "127.0.0.1":
	}
	if err := <-done; err != nil {
		t.Errorf("a call that waited: %v", err)
	}
	if c.Found(time.Hour); len(c.Pool().Replicas()) != 1 {
		t.Errorf("%d replicas", len(c.Pool().Replicas()))
	}

	// Another name takes the pool over while a lookup is under way: that is given up.
	c.fleet.watched.due = time.Time{}
	next := inTheDNS(t, port, names, map[string]*Client{"gpu": c})["gpu"]
	begun = time.Now()
	next.Watch(slog.New(slog.DiscardHandler))
	c.Close()
	if err := ask(next); err != nil { // what was found before goes on
		t.Error(err)
	}
	next.Close()
	if d := time.Since(begun); d > dnsWait/2 {
		t.Errorf("the change took %s", d)
	}
}

// A call that comes while all replicas are replaced is answered by an old or a new one.
func TestAllReplicasChange(t *testing.T) {
	port, ask := answering(t)
	c := inTheDNS(t, port, &names{}, nil)["gpu"]
	defer c.Close()
	w := &c.fleet.watched
	w.log = slog.New(slog.DiscardHandler)
	change := func(i int) {
		w.found = plain([]string{"http://127.0.0.1:" + port + "/" + string(rune('a'+i%8))})
		w.set()
	}
	change(0)
	w.known()
	stop, failed := make(chan struct{}), make(chan error, 8)
	for range cap(failed) {
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				if err := ask(c); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for i := range 300 {
		change(i)
		time.Sleep(time.Millisecond / 2)
	}
	close(stop)
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// The call beside another one goes to another replica, or nowhere.
func TestElsewhere(t *testing.T) {
	clients, err := New(map[string]Config{"gpu": {Kind: "vllm", Replicas: Replicas{List: []string{"http://a:1", "http://b:1", "http://c:1"}}, Probe: Probe{Every: Off}, Scrape: Off},
		"plain": {Kind: "openai", BaseURL: "http://a:1", APIKey: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer clients["gpu"].Close()
	defer clients["plain"].Close()
	c := clients["gpu"]
	all := c.Pool().Replicas()
	first := &Call{Model: "m"}
	first.Visible()
	second := first.Beside()
	if c.Elsewhere(second, first) || clients["plain"].Elsewhere(second, first) {
		t.Error("nobody knows where the first is")
	}
	first.visit.where.Store(all[0])
	all[0].List([]string{"m"})
	all[1].List([]string{"other"})
	all[2].List([]string{"other"})
	if c.Elsewhere(second, first) {
		t.Error("no other replica has the model")
	}
	all[1].List([]string{"m"})
	if !c.Elsewhere(second, first) {
		t.Fatal("another one has it")
	}
	if second.visit.avoid(); len(second.visit.query.Tried) != 1 || second.visit.query.Tried[0] != all[0] {
		t.Errorf("the second avoids %v", second.visit.query.Tried)
	}
	second.visit.where.Store(all[1])
	if first.visit.avoid(); len(first.visit.query.Tried) != 1 || first.visit.query.Tried[0] != all[1] {
		t.Errorf("the first avoids %v", first.visit.query.Tried)
	}
	first.Rejoin()
	if v := first.visit; v.spent != 1 || v.tried[0] != all[1] || v.beside.Load() != nil || second.visit.beside.Load() != nil {
		t.Errorf("afterwards: %d tried, %v", v.spent, v.tried[0])
	}
	if first.Rejoin(); first.visit.spent != 1 {
		t.Error("it counts once")
	}
}
