// Package stream tells others of usage records as they come: Kafka, RabbitMQ, SQS or a webhook.
//
// Each event is a JSON object (store.Events). A batch is delivered when all of it was acknowledged, and is sent again as a whole
// otherwise: each event comes at least once, and its uid, which is also a header, tells whether it came before. Brokers are spoken
// to with gocloud.dev/pubsub.
package stream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// Stream is where events go. It connects when there is something to tell.
type Stream struct {
	url    *url.URL
	key    []byte // of a webhook's signatures
	events *store.Events

	mu   sync.Mutex // one batch at a time
	sink sink       // nil: not connected
}

// event is a record to be told of.
type event struct {
	uid, tenant string
	body        []byte
}

// sink is a connection.
type sink interface {
	// send returns when all were acknowledged. The token names the batch.
	send(ctx context.Context, token string, list []event) error
	close(ctx context.Context) error
}

// sendTime is how long a batch may take.
const sendTime = 30 * time.Second

// kinds are the schemes of URLs.
var kinds = map[string]func(ctx context.Context, s *Stream) (sink, error){
	"kafka": openKafka, "amqp": openRabbit, "amqps": openRabbit, "sqs": openSQS, "sqs+http": openSQS, "https": openWebhook, "http": openWebhook,
}

const expected = "expected kafka://HOST:9092,HOST:9092/TOPIC, amqps://USER:PASSWORD@HOST/VHOST?exchange=NAME, sqs://HOST/ACCOUNT/QUEUE?region=NAME or https://HOST/PATH"

// New reads the URL of a stream, and the secret that a webhook's messages are signed with, as Standard Webhooks has it. Its errors
// say nothing of either: both may hold a password.
func New(to, secret wire.Secret) (*Stream, error) {
	u, err := url.Parse(to.Reveal())
	if err != nil || kinds[u.Scheme] == nil || u.Host == "" || u.Fragment != "" {
		return nil, errors.New(expected)
	}
	s := &Stream{url: u, events: store.NewEvents()}
	switch {
	case u.Scheme == "kafka":
		err = checkKafka(u)
	case strings.HasPrefix(u.Scheme, "amqp"):
		err = checkQuery(u, "exchange")
	case strings.HasPrefix(u.Scheme, "sqs"):
		err = checkQuery(u, "region")
	case u.User != nil:
		err = errors.New("the URL may hold no user or password: what is told is signed with stream_secret")
	default:
		s.key, err = signingKey(secret)
	}
	if err == nil && s.key == nil && secret.Reveal() != "" {
		err = errors.New("stream_secret is for webhooks")
	}
	return s, err
}

// checkQuery allows for some options, of which the first must be there.
func checkQuery(u *url.URL, names ...string) error {
	query := u.Query()
	if query.Get(names[0]) == "" {
		return fmt.Errorf("%s is missing: %s", names[0], expected)
	}
	for name := range query {
		if name != names[0] {
			return fmt.Errorf("there is an option that is not known: %s", expected)
		}
	}
	return nil
}

// largest is how large an event may be: each broker takes as much.
const largest = 200 << 10

// ErrRefused is the error of Deliver for records that nobody will take.
var ErrRefused = errors.New("the event was refused")

// Deliver tells of a batch, as the spool calls it. The token names the same records each time.
func (s *Stream) Deliver(ctx context.Context, token string, records [][]byte) error {
	list := make([]event, 0, len(records))
	for _, data := range records {
		e, err := s.event(data)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		list = append(list, e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if s.sink == nil {
		var err error
		if s.sink, err = kinds[s.url.Scheme](ctx, s); err != nil {
			return s.safe(err)
		}
	}
	err := s.sink.send(ctx, token, list)
	if err != nil && !errors.Is(err, ErrRefused) { // what has failed once is connected to anew
		_ = s.sink.close(ctx)
		s.sink = nil
	}
	return s.safe(err)
}

func (s *Stream) event(data []byte) (e event, err error) {
	r, f, err := usage.Decode(data)
	switch {
	case err != nil:
		return e, err
	case r != nil:
		e = event{r.UID.String(), r.Tenant, s.events.AppendRequest(nil, r)}
	default:
		e = event{f.UID.String(), f.Tenant, s.events.AppendFeedback(nil, f)}
	}
	if len(e.body) > largest {
		return e, fmt.Errorf("it has %d bytes, of %d at most", len(e.body), largest)
	}
	return e, nil
}

// Close disconnects.
func (s *Stream) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sink == nil {
		return nil
	}
	err := s.sink.close(ctx)
	s.sink = nil
	return s.safe(err)
}

// safe keeps what the URL may hold of secrets out of the log.
func (s *Stream) safe(err error) error {
	if err == nil {
		return nil
	}
	if password, ok := s.url.User.Password(); ok && password != "" {
		for _, form := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
			if strings.Contains(err.Error(), form) {
				return &hidden{strings.ReplaceAll(err.Error(), form, wire.Masked), err}
			}
		}
	}
	return err
}

type hidden struct {
	text string
	err  error
}

func (h *hidden) Error() string        { return h.text }
func (h *hidden) Is(target error) bool { return errors.Is(h.err, target) }
