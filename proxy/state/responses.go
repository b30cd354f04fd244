package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Response is an answer of the Responses API that a later request may go on from. One with a Body is kept here; one
// without lives at its Provider, and all that is known here is whose it is.
type Response struct {
	ID, Tenant, Provider string
	Previous             string // the response that its input goes on from, "" for none
	Body                 []byte // the response object
	Input, Output        []byte // lists of items
	Created, Expires     time.Time
}

// The errors of responses that cannot be had. Another tenant's is not told from one that does not exist.
var (
	ErrUnknown   = errors.New("no such response")
	ErrElsewhere = errors.New("the response is kept at a provider")
	ErrTooLong   = errors.New("the conversation is too long")
)

// mostTurns bounds a thread.
const mostTurns = 1000

// Put keeps a response and returns once it is durable. When ctx ends before, it may or may not be kept.
func (s *Store) Put(ctx context.Context, r *Response) error {
	return s.write(ctx, func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, r) })
}

// Remember keeps a response without waiting. It is lost only when too much is waiting already, at exit when the database
// still fails, or when the response is another tenant's: see Dropped and OnDrop. r must not change any more.
func (s *Store) Remember(r *Response) {
	s.post(&write{do: func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, r) }, lost: &s.dropped})
}

func put(ctx context.Context, tx *sql.Tx, r *Response) error {
	if !sayable(r.ID, r.Tenant, r.Provider, r.Previous) {
		return errors.New("a response whose names are no text")
	}
	n, err := affected(tx.ExecContext(ctx, `
		INSERT INTO responses (id, tenant, provider, previous, body, input, output, created, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, previous = excluded.previous, body = excluded.body,
			input = excluded.input, output = excluded.output, created = excluded.created, expires = excluded.expires
		WHERE responses.tenant = excluded.tenant`,
		r.ID, r.Tenant, r.Provider, r.Previous, r.Body, r.Input, r.Output, millis(r.Created), millis(r.Expires)))
	if err != nil || n > 0 {
		return err
	}
	return fmt.Errorf("response %s is another tenant's", r.ID)
}

// Get returns a tenant's response, or ErrUnknown.
func (s *Store) Get(ctx context.Context, tenant, id string) (*Response, error) {
	if !sayable(tenant, id) {
		return nil, ErrUnknown
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	r := &Response{}
	var created, expires int64
	err := s.db.QueryRowContext(ctx, `
		SELECT id, tenant, provider, previous, body, input, output, created, expires FROM responses
		WHERE id = $1 AND tenant = $2 AND (expires = 0 OR expires > $3)`, id, tenant, millis(s.now())).
		Scan(&r.ID, &r.Tenant, &r.Provider, &r.Previous, &r.Body, &r.Input, &r.Output, &created, &expires)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, outOfTime(ctx, err)
	}
	r.Created, r.Expires = date(created), date(expires)
	return r, nil
}

// Owner tells whose a response is and where it lives.
func (s *Store) Owner(ctx context.Context, id string) (tenant, provider string, ok bool, err error) {
	if !sayable(id) {
		return "", "", false, nil
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	err = s.db.QueryRowContext(ctx, `
		SELECT tenant, provider FROM responses
		WHERE id = $1 AND (expires = 0 OR expires > $2)`, id, millis(s.now())).Scan(&tenant, &provider)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", false, nil
	}
	return tenant, provider, err == nil, outOfTime(ctx, err)
}

// Delete forgets a tenant's response and tells whether there was one.
func (s *Store) Delete(ctx context.Context, tenant, id string) (found bool, err error) {
	if !sayable(tenant, id) {
		return false, nil
	}
	var was atomic.Bool // the writer may come after the caller has left
	err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, `
			DELETE FROM responses WHERE id = $1 AND tenant = $2 AND (expires = 0 OR expires > $3)`, id, tenant, millis(s.now())))
		was.Store(n > 0)
		return err
	})
	return was.Load() && err == nil, err
}

// Thread returns the conversation that ends with a response, the oldest first: what went in and what came out, most bytes of
// it together. Each response of it must be the tenant's and be kept here.
func (s *Store) Thread(ctx context.Context, tenant, id string, most int) ([]Response, error) {
	var thread []Response
	for left := most; id != ""; {
		r, err := s.turn(ctx, tenant, id, left)
		if err == nil && len(thread) == mostTurns {
			err = fmt.Errorf("%w: more than %d turns", ErrTooLong, mostTurns)
		}
		if err != nil {
			return nil, fmt.Errorf("response %s: %w", id, err)
		}
		left -= len(r.Input) + len(r.Output)
		thread = append(thread, r)
		id = r.Previous
	}
	slices.Reverse(thread)
	return thread, nil
}

// turn reads what a thread needs of a response, if it is not more than most bytes. The database tells lengths without
// reading what is so long.
func (s *Store) turn(ctx context.Context, tenant, id string, most int) (Response, error) {
	r := Response{ID: id, Tenant: tenant}
	if !sayable(tenant, id) {
		return r, ErrUnknown
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	var kept, fits bool
	err := s.db.QueryRowContext(ctx, `
		SELECT previous, here, size <= CAST($1 AS BIGINT), CASE WHEN size <= CAST($1 AS BIGINT) THEN input END,
			CASE WHEN size <= CAST($1 AS BIGINT) THEN output END
		FROM (SELECT previous, input, output, LENGTH(body) IS NOT NULL AS here,
				COALESCE(LENGTH(input), 0) + COALESCE(LENGTH(output), 0) AS size
			FROM responses WHERE id = $2 AND tenant = $3 AND (expires = 0 OR expires > $4)) AS turn`,
		most, id, tenant, millis(s.now())).Scan(&r.Previous, &kept, &fits, &r.Input, &r.Output)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return r, ErrUnknown
	case err != nil:
		return r, outOfTime(ctx, err)
	case !kept:
		return r, ErrElsewhere
	case !fits:
		return r, fmt.Errorf("%w: it does not fit into the bytes that are left, %d", ErrTooLong, most)
	}
	return r, nil
}

// millis is a time as the database has it: 0 is no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func date(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis)
}

// sayable tells that a database can hold texts. Postgres refuses what is none, and SQLite would take it.
func sayable(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 })
}

// affected is how many rows a statement changed.
func affected(done sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}
