package provider

import (
	"context"
	"encoding/base64"
	"slices"

	"jarvis-gateway/proxy/dialect"
)

// fetchMedia replaces the URLs of images and documents by what they lead to, for a provider that takes bytes only, where
// the operator allows it. What is fetched stays with the request, for the next attempt.
func (c *Client) fetchMedia(call *Call) error {
	if c.fetcher == nil {
		return nil
	}
	wanted := call.request.Linked()
	if len(wanted) == 0 {
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), call.Begun.Add(call.Timeout.Total))
	defer cancel()
	if !call.Abort.hold(stop(cancel)) {
		return ErrAborted
	}
	err := c.fetchAll(ctx, wanted)
	if !call.Abort.letGo() {
		return ErrAborted
	}
	return err
}

func (c *Client) fetchAll(ctx context.Context, wanted []*dialect.Block) error {
	for _, b := range wanted {
		kind, data, err := c.fetcher.get(ctx, b.Path, b.Media.URL)
		if err != nil {
			return err
		}
		m := *b.Media
		m.URL, m.Type = "", kind
		if slices.Contains([]string{"text/plain", "text/markdown", "text/csv", "text/html"}, kind) {
			m.Text = string(data)
		} else {
			m.Data = base64.StdEncoding.EncodeToString(data)
		}
		b.Media = &m
	}
	return nil
}
