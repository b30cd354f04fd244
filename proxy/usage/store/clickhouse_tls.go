package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// pemFiles are the files of a URL's TLS, in PEM form: the authorities that are trusted in place of the system's, and the
// gateway's own certificate with its key.
type pemFiles struct{ ca, cert, key string }

var errPlain = errors.New("ca, cert and key are for TLS: clickhouse:// needs secure=true then, HTTP clickhouse+https://")

// takePEM takes the files out of a URL's options. They are read when the database is opened.
func takePEM(query url.Values) (f pemFiles, err error) {
	for name, file := range map[string]*string{"ca": &f.ca, "cert": &f.cert, "key": &f.key} {
		if *file = query.Get(name); query.Has(name) && *file == "" {
			return f, fmt.Errorf("%s: it must be a file", name)
		}
		query.Del(name)
	}
	if (f.cert == "") != (f.key == "") {
		return f, errors.New("cert, key: each needs the other")
	}
	return f, nil
}

// trust has connections use the files. The certificate is read again for each one, so that it may be renewed at any time.
func (f pemFiles) trust(c *tls.Config) error {
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("ca: %w", reason(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("ca: the file holds no certificate in PEM form")
		}
	}
	if f.cert == "" {
		return nil
	}
	if _, err := f.own(nil); err != nil {
		return err
	}
	c.GetClientCertificate = f.own
	return nil
}

// own is the gateway's certificate.
func (f pemFiles) own(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	own, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("cert, key: %w", reason(err))
	}
	return &own, nil
}

// reason is why a file cannot be read, without its path: that may be a piece of a password in the wrong place of the URL.
func reason(err error) error {
	if of := (*fs.PathError)(nil); errors.As(err, &of) {
		return of.Err
	}
	return err
}

// eachInTurn has no address of several take the time of those after it: one that hangs is given up in time for the next.
func eachInTurn(ctx context.Context, id int, o *clickhouse.Options, dial clickhouse.Dial) (clickhouse.DialResult, error) {
	return clickhouse.DefaultDialStrategy(ctx, id, o, func(ctx context.Context, addr string, o *clickhouse.Options) (clickhouse.DialResult, error) {
		one := *o
		one.DialTimeout /= time.Duration(len(o.Addr))
		ctx, cancel := context.WithTimeout(ctx, one.DialTimeout)
		defer cancel()
		return dial(ctx, addr, &one)
	})
}

// linked adds to the error of a connection that could not be opened what may be wrong in the URL, where nobody's words say it.
func (e *houseEngine) linked(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w (ca=FILE in its URL names the authorities to trust)", err)
	}
	opening := regexp.MustCompile(`handshake|server hello|HTTPS client`)
	said := regexp.MustCompile(`certificate|remote error|\[HTTP|dial tcp|context `)
	if text := err.Error(); !opening.MatchString(text) || said.MatchString(text) {
		return err
	}
	switch {
	case e.options.TLS == nil && e.scheme == "clickhouse":
		return fmt.Errorf("%w (is it a port of clickhouse:// without TLS, as 9000 is?)", err)
	case e.options.TLS == nil:
		return fmt.Errorf("%w (is it a port of clickhouse+http://, as 8123 is?)", err)
	case e.scheme == "clickhouse":
		return fmt.Errorf("%w (is it a port of clickhouse:// with TLS, as 9440 is? Does it want a certificate, or another one?)", err)
	}
	return fmt.Errorf("%w (is it a port of clickhouse+https://, as 8443 is? Does it want a certificate, or another one?)", err)
}
