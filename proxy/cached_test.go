package proxy

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/cache"
	"jarvis-gateway/proxy/provider"
	"jarvis-gateway/proxy/wire"
	"jarvis-gateway/router"
)

// askerOf is a request to an entry of models with a cache, as it is when it comes to the cache.
func askerOf(t *testing.T, c *cache.Cache, path string, body []byte) *exchange {
	t.Helper()
	parsed, err := wire.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	target := &router.Target{Provider: "up", Timeout: router.Timeout{Total: time.Minute}}
	return &exchange{recording: &recording{look: &look{keeps: true, ttl: time.Hour}}, call: &provider.Call{Body: &parsed}, body: parsed,
		asked: parsed.Model(), model: parsed.Model(), ep: posts["/v1/"+path], caller: &policy.Caller{Tenant: "acme"}, ctx: &fasthttp.RequestCtx{},
		target: target, route: &router.Route{Name: "wild-*", Targets: []*router.Target{target}},
		g: &Gateway{Cache: c, Providers: map[string]*provider.Client{"up": {Name: "up"}}}}
}

func smallCache(t *testing.T) *cache.Cache {
	t.Helper()
	c, err := cache.Open(cache.Options{Memory: 1 << 20, Entry: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// The model that a client asked for lies in his request, whose memory is the next request's.
func TestKeptHasItsOwnMemory(t *testing.T) {
	body := []byte(`{"model":"wild-one","messages":[]}`)
	x := askerOf(t, smallCache(t), "chat/completions", body)
	x.look.whole = []byte("an answer")
	e := x.kept()
	copy(body, strings.Repeat("x", len(body)))
	copy(x.look.whole, "of others")
	if e.By.Model != "wild-one" || string(e.Body) != "an answer" {
		t.Errorf("%q of %q is what was kept", e.Body, e.By.Model)
	}
	stream := &tee{kept: append(make([]byte, 0, 1<<20), "data: {}\n\n"...)}
	x.look.tee = stream
	if e = x.kept(); cap(e.Body) > 64 {
		t.Errorf("%d bytes take %d", len(e.Body), cap(e.Body))
	}
}

// Fields that only responses repeat are left out of all other keys.
func TestKeyHasWhatIsRepeated(t *testing.T) {
	c := smallCache(t)
	for path, apart := range map[string]bool{"responses": true, "chat/completions": false, "messages": false, "embeddings": false} {
		for _, field := range []string{"user", "safety_identifier", "metadata", "prompt_cache_key"} {
			ann := askerOf(t, c, path, []byte(`{"model":"m","`+field+`":"ann"}`)).cacheKey()
			bob := askerOf(t, c, path, []byte(`{"model":"m","`+field+`":"bob"}`)).cacheKey()
			if (ann != bob) != apart {
				t.Errorf("%s: answers for one %s are others' too: %t", path, field, ann == bob)
			}
		}
	}
}

// Some servers say 200 and mean an error.
func TestWholeEmbeddings(t *testing.T) {
	for answer, want := range map[string]bool{
		`{"object":"list","data":[{"index":0,"embedding":[0.1]}]}`: true,
		`{"object":"list","data":[]}`:                              false,
		`{"error":{"message":"out of memory"}}`:                    false,
		``:                                                         false,
		`<html>`:                                                   false,
	} {
		x := askerOf(t, smallCache(t), "embeddings", []byte(`{"model":"m","input":"a"}`))
		target, err := router.New(router.Setup{Models: map[string]router.Model{"m": {Targets: []router.TargetConfig{{Provider: "up", Model: "e"}}}}, Providers: []string{"up"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		x.route, _ = target.Find("m")
		x.target, x.reply.Status, x.reply.Body, x.tally.came = x.route.Targets[0], 200, []byte(answer), true
		if x.look.whole = x.reply.Body; x.whole() != want {
			t.Errorf("%s is kept: %t", answer, !want)
		}
	}
}

// Where providers fail slowly, a request is not the last of a long line.
func TestBoardingHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, failure = 20, time.Second
		c := smallCache(t)
		begun := time.Now()
		var most atomic.Int64
		var wg sync.WaitGroup
		for range crowd {
			x := askerOf(t, c, "chat/completions", []byte(`{"model":"m"}`))
			x.look.key = x.cacheKey()
			wg.Go(func() {
				if e, err := x.board(); e != nil || err != nil {
					t.Errorf("%v %v", e, err)
				}
				time.Sleep(failure)
				if x.look.flight != nil {
					c.Land(x.look.key, x.look.flight, nil, false)
				}
				most.Store(max(most.Load(), int64(time.Since(begun))))
			})
		}
		wg.Wait()
		if took := time.Duration(most.Load()); took > (mostWaits+1)*failure {
			t.Errorf("the last of %d ended after %v, where one takes %v", crowd, took, failure)
		}
	})
}
