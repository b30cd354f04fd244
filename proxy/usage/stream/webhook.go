package stream

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// webhook posts a batch: {"version":1,"type":"usage","events":[...]}.
type webhook struct {
	client *http.Client
	url    string
	key    []byte
}

func openWebhook(_ context.Context, s *Stream) (sink, error) {
	client := &http.Client{
		Transport:     http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &webhook{client, s.url.String(), s.key}, nil
}

const leastSecret = 16

func signingKey(secret wire.Secret) ([]byte, error) {
	text := secret.Reveal()
	if text == "" {
		return nil, nil
	}
	key := []byte(text)
	if coded, ok := strings.CutPrefix(text, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(coded); err != nil {
			return nil, errors.New("stream_secret: what follows whsec_ must be base64")
		}
	}
	if len(key) < leastSecret {
		return nil, fmt.Errorf("stream_secret must have at least %d bytes", leastSecret)
	}
	return key, nil
}

func (w *webhook) send(ctx context.Context, token string, list []event) error {
	body := strconv.AppendInt([]byte(`{"version":`), store.EventVersion, 10)
	body = append(body, `,"type":"usage","events":`...)
	for i, e := range list {
		body = append(append(body, "[,"[min(i, 1)]), e.body...)
	}
	body = append(body, "]}"...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "jarvis-gateway")
	req.Header.Set("Webhook-Id", token)
	req.Header.Set("Webhook-Timestamp", now)
	if w.key != nil {
		req.Header.Set("Webhook-Signature", signature(w.key, token, now, body))
	}
	res, err := w.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // what it says is of no interest
	switch {
	case res.StatusCode/100 == 2:
		return nil
	case res.StatusCode == http.StatusRequestEntityTooLarge, res.StatusCode == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: the receiver answered %d", ErrRefused, res.StatusCode)
	}
	return fmt.Errorf("the receiver answered %d", res.StatusCode)
}

// signature is that of Standard Webhooks: https://www.standardwebhooks.com.
func signature(key []byte, id, at string, body []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s.%s.", id, at)
	h.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// withoutURL leaves out the URL, whose path may be a secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (w *webhook) close(context.Context) error {
	w.client.CloseIdleConnections()
	return nil
}
