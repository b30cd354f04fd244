package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/usage/stream"
)

// streamed is the way of records on to others, once they are stored. They wait in spools of their own, so that who is away or slow
// holds up nobody: not requests, nor the store.
type streamed struct {
	spools *spools
	to     *stream.Stream
}

// A batch is one message of a webhook.
const (
	streamRecords = 500
	streamBytes   = 1 << 20
)

// openStream opens the spools beside those of the store; nil where nobody is to be told.
func (u *Usage) openStream(dir string, log *slog.Logger) (*streamed, error) {
	if u.Stream.Reveal() == "" {
		return nil, nil
	}
	to, err := stream.New(u.Stream, u.StreamSecret)
	if err != nil {
		return nil, fmt.Errorf("usage.stream: %w", err)
	}
	waiting, err := claimSpools(dir+"-stream", spool.Options{Max: int64(u.Max), Sync: u.Sync, Segment: spoolSegment, Full: spool.DropOldest,
		BatchRecords: streamRecords, BatchBytes: streamBytes}, &proxy.SpoolOfStream, log)
	if err != nil {
		return nil, fmt.Errorf("usage.stream: %w", err)
	}
	s := &streamed{spools: waiting, to: to}
	waiting.start(func(l *spool.Log) spool.Deliver { return telling(l, log, "usage.stream", s.deliver) })
	return s, nil
}

// bare is what others are told of: no prompts and answers, which are kept in the store alone.
func bare(r *usage.Record, data []byte) []byte {
	if r == nil || r.Content == (usage.Content{}) {
		return data
	}
	without := *r
	without.Content = usage.Content{}
	return without.AppendTo(nil)
}

// add takes what was stored. What there is no room for is counted.
func (s *streamed) add(batch [][]byte) error {
	if s == nil {
		return nil
	}
	for _, data := range batch {
		if err := s.spools.own.Add(data); err != nil && !errors.Is(err, spool.ErrFull) && !errors.Is(err, spool.ErrTooLarge) {
			return err
		}
	}
	return nil
}

func (s *streamed) deliver(ctx context.Context, token string, batch [][]byte) error {
	err := s.to.Deliver(ctx, token, batch)
	if errors.Is(err, stream.ErrRefused) {
		return spool.Refused{Err: err}
	}
	return err
}

// close tells of what it can until ctx is done. The rest waits for the next start.
func (s *streamed) close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	return errors.Join(s.spools.close(ctx), s.to.Close(ctx))
}
