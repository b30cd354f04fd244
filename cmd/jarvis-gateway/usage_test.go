package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
)

// A gateway whose store takes connections and never answers serves at once.
func TestStartDoesNotWaitForTheStore(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	dir := stateDir(t)
	began := time.Now()
	g := start(t, strings.NewReplacer("${DIR}", dir, "${STORE}", "clickhouse://jarvis@"+hung.Addr().String()+"/usage").Replace(scoredConfig))
	if a := g.ask(t, "chat"); a.status != 200 {
		t.Error(a)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the first answer came after %v", took)
	}
}

// What a gateway finds in the spools of others that are no more is its own from then on, also in its metrics.
func TestAdoptedSpoolsAreCounted(t *testing.T) {
	dir := stateDir(t)
	for _, folder := range []string{"spool", "spool-2", "spool-3"} {
		spoolOf(t, filepath.Join(dir, folder), 5)
	}
	g := start(t, strings.NewReplacer("${DIR}", dir, "${STORE}", "sqlite:"+filepath.Join(dir, "usage.db")).Replace(scoredConfig))
	if a := g.ask(t, "chat"); a.status != 200 {
		t.Fatal(a)
	}
	eventually(t, "all are delivered", func() bool { return g.spooled("delivered_total") == 16 })
	if e, s, d, torn := g.spooled("emitted_total"), g.spooled("spooled"), g.spooled("dropped_total"), g.metrics()["jarvis_usage_torn_bytes_total"]; e != 16 || s != 0 || d != 0 || torn != 0 {
		t.Errorf("emitted %d, spooled %d, dropped %d, torn %v", e, s, d, torn)
	}
}

// spoolOf writes records into a spool as a process does that is no more.
func spoolOf(t *testing.T, dir string, n int) {
	l, err := spool.Open(spool.Options{Dir: dir, Segment: spoolSegment})
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		r := usage.Record{UID: usage.NewUID(time.Now()), Time: time.Now(), Tenant: "acme"}
		if err := l.Add(r.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// Bytes of a spool that are no record are told of at the start, and counted.
func TestTornIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	spoolOf(t, dir, 3)
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l, err := claimSpools(dir, spool.Options{}, &proxy.Spools{}, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close(context.Background())
	if l.own.Stats().Torn == 0 || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "bytes=") {
		t.Errorf("%+v: %q", l.own.Stats(), out.String())
	}
}

// A store that is away for hours says once that it does not delete, and once that it does again.
func TestStaleIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out saying
		s := &stale{log: slog.New(slog.NewTextHandler(&out, nil))}
		said := func(want ...string) {
			t.Helper()
			synctest.Wait()
			lines := strings.Split(out.take(), "\n")
			if lines = lines[:len(lines)-1]; len(lines) != len(want) {
				t.Fatalf("%q", lines)
			}
			for i, line := range lines {
				if !strings.Contains(line, want[i]) {
					t.Errorf("%q, want %q", line, want[i])
				}
			}
		}
		for range 3 {
			s.failed(errors.New("it is away"))
			said("cannot be deleted\" cause=\"it is away")
			for range 100 {
				time.Sleep(2 * time.Minute)
				s.failed(errors.New("it is away"))
			}
			said()
			time.Sleep(4 * time.Minute)
			said("deleted again")
		}
		s.failed(errors.New("it is away"))
		s.close()
		time.Sleep(time.Hour)
		said("cannot be deleted")
	})
}

// Others are told of no prompts and answers, and these do not wait for others on disk.
func TestStreamSpoolHasNoContents(t *testing.T) {
	dir := stateDir(t)
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := broker.Addr().String()
	broker.Close()
	g := start(t, strings.NewReplacer("${DIR}", dir, "${AWAY}", away, "${KEY}", tenantKey).Replace(`
stores: {state: "sqlite:${DIR}/state.db"}
usage: {max: 1MiB, dir: "${DIR}/spool", stream: "http://${AWAY}/usage", stream_secret: a-secret-of-some-length}
providers: {sim: {kind: simulated}}
models: {chat: {targets: [{provider: sim, model: gpt-4o}]}}
tenants: {acme: {log_prompts: true, keys: [{name: main, key: "${KEY}"}]}}
`))
	const secret = "what nobody else may read"
	if a := g.ask(t, "POST /v1/chat/completions\nX-Request-Id: told-of\n\n"+`{"model":"chat","messages":[{"role":"user","content":"`+secret+`"}]}`); a.status != 200 {
		t.Fatal(a)
	}
	eventually(t, "it waits", func() bool { return g.spooled("stream_spooled") == 1 && g.spooled("delivered_total") == 1 })
	g.stop()
	for folder, want := range map[string]bool{"spool-stream": true, "spool": false} {
		all := segments(t, filepath.Join(dir, folder))
		if strings.Contains(all, secret) || strings.Contains(all, "told-of") != want {
			t.Errorf("%s: %q", folder, all)
		}
	}
}

func segments(t *testing.T, dir string) string {
	var all strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err == nil {
			_, err = io.Copy(&all, f)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// saying is a log that another goroutine writes.
type saying struct {
	mu  sync.Mutex
	all []byte
}

func (s *saying) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, line...)
	return len(line), nil
}

// take is what was written since it was last called.
func (s *saying) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := string(s.all)
	s.all = s.all[:0]
	return said
}
