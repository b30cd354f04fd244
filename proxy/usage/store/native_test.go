package store

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"
)

// nativeServer is the config of a server that Debian packages: old, but it speaks the native protocol, which libchdb does not.
const nativeServer = `<yandex>
<logger><level>error</level><console>1</console></logger>
<tcp_port>%[1]d</tcp_port><listen_host>127.0.0.1</listen_host>
<path>%[2]s/data/</path><tmp_path>%[2]s/tmp/</tmp_path><user_files_path>%[2]s/files/</user_files_path><format_schema_path>%[2]s/formats/</format_schema_path>
<mark_cache_size>1000000</mark_cache_size><users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
%[3]s</yandex>`

const nativeUsers = `<yandex><profiles><default></default></profiles><quotas><default></default></quotas><users>
<jarvis><password>s@cret</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></jarvis>
<default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
</users></yandex>`

// native is such a server.
type native struct {
	scheme  string
	address string
	dir     string
	process *exec.Cmd
}

// Batches go over the native protocol, with either compression and a password. The server is too old for the tables: it has
// one like contents.
func TestNative(t *testing.T) {
	server := startNative(t, freePort(t), "")
	for _, compress := range []string{"lz4", "zstd", "none"} {
		checkNative(t, server.url("compress="+compress))
	}
}

// url is the URL of its database that is there from the beginning.
func (n *native) url(options string) string {
	u := url.URL{Scheme: n.scheme, User: url.UserPassword("jarvis", "s@cret"), Host: n.address, Path: "/default", RawQuery: options}
	return u.String()
}

// checkNative writes records and looks for one of them.
func checkNative(t *testing.T, at string) {
	t.Helper()
	s, err := Open(t.Context(), at, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := s.engine.(*houseEngine)
	for _, statement := range []string{
		`DROP TABLE IF EXISTS contents`,
		`CREATE TABLE contents (uid UUID, time DateTime('UTC'), tenant String, id String, asked String, answered String) ENGINE = MergeTree ORDER BY time`,
	} {
		if err := e.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	list := records(0, 1000, noon)
	if err := sendRows(t.Context(), e, contentsTable(), list); err != nil {
		t.Fatal(err)
	}
	query := fmt.Sprintf(`SELECT toInt64(count()) FROM contents WHERE toString(uid) = '%s' AND id = 'req_5' AND answered = '日本\n\t\0'`, list[5].UID)
	if s.number(t, `SELECT toInt64(count()) FROM contents`) != 1000 || s.number(t, query) != 1 {
		t.Errorf("%s: the rows are not there", at)
	}
}

// freePort is one that nobody listens at just now.
func freePort(t *testing.T) int {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().(*net.TCPAddr).Port
}

// startNative starts a server, with more in its config.
func startNative(t *testing.T, port int, more string) *native {
	t.Helper()
	if _, err := exec.LookPath("clickhouse-server"); err != nil {
		t.Skip("there is no clickhouse-server on this machine")
	}
	n := &native{scheme: "clickhouse", address: fmt.Sprint("127.0.0.1:", port), dir: t.TempDir()}
	for name, text := range map[string]string{"config.xml": fmt.Sprintf(nativeServer, port, n.dir, more), "users.xml": nativeUsers} {
		if err := os.WriteFile(n.dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(n.kill)
	n.start(t)
	return n
}

// start starts it with the data it has.
func (n *native) start(t *testing.T) {
	t.Helper()
	n.process = exec.Command("clickhouse-server", "--config-file="+n.dir+"/config.xml")
	n.process.Dir = n.dir
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	answers(t, n.address)
}

// kill ends it at once, as a crash does.
func (n *native) kill() {
	_ = n.process.Process.Kill()
	_ = n.process.Wait()
}

// answers waits until somebody listens at an address.
func answers(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
