package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

func TestNotice(t *testing.T) {
	for _, test := range []struct {
		cfg       Alerts
		untrusted bool
		want      string // the errors; "" for none
	}{
		{cfg: Alerts{}},
		{cfg: Alerts{At: []string{"80%", "100%"}, Webhook: "https://ops.acme.example/hook"}},
		{cfg: Alerts{At: []string{"100%", "1%"}, Webhook: "https://8.8.8.8:8443/hook?x=1", Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, untrusted: true},
		{cfg: Alerts{Webhook: "http://127.0.0.1:9/hook", Secret: "sixteen letters."}},
		{cfg: Alerts{Webhook: "http://localhost:9"}},
		{cfg: Alerts{Webhook: "http://[::1]:9"}},
		{cfg: Alerts{Webhook: "https://10.0.0.1/"}},
		{cfg: Alerts{At: []string{"80", "0%", "101%", "x%", "50%", "50%", "-1%", "1.5%"}}, want: `alerts.at[0]: "80" is no share of a budget (expected one like 80%, from 1% to 100%)
alerts.at[1]: "0%" is no share of a budget (expected one like 80%, from 1% to 100%)
alerts.at[2]: "101%" is no share of a budget (expected one like 80%, from 1% to 100%)
alerts.at[3]: "x%" is no share of a budget (expected one like 80%, from 1% to 100%)
alerts.at[5]: "50%" stands twice
alerts.at[6]: "-1%" is no share of a budget (expected one like 80%, from 1% to 100%)
alerts.at[7]: "1.5%" is no share of a budget (expected one like 80%, from 1% to 100%)`},
		{cfg: Alerts{Webhook: "ops.example.com/CANARY"}, want: "alerts.webhook: expected an URL like https://ops.example.com/hook"},
		{cfg: Alerts{Webhook: "https:CANARY"}, want: "alerts.webhook: expected an URL like https://ops.example.com/hook"},
		{cfg: Alerts{Webhook: "https://a:CANARY@ops.example.com/hook"}, want: "alerts.webhook: may hold no user or password: what is told is signed with secret"},
		{cfg: Alerts{Webhook: "http://ops.example.com/"}, want: "alerts.webhook: must be https"},
		{cfg: Alerts{Webhook: "ftp://localhost/"}, want: "alerts.webhook: must be https"},
		{cfg: Alerts{Webhook: "http://127.0.0.1:9/"}, untrusted: true, want: "alerts.webhook: must be https"},
		{cfg: Alerts{Webhook: "https://127.0.0.1:9/"}, untrusted: true, want: "alerts.webhook: must be a public address"},
		{cfg: Alerts{Webhook: "https://localhost/"}, untrusted: true, want: "alerts.webhook: must be a public address"},
		{cfg: Alerts{Webhook: "https://[fd00::1]/"}, untrusted: true, want: "alerts.webhook: must be a public address"},
		{cfg: Alerts{Webhook: "https://169.254.169.254/latest"}, untrusted: true, want: "alerts.webhook: must be a public address"},
		{cfg: Alerts{Webhook: "https://a.example", Secret: "CANARY"}, want: "alerts.secret: must have at least 16 bytes"},
		{cfg: Alerts{Webhook: "https://a.example", Secret: "whsec_CANARY"}, want: "alerts.secret: what follows whsec_ must be base64"},
		{cfg: Alerts{Webhook: "https://a.example", Secret: "whsec_AAAA"}, want: "alerts.secret: must have at least 16 bytes"},
		{cfg: Alerts{Secret: "sixteen letters."}, want: "alerts.secret: is for webhook, which is not set"},
	} {
		_, errs := newNotice("alerts", test.cfg, !test.untrusted)
		if got := fmt.Sprint(errors.Join(errs...)); got != test.want && (test.want != "" || got != "<nil>") {
			t.Errorf("%+v:\n%s\nwant\n%s", test.cfg, got, test.want)
		}
	}
}

func FuzzShare(f *testing.F) {
	f.Add(int64(50_000_000_000), uint8(80))
	f.Add(int64(1), uint8(1))
	f.Add(int64(1<<63-1), uint8(99))
	f.Fuzz(func(t *testing.T, amount int64, percent uint8) {
		if amount < 1 || percent > 99 {
			return
		}
		n := &notice{at: []int{1, 33, 50}}
		next := n.after(int(percent), amount)
		if got := share(next, amount); got <= int(percent) && got != 100 {
			t.Errorf("%d of %d is %d %%, not beyond %d", next, amount, got, percent)
		}
		if before := share(next-1, amount); before > int(percent) && (before >= warnFrom || slices.Contains(n.at, before)) {
			t.Errorf("%d of %d is %d %% already, beyond %d", next-1, amount, before, percent)
		}
	})
}

// memo is a store that several replicas share.
type memo struct {
	mu   sync.Mutex
	seen map[string]time.Time
	fail atomic.Bool
}

func (m *memo) Once(_ context.Context, key string, until time.Time) (bool, error) {
	if m.fail.Load() {
		return false, errors.New("the store is away")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]time.Time{}
	}
	if time.Now().Before(m.seen[key]) {
		return false, nil
	}
	m.seen[key] = until
	return true, nil
}

// heard is what on was told.
type heard struct {
	mu  sync.Mutex
	all []Alert
}

func (h *heard) on(a Alert) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, a)
}

// String is the outcomes, such as 80 reached, 80 delivered.
func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var said []string
	for _, a := range h.all {
		said = append(said, fmt.Sprintf("%d %s", a.Percent, a.Outcome))
	}
	return strings.Join(said, ", ")
}

func dollars(n int64) int64 { return n * int64(wire.Dollar) }

// month is a budget of $50, watched.
func month(a *alerts, cfg Alerts) *budget {
	if cfg.Webhook == "" {
		cfg.Webhook = "http://localhost/hook"
	}
	n, errs := newNotice("alerts", cfg, true)
	if errs != nil {
		panic(errors.Join(errs...))
	}
	l := &limit{scope: &scope{name: "tenant acme"}, unit: Spend, rate: Rate{Amount: dollars(50), Per: "month", money: true},
		spec: counter.Spec{Name: "tenant/acme/spend/month", Algorithm: counter.Calendar}}
	return a.watch(n, "acme", l)
}

func used(n int64) counter.State {
	zone := time.FixedZone("", 8*3600)
	now := time.Now().In(zone)
	start := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, zone)
	return counter.State{Limit: dollars(50), Used: n, Window: start, Reset: start.AddDate(0, 1, 0).Sub(now)}
}

func TestAlertOncePerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, store := &receiver{statuses: []int{200}}, &memo{}
		a, h := sent(t, r, store)
		other, silent := sent(t, r, store) // another replica, or this one after a restart
		b, c := month(a, Alerts{}), month(other, Alerts{})
		for n := range int64(51) {
			b.check(used(dollars(n)))
			synctest.Wait()
			c.check(used(dollars(n)))
			synctest.Wait()
		}
		c.spent(used(dollars(50)))
		synctest.Wait()
		if want := "80 reached, 80 delivered, 100 reached, 100 delivered"; h.String() != want || silent.String() != "" {
			t.Errorf("%s; the other: %s", h, silent)
		}
		month(other, Alerts{}).check(used(dollars(45))) // after a reload
		b.check(counter.State{Window: used(0).Window.AddDate(0, -1, 0), Used: dollars(50)})
		synctest.Wait()
		if silent.String() != "" || r.tries() != 2 {
			t.Errorf("after a reload: %s, %d tries", silent, r.tries())
		}
		time.Sleep(time.Until(used(0).Window.AddDate(0, 1, 0)))
		b.check(used(dollars(10)))
		b.check(used(dollars(40)))
		b.check(used(dollars(40)))
		b.spent(used(dollars(49))) // what is left buys nothing
		b.spent(used(dollars(49)))
		synctest.Wait()
		if !strings.HasSuffix(h.String(), "100 delivered, 80 reached, 80 delivered, 100 reached, 100 delivered") || r.tries() != 4 {
			t.Errorf("the next month: %s, %d tries", h, r.tries())
		}
		a.Close()
		other.Close()
	})
}

// A budget that was raised is another: its own 80 % are told.
func TestAlertOfAChangedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, h := sent(t, &receiver{statuses: []int{200}}, &memo{})
		b := month(a, Alerts{At: []string{"50%", "90%"}})
		b.check(used(dollars(48)))
		synctest.Wait()
		raised := month(a, Alerts{At: []string{"50%", "90%"}})
		raised.limit.rate.Amount = dollars(90)
		raised.check(used(dollars(48)))
		a.Close()
		if want := "50 reached, 50 delivered, 90 reached, 90 delivered, 50 reached, 50 delivered"; h.String() != want {
			t.Error(h)
		}
	})
}

// However many requests use a budget up at once, each share is told once.
func TestAlertConcurrently(t *testing.T) {
	h := &heard{}
	a := newAlerts(&memo{}, h.on)
	b := month(a, Alerts{})
	b.notice.url = ""
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				b.check(used(total.Add(dollars(50) / 7900)))
				b.warning(time.Now())
				if rand.N(100) == 0 && total.Load() >= dollars(50) {
					b.spent(used(total.Load()))
				}
			}
		})
	}
	wg.Wait()
	a.Close()
	if s := h.String(); s != "80 reached, 100 reached" && s != "100 reached, 80 reached" {
		t.Error(s)
	}
}

func TestWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := sent(t, &receiver{statuses: []int{200}}, &memo{})
		tenant, key := &scope{name: "tenant acme"}, &scope{name: "key main"}
		b, c := month(a, Alerts{}), month(a, Alerts{At: []string{"100%"}})
		tenant.limits = []*limit{{}, b.limit}
		key.limits = []*limit{c.limit}
		b.limit.watch, c.limit.watch = b, c
		scopes := []*scope{key, tenant}
		for _, step := range []struct {
			tenant, key int64
			want        string
		}{
			{dollars(40) - 1, 1, ""},
			{dollars(40), 1, "tenant acme:80"},
			{dollars(42) - 1, dollars(40), "tenant acme:83"},
			{dollars(42) - 1, dollars(42), "key main:84"},
			{dollars(60), dollars(42), "tenant acme:100"},
		} {
			b.check(used(step.tenant))
			c.check(used(step.key))
			got := ""
			if name, percent, ok := warning(scopes, time.Now()); ok {
				got = fmt.Sprintf("%s:%d", name, percent)
			}
			if got != step.want {
				t.Errorf("%d and %d used: %q, want %q", step.tenant, step.key, got, step.want)
			}
		}
		time.Sleep(time.Until(used(0).Window.AddDate(0, 1, 0)))
		if name, percent, ok := warning(scopes, time.Now()); ok {
			t.Errorf("in the next month: %s:%d", name, percent)
		}
		a.Close()
	})
	var none *alerts
	if b := none.watch(nil, "", &limit{}); b != nil {
		t.Error("watched without alerts")
	}
}

func BenchmarkAlert(b *testing.B) {
	a := newAlerts(&memo{}, func(Alert) {})
	defer a.Close()
	m, s, now := month(a, Alerts{}), used(dollars(30)), time.Now()
	scopes := []*scope{{limits: []*limit{{watch: m}, {}}}, {limits: []*limit{{}, {watch: m}}}}
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			m.check(s)
		}
	})
	b.Run("warning", func(b *testing.B) {
		for b.Loop() {
			warning(scopes, now)
		}
	})
}

// What is shown of an URL tells whom it reaches, and no more.
func TestHideURL(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "https://ops.test": "https://ops.test", "https://ops.test:8443/": "https://ops.test:8443/",
		"https://hooks.test/services/CANARY": "https://hooks.test/***", "https://ops.test/?k=CANARY": "https://ops.test/***", "https://ops.test?CANARY": "https://ops.test/***",
		"https://u:CANARY@ops.test/": "https://ops.test/***", "https://ops.test/#CANARY": "https://ops.test/***", "http://[::1]:9/CANARY": "http://[::1]:9/***",
		"https:CANARY": "***", "CANARY": "***", "https://ops.test:CANARY/": "***", "https://ops.test/***": "https://ops.test/***",
	} {
		if got := HideURL(text); got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}
