package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

const otherKey = "jv-other-0123456789abcdef"

// feedback sends what a tenant thinks of an answer.
func (g *running) feedback(t *testing.T, key, body string) answer {
	t.Helper()
	return g.ask(t, "POST /v1/feedback\nAuthorization: Bearer "+key+"\n\n"+body)
}

// arm is one of a rollout's two models.
func (g *running) arm(model string, i int) gjson.Result {
	g.Helper()
	return g.rollout(model).Get("arms").Array()[i]
}

// Scores are counted once for each request, at the model that the rollout gave it to, and shown to who compares them.
func TestFeedbackOfARollout(t *testing.T) {
	g := newTrying(t)
	ask := func(id, user string) answer {
		t.Helper()
		a := g.ask(t, fmt.Sprintf("POST /v1/chat/completions\nX-Request-Id: %s\n\n"+`{"model":"tried","user":%q,"messages":[{"role":"user","content":"hi"}]}`, id, user))
		if a.status != 200 {
			t.Fatalf("%v", a)
		}
		return a
	}
	before := g.metrics()
	scores := map[string]float64{}
	for i := range 40 {
		id := fmt.Sprintf("req-%d", i)
		provider := ask(id, fmt.Sprint("user-", i)).header.Get("X-Jarvis-Provider")
		score := map[string]float64{"old": -0.5, "new": 1}[provider]
		a := g.feedback(t, tenantKey, fmt.Sprintf(`{"request_id":%q,"score":%g}`, id, -score)) // he thinks again
		b := g.feedback(t, tenantKey, fmt.Sprintf(`{"metadata":{"request_id":%q,"from":"web"},"score":%g,"comment":"I %s it"}`, id, score, confidence))
		if a.status != 200 || b.status != 200 || a.body != fmt.Sprintf(`{"object":"feedback","request_id":%q,"score":%g,"replaced":false}`, id, -score) || !strings.HasSuffix(b.body, `"replaced":true}`) {
			t.Fatalf("%v\n%v", a, b)
		}
		scores[provider]++
	}
	for i, want := range []struct {
		n     float64
		score float64
	}{{scores["old"], -0.5}, {scores["new"], 1}} {
		if arm := g.arm("tried", i); want.n == 0 || arm.Get("scores").Num != want.n || arm.Get("score").Num != want.score {
			t.Errorf("%s, want %+v", arm.Raw, want)
		}
	}
	after := g.metrics()
	for series, want := range map[string]float64{
		`jarvis_feedback_total{again="false",model="tried",sign="up"}`:        scores["old"],
		`jarvis_feedback_total{again="true",model="tried",sign="down"}`:       scores["old"],
		`jarvis_feedback_total{again="false",model="tried-next",sign="down"}`: scores["new"],
		`jarvis_feedback_total{again="true",model="tried-next",sign="up"}`:    scores["new"],
		`jarvis_feedback_score{model="tried"}`:                                -0.5 * scores["old"],
		`jarvis_feedback_score{model="tried-next"}`:                           scores["new"],
	} {
		if got := after[series] - before[series]; got != want {
			t.Errorf("%s is %g, want %g", series, got, want)
		}
	}
	var out record
	if run(t.Context(), []string{"rollout", "--admin", "http://" + g.private, "list"}, &out, &out) != 0 || !strings.Contains(out.String(), fmt.Sprintf("-0.50 of %g", scores["old"])) {
		t.Error(out.String())
	}

	// A reload forgets neither the answers nor the scores.
	a := ask("late", "ann")
	g.configure(readFile(t, g.path) + "# changed\n")
	eventually(t, "the reload", g.logged("config reloaded", ""))
	side := map[string]int{"old": 0, "new": 1}[a.header.Get("X-Jarvis-Provider")]
	n := g.arm("tried", side).Get("scores").Int()
	if a := g.feedback(t, tenantKey, `{"request_id":"late","score":"up"}`); a.status != 200 {
		t.Errorf("%v", a)
	}
	if now := g.arm("tried", side).Get("scores").Int(); now != n+1 {
		t.Errorf("%d scores, then %d", n, now)
	}
	if strings.Contains(g.log.String(), confidence) {
		t.Error("a comment is in the log")
	}
}

// An answer is found by its request's id and by its own, in every dialect, streamed or not, by its own tenant alone.
func TestFeedbackFindsTheAnswer(t *testing.T) {
	g := newTrying(t)
	for path, body := range map[string]string{
		"chat/completions": `{"model":"tried","stream":%t,"messages":[{"role":"user","content":"Hi"}]}`,
		"completions":      `{"model":"tried","stream":%t,"prompt":"Hi"}`,
		"messages":         `{"model":"tried","stream":%t,"max_tokens":50,"messages":[{"role":"user","content":"Hi"}]}`,
		"responses":        `{"model":"tried","stream":%t,"input":"Hi"}`,
	} {
		for _, stream := range []bool{false, true} {
			a := g.ask(t, "POST /v1/"+path+"\n\n"+fmt.Sprintf(body, stream))
			if a.status != 200 {
				t.Fatalf("%v", a)
			}
			_, rest, _ := strings.Cut(a.body, `"id":`)
			own, _, _ := strings.Cut(strings.TrimLeft(rest, ` "`), `"`)
			id := a.header.Get("X-Request-Id")
			for _, by := range []string{id, own} {
				if b := g.feedback(t, otherKey, fmt.Sprintf(`{"request_id":%q,"score":1}`, by)); b.status != 404 || errorCode(b) != "request_not_found" {
					t.Errorf("%s of another tenant: %v", by, b)
				}
				if b := g.feedback(t, tenantKey, fmt.Sprintf(`{"request_id":%q,"score":true}`, by)); by == "" || b.status != 200 || gjson.Get(b.body, "request_id").Str != id {
					t.Errorf("%s, stream %t, %q: %v", path, stream, by, b)
				}
			}
		}
	}

	// Each tenant has its own, also where they chose the same id.
	long := strings.Repeat("long-id.", 15)
	same := "POST /v1/chat/completions\nX-Request-Id: " + long + "\nAuthorization: Bearer %s\n\n" + `{"model":"tried","user":"ann","messages":[{"role":"user","content":"Hi"}]}`
	for _, key := range []string{tenantKey, otherKey} {
		if a := g.ask(t, fmt.Sprintf(same, key)); a.status != 200 {
			t.Fatalf("%v", a)
		}
	}
	for _, key := range []string{tenantKey, otherKey} {
		if a := g.feedback(t, key, `{"request_id":"`+long+`","score":"down"}`); a.status != 200 || gjson.Get(a.body, "replaced").Bool() || gjson.Get(a.body, "request_id").Str != long {
			t.Errorf("%v", a)
		}
	}
}

// What is not feedback is refused with the field at fault, and so is who has no say.
func TestFeedbackMistakes(t *testing.T) {
	g := newTrying(t)
	if a := g.ask(t, "POST /v1/chat/completions\nX-Request-Id: known\n\n"+`{"model":"tried","messages":[{"role":"user","content":"hi"}]}`); a.status != 200 {
		t.Fatalf("%v", a)
	}
	if a := g.ask(t, "POST /v1/chat/completions\nX-Request-Id: refused\n\n"+`{"model":"none","messages":[{"role":"user","content":"hi"}]}`); a.status != 404 {
		t.Fatalf("%v", a)
	}
	notes := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":1`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	for _, row := range []struct {
		body        string
		status      int
		param, code string
	}{
		{`{"request_id":"known"}`, 400, "score", ""}, {`{"score":1}`, 400, "request_id", ""}, {`{"request_id":"","score":1}`, 400, "request_id", ""},
		{`{"request_id":7,"score":1}`, 400, "request_id", ""}, {`{"metadata":{"request_id":7},"score":1}`, 400, "metadata.request_id", ""},
		{`{"request_id":"known","score":1.01}`, 400, "score", ""}, {`{"request_id":"known","score":-2}`, 400, "score", ""}, {`{"request_id":"known","score":1e999}`, 400, "score", ""},
		{`{"request_id":"known","score":"great"}`, 400, "score", ""}, {`{"request_id":"known","score":null}`, 400, "score", ""}, {`{"request_id":"known","score":[1]}`, 400, "score", ""},
		{`{"request_id":"known","score":1,"comment":7}`, 400, "comment", ""}, {`{"request_id":"known","score":1,"comment":"` + strings.Repeat("ü", 4097) + `"}`, 400, "comment", ""},
		{`{"request_id":"known","score":1,"metadata":[]}`, 400, "metadata", ""}, {`{"request_id":"known","score":1,"metadata":{"a":{}}}`, 400, "metadata", ""},
		{`{"request_id":"known","score":1,"metadata":` + notes(17) + `}`, 400, "metadata", ""}, {`{"request_id":"known","score":1,"metadata":{"` + strings.Repeat("n", 65) + `":1}}`, 400, "metadata", ""},
		{`{"request_id":"known","score":1,"stars":5}`, 400, "stars", ""}, {`{"request_id":"known","score":1,"score":-1}`, 400, "", ""},
		{`[]`, 400, "", ""}, {`{"request_id":"known","score":1`, 400, "", ""}, {``, 400, "", ""},
		{`{"request_id":"known","score":1,"comment":"` + strings.Repeat("x", 70_000) + `"}`, 413, "", "request_too_large"},
		{`{"request_id":"unknown","score":1}`, 404, "request_id", "request_not_found"}, {`{"request_id":"refused","score":1}`, 404, "request_id", "request_not_found"},
		{`{"request_id":"` + strings.Repeat("known ", 1000) + `","score":1}`, 404, "request_id", "request_not_found"},
		{`{"request_id":"known","score":0,"comment":"` + strings.Repeat("ü", 4096) + `","metadata":` + notes(16) + `}`, 200, "", ""},
		{`{"request_id":"known","score":-1,"comment":null,"metadata":null}`, 200, "", ""},
	} {
		a := g.feedback(t, tenantKey, row.body)
		e := gjson.Get(a.body, "error")
		if a.status != row.status || e.Get("param").String() != row.param || row.code != "" && e.Get("code").Str != row.code || len(a.body) > 600 {
			t.Errorf("%.100s: %v", row.body, a)
		}
	}
	if a := g.feedback(t, "jv-nobody-0123456789abcdef", `{"request_id":"known","score":1}`); a.status != 401 {
		t.Errorf("%v", a)
	}
	if a := g.ask(t, "GET /v1/feedback\n\n"); a.status != 405 {
		t.Errorf("%v", a)
	}
}
