package main

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/bench/chdb"
	"jarvis-gateway/bench/fakellm"
)

// Requests of all kinds while the store of records is away, slow, failing or forgetful, and the gateway is killed again and again:
// what providers served is recorded once each, and costs what they say.

// sinkWire stands in front of the store of records.
type sinkWire struct {
	store *httputil.ReverseProxy
	mood  atomic.Int32
	moods [5]atomic.Int64 // requests that met each
}

const (
	sinkWell = iota
	sinkDown
	sinkSlow
	sinkFailing
	sinkForgetful // takes the records and loses the answer
)

func (s *sinkWire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mood := s.mood.Load()
	s.moods[mood].Add(1)
	switch mood {
	case sinkDown:
		panic(http.ErrAbortHandler)
	case sinkSlow:
		time.Sleep(2 * time.Second)
	case sinkFailing:
		http.Error(w, "Code: 241. DB::Exception: Memory limit exceeded", http.StatusInternalServerError)
		return
	case sinkForgetful:
		s.store.ServeHTTP(discarded{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
	s.store.ServeHTTP(w, r)
}

// discarded is an answer that nobody gets.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header         { return d.header }
func (d discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d discarded) WriteHeader(int)             {}

// ledger is what came of each request, by its id.
type ledger struct {
	rows, interrupted, estimated int
	prompt, completion, nano     int64
	attempts                     int64
}

// mixed makes a provider's answers, some of which fail.
func mixed(seed uint64, fails bool) func(*fakellm.Seen) fakellm.Plan {
	return func(seen *fakellm.Seen) fakellm.Plan {
		random := rand.New(rand.NewPCG(seed, uint64(seen.Seq)))
		p := fakellm.Plan{Tokens: 1 + random.IntN(60), Cached: random.IntN(2), Delay: time.Duration(random.IntN(30)) * time.Millisecond}
		switch luck := random.IntN(100); {
		case luck < 30:
			p.EventDelay = time.Duration(random.IntN(20)) * time.Millisecond
		case !fails:
		case luck < 38:
			p.Status = 500
		case luck < 42:
			p.Fault = fakellm.ResetBeforeHeaders
		case luck < 45:
			p.Status, p.RetryAfter = 429, time.Second
		case luck < 47:
			p.Fault = fakellm.CutMidStream
		}
		return p
	}
}

const chaosConfig = `
prices: {file: prices.yml}
stores: {state: "sqlite:${DIR}/state.db", usage: "${STORE}"}
usage: {max: 256MiB}
providers:
  cheap: {kind: openai, base_url: "${CHEAP}/v1", api_key: sk-cheap}
  dear: {kind: openai, base_url: "${DEAR}/v1", api_key: sk-dear}
models:
  chat: {targets: [{provider: cheap, model: cheap-1}, {provider: dear, model: dear-1}], breaker: {consecutive: 100, error_rate: 99%}}
tenants:
  acme: {limits: {spend: $1000/month}, keys: [{name: main, key: jv-main-0123456789abcdef}]}
  free: {keys: [{name: main, key: jv-free-0123456789abcdef}]}
`

// chaos is how long the requests go on, and how often the gateway is killed meanwhile: longer in CI, in a run of its own.
func chaos(t testing.TB) (d time.Duration, kills int) {
	text := os.Getenv("JARVIS_TEST_CHAOS")
	if text == "" {
		return 12 * time.Second, 2
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d, 5
}

func everyRequestOnce(t *testing.T, bin string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	store, _ := url.Parse(chdb.Start(t))
	store.Scheme = "http"
	sink := &sinkWire{store: httputil.NewSingleHostReverseProxy(store)}
	sink.store.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	server := httptest.NewUnstartedServer(sink)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the answers that are lost on purpose
	server.Start()
	t.Cleanup(server.Close)
	cheap, dear := replicas(t, 1, fakellm.Options{Plan: mixed(seed, true)})[0], replicas(t, 1, fakellm.Options{Plan: mixed(seed+1, false)})[0]
	config := strings.NewReplacer("${CHEAP}", cheap.URL(), "${DEAR}", dear.URL(), "${STORE}", "clickhouse+"+server.URL+"/default").Replace(chaosConfig)
	p := newProcess(t, bin, config, "prices.yml", sharedPrices)
	if err := migrateUsage(t.Context(), filepath.Join(p.dir, "jarvis.yml"), false, io.Discard); err != nil {
		t.Fatal(err)
	}

	lasts, kills := chaos(t)
	over, asked := time.Now().Add(lasts), atomic.Int64{}
	client := clients(t)
	var crowd, trouble sync.WaitGroup
	for n := range 12 {
		crowd.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			for time.Now().Before(over) {
				askRecorded(client, p, random, fmt.Sprintf("chaos-%d-%d", n, asked.Add(1)))
			}
		})
	}
	trouble.Go(func() { moody(sink, seed, over) })
	trouble.Go(func() { killed(p, seed, over, kills) })
	trouble.Wait()
	crowd.Wait()
	sink.mood.Store(sinkWell)
	eventually(t, "all records delivered", func() bool {
		return p.metric("jarvis_requests_in_flight") == 0 && p.metric("jarvis_usage_spooled") == 0
	})
	if e, d, lost := p.metric("jarvis_usage_emitted_total"), p.metric("jarvis_usage_delivered_total"), p.metric("jarvis_usage_dropped_total"); e != d || lost > 0 {
		t.Errorf("%v emitted, %v delivered, %v dropped", e, d, lost)
	}
	checkRecorded(t, recordedIn(t, store), asked.Load(), p.lives.Load()-1, sink, cheap, dear)
}

// askRecorded asks once, and reads the answer, or leaves.
func askRecorded(client *http.Client, p *process, random *rand.Rand, id string) {
	q := question{model: "chat", text: prose(random, 10+random.IntN(300)), stream: random.IntN(2) == 0}
	req, err := http.NewRequest(http.MethodPost, "http://"+p.at.Load().api+"/v1/chat/completions", strings.NewReader(string(q.body())))
	if err != nil {
		panic(err)
	}
	key := "jv-main-0123456789abcdef"
	if random.IntN(2) == 0 {
		key = "jv-free-0123456789abcdef"
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("X-Request-Id", id)
	res, err := client.Do(req)
	if err != nil { // it is dead
		time.Sleep(20 * time.Millisecond)
		return
	}
	defer res.Body.Close()
	if random.IntN(20) > 0 {
		_, _ = io.Copy(io.Discard, res.Body) // it may be cut
	}
	time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
}

// moody has the store fail in one way after the other.
func moody(sink *sinkWire, seed uint64, until time.Time) {
	random := rand.New(rand.NewPCG(seed, 1000))
	for mood := int32(1); time.Now().Before(until); mood = 1 + mood%sinkForgetful {
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
		sink.mood.Store(mood)
		time.Sleep(time.Duration(500+random.IntN(2500)) * time.Millisecond)
		sink.mood.Store(sinkWell)
	}
}

// killed kills a gateway so many times, and starts it again.
func killed(p *process, seed uint64, until time.Time, times int) {
	random := rand.New(rand.NewPCG(seed, 1001))
	pause := time.Until(until) / time.Duration(times+1)
	for range times {
		time.Sleep(pause*3/4 + time.Duration(random.Int64N(int64(pause/4))))
		p.kill()
		p.start()
	}
}

// recordedIn reads the store itself, not through what the gateway says of it.
func recordedIn(t testing.TB, store *url.URL) map[string]*ledger {
	t.Helper()
	const query = `SELECT id, count() AS rows, countIf(interrupted) AS cut, countIf(estimated) AS guessed, sum(prompt_tokens) AS prompt,
		sum(completion_tokens) AS completion, sum(cost_nano) AS nano, sum(attempts) AS attempts FROM requests GROUP BY id FORMAT JSONEachRow`
	res, err := http.Post(store.String(), "text/plain", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %d %s", err, res.StatusCode, text)
	}
	all := map[string]*ledger{}
	for line := range strings.Lines(string(text)) {
		v := gjson.Parse(line)
		all[v.Get("id").Str] = &ledger{rows: int(v.Get("rows").Int()), interrupted: int(v.Get("cut").Int()), estimated: int(v.Get("guessed").Int()),
			prompt: v.Get("prompt").Int(), completion: v.Get("completion").Int(), nano: v.Get("nano").Int(), attempts: v.Get("attempts").Int()}
	}
	return all
}

// checkRecorded compares what providers charge with what was recorded.
func checkRecorded(t testing.TB, got map[string]*ledger, asked, kills int64, sink *sinkWire, cheap, dear *fakellm.Server) {
	t.Helper()
	want, calls := map[string]use{}, map[string]int64{}
	for name, server := range map[string]*fakellm.Server{"cheap": cheap, "dear": dear} {
		for _, seen := range server.Seen() {
			id := seen.Get("X-Request-Id")
			u := want[id]
			u.add(name, int64(seen.Billed.Prompt), int64(seen.Billed.Completion))
			want[id] = u
			calls[id]++
		}
	}
	var sums, theirs use
	var cut, guessed int
	for id, u := range want {
		switch at := got[id]; {
		case at == nil:
			t.Errorf("%s was served and is not recorded", id)
		case at.rows != 1:
			t.Errorf("%s is recorded %d times", id, at.rows)
		case at.interrupted > 0:
			cut++
		case at.estimated > 0:
			guessed++
		default:
			sums.nano, sums.tokens = sums.nano+at.nano, sums.tokens+at.prompt+at.completion
			theirs.nano, theirs.tokens = theirs.nano+u.nano, theirs.tokens+u.tokens
			if at.nano != u.nano || at.prompt+at.completion != u.tokens || at.attempts > calls[id] { // a connection that dies unused is replaced within an attempt
				t.Errorf("%s: recorded %d tokens, %d nano-dollars, %d calls; the providers say %d, %d, %d", id, at.prompt+at.completion, at.nano, at.attempts, u.tokens, u.nano, calls[id])
			}
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("usage chaos: %d requests, %d kills; %d served, all recorded once; %d cut by a kill, %d estimated, the others %d tokens and %d nano-dollars, of the providers' %d and %d; the sink was down %d, slow %d, failing %d, forgetful %d times",
		asked, kills, len(want), cut, guessed, sums.tokens, sums.nano, theirs.tokens, theirs.nano,
		sink.moods[sinkDown].Load(), sink.moods[sinkSlow].Load(), sink.moods[sinkFailing].Load(), sink.moods[sinkForgetful].Load())
	if len(want) == 0 || sums.tokens == 0 || guessed*10 > len(want) {
		t.Error("nothing was compared")
	}
}
