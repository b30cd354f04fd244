package policy

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"jarvis-gateway/proxy/wire"
)

// Once remembers what was told, over all replicas and restarts.
type Once interface {
	// Once is true for the first who asks for a key. What it remembers is forgotten after until: at once, where that has been.
	Once(ctx context.Context, key string, until time.Time) (first bool, err error)
}

// Alert is one share of one budget that was reached, and what became of the message.
type Alert struct {
	Tenant  string // "": of the whole gateway's budget
	Scope   string // tenant acme
	Limit   string // spend $50/d
	Percent int
	Event   string // what happened instead, of an Alarm; "" for a budget
	Outcome string // reached, delivered, gone (the receiver wants no more), failed, dropped
	Err     error  // of what failed; it holds neither the URL nor a secret
}

// alerts sends what budgets have to tell. One goroutine owns what is waiting; no request ever waits for it.
type alerts struct {
	once    Once
	on      func(Alert)
	trusted *http.Client
	public  *http.Client
	queue   chan *message
	quit    chan struct{}
	ended   chan struct{}
}

// message is an alert on its way.
type message struct {
	Alert
	notice *notice
	id     string
	until  time.Time // the end of the budget's window
	body   []byte

	begun, due time.Time
	tries      int
	mine       time.Time // until then this replica is the one that tells it; zero: it never was
}

const (
	unsent    = 256              // messages that may wait
	atOnce    = 4                // being sent at a time, and one to a receiver
	sendTime  = 15 * time.Second // of one try
	sendFor   = 15 * time.Minute // a message that fails later is given up
	farewell  = 3 * time.Second  // for what is left, when the gateway ends
	firstWait = time.Second      // at most, before the second try; then twice that and so on
	mostWait  = 2 * time.Minute
	mostAsked = time.Hour            // of what a Retry-After may ask
	claimFor  = time.Minute          // then it is better to tell twice than never
	claimed   = sendFor + 2*sendTime // how long the others leave it to one replica
	noteTime  = 2 * time.Second      // to note for all replicas what became of a message
)

// newAlerts starts to send. on is told of each share of a budget that is reached, once over all replicas, and of what became of
// the message. It must not block, and may be called by several at once.
func newAlerts(once Once, on func(Alert)) *alerts {
	a := &alerts{
		once: once, on: on, trusted: webhookClient(nil), public: webhookClient(onlyPublic),
		queue: make(chan *message, unsent), quit: make(chan struct{}), ended: make(chan struct{}),
	}
	a.trusted.Transport.(*http.Transport).Proxy = http.ProxyFromEnvironment
	go a.run()
	return a
}

// Close gives what is left one more try, for a moment. It must be called once.
func (a *alerts) Close() {
	close(a.quit)
	<-a.ended
}

// webhookClient follows no redirects: whoever answers with one has not been told.
func webhookClient(control func(network, address string, _ syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: sendTime, Control: control}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
	}
}

// onlyPublic is asked for each address before it is connected to, so that no name can say one thing to a check and another
// to the connection.
func onlyPublic(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !wire.Public(to.Addr()) {
		return errors.New("the address is not public")
	}
	return nil
}

// alert words what is told. Its id is the same whoever tells it, so that a receiver knows what it has had.
func (b *budget) alert(percent int, used int64, m *gauge, now time.Time) *message {
	l := b.limit
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", l.spec.Name, l.rate.Amount, m.start.Unix(), percent))
	amount := func(dst []byte, n int64) []byte {
		if l.unit == Spend {
			return wire.Money(n).AppendDecimal(dst)
		}
		return strconv.AppendInt(dst, n, 10)
	}
	unit := l.unit.String()
	if l.unit == Spend {
		unit = "usd"
	}
	body := fmt.Appendf(nil, `{"type":"budget.threshold","timestamp":"%s","data":{"tenant":`, now.UTC().Format(time.RFC3339))
	if b.tenant == "" {
		body = append(body, "null"...)
	} else {
		body = wire.AppendString(body, b.tenant)
	}
	body = wire.AppendString(append(body, `,"scope":`...), l.scope.name)
	body = wire.AppendString(append(body, `,"limit":`...), l.String())
	body = wire.AppendString(append(body, `,"unit":`...), unit)
	body = amount(append(body, `,"used":`...), used)
	body = amount(append(body, `,"amount":`...), l.rate.Amount)
	zone := m.start.Location()
	body = fmt.Appendf(body, `,"percent":%d,"window_start":"%s","window_end":"%s"}}`, percent,
		m.start.Format(time.RFC3339), m.end.In(zone).Round(time.Second).Format(time.RFC3339))
	return &message{
		Alert:  Alert{Tenant: b.tenant, Scope: l.scope.name, Limit: l.String(), Percent: percent},
		notice: b.notice, id: "msg_" + hex.EncodeToString(digest[:16]), until: m.end, body: body,
	}
}

// tell hands a message over.
func (a *alerts) tell(m *message) {
	select {
	case a.queue <- m:
	default:
		a.told(m, "dropped", errors.New("too many alerts are waiting"))
	}
}

func (a *alerts) told(m *message, outcome string, err error) {
	told := m.Alert
	told.Outcome, told.Err = outcome, err
	a.on(told)
}

// post is what waits to be sent; it belongs to run.
type post struct {
	alerts  *alerts
	ctx     context.Context // of every try
	waiting []*message
	busy    map[*notice]bool
	back    chan *message // tried, and to be tried again if due is set
	closing bool          // nothing is put off
}

// run sends until Close, and then what is left.
func (a *alerts) run() {
	defer close(a.ended)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &post{alerts: a, ctx: ctx, busy: map[*notice]bool{}, back: make(chan *message)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for quit := a.quit; !p.closing || len(p.waiting)+len(p.busy)+len(a.queue) > 0; {
		timer.Reset(p.send(time.Now()))
		select {
		case m := <-a.queue:
			p.take(m)
		case m := <-p.back:
			delete(p.busy, m.notice)
			if !m.due.IsZero() {
				p.waiting = append(p.waiting, m)
			}
		case <-timer.C:
		case <-quit:
			quit, p.closing = nil, true
			defer time.AfterFunc(farewell, cancel).Stop()
		}
	}
}

// take takes in a new message.
func (p *post) take(m *message) {
	if len(p.waiting) >= unsent {
		p.alerts.told(m, "dropped", errors.New("too many alerts are waiting"))
		return
	}
	m.begun = time.Now()
	p.waiting = append(p.waiting, m)
}

// send starts what is due, and returns how long nothing else will be.
func (p *post) send(now time.Time) time.Duration {
	rest, next := p.waiting[:0], time.Hour
	for _, m := range p.waiting {
		switch wait := m.due.Sub(now); {
		case len(p.busy) == atOnce || p.busy[m.notice]: // someone comes back before
			rest = append(rest, m)
		case wait > 0 && !p.closing:
			rest, next = append(rest, m), min(next, wait)
		default:
			p.busy[m.notice] = true
			go func(last bool) {
				p.alerts.try(p.ctx, m, last)
				p.back <- m
			}(p.closing)
		}
	}
	clear(p.waiting[len(rest):])
	p.waiting = rest
	return next
}

// try sends a message once. Its due is set if it is to be tried again.
func (a *alerts) try(ctx context.Context, m *message, last bool) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	m.due = time.Time{}
	if !time.Now().Before(m.mine) && !a.claim(ctx, m, last) {
		return
	}
	switch {
	case m.notice.url == "":
		return
	case m.notice.gone.Load():
		a.end(ctx, m, "gone", nil)
		return
	}
	after, err := a.send(ctx, m)
	switch {
	case err == nil:
		a.end(ctx, m, "delivered", nil)
	case errors.Is(err, errGone):
		m.notice.gone.Store(true)
		a.end(ctx, m, "gone", err)
	case !last && time.Since(m.begun) >= sendFor:
		a.end(ctx, m, "failed", err)
	default:
		a.again(m, last, after, err)
	}
}

// claim makes this replica the one that tells, for as long as that may take. If another one is, its turn comes when that one
// has not come to an end by then: it may have died. Where nobody can say for long, everyone tells.
func (a *alerts) claim(ctx context.Context, m *message, last bool) bool {
	now := time.Now()
	open, mine, err := a.free(ctx, m, now)
	switch {
	case err != nil && (last || now.Sub(m.begun) < claimFor):
		a.again(m, last, 0, err)
		return false
	case err == nil && !mine:
		if open && !last && now.Sub(m.begun) < claimed+mostWait {
			m.putOff(now, 0)
		}
		return false
	case m.mine.IsZero():
		m.begun, m.tries = now, 0
		a.told(m, "reached", nil)
	}
	m.mine = now.Add(claimed)
	return true
}

// free tells whether a message has not come to its end anywhere, and whether this replica has become the one to tell it.
func (a *alerts) free(ctx context.Context, m *message, now time.Time) (open, mine bool, err error) {
	if m.notice.url == "" { // with this it is told
		mine, err = a.once.Once(ctx, m.name(), m.forgotten())
		return false, mine, err
	}
	if open, err = a.once.Once(ctx, m.name(), time.Unix(0, 0)); err == nil && open { // that asks, and leaves nothing behind
		mine, err = a.once.Once(ctx, m.name()+"/sender", now.Add(claimed))
	}
	return open, mine, err
}

// name is what a message that came to its end is remembered by, over all replicas and until it is forgotten.
func (m *message) name() string { return "alert/" + m.id }

func (m *message) forgotten() time.Time { return m.until.Add(time.Hour) } // clocks differ

// end notes what became of a message, for all replicas. If that fails it may be told once more, and the receiver knows its id.
func (a *alerts) end(ctx context.Context, m *message, outcome string, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	_, _ = a.once.Once(ctx, m.name(), m.forgotten())
	a.told(m, outcome, cause)
}

// again sets when a message is tried again. What the end of the gateway cuts short is tried by another, or after its start.
func (a *alerts) again(m *message, last bool, asked time.Duration, err error) {
	if last {
		a.told(m, "failed", err)
		return
	}
	m.putOff(time.Now(), asked)
}

// putOff picks a time at random, so that what failed together does not come together. One that the receiver asked for is kept.
func (m *message) putOff(now time.Time, asked time.Duration) {
	wait := rand.N(min(firstWait<<min(m.tries, 10), mostWait))
	m.tries++
	m.due = now.Add(max(wait, min(asked, mostAsked)))
}

var errGone = errors.New("the receiver answered 410 Gone")

// send posts a message, and returns after what time the receiver wants to be asked again.
func (a *alerts) send(ctx context.Context, m *message) (after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.notice.url, bytes.NewReader(m.body))
	if err != nil {
		return 0, withoutURL(err)
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "jarvis-gateway")
	req.Header.Set("Webhook-Id", m.id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	if m.notice.secret != nil {
		req.Header.Set("Webhook-Signature", signature(m.notice.secret, m.id, now, m.body))
	}
	client := a.public
	if m.notice.trusted {
		client = a.trusted
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // what it says is of no interest
	switch {
	case res.StatusCode/100 == 2:
		return 0, nil
	case res.StatusCode == http.StatusGone:
		return 0, errGone
	}
	return retryAfter(res.Header.Get("Retry-After"), now), fmt.Errorf("the receiver answered %d", res.StatusCode)
}

// signature is that of Standard Webhooks: https://www.standardwebhooks.com.
func signature(secret []byte, id string, at time.Time, body []byte) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%s.%d.", id, at.Unix())
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}

// withoutURL keeps a secret in the URL out of the log. What is wrong with a redirect's URL, or a proxy's, is told with the
// URL in quotes.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if text := err.Error(); quoted.MatchString(text) {
		return errors.New(quoted.ReplaceAllString(text, `"`+wire.Masked+`"`))
	}
	return err
}

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)
