package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/wire"
)

// The example that all libraries of Standard Webhooks are tested with.
func TestSignature(t *testing.T) {
	secret, err := Alerts{Webhook: "https://a.example", Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}.key()
	if err != nil {
		t.Fatal(err)
	}
	got := signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// receiver is a webhook's other end: it answers with the statuses in turn, the last one for ever. 0 never answers.
type receiver struct {
	t        *testing.T
	secret   string
	statuses []int
	after    string // Retry-After

	mu     sync.Mutex
	at     []time.Time
	ids    []string
	bodies []string
}

func (r *receiver) ServeHTTP(res http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	id, stamp := req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp")
	seconds, _ := strconv.ParseInt(stamp, 10, 64)
	notice, _ := newNotice("", Alerts{Webhook: "https://a.example", Secret: wire.Secret(r.secret)}, true)
	want := ""
	if r.secret != "" {
		want = signature(notice.secret, id, time.Unix(seconds, 0), body)
	}
	if got := req.Header.Get("webhook-signature"); got != want || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		r.t.Errorf("signature %q at %s, want %q", got, stamp, want)
	}
	if req.Method != http.MethodPost || req.URL.Path != "/hook" || req.Header.Get("content-type") != "application/json" || !strings.HasPrefix(id, "msg_") {
		r.t.Errorf("%s %v", req.Method, req.Header)
	}
	r.mu.Lock()
	status := r.statuses[min(len(r.at), len(r.statuses)-1)]
	r.at, r.ids, r.bodies = append(r.at, time.Now()), append(r.ids, id), append(r.bodies, string(body))
	r.mu.Unlock()
	switch status {
	case 0:
		<-req.Context().Done()
	case http.StatusTemporaryRedirect:
		http.Redirect(res, req, "/elsewhere", status)
	default:
		if r.after != "" && status/100 != 2 {
			res.Header().Set("Retry-After", r.after)
		}
		res.WriteHeader(status)
	}
}

func (r *receiver) tries() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at)
}

// pipes is a network inside a test's own time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }
func (p pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sent starts alerts whose webhook is r, in a test's own time.
func sent(t *testing.T, r *receiver, once Once) (*alerts, *heard) {
	r.t = t
	h, p := &heard{}, make(pipes)
	a := newAlerts(once, h.on)
	a.trusted.Transport = &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	server := &http.Server{Handler: r}
	go server.Serve(p)
	t.Cleanup(func() {
		close(p)
		server.Close()
		synctest.Wait()
	})
	return a, h
}

func TestAlertOverTheNetwork(t *testing.T) {
	r := &receiver{t: t, secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", statuses: []int{503, 204}}
	server := httptest.NewServer(r)
	defer server.Close()
	done := make(chan Alert, 9)
	a := newAlerts(&memo{}, func(a Alert) { done <- a })
	defer a.Close()
	b := month(a, Alerts{Webhook: server.URL + "/hook", Secret: wire.Secret(r.secret)})
	b.check(used(dollars(40) - 1))
	b.check(used(dollars(41)))
	if first, second := <-done, <-done; first.Outcome != "reached" || second.Outcome != "delivered" || second.Err != nil {
		t.Errorf("%+v, %+v", first, second)
	}
	if len(r.ids) != 2 || r.ids[0] != r.ids[1] || r.bodies[0] != r.bodies[1] {
		t.Errorf("tried with %v: %s", r.ids, r.bodies)
	}
	var told struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
	if err := json.Unmarshal([]byte(r.bodies[0]), &told); err != nil || told.Type != "budget.threshold" || time.Since(told.Timestamp) > time.Minute {
		t.Fatalf("%v: %s", err, r.bodies[0])
	}
	s := used(0)
	want := map[string]any{"tenant": "acme", "scope": "tenant acme", "limit": "spend $50/month", "unit": "usd", "used": 41.0, "amount": 50.0, "percent": 80.0,
		"window_start": s.Window.Format(time.RFC3339), "window_end": s.Window.AddDate(0, 1, 0).Format(time.RFC3339)}
	if fmt.Sprint(told.Data) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", told.Data, want)
	}
}

// A tenant from the state store cannot have the gateway knock at doors of its own network, whatever a name says.
func TestAlertStaysOutside(t *testing.T) {
	r := &receiver{t: t, statuses: []int{200}}
	server := httptest.NewTLSServer(r)
	defer server.Close()
	h := &heard{}
	a := newAlerts(&memo{}, h.on)
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	n := &notice{at: []int{80}, url: "https://localhost:" + port + "/CANARY"} // as if the name were another when it was checked
	a.tell(&message{Alert: Alert{Percent: 80}, notice: n})
	a.Close()
	if h.String() != "80 reached, 80 failed" || r.tries() != 0 {
		t.Errorf("%s, %d tries", h, r.tries())
	}
	if err := h.all[1].Err.Error(); !strings.Contains(err, "not public") || strings.Contains(err, "CANARY") {
		t.Error(err)
	}
}

func TestAlertRetries(t *testing.T) {
	for name, test := range map[string]struct {
		statuses        []int
		after           string
		last            string        // outcome
		least, most     int           // tries
		earliest, until time.Duration // of the last one
	}{
		"fails at first":     {[]int{500, 0, 307, 404, 200}, "", "delivered", 5, 5, 15 * time.Second, time.Minute},
		"fails for ever":     {[]int{500}, "", "failed", 12, 60, 15 * time.Minute, 17 * time.Minute},
		"hangs for ever":     {[]int{0}, "", "failed", 8, 60, sendFor - sendTime, 18 * time.Minute},
		"gone":               {[]int{500, 410}, "", "gone", 2, 2, 0, time.Second},
		"says when":          {[]int{429, 200}, "300", "delivered", 2, 2, 5 * time.Minute, 5 * time.Minute},
		"says when, a date":  {[]int{503, 200}, "Sat, 01 Jan 2000 00:07:00 GMT", "delivered", 2, 2, 7 * time.Minute, 7 * time.Minute},
		"says much too late": {[]int{429, 429}, "999999999", "failed", 2, 2, time.Hour, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{statuses: test.statuses, after: test.after}
				a, h := sent(t, r, &memo{})
				begun := time.Now() // midnight of 2000-01-01
				month(a, Alerts{}).check(used(dollars(40)))
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if want := "80 reached, 80 " + test.last; h.String() != want {
					t.Errorf("%s, want %s", h, want)
				}
				if last := r.at[len(r.at)-1].Sub(begun); len(r.at) < test.least || len(r.at) > test.most || last < test.earliest || last > test.until {
					t.Errorf("%d tries, the last one after %s", len(r.at), last)
				}
				a.Close()
			})
		})
	}
}

// A receiver that is gone is asked no more; one that hangs holds up no other.
func TestAlertReceiversAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, gone := &receiver{statuses: []int{200}}, &receiver{t: t, statuses: []int{410}}
		a, h := sent(t, r, &memo{})
		next := a.trusted.Transport
		a.trusted.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/hangs":
				<-req.Context().Done()
				return nil, req.Context().Err()
			case "/gone":
				req.URL.Path = "/hook"
				res := httptest.NewRecorder()
				gone.ServeHTTP(res, req)
				return res.Result(), nil
			}
			return next.RoundTrip(req)
		})
		named := func(name, path string) *budget {
			b := month(a, Alerts{Webhook: "http://localhost" + path})
			b.limit.spec.Name = name
			return b
		}
		hanging := named("0", "/hangs").notice
		for i := range 5 {
			b := named(fmt.Sprint("hangs ", i), "/hangs")
			b.notice = hanging
			b.check(used(dollars(50)))
		}
		leaving := named("gone", "/gone")
		leaving.check(used(dollars(50)))
		named("well", "/hook").check(used(dollars(50)))
		synctest.Wait()
		if r.tries() != 2 || gone.tries() != 1 {
			t.Errorf("%d tries at the one that is well, %d at the one that is gone: %s", r.tries(), gone.tries(), h)
		}
		begun := time.Now()
		a.Close()
		if took := time.Since(begun); took != farewell {
			t.Errorf("Close took %s", took)
		}
		if n := strings.Count(h.String(), "failed"); n == 0 || strings.Count(h.String(), "delivered") != 2 {
			t.Errorf("%d failed: %s", n, h)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Close gives what waits for its next try one more.
func TestAlertClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{statuses: []int{500, 500, 200}, after: "600"}
		a, h := sent(t, r, &memo{})
		month(a, Alerts{}).check(used(dollars(50)))
		synctest.Wait()
		begun := time.Now()
		a.Close()
		if h.String() != "80 reached, 80 delivered, 100 reached, 100 failed" && h.String() != "80 reached, 80 failed, 100 reached, 100 delivered" &&
			strings.Count(h.String(), "delivered") == 0 || r.tries() < 3 || time.Since(begun) > farewell {
			t.Errorf("%s, %d tries, %s", h, r.tries(), time.Since(begun))
		}
	})
}

// While the store is away nothing is told, for a minute; then it is better to tell twice than never.
func TestAlertWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := &receiver{statuses: []int{200}}, &memo{}
		store.fail.Store(true)
		a, h := sent(t, r, store)
		month(a, Alerts{}).check(used(dollars(40)))
		time.Sleep(claimFor - time.Second)
		synctest.Wait()
		if r.tries() != 0 {
			t.Error("told before the store was asked for long")
		}
		time.Sleep(mostWait + time.Second)
		synctest.Wait()
		if h.String() != "80 reached, 80 delivered" {
			t.Error(h)
		}
		a.Close()
	})
}

// What one replica could not deliver before its end is told by another that waits for it, or by itself after its start; once.
func TestAlertOutlivesItsSender(t *testing.T) {
	for name, after := range map[string]bool{"another replica": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, store := &receiver{statuses: []int{500, 500, 200}}, &memo{}
				a, ended := sent(t, r, store)
				month(a, Alerts{}).check(used(dollars(40)))
				synctest.Wait()
				b, h := sent(t, r, store)
				if !after {
					month(b, Alerts{}).check(used(dollars(40)))
				}
				a.Close()
				if after {
					month(b, Alerts{}).check(used(dollars(40)))
				}
				if time.Sleep(claimed - time.Minute); h.String() != "" {
					t.Errorf("while it may be the other's: %s", h)
				}
				time.Sleep(mostWait + time.Minute)
				synctest.Wait()
				if want := "80 reached, 80 delivered"; h.String() != want || r.tries() != 3 || !strings.HasSuffix(ended.String(), "80 failed") {
					t.Errorf("%s, want %s, %d tries, of the one that ended %s", h, want, r.tries(), ended)
				}
				third, silent := sent(t, r, store)
				month(third, Alerts{}).check(used(dollars(40)))
				time.Sleep(2 * claimed)
				if silent.String() != "" || r.tries() != 3 {
					t.Errorf("told again: %s, %d tries", silent, r.tries())
				}
				b.Close()
				third.Close()
			})
		})
	}
}

// Of what cannot be sent, only so much is kept.
func TestAlertsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, h := sent(t, &receiver{statuses: []int{500}, after: "60"}, &memo{})
		n, _ := newNotice("", Alerts{At: []string{"100%"}, Webhook: "http://localhost/hook"}, true)
		for i := range 3 * unsent {
			b := month(a, Alerts{})
			b.notice, b.limit.spec.Name = n, fmt.Sprint(i)
			b.check(used(dollars(50)))
			synctest.Wait()
		}
		if dropped := strings.Count(h.String(), "dropped"); dropped < 2*unsent-atOnce || dropped > 2*unsent {
			t.Errorf("%d dropped of %d", dropped, 3*unsent)
		}
		a.Close()
	})
}
