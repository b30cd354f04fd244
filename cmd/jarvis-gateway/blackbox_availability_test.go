package main

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// shaky is a provider that fails a tenth of its calls, by a seed, and all of them while it is dead.
type shaky struct {
	url         string
	calls, dead atomic.Int64
	mu          sync.Mutex
	random      *rand.Rand
}

func newShaky(t *testing.T, seed uint64) *shaky {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &shaky{url: "http://" + ln.Addr().String(), random: rand.New(rand.NewPCG(seed, 7))}
	server := &fasthttp.Server{Handler: s.answer, Logger: log.New(io.Discard, "", 0)}
	go server.Serve(ln)
	t.Cleanup(func() { server.Shutdown() })
	return s
}

func (s *shaky) answer(ctx *fasthttp.RequestCtx) {
	s.calls.Add(1)
	if s.dead.Load() != 0 {
		ctx.Conn().Close()
		return
	}
	s.mu.Lock()
	luck := s.random.Float64()
	s.mu.Unlock()
	switch ctx.SetContentType("application/json"); {
	case luck < 0.05:
		ctx.SetStatusCode(500)
	case luck < 0.1:
		ctx.SetStatusCode(503)
	default:
		ctx.SetBodyString(`{"id":"a","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Yes."},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}`)
		return
	}
	ctx.SetBodyString(`{"error":{"message":"no","type":"server_error"}}`)
}

// At a tenth of failures each, five in a row come about once in 100,000 calls: ten are the death of a target.
const shakyConfig = `
providers:
  a: {kind: openai, base_url: "%s/v1"}
  b: {kind: openai, base_url: "%s/v1"}
  c: {kind: openai, base_url: "%s/v1"}
models:
  chat:
    pick: least_loaded
    targets: [{provider: a, model: m}, {provider: b, model: m}, {provider: c, model: m}]
    retry: {attempts: 3, backoff: 20ms..200ms}
    breaker: {consecutive: 10}
tenants:
  acme: {keys: [{name: main, key: "%s"}]}
`

// availabilityRequests is how many the test makes; JARVIS_TEST_REQUESTS says otherwise, as CI does without the race detector.
const availabilityRequests = 20_000

// Three targets each fail a tenth of their calls, and one is dead for half of the time: of 10,000 requests at most one has no
// answer, and providers get at most 15 % more calls than there are requests.
func TestAvailability(t *testing.T) {
	total := int64(availabilityRequests)
	if n, err := strconv.ParseInt(os.Getenv("JARVIS_TEST_REQUESTS"), 10, 64); err == nil {
		total = n
	}
	providers := []*shaky{newShaky(t, 1), newShaky(t, 2), newShaky(t, 3)}
	g := start(t, fmt.Sprintf(shakyConfig, providers[0].url, providers[1].url, providers[2].url, tenantKey))
	client := &fasthttp.HostClient{Addr: g.api, MaxConns: 64, MaxIdemponentCallAttempts: 1}
	var begun, failed atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range 32 {
		all.Go(func() {
			for {
				n := begun.Add(1)
				if n > total {
					return
				}
				providers[0].dead.Store(map[bool]int64{true: 1}[n > total/4 && n <= total*3/4])
				if status, body := askShaky(client); status != 200 {
					if failed.Add(1) < 10 {
						t.Logf("%d %s", status, body)
					}
				}
			}
		})
	}
	all.Wait()
	var calls int64
	for _, p := range providers {
		calls += p.calls.Load()
	}
	available := 1 - float64(failed.Load())/float64(total)
	extra := float64(calls)/float64(total) - 1
	t.Logf("availability: %d of %d requests answered (%.4f %%), %.2f %% extra calls, in %s", total-failed.Load(), total, 100*available, 100*extra, time.Since(start).Round(time.Second/10))
	if available < 0.9999 || extra > 0.15 {
		t.Errorf("%.4f %% are available, %.2f %% of the calls are extra", 100*available, 100*extra)
	}
	for _, row := range g.targets() {
		if row.Get("in_flight").Int() != 0 {
			t.Errorf("still under way: %s", row.Raw)
		}
	}
}

func askShaky(client *fasthttp.HostClient) (status int, body string) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI("http://gateway.test/v1/chat/completions")
	req.Header.SetMethod("POST")
	req.Header.SetContentType("application/json")
	req.Header.Set("Authorization", "Bearer "+tenantKey)
	req.SetBodyString(`{"model":"chat","messages":[{"role":"user","content":"Well?"}]}`)
	if err := client.DoTimeout(req, res, 30*time.Second); err != nil {
		return 0, err.Error()
	}
	return res.StatusCode(), string(res.Body())
}
