package stream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

func uidOf(i int) (u usage.UID) {
	copy(u[:], fmt.Sprintf("%08d%08d", i, i))
	return u
}

func record(i int) *usage.Record {
	return &usage.Record{
		UID: uidOf(i), Time: noon, ID: fmt.Sprint("req_", i), Tenant: fmt.Sprint("tenant", i%3), Tags: []string{"a\"", "b"}, Similarity: 0.25, Stream: true,
		Status: 200, Outcome: "ok", Cost: wire.Money(i), Usage: usage.Usage{Prompt: int64(i), Completion: 2}, Content: usage.Content{Asked: "secret"},
		Attempts: []usage.Attempt{{Kind: "first", Result: "rate_limited", Begun: time.Second}, {Kind: "retry", Result: "ok", Cost: wire.Money(i)}},
	}
}

// received is what somebody was told: how often each event came.
type received struct {
	mu    sync.Mutex
	times map[string]int
	wrong []string
}

func (r *received) take(uid, tenant string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = map[string]int{}
	}
	e := gjson.ParseBytes(body)
	if !json.Valid(body) || e.Get("uid").String() != uid || e.Get("tenant").String() != tenant || e.Get("attempts.#").Int() != 2 {
		r.wrong = append(r.wrong, fmt.Sprintf("%s %s: %s", uid, tenant, body))
	}
	r.times[uid]++
}

func (r *received) different() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.times)
}

// expect is that each of n events came, and says how many came more than once.
func (r *received) expect(t *testing.T, n int) (again int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if r.times[uidOf(i).String()] == 0 {
			t.Errorf("event %d did not come", i)
		}
	}
	for _, times := range r.times {
		again += times - 1
	}
	if len(r.times) != n || len(r.wrong) > 0 {
		t.Errorf("%d events, want %d; wrong: %q", len(r.times), n, r.wrong)
	}
	return again
}

// until waits for something.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for over := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

func opened(t testing.TB, to, secret string) *Stream {
	t.Helper()
	s, err := New(wire.Secret(to), wire.Secret(secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// shipped is a log that s tells of.
func shipped(t testing.TB, dir string, s *Stream) *spool.Log {
	t.Helper()
	log, err := spool.Open(spool.Options{Dir: dir, Max: 4 << 20, BatchRecords: 50, BatchWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	log.Ship(func(ctx context.Context, token string, records [][]byte) error {
		err := s.Deliver(ctx, token, records)
		if errors.Is(err, ErrRefused) {
			return spool.Refused{Err: err}
		}
		return err
	})
	return log
}

func add(t testing.TB, log *spool.Log, from, n int) {
	t.Helper()
	for i := range n {
		if err := log.Add(record(from + i).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
}

func closed(t testing.TB, log *spool.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := log.Close(ctx); err != nil {
		t.Error(err)
	}
}

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hook is a receiver of webhooks in one mood or another.
type hook struct {
	received
	server  *httptest.Server
	key     []byte
	mood    atomic.Int32
	met     [4]atomic.Int64
	batches sync.Map // Webhook-Id: its body
}

const (
	well = iota
	down
	slow
	failing
)

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.key, _ = signingKey(secret)
	h.server = httptest.NewServer(h)
	t.Cleanup(h.server.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	h.mu.Lock()
	if want := signature(h.key, id, at, body); r.Header.Get("Webhook-Signature") != want {
		h.wrong = append(h.wrong, "a signature")
	}
	if before, again := h.batches.LoadOrStore(id, string(body)); again && before != string(body) {
		h.wrong = append(h.wrong, "another batch of the same id")
	}
	h.mu.Unlock()
	mood := h.mood.Load()
	h.met[mood].Add(1)
	switch mood {
	case down:
		panic(http.ErrAbortHandler)
	case failing:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case slow:
		time.Sleep(200 * time.Millisecond)
	}
	for _, e := range gjson.GetBytes(body, "events").Array() {
		h.take(e.Get("uid").String(), e.Get("tenant").String(), []byte(e.Raw))
	}
}

func TestWebhook(t *testing.T) {
	h := newHook(t)
	log := shipped(t, t.TempDir(), opened(t, h.server.URL, secret))
	n := 0
	for _, mood := range []int32{down, failing, slow, well, down, well} {
		h.mood.Store(mood)
		before := h.met[mood].Load()
		add(t, log, n, 300)
		n += 300
		until(t, "a batch", func() bool { return h.met[mood].Load() > before })
	}
	closed(t, log)
	if st := log.Stats(); st.Delivered != int64(n) || st.Dropped != 0 || st.Failures == 0 {
		t.Errorf("%+v", st)
	}
	if again := h.expect(t, n); again != 0 {
		t.Errorf("%d came again, and no answer was lost", again)
	}
}

// The disk that a receiver who is away costs is bounded, and adding goes on.
func TestNobodyListens(t *testing.T) {
	h := newHook(t)
	h.mood.Store(failing)
	log := shipped(t, t.TempDir(), opened(t, h.server.URL, secret))
	const n = 20_000
	add(t, log, 0, n)
	st := log.Stats()
	if st.Dropped == 0 || st.Bytes > 4<<20 || st.Emitted != n || st.Emitted != st.Delivered+st.Dropped+st.Spooled {
		t.Errorf("%+v", st)
	}
	h.mood.Store(well)
	closed(t, log)
	if st = log.Stats(); st.Delivered != int64(h.different()) || st.Delivered+st.Dropped != n {
		t.Errorf("%+v, %d came", st, h.different())
	}
}

const killedURL = "STREAM_KILLED"

// A gateway that is killed while it tells: what was appended comes, and what comes again is of the batch that was under way.
func TestKilled(t *testing.T) {
	if url := os.Getenv(killedURL); url != "" {
		log := shipped(t, os.Getenv("STREAM_DIR"), opened(t, url, secret))
		from, _ := strconv.Atoi(os.Getenv("STREAM_FROM"))
		for i := from; ; i++ {
			add(t, log, i, 1)
			fmt.Println(i)
		}
	}
	h := newHook(t)
	dir, n, kills := t.TempDir(), 0, 4
	for range kills {
		child := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		child.Env = append(os.Environ(), killedURL+"="+h.server.URL, "STREAM_DIR="+dir, "STREAM_FROM="+strconv.Itoa(n))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		before := h.different()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n++; n%500 == 0 && h.different() > before+200 {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait()
	}
	log := shipped(t, dir, opened(t, h.server.URL, secret))
	closed(t, log)
	h.mu.Lock()
	extra := len(h.times) - n // appended, and killed before it said so
	h.mu.Unlock()
	if extra < 0 || extra > kills {
		t.Errorf("%d events of %d", n+extra, n)
	}
	if again := h.expect(t, n+extra) - extra; again > kills*50 {
		t.Errorf("%d came again, of %d batches of 50", again, kills)
	}
	t.Logf("%d events", n)
}

// relay is a wire that can be cut.
type relay struct {
	net.Listener
	target string
	cut    atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln, target: target}
	t.Cleanup(func() { ln.Close(); r.sever() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go r.join(conn)
		}
	}()
	return r
}

func (r *relay) join(conn net.Conn) {
	defer conn.Close()
	if r.cut.Load() {
		return
	}
	to, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer to.Close()
	r.mu.Lock()
	r.conns = append(r.conns, conn, to)
	r.mu.Unlock()
	go func() { _, _ = io.Copy(to, conn); to.Close() }()
	_, _ = io.Copy(conn, to)
}

func (r *relay) sever() {
	r.cut.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// throughCuts has records told of over a wire that is cut time and again.
func throughCuts(t *testing.T, r *relay, s *Stream, size int, got func() int) (n int) {
	t.Helper()
	log := shipped(t, t.TempDir(), s)
	for range 2 {
		add(t, log, n, size)
		n += size
		until(t, "some events", func() bool { return got() > n-size })
		r.sever()
		add(t, log, n, size)
		n += size
		failed := log.Stats().Failures
		until(t, "a failure", func() bool { return log.Stats().Failures > failed })
		r.cut.Store(false)
	}
	closed(t, log)
	if st := log.Stats(); st.Delivered != int64(n) || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	return n
}

func TestURLs(t *testing.T) {
	for _, c := range []struct{ url, secret, want string }{
		{"kafka://a:9092,b:9092/usage", "", ""},
		{"kafka://user:pass@a:9092/usage?tls=true", "", ""},
		{"kafka://a:9092", "", "the topic is missing"},
		{"kafka://a:9092/usage?acks=0", "", "not known"},
		{"amqp://u:p@host/v?exchange=usage", "", ""},
		{"amqps://u:p@host:5671", "", "exchange is missing"},
		{"sqs://sqs.eu-central-1.amazonaws.com/123/usage?region=eu-central-1", "", ""},
		{"sqs://sqs.eu-central-1.amazonaws.com/123/usage", "", "region is missing"},
		{"https://ops.example.com/hook?x=1", secret, ""},
		{"https://ops.example.com/hook", "short", "at least 16 bytes"},
		{"https://ops.example.com/hook", "whsec_%%%", "must be base64"},
		{"https://u:p@ops.example.com/hook", "", "may hold no user"},
		{"kafka://a:9092/usage", secret, "is for webhooks"},
		{"nats://a/usage", "", "expected kafka://"},
		{"", "", "expected kafka://"},
		{"https://", "", "expected kafka://"},
	} {
		_, err := New(wire.Secret(c.url), wire.Secret(c.secret))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.url, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "p@ops") {
			t.Errorf("%s: %v", c.url, err)
		}
	}
}

// What is sent has all columns, and nothing of what was said.
func TestEvent(t *testing.T) {
	s := opened(t, "https://x", "")
	e, err := s.event(record(7).AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := gjson.ParseBytes(e.body)
	for _, c := range store.Columns("requests") {
		if !got.Get(c.Name).Exists() {
			t.Errorf("no %s", c.Name)
		}
	}
	for _, c := range store.Columns("attempts") {
		if !got.Get("attempts.1." + c.Name).Exists() {
			t.Errorf("no %s in attempts", c.Name)
		}
	}
	for field, want := range map[string]string{"version": "1", "type": "request", "time": "2026-11-23T12:00:00.123456Z", "cost_nano": "7", "tags": `["a\"","b"]`,
		"stream": "true", "similarity": "0.25", "status": "200", "attempts.0.time": "2026-11-23T12:00:01.123456Z", "attempts.0.seq": "1"} {
		if got := got.Get(field); got.String() != want {
			t.Errorf("%s %s, want %s", field, got, want)
		}
	}
	if !json.Valid(e.body) || strings.Contains(string(e.body), "secret") {
		t.Errorf("%s", e.body)
	}
	f := usage.Feedback{UID: uidOf(1), Time: noon, Tenant: "t", Score: -1, Comment: "no"}
	if e, err = s.event(f.AppendTo(nil)); err != nil || !json.Valid(e.body) || gjson.GetBytes(e.body, "type").String() != "feedback" || gjson.GetBytes(e.body, "score").Int() != -1 {
		t.Errorf("%s %v", e.body, err)
	}
	large := record(1)
	large.User = strings.Repeat("x", largest)
	for _, data := range [][]byte{large.AppendTo(nil), []byte("x")} {
		if err := s.Deliver(t.Context(), "", [][]byte{data}); !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	}
}
