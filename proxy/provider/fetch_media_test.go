package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// web answers for all URLs, without a network: by path, the number of bytes that an image has there, and the
// seconds until it comes.
type web struct {
	mu          sync.Mutex
	asked, read int
	under, most int // fetches under way
}

func (w *web) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	w.under++
	w.most = max(w.most, w.under)
}

func (w *web) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.under--
}

func (w *web) RoundTrip(req *http.Request) (*http.Response, error) {
	w.begin()
	defer w.end()
	var n, seconds int
	if _, err := fmt.Sscanf(req.URL.Path, "/%d/%ds", &n, &seconds); err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(seconds) * time.Second):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	body := io.MultiReader(bytes.NewReader(png), io.LimitReader(zeros{}, int64(n-len(png))))
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Header: http.Header{}, Body: io.NopCloser(&drawn{body, w}), Request: req}, nil
}

// drawn counts what is read of an answer.
type drawn struct {
	io.Reader
	w *web
}

func (d *drawn) Read(p []byte) (n int, err error) {
	n, err = d.Reader.Read(p)
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.read += n
	return n, err
}

func fetching(w *web) *Client {
	c := &Client{fetcher: newFetcher(publicWeb)}
	c.fetcher.client.Transport = w
	return c
}

func callWith(urls ...string) *Call {
	call := &Call{Abort: &Abort{}, Begun: time.Now(), request: &dialect.Request{}}
	call.Timeout.Total = 10 * time.Minute
	for i, u := range urls {
		path := fmt.Sprintf("messages[%d].content[0]", i)
		call.request.Turns = append(call.request.Turns, dialect.Turn{Blocks: []dialect.Block{{Path: path, Media: &dialect.Media{URL: "http://example.com" + u}}}})
	}
	return call
}

func repeat(format string, n int) (urls []string) {
	for i := range n {
		urls = append(urls, strings.ReplaceAll(format, "#", fmt.Sprint(i)))
	}
	return urls
}

// One request has no more fetched than its share: neither by many URLs, nor by large ones, nor by the same one again.
func TestFetchIsBounded(t *testing.T) {
	const mib = 1 << 20
	for name, row := range map[string]struct {
		urls        []string
		want, param string
		asked, read int
	}{
		"many":           {repeat("/100/0s?#", 40), "at most 20 URLs", "messages[20].content[0]", 0, 0},
		"many of one":    {repeat("/100/0s", 21), "at most 20 URLs", "messages[20].content[0]", 0, 0},
		"as many as may": {repeat("/100/0s?#", 20), "", "", 20, 20 * 100},
		"one":            {repeat("/100/0s", 20), "", "", 1, 100},
		"large":          {repeat("/19922944/0s?#", 20), "more than 25 MiB", "messages[1].content[0]", 2, 25*mib + 1},
		"large one":      {repeat("/9000000/0s", 20), "more than 25 MiB", "messages[2].content[0]", 1, 9000000},
		"too large":      {repeat("/30000000/0s", 1), "more than 20 MiB", "messages[0].content[0]", 1, 20*mib + 1},
	} {
		w := &web{}
		call := callWith(row.urls...)
		err := fetching(w).fetchMedia(call)
		var e *wire.Error
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case row.want == "":
			for _, turn := range call.request.Turns {
				if m := turn.Blocks[0].Media; m.URL != "" || m.Type != "image/png" || len(m.Data) != 136 {
					t.Errorf("%s: %+v", name, m)
				}
			}
		case !errors.As(err, &e) || e.Status != 400 || e.Param != row.param || !strings.Contains(e.Message, row.want):
			t.Errorf("%s: %v", name, err)
		}
		if w.asked != row.asked || w.read != row.read {
			t.Errorf("%s: %d fetches of %d bytes, want %d of %d", name, w.asked, w.read, row.asked, row.read)
		}
	}
}

// Servers that are slow have one time together, within the request's own.
func TestFetchHasOneTime(t *testing.T) {
	for _, row := range []struct{ total, want time.Duration }{{10 * time.Minute, 15 * time.Second}, {4 * time.Second, 4 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			call := callWith(repeat("/100/6s?#", 20)...)
			call.Timeout.Total = row.total
			err := fetching(&web{}).fetchMedia(call)
			var e *wire.Error
			if !errors.As(err, &e) || e.Status != 400 || !strings.Contains(e.Message, "in time") || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%#v", err)
			}
			if took := time.Since(call.Begun); took != row.want {
				t.Errorf("after %v, want %v", took, row.want)
			}
		})
	}
}

// So many requests fetch at a time, and no more. Those that wait do so no longer than they may, nor than their clients.
func TestFetchTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		c := fetching(w)
		outcome := make(chan error, 3*maxFetching)
		for range maxFetching {
			go func() { outcome <- c.fetchMedia(callWith("/100/12s")) }()
		}
		synctest.Wait()
		left := callWith("/100/0s")
		go func() { outcome <- c.fetchMedia(left) }()
		synctest.Wait()
		left.Abort.Fire()
		if err := <-outcome; err != ErrAborted {
			t.Errorf("the client left: %v", err)
		}
		for range maxFetching {
			go func() { outcome <- c.fetchMedia(callWith("/100/12s")) }() // has 3 s left when its turn comes
		}
		hurried := callWith("/100/0s")
		hurried.Timeout.Total = 2 * time.Second
		err := c.fetchMedia(hurried)
		if e := failed(err); e.Status != 503 || !e.Failover || time.Since(hurried.Begun) != 2*time.Second {
			t.Errorf("no turn: %v after %v", err, time.Since(hurried.Begun))
		}
		good := 0
		for range 2 * maxFetching {
			if <-outcome == nil {
				good++
			}
		}
		if good != maxFetching || w.most != maxFetching || w.asked != 2*maxFetching || len(c.fetcher.turns) != 0 {
			t.Errorf("%d good, %d at a time, %d in all, %d held", good, w.most, w.asked, len(c.fetcher.turns))
		}
	})
}
