package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates, which lie in a folder.
type authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir()}
	a.certificate, a.key = a.sign(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// of is the path of a file: ca.pem, and of what was issued its certificate NAME.pem and its key NAME.key.
func (a *authority) of(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate for the loopback.
func (a *authority) issue(t *testing.T, name string) {
	a.sign(t, name, &x509.Certificate{
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) sign(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject.CommonName = big.NewInt(time.Now().UnixNano()), name
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		c.Subject = pkix.Name{CommonName: fmt.Sprint("authority ", c.SerialNumber)}
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.of(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

// secured are a server's ports with TLS. It wants certificates of its clients.
const secured = `<tcp_port_secure>%[1]d</tcp_port_secure><https_port>%[2]d</https_port><openSSL><server>
<certificateFile>%[3]s/server.pem</certificateFile><privateKeyFile>%[3]s/server.key</privateKeyFile><caConfig>%[3]s/ca.pem</caConfig>
<verificationMode>strict</verificationMode><loadDefaultCAFile>false</loadDefaultCAFile><cacheSessions>false</cacheSessions>
<invalidCertificateHandler><name>RejectCertificateHandler</name></invalidCertificateHandler></server></openSSL>`

// The native protocol over TLS, with an authority of one's own and a certificate for the gateway. What is wrong is said.
func TestNativeTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	for _, name := range []string{"server", "gateway"} {
		ours.issue(t, name)
		others.issue(t, name)
	}
	ports := []int{freePort(t), freePort(t)}
	plain := startNative(t, freePort(t), fmt.Sprintf(secured, ports[0], ports[1], ours.dir))
	server := &native{scheme: "clickhouse", address: fmt.Sprint("127.0.0.1:", ports[0])}
	https := &native{scheme: "clickhouse+https", address: fmt.Sprint("127.0.0.1:", ports[1])}
	answers(t, server.address)
	answers(t, https.address)
	own := "&cert=" + ours.of("gateway.pem") + "&key=" + ours.of("gateway.key")
	ca := "&ca=" + ours.of("ca.pem")
	for _, compress := range []string{"lz4", "zstd", "none"} {
		checkNative(t, server.url("secure=true&compress="+compress+ca+own))
	}
	checkNative(t, server.url("secure=true&skip_verify=true"+own))

	const refused = "remote error: tls: |or another one?)" // the alert may be lost, as the server closes what it has not read
	for _, c := range []struct{ url, says string }{
		{server.url("secure=true" + own), "(ca=FILE in its URL names the authorities to trust)"},
		{server.url("secure=true&ca=" + others.of("ca.pem") + own), "unknown authority"},
		{server.url("secure=true&tls_server_name=db.example" + ca + own), "not db.example"},
		{server.url("secure=true" + ca), refused},
		{server.url("secure=true" + ca + "&cert=" + others.of("gateway.pem") + "&key=" + others.of("gateway.key")), refused},
		{strings.Replace(server.url("secure=true"+ca+own), "s%40cret", "hunter2", 1), "Wrong password for user jarvis"},
		{server.url(""), "(is it a port of clickhouse:// without TLS, as 9000 is?)"},
		{plain.url("secure=true" + ca + own), "(is it a port of clickhouse:// with TLS, as 9440 is?"},
		{https.url(ca[1:]), refused},
		{https.url(own[1:]), "(ca=FILE in its URL names the authorities to trust)"},
		{https.url(ca[1:] + own), "Unknown setting client_protocol_version"}, // it answers, in its own old way
	} {
		s, err := Open(t.Context(), c.url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Pending(t.Context())
		one, other, _ := strings.Cut(c.says, "|")
		if err == nil || !strings.Contains(err.Error(), one) && (other == "" || !strings.Contains(err.Error(), other)) || strings.Contains(err.Error(), "cret") || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s:\n%v\nwant %s", c.url, err, c.says)
		}
		s.Close()
	}
}

// HTTPS with an authority of one's own and a certificate for the gateway, which is renewed while the gateway runs.
// TLS 1.2 tells the client of a refusal before it has sent anything.
func TestHTTPS(t *testing.T) {
	plain, err := url.Parse(strings.TrimPrefix(emptyHouse(t), "clickhouse+"))
	if err != nil {
		t.Fatal(err)
	}
	plain.Path = "/"
	ours, others := newAuthority(t), newAuthority(t)
	ours.issue(t, "server")
	ours.issue(t, "gateway")
	others.issue(t, "gateway")
	certificate, err := tls.LoadX509KeyPair(ours.of("server.pem"), ours.of("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ours.certificate)
	proxy := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(plain))
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MaxVersion: tls.VersionTLS12}
	proxy.Config.SetKeepAlivesEnabled(false)
	proxy.Config.ErrorLog = log.New(io.Discard, "", 0)
	proxy.StartTLS()
	defer proxy.Close()

	at := "clickhouse+https://" + proxy.Listener.Addr().String() + "/https"
	files := "?ca=" + ours.of("ca.pem") + "&cert=" + ours.of("gateway.pem") + "&key=" + ours.of("gateway.key")
	s := opened(t, at+files, Options{})
	list := records(0, 100, noon)
	write(t, s, "a", list)
	s.expect(t, 0, list)

	for _, name := range []string{"gateway.pem", "gateway.key"} { // it is another's now, which the next connection shows
		text, err := os.ReadFile(others.of(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ours.of(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(t.Context(), "b", records(1000, 1, noon), nil); err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
		t.Errorf("with another's certificate: %v", err)
	}
	ours.issue(t, "gateway")
	more := records(1000, 100, noon)
	write(t, s, "b", more)
	s.expect(t, 0, list, more)
}

// Files that are not there or not what they should be are told at the start, without a path: that may be a piece of a password.
func TestTLSFiles(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "gateway")
	ca, cert, key := a.of("ca.pem"), a.of("gateway.pem"), a.of("gateway.key")
	for options, want := range map[string]string{
		"secure=true&ca=" + a.of("none"):                               "ca: no such file or directory",
		"secure=true&ca=" + key:                                        "ca: the file holds no certificate in PEM form",
		"secure=true&ca=":                                              "ca: it must be a file",
		"secure=true&cert=" + cert:                                     "cert, key: each needs the other",
		"secure=true&key=" + key:                                       "cert, key: each needs the other",
		"secure=true&cert=" + cert + "&key=" + a.of("none"):            "cert, key: no such file or directory",
		"secure=true&cert=" + ca + "&key=" + key:                       "cert, key: tls: private key does not match public key",
		"ca=" + ca:                                                     "clickhouse:// needs secure=true",
		"secure=false&cert=" + cert + "&key=" + key:                    "clickhouse:// needs secure=true",
		"secure=true&ca=" + ca + "&cert=" + cert + "&key=" + key + "x": "cert, key: no such file or directory",
	} {
		s, err := Open(t.Context(), "clickhouse://u:p@h:9440/usage?"+options, Options{})
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", options)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, a.dir) {
			t.Errorf("%s: %s, want %s", options, text, want)
		}
	}
	if err := Check("clickhouse+https://u:p@h/usage?ca=" + a.of("none")); err != nil {
		t.Errorf("a check has read a file: %v", err)
	}
}

// An address that takes connections and says nothing does not keep a store from the next one.
func TestNextAddress(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	at := strings.Replace(emptyHouse(t), "http://", "http://"+mute.Addr().String()+",", 1) + "?dial_timeout=2s"
	s, err := Open(t.Context(), at, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if pending, err := s.Pending(t.Context()); err != nil || len(pending) == 0 {
		t.Errorf("%v, %v", pending, err)
	}
}
