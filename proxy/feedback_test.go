package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"jarvis-gateway/policy"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/router"
)

// history is what somebody else remembers, and is told.
type history struct {
	rows map[string]Served // by tenant and id
	err  error
	told []Feedback
}

func (h *history) Served(_ context.Context, tenant, id string) (Served, bool, error) {
	row, ok := h.rows[tenant+" "+id]
	return row, ok, h.err
}

func (h *history) Take(f Feedback) { h.told = append(h.told, f) }

// Feedback about what the gateway has forgotten goes to the model that served, in place of what it was given before, and whoever
// keeps it is told all of it.
func TestFeedbackOfLongAgo(t *testing.T) {
	gate, err := policy.New(policy.Setup{Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "main", Key: keyOf("main")}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := router.New(router.Setup{Providers: []string{"p"}, Models: map[string]router.Model{
		"chat":  {Targets: []router.TargetConfig{{Provider: "p", Model: "old"}}, Rollout: router.Rollout{To: "fresh", Steps: []float64{10}}},
		"fresh": {Targets: []router.TargetConfig{{Provider: "p", Model: "new"}}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	half := 0.5
	past := &history{rows: map[string]Served{
		"acme resp_9":  {Request: "req_9", Model: "fresh", Rollout: "chat", Arm: "fresh", Score: &half, Prompt: "greet@1.2.0", Record: usage.UID{9}},
		"acme req_8":   {Request: "req_8", Model: "chat", Rollout: "chat", Arm: "chat"},
		"acme req_7":   {Request: "req_7", Model: "chat", Rollout: "chat", Arm: "a model that is gone"},
		"other req_10": {Request: "req_10", Model: "chat"},
	}}
	server := &Server{Ratings: Ratings{Past: past, Sink: past, served: newServed()}}
	g := &Gateway{Router: routes}
	send := func(body string) (string, error) {
		x := &exchange{recording: &recording{}, g: g, conn: &conn{server: server}, ctx: &fasthttp.RequestCtx{}, start: time.Unix(1_800_000_000, 0)}
		x.ctx.Request.SetBodyString(body)
		if x.caller, err = gate.Identify([]byte(keyOf("main")), x.start); err != nil {
			t.Fatal(err)
		}
		err := g.feedback(x)
		clear(x.ctx.Request.Body()) // the next request gets its memory
		return string(x.reply.Body), err
	}
	for _, row := range []struct{ body, want string }{
		{`{"request_id":"resp_9","score":-1,"comment":"no","metadata":{"a":"b"}}`, `{"object":"feedback","request_id":"req_9","score":-1,"replaced":true}`},
		{`{"request_id":"req_8","score":0.25}`, `{"object":"feedback","request_id":"req_8","score":0.25,"replaced":false}`},
		{`{"request_id":"req_8","score":0.75}`, `{"object":"feedback","request_id":"req_8","score":0.75,"replaced":true}`},
		{`{"request_id":"req_7","score":1}`, `{"object":"feedback","request_id":"req_7","score":1,"replaced":false}`},
		{`{"request_id":"req_10","score":1}`, "404 request_not_found"},
	} {
		got, err := send(row.body)
		if err != nil {
			got = fmt.Sprint(err)
		}
		if !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %s", row.body, got)
		}
	}
	v := routes.Rollouts(time.Now())[0]
	if old, fresh := v.Arms[0], v.Arms[1]; old.Scores != 1 || old.Score != 0.75 || fresh.Scores != 0 || fresh.Score != -1.5 { // the half was counted where it was given
		t.Errorf("%+v", v.Arms)
	}
	if len(past.told) != 4 {
		t.Fatalf("%+v", past.told)
	}
	f := past.told[0]
	if f.Tenant != "acme" || f.Key != "main" || f.Request != "req_9" || f.Score != -1 || f.Comment != "no" || f.Metadata != `{"a":"b"}` || !f.Again ||
		f.Model != "fresh" || f.Prompt != "greet@1.2.0" || f.Of != (usage.UID{9}) || f.Rollout != "chat" || f.Arm != "fresh" || !f.Time.Equal(time.Unix(1_800_000_000, 0)) {
		t.Errorf("%+v", f)
	}
	past.err = errors.New("the disk is gone")
	if _, err := send(`{"request_id":"req_11","score":1}`); fault(err).Status != 503 || fault(err).Code != "usage_unavailable" {
		t.Errorf("%v", err)
	}
}

// Whatever comes, an answer is found until two thousand others have come, by its tenant alone, and has the score that it was
// given last.
func TestServedRemembers(t *testing.T) {
	s, random := newServed(), rand.New(rand.NewPCG(1, 2))
	const last = 2000
	type one struct{ tenant, id, name string }
	var all []one
	scores := map[one]float64{}
	for i := range 3 * rings * ringSize {
		o := one{fmt.Sprint("tenant-", random.IntN(3)), fmt.Sprint("req_", i, strings.Repeat("x", random.IntN(60))), fmt.Sprint("chatcmpl-", i)}
		a, key := answer{tenant: o.tenant}, s.digest(o.tenant, []byte(o.id))
		a.id.set([]byte(o.id))
		s.put(key, &a)
		s.name(key, o.tenant, []byte(o.name))
		all = append(all, o)
		if i%10 != 0 {
			continue
		}
		o = all[max(0, i-random.IntN(last))]
		id, score := []string{o.id, o.name}[random.IntN(2)], random.Float64()
		got, before, ok := s.rate(o.tenant, "", id, score)
		if !ok || got.id.String() != o.id || got.tenant != o.tenant {
			t.Fatalf("%d: %s of %s: %v, %+v", i, id, o.tenant, ok, got)
		}
		if want, scored := scores[o]; (before != nil) != scored || scored && *before != want {
			t.Fatalf("%d: it had %v, want %v, %v", i, before, want, scored)
		}
		scores[o] = score
		if _, _, ok := s.rate(o.tenant+"x", "", id, score); ok {
			t.Fatalf("%s is everybody's", id)
		}
	}
	if _, _, ok := s.rate(all[0].tenant, "", all[0].id, 1); ok {
		t.Error("the first of a hundred thousand is remembered")
	}
}

// A request of the same id takes the place of the one before, with its score.
func TestServedAnew(t *testing.T) {
	s := newServed()
	for range 3 {
		a := answer{tenant: "acme"}
		a.id.set([]byte("again"))
		s.put(s.digest("acme", []byte("again")), &a)
		if _, before, ok := s.rate("acme", "", "again", 1); !ok || before != nil {
			t.Errorf("%v, %v", before, ok)
		}
	}
}

func TestAnswerID(t *testing.T) {
	for begin, want := range map[string]string{
		`{"id":"chatcmpl-1","object":"chat.completion"}`:                                       "chatcmpl-1",
		"{\n  \"id\": \"chatcmpl-2\",\n":                                                       "chatcmpl-2",
		`data: {"id":"chatcmpl-3"}` + "\n\n":                                                   "chatcmpl-3",
		`{"choices":[{"message":{"tool_calls":[{"id":"call_1"}]}}],"id":"chatcmpl-4","x":[]}`:  "chatcmpl-4",
		`: a comment` + "\n\n" + `data: {"object":"x","id":"chatcmpl-5"}` + "\n\ndata: {}\n\n": "chatcmpl-5",
		`{"id":7}`: "", `{"id":null,"x":"y"}`: "", `{"id":"cut off`: "", `{"id":"a b"}`: "", `{"id":""}`: "", `{"id"`: "", ``: "", `[]`: "",
		`{"id":"` + strings.Repeat("x", 129) + `"}`: "",
	} {
		if got := string(answerID([]byte(begin), "id")); got != want {
			t.Errorf("%.60s: %q", begin, got)
		}
	}
	if got := answerID([]byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"id\":\"msg_4\""), "message.id"); string(got) != "msg_4" {
		t.Errorf("%q", got)
	}
}

// remembered is an exchange at its answer.
func remembered(b testing.TB) *exchange {
	gate, err := policy.New(policy.Setup{Tenants: map[string]policy.Tenant{"acme": {Keys: []policy.Key{{Name: "main", Key: keyOf("main")}}}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	routes, err := router.New(router.Setup{Providers: []string{"p"}, Models: map[string]router.Model{"chat": {Targets: []router.TargetConfig{{Provider: "p", Model: "m"}}}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	x := &exchange{conn: &conn{server: &Server{Ratings: Ratings{served: newServed()}}}, recording: &recording{}, ep: posts["/v1/chat/completions"]}
	x.call = &x.own
	if x.caller, err = gate.Identify([]byte(keyOf("main")), x.start); err != nil {
		b.Fatal(err)
	}
	x.route, _ = routes.Find("chat")
	x.target = x.route.Targets[0]
	x.reply.Body = []byte(`{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"gpt-4.1"}`)
	x.id = appendID(nil)
	return x
}

func TestRememberAllocatesNothing(t *testing.T) {
	x := remembered(t)
	if n := testing.AllocsPerRun(100, func() { x.id = appendID(x.id[:0]); x.remember() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkRemember is what it costs each request that its answer may be talked of.
func BenchmarkRemember(b *testing.B) {
	x := remembered(b)
	b.Run("id alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.id = appendID(x.id[:0])
		}
	})
	b.Run("id and remember", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x.id = appendID(x.id[:0])
			x.remember()
		}
	})
}
