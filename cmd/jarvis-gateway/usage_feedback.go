package main

import (
	"context"
	"log/slog"
	"time"

	"jarvis-gateway/proxy"
	"jarvis-gateway/proxy/usage/spool"
	"jarvis-gateway/proxy/usage/store"
)

// rate has feedback go where the records are, and answers that the server has forgotten be found there. Where nothing is recorded it
// leaves everything as it is.
func (r *records) rate(ratings *proxy.Ratings, log *slog.Logger) {
	if r.spool == nil || r.store == nil {
		return
	}
	ratings.Sink, ratings.Past = rater{r.spool, log}, past{r.store}
}

// rater takes feedback for the spool.
type rater struct {
	spool *spool.Log
	log   *slog.Logger
}

// Take is as quick as writing down a request. While there is little room feedback is dropped: anybody can send as much as he likes.
func (r rater) Take(f proxy.Feedback) {
	if r.spool.Pressed() {
		r.spool.Drop()
		return
	}
	if err := r.spool.Add(f.AppendTo(nil)); err != nil {
		r.log.Error("feedback was not recorded", "request", f.Request, "cause", err.Error())
	}
}

// past finds answers in the store.
type past struct{ *store.Store }

const (
	pastTime = 2 * time.Second // the client waits
	pastMost = 10              // requests of one id, of which some may have been refused
)

// Served is the latest request of that id which was answered.
func (p past) Served(ctx context.Context, tenant, id string) (proxy.Served, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, pastTime)
	defer cancel()
	list, _, err := p.Requests(ctx, store.Listing{ID: id, Question: store.Question{Where: map[string][]string{"tenant": {tenant}}, Limit: pastMost}})
	if err != nil {
		return proxy.Served{}, false, err
	}
	for i := range list {
		r := &list[i]
		if r.Model == "" || r.Status < 200 || r.Status > 299 {
			continue
		}
		s := proxy.Served{Record: r.UID, Request: r.ID, Team: r.Team, Model: r.Model, Prompt: r.Prompt, Rollout: r.Rollout, Arm: r.Arm}
		if r.Rated {
			s.Score = &r.Score
		}
		return s, true, nil
	}
	return proxy.Served{}, false, nil
}
