package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// A response that is made in the background has used nothing yet that anybody knows of. What is to be recorded of it waits here:
// whoever first sees what it used claims it, on whatever gateway that is, and nobody after him. What nobody claims in time is
// offered to one gateway as it is.
//
// Who claims has written down in his spool what he will record, under the name of the claim. When he dies before the record is
// there, whoever takes over his spool claims once more under that name, and learns whether it is for him to record. So a claim
// stays, with nothing but its name, for longer than a spool is left alone.

// claimKept is how long it can be asked who has claimed.
const claimKept = 30 * 24 * time.Hour

// Claim is one to record what a tenant's response has used. Its name is nobody else's.
type Claim struct{ By, Tenant, ID string }

// NewClaim is one that nobody has made before.
func NewClaim(tenant, id string) Claim { return Claim{rand.Text(), tenant, id} }

// PutPending keeps whose a response is, and what is to be recorded of it if nobody claims it until due. It returns once both are
// durable. Of a response that is there already it changes nothing: what it used may be recorded.
func (s *Store) PutPending(ctx context.Context, r *Response, record []byte, due time.Time) error {
	return s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := put(ctx, tx, r); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO pending (id, tenant, record, due) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`,
			r.ID, r.Tenant, record, millis(due))
		return err
	})
}

// Pending is what is to be recorded of a tenant's response; nil where nothing waits, or somebody has claimed it.
func (s *Store) Pending(ctx context.Context, tenant, id string) (record []byte, err error) {
	if !sayable(tenant, id) {
		return nil, nil
	}
	ctx, cancel := s.within(ctx)
	defer cancel()
	err = s.db.QueryRowContext(ctx, `SELECT record FROM pending WHERE id = $1 AND tenant = $2 AND claim = ''`, id, tenant).Scan(&record)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return record, outOfTime(ctx, err)
}

// Claim tells whether a claim holds: of all that are ever made of a response one does, also when it is made again. After an error
// nobody knows: see Settle.
func (s *Store) Claim(ctx context.Context, c Claim) (held bool, err error) {
	if !sayable(c.Tenant, c.ID) {
		return false, nil
	}
	outcome := make(chan bool, 1) // the transaction may be made twice; the caller may be gone by then
	err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		held, err := claim(ctx, tx, c, s.now())
		select {
		case <-outcome:
		default:
		}
		outcome <- held
		return err
	})
	if err != nil {
		return false, err
	}
	return <-outcome, nil
}

// claim leaves nothing to record in its place, not even for a gateway that knows of no claims.
func claim(ctx context.Context, tx *sql.Tx, c Claim, now time.Time) (held bool, err error) {
	n, err := affected(tx.ExecContext(ctx, `INSERT INTO pending (id, tenant, record, due, claim) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record, due = excluded.due, claim = excluded.claim
		WHERE pending.tenant = excluded.tenant AND (pending.claim = '' OR pending.claim = excluded.claim)`,
		c.ID, c.Tenant, []byte{}, millis(now.Add(claimKept)), c.By))
	return n > 0, err
}

// unsettled is a claim of which nobody knows yet whether it holds.
type unsettled struct {
	Claim
	settle func(held bool)
}

// overdue is who is offered what nobody claimed, and who waits to know whether he has.
type overdue struct {
	mu   sync.Mutex
	take func(c Claim, record []byte) (settle func(held bool))
	look chan struct{} // wakes the goroutine that writes

	waiting sync.Mutex
	list    []unsettled
}

// Overdue has take be offered what nobody claimed in time, now and from now on; nil: nobody is any more once it returns. take
// returns what is to be told whether the claim holds, or nil: it is offered again later, to whomever. Neither may ask the store. No
// Store has nothing to offer.
func (s *Store) Overdue(take func(c Claim, record []byte) (settle func(held bool))) {
	if s == nil {
		return
	}
	s.overdue.mu.Lock()
	defer s.overdue.mu.Unlock()
	s.overdue.take = take
	select {
	case s.overdue.look <- struct{}{}:
	default:
	}
}

// Settle makes a claim of which an error has left open whether it holds, again and again until it is known. Nobody is told once
// Overdue was called with nil.
func (s *Store) Settle(c Claim, settle func(held bool)) { s.overdue.add(unsettled{c, settle}) }

func (o *overdue) add(list ...unsettled) {
	o.waiting.Lock()
	defer o.waiting.Unlock()
	o.list = append(o.list, list...)
}

func (o *overdue) all() (list []unsettled) {
	o.waiting.Lock()
	defer o.waiting.Unlock()
	list, o.list = o.list, nil
	return list
}

// handOver settles claims, or offers some of what is overdue, and tells whether there may be more.
func (s *Store) handOver() (more bool) {
	s.overdue.mu.Lock()
	defer s.overdue.mu.Unlock()
	if s.overdue.take == nil {
		return false
	}
	ctx, cancel := s.within(s.ctx)
	defer cancel()
	list := s.overdue.all()
	late := len(list) > 0 // what is overdue then is not offered twice
	if !late {
		list = s.offer(ctx)
	}
	if len(list) == 0 {
		return false
	}
	held := make([]bool, len(list))
	err := s.transact(ctx, func(tx *sql.Tx) (err error) {
		for i, u := range list {
			if held[i], err = claim(ctx, tx, u.Claim, s.now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.overdue.add(list...) // until the next tick
		return false
	}
	for i, u := range list {
		u.settle(held[i])
	}
	return late || len(list) == purged
}

// offer is what is overdue and somebody wants to record. It comes in the same order to all gateways, so that they do not lock each
// other up.
func (s *Store) offer(ctx context.Context) (list []unsettled) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, tenant, record FROM pending WHERE due <= $1 AND claim = '' ORDER BY id LIMIT $2`, millis(s.now()), purged)
	if err != nil {
		return nil // it is tried again at the next tick
	}
	defer rows.Close()
	for rows.Next() {
		var c Claim
		var record []byte
		if rows.Scan(&c.ID, &c.Tenant, &record) != nil {
			return list
		}
		c.By = rand.Text()
		if settle := s.overdue.take(c, record); settle != nil {
			list = append(list, unsettled{c, settle})
		}
	}
	if rows.Err() != nil {
		return list // as far as it came
	}
	return list
}
