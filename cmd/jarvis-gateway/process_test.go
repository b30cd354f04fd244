package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/tidwall/gjson"
)

// The process tests run the real binary, several at a time, with a real Redis between them, and kill any of them. The
// providers live in the test's process and know what they served.

func TestProcesses(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "jarvis-gateway")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, bin string)
	}{
		{"one budget", oneBudget},
		{"one budget, and gateways are killed", oneBudgetKilled},
		{"one budget in memory, and the gateway is killed", oneBudgetInMemory},
		{"one rate", oneRate},
		{"slow Redis", slowRedis},
		{"dead Redis", deadRedis},
		{"canaries", canaries},
		{"every request is recorded once", everyRequestOnce},
		{"a response in the background, and the gateway is killed", cutInBackground},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, bin) })
	}
}

// process is a gateway that runs as a process of its own, again and again in the same directory.
type process struct {
	testing.TB
	bin, dir string
	log      record
	at       atomic.Pointer[ports]
	mu       sync.Mutex // held by who starts or ends it
	cmd      *exec.Cmd
	lives    atomic.Int64
	dying    atomic.Bool // from the kill until it serves again
}

type ports struct{ api, private string }

// newProcess makes a gateway's directory, with other files as names and texts, and starts the gateway.
func newProcess(t testing.TB, bin, config string, files ...string) *process {
	t.Helper()
	p := &process{TB: t, bin: bin, dir: t.TempDir()}
	config = "server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0, drain: 5s}\n" + strings.ReplaceAll(config, "${DIR}", p.dir)
	for pair := range slices.Chunk(append(files, "jarvis.yml", config), 2) {
		if err := os.WriteFile(filepath.Join(p.dir, pair[0]), []byte(pair[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.start()
	t.Cleanup(p.kill)
	return p
}

// start runs the gateway and waits for its welcome.
func (p *process) start() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var welcome record
	p.cmd = exec.Command(p.bin, "serve", filepath.Join(p.dir, "jarvis.yml"))
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, &welcome, &p.log
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	var at []string
	eventually(p, "the welcome of a process", func() bool {
		at = printed.FindStringSubmatch(welcome.String())
		return at != nil
	})
	p.at.Store(&ports{at[1], at[2]})
	p.lives.Add(1)
	p.dying.Store(false)
}

// kill is kill -9.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.ProcessState == nil {
		p.dying.Store(true)
		_ = p.cmd.Process.Kill() // it may be gone
		_ = p.cmd.Wait()
	}
}

// stop is SIGTERM, and waits for the exit code.
func (p *process) stop() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// get reads the private port.
func (p *process) get(path string) (string, error) {
	res, err := http.Get("http://" + p.at.Load().private + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func (p *process) must(path string) string {
	p.Helper()
	s, err := p.get(path)
	if err != nil {
		p.Fatal(err)
	}
	return s
}

// metric is the value of a series.
func (p *process) metric(series string) float64 {
	p.Helper()
	for line := range strings.Lines(p.must("/metrics")) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				p.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// limit is how a limit stands, amounts of money in dollars.
type limit struct{ limit, used, held, free float64 }

// limits is how the limits of a tenant stand, by their ids.
func (p *process) limits(tenant string) map[string]limit {
	p.Helper()
	all := map[string]limit{}
	gjson.Get(p.must("/admin/v1/limits?limit=100&tenant="+tenant), "data").ForEach(func(_, v gjson.Result) bool {
		all[v.Get("id").Str] = limit{v.Get("limit").Float(), v.Get("used").Float(), v.Get("held").Float(), v.Get("free").Float()}
		return true
	})
	return all
}

// audited counts the entries of an action in the audit log.
func (p *process) audited(action string) int {
	p.Helper()
	return int(gjson.Get(p.must("/admin/v1/audit?limit=1000&action="+action), "data.#").Int())
}

// redisServer is a Redis of the test's own.
func redisServer(t testing.TB) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	for range 20 {
		port := freePort(t)
		cmd := exec.Command(bin, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--logfile", filepath.Join(dir, "log"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if answersAsRedis("127.0.0.1:" + port) {
			t.Cleanup(end)
			return "127.0.0.1:" + port
		}
		end() // someone else has the port
	}
	t.Fatal("no Redis could be started")
	return ""
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func answersAsRedis(addr string) bool {
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	for range 1000 {
		if c.Ping(context.Background()).Err() == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// redisWire is the way between gateways and Redis. It can be slow, lose replies, and be cut.
type redisWire struct {
	to    string
	ln    net.Listener
	delay atomic.Int64 // of each reply
	lose  atomic.Bool  // replies do not come, and their connection ends
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

func newRedisWire(t testing.TB, to string) *redisWire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &redisWire{to: to, ln: ln, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		ln.Close()
		w.sever(true)
		w.wg.Wait()
	})
	return w
}

func (w *redisWire) url() string { return "redis://" + w.ln.Addr().String() + "/0" }

// sever cuts the wire, or mends it.
func (w *redisWire) sever(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = cut; cut {
		for c := range w.conns {
			c.Close()
		}
	}
}

func (w *redisWire) accept() {
	for {
		near, err := w.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		w.mu.Lock()
		if err != nil || w.cut {
			near.Close()
			if err == nil {
				far.Close()
			}
			w.mu.Unlock()
			continue
		}
		w.conns[near], w.conns[far] = true, true
		w.mu.Unlock()
		w.wg.Go(func() { w.carry(far, near, false) })
		w.wg.Go(func() { w.carry(near, far, true) })
	}
}

func (w *redisWire) carry(to, from net.Conn, replies bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if replies && n > 0 {
			time.Sleep(time.Duration(w.delay.Load()))
			if w.lose.Load() {
				break
			}
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, to)
	delete(w.conns, from)
}

// tally is what a client knows of one request: what it was told of the usage, or else what it saw.
type tally struct {
	status             int
	code               string // of an error
	provider           string
	prompt, completion int64
	told               bool // by a usage object
	broken             bool // the connection ended before the answer did
	took               time.Duration
}

// question is one request of a client that streams, or not, and may leave.
type question struct {
	key, model, text string
	stream           bool
	most             int           // max_tokens, 0: not said
	leaveAfter       int           // content events, 0: it stays
	leaveIn          time.Duration // 0: it stays
}

// promptOf is what fakellm charges for the prompt.
func (q *question) promptOf() int64 { return int64(3 + (len(q.text)+3)/4) }

func (q *question) body() []byte {
	m := map[string]any{"model": q.model, "messages": []any{map[string]string{"role": "user", "content": q.text}}}
	if q.stream {
		m["stream"], m["stream_options"] = true, map[string]bool{"include_usage": true}
	}
	if q.most > 0 {
		m["max_tokens"] = q.most
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// ask puts a question to the gateway at addr.
func (q *question) ask(client *http.Client, addr string) (r tally) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if q.leaveIn > 0 {
		defer time.AfterFunc(q.leaveIn, cancel).Stop()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/v1/chat/completions", strings.NewReader(string(q.body())))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+q.key)
	req.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	res, err := client.Do(req)
	r.took = time.Since(begun)
	if err != nil {
		r.broken = true
		return r
	}
	defer res.Body.Close()
	r.status, r.provider = res.StatusCode, res.Header.Get("X-Jarvis-Provider")
	if q.stream && res.StatusCode == http.StatusOK {
		q.follow(&r, res.Body)
		return r
	}
	b, err := io.ReadAll(res.Body)
	r.broken = err != nil
	r.code = gjson.GetBytes(b, "error.code").Str
	r.usage(gjson.GetBytes(b, "usage"))
	return r
}

// follow reads a stream, as far as the client wants it.
func (q *question) follow(r *tally, body io.Reader) {
	r.prompt = q.promptOf()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			return
		case gjson.Get(data, "error").Exists():
			r.code = gjson.Get(data, "error.code").Str
		case gjson.Get(data, "usage").IsObject():
			r.usage(gjson.Get(data, "usage"))
		case gjson.Get(data, "choices.0.delta.content").Str != "":
			if r.completion++; q.leaveAfter > 0 && r.completion >= int64(q.leaveAfter) {
				r.broken = true
				return
			}
		}
	}
	r.broken = r.code == ""
}

func (r *tally) usage(u gjson.Result) {
	if u.IsObject() {
		r.prompt, r.completion, r.told = u.Get("prompt_tokens").Int(), u.Get("completion_tokens").Int(), true
	}
}

// clients is an HTTP client for many questions at once.
func clients(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 2 * patience}
}

// noon is a time zone where neither the day nor the month ends soon.
func noon() string { return fmt.Sprintf("Etc/GMT%+d", time.Now().UTC().Hour()-12) }
