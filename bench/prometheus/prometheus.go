// Package prometheus starts a real Prometheus for tests, and asks it. On Debian the package prometheus has it.
package prometheus

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Server is a running Prometheus.
type Server struct {
	URL string

	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs Prometheus with a config until the test ends. Features are those of --enable-feature. It skips the test where there is
// no Prometheus.
func Start(t testing.TB, config string, features ...string) *Server {
	t.Helper()
	bin, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 20 { // someone else may take the port between the look for it and its use
		s, err := run(bin, dir, path, features)
		if err != nil {
			t.Fatal(err)
		}
		if s.ready() {
			t.Cleanup(s.stop)
			return s
		}
		s.stop()
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log")) // what is there tells more than nothing
	t.Fatalf("no Prometheus could be started: %s", log)
	return nil
}

func run(bin, dir, config string, features []string) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := ln.Addr().String()
	if err = ln.Close(); err != nil {
		return nil, err
	}
	args := []string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + addr, "--log.level=warn"}
	for _, f := range features {
		args = append(args, "--enable-feature="+f)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	s := &Server{URL: "http://" + addr, cmd: exec.Command(bin, args...), exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err = s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // it was killed, or ready tells that it is gone
		close(s.exited)
	}()
	return s, nil
}

// ready waits until Prometheus answers; it is false where it does not.
func (s *Server) ready() bool {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-s.exited:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		res, err := http.Get(s.URL + "/-/ready")
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return true
		}
	}
	return false
}

func (s *Server) stop() {
	_ = s.cmd.Process.Kill() // it may be gone
	<-s.exited
}

// Sample is one series of an answer, as it is now.
type Sample struct {
	Labels    map[string]string
	Value     float64
	Histogram bool // a native histogram, whose Value is how much it has seen
}

// Query asks for what an expression is now.
func (s *Server) Query(expr string) ([]Sample, error) {
	var data struct {
		Result []struct {
			Metric    map[string]string
			Value     [2]any
			Histogram [2]any
		}
	}
	if err := s.Get("/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	var list []Sample
	for _, r := range data.Result {
		sample := Sample{Labels: r.Metric}
		text, _ := r.Value[1].(string)
		if h, ok := r.Histogram[1].(map[string]any); ok {
			sample.Histogram = true
			text, _ = h["count"].(string)
		}
		var err error
		if sample.Value, err = strconv.ParseFloat(text, 64); err != nil {
			return nil, err
		}
		list = append(list, sample)
	}
	return list, nil
}

// Get asks the API, and reads what its answer has as data.
func (s *Server) Get(path string, params url.Values, data any) error {
	res, err := http.Get(s.URL + path + "?" + params.Encode())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err = json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}
