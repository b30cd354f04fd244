package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"jarvis-gateway/proxy/wire"
)

// The bounds of what one request has fetched, and of how many requests may at a time: what they hold is in memory.
const (
	maxURLs      = 20 // as many images as Converse takes
	maxFetch     = 20 << 20
	maxFetched   = 25 << 20 // all together
	fetchTime    = 15 * time.Second
	maxRedirects = 3
	maxFetching  = 16
)

// fetcher fetches what requests name by a URL, for providers that take only bytes. The URL is a stranger's, and the gateway
// may stand where strangers must not reach: so only public addresses are connected to. The address is checked when the
// connection is made, so that no name can say one thing to the check and another to the connection.
type fetcher struct {
	allowed func(netip.AddrPort) bool
	client  http.Client
	turns   chan struct{} // holds one for each request that is fetching
}

func newFetcher(allowed func(netip.AddrPort) bool) *fetcher {
	f := &fetcher{allowed: allowed, turns: make(chan struct{}, maxFetching)}
	dialer := &net.Dialer{Timeout: fetchTime, Control: f.control}
	f.client = http.Client{
		CheckRedirect: redirect,
		Transport: &http.Transport{ // no Proxy: it would be asked in the gateway's place, by its own rules
			DialContext:            dialer.DialContext,
			DisableKeepAlives:      true,
			DisableCompression:     true, // a small answer must not become a large one
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return f
}

var errNotPublic = errors.New("the address is not public, or the port is not 80 or 443")

// control is asked for each address before it is connected to.
func (f *fetcher) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !f.allowed(to) {
		return errNotPublic
	}
	return nil
}

// publicWeb allows the web's ports of public addresses.
func publicWeb(to netip.AddrPort) bool {
	return (to.Port() == 80 || to.Port() == 443) && wire.Public(to.Addr())
}

// redirect follows a few redirects, each to where a request may name, without telling where it came from.
func redirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	req.Header.Del("Referer")
	return fetchable(req.URL)
}

func fetchable(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("only http and https URLs can be fetched")
	case u.User != nil:
		return errors.New("a URL with a user or password is not fetched")
	}
	return nil
}

// get fetches an image, a PDF or a text of no more than left bytes. An error is a *wire.Error that names the field at path,
// or context.Canceled. It says nothing of what is at the address.
func (f *fetcher) get(ctx context.Context, path, from string, left int) (mimeType string, data []byte, err error) {
	u, err := url.Parse(from)
	if err == nil {
		err = fetchable(u)
	}
	if err != nil {
		return "", nil, unfetched(path, "it is not a public http or https URL without user information", nil)
	}
	data, declared, err := f.read(ctx, u, int64(min(left, maxFetch)))
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "", nil, ctx.Err()
	case ctx.Err() != nil:
		return "", nil, unfetched(path, "the content was not here in time", ctx.Err())
	case errors.Is(err, errTooLarge):
		return "", nil, tooLarge(path, left)
	case err != nil:
		return "", nil, unfetched(path, "it could not be fetched", err)
	}
	if mimeType = sniff(data, declared); mimeType == "" {
		return "", nil, unfetched(path, "it holds neither an image nor a PDF nor a text", nil)
	}
	return mimeType, data, nil
}

var errTooLarge = errors.New("too large")

func tooLarge(path string, left int) *wire.Error {
	if left >= maxFetch {
		return unfetched(path, fmt.Sprintf("it holds more than %d MiB", maxFetch>>20), nil)
	}
	return unfetched(path, fmt.Sprintf("what the URLs of the request lead to is more than %d MiB", maxFetched>>20), nil)
}

func (f *fetcher) read(ctx context.Context, u *url.URL, most int64) (data []byte, declared string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("User-Agent", userAgent)
	res, err := f.client.Do(req)
	if err != nil {
		return nil, "", withoutURL(err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("status %d", res.StatusCode)
	case res.ContentLength > most:
		return nil, "", errTooLarge
	}
	data, err = io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(data)) > most {
		err = errTooLarge
	}
	return data, res.Header.Get("Content-Type"), err
}

// withoutURL takes the URL out of an error: its query may be a signature.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// sniff tells what data is, by its bytes: "" for what no model reads. Texts all look alike: which kind is what the server
// declared.
func sniff(data []byte, declared string) string {
	found, _, _ := mime.ParseMediaType(http.DetectContentType(data))
	switch found {
	case "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf":
		return found
	}
	if !strings.HasPrefix(found, "text/") || len(data) == 0 {
		return ""
	}
	declared, _, _ = mime.ParseMediaType(declared)
	if !strings.HasPrefix(declared, "text/") {
		declared = ""
	}
	return cmp.Or(declared, found)
}

func unfetched(path, why string, cause error) *wire.Error {
	e := wire.Invalid(path, "%s: the URL cannot be used, because %s. Send the content itself as base64.", path, why)
	e.Code, e.Err, e.Failover = "invalid_url", cause, true // a provider that takes URLs may come next
	return e
}
