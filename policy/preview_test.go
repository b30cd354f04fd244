package policy

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

func previewing(t *testing.T) (*Gate, *Caller) {
	t.Helper()
	g := limiting(t, map[string]Tenant{"acme": {
		Limits: Limits{Concurrency: 2, Tokens: []Rate{{Amount: 1000, Per: "d"}}},
		Keys:   []Key{{Name: "a", Key: keyA, Limits: Limits{Requests: []Rate{{Amount: 3, Per: "m"}}}}},
	}}, Limits{})
	return g, identify(t, g, keyA)
}

// A preview says what Admit does right after it, and looking any number of times changes nothing.
func TestPreview(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, c := previewing(t)
		ask := Ask{Model: "chat", Habit: "chat", Prompt: 100, Answers: true, Cap: 100}
		var held []*Grant
		for i := range 4 {
			var p Preview
			for range 5 {
				p = g.Preview(c, &ask)
			}
			grant := &Grant{}
			err := g.Admit(c, &ask, grant)
			if (p.Verdict == Admitted) != (err == nil) || len(p.Limits) != 3 {
				t.Fatalf("%d: %+v, and then %v", i, p, err)
			}
			var told *wire.Error
			if errors.As(err, &told) && (p.Why != told.Message || p.Status != told.Status || p.Code != told.Code || p.RetryMS != told.Retry.Milliseconds()) {
				t.Errorf("%d: %+v, and then %v", i, p, told)
			}
			if err == nil {
				held = append(held, grant)
			}
			if i == 2 { // two are under way: no place is left
				if p.By != "tenant acme, concurrency 2" || !p.Limits[1].Short && !p.Limits[2].Short {
					t.Errorf("%+v", p)
				}
				settle(held[0])
				held = held[1:]
			}
		}
		p := g.Preview(c, &ask)
		if at := p.Limits[0]; p.Verdict != Refused || at.Scope != "key a" || at.Limit != "requests 3/m" || at.Of != 3 || at.Used != 3 || at.Free != 0 || at.Needs != 1 || !at.Short || at.RetryMS <= 0 || p.RetryMS != at.RetryMS {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Duration(p.RetryMS+1) * time.Millisecond)
		for _, grant := range held {
			settle(grant)
		}
		if p = g.Preview(c, &ask); p.Verdict != Admitted {
			t.Errorf("once the time has passed: %+v", p)
		}
	})
}

// Who waits in line, or would be sent to another model, is told so; who has no limits is let in.
func TestPreviewOfTheLine(t *testing.T) {
	g := limiting(t, map[string]Tenant{
		"acme":   {Limits: Limits{Concurrency: 1, OnExceed: OnExceed{Action: "queue"}, Queue: Queue{Max: 3, Wait: 7 * time.Second}}, Keys: []Key{{Name: "a", Key: keyA}}},
		"globex": {Limits: Limits{Concurrency: 1, OnExceed: OnExceed{Action: "downgrade", Model: "gpt-4o-mini"}}, Keys: []Key{{Name: "b", Key: keyB}}},
		"free":   {Keys: []Key{{Name: "c", Key: keyC}}},
	}, Limits{})
	for key, want := range map[string]Preview{
		keyA: {Verdict: Waits, By: "tenant acme, concurrency 1", LineMS: 7000},
		keyB: {Verdict: Downgraded, By: "tenant globex, concurrency 1", Model: "gpt-4o-mini"},
		keyC: {Verdict: Admitted},
	} {
		c := identify(t, g, key)
		grant, err := admit(g, c)
		if err != nil {
			t.Fatal(err)
		}
		p := g.Preview(c, &Ask{Model: "chat"})
		p.Limits, p.RetryMS = nil, 0
		if got, wanted := p, want; got.Verdict != wanted.Verdict || got.By != wanted.By || got.LineMS != wanted.LineMS || got.Model != wanted.Model {
			t.Errorf("%+v, want %+v", got, wanted)
		}
		settle(grant)
	}
}

// Where too little is left for the prompt, nothing is said of how long the answer might be: there is none.
func TestPreviewOfARefusalBoundsNoAnswer(t *testing.T) {
	g := limiting(t, map[string]Tenant{"acme": {Limits: Limits{Tokens: []Rate{{Amount: 50, Per: "d"}}}, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
	c := identify(t, g, keyA)
	if p := g.Preview(c, &Ask{Model: "chat", Habit: "chat", Prompt: 100, Answers: true}); p.Verdict != Refused || p.MaxTokens != 0 {
		t.Errorf("%+v", p)
	}
	if p := g.Preview(c, &Ask{Model: "chat", Habit: "chat", Prompt: 10, Answers: true}); p.Verdict != Admitted || p.MaxTokens == 0 {
		t.Errorf("%+v", p)
	}
}

// Whoever does not wait is told what Admit does, holds the same, and waits where others wait already.
func TestTryIsAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{Concurrency: 3, Requests: []Rate{{Amount: 5, Per: "m"}}, Tokens: []Rate{{Amount: 2000, Per: "d"}}}
		lesser := Limits{Requests: []Rate{{Amount: 2, Per: "m"}}, OnExceed: OnExceed{Action: "downgrade", Model: "gpt-4o-mini"}}
		var gates [2]*Gate
		var callers [2]*Caller
		for i := range gates {
			gates[i] = limiting(t, map[string]Tenant{"acme": {Limits: limits, Keys: []Key{{Name: "a", Key: keyA, Limits: lesser}}}}, Limits{})
			callers[i] = identify(t, gates[i], keyA)
		}
		seen := map[string]int{}
		var held [2][]*Grant
		for i := range 40 {
			ask := Ask{Model: "chat", Habit: "chat", Prompt: 100, Answers: true, Cap: 50, Last: i%3 == 0}
			admitted, tried := &Grant{}, &Grant{}
			err := gates[0].Admit(callers[0], &ask, admitted)
			got := gates[1].Try(callers[1], &ask, tried, nil)
			want := Admitted
			if _, ok := errors.AsType[*Downgrade](err); ok {
				want = Downgraded
			} else if err != nil {
				want = Refused
			}
			if seen[want]++; got.Verdict != want || (want != Admitted) != (got.By != "") {
				t.Fatalf("%d: %+v, but %v", i, got, err)
			}
			if told, ok := errors.AsType[*wire.Error](err); ok && told.Code != got.Code {
				t.Errorf("%d: %s, but %v", i, got.Code, told)
			}
			if held[0], held[1] = append(held[0], admitted), append(held[1], tried); len(held[0]) > 3 {
				for j := range held {
					settle(held[j][0])
					held[j] = held[j][1:]
				}
			}
			for j, g := range gates {
				if p, q := g.Preview(callers[j], &ask), gates[0].Preview(callers[0], &ask); p.Verdict != q.Verdict || p.Limits[2].Held != q.Limits[2].Held {
					t.Fatalf("%d: %+v, but %+v", i, p, q)
				}
			}
			time.Sleep(time.Duration(i%5) * 7 * time.Second)
		}
		if seen[Admitted] < 5 || seen[Refused] < 5 || seen[Downgraded] < 5 {
			t.Error(seen)
		}
	})
}

// Who would wait holds nothing, and is told for how long and where; he who comes after others waits behind them, though there is room.
func TestTryDoesNotWait(t *testing.T) {
	g := limiting(t, map[string]Tenant{"acme": {Limits: Limits{Concurrency: 1, OnExceed: OnExceed{Action: "queue"}, Queue: Queue{Max: 3, Wait: 7 * time.Second}}, Keys: []Key{{Name: "a", Key: keyA}}}}, Limits{})
	c := identify(t, g, keyA)
	first, second := &Grant{}, &Grant{}
	if got := g.Try(c, &Ask{Model: "chat"}, first, nil); got != (Tried{Verdict: Admitted}) {
		t.Errorf("%+v", got)
	}
	got := g.Try(c, &Ask{Model: "chat"}, second, nil)
	if want := (Tried{Verdict: Waits, By: "tenant acme, concurrency 1", Code: "rate_limit_exceeded", Desk: got.Desk, Places: 3, Wait: 7 * time.Second}); got != want || got.Desk == "" {
		t.Errorf("%+v, want %+v", got, want)
	}
	settle(first)
	if behind := g.Try(c, &Ask{Model: "chat"}, second, func(desk string) bool { return desk == got.Desk }); behind != got {
		t.Errorf("%+v, want %+v", behind, got)
	}
	if mine := g.Try(c, &Ask{Model: "chat"}, second, nil); mine.Verdict != Admitted {
		t.Errorf("%+v", mine)
	}
}
