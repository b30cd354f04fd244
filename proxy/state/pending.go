package state

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// A response that is made in the background has used nothing yet that anybody knows of. What is to be recorded of it waits here:
// whoever first sees what it used takes it out, on whatever gateway that is, and nobody after him. What nobody takes in time is
// given to one gateway as it is.

// PutPending keeps whose a response is, and what is to be recorded of it if nobody takes it until due. It returns once both are
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

// TakePending gives what is to be recorded of a tenant's response to one caller among all gateways; nil to all others. After an
// error nobody knows whether it was given.
func (s *Store) TakePending(ctx context.Context, tenant, id string) ([]byte, error) {
	if !sayable(tenant, id) {
		return nil, nil
	}
	waits, err := s.waits(ctx, tenant, id)
	if err != nil || !waits {
		return nil, err // nearly all have been taken, and to look costs less than to write
	}
	taken := make(chan []byte, 1) // the transaction may be made twice; the caller may be gone by then
	err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var record []byte
		err := tx.QueryRowContext(ctx, `DELETE FROM pending WHERE id = $1 AND tenant = $2 RETURNING record`, id, tenant).Scan(&record)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		select {
		case <-taken:
		default:
		}
		taken <- record
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-taken, nil
}

func (s *Store) waits(ctx context.Context, tenant, id string) (bool, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	var one int
	err := s.db.QueryRowContext(ctx, `SELECT 1 FROM pending WHERE id = $1 AND tenant = $2`, id, tenant).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, outOfTime(ctx, err)
}

// overdue is who is given what nobody took.
type overdue struct {
	mu   sync.Mutex
	take func(record []byte)
	look chan struct{} // wakes the goroutine that writes
}

// Overdue has take be given what nobody took in time, now and from now on; nil: nobody is any more once it returns. take must not
// ask the store. No Store has nothing to give.
func (s *Store) Overdue(take func(record []byte)) {
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

// handOver gives some of what is overdue to who takes it, and tells whether there may be more. A process that is killed in between
// has lost that.
func (s *Store) handOver() (more bool) {
	s.overdue.mu.Lock()
	defer s.overdue.mu.Unlock()
	if s.overdue.take == nil {
		return false
	}
	ctx, cancel := s.within(s.ctx)
	defer cancel()
	var list [][]byte
	err := s.transact(ctx, func(tx *sql.Tx) (err error) {
		list, err = takeOverdue(ctx, tx, s.now())
		return err
	})
	if err != nil {
		return false // it is tried again at the next tick
	}
	for _, record := range list {
		s.overdue.take(record)
	}
	return len(list) == purged
}

func takeOverdue(ctx context.Context, tx *sql.Tx, now time.Time) (list [][]byte, err error) {
	rows, err := tx.QueryContext(ctx, `DELETE FROM pending WHERE id IN (SELECT id FROM pending WHERE due <= $1 LIMIT $2) RETURNING record`, millis(now), purged)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var record []byte
		if err := rows.Scan(&record); err != nil {
			return nil, err
		}
		list = append(list, record)
	}
	return list, rows.Err()
}
