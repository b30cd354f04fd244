package provider

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"jarvis-gateway/proxy/dialect"
	"jarvis-gateway/proxy/wire"
)

// fetchMedia replaces the URLs of images and documents by what they lead to, for a provider that takes bytes only, where
// the operator allows it. What is fetched stays with the request, for the next attempt.
func (c *Client) fetchMedia(call *Call) error {
	if c.fetcher == nil {
		return nil
	}
	wanted := call.request.Linked()
	switch {
	case len(wanted) == 0:
		return nil
	case len(wanted) > maxURLs:
		path := wanted[maxURLs].Path
		e := wire.Invalid(path, "%s: at most %d URLs are fetched for a request. Send the content itself as base64.", path, maxURLs)
		e.Code, e.Failover = "invalid_url", true
		return e
	}
	ctx, cancel := context.WithDeadline(context.Background(), call.Begun.Add(call.Timeout.Total))
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, fetchTime)
	defer cancel()
	if !call.Abort.Hold(stop(cancel)) {
		return ErrAborted
	}
	err := c.fetcher.fill(ctx, wanted)
	if !call.Abort.LetGo() {
		return ErrAborted
	}
	return err
}

// fill fetches one after the other, so that each is read only as far as the others left room. A URL that comes again is
// not fetched again, but its bytes are sent again, and count.
func (f *fetcher) fill(ctx context.Context, wanted []*dialect.Block) error {
	select {
	case f.turns <- struct{}{}:
		defer func() { <-f.turns }()
	case <-ctx.Done():
		e := wire.Server(503, "upstream_unavailable", "The gateway is fetching URLs for too many other requests.", ctx.Err())
		e.Failover, e.Retry = true, time.Second
		return e
	}
	left := maxFetched
	had := map[string]fetched{}
	for _, b := range wanted {
		got, again := had[b.Media.URL]
		if !again {
			kind, data, err := f.get(ctx, b.Path, b.Media.URL, left)
			if err != nil {
				return err
			}
			got = fetchedAs(kind, data)
			had[b.Media.URL] = got
		}
		if left -= got.size; left < 0 {
			return tooLarge(b.Path, 0)
		}
		m := *b.Media
		m.URL, m.Type, m.Text, m.Data = "", got.kind, got.text, got.data
		b.Media = &m
	}
	return nil
}

// fetched is what a URL led to: a text, or base64 of anything else.
type fetched struct {
	kind, text, data string
	size             int // in bytes, as it came
}

func fetchedAs(kind string, data []byte) fetched {
	if slices.Contains([]string{"text/plain", "text/markdown", "text/csv", "text/html"}, kind) {
		return fetched{kind: kind, text: string(data), size: len(data)}
	}
	return fetched{kind: kind, data: base64.StdEncoding.EncodeToString(data), size: len(data)}
}
