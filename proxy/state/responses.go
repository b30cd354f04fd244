package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
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

// A thread's bounds: turns, and bytes of their items.
const (
	mostTurns = 1000
	mostBytes = 64 << 20
)

// Put keeps a response and returns once it is durable. When ctx ends before, it may or may not be kept.
func (s *Store) Put(ctx context.Context, r *Response) error {
	return s.write(ctx, func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, r) })
}

// Remember keeps a response without waiting, unless too much is waiting already: see Dropped. r must not change any more.
func (s *Store) Remember(r *Response) {
	s.post(func(ctx context.Context, tx *sql.Tx) error { return put(ctx, tx, r) })
}

func put(ctx context.Context, tx *sql.Tx, r *Response) error {
	done, err := tx.ExecContext(ctx, `
		INSERT INTO responses (id, tenant, provider, previous, body, input, output, created, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, previous = excluded.previous, body = excluded.body,
			input = excluded.input, output = excluded.output, created = excluded.created, expires = excluded.expires
		WHERE responses.tenant = excluded.tenant`,
		r.ID, r.Tenant, r.Provider, r.Previous, r.Body, r.Input, r.Output, millis(r.Created), millis(r.Expires))
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return fmt.Errorf("response %s is another tenant's", r.ID)
}

// Get returns a tenant's response, or ErrUnknown.
func (s *Store) Get(ctx context.Context, tenant, id string) (*Response, error) {
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
	result := make(chan bool, 1) // not a shared variable: the writer may come after the caller has left
	err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `
			DELETE FROM responses WHERE id = $1 AND tenant = $2 AND (expires = 0 OR expires > $3)`, id, tenant, millis(s.now()))
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		result <- n > 0
		return err
	})
	if err != nil {
		return false, err
	}
	return <-result, nil
}

// Thread returns the conversation that ends with a response, the oldest first, without the bodies. Each response of it must
// be the tenant's and be kept here.
func (s *Store) Thread(ctx context.Context, tenant, id string) ([]Response, error) {
	var thread []Response
	for size := 0; id != ""; {
		r, err := s.Get(ctx, tenant, id)
		if err == nil && r.Body == nil {
			err = ErrElsewhere
		}
		if err != nil {
			return nil, fmt.Errorf("response %s: %w", id, err)
		}
		size += len(r.Input) + len(r.Output)
		if len(thread) == mostTurns || size > mostBytes {
			return nil, fmt.Errorf("response %s: %w: more than %d turns or %d MiB", id, ErrTooLong, mostTurns, mostBytes>>20)
		}
		r.Body = nil
		thread = append(thread, *r)
		id = r.Previous
	}
	slices.Reverse(thread)
	return thread, nil
}

// purged is how many rows one transaction deletes: those who write wait for it.
const purged = 256

// purge deletes some of what has expired and tells whether there may be more.
func (s *Store) purge() (more bool) {
	err := transact(s.ctx, s.db, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(s.ctx, `
			DELETE FROM responses WHERE id IN (
				SELECT id FROM responses WHERE expires > 0 AND expires <= $1 LIMIT $2)`, millis(s.now()), purged)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		more = n == purged
		return err
	})
	return more && err == nil // what fails is tried again at the next tick: nobody sees what has expired
}

// outOfTime says so when a query ended with its context: a driver's own words for it vary.
func outOfTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
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
