package guard

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	"jarvis-gateway/proxy/wire"
)

// remote is a server of the operator's that looks at texts. It is sent
//
//	{"on": "request", "kind": "chat", "texts": [{"role": "user", "text": "..."}]}
//
// and answers {"verdict": "pass"} or {"verdict": "match", "found": "a word for the log"}; where the guard masks, with
// "texts": [{"index": 0, "text": "..."}], what to put in the place of those that it found something in.
type remote struct {
	url    string
	secret string
	open   bool // pass when there is no answer
	client *http.Client
	now    func() time.Time
}

// maxRemote bounds what a server may answer. It is asked at most twice as much: texts in parts come also as one.
const maxRemote = 2 << 20

type question struct {
	On    string         `json:"on"`
	Kind  string         `json:"kind"`
	Texts []questionText `json:"texts"`
}

type questionText struct {
	Role string `json:"role"`
	Text string `json:"text"`
}

type reply struct {
	Verdict string `json:"verdict"`
	Found   string `json:"found"`
	Texts   []struct {
		Index int    `json:"index"`
		Text  string `json:"text"`
	} `json:"texts"`
}

var kindNames = [...]string{wire.Plain: "other", wire.Chat: "chat", wire.Completion: "completion", wire.Response: "response", wire.Message: "message"}

// ask sends texts to the server.
func (h *remote) ask(q *question) (r reply, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	if len(body) > 2*maxRemote {
		return r, fmt.Errorf("the texts have %d bytes, more than are sent", len(body))
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, h.url, bytes.NewReader(body)) // the client's timeout bounds it
	if err != nil {
		return r, errors.New("its url cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	if h.secret != "" {
		req.Header.Set("X-Jarvis-Signature", h.sign(body))
	}
	res, err := h.client.Do(req)
	if err != nil {
		return r, fmt.Errorf("%s: %w", req.URL.Hostname(), blunt(err))
	}
	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxRemote+1))
	switch {
	case err != nil:
		return r, blunt(err)
	case res.StatusCode != http.StatusOK:
		return r, fmt.Errorf("status %d", res.StatusCode)
	case len(said) > maxRemote:
		return r, errors.New("its answer is too long")
	}
	if err = json.Unmarshal(said, &r); err != nil {
		return r, errors.New("its answer is not the JSON it should be")
	}
	if r.Verdict != "pass" && r.Verdict != "match" {
		return r, errors.New("its verdict is neither pass nor match")
	}
	return r, nil
}

// blunt is an error without the address that was asked: its path or query may hold a secret of the operator's.
func blunt(err error) error {
	var whole *url.Error
	if errors.As(err, &whole) {
		err = whole.Err
	}
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate), errors.As(err, new(*net.OpError)):
		return err
	case errors.As(err, &network) && network.Timeout():
		return errors.New("no answer in time")
	}
	return fmt.Errorf("no answer (%T)", err) // of others nobody knows what they quote
}

// sign is the signature of a body: t=SECONDS,v1=HEX, of HMAC-SHA256 over "SECONDS.BODY".
func (h *remote) sign(body []byte) string {
	t := strconv.FormatInt(h.now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(h.secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// judge asks about texts and does what is to be done. It returns the texts to put in the place of others, by index.
func (r *rule) judge(v *Vault, q *question) (map[int]string, error) {
	got, err := r.remote.ask(q)
	switch {
	case err != nil && r.remote.open:
		v.flag(r.name + ".unavailable")
		return nil, nil
	case err != nil:
		e := wire.Server(503, "guard_unavailable", "A check of this request or its answer is not available.", fmt.Errorf("%s %s: %w", r.at, r.name, err))
		e.Retry = time.Second
		return nil, e
	case got.Verdict == "pass":
		return nil, nil
	}
	return r.found(v, &got, len(q.Texts))
}

func (r *rule) found(v *Vault, got *reply, n int) (map[int]string, error) {
	switch r.action {
	case flag:
		v.flag(r.name)
		return nil, nil
	case refuse:
		return nil, r.refusal(cmp.Or(word(got.Found), "match"), nil)
	}
	put := map[int]string{}
	for _, t := range got.Texts {
		if t.Index < 0 || t.Index >= n {
			return nil, r.refusal("the server masks a text that is not there", nil)
		}
		put[t.Index] = t.Text
	}
	if len(put) == 0 {
		return nil, r.refusal("the server found something and masks nothing", nil)
	}
	return put, nil
}

// word keeps texts out of the log: what a server found is named there only by a word.
func word(found string) string {
	for _, c := range []byte(found) {
		if !is(c, wordy) && c != '.' && c != '-' {
			return "match"
		}
	}
	return found[:min(len(found), 64)]
}

// heard is a text of a request that a server is asked about, and what puts another in its place.
type heard struct {
	questionText
	put func(text string) error
}

// askServer asks about a request's texts: about each, and about those that come in parts also as one. Where it masks, these are
// asked about anew, as they are then.
func (r *rule) askServer(q *asked) error {
	list := r.alone(q)
	if r.action != mask {
		return r.askAbout(q, append(list, r.together(q)...))
	}
	if err := r.askAbout(q, list); err != nil {
		return err
	}
	return r.askAbout(q, r.together(q))
}

func (r *rule) askAbout(q *asked, list []heard) error {
	if len(list) == 0 {
		return nil
	}
	ask := question{On: "request", Kind: kindNames[q.kind]}
	for i := range list {
		ask.Texts = append(ask.Texts, list[i].questionText)
	}
	put, err := r.judge(q.vault, &ask)
	if err != nil {
		return err
	}
	for i := range list {
		if text, ok := put[i]; ok {
			if err := list[i].put(text); err != nil {
				return err
			}
		}
	}
	return q.apply()
}

// alone are the texts of a request, each by itself.
func (r *rule) alone(q *asked) (list []heard) {
	for i := range q.walk.said {
		s := &q.walk.said[i]
		if !r.sees(s) {
			continue
		}
		w := &q.ways[asIs]
		w.load(q.text(s), prose)
		list = append(list, heard{questionText{roleName(s.role), string(w.text)}, func(text string) error {
			if s.fixed {
				return r.refusal("a name that cannot be masked", nil)
			}
			value := appendText(nil, text, prose)
			if s.form == number {
				value = wire.AppendString(nil, text)
			}
			q.put(s, value)
			return nil
		}})
	}
	return list
}

// together are the texts that come in parts, as one each.
func (r *rule) together(q *asked) (list []heard) {
	for parts := range q.walk.texts() {
		if len(parts) == 1 || parts[0].role&r.roles == 0 {
			continue
		}
		parts = slices.Clone(parts)
		w, _ := q.join(parts, asIs)
		list = append(list, heard{questionText{roleName(parts[0].role), string(w.text)}, func(text string) error {
			w, seams := q.join(parts, asIs)
			from, to, put := change(string(w.text), text)
			at, _ := w.at(from)
			q.spread(parts, seams, at, w.endAt(to), appendText(nil, put, prose))
			return nil
		}})
	}
	return list
}

// change is what of a text is no longer there, and what is in its place.
func change(old, text string) (from, to int, put string) {
	for from < len(old) && from < len(text) && old[from] == text[from] {
		from++
	}
	for from > 0 && (from < len(old) && !utf8.RuneStart(old[from]) || from < len(text) && !utf8.RuneStart(text[from])) {
		from--
	}
	to = len(old)
	end := len(text)
	for to > from && end > from && old[to-1] == text[end-1] {
		to, end = to-1, end-1
	}
	for to < len(old) && (!utf8.RuneStart(old[to]) || !utf8.RuneStart(text[end])) {
		to, end = to+1, end+1
	}
	return from, to, text[from:end]
}

func roleName(r role) string {
	for name, bit := range roleNames {
		if bit == r {
			return name
		}
	}
	return "other"
}

// gathering is a stage that holds a text until it is whole, and asks the server about it.
type gathering struct {
	rule   *rule
	answer *answer
	form   form
	held   []byte
	over   bool // the text is longer than may be held, and the guard lets pass what it cannot ask about
}

// run implements stage.
func (g *gathering) run(dst, raw []byte, final bool) ([]byte, error) {
	if g.rule.action == flag || g.over {
		dst = append(dst, raw...)
	}
	if g.over {
		return dst, nil
	}
	g.held = append(g.held, raw...)
	if len(g.held) > maxGathered {
		if !g.rule.remote.open {
			return dst, g.rule.refusal("the answer is too long to ask about", nil)
		}
		g.over = true
		g.answer.vault.flag(g.rule.name + ".unavailable")
		if g.rule.action != flag {
			dst = append(dst, g.held...)
		}
		g.held = nil
		return dst, nil
	}
	if !final || len(g.held) == 0 {
		return dst, nil
	}
	out, err := g.answer.judged(g.rule, g.held)
	if err == nil && g.rule.action != flag {
		dst = append(dst, out...)
	}
	return dst, err
}

// judged asks about a text, once for each that is the same: streams repeat theirs at the end.
func (a *answer) judged(r *rule, raw []byte) ([]byte, error) {
	w := window{}
	w.load(raw, prose)
	key := r.at + "\x00" + string(w.text)
	if put, ok := a.told[key]; ok {
		return put, nil
	}
	put, err := r.judge(a.vault, &question{On: "answer", Kind: kindNames[a.kind], Texts: []questionText{{"assistant", string(w.text)}}})
	if err != nil {
		return nil, err
	}
	out := raw
	if text, ok := put[0]; ok {
		out = appendText(nil, text, prose)
	}
	if a.told == nil {
		a.told = map[string][]byte{}
	}
	a.told[key] = bytes.Clone(out)
	return out, nil
}

// dialer reaches only what the guard may: public addresses, or, where it says private, loopback and private ones.
func dialer(private bool) *net.Dialer {
	return &net.Dialer{Timeout: 2 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return errors.New("the guard's url leads to no address")
		}
		if !reachable(at.Addr(), private) {
			return errors.New("the guard's url leads to an address that it may not reach")
		}
		return nil
	}}
}

func reachable(ip netip.Addr, private bool) bool {
	if ip = ip.Unmap(); private {
		return ip.IsLoopback() || ip.IsPrivate()
	}
	return wire.Public(ip)
}

func newRemote(c *Config) *remote {
	return &remote{url: c.URL, secret: c.Secret.Reveal(), open: c.OnError == "open", now: time.Now, client: &http.Client{
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dialer(c.Private).DialContext, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: 2 * time.Second, MaxResponseHeaderBytes: 16 << 10},
	}}
}
