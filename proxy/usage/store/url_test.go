package store

import (
	"errors"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"jarvis-gateway/proxy/usage"
)

func TestURLs(t *testing.T) {
	for raw, want := range map[string]struct {
		addr, database, cluster string
		protocol                clickhouse.Protocol
		compress                clickhouse.CompressionMethod
		tls                     bool
	}{
		"clickhouse://u:s%40cret@h:9000/usage":                  {"h:9000", "usage", "", clickhouse.Native, clickhouse.CompressionLZ4, false},
		"clickhouse://h:9440/usage?secure=true&compress=zstd":   {"h:9440", "usage", "", clickhouse.Native, clickhouse.CompressionZSTD, true},
		"clickhouse+http://h:8123?cluster=main&compress=none":   {"h:8123", "default", "main", clickhouse.HTTP, clickhouse.CompressionNone, false},
		"clickhouse+https://h:8443/usage?dial_timeout=5s":       {"h:8443", "usage", "", clickhouse.HTTP, clickhouse.CompressionLZ4, true},
		"clickhouse://a:9000,b:9000/usage?cluster=it%27s":       {"a:9000,b:9000", "usage", "it's", clickhouse.Native, clickhouse.CompressionLZ4, false},
		"clickhouse://h:9000/usage?max_execution_time=60&x=abc": {"h:9000", "usage", "", clickhouse.Native, clickhouse.CompressionLZ4, false},
	} {
		e, err := parseHouse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		o := e.options
		if strings.Join(o.Addr, ",") != want.addr || o.Auth.Database != want.database || e.cluster != want.cluster || o.Protocol != want.protocol ||
			o.Compression.Method != want.compress || (o.TLS != nil) != want.tls {
			t.Errorf("%s: %+v, cluster %q", raw, o, e.cluster)
		}
	}
	if e, err := parseHouse("clickhouse://u:s%40cret@h/x"); err != nil || e.options.Auth.Password != "s@cret" || e.options.Auth.Username != "u" {
		t.Errorf("%v", err)
	}
}

// What cannot be opened is told without what may be a password.
func TestBadURLs(t *testing.T) {
	for _, url := range []string{
		"", "usage.db", "sqlite:", "mysql://u:hunter2@h/x", "hunter2", "clickhouse+ftp://u:hunter2@h/x", "clickhouse://u:hunter2%zz@h:9000/x",
		"clickhouse://u:hunter2/@h:9000/x", "clickhouse+http://u:hunter2 @h/x", "clickhouse://u:hunter2@h:9000/x?compress=fast", "clickhouse:///x?password=hunter2",
		"clickhouse+http://u:hunter2@h/x?secure=true", "clickhouse://u:ab@hunter2#c@h:9000/x",
	} {
		s, err := Open(t.Context(), url, Options{})
		if err == nil {
			s.Close()
			t.Errorf("%q was opened", url)
			continue
		}
		if text := err.Error(); strings.Contains(text, "hunter") || strings.Contains(text, "\n") {
			t.Errorf("%q: %s", url, text)
		}
	}
}

// Errors of a database that is away do not tell its password either.
func TestAway(t *testing.T) {
	for _, url := range []string{"clickhouse://u:hunter2@127.0.0.1:1/x", "clickhouse+http://u:hunter2@127.0.0.1:1/x", "clickhouse+https://u:hunter2@127.0.0.1:1/x"} {
		s, err := Open(t.Context(), url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		_, pending := s.Pending(t.Context())
		for what, err := range map[string]error{"write": s.Write(t.Context(), "a", records(0, 1, noon), nil), "migrate": s.Migrate(t.Context()), "pending": pending} {
			if err == nil || errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "127.0.0.1:1") {
				t.Errorf("%s, %s: %v", url, what, err)
			}
		}
	}
}

// HTTPS, through a proxy that ends TLS, with either compression. A certificate that nobody has signed is refused.
func TestTLS(t *testing.T) {
	plain := strings.TrimPrefix(emptyHouse(t), "clickhouse+")
	to, err := url.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	to.Path = "/"
	proxy := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(to))
	defer proxy.Close()
	at := "clickhouse+https://" + proxy.Listener.Addr().String() + "/tls"
	for i, compress := range []string{"lz4", "zstd", "none"} {
		s := opened(t, at+compress+"?skip_verify=true&compress="+compress, Options{})
		list := records(1000*i, 100, noon)
		write(t, s, "a", list)
		s.expect(t, 0, list)
	}
	s, err := Open(t.Context(), at, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	one, two := opened(t, "sqlite::memory:", Options{}), opened(t, "sqlite::memory:", Options{})
	list := records(0, 10, noon)
	write(t, one, "a", list)
	one.expect(t, 0, list)
	two.expect(t, 0)
}

// Only the owner may read what people said, and a folder that cannot be made is an error in one line.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "a b?#%.db")
	opened(t, "sqlite:"+path, Options{})
	for at, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if is, err := os.Stat(at); err != nil || is.Mode() != mode {
			t.Errorf("%s: %v, %v", at, is.Mode(), err)
		}
	}
	if s, err := Open(t.Context(), "sqlite:"+path+"/under/a/file.db", Options{}); err == nil || strings.Contains(err.Error(), "\n") {
		s.Close()
		t.Error(err)
	}
}

// Data that the database itself will never take is told apart.
func TestRefused(t *testing.T) { both(t, testRefused) }

func testRefused(t *testing.T, url string) {
	s := opened(t, url, Options{})
	statement := `CREATE TRIGGER never BEFORE INSERT ON records WHEN NEW.prompt_tokens < 0 BEGIN SELECT RAISE(ABORT, 'never'); END`
	if s.clickhouse {
		statement = `ALTER TABLE requests ADD CONSTRAINT never CHECK prompt_tokens >= 0`
	}
	if _, err := s.db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	bad := record(1, noon)
	bad.Usage.Prompt = -1
	if err := s.Write(t.Context(), "a", []*usage.Record{bad}, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	write(t, s, "b", records(0, 2, noon))
}
