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
</yandex>`

const nativeUsers = `<yandex><profiles><default></default></profiles><quotas><default></default></quotas>
<users><jarvis><password>s@cret</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></jarvis></users></yandex>`

// Batches go over the native protocol, with either compression and a password. The server is too old for the tables: it has
// one like contents.
func TestNative(t *testing.T) {
	address := startNative(t)
	for _, compress := range []string{"lz4", "zstd", "none"} {
		u := url.URL{Scheme: "clickhouse", User: url.UserPassword("jarvis", "s@cret"), Host: address, Path: "/default", RawQuery: "compress=" + compress}
		s, err := Open(t.Context(), u.String(), Options{})
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
			t.Errorf("%s: the rows are not there", compress)
		}
	}
}

func startNative(t *testing.T) (address string) {
	t.Helper()
	bin, err := exec.LookPath("clickhouse-server")
	if err != nil {
		t.Skip("there is no clickhouse-server on this machine")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), free.Addr().(*net.TCPAddr).Port
	free.Close()
	for name, text := range map[string]string{"config.xml": fmt.Sprintf(nativeServer, port, dir), "users.xml": nativeUsers} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command(bin, "--config-file="+dir+"/config.xml")
	server.Dir = dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	address = free.Addr().String()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
