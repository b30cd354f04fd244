package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// both runs a test on each engine, with an empty database.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+file(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, empty(t)) })
}

const password = "s3cr3t"

// server is a Postgres that all tests of a run share; each has a database of its own.
type server struct {
	dir, bin string
	port     int
	cmd      *exec.Cmd
	alive    io.Closer // the server ends when this does, also when the tests are killed
	cleared  *syscall.Credential
	bases    atomic.Int64
}

var (
	errNoPostgres = errors.New("no Postgres is installed")
	shared        = sync.OnceValues(startServer)
	isStarted     atomic.Bool
)

func TestMain(m *testing.M) {
	code := m.Run()
	if isStarted.Load() {
		if s, err := shared(); err == nil {
			s.stop()
			_ = os.RemoveAll(s.dir)
		}
	}
	os.Exit(code)
}

func postgres(t *testing.T) *server {
	t.Helper()
	isStarted.Store(true)
	s, err := shared()
	if errors.Is(err, errNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// empty is the URL of a new database.
func empty(t *testing.T) string {
	t.Helper()
	s := postgres(t)
	name := fmt.Sprint("base", s.bases.Add(1))
	if err := s.do(t.Context(), `CREATE DATABASE `+name); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

// with adds parameters to a URL.
func with(url, more string) string {
	if len(url) > 0 && filepath.Ext(url) == ".db" {
		return url
	}
	return url + "&" + more
}

func (s *server) url(base string) string {
	return fmt.Sprintf("postgres://jarvis:%s@127.0.0.1:%d/%s?sslmode=disable", password, s.port, base)
}

// do runs a statement as the server's owner.
func (s *server) do(ctx context.Context, statement string) error {
	e, err := openPostgres(with(s.url("postgres"), "statement_timeout=0"))
	if err != nil {
		return err
	}
	_, err = e.db.ExecContext(ctx, statement)
	return errors.Join(err, e.close())
}

func startServer() (*server, error) {
	s := &server{}
	if s.bin = binaries(); s.bin == "" {
		return nil, errNoPostgres
	}
	dir, err := os.MkdirTemp("", "state-postgres-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, s.start()
}

// binaries is where the server's programs are, "" for nowhere.
func binaries() string {
	if at, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(at)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[len(found)-1])
}

// prepare makes the server's files. It refuses to run as root.
func (s *server) prepare() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		who, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(who.Uid)
		gid, _ := strconv.Atoi(who.Gid)
		s.cleared = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := errors.Join(os.Chown(s.dir, uid, gid), os.Chown(secret, uid, gid)); err != nil {
			return err
		}
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.dir+"/data", "-U", "jarvis", "-A", "scram-sha-256", "--pwfile="+secret, "-E", "UTF8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.cleared}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	return free.Close()
}

// start returns once the server answers. It does not sync its disk: only the gateway is killed here, never the machine.
func (s *server) start() error {
	const watched = `"$@" </dev/null & server=$!; read end; kill -QUIT $server; wait $server`
	s.cmd = exec.Command("sh", "-c", watched, "sh", filepath.Join(s.bin, "postgres"), "-D", s.dir+"/data", "-p", strconv.Itoa(s.port), "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=150", "-c", "deadlock_timeout=100ms", "-c", "shared_buffers=32MB")
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.cleared}
	var err error
	if s.alive, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = s.do(context.Background(), `SELECT 1`); err == nil {
			return nil
		}
	}
	s.stop()
	return err
}

// stop ends the server as a crash does.
func (s *server) stop() {
	_ = s.alive.Close()
	_ = s.cmd.Wait()
}

// locked is a store whose tables somebody else has locked, until free is called. It finds out soon.
func locked(t *testing.T, url string) (s *Store, free func()) {
	t.Helper()
	s, err := Open(t.Context(), with(url, "lock_timeout=20"))
	if err != nil {
		t.Fatal(err)
	}
	lock := `LOCK TABLE responses, tally IN ACCESS EXCLUSIVE MODE`
	if s.patience == 0 {
		s.db.SetMaxOpenConns(1)
		if _, err := s.db.Exec(`PRAGMA busy_timeout = 0`); err != nil {
			t.Fatal(err)
		}
		lock = `SELECT 1`
	}
	other, err := openEngine(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := other.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(lock); err != nil {
		t.Fatal(err)
	}
	free = sync.OnceFunc(func() {
		if err := errors.Join(tx.Rollback(), other.close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		free()
		if err := s.Close(); err != nil && err != sql.ErrConnDone {
			t.Error(err)
		}
	})
	return s, free
}

// insist calls until the file is free. Of several processes that write to it without a pause, SQLite lets one go before
// another that has waited for longer.
func insist(s *Store, call func() error) error {
	for {
		if err := call(); s.patience > 0 || !s.passing(err) {
			return err
		}
	}
}

// relay passes connections on to a server until it stalls: then nothing comes through any more, and nothing breaks.
type relay struct {
	port int
	gate sync.RWMutex
}

func newRelay(t *testing.T, to int) *relay {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	r := &relay{port: listener.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", to))
			if err != nil {
				client.Close()
				return
			}
			go r.pass(client, up)
			go r.pass(up, client)
		}
	}()
	return r
}

func (r *relay) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		r.gate.RLock()
		_, err = to.Write(buf[:n])
		r.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

func (r *relay) url(t *testing.T, of string) string {
	u, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprint("127.0.0.1:", r.port)
	return u.String()
}
