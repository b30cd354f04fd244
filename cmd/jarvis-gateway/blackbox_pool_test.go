package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/fakellm"
)

// replicas starts equal vLLM servers.
func replicas(t testing.TB, n int, o fakellm.Options) (servers []*fakellm.Server) {
	t.Helper()
	o.Kind = fakellm.VLLM
	for range n {
		s, err := fakellm.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers = append(servers, s)
	}
	return servers
}

func urls(servers []*fakellm.Server) string {
	var list []string
	for _, s := range servers {
		list = append(list, s.URL())
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// served are the requests for answers that a server has had, without those about its health.
func served(s *fakellm.Server) (n int) {
	for _, seen := range s.Seen() {
		if strings.HasPrefix(seen.Endpoint, "chat") {
			n++
		}
	}
	return n
}

// poolConfig is a model at some replicas; more are further settings of the provider.
func poolConfig(servers []*fakellm.Server, more string) string {
	return fmt.Sprintf(`
providers: {gpu: {kind: vllm, replicas: %s, %s}}
models: {chat: {targets: [{provider: gpu, model: fake}]}}
tenants: {acme: {models: [chat, gpu/*], keys: [{name: main, key: %s}]}}
`, urls(servers), more, tenantKey)
}

// demand asks for streams at fixed times, so that a server that is slow does not slow down those who ask.
type demand struct {
	g    *running
	wg   sync.WaitGroup
	stop chan struct{}
	mu   sync.Mutex
	bad  []string
}

func (g *running) demand(perSecond int, request func(i int) string) *demand {
	l := &demand{g: g, stop: make(chan struct{})}
	l.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case <-tick.C:
				l.wg.Go(func() { l.one(request(i)) })
			}
		}
	})
	return l
}

// alike is one request again and again.
func alike(int) string { return rawRequest("stream") }

// conversations go on side by side, of so many turns each until another one takes its place. All that is said in one
// begins alike.
func conversations(number, turns int) func(i int) string {
	return func(i int) string {
		talk, turn := i%number, i/number+i%number // no two begin or end together
		text := strings.Repeat(fmt.Sprintf("Talk %d of life %d goes on. ", talk, turn/turns), 1000) + strings.Repeat("And on. ", turn%turns*60)
		body := `{"model":"chat","stream":true,"messages":[{"role":"user","content":"` + text + `"}]}`
		return fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tenantKey, len(body), body)
	}
}

func (l *demand) one(request string) {
	c, err := l.g.tryDial()
	if err == nil {
		defer c.Close()
		if _, err = c.Write([]byte(request)); err == nil {
			var a answer
			if a, err = c.tryReceive("POST"); err == nil && (a.status != 200 || a.cut || !strings.Contains(a.body, "[DONE]")) {
				err = fmt.Errorf("%v", a)
			}
		}
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.bad = append(l.bad, err.Error())
	}
}

// end stops asking, and fails for each request that did.
func (l *demand) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, bad := range l.bad[:min(len(l.bad), 3)] {
		t.Errorf("of %d failures: %s", len(l.bad), bad)
	}
}

// share0 is the part of all requests within a time that the first server gets.
func share0(servers []*fakellm.Server, during time.Duration) float64 {
	before := make([]int, len(servers))
	for i, s := range servers {
		before[i] = served(s)
	}
	time.Sleep(during)
	all := 0
	for i, s := range servers {
		before[i] = served(s) - before[i]
		all += before[i]
	}
	return float64(before[0]) / float64(max(all, 1))
}

// A replica that becomes slow, and is not dead, loses its traffic within 2 s, and gets it back once it is well.
func TestSlowReplica(t *testing.T) {
	for name, test := range map[string]func(*testing.T, testing.TB){"by load": slowReplica, "by prefix": slowWithConversations} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // mostly they wait
			quietly(t, func(r testing.TB) { test(t, r) })
		})
	}
}

// slowReplica tells t of requests that fail, which none may, and the round of shares that are not as they should be.
func slowReplica(t *testing.T, round testing.TB) {
	servers := replicas(t, 3, fakellm.Options{Default: fakellm.Plan{FirstTokenDelay: 20 * time.Millisecond}})
	g := start(t, poolConfig(servers, "scrape: 100ms"))
	l := g.demand(60, alike)
	defer l.end(t)
	if got := share0(servers, 2*time.Second); got < 0.2 || got > 0.5 {
		round.Fatalf("a healthy replica of three gets %.2f of the requests", got)
	}
	servers[0].SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{FirstTokenDelay: 800 * time.Millisecond} })
	time.Sleep(2 * time.Second)
	if got := share0(servers, 2*time.Second); got > 0.1 {
		round.Errorf("2 s after it became slow it still gets %.2f of the requests", got)
	}
	servers[0].SetPlan(nil)
	for well := time.Now(); share0(servers, time.Second) < 0.2; {
		if time.Since(well) > 40*time.Second {
			round.Fatal("40 s after it became well it has not got its share back")
		}
	}
}

// slowWithConversations is the same where requests go to who has their conversation in his cache, so that he has little to do. What
// begins anew meanwhile goes to the others; when it is back, it does not get all that begins at once.
func slowWithConversations(t *testing.T, round testing.TB) {
	servers := replicas(t, 3, fakellm.Options{PrefixBlocks: 1 << 18, Default: fakellm.Plan{FirstTokenDelay: 20 * time.Millisecond}})
	g := start(t, strings.Replace(poolConfig(servers, "scrape: 100ms, slow_start: 6s"), "chat: {", "chat: {pick: prefix, ", 1))
	l := g.demand(60, conversations(30, 10))
	defer l.end(t)
	if got := share0(servers, 3*time.Second); got < 0.15 || got > 0.55 {
		round.Fatalf("a healthy replica of three gets %.2f of the requests", got)
	}
	servers[0].SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{FirstTokenDelay: 400 * time.Millisecond} })
	time.Sleep(2 * time.Second)
	if got := share0(servers, 2*time.Second); got > 0.1 {
		round.Errorf("2 s after it became slow it still gets %.2f of the requests", got)
	}
	servers[0].SetPlan(nil)
	var shares []float64
	for last := 0.0; len(shares) < 12 || last < 0.2; shares = append(shares, last) {
		got := share0(servers, time.Second)
		if got > max(last+0.25, 0.3) || got > 0.5 {
			round.Errorf("its shares, once it is well, were %.2f, then %.2f: not gradually its own", shares, got)
		}
		if last = got; len(shares) == 40 {
			round.Fatalf("40 s after it became well it has not got its share back: %.2f", shares)
		}
	}
	t.Logf("once it is well: %.2f", shares)
}

// Whoever asks notices nothing of a replica that dies, and of one that comes back, which starts slowly.
func TestDeadReplica(t *testing.T) {
	quietly(t, func(r testing.TB) { deadReplica(t, r) })
}

func deadReplica(t *testing.T, round testing.TB) {
	servers := replicas(t, 3, fakellm.Options{})
	g := start(t, poolConfig(servers, "scrape: 100ms, probe: {every: 100ms}, slow_start: 2s"))
	l := g.demand(60, alike)
	defer l.end(t)
	eventually(t, "it serves", func() bool { return served(servers[0]) > 5 })
	if err := servers[0].Refuse(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is down", func() bool { return g.replica(servers[0]).Get("state").Str == "down" })
	if err := servers[0].Refuse(false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { return g.replica(servers[0]).Get("state").Str == "fit" })
	if early := share0(servers, 400*time.Millisecond); early > 0.25 {
		round.Errorf("right after its return it gets %.2f of the requests", early)
	}
	eventually(t, "its share is back", func() bool { return share0(servers, time.Second) > 0.2 })
}

// replica is how the admin API shows one.
func (g *running) replica(s *fakellm.Server) (found gjson.Result) {
	for _, row := range g.listReplicas() {
		if strings.TrimSuffix(row.Get("replica").Str, "/") == s.URL() {
			found = row
		}
	}
	return found
}

func (g *running) listReplicas() []gjson.Result {
	g.Helper()
	res, err := http.Get("http://" + g.private + "/admin/v1/pools?limit=100")
	if err != nil {
		g.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.Fatal(err)
	}
	return gjson.GetBytes(b, "data").Array()
}

// A replica that is drained by hand gets nothing more, also after a reload, until it is told otherwise.
func TestDrainByHand(t *testing.T) {
	servers := replicas(t, 2, fakellm.Options{})
	config := poolConfig(servers, "slow_start: off")
	g := start(t, config)
	post := func(what string) {
		t.Helper()
		res, err := http.Post("http://"+g.private+"/admin/v1/pools/"+what, "application/json", strings.NewReader(fmt.Sprintf(`{"provider":"gpu","replica":%q}`, servers[0].URL())))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", res.StatusCode, b)
		}
	}
	ask := func(n int) (first, second int) {
		t.Helper()
		first, second = served(servers[0]), served(servers[1])
		for range n {
			if a := g.ask(t, "chat"); a.status != 200 {
				t.Fatal(a)
			}
		}
		return served(servers[0]) - first, served(servers[1]) - second
	}
	post("drain")
	if first, second := ask(20); first != 0 || second != 20 {
		t.Errorf("while it is drained: %d and %d", first, second)
	}
	g.configure(strings.Replace(readFile(t, g.path), "slow_start: off", "slow_start: off, headers: {X-A: b}", 1))
	eventually(t, "the reload", g.logged("config reloaded", ""))
	if first, _ := ask(20); first != 0 {
		t.Errorf("after a reload: %d", first)
	}
	if g.metrics()[fmt.Sprintf(`jarvis_replica_state{provider="gpu",replica="%s",state="draining"}`, servers[0].URL())] != 1 {
		t.Error("the metrics do not tell")
	}
	post("undrain")
	if first, _ := ask(40); first < 5 {
		t.Errorf("back again: %d of 40", first)
	}
	post("drain")
	res, err := http.Post("http://"+g.private+"/admin/v1/pools/drain", "application/json", strings.NewReader(fmt.Sprintf(`{"provider":"gpu","replica":%q}`, servers[1].URL())))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if a := g.ask(t, "chat"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("with every replica drained: %v", a)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Replicas in a file come and go with it; a file that makes no sense changes nothing.
func TestReplicasInAFile(t *testing.T) {
	servers := replicas(t, 3, fakellm.Options{})
	list := filepath.Join(t.TempDir(), "replicas.txt")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# the first\n" + servers[0].URL() + "\n")
	g := start(t, strings.Replace(poolConfig(servers, "slow_start: off"), urls(servers), "{file: "+list+"}", 1))
	ask := func(n int) (got [3]int) {
		t.Helper()
		for i, s := range servers {
			got[i] = -served(s)
		}
		for range n {
			if a := g.ask(t, "chat"); a.status != 200 {
				t.Fatal(a)
			}
		}
		for i, s := range servers {
			got[i] += served(s)
		}
		return got
	}
	if got := ask(5); got != [3]int{5, 0, 0} {
		t.Errorf("at first: %v", got)
	}
	write(servers[1].URL() + " # the second\n\n" + servers[2].URL())
	eventually(t, "the others", func() bool { return len(g.listReplicas()) == 2 && g.replica(servers[2]).Exists() })
	if got := ask(30); got[0] != 0 || got[1] < 3 || got[2] < 3 {
		t.Errorf("then: %v", got)
	}
	write("nonsense\n")
	eventually(t, "a word about the file", g.logged("the list of replicas cannot be read; the last one goes on", "line 1"))
	if got := ask(5); got[0] != 0 || got[1]+got[2] != 5 {
		t.Errorf("with nonsense: %v", got)
	}
}

// A model, or an adapter, that only some replicas list is asked of these; one that none lists, of any, which says so.
func TestAdapters(t *testing.T) {
	plain := replicas(t, 2, fakellm.Options{Models: []string{"base"}})
	servers := append(plain, replicas(t, 1, fakellm.Options{Models: []string{"base", "poet"}})...)
	g := start(t, poolConfig(servers, "slow_start: off"))
	eventually(t, "the lists", func() bool {
		n := 0
		for _, row := range g.listReplicas() {
			n += len(row.Get("models").Array())
		}
		return n == 4
	})
	for range 20 {
		if a := g.ask(t, chatRequest("gpu/poet", false)); a.status != 200 {
			t.Fatal(a)
		}
	}
	if n := served(servers[2]); n != 20 {
		t.Errorf("of 20 requests for the adapter %d came to who has it", n)
	}
	if a := g.ask(t, chatRequest("gpu/unknown", false)); a.status != 404 {
		t.Errorf("a model that nobody has: %v", a)
	}
}

// By prefix, every turn of a conversation goes to the replica that knows it, and conversations are spread.
func TestPrefix(t *testing.T) {
	servers := replicas(t, 3, fakellm.Options{PrefixBlocks: 1 << 16, Models: []string{"fake"}})
	g := start(t, strings.Replace(poolConfig(servers, "slow_start: off"), "models: {chat: {", "models: {chat: {pick: prefix, ", 1))
	const talks, turns = 12, 5
	histories := make([]string, talks)
	homes := make([]map[int]bool, talks)
	for range turns {
		for i := range histories {
			if homes[i] == nil {
				homes[i] = map[int]bool{}
			}
			histories[i] += fmt.Sprintf(`{"role":"user","content":"%s"},`, strings.Repeat(fmt.Sprintf("talk %d goes on. ", i), 100))
			before := []int{served(servers[0]), served(servers[1]), served(servers[2])}
			a := g.ask(t, "POST /v1/chat/completions\n\n"+`{"model":"chat","stream":true,"messages":[`+strings.TrimSuffix(histories[i], ",")+`]}`)
			if a.status != 200 {
				t.Fatal(a)
			}
			for j, s := range servers {
				if served(s) > before[j] {
					homes[i][j] = true
				}
			}
		}
	}
	used := map[int]int{}
	for i, home := range homes {
		if len(home) != 1 {
			t.Errorf("conversation %d was at %d replicas", i, len(home))
		}
		for j := range home {
			used[j]++
		}
	}
	if len(used) != 3 {
		t.Errorf("conversations by replica: %v", used)
	}
}

// A probe that asks for the wrong page takes no pool down: it is said, and the replicas are asked all the same.
func TestWrongProbe(t *testing.T) {
	servers := replicas(t, 2, fakellm.Options{})
	g := start(t, poolConfig(servers, "probe: {path: /helath, every: 20ms}"))
	eventually(t, "a word", g.logged("the health probes of all replicas fail; they are asked all the same. Is the probe's path wrong?", "/helath"))
	for range 20 {
		if a := g.ask(t, "chat"); a.status != 200 {
			t.Fatal(a)
		}
	}
	if got := g.metrics()[`jarvis_pool_desperate_total{provider="gpu"}`]; got != 20 {
		t.Errorf("counted: %v", got)
	}
}

// A replica that is killed in the middle of a stream: its client is told, the next ones are not concerned.
func TestKilledMidStream(t *testing.T) {
	servers := replicas(t, 2, fakellm.Options{Default: fakellm.Plan{Tokens: 50_000, EventDelay: 5 * time.Millisecond}})
	g := start(t, poolConfig(servers, "probe: {every: 50ms}"))
	c := g.dial(t)
	begun := make(chan struct{})
	c.begun = sync.OnceFunc(func() { close(begun) })
	c.send("stream")
	got := make(chan answer, 1)
	go func() {
		a, _ := c.tryReceive("POST")
		got <- a
	}()
	<-begun
	victim := 0
	if served(servers[1]) > 0 {
		victim = 1
	}
	if err := servers[victim].Refuse(true); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.status != 200 || !strings.Contains(a.body, `"error"`) || strings.Contains(a.body, "[DONE]") {
		t.Errorf("%d %s", a.status, a.body[max(0, len(a.body)-300):])
	}
	servers[1-victim].SetPlan(func(*fakellm.Seen) fakellm.Plan { return fakellm.Plan{} })
	for range 10 {
		if a := g.ask(t, "chat"); a.status != 200 {
			t.Fatal(a)
		}
	}
	g.idle()
	r := g.replica(servers[victim])
	if r.Get("in_flight").Int() != 0 || r.Get("failed").Int() == 0 {
		t.Errorf("%s", r.Raw)
	}
}
