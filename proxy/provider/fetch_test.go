package provider

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"jarvis-gateway/proxy/wire"
)

var (
	png  = []byte("\x89PNG\r\n\x1a\n and so on")
	pdf  = []byte("%PDF-1.7 and so on")
	webp = []byte("RIFF\x00\x00\x00\x00WEBPVP8 and so on")
)

// anywhere allows the tests' own servers, and counts.
func anywhere(dialled *int) func(netip.AddrPort) bool {
	return func(netip.AddrPort) bool {
		*dialled++
		return true
	}
}

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	answer := func(path, contentType string, data []byte) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Authorization") != "" || r.Header.Get("User-Agent") != userAgent {
				t.Errorf("%s was told %v", path, r.Header)
			}
			if contentType != "" {
				w.Header().Set("Content-Type", contentType)
			}
			w.Write(data)
		})
	}
	answer("/png", "text/html", png)
	answer("/webp", "image/webp", webp)
	answer("/pdf", "application/octet-stream", pdf)
	answer("/md", "text/markdown; charset=utf-8", []byte("# Title\n"))
	answer("/txt", "application/json", []byte(`{"a":1}`))
	answer("/html", "", []byte("<html><p>x"))
	answer("/zip", "image/png", []byte("PK\x03\x04 and so on"))
	answer("/wav", "audio/wav", []byte("RIFF\x00\x00\x00\x00WAVEfmt "))
	answer("/bin", "text/plain", []byte{0, 1, 2, 3, 4})
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte("the network's secret"))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(png)
		io.CopyN(w, zeros{}, maxFetch)
	})
	mux.HandleFunc("/said", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "99999999999")
		w.Write(png)
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Write(png)
	})
	for from, to := range map[string]string{"/1": "/png", "/2": "/1", "/3": "/2", "/4": "/3", "/loop": "/loop", "/file": "file:///etc/passwd", "/user": "http://a:b@example.com/"} {
		mux.HandleFunc(from, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
	}
	server := httptest.NewServer(mux)
	defer server.Close()
	n := 0
	f := newFetcher(anywhere(&n))
	if f.client.Transport.(*http.Transport).Proxy != nil { // the environment's would connect where it likes
		t.Error("a proxy is asked")
	}
	for path, want := range map[string]string{
		"/png": "image/png", "/webp": "image/webp", "/pdf": "application/pdf", "/md": "text/markdown", "/txt": "text/plain", "/html": "text/html",
		"/zip": "neither an image", "/wav": "neither an image", "/bin": "neither an image", "/empty": "could not be fetched", "/teapot": "could not be fetched",
		"/missing": "could not be fetched", "/large": "more than 20 MiB", "/said": "more than 20 MiB", "/cut": "could not be fetched",
		"/1": "image/png", "/3": "image/png", "/4": "could not be fetched", "/loop": "could not be fetched", "/file": "could not be fetched", "/user": "could not be fetched",
	} {
		mimeType, data, err := f.get(t.Context(), "messages[0].content[1]", server.URL+path+"?signature=s3cret", maxFetched)
		if err == nil {
			if mimeType != want || len(data) == 0 {
				t.Errorf("%s: %s of %d bytes, want %s", path, mimeType, len(data), want)
			}
			continue
		}
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Param != "messages[0].content[1]" || !e.Failover {
			t.Fatalf("%s: %#v", path, err)
		}
		if !strings.Contains(e.Message, want) || strings.Contains(e.Error(), "secret") || strings.Contains(e.Error(), "s3cret") {
			t.Errorf("%s: %v", path, e)
		}
	}
	if n == 0 {
		t.Error("the address was not checked")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestFetchRefusesURLs(t *testing.T) {
	n := 0
	f := newFetcher(anywhere(&n))
	for _, u := range []string{"", "file:///etc/passwd", "ftp://example.com/a", "gopher://example.com", "data:text/plain,x", "//example.com/a", "http://", "https:///a",
		"http://user@example.com/", "https://user:password@example.com/", "http://exa mple.com/", "http://[::1", "unix:/run/x"} {
		_, _, err := f.get(t.Context(), "image", u, maxFetched)
		var e *wire.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Param != "image" {
			t.Errorf("%s: %v", u, err)
		}
	}
	if n != 0 {
		t.Error("something was connected to")
	}
}

// The address that a name stands for is checked when it is connected to, also behind a redirect, and what is there cannot be
// told from the answer.
func TestFetchChecksAddresses(t *testing.T) {
	asked := 0
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Write(png)
	}))
	defer inside.Close()
	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusFound))
	defer outside.Close()
	gate := netip.MustParseAddrPort(outside.Listener.Addr().String())
	for name, row := range map[string]struct {
		allowed func(netip.AddrPort) bool
		urls    []string
	}{
		"redirect": {func(to netip.AddrPort) bool { return to == gate }, []string{outside.URL}},
		"direct":   {publicWeb, []string{inside.URL, "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data/", "http://8.8.8.8:22/"}},
	} {
		f := newFetcher(row.allowed)
		var first string
		for _, u := range row.urls {
			_, _, err := f.get(t.Context(), "image", u, maxFetched)
			var e *wire.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, "could not be fetched") {
				t.Fatalf("%s %s: %v", name, u, err)
			}
			if first == "" {
				first = e.Message
			}
			if e.Message != first {
				t.Errorf("%s %s: %s, unlike %s", name, u, e.Message, first)
			}
		}
	}
	if asked != 0 {
		t.Error("the inside was reached")
	}
}

func TestFetchIsCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	n := 0
	if _, _, err := newFetcher(anywhere(&n)).get(ctx, "image", server.URL, maxFetched); err != context.Canceled {
		t.Error(err)
	}
}

func TestPublicWeb(t *testing.T) {
	for to, want := range map[string]bool{"8.8.8.8:80": true, "8.8.8.8:443": true, "8.8.8.8:8080": false, "10.0.0.1:80": false, "[2606:4700::1]:443": true} {
		if publicWeb(netip.MustParseAddrPort(to)) != want {
			t.Errorf("%s: %v", to, !want)
		}
	}
}

func TestSniff(t *testing.T) {
	for _, row := range []struct {
		data           []byte
		declared, want string
	}{
		{[]byte("\xff\xd8\xff\xe0"), "", "image/jpeg"}, {[]byte("GIF89a"), "x", "image/gif"}, {[]byte("a,b\n1,2\n"), "text/csv", "text/csv"},
		{[]byte("a,b\n"), "text/csv;;;", "text/csv"}, {[]byte("a,b\n"), "image/png", "text/plain"}, {[]byte("<svg></svg>"), "image/svg+xml", "text/plain"},
		{[]byte("BM and so on"), "image/bmp", ""}, {[]byte("a\x00b"), "text/plain", ""}, {nil, "text/plain", ""},
	} {
		if got := sniff(row.data, row.declared); got != row.want {
			t.Errorf("%q, %s: %q, want %q", row.data, row.declared, got, row.want)
		}
	}
}
