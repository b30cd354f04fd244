package policy

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"jarvis-gateway/policy/counter"
	"jarvis-gateway/proxy/wire"
)

// Alerts says who is told when a budget runs out: any limit of a day or month of the calendar.
type Alerts struct {
	At      []string    `yaml:"at,omitempty" jsonschema_description:"shares of a budget, such as 80%; default 80% and 100%"`
	Webhook string      `yaml:"webhook,omitempty" jsonschema_description:"an https URL that is told by POST; http only on this machine"`
	Secret  wire.Secret `yaml:"secret,omitempty" jsonschema_description:"signs what is told, as Standard Webhooks has it: whsec_ and base64; other text, of 16 characters at least, is the key itself"`
}

// notice is Alerts, as read.
type notice struct {
	at      []int  // in percent, ascending
	url     string // "": nobody is told
	secret  []byte // nil: nothing is signed
	trusted bool
	gone    atomic.Bool // the receiver wants to be told no more
}

// newNotice reads who is told. What a tenant's own administrators wrote is not trusted: it must not reach what only the
// gateway can reach. The errors are worded as paths.
func newNotice(at string, cfg Alerts, trusted bool) (*notice, []error) {
	n := &notice{url: cfg.Webhook, trusted: trusted}
	var errs []error
	bad := func(path string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", at, path, err))
		}
	}
	for i, share := range cfg.At {
		percent, err := parseShare(share)
		if err == nil && slices.Contains(n.at, percent) {
			err = fmt.Errorf("%q stands twice", share)
		}
		bad(fmt.Sprintf("at[%d]", i), err)
		n.at = append(n.at, percent)
	}
	if len(n.at) == 0 {
		n.at = []int{80, 100}
	}
	slices.Sort(n.at)
	if cfg.Webhook != "" {
		bad("webhook", checkWebhook(cfg.Webhook, trusted))
	}
	var err error
	n.secret, err = cfg.key()
	bad("secret", err)
	return n, errs
}

func parseShare(text string) (int, error) {
	digits, ok := strings.CutSuffix(text, "%")
	percent, err := strconv.Atoi(digits)
	if !ok || err != nil || percent < 1 || percent > 100 {
		return 0, fmt.Errorf("%q is no share of a budget (expected one like 80%%, from 1%% to 100%%)", text)
	}
	return percent, nil
}

// checkWebhook refuses early what the connection would refuse. The URL is not repeated: its path may be a secret.
func checkWebhook(text string, trusted bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "":
		return fmt.Errorf("expected an URL like https://ops.example.com/hook")
	case u.User != nil:
		return fmt.Errorf("may hold no user or password: what is told is signed with secret")
	}
	address, err := netip.ParseAddr(u.Hostname())
	numeric := err == nil
	local := numeric && address.IsLoopback() || u.Hostname() == "localhost"
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !trusted || !local):
		return fmt.Errorf("must be https")
	case !trusted && (local || numeric && !wire.Public(address)):
		return fmt.Errorf("must be a public address")
	}
	return nil
}

// HideURL is an URL as those are shown it who need not know it all: path and query may be a secret, as a chat's webhook has it.
func HideURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return ""
	case err != nil || u.Host == "" || u.Opaque != "":
		return wire.Masked
	case u.User == nil && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "":
		return text
	}
	return u.Scheme + "://" + u.Host + "/" + wire.Masked
}

const minSecret = 16

// key is what signatures are made with.
func (c Alerts) key() ([]byte, error) {
	text := c.Secret.Reveal()
	if text == "" {
		return nil, nil
	}
	key := []byte(text)
	if coded, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(coded); err != nil {
			return nil, fmt.Errorf("what follows whsec_ must be base64")
		}
	}
	switch {
	case len(key) < minSecret:
		return nil, fmt.Errorf("must have at least %d bytes", minSecret)
	case c.Webhook == "":
		return nil, fmt.Errorf("is for webhook, which is not set")
	}
	return key, nil
}

// budget watches one limit of a calendar's window. The nil budget watches nothing.
type budget struct {
	alerts *alerts
	notice *notice
	tenant string // "": the gateway's own
	limit  *limit
	mu     sync.Mutex // of who moves the gauge
	gauge  atomic.Pointer[gauge]
}

// gauge is how far a budget was seen to be used, in whole percent.
type gauge struct {
	start, end time.Time
	percent    int
	next       int64 // what must be used to make it more
}

// warnFrom is the percentage from which a client is told how much of a budget is used.
const warnFrom = 80

// watch watches a limit; nil where it has no window of the calendar.
func (a *alerts) watch(n *notice, tenant string, l *limit) *budget {
	if a == nil || l.spec.Algorithm != counter.Calendar {
		return nil
	}
	return &budget{alerts: a, notice: n, tenant: tenant, limit: l}
}

// check looks at how a budget stands, after it was used.
func (b *budget) check(s counter.State) {
	if b == nil {
		return
	}
	if m := b.gauge.Load(); m == nil || s.Used >= m.next || !s.Window.Equal(m.start) {
		b.reached(s, 0)
	}
}

// spent notes that a request was refused because what is left of a budget buys nothing: that is the end of it, though the
// last of it may never be used.
func (b *budget) spent(s counter.State) {
	if b == nil {
		return
	}
	if m := b.gauge.Load(); m == nil || m.percent < 100 || !s.Window.Equal(m.start) {
		b.reached(s, 100)
	}
}

// reached moves the gauge, and tells of the shares that it passes.
func (b *budget) reached(s counter.State, percent int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := 0
	if m := b.gauge.Load(); m != nil {
		switch {
		case s.Window.Before(m.start):
			return // looked at before the window ended
		case s.Window.Equal(m.start):
			before = m.percent
		}
	}
	now := time.Now()
	m := &gauge{start: s.Window, end: now.Add(s.Reset), percent: max(before, percent, share(s.Used, b.limit.rate.Amount))}
	m.next = b.notice.after(m.percent, b.limit.rate.Amount)
	b.gauge.Store(m)
	for _, at := range b.notice.at {
		if at > before && at <= m.percent {
			b.alerts.tell(b.alert(at, s.Used, m, now))
		}
	}
}

// share is how much of amount is used, in whole percent, 100 at most.
func share(used, amount int64) int {
	if used >= amount {
		return 100
	}
	high, low := bits.Mul64(uint64(max(used, 0)), 100)
	percent, _ := bits.Div64(high, low, uint64(amount))
	return int(percent)
}

// after is how much of amount must be used until there is something to tell that is beyond percent: to the webhook, or, from
// warnFrom on, to clients.
func (n *notice) after(percent int, amount int64) int64 {
	next := max(percent+1, warnFrom)
	for _, at := range n.at {
		if at > percent {
			next = min(next, at)
		}
	}
	if next > 100 {
		return math.MaxInt64
	}
	high, low := bits.Mul64(uint64(amount), uint64(next))
	used, rest := bits.Div64(high, low, 100)
	if rest > 0 {
		used++
	}
	return int64(used)
}

// warning is the share of the budget that is used and whether a client is to be told.
func (b *budget) warning(now time.Time) (percent int, ok bool) {
	if b == nil {
		return 0, false
	}
	m := b.gauge.Load()
	if m == nil || m.percent < warnFrom || !now.Before(m.end) {
		return 0, false
	}
	return m.percent, true
}

// warning is the budget of which most is used, for the header x-jarvis-budget-warning; false below 80 %.
func warning(scopes []*scope, now time.Time) (name string, percent int, ok bool) {
	for _, s := range scopes {
		for _, l := range s.limits {
			if used, warn := l.watch.warning(now); warn && used > percent {
				name, percent, ok = s.name, used, true
			}
		}
	}
	return name, percent, ok
}
