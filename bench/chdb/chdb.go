// Package chdb starts the real ClickHouse engine for tests: libchdb, served over ClickHouse's HTTP interface by a process of its
// own (package serve). bench/chdb/install brings the library.
package chdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a running engine.
type Server struct {
	URL string // clickhouse+http://HOST:PORT/default

	cmd   *exec.Cmd
	alive io.Closer // the process ends when this does
}

// ErrMissing is the error where the engine is not installed.
var ErrMissing = errors.New("the ClickHouse engine is not there: bench/chdb/install brings it")

// Start returns the URL of an engine with an empty database, which ends with the test. It skips the test where there is no
// engine.
func Start(t testing.TB) (url string) {
	t.Helper()
	return StartAt(t, t.TempDir()).URL
}

// StartAt starts an engine on the data of a folder, of which there may be one at a time. It takes ClickHouse's own options, as
// --config-file=FILE.
func StartAt(t testing.TB, dir string, options ...string) *Server {
	t.Helper()
	s, err := Run(dir, options...)
	if errors.Is(err, ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// Run is StartAt for a program. The server runs until it is killed, or the program ends.
func Run(dir string, options ...string) (*Server, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	lib := os.Getenv("JARVIS_CHDB")
	if lib == "" {
		lib = filepath.Join(root, ".tools/chdb/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so")
	}
	if _, err := os.Stat(lib); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrMissing, err)
	}
	bin, err := program()
	if err != nil {
		return nil, err
	}
	inserts := filepath.Join(dir, "inserts") // what a server that is killed leaves behind goes with its data
	if err := os.MkdirAll(inserts, 0o700); err != nil {
		return nil, err
	}
	s := &Server{cmd: exec.Command(bin, append([]string{"-lib", lib, "--", "--path=" + dir}, options...)...)}
	s.cmd.Env = append(os.Environ(), "TMPDIR="+inserts)
	return s, s.start()
}

// startTime is how long an engine may take to start. Where it hangs, a test should fail, not wait for the end of all tests.
const startTime = time.Minute

func (s *Server) start() (err error) {
	s.cmd.Stderr = os.Stderr
	if s.alive, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(startTime, func() { _ = s.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	if err != nil {
		s.Kill()
		return fmt.Errorf("the ClickHouse engine did not start: %w", err)
	}
	u := url.URL{Scheme: "clickhouse+http", Host: strings.TrimSpace(line), Path: "/default"}
	s.URL = u.String()
	return nil
}

// Kill ends the process at once, as a crash does. It may be called again.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.alive.Close()
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// program builds the server, once in a process. Others that test at the same time may build and run it too: it is put in its
// place whole.
var program = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "jarvis-gateway-chdb", "serve")
	fresh := fmt.Sprintf("%s-%d", bin, os.Getpid())
	out, err := exec.Command("go", "build", "-o", fresh, "jarvis-gateway/bench/chdb/serve").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("bench/chdb/serve: %w: %s", err, out)
	}
	return bin, os.Rename(fresh, bin)
})

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("the tests do not run inside the module")
		}
		dir = up
	}
}
